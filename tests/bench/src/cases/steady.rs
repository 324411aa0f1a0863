//! A load that goes on: whether anything drifts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::function::Function;
use crate::load::Load;
use crate::rounds::Spread;
use crate::tidegate::{Built, Tidegate};

/// Connections.
const BUSY: usize = 16;
/// Length of one window.
const WINDOW: Duration = Duration::from_secs(15);
/// Windows of a comparison, at either end.
const ENDS: usize = 4;

/// One window.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Window {
    /// Seconds from the start to its end.
    pub at_s: f64,
    /// Responses a second.
    pub requests_per_s: f64,
    /// Latency in microseconds.
    pub p99_us: f64,
    /// Private memory of the host at its end, in bytes.
    pub private_bytes: u64,
    /// Open descriptors of the host at its end.
    pub descriptors: usize,
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Steady {
    /// In order.
    pub windows: Vec<Window>,
}

/// Loads a host with the hello in Python for so long.
///
/// # Errors
/// When the host does not start, or answers anything but the hello.
pub fn measure(built: &Built, how_long: Duration) -> anyhow::Result<Steady> {
    let data = tempfile::tempdir()?;
    let host = Tidegate::start(built, data.path(), &[])?;
    host.install_runtime("python", &built.runtime("python")?)?;
    let target = host.python_catch("hello", &Function::hello().source()?)?;
    let process = host.server.process();
    let load = Load { connections: BUSY, warm_up: Duration::ZERO, measured: WINDOW };
    let started = Instant::now();
    let mut windows = Vec::new();
    while started.elapsed() < how_long || windows.len() < 2 * ENDS {
        let sample = load.put_on(&target)?;
        ensure!(sample.troubles.is_empty(), "exchanges went wrong: {:?}", sample.troubles);
        windows.push(Window {
            at_s: started.elapsed().as_secs_f64(),
            requests_per_s: sample.requests_per_s(),
            p99_us: sample.latency_us(0.99),
            private_bytes: process.memory()?.private_bytes,
            descriptors: process.descriptors()?,
        });
    }
    Ok(Steady { windows })
}

impl Steady {
    /// Medians of a figure over the first windows and over the last.
    ///
    /// # Errors
    /// When nothing was measured.
    pub fn ends(&self, figure: impl Fn(&Window) -> f64) -> anyhow::Result<(f64, f64)> {
        let median = |windows: &[Window]| Spread::of(windows.iter().map(&figure)).map(|spread| spread.median);
        let count = ENDS.min(self.windows.len());
        let first = median(&self.windows[..count]).context("no window")?;
        let last = median(&self.windows[self.windows.len() - count..]).context("no window")?;
        Ok((first, last))
    }

    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        let drift = |figure: fn(&Window) -> f64| {
            self.ends(figure).map_or(f64::NAN, |(first, last)| (last / first - 1.0) * 100.0)
        };
        vec![
            Check::at_least(
                "steady load: change of the requests/s",
                drift(|one| one.requests_per_s),
                -5.0,
                "%",
            ),
            Check::at_most(
                "steady load: change of the private memory",
                drift(|one| one.private_bytes as f64),
                10.0,
                "%",
            ),
            Check::at_most(
                "steady load: change of the open descriptors",
                drift(|one| one.descriptors as f64),
                0.0,
                "%",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drifts_is_missed() {
        let window = |number: usize, rate: f64, bytes: u64| Window {
            at_s: number as f64,
            requests_per_s: rate,
            p99_us: 1.0,
            private_bytes: bytes,
            descriptors: 20,
        };
        let still = Steady { windows: (0..40).map(|number| window(number, 100.0, 1_000)).collect() };
        assert!(still.checks().iter().all(|check| check.reached));
        let windows =
            (0..40).map(|number| window(number, 100.0 - number as f64, 1_000 + 10 * number as u64)).collect();
        let drifting = Steady { windows }.checks();
        assert_eq!(drifting.iter().map(|check| check.reached).collect::<Vec<_>>(), [false, false, true]);
    }
}
