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

/// The version of workerd that is compared.
const WORKERD_VERSION: &str = "1.20261117.1";

/// The program `workerd`, unpacked below the cache unless it is there already.
///
/// # Errors
/// When npm or tar is missing or cannot fetch it.
#[allow(clippy::print_stderr, reason = "it talks to a terminal")]
pub fn workerd(cache: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join(format!("workerd-{WORKERD_VERSION}"));
    let program = folder.join("package/bin/workerd");
    if program.exists() {
        return Ok(program);
    }
    eprintln!("bench: installing workerd {WORKERD_VERSION} for comparison (once; 40 MB)");
    let fetching = tempfile::tempdir_in(cache).context("cannot make a folder in the cache")?;
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "64" };
    let package = format!("@cloudflare/workerd-linux-{machine}@{WORKERD_VERSION}");
    let fetched = Command::new("npm")
        .args(["pack", "--silent", &package])
        .current_dir(fetching.path())
        .output()
        .context("cannot start npm")?;
    ensure!(fetched.status.success(), "npm pack {package}: {}", String::from_utf8_lossy(&fetched.stderr));
    let archive = String::from_utf8_lossy(&fetched.stdout).trim().to_owned();
    let unpacked = Command::new("tar").arg("xzf").arg(&archive).current_dir(fetching.path()).status();
    ensure!(unpacked.context("cannot start tar")?.success(), "tar cannot unpack {archive}");
    std::fs::remove_file(fetching.path().join(&archive))?;
    std::fs::rename(fetching.keep(), &folder).context("cannot move workerd into the cache")?;
    Ok(program)
}
