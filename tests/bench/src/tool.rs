//! Peers that come from a registry: installed once, into the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The version of `wasmtime-cli` that is compared: the one that the host embeds.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// The program `wasmtime`, installed below the cache unless it is there already.
///
/// # Errors
/// When cargo cannot install it.
#[allow(clippy::print_stderr, reason = "it talks to a terminal")]
pub fn wasmtime(cache: &Path) -> anyhow::Result<PathBuf> {
    let root = cache.join(format!("wasmtime-{WASMTIME_VERSION}"));
    let program = root.join("bin/wasmtime");
    if program.exists() {
        return Ok(program);
    }
    eprintln!(
        "bench: installing wasmtime-cli {WASMTIME_VERSION} for comparison (once; some 15 minutes of processor time)"
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["install", "wasmtime-cli", "--version", WASMTIME_VERSION, "--locked", "--quiet", "--root"])
        .arg(&root)
        // An installed peer is nobody's build.
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "cargo install wasmtime-cli ended with {status}");
    Ok(program)
}
