//! A million runs in the store: pages of them, a start with them, and calls while they are
//! deleted.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::LocalSet;

use crate::check::Check;
use crate::connection::Connection;
use crate::load::{Load, Target};
use crate::rounds::Spread;
use crate::tidegate::{Built, Tidegate};

/// Runs that are stored.
const RUNS: u64 = 1_000_000;
/// Connections that make them.
const BUSY: usize = 16;
/// How often each page is asked for; the first time counts by itself.
const PAGES: usize = 20;
/// Calls a second while runs are deleted.
const CALLS_PER_S: u32 = 1000;
/// Connections that make these calls, in turns.
const CALLERS: u32 = 20;
/// How long calls are watched while nothing is deleted, and at least while something is.
const WATCHED: Duration = Duration::from_secs(15);
/// How long the space of the deleted runs may take to come back.
const PATIENCE: Duration = Duration::from_secs(600);

/// A page of 50 runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page {
    /// The query.
    pub query: String,
    /// The first time after a start, in milliseconds.
    pub first_ms: f64,
    /// Afterwards.
    pub next_ms: Spread,
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stored {
    /// Runs that were stored.
    pub runs: u64,
    /// Pages of them.
    pub pages: Vec<Page>,
    /// From the start of the process with all of them to the line that says it serves, in
    /// milliseconds.
    pub ready_ms: Spread,
    /// p99 of calls while nothing is deleted, in microseconds.
    pub calm_p99_us: f64,
    /// The same while one of two workflows is cut to ten runs: every segment is written anew.
    pub cut_p99_us: f64,
    /// Seconds until the space of the runs was back.
    pub cut_s: f64,
    /// The same behind a start, while nothing is deleted, and while the host's limit deletes
    /// all but some runs, in microseconds.
    pub started_p99_us: f64,
    /// See [`Self::started_p99_us`].
    pub pruned_p99_us: f64,
    /// Runs that the host's limit deleted.
    pub pruned: u64,
}

/// Stores the runs, then reads and deletes them.
///
/// # Errors
/// When the host refuses, answers anything but the hello, or keeps what it should delete.
pub fn measure(built: &Built, times: usize) -> anyhow::Result<Stored> {
    let data = tempfile::tempdir()?;
    let mut host = Tidegate::start(built, data.path(), &[])?;
    let (cut, kept) =
        (host.catch("cut", &built.guest("hello")?)?, host.catch("kept", &built.guest("hello")?)?);
    host.catch("trap", &built.guest("trap")?)?;
    let trap = Target { status: 502, body: None, ..host.target("trap")? };
    // Two of three go later, in every segment: more than the half that makes it worth while.
    let filling = [&cut, &cut, &kept];
    let mut filling = filling.iter().cycle();
    while runs(&host)? < RUNS {
        let load = Load { connections: BUSY, warm_up: Duration::ZERO, measured: Duration::from_secs(1) };
        let sample = load.put_on(filling.next().context("there are some")?)?;
        ensure!(sample.troubles.is_empty(), "exchanges went wrong: {:?}", sample.troubles);
        // And a rare one.
        ensure!(trap.ask_once()?, "the workflow that traps does not");
    }
    let stored = runs(&host)?;
    let mut ready_ms = Vec::new();
    for _ in 0..times.max(1) {
        host.server.stop()?;
        host = Tidegate::start(built, data.path(), &[])?;
        ready_ms.push(host.server.ready_after.as_secs_f64() * 1e3);
    }
    let pages = pages(&host)?;

    let target = host.target("kept")?;
    watch(&target, WATCHED, || Ok(true))?;
    let calm = watch(&target, WATCHED, || Ok(true))?;
    host.patch("/api/v1/workflows/cut", &json!({"limits": {"retention_runs_max": 10}}))?;
    let began = Instant::now();
    let mut cut_s = None;
    let cut = watch(&target, WATCHED, || {
        let usage = host.get("/api/v1/usage")?;
        let left = usage["workflows"].as_array().context("a list")?.iter().find(|own| own["name"] == "cut");
        let is_cut = left.and_then(|own| own["runs"].as_u64()).unwrap_or(0) <= 10;
        // What is left of dead runs is below half of each segment.
        let (dead, all) = (usage["dead_bytes"].as_u64(), usage["run_bytes"].as_u64());
        let is_back = dead.context("a number")? * 2 < all.context("a number")?;
        if is_cut && is_back {
            cut_s.get_or_insert(began.elapsed().as_secs_f64());
        }
        Ok(cut_s.is_some())
    })?;

    host.server.stop()?;
    host = Tidegate::start(built, data.path(), &[])?;
    let started = watch(&host.target("kept")?, WATCHED, || Ok(true))?;
    let before = runs(&host)?;
    host.server.stop()?;
    let limits = [("store.retention_runs_max", "1000".to_owned())];
    host = Tidegate::start(built, data.path(), &limits)?;
    let mut left = before;
    let pruned = watch(&host.target("kept")?, WATCHED, || {
        left = runs(&host)?;
        Ok(left < before / 2)
    })?;
    host.server.stop()?;
    let p99_us = |seen: &Histogram<u64>| seen.value_at_quantile(0.99) as f64 / 1e3;
    Ok(Stored {
        runs: stored,
        pages,
        ready_ms: Spread::of(ready_ms).context("no start")?,
        calm_p99_us: p99_us(&calm),
        cut_p99_us: p99_us(&cut),
        cut_s: cut_s.context("the space did not come back")?,
        started_p99_us: p99_us(&started),
        pruned_p99_us: p99_us(&pruned),
        pruned: before.saturating_sub(left),
    })
}

/// Runs that can be listed.
fn runs(host: &Tidegate) -> anyhow::Result<u64> {
    let usage = host.get("/api/v1/usage")?;
    let workflows = usage["workflows"].as_array().context("a list")?;
    Ok(workflows.iter().filter_map(|own| own["runs"].as_u64()).sum())
}

/// Each filter, and some together; the last ones have few or no runs.
fn pages(host: &Tidegate) -> anyhow::Result<Vec<Page>> {
    let page = host.get("/api/v1/runs?limit=500")?;
    let some = page["runs"][499]["accepted_at"].as_str().context("an instant")?.to_owned();
    let some = some.replace('+', "%2B");
    let queries = [
        "/runs?".to_owned(),
        "/workflows/kept/runs?".to_owned(),
        "/runs?status=succeeded".to_owned(),
        "/runs?status=failed".to_owned(),
        "/workflows/trap/runs?status=failed".to_owned(),
        "/workflows/kept/runs?status=failed".to_owned(),
        "/runs?trigger=catch".to_owned(),
        format!("/runs?until={some}"),
        format!("/runs?until={some}&status=failed"),
        "/workflows/kept/runs?status=succeeded&trigger=catch".to_owned(),
        "/runs?status=interrupted".to_owned(),
        "/runs?trigger=pull".to_owned(),
        "/runs?until=2000-01-01T00:00:00Z".to_owned(),
        "/runs?text=no%20such%20text".to_owned(),
    ];
    let one = |query: &String| {
        let mut times = Vec::new();
        for _ in 0..=PAGES {
            let start = Instant::now();
            host.get(&format!("/api/v1{query}&limit=50"))?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let next_ms = Spread::of(times[1..].iter().copied()).context("no page")?;
        Ok(Page { query: query.clone(), first_ms: times[0], next_ms })
    };
    queries.iter().map(one).collect()
}

/// Calls at a fixed rate for so long, and until `is_over` says so; how long they took.
fn watch(
    target: &Target,
    at_least: Duration,
    mut is_over: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Histogram<u64>> {
    let mut seen = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    let begin = Instant::now();
    loop {
        seen.add(&second(target)?)?;
        if begin.elapsed() >= at_least && is_over()? {
            return Ok(seen);
        }
        ensure!(begin.elapsed() < PATIENCE, "the runs are not deleted within {PATIENCE:?}");
    }
}

/// A second of calls.
fn second(target: &Target) -> anyhow::Result<Histogram<u64>> {
    let seen = Rc::new(RefCell::new(Histogram::new_with_bounds(1, 60_000_000_000, 3)?));
    let wrong = Rc::new(RefCell::new(None));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let begin = Instant::now() + Duration::from_millis(20);
    for caller in 0..CALLERS {
        let (seen, wrong, target) = (seen.clone(), wrong.clone(), target.clone());
        tasks.spawn_local(async move {
            let Ok(mut connection) = Connection::open(target.address).await else {
                *wrong.borrow_mut() = Some("no connection".to_owned());
                return;
            };
            for number in (caller..CALLS_PER_S).step_by(CALLERS as usize) {
                let due = begin + Duration::from_secs(1) * number / CALLS_PER_S;
                tokio::time::sleep_until(due.into()).await;
                let start = Instant::now();
                match connection.exchange(&target.request).await {
                    Ok(response) if target.accepts(&response) => {
                        seen.borrow_mut().saturating_record(start.elapsed().as_nanos() as u64);
                    }
                    other => {
                        *wrong.borrow_mut() = Some(format!("{other:?}"));
                        return;
                    }
                }
            }
        });
    }
    runtime.block_on(tasks);
    ensure!(wrong.borrow().is_none(), "a call went wrong: {:?}", wrong.borrow());
    Ok(Rc::try_unwrap(seen).ok().context("a call is under way")?.into_inner())
}

impl Stored {
    /// The slowest page, first or later.
    fn slowest_ms(&self, figure: impl Fn(&Page) -> f64) -> f64 {
        self.pages.iter().map(figure).fold(f64::NAN, f64::max)
    }

    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        let slower = |busy: f64, calm: f64| busy / calm.max(f64::MIN_POSITIVE);
        vec![
            Check::at_most(
                "page of 50 of a million runs, slowest filter, after a start",
                self.slowest_ms(|page| page.first_ms),
                20.0,
                "ms",
            ),
            Check::at_most(
                "page of 50 of a million runs, slowest filter",
                self.slowest_ms(|page| page.next_ms.median),
                20.0,
                "ms",
            ),
            Check::at_most("start to ready with a million runs", self.ready_ms.median, 1000.0, "ms"),
            Check::at_most(
                "p99 while two thirds of a million runs are cut, over calm",
                slower(self.cut_p99_us, self.calm_p99_us),
                1.5,
                "",
            ),
            Check::at_most(
                "p99 while the host's limit deletes all runs, over calm",
                slower(self.pruned_p99_us, self.started_p99_us),
                1.5,
                "",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_page_and_the_ratio_are_judged() {
        let page = |first_ms, median| Page {
            query: String::new(),
            first_ms,
            next_ms: Spread { median, min: median, max: median },
        };
        let stored = Stored {
            runs: RUNS,
            pages: vec![page(5.0, 1.0), page(25.0, 3.0)],
            ready_ms: Spread { median: 900.0, min: 1.0, max: 2.0 },
            calm_p99_us: 100.0,
            cut_p99_us: 140.0,
            cut_s: 1.0,
            started_p99_us: 100.0,
            pruned_p99_us: 160.0,
            pruned: 1,
        };
        let reached: Vec<_> = stored.checks().iter().map(|check| check.reached).collect();
        assert_eq!(reached, [false, true, true, true, false]);
    }
}
