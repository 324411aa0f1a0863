//! Functions that do something, beside the same ones in warm workers of native CPython: how
//! many a second, and what a call costs the processor.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::function::Function;
use crate::peer::Peer;
use crate::python;
use crate::rounds::{self, Plan, Series};
use crate::services;
use crate::tidegate::{Built, Tidegate};

/// What all this is about.
const TIDEGATE: &str = "tidegate";
const FLASK: &str = "gunicorn with Flask";
/// Connections.
const BUSY: usize = 16;

/// One function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub function: String,
    /// By peer.
    pub series: Vec<Series>,
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Functions {
    /// By function.
    pub functions: Vec<Measured>,
}

/// Measures one function after the other.
///
/// # Errors
/// When a peer does not start, or answers anything but what is right.
pub fn measure(built: &Built, cache: &Path, plan: Plan) -> anyhow::Result<Functions> {
    let services = services::start()?;
    let functions = [Function::parse()?, Function::compute()?, Function::message(services.address)];
    let measured: anyhow::Result<Vec<Measured>> = functions
        .iter()
        .map(|function| {
            let data = tempfile::tempdir()?;
            let allowed = services.address.to_string();
            let host = Tidegate::start(built, data.path(), &[("egress.allow_private", allowed)])?;
            host.install_runtime("python", &built.runtime("python")?)?;
            let target = host.function("function", function)?;
            ensure!(target.ask_once()?, "the first reply of {} is not right", function.name);
            let what = "its defaults, the stock runtime".to_owned();
            let own = Peer { name: TIDEGATE, what, server: host.server, target };
            let peers = [own, python::flask(cache, function)?];
            let series = rounds::measure(&peers, &[BUSY], plan)
                .with_context(|| format!("the function {}", function.name))?;
            Ok(Measured { function: function.name.to_owned(), series })
        })
        .collect();
    Ok(Functions { functions: measured? })
}

impl Functions {
    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        let Some(calls) = self.functions.iter().find(|one| one.function == "two HTTP calls") else {
            return Vec::new();
        };
        let series = |peer: &str| calls.series.iter().find(|one| one.peer == peer);
        let (Some(own), Some(native)) = (series(TIDEGATE), series(FLASK)) else { return Vec::new() };
        let cost = own.against(native, |own, native| own.cpu_us_per_request / native.cpu_us_per_request);
        let what = "two HTTP calls, processor time over warm native CPython's";
        cost.map(|cost| Check::at_most(what, cost.median, 2.0, "times")).into_iter().collect()
    }
}
