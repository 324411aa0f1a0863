//! A guest that never ends: how late after its deadline it is stopped, and what it does
//! to its neighbours meanwhile.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::Check;
use crate::load::{Load, Sample};
use crate::rounds::Spread;
use crate::tidegate::{Built, Tidegate};

/// The spinning guest's deadline.
const DEADLINE: Duration = Duration::from_millis(500);
/// Load of one window.
const WINDOW: Duration = Duration::from_secs(5);
/// Connections of the neighbour.
const CONNECTIONS: usize = 4;

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spinning {
    /// The deadline in milliseconds.
    pub deadline_ms: u64,
    /// Guests that were stopped.
    pub stopped: u64,
    /// From the deadline to the response in the caller's hands, in milliseconds; of all
    /// guests.
    pub late_ms: Spread,
    /// The neighbour's p99 in microseconds while nothing spins, window by window.
    pub idle_p99_us: Spread,
    /// The same while a guest spins without a pause.
    pub beside_p99_us: Spread,
    /// The second over the first, of windows that followed each other.
    pub ratio: Spread,
}

/// Puts load on a neighbour, in turns without and with a guest that spins.
///
/// # Errors
/// When a response is not what it must be.
pub fn measure(built: &Built, rounds: usize) -> anyhow::Result<Spinning> {
    let data = tempfile::tempdir()?;
    let host = Tidegate::start(built, data.path(), &[])?;
    let neighbour = host.catch("neighbour", &built.guest("hello")?)?;
    host.create(&json!({
        "name": "spinner",
        "kind": "catch",
        "limits": {"deadline_ms": DEADLINE.as_millis() as u64},
    }))?;
    let mut spinner = host.deploy_catch("spinner", &built.guest("spin")?)?;
    (spinner.status, spinner.body) = (504, None);

    let window = Load { connections: CONNECTIONS, warm_up: Duration::from_secs(1), measured: WINDOW };
    let (mut idle, mut beside, mut ratios, mut late) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut stopped = 0;
    for _ in 0..rounds {
        let alone = right(window.put_on(&neighbour)?)?;
        let spin = Load { connections: 1, warm_up: Duration::ZERO, measured: window.warm_up + WINDOW };
        let (spun, disturbed) = thread::scope(|scope| -> anyhow::Result<(Sample, Sample)> {
            let spun = scope.spawn(|| spin.put_on(&spinner));
            let disturbed = window.put_on(&neighbour)?;
            let spun = spun.join().map_err(|_| anyhow::anyhow!("the spinner's thread panicked"))??;
            Ok((right(spun)?, right(disturbed)?))
        })?;
        idle.push(alone.latency_us(0.99));
        beside.push(disturbed.latency_us(0.99));
        ratios.push(disturbed.latency_us(0.99) / alone.latency_us(0.99));
        stopped += spun.requests();
        let deadline_ms = DEADLINE.as_secs_f64() * 1e3;
        late.extend([0.0, 0.5, 1.0].map(|quantile| spun.latency_us(quantile) / 1e3 - deadline_ms));
    }
    Ok(Spinning {
        deadline_ms: DEADLINE.as_millis() as u64,
        stopped,
        late_ms: Spread::of(late).context("no round")?,
        idle_p99_us: Spread::of(idle).context("no round")?,
        beside_p99_us: Spread::of(beside).context("no round")?,
        ratio: Spread::of(ratios).context("no round")?,
    })
}

fn right(sample: Sample) -> anyhow::Result<Sample> {
    ensure!(sample.troubles.is_empty(), "exchanges went wrong: {:?}", sample.troubles);
    ensure!(sample.requests() > 0, "no response in the time measured");
    Ok(sample)
}

impl Spinning {
    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        vec![
            Check::at_most("a spinning guest is stopped behind its deadline", self.late_ms.max, 20.0, "ms"),
            Check::at_most("a neighbour's p99 beside it, over idle", self.ratio.median, 2.0, "times"),
        ]
    }
}
