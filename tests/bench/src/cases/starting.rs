//! How long a host takes to start with many workflows, and what they cost while nobody
//! calls them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::component::variant;
use crate::parallel;
use crate::process::Memory;
use crate::rounds::{Spread, settled_cpu_time};
use crate::tidegate::{Built, Tidegate};

/// Workflows that are deployed.
const WORKFLOWS: usize = 1_000;
/// Different components among them.
const COMPONENTS: usize = 20;
/// How long the idle host is watched.
const IDLE: Duration = Duration::from_secs(5);

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Starting {
    /// Workflows that were deployed.
    pub workflows: usize,
    /// Different components among them.
    pub components: usize,
    /// From the start of the process to the line that says it serves, in milliseconds.
    pub ready_ms: Spread,
    /// Memory of the idle host after its start.
    pub idle_memory: Memory,
    /// Part of one core that the idle host takes.
    pub idle_cores: f64,
    /// Memory once each workflow has been called.
    pub called_memory: Memory,
}

/// Deploys the workflows, then starts the host `times` times.
///
/// # Errors
/// When the host refuses, or answers anything but the hello.
pub fn measure(built: &Built, times: usize) -> anyhow::Result<Starting> {
    let data = tempfile::tempdir()?;
    let hello = built.guest("hello")?;
    let components: Vec<Vec<u8>> =
        (0..COMPONENTS).map(|number| variant(&hello, &format!("starting {number}"))).collect();
    let host = Tidegate::start(built, data.path(), &[])?;
    parallel::for_each(WORKFLOWS, |index| {
        host.catch(&format!("workflow-{index:04}"), &components[index % COMPONENTS]).map(drop)
    })?;
    host.server.stop()?;

    let mut ready_ms = Vec::new();
    let mut last = None;
    for _ in 0..times {
        drop(last.take());
        let host = Tidegate::start(built, data.path(), &[])?;
        ready_ms.push(host.server.ready_after.as_secs_f64() * 1e3);
        last = Some(host);
    }
    let host = last.context("a host must be started once at least")?;
    let process = host.server.process();
    let before = settled_cpu_time(process)?;
    std::thread::sleep(IDLE);
    let idle_cores = (process.cpu_time()?.saturating_sub(before)).as_secs_f64() / IDLE.as_secs_f64();
    process.forget_peak()?;
    let idle_memory = process.memory()?;

    parallel::for_each(WORKFLOWS, |index| {
        let name = format!("workflow-{index:04}");
        ensure!(host.target(&name)?.ask_once()?, "the reply of {name} is not the hello");
        Ok(())
    })?;
    settled_cpu_time(process)?;
    process.forget_peak()?;
    Ok(Starting {
        workflows: WORKFLOWS,
        components: COMPONENTS,
        ready_ms: Spread::of(ready_ms).context("no start")?,
        idle_memory,
        idle_cores,
        called_memory: process.memory()?,
    })
}

impl Starting {
    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        let workflows = self.workflows;
        vec![
            Check::at_most(format!("ready with {workflows} workflows"), self.ready_ms.median, 1_000.0, "ms"),
            Check::at_most(
                format!("idle memory with {workflows} workflows"),
                self.idle_memory.resident_peak_bytes as f64 / 1e6,
                150.0,
                "MB",
            ),
        ]
    }
}
