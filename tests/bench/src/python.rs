//! The peers that run the same function: Flask and functions-framework, whose workers
//! stay, pyeryx, which makes a sandbox for each call, and workerd, whose isolate stays.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use crate::function::{Function, programs};
use crate::installed;
use crate::peer::Peer;
use crate::server::Server;
use crate::tool;

/// Worker processes of the peers in Python: one for each core of the machines that they
/// are measured on.
const WORKERS: &str = "4";
/// Threads of a worker. gunicorn's default worker has one, closes each connection, and is
/// slower.
const THREADS: &str = "4";

/// gunicorn with Flask: warm workers.
///
/// # Errors
/// When it cannot be installed or does not start.
pub fn flask(cache: &Path, function: &Function) -> anyhow::Result<Peer> {
    let python = installed::environment(cache, "flask", "flask.txt")?;
    gunicorn("gunicorn with Flask", &python, "flask_app:app", &[function.folder.as_os_str()], function)
}

/// pyeryx behind gunicorn: a sandbox for each call of the hello.
///
/// # Errors
/// When it cannot be installed or does not start.
pub fn eryx(cache: &Path) -> anyhow::Result<Peer> {
    let pip = installed::environment(cache, "flask", "flask.txt")?;
    let (python, packages) = installed::newer_python(cache, "eryx", "eryx.txt", &pip)?;
    gunicorn("pyeryx", &python, "eryx_app:app", &[packages.as_os_str()], &Function::hello())
}

fn gunicorn(
    name: &'static str,
    python: &Path,
    app: &str,
    packages: &[&OsStr],
    function: &Function,
) -> anyhow::Result<Peer> {
    let folder = programs();
    let path = std::env::join_paths(packages.iter().copied().chain([folder.as_os_str()]))?;
    let mut command = Command::new(python);
    command.args(["-m", "gunicorn", "--bind", "127.0.0.1:0", "--keep-alive", "75"]);
    command.args(["--workers", WORKERS, "--worker-class", "gthread", "--threads", THREADS, app]);
    command.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("BENCH_FUNCTION", function.module).env("BENCH_SETTINGS", function.settings.to_string());
    let what = format!("{app}, {WORKERS} workers of {THREADS} threads");
    answering(name, what, &mut command, function)
}

/// functions-framework with the hello.
///
/// # Errors
/// When it cannot be installed or does not start.
pub fn functions_framework(cache: &Path) -> anyhow::Result<Peer> {
    let python = installed::environment(cache, "functions-framework", "functions_framework.txt")?;
    let mut command = Command::new(python);
    command.args(["-m", "functions_framework", "--target", "hello", "--source"]);
    command.arg(programs().join("functions_framework_app.py")).args(["--host", "127.0.0.1", "--port", "0"]);
    command.env("PYTHONPATH", programs()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("WORKERS", WORKERS).env("THREADS", THREADS).env("GUNICORN_LOG_LEVEL", "info");
    let what = format!("its own gunicorn, {WORKERS} workers of {THREADS} threads");
    answering("functions-framework", what, &mut command, &Function::hello())
}

/// workerd with the hello in JavaScript.
///
/// # Errors
/// When it cannot be installed or does not start.
pub fn workerd(cache: &Path) -> anyhow::Result<Peer> {
    let mut command = Command::new(tool::workerd(cache)?);
    let config = crate::function::repository().join("tests/bench/workerd/config.capnp");
    command.arg("serve").arg(config).arg("--control-fd=1");
    let what = "JavaScript; one process with one thread, its isolate is reused".to_owned();
    answering("workerd (JavaScript)", what, &mut command, &Function::hello())
}

fn answering(
    name: &'static str,
    what: String,
    command: &mut Command,
    function: &Function,
) -> anyhow::Result<Peer> {
    let server = Server::start(command)?;
    let target = function.at(server.address, "/");
    // It listens before its workers can answer.
    ensure!(target.ask_once()?, "{name} does not answer {} rightly", function.name);
    Ok(Peer { name, what, server, target })
}
