//! How late runs start when very many schedules are due.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::Check;
use crate::parallel;
use crate::tidegate::{Built, Tidegate};

/// Schedules, each of a workflow of its own.
const SCHEDULES: usize = 10_000;
/// How often each is due: some 167 runs a second.
const EVERY: Duration = Duration::from_secs(60);
/// How long the last runs may take.
const TAIL: Duration = Duration::from_secs(10);
/// Largest page of runs that the API gives.
const PAGE: usize = 500;

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Schedules {
    /// Schedules.
    pub schedules: usize,
    /// How often each was due, in milliseconds.
    pub every_ms: u64,
    /// Runs that started in the time measured.
    pub runs: u64,
    /// From the due instant to the run's start, in milliseconds.
    pub late_p50_ms: f64,
    /// See [`Self::late_p50_ms`].
    pub late_p99_ms: f64,
    /// See [`Self::late_p50_ms`].
    pub late_max_ms: f64,
    /// Runs that should have been, and were not, or did not succeed.
    pub lost: u64,
    /// Cores that the host took.
    pub cores: f64,
    /// From the due instant to the run's start where all schedules are due at the same
    /// instant, in milliseconds: the last of them waits for all others to run.
    #[serde(default)]
    pub at_once_p50_ms: f64,
    /// See [`Self::at_once_p50_ms`].
    #[serde(default)]
    pub at_once_p99_ms: f64,
    /// Runs lost among them.
    #[serde(default)]
    pub at_once_lost: u64,
}

/// Measures schedules whose instants are spread over a minute, and then some that are all
/// due at its beginning.
///
/// # Errors
/// When the host refuses.
pub fn measure(built: &Built) -> anyhow::Result<Schedules> {
    let (late, cores) = observe(built, &json!({"every": format!("{}s", EVERY.as_secs())}))?;
    let (at_once, _) = observe(built, &json!({"cron": "* * * * *"}))?;
    let ms = |late: &Histogram<u64>, quantile| late.value_at_quantile(quantile) as f64 / 1e3;
    let lost = |late: &Histogram<u64>| (SCHEDULES as u64).saturating_sub(late.len());
    Ok(Schedules {
        schedules: SCHEDULES,
        every_ms: EVERY.as_millis() as u64,
        runs: late.len(),
        late_p50_ms: ms(&late, 0.5),
        late_p99_ms: ms(&late, 0.99),
        late_max_ms: late.max() as f64 / 1e3,
        lost: lost(&late),
        cores,
        at_once_p50_ms: ms(&at_once, 0.5),
        at_once_p99_ms: ms(&at_once, 0.99),
        at_once_lost: lost(&at_once),
    })
}

/// Creates the schedules, lets each become due once unobserved and once observed. Returns
/// how late their runs began, and the cores that the host took.
fn observe(built: &Built, schedule: &serde_json::Value) -> anyhow::Result<(Histogram<u64>, f64)> {
    let data = tempfile::tempdir()?;
    // All that are deployed at the same time have a place in front of the compiler.
    let limits = [("engine.compiles_waiting_max", parallel::AT_ONCE.to_string())];
    let host = Tidegate::start(built, data.path(), &limits)?;
    let pull = built.guest("pull")?;
    let pull_of = |index: usize| {
        let name = format!("pull-{index:05}");
        host.create(&json!({"name": name, "kind": "pull", "schedules": [schedule]}))?;
        host.deploy(&name, &pull).map(drop)
    };
    // Compiled once; for the others the artefact is there.
    pull_of(0)?;
    parallel::for_each(SCHEDULES - 1, |index| pull_of(index + 1))?;
    // Until the deploys are history and the last schedule has been due once.
    std::thread::sleep(EVERY);
    let from = Timestamp::now();
    let process = host.server.process();
    let cpu_before = process.cpu_time()?;
    std::thread::sleep(EVERY);
    let until = Timestamp::now();
    let cores = (process.cpu_time()? - cpu_before).as_secs_f64() / EVERY.as_secs_f64();
    // Runs that were due just before the end may still be on their way.
    std::thread::sleep(TAIL);
    Ok((lateness(&host, from, until)?, cores))
}

/// Microseconds from the due instant to the start of the runs that succeeded and were
/// due in this time.
fn lateness(host: &Tidegate, from: Timestamp, until: Timestamp) -> anyhow::Result<Histogram<u64>> {
    let mut late = Histogram::new(3)?;
    let mut cursor = String::new();
    loop {
        let page = host.get(&format!("/api/v1/runs?limit={PAGE}{cursor}"))?;
        let runs = page["runs"].as_array().context("a list of runs")?;
        for run in runs {
            let (Some(due), Some(started)) = (instant(&run["due"]), instant(&run["started_at"])) else {
                continue;
            };
            if (from..until).contains(&due) && run["status"] == "succeeded" {
                late.record(started.duration_since(due).as_micros().max(0) as u64)?;
            }
        }
        let oldest = runs.last().and_then(|run| instant(&run["accepted_at"]));
        match (page["next"].as_str(), oldest) {
            (Some(next), Some(oldest)) if oldest >= from => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    ensure!(!late.is_empty(), "nothing was run on schedule");
    Ok(late)
}

fn instant(value: &serde_json::Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

impl Schedules {
    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        let schedules = self.schedules;
        vec![
            Check::at_most(
                format!("p99 of the lateness of {schedules} schedules"),
                self.late_p99_ms,
                20.0,
                "ms",
            ),
            Check::at_most("runs lost among them", self.lost as f64, 0.0, ""),
            Check::at_most(
                format!("runs lost among {schedules} that are due at one instant"),
                self.at_once_lost as f64,
                0.0,
                "",
            ),
        ]
    }
}
