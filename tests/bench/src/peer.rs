//! The servers that are compared: each answers a `POST` with the same hello.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::HELLO;
use crate::load::Target;
use crate::server::Server;
use crate::tidegate::{Built, Tidegate};

/// A running peer.
pub struct Peer {
    /// What results call it.
    pub name: &'static str,
    /// Its flags or settings.
    pub what: String,
    /// Its process.
    pub server: Server,
    /// How to ask it for a hello.
    pub target: Target,
}

/// hyper alone: what the machine and the protocol cost.
///
/// # Errors
/// When it does not start.
pub fn bare_hyper() -> anyhow::Result<Peer> {
    let own = std::env::current_exe().context("cannot find this very program")?;
    let server = Server::start(Command::new(own).args(["hello-server", "--listen", "127.0.0.1:0"]))?;
    let target = Target::post(server.address, "/", HELLO);
    Ok(Peer { name: "bare hyper", what: "hyper 1, one service function".to_owned(), server, target })
}

/// What any `wasmtime serve` here gets: its pooling allocator, and what every Rust guest
/// with a standard library imports. It sets no deadline, so guests carry no checks.
const WASMTIME_FLAGS: [&str; 2] = ["-Opooling-allocator=y", "-Scli"];

/// What makes it fastest while each request gets a fresh instance: memory that stays
/// mapped between requests, and nothing that a WASI 0.2 guest has no use for.
const WASMTIME_TUNING: [&str; 5] = [
    "-Opooling-memory-keep-resident=1048576",
    "-Opooling-table-keep-resident=131072",
    "-Opooling-async-stack-keep-resident=131072",
    "-Opooling-pagemap-scan=auto",
    "-Wcomponent-model-async=n",
];

/// `wasmtime serve` with a component of the world `wasi:http/proxy`, with or without the
/// flags that make it faster than its pooling allocator alone.
///
/// # Errors
/// When it does not start.
pub fn wasmtime_serve(
    name: &'static str,
    program: &Path,
    component: &Path,
    is_tuned: bool,
) -> anyhow::Result<Peer> {
    let tuning = if is_tuned { WASMTIME_TUNING.as_slice() } else { &[] };
    let flags = [WASMTIME_FLAGS.as_slice(), tuning].concat();
    let mut command = Command::new(program);
    command.arg("serve").args(&flags).args(["--addr", "127.0.0.1:0"]).arg(component);
    let server = Server::start(&mut command)?;
    let target = Target::post(server.address, "/", HELLO);
    Ok(Peer { name, what: flags.join(" "), server, target })
}

/// Tidegate with its defaults and the Rust hello, each call in a fresh store, each run on
/// record.
///
/// # Errors
/// When it does not start, or refuses the component.
pub fn tidegate(
    name: &'static str,
    built: &Built,
    data: &Path,
    overrides: &[(&str, String)],
) -> anyhow::Result<Peer> {
    let host = Tidegate::start(built, data, overrides)?;
    let target = host.catch("hello", &built.guest("hello")?)?;
    let changed: Vec<String> = overrides.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let what = if changed.is_empty() { "its defaults".to_owned() } else { changed.join(" ") };
    Ok(Peer { name, what, server: host.server, target })
}
