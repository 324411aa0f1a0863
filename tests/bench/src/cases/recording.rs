//! What it costs that every run is on record.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::peer::{self, Peer};
use crate::rounds::{self, Plan, Series, Spread};
use crate::tidegate::Built;

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recording {
    /// With the record, and without.
    pub series: Vec<Series>,
    /// Part of the requests a second that the record costs, round by round.
    pub cost: Spread,
}

/// Measures two hosts in turns that differ in nothing else.
///
/// # Errors
/// When a host does not start, or answers anything but the hello.
pub fn measure(built: &Built, plan: Plan) -> anyhow::Result<Recording> {
    let (with, without) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let peers: [Peer; 2] = [
        peer::tidegate("recording on", built, with.path(), &[])?,
        peer::tidegate("recording off", built, without.path(), &[("run.record", "failures".to_owned())])?,
    ];
    let series = rounds::measure(&peers, &[32], plan)?;
    let [on, off] = series.as_slice() else { anyhow::bail!("two series were measured") };
    let cost = on.against(off, |on, off| 1.0 - on.requests_per_s / off.requests_per_s).context("no round")?;
    Ok(Recording { cost, series })
}

impl Recording {
    /// The figure to reach.
    pub fn checks(&self) -> Vec<Check> {
        vec![Check::at_most("recording costs of the requests/s", self.cost.median * 100.0, 8.0, "%")]
    }
}
