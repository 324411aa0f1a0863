//! `tidegate build`: a component from a project folder.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::env::Environment;
use super::error::{Explain, Failure, Result};
use super::human::{bytes, duration};
use super::output::Output;
use super::project::{Lang, Project};
use super::{Context, Format, python_tool};

/// Build a component from a project folder
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The project folder
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Where to put the component; left out, below the folder's target/
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// The target of Rust workflows.
const TARGET: &str = "wasm32-wasip2";

/// Builds a component and prints where it is.
pub(crate) fn run(args: &BuildArgs, context: &mut Context) -> Result<()> {
    let project = Project::read(&args.path)?;
    let (env, out) = (&context.env, &mut context.out);
    let path = component(&project, args.out.as_deref(), env, out)?;
    let size = std::fs::metadata(&path).context(format!("read {}", path.display()))?.len();
    if args.format.json {
        return out.json(&json!({"name": project.name, "component": path, "bytes": size}));
    }
    out.note(format!("{} is {}", project.name, bytes(size)));
    out.line(path.display())
}

/// Builds the project's component, at `to` or below the project's `target` folder, and
/// returns where it is.
///
/// # Errors
/// The tools are missing, or the program is wrong; the tools' own messages are on
/// standard error then.
pub(crate) fn component(
    project: &Project,
    to: Option<&Path>,
    env: &Environment,
    out: &mut Output,
) -> Result<PathBuf> {
    let started = std::time::Instant::now();
    out.note(format!("building {}", project.name));
    let built = match project.lang {
        Lang::Rust => cargo(project, env)?,
        Lang::Python => python_tool::component(project, env)?,
    };
    let took = duration(started.elapsed().as_secs_f64() * 1e3);
    out.note(format!("built {} in {took}", project.name));
    let Some(to) = to else { return Ok(built) };
    std::fs::copy(&built, to).context(format!("write {}", to.display()))?;
    Ok(to.to_owned())
}

/// A line of `cargo build --message-format=json`.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    manifest_path: Option<PathBuf>,
}

fn cargo(project: &Project, env: &Environment) -> Result<PathBuf> {
    let manifest = project.folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Failure::new(format!("there is no Cargo.toml in {}", project.folder.display()))
            .hint("`tidegate new NAME --kind catch --lang rust` makes a complete folder"));
    }
    let mut child = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"])
        .current_dir(&project.folder)
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo")
        .hint("Rust workflows need Rust: see https://rustup.rs")?;
    let stdout = child.stdout.take().ok_or_else(|| Failure::new("cargo has no output"))?;
    let manifest = manifest.canonicalize()?;
    let mut component = None;
    for line in BufReader::new(stdout).lines() {
        // Build scripts may print lines of their own.
        let line = line.context("read cargo's output")?;
        let Ok(message) = serde_json::from_str::<CargoMessage>(&line) else { continue };
        let ours = message.manifest_path.as_deref() == Some(manifest.as_path());
        if message.reason == "compiler-artifact" && ours {
            let wasm = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
            component = message.filenames.into_iter().find(wasm).or(component);
        }
    }
    let status = child.wait().context("wait for cargo")?;
    if !status.success() {
        let failure = Failure::new(format!("{} cannot be built ({status})", project.name));
        return Err(match has_target(&project.folder, env) {
            true => failure.hint("cargo's own messages are above"),
            false => failure
                .hint(format!("the target is not installed: `rustup target add {TARGET}`"))
                .hint("elsewhere, RUSTC names a compiler that has it: scripts/guest-toolchain of Tidegate's repository makes one on Debian"),
        });
    }
    component.ok_or_else(|| {
        Failure::new(format!("cargo made no .wasm file from {}", project.name))
            .hint("Cargo.toml needs [lib] crate-type = [\"cdylib\"]")
    })
}

/// Whether this Rust has a standard library for the target.
fn has_target(folder: &Path, env: &Environment) -> bool {
    let rustc = env.rustc.as_deref().unwrap_or(Path::new("rustc"));
    let printed = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .stderr(Stdio::null())
        .output();
    printed.is_ok_and(|printed| Path::new(String::from_utf8_lossy(&printed.stdout).trim()).is_dir())
}
