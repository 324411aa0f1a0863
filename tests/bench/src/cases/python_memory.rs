//! What Python workflows cost in memory: while they run, and while nobody calls them.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::Check;
use crate::function::Function;
use crate::parallel;
use crate::process::Process;
use crate::rounds::settled_cpu_time;
use crate::tidegate::{Built, Tidegate};

/// Numbers of instances that exist at the same time.
const INSTANCES: [usize; 3] = [1, 100, 500];
/// The number that is judged.
const JUDGED: usize = 100;
/// Python workflows that are deployed.
const WORKFLOWS: usize = 500;
/// How long an instance waits before it answers: until all of them are there and were
/// looked at.
const WAIT: Duration = Duration::from_secs(15);
/// When they are looked at.
const LOOK: Duration = Duration::from_secs(8);

/// Instances at the same time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Together {
    /// How many.
    pub instances: usize,
    /// Private memory of the host over that of the idle one, in bytes.
    pub bytes: f64,
}

impl Together {
    /// Private memory of one instance, in bytes.
    pub fn each_bytes(&self) -> f64 {
        self.bytes / self.instances as f64
    }
}

/// What was measured, in bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PythonMemory {
    /// By the number of instances.
    pub together: Vec<Together>,
    /// Private memory of an idle host with 500 workflows over one with none, both after a
    /// start.
    pub workflows_bytes: f64,
    /// The same, once each workflow was called.
    pub called_bytes: f64,
}

/// Measures.
///
/// # Errors
/// When the host refuses, or answers anything but the hello.
pub fn measure(built: &Built) -> anyhow::Result<PythonMemory> {
    let together: anyhow::Result<Vec<Together>> =
        INSTANCES.into_iter().map(|instances| of_instances(built, instances)).collect();
    let (workflows_bytes, called_bytes) = of_workflows(built)?;
    Ok(PythonMemory { together: together?, workflows_bytes, called_bytes })
}

/// Starts so many instances at once on a host that has run one, and looks at its memory
/// while they wait.
fn of_instances(built: &Built, instances: usize) -> anyhow::Result<Together> {
    let data = tempfile::tempdir()?;
    // No owner ever gets the last eighth of the slots.
    let overrides = [
        ("engine.instances_max", (2 * instances + 16).to_string()),
        ("run.concurrency_max", (instances + 2).to_string()),
        // What they are granted, which is much more than what they touch.
        ("engine.memory_total_bytes_max", (1_u64 << 40).to_string()),
    ];
    let host = Tidegate::start(built, data.path(), &overrides)?;
    host.install_runtime("python", &built.runtime("python")?)?;
    let hello = Function::hello().source()?;
    host.python_catch("hello", &hello)?;
    let waiting =
        hello.replacen("    greeting", &format!("    time.sleep({})\n    greeting", WAIT.as_secs()), 1);
    host.python_catch("waiting", &format!("import time\n{waiting}"))?;
    host.server.stop()?;

    // What installing left behind is gone with the process.
    let host = Tidegate::start(built, data.path(), &overrides)?;
    ensure!(host.target("hello")?.ask_once()?, "the first reply is not the hello");
    let target = host.target("waiting")?;
    let process = host.server.process();
    let before = private(process)?;
    let asking: Vec<_> = (0..instances)
        .map(|_| {
            let target = target.clone();
            thread::spawn(move || target.ask_once())
        })
        .collect();
    thread::sleep(LOOK);
    let during = process.memory()?.private_bytes as f64;
    let running = host.get("/api/v1/runs?status=running&limit=1")?;
    let running = running["runs"].as_array().map_or(0, Vec::len);
    for asked in asking {
        let answered = asked.join().map_err(|_| anyhow::anyhow!("a request panicked"))??;
        ensure!(answered, "a waiting workflow's reply is not the hello");
    }
    ensure!(running == instances, "only {running} instances were there at once");
    Ok(Together { instances, bytes: during - before })
}

/// Compares a host with no workflow to the same one with many.
fn of_workflows(built: &Built) -> anyhow::Result<(f64, f64)> {
    let data = tempfile::tempdir()?;
    let hello = Function::hello().source()?;
    let host = Tidegate::start(built, data.path(), &[])?;
    host.install_runtime("python", &built.runtime("python")?)?;
    host.python_catch("only", &hello)?;
    host.server.stop()?;

    let host = Tidegate::start(built, data.path(), &[])?;
    ensure!(host.target("only")?.ask_once()?, "the reply is not the hello");
    let none = private(host.server.process())?;
    parallel::for_each(WORKFLOWS, |number| {
        let name = format!("workflow-{number:03}");
        host.create(&json!({"name": name, "kind": "catch"}))?;
        host.paste(&name, &format!("NUMBER = {number}\n{hello}")).map(drop)
    })?;
    host.server.stop()?;

    let host = Tidegate::start(built, data.path(), &[])?;
    ensure!(host.target("only")?.ask_once()?, "the reply is not the hello");
    let process = host.server.process();
    let deployed = private(process)?;
    for number in 0..WORKFLOWS {
        let name = format!("workflow-{number:03}");
        ensure!(host.target(&name)?.ask_once()?, "the reply of {name} is not the hello");
    }
    Ok((deployed - none, private(process)? - none))
}

/// Private memory once nothing moves any more.
fn private(process: Process) -> anyhow::Result<f64> {
    settled_cpu_time(process)?;
    Ok(process.memory().context("the host is gone")?.private_bytes as f64)
}

impl PythonMemory {
    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        let judged = self.together.iter().find(|together| together.instances == JUDGED);
        let each = judged.map_or(f64::NAN, Together::each_bytes);
        let what = format!("private memory of each of {JUDGED} Python instances");
        vec![
            Check::at_most(what, each / 1e6, 1.0, "MB"),
            Check::at_most("memory of 500 Python workflows", self.called_bytes / 1e6, 150.0, "MB"),
        ]
    }
}
