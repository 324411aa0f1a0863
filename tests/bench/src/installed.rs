//! Peers in Python: their packages, installed once, into the cache.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::function::{programs, repository};

/// The Python of a virtual environment with these requirements, which are a file among
/// [`programs`].
///
/// # Errors
/// When it cannot be made.
pub fn environment(cache: &Path, name: &str, requirements: &str) -> anyhow::Result<PathBuf> {
    let folder = cache.join(format!("bench-{name}"));
    let list = programs().join(requirements);
    let python = folder.join("bin/python");
    once(&folder, &list, name, || {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        run(pip(&python).arg("--requirement").arg(&list))
    })?;
    Ok(python)
}

/// A Python of 3.12 or newer, which may have no pip of its own, and a folder with these
/// requirements for it; `pip` is the Python whose pip installs them.
///
/// # Errors
/// When there is none, or they cannot be installed.
pub fn newer_python(
    cache: &Path,
    name: &str,
    requirements: &str,
    pip_of: &Path,
) -> anyhow::Result<(PathBuf, PathBuf)> {
    let script = repository().join("scripts/newer-python");
    let found = Command::new(&script).env("TIDEGATE_CACHE", cache).stderr(Stdio::inherit()).output();
    let found = found.with_context(|| format!("cannot start {}", script.display()))?;
    ensure!(found.status.success(), "there is no Python for {name}");
    let python = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
    let folder = cache.join(format!("bench-{name}"));
    let list = programs().join(requirements);
    once(&folder, &list, name, || {
        let said = Command::new(&python)
            .args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
            .output()
            .context("cannot start the newer Python")?;
        let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let machine = std::env::consts::ARCH;
        let mut pip = pip(pip_of);
        pip.args([
            "--upgrade",
            "--only-binary=:all:",
            "--implementation",
            "cp",
            "--abi",
            "abi3",
            "--abi",
            "none",
        ]);
        pip.args(["--python-version", &version, "--platform", "any"]);
        for tag in ["manylinux_2_17", "manylinux2014"] {
            pip.arg("--platform").arg(format!("{tag}_{machine}"));
        }
        run(pip.arg("--target").arg(&folder).arg("--requirement").arg(&list))
    })?;
    Ok((python, folder))
}

/// Installs unless the very same requirements are installed already.
fn once(
    folder: &Path,
    list: &Path,
    name: &str,
    install: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let wanted = std::fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let marker = folder.join("complete");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    say(name);
    install()?;
    std::fs::write(&marker, wanted).with_context(|| format!("cannot write {}", marker.display()))
}

fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    command
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

#[allow(clippy::print_stderr, reason = "it talks to a terminal")]
fn say(what: &str) {
    eprintln!("bench: installing {what} for comparison (once)");
}
