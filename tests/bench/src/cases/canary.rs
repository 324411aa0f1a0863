//! Runs that look for what other runs left in their memory.

use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::connection::Trouble;
use crate::load::Load;
use crate::tidegate::{Built, Tidegate};

/// Runs that look.
const RUNS: u64 = 100_000;
const CONNECTIONS: usize = 8;
const WINDOW: Duration = Duration::from_secs(5);

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Canary {
    /// Runs that looked through their memory and then wrote the pattern over it.
    pub runs: u64,
    /// Runs that found it.
    pub seen: u64,
}

/// Has a guest look for its pattern before it writes it, on slots that are used again.
///
/// # Errors
/// When the host refuses, or a request fails.
pub fn measure(built: &Built) -> anyhow::Result<Canary> {
    let data = tempfile::tempdir()?;
    let host = Tidegate::start(built, data.path(), &[])?;
    let mut target = host.catch("canary", &built.guest("canary")?)?;
    target.body = Some("0".into());
    ensure!(target.ask_once()?, "the first run finds its own pattern");
    let mut measured = Canary { runs: 1, seen: 0 };
    while measured.runs < RUNS {
        let load = Load { connections: CONNECTIONS, warm_up: Duration::ZERO, measured: WINDOW };
        let sample = load.put_on(&target)?;
        host.server.is_there()?;
        // Another answer than that it found nothing; a request that failed proves nothing.
        let seen = sample.troubles.get(&Trouble::Unexpected).copied().unwrap_or_default();
        let failed = sample.troubles.keys().any(|trouble| *trouble != Trouble::Unexpected);
        ensure!(!failed && sample.answered > 0, "exchanges went wrong: {:?}", sample.troubles);
        measured.runs += sample.answered + seen;
        measured.seen += seen;
    }
    Ok(measured)
}

impl Canary {
    /// The figure to reach.
    pub fn checks(&self) -> Vec<Check> {
        let what = format!("runs of {} that saw what others wrote", self.runs);
        vec![Check::at_most(what, self.seen as f64, 0.0, "")]
    }
}
