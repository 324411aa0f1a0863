//! The first call: after a deploy of source, and after a start of the host.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::function::Function;
use crate::load::Target;
use crate::rounds::Spread;
use crate::tidegate::{Built, Tidegate};

/// What was measured, in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cold {
    /// The first call of new Python source, from the request to the reply; the deploy is
    /// over.
    pub deployed_python_ms: Spread,
    /// The second call of the same.
    pub second_python_ms: Spread,
    /// The first call of a Python workflow after the host started.
    pub started_python_ms: Spread,
    /// The first call of a Rust workflow after the host started, and after the above.
    pub started_rust_ms: Spread,
    /// From the start of the process to the line that says it serves.
    pub ready_ms: Spread,
}

/// Starts the host `times` times, and deploys as often.
///
/// # Errors
/// When the host refuses, or answers anything but the hello.
pub fn measure(built: &Built, times: usize) -> anyhow::Result<Cold> {
    let data = tempfile::tempdir()?;
    let source = Function::hello().source()?;
    let host = Tidegate::start(built, data.path(), &[])?;
    host.install_runtime("python", &built.runtime("python")?)?;
    host.python_catch("python", &source)?;
    host.catch("rust", &built.guest("hello")?)?;
    let (mut deployed, mut second) = (Vec::new(), Vec::new());
    for number in 0..times {
        let name = format!("deployed-{number}");
        host.create(&json!({"name": name, "kind": "catch"}))?;
        host.paste(&name, &format!("NUMBER = {number}\n\n{source}"))?;
        let target = host.target(&name)?;
        deployed.push(timed(&target)?);
        second.push(timed(&target)?);
    }
    host.server.stop()?;

    let (mut python, mut rust, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        let host = Tidegate::start(built, data.path(), &[])?;
        ready.push(host.server.ready_after.as_secs_f64() * 1e3);
        let (first, then) = (host.target("python")?, host.target("rust")?);
        python.push(timed(&first)?);
        rust.push(timed(&then)?);
        host.server.stop()?;
    }
    let spread = |values: Vec<f64>| Spread::of(values).context("nothing was measured");
    Ok(Cold {
        deployed_python_ms: spread(deployed)?,
        second_python_ms: spread(second)?,
        started_python_ms: spread(python)?,
        started_rust_ms: spread(rust)?,
        ready_ms: spread(ready)?,
    })
}

/// Milliseconds of one call on a connection of its own.
fn timed(target: &Target) -> anyhow::Result<f64> {
    let started = Instant::now();
    ensure!(target.ask_once()?, "the reply is not the hello");
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
