//! Measures the embedded store: latencies of appends, memory, listings, reopening, deletion;
//! and says which of its figures are reached.
//!
//! `cargo run --release --example store_bench -- [--strict] [RUNS] [SECONDS] [FOLDER]`; a
//! million runs, ten seconds of durable runs at 10,000 a second, and a temporary folder when
//! not given. Runs are about 1.3 KB each. `make bench-store` lets the durable runs go on for
//! ten minutes. With `--strict` a figure that is missed is a failure.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]

mod appends;
mod latencies;
mod listings;
mod records;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate::store::{Durability, EmbeddedOptions, EmbeddedStore, Retention, Store, WorkflowRetention};
use tidegate::workflow::WorkflowId;

use appends::{Subject, timed};
use latencies::{Latencies, ms};
use verdict::{Target, Verdicts};

const WORKFLOWS: usize = 100;
/// Durable runs that are offered in a second.
const OFFERED_PER_S: u32 = 10_000;
/// How long runs are offered before a line is printed.
const WINDOW: Duration = Duration::from_secs(10);
/// Runs that are offered in a second while others are deleted.
const BESIDE_PER_S: u32 = 2_000;
/// Windows of each kind, with deletion and without, in turns.
const TURNS: u64 = 8;
/// A window without deletion, and what follows a deletion in one with it.
const CALM: Duration = Duration::from_secs(2);
/// A window before and after the segments are written anew.
const CALM_LONG: Duration = Duration::from_secs(15);

struct Arguments {
    is_strict: bool,
    runs: usize,
    durable: Duration,
    folder: Option<PathBuf>,
}

fn arguments() -> anyhow::Result<Arguments> {
    let (flags, rest): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|text| text.starts_with("--"));
    anyhow::ensure!(flags.iter().all(|flag| flag == "--strict"), "the only flag is --strict");
    let mut rest = rest.into_iter();
    let runs = rest.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let durable = rest.next().map_or(Ok(WINDOW.as_secs()), |text| text.parse())?;
    let durable = Duration::from_secs(durable);
    Ok(Arguments { is_strict: !flags.is_empty(), runs, durable, folder: rest.next().map(PathBuf::from) })
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments { is_strict, runs, durable, folder } = arguments()?;
    let temp = tempfile::tempdir()?;
    let folder = folder.unwrap_or_else(|| temp.path().join("data"));
    let mut verdicts = Verdicts::default();

    let store = open(&folder).await?;
    let mut ids = Vec::new();
    for number in 0..WORKFLOWS {
        let workflow = records::workflow(number)?;
        ids.push(workflow.id);
        store.create_workflow(workflow).await?;
    }
    let mut subject = Subject { store, ids: ids.into() };
    println!("{:<34} {:>13} MB", "resident at start", resident_mb());
    for (durability, appenders, each) in [
        (Durability::Written, 1, 20_000),
        (Durability::Written, 32, 2_000),
        (Durability::Durable, 1, 200),
        (Durability::Durable, 32, 200),
        (Durability::Durable, 512, 100),
    ] {
        subject.appends(durability, appenders, each).await?;
    }
    subject.claims().await?;
    group_commit(&subject, durable, &mut verdicts).await?;
    let left = runs.saturating_sub(usize::try_from(subject.store.health().runs)?);
    subject.appends(Durability::Written, 256, left / 256).await?;
    println!("{:<34} {:>13}", "runs stored", subject.store.health().runs);
    println!("{:<34} {:>13} MB", "resident with them", resident_mb());
    judge_listings("", &subject, &mut verdicts).await?;
    println!("{:<34} {:>13} MB", "resident after listings", resident_mb());

    timed("close", subject.store.close()).await?;
    subject.store = reopened(subject.store, &folder, &mut verdicts).await?;
    judge_listings(" after a start", &subject, &mut verdicts).await?;
    timed("usage of all workflows", subject.store.usage()).await?;
    let now = Timestamp::now();
    let hour = now - jiff::SignedDuration::from_hours(1);
    timed("statistics of an hour", subject.store.statistics(None, hour, now, 1)).await?;

    cut(&subject, &mut verdicts).await?;
    delete(&subject, &mut verdicts).await?;
    println!("{:<34} {:>13}", "runs left", subject.store.health().runs);
    subject.store.close().await?;
    print!("\n{verdicts}");
    let missed = verdicts.missed();
    println!("{missed} figures are MISSED");
    Ok(if is_strict && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn open(folder: &Path) -> anyhow::Result<Arc<EmbeddedStore>> {
    let folder = folder.to_owned();
    Ok(tokio::task::spawn_blocking(move || EmbeddedStore::open(&folder, EmbeddedOptions::default()))
        .await??)
}

async fn reopened(
    store: Arc<EmbeddedStore>,
    folder: &Path,
    verdicts: &mut Verdicts,
) -> anyhow::Result<Arc<EmbeddedStore>> {
    let runs = store.health().runs;
    drop(store);
    let start = Instant::now();
    let store = open(folder).await?;
    let opened = ms(start.elapsed());
    println!("{:<34} {opened:>13.1} ms", "open");
    verdicts.judge(format!("open with {runs} runs"), opened, Target::AtMost(1000.0), "ms");
    Ok(store)
}

/// Durable runs at a fixed rate, ten seconds at a time: whether memory and latency stay as
/// they are.
async fn group_commit(subject: &Subject, time: Duration, verdicts: &mut Verdicts) -> anyhow::Result<()> {
    let (mut slowest_ms, mut least_rate, mut resident) = (0f64, f64::INFINITY, Vec::new());
    for _ in 0..time.as_secs().div_ceil(WINDOW.as_secs()).max(1) {
        let seen = subject.offered(Durability::Durable, OFFERED_PER_S, WINDOW, || true).await?;
        seen.latencies.report(&format!("durable, {OFFERED_PER_S}/s offered"));
        let (runs, mb) = (subject.store.health().runs, resident_mb());
        println!("{:<34} {:>13.0} /s", "  taken", seen.rate);
        println!("{:<34} {mb:>13} MB", format!("  resident, {runs} runs stored"));
        slowest_ms = slowest_ms.max(seen.latencies.quantile_ms(0.99));
        least_rate = least_rate.min(seen.rate);
        resident.push(mb);
    }
    // The last runs of a window are on the disk a flush later than they were offered.
    let least = f64::from(OFFERED_PER_S) * 0.98;
    verdicts.judge("durable runs a second, worst 10 s", least_rate, Target::AtLeast(least), "/s");
    verdicts.judge("p99 to durable, worst 10 s", slowest_ms, Target::AtMost(200.0), "ms");
    // Indexes in memory have a limit, which is reached in the first minutes.
    let third = resident.len() / 3;
    let most = |part: &[u64]| part.iter().max().copied().unwrap_or(0) as f64;
    let (before, last) = (most(&resident[..resident.len() - third]), most(&resident[2 * third..]));
    verdicts.judge("memory, last third over before", last / before.max(1.0), Target::AtMost(1.1), "times");
    Ok(())
}

async fn judge_listings(when: &str, subject: &Subject, verdicts: &mut Verdicts) -> anyhow::Result<()> {
    let slowest = listings::listings(subject).await?;
    for (what, figure) in [
        ("page of 50, slowest filter", slowest.median_ms),
        ("first page of 50, slowest filter", slowest.first_ms),
        ("page of a search, slowest", slowest.search_ms),
        ("first page of a search, slowest", slowest.search_first_ms),
    ] {
        verdicts.judge(format!("{what}{when}"), figure, Target::AtMost(20.0), "ms");
    }
    Ok(())
}

/// Most workflows go below limits of their own: every segment is written anew.
async fn cut(subject: &Subject, verdicts: &mut Verdicts) -> anyhow::Result<()> {
    let own = |workflow: &WorkflowId| WorkflowRetention {
        workflow: *workflow,
        accepted_before: None,
        bytes_max: None,
        runs_max: Some(10),
    };
    let most =
        Retention { workflows: subject.ids.iter().take(60).map(own).collect(), ..Retention::default() };
    let mut calm = calm(subject, CALM_LONG).await?;
    let start = Instant::now();
    let pruning = subject.prune(most);
    let seen = subject.offered(Durability::Written, BESIDE_PER_S, CALM, || pruning.is_finished()).await?;
    let (pruned, took) = (pruning.await??, start.elapsed());
    calm.extend(self::calm(subject, CALM_LONG).await?);
    println!("{} runs of 60 workflows deleted, {} MB, in {took:.1?}", pruned.runs, pruned.bytes >> 20);
    compare("while 60 of 100 workflows are cut", &calm, &seen.latencies, verdicts);
    Ok(())
}

/// The host's limit goes down step by step: windows in which segments are deleted, and
/// windows in which nothing is.
async fn delete(subject: &Subject, verdicts: &mut Verdicts) -> anyhow::Result<()> {
    let (mut calm, mut busy) = (Latencies::default(), Latencies::default());
    let (mut deleted, mut bytes) = (0, 0);
    let step = subject.store.health().runs / TURNS;
    for _ in 0..TURNS {
        calm.extend(self::calm(subject, CALM).await?);
        let runs_max = Some(subject.store.health().runs.saturating_sub(step));
        let pruning = subject.prune(Retention { runs_max, ..Retention::default() });
        let seen = subject.offered(Durability::Written, BESIDE_PER_S, CALM / 4, || pruning.is_finished());
        busy.extend(seen.await?.latencies);
        let pruned = pruning.await??;
        (deleted, bytes) = (deleted + pruned.runs, bytes + pruned.bytes);
    }
    println!("{deleted} runs deleted by the host's limit, {} MB, in {TURNS} steps", bytes >> 20);
    compare("while the host's limit deletes", &calm, &busy, verdicts);
    Ok(())
}

async fn calm(subject: &Subject, time: Duration) -> anyhow::Result<Latencies> {
    Ok(subject.offered(Durability::Written, BESIDE_PER_S, time, || true).await?.latencies)
}

fn compare(name: &str, calm: &Latencies, busy: &Latencies, verdicts: &mut Verdicts) {
    calm.report("appends while nothing is deleted");
    busy.report(name);
    let ratio = busy.quantile_ms(0.99) / calm.quantile_ms(0.99);
    verdicts.judge(format!("p99 {name}"), ratio, Target::AtMost(1.5), "times");
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kilobytes =
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}
