//! The peers in Python: the same function in Flask, whose workers stay, and in pyeryx,
//! which makes a sandbox for each call. Installed once, into the cache.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::HELLO;
use crate::load::Target;
use crate::peer::Peer;
use crate::server::Server;

/// Worker processes of either peer: one for each core of the machines that it is measured
/// on.
const WORKERS: &str = "4";
/// Threads of a worker. gunicorn's default worker has one, closes each connection, and is
/// slower.
const THREADS: &str = "4";

/// The repository: the programs are read where they are.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder with the peers' programs.
fn programs() -> PathBuf {
    repository().join("tests/bench/python")
}

/// The function that is measured.
///
/// # Errors
/// When it cannot be read.
pub fn hello() -> anyhow::Result<String> {
    std::fs::read_to_string(programs().join("hello.py")).context("cannot read the hello in Python")
}

/// gunicorn with Flask: warm workers.
///
/// # Errors
/// When it cannot be installed or does not start.
pub fn flask(cache: &Path) -> anyhow::Result<Peer> {
    let python = environment(cache)?.join("bin/python");
    gunicorn("gunicorn with Flask", &python, "flask_app:app", &[])
}

/// pyeryx behind gunicorn: a sandbox for each call.
///
/// # Errors
/// When it cannot be installed or does not start.
pub fn eryx(cache: &Path) -> anyhow::Result<Peer> {
    let script = repository().join("scripts/newer-python");
    let found =
        Command::new(&script).env("TIDEGATE_CACHE", cache).stderr(std::process::Stdio::inherit()).output();
    let found = found.with_context(|| format!("cannot start {}", script.display()))?;
    ensure!(found.status.success(), "there is no Python for pyeryx");
    let python = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
    let packages = packages(cache, &python)?;
    gunicorn("pyeryx", &python, "eryx_app:app", &[packages.as_os_str()])
}

fn gunicorn(name: &'static str, python: &Path, app: &str, packages: &[&OsStr]) -> anyhow::Result<Peer> {
    let folder = programs();
    let path = std::env::join_paths(packages.iter().copied().chain([folder.as_os_str()]))?;
    let mut command = Command::new(python);
    command.args(["-m", "gunicorn", "--bind", "127.0.0.1:0", "--keep-alive", "75"]);
    command.args(["--workers", WORKERS, "--worker-class", "gthread", "--threads", THREADS, app]);
    command.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
    let server = Server::start(&mut command)?;
    let target = Target::post(server.address, "/", HELLO);
    // It listens before its workers can answer.
    ensure!(target.ask_once()?, "{name} does not answer with the hello");
    let what = format!("{app}, {WORKERS} workers of {THREADS} threads");
    Ok(Peer { name, what, server, target })
}

/// A virtual environment with Flask and gunicorn.
fn environment(cache: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join("bench-flask");
    if !folder.join("complete").exists() {
        say("gunicorn and Flask");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        run(pip(&folder).arg("--requirement").arg(programs().join("flask.txt")))?;
        std::fs::write(folder.join("complete"), "")?;
    }
    Ok(folder)
}

/// A folder with pyeryx and gunicorn for this Python, which may have no pip of its own.
fn packages(cache: &Path, python: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join("bench-eryx");
    if !folder.join("complete").exists() {
        say("pyeryx");
        let said = Command::new(python)
            .args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
            .output()
            .context("cannot start the newer Python")?;
        let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let machine = std::env::consts::ARCH;
        let mut pip = pip(&environment(cache)?);
        pip.args(["--only-binary=:all:", "--implementation", "cp", "--abi", "abi3", "--abi", "none"]);
        pip.args(["--python-version", &version, "--platform", "any"]);
        for tag in ["manylinux_2_17", "manylinux2014"] {
            pip.arg("--platform").arg(format!("{tag}_{machine}"));
        }
        run(pip.arg("--target").arg(&folder).arg("--requirement").arg(programs().join("eryx.txt")))?;
        std::fs::write(folder.join("complete"), "")?;
    }
    Ok(folder)
}

fn pip(environment: &Path) -> Command {
    let mut command = Command::new(environment.join("bin/python"));
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
