//! Pages of runs by every kind of filter, searches, and single runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use jiff::Timestamp;
use tidegate::run::Status;
use tidegate::store::{EmbeddedStore, RunFilter, Store};

use crate::appends::Subject;
use crate::latencies::Latencies;

/// How often each page is asked for.
const TIMES: usize = 50;
/// Runs on a page.
const PAGE: usize = 50;

/// The slowest pages, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slowest {
    /// A filter's median, the slowest of all filters.
    pub(crate) median_ms: f64,
    /// The first page of a filter.
    pub(crate) first_ms: f64,
    /// A search's median.
    pub(crate) search_ms: f64,
    /// The first page of a search.
    pub(crate) search_first_ms: f64,
}

/// Asks for the pages and prints how long they took.
#[allow(clippy::print_stdout, reason = "a table is what this program is for")]
pub(crate) async fn listings(subject: &Subject) -> anyhow::Result<Slowest> {
    let store = &subject.store;
    let mut slowest = Slowest::default();
    for (name, filter) in filters(subject).await? {
        let name = format!("page: {name}");
        let seen = pages(store, &name, &filter).await?;
        slowest.median_ms = slowest.median_ms.max(seen.quantile_ms(0.5));
        slowest.first_ms = slowest.first_ms.max(seen.first_ms());
    }
    for (name, text) in [
        ("search, in every log", "log line"),
        ("search, in 1 of 1,000", "UNREACHABLE"),
        ("search, nowhere", "no such text"),
    ] {
        let filter = RunFilter { text: Some(text.to_owned()), ..RunFilter::default() };
        let seen = pages(store, name, &filter).await?;
        let read = store.runs(filter, None, PAGE).await?.searched.map_or(0, |searched| searched.runs);
        println!("{name:<34} {read:>13} runs read for a page");
        slowest.search_ms = slowest.search_ms.max(seen.quantile_ms(0.5));
        slowest.search_first_ms = slowest.search_first_ms.max(seen.first_ms());
    }
    let newest = store.runs(RunFilter::default(), None, 1).await?;
    let id = newest.runs.first().context("there are runs")?.id;
    let mut latencies = Latencies::default();
    for _ in 0..1000 {
        let start = Instant::now();
        store.run(id).await?.context("the run is there")?;
        latencies.push(start.elapsed());
    }
    latencies.report("one run by its id");
    Ok(slowest)
}

#[allow(clippy::print_stdout, reason = "a table is what this program is for")]
async fn pages(store: &Arc<EmbeddedStore>, name: &str, filter: &RunFilter) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    for _ in 0..TIMES {
        let start = Instant::now();
        store.runs(filter.clone(), None, PAGE).await?;
        latencies.push(start.elapsed());
    }
    latencies.report(name);
    println!("{name:<34} 1st {:>9.1} ms", latencies.first_ms());
    Ok(latencies)
}

async fn filters(subject: &Subject) -> anyhow::Result<Vec<(&'static str, RunFilter)>> {
    let Subject { store, ids } = subject;
    let one = |status| vec![status];
    let all = RunFilter::default();
    let own = RunFilter { workflow: Some(ids[7]), ..RunFilter::default() };
    let few = Arc::new(ids[..5].iter().copied().collect::<HashSet<_>>());
    let oldest = oldest(store).await?;
    Ok(vec![
        ("all", all.clone()),
        ("a workflow", own.clone()),
        ("5 of 100 workflows", RunFilter { among: Some(few.clone()), ..all.clone() }),
        ("failed, 1 of 1,000", RunFilter { statuses: one(Status::Failed), ..all.clone() }),
        ("a workflow, failed", RunFilter { statuses: one(Status::Failed), ..own.clone() }),
        ("cancelled, 1 of 100,000", RunFilter { statuses: one(Status::Cancelled), ..all.clone() }),
        (
            "5 workflows, cancelled",
            RunFilter { among: Some(few), statuses: one(Status::Cancelled), ..all.clone() },
        ),
        ("a trigger, 1 of 20,000", RunFilter { trigger: Some("test".to_owned()), ..all.clone() }),
        ("a trigger and a workflow", RunFilter { trigger: Some("test".to_owned()), ..own }),
        (
            "failed, a trigger",
            RunFilter { statuses: one(Status::Failed), trigger: Some("catch".to_owned()), ..all.clone() },
        ),
        ("a status that no run has", RunFilter { statuses: one(Status::Interrupted), ..all.clone() }),
        ("a time that no run has", RunFilter { until: Some(Timestamp::UNIX_EPOCH), ..all.clone() }),
        ("the oldest minute", RunFilter { until: Some(oldest), ..all.clone() }),
        ("failed by a time", RunFilter { until: Some(oldest), statuses: one(Status::Failed), ..all }),
    ])
}

/// An instant in the first quarter of the time in which there are runs.
async fn oldest(store: &Arc<EmbeddedStore>) -> anyhow::Result<Timestamp> {
    let newest = store.runs(RunFilter::default(), None, 1).await?;
    let newest = newest.runs.first().context("there are runs")?.accepted_at;
    let mut first = Timestamp::UNIX_EPOCH;
    // By halves: the earliest instant up to which there are runs.
    let mut last = newest;
    while last.duration_since(first).as_millis() > 100 {
        let middle = first + last.duration_since(first) / 2;
        let filter = RunFilter { until: Some(middle), ..RunFilter::default() };
        match store.runs(filter, None, 1).await?.runs.is_empty() {
            true => first = middle,
            false => last = middle,
        }
    }
    Ok(last + newest.duration_since(last) / 4)
}
