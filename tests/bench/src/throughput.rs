//! The comparison: the same hello from each peer, in turns.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::peer::{self, Peer};
use crate::rounds::{self, Plan, Round, Series, Spread};
use crate::tidegate::Built;

/// The peer that stands for what the machine and HTTP cost.
pub const HYPER: &str = "bare hyper";
/// The peer that runs the same sandbox, with its pooling allocator on.
pub const WASMTIME: &str = "wasmtime serve";
/// The same with every flag that makes it faster.
pub const WASMTIME_TUNED: &str = "wasmtime, tuned";
/// What all this is about.
pub const TIDEGATE: &str = "tidegate";
/// Connections of the comparison by throughput.
const BUSY: usize = 64;

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Throughput {
    /// By connections, then by peer.
    pub series: Vec<Series>,
}

/// Measures all peers with each number of connections.
///
/// # Errors
/// When a peer does not start, or answers anything but the hello.
pub fn measure(
    built: &Built,
    wasmtime: &Path,
    connections: &[usize],
    plan: Plan,
) -> anyhow::Result<Throughput> {
    let data = tempfile::tempdir()?;
    let hello = built.guests.join("serve-hello.wasm");
    let peers: [Peer; 4] = [
        peer::bare_hyper()?,
        peer::wasmtime_serve(WASMTIME, wasmtime, &hello, false)?,
        peer::wasmtime_serve(WASMTIME_TUNED, wasmtime, &hello, true)?,
        peer::tidegate(TIDEGATE, built, data.path(), &[])?,
    ];
    Ok(Throughput { series: rounds::measure(&peers, connections, plan)? })
}

impl Throughput {
    /// One series; `None` when it was not measured.
    pub fn series(&self, peer: &str, connections: usize) -> Option<&Series> {
        self.series.iter().find(|one| one.peer == peer && one.connections == connections)
    }

    /// Tidegate against a peer, round by round.
    fn tidegate_against(
        &self,
        peer: &str,
        connections: usize,
        compare: impl Fn(&Round, &Round) -> f64,
    ) -> anyhow::Result<Spread> {
        let own = self.series(TIDEGATE, connections).context("tidegate was not measured")?;
        let other = self.series(peer, connections).context("the peer was not measured")?;
        own.against(other, compare).context("no round")
    }

    /// The figures to reach, of what was measured.
    pub fn checks(&self) -> Vec<Check> {
        let rate = |own: &Round, other: &Round| own.requests_per_s / other.requests_per_s;
        let mut checks = Vec::new();
        if let Ok(ratio) = self.tidegate_against(WASMTIME, BUSY, rate) {
            checks.push(Check::at_least("requests/s over wasmtime serve's", ratio.median, 3.0, "times"));
        }
        if let Ok(ratio) = self.tidegate_against(WASMTIME_TUNED, BUSY, rate) {
            checks.push(Check::at_least(
                "requests/s over tuned wasmtime serve's",
                ratio.median,
                1.0,
                "times",
            ));
        }
        if let Ok(ratio) = self.tidegate_against(HYPER, BUSY, rate) {
            checks.push(Check::at_least("requests/s of bare hyper's", ratio.median * 100.0, 50.0, "%"));
        }
        if let Ok(extra) = self.tidegate_against(HYPER, 1, |own, hyper| own.p50_us - hyper.p50_us) {
            checks.push(Check::at_most("p50 at one connection over bare hyper's", extra.median, 200.0, "us"));
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Memory;

    fn series(peer: &str, connections: usize, rates: [f64; 3], p50_us: f64) -> Series {
        let round = |requests_per_s| Round {
            requests_per_s,
            p50_us,
            p90_us: 0.0,
            p99_us: 0.0,
            p999_us: 0.0,
            max_us: 0.0,
            cpu_us_per_request: 0.0,
            faults_per_request: 0.0,
            memory: Memory::default(),
            load_average: 0.0,
        };
        let rounds = rates.map(round).to_vec();
        Series { peer: peer.to_owned(), what: String::new(), connections, rounds }
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let measured = Throughput {
            series: vec![
                series(HYPER, 1, [100.0; 3], 10.0),
                series(TIDEGATE, 1, [50.0; 3], 150.0),
                // A machine that slows down meets all peers of a round alike.
                series(HYPER, 64, [100.0, 50.0, 10.0], 0.0),
                series(WASMTIME, 64, [10.0, 5.0, 1.0], 0.0),
                series(WASMTIME_TUNED, 64, [15.0, 7.5, 1.5], 0.0),
                series(TIDEGATE, 64, [30.0, 15.0, 3.0], 0.0),
            ],
        };
        let checks = measured.checks();
        let figures: Vec<(f64, bool)> = checks.iter().map(|check| (check.measured, check.reached)).collect();
        assert_eq!(figures, [(3.0, true), (2.0, true), (30.0, false), (140.0, true)]);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(Throughput { series: vec![series(TIDEGATE, 64, [1.0; 3], 0.0)] }.checks(), []);
    }
}
