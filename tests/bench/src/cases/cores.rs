//! What more cores give: the host on one, two and four of them. The load runs on the same
//! machine and takes its part of the last ones.

use std::thread;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::function::Function;
use crate::peer::Peer;
use crate::rounds::{self, Plan, Series};
use crate::tidegate::{Built, Tidegate};

/// Numbers of cores, and what results call the host on them.
const CORES: [(usize, &str); 3] = [(1, "on 1 core"), (2, "on 2 cores"), (4, "on 4 cores")];
/// Connections.
const BUSY: usize = 16;

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cores {
    /// The hello in Rust, by cores.
    pub rust: Vec<Series>,
    /// The hello in Python, by cores.
    pub python: Vec<Series>,
}

/// Measures the hosts in turns, as far as the machine has the cores.
///
/// # Errors
/// When a host does not start, or answers anything but the hello.
pub fn measure(built: &Built, plan: Plan) -> anyhow::Result<Cores> {
    let rust = series(built, plan, |host| host.catch("hello", &built.guest("hello")?))?;
    let source = Function::hello().source()?;
    let python = series(built, plan, |host| {
        host.install_runtime("python", &built.runtime("python")?)?;
        host.python_catch("hello", &source)
    })?;
    Ok(Cores { rust, python })
}

fn series(
    built: &Built,
    plan: Plan,
    deploy: impl Fn(&Tidegate) -> anyhow::Result<crate::load::Target>,
) -> anyhow::Result<Vec<Series>> {
    let machine = thread::available_parallelism().map_or(1, usize::from);
    // Peers end before their folders go.
    let mut folders = Vec::new();
    let mut peers = Vec::new();
    for (cores, name) in CORES.into_iter().filter(|(cores, _)| *cores <= machine) {
        let data = tempfile::tempdir()?;
        let host = Tidegate::start_on(built, data.path(), cores)?;
        let target = deploy(&host)?;
        ensure!(target.ask_once()?, "the first reply is not the hello");
        let what = format!("its defaults, on {cores} of the machine's {machine} cores");
        peers.push(Peer { name, what, server: host.server, target });
        folders.push(data);
    }
    rounds::measure(&peers, &[BUSY], plan)
}

impl Cores {
    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        let on = |name: &str| self.python.iter().find(|one| one.peer == name);
        let (Some(one), Some(four)) = (on(CORES[0].1), on(CORES[2].1)) else { return Vec::new() };
        let gain = four.against(one, |four, one| four.requests_per_s / one.requests_per_s);
        let what = "Python hello, four cores over one";
        gain.map(|gain| Check::at_least(what, gain.median, 3.3, "times")).into_iter().collect()
    }
}
