//! Measures the embedded store: latencies of appends, memory, listings, reopening.
//!
//! `cargo run --release --example store_bench -- [RUNS] [SECONDS] [FOLDER]`; a million runs,
//! ten seconds of durable runs at 10,000 a second, and a temporary folder when not given.
//! Runs are about 1.3 KB each. `make bench-store` lets the durable runs go on for ten minutes.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use tidegate::run::{
    Body, Fault, FaultKind, Inputs, Level, LogLine, LogSummary, ReplyRecord, RequestRecord, Run, RunId,
    Status, Stream, Trigger, Usage,
};
use tidegate::store::{
    Claim, Durability, EmbeddedOptions, EmbeddedStore, Retention, RunFilter, Store, Tick, TickState,
    WorkflowRetention,
};
use tidegate::workflow::{
    Endpoint, Kind, LimitOverrides, RetryPolicy, Revision, State, Workflow, WorkflowId,
};

const WORKFLOWS: usize = 100;
/// Runs that were made.
static RUNS: AtomicU64 = AtomicU64::new(0);
/// How long runs are offered at a fixed rate.
const OFFERED: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let total: usize = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let durable = arguments.next().map_or(Ok(OFFERED.as_secs()), |text| text.parse())?;
    let temp = tempfile::tempdir()?;
    let folder = arguments.next().map_or_else(|| temp.path().join("data"), PathBuf::from);

    let store = open(&folder).await?;
    let mut ids = Vec::new();
    for number in 0..WORKFLOWS {
        let workflow = workflow(number)?;
        ids.push(workflow.id);
        store.create_workflow(workflow).await?;
    }
    let ids: Arc<[WorkflowId]> = ids.into();
    println!("resident at start                  {:>10} MB", resident_mb());
    for (durability, appenders, each) in [
        (Durability::Written, 1, 20_000),
        (Durability::Written, 32, 2_000),
        (Durability::Durable, 1, 200),
        (Durability::Durable, 32, 200),
        (Durability::Durable, 512, 100),
    ] {
        appends(&store, &ids, durability, appenders, each).await?;
    }
    claims(&store, &ids).await?;
    // Ten seconds at a time: whether memory and latency stay as they are.
    for _ in 0..durable.div_ceil(OFFERED.as_secs()) {
        offered(&store, &ids, Durability::Durable, 10_000, OFFERED, None).await?;
        println!("resident, {:>10} runs stored    {:>10} MB", store.health().runs, resident_mb());
    }
    println!("asked for: 10000 /s, p99 200000 µs, steady memory");
    let left = total.saturating_sub(usize::try_from(store.health().runs)?);
    appends(&store, &ids, Durability::Written, 256, left / 256).await?;
    println!("runs stored                        {:>10}", store.health().runs);
    println!("resident with them                 {:>10} MB", resident_mb());
    listings(&store, &ids).await?;
    println!("resident after listings            {:>10} MB", resident_mb());

    timed("close", store.close()).await?;
    drop(store);
    let start = Instant::now();
    let store = open(&folder).await?;
    println!("open                               {:>10.1} ms", ms(start.elapsed()));
    listings(&store, &ids).await?;
    offered(&store, &ids, Durability::Written, 2000, OFFERED, None).await?;
    println!("usage and statistics:");
    timed("usage of all workflows", store.usage()).await?;
    let now = Timestamp::now();
    let hour = now - jiff::SignedDuration::from_hours(1);
    timed("statistics of an hour", store.statistics(None, hour, now, 1)).await?;
    // Most workflows go below limits of their own: every segment is written anew.
    let own = |workflow: &WorkflowId| WorkflowRetention {
        workflow: *workflow,
        accepted_before: None,
        bytes_max: None,
        runs_max: Some(10),
    };
    let most = Retention { workflows: ids.iter().take(60).map(own).collect(), ..Retention::default() };
    println!("while 60 of 100 workflows are cut to 10 runs:");
    offered(&store, &ids, Durability::Written, 2000, OFFERED, Some(most)).await?;
    println!("while all runs are deleted:");
    let all = Retention { accepted_before: Some(Timestamp::now()), ..Retention::default() };
    offered(&store, &ids, Durability::Written, 2000, OFFERED, Some(all)).await?;
    println!("runs left                          {:>10}", store.health().runs);
    store.close().await?;
    Ok(())
}

async fn open(folder: &Path) -> anyhow::Result<Arc<EmbeddedStore>> {
    let folder = folder.to_owned();
    Ok(tokio::task::spawn_blocking(move || EmbeddedStore::open(&folder, EmbeddedOptions::default()))
        .await??)
}

async fn appends(
    store: &Arc<EmbeddedStore>,
    ids: &Arc<[WorkflowId]>,
    durability: Durability,
    appenders: usize,
    each: usize,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..appenders)
        .map(|appender| {
            let (store, ids) = (store.clone(), ids.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(each);
                for number in 0..each {
                    let run = Arc::new(run(ids[(appender + number) % ids.len()], number)?);
                    let log = log();
                    let start = Instant::now();
                    store.append_run(run, log, durability).await?;
                    latencies.push(start.elapsed());
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let rate = (latencies.len() as f64 / start.elapsed().as_secs_f64()) as u64;
    let name = format!("{durability:?}, {appenders} appenders").to_lowercase();
    report(&name, latencies);
    println!("{name:<30}     {rate:>10} /s");
    Ok(())
}

/// Runs that come at a fixed rate, whatever the store does; with retention from a third
/// of the time on.
async fn offered(
    store: &Arc<EmbeddedStore>,
    ids: &Arc<[WorkflowId]>,
    durability: Durability,
    rate: usize,
    time: Duration,
    retention: Option<Retention>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let total = (rate as f64 * time.as_secs_f64()) as usize;
    let mut tasks = Vec::with_capacity(total);
    let mut pruning = None;
    for number in 0..total {
        let due = start + Duration::from_secs_f64(number as f64 / rate as f64);
        // A tick of the timer is a millisecond: what is due by then goes together.
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        if number == total / 3
            && let Some(retention) = retention.clone()
        {
            let store = store.clone();
            pruning = Some(tokio::spawn(async move {
                let start = Instant::now();
                store.prune(retention).await.map(|pruned| (pruned, start.elapsed()))
            }));
        }
        let (store, ids) = (store.clone(), ids.clone());
        tasks.push(tokio::spawn(async move {
            let run = Arc::new(run(ids[number % ids.len()], number)?);
            let start = Instant::now();
            store.append_run(run, log(), durability).await?;
            anyhow::Ok(start.elapsed())
        }));
    }
    let mut latencies = Vec::with_capacity(total);
    for task in tasks {
        latencies.push(task.await??);
    }
    let taken = (latencies.len() as f64 / start.elapsed().as_secs_f64()) as u64;
    let name = format!("{durability:?}, {rate}/s offered").to_lowercase();
    let after = latencies.split_off(total / 3);
    report(&name, latencies);
    report("  in the last two thirds", after);
    println!("{name:<30}     {taken:>10} /s");
    if let Some(pruning) = pruning {
        let (pruned, took) = pruning.await??;
        println!("  retention: {} runs, {} MB, {:.0} ms", pruned.runs, pruned.bytes >> 20, ms(took));
    }
    Ok(())
}

/// What a scheduler does at a full minute: every schedule's instant at once.
async fn claims(store: &Arc<EmbeddedStore>, ids: &Arc<[WorkflowId]>) -> anyhow::Result<()> {
    const CLAIMS: usize = 10_000;
    for (name, batch) in [("10,000 claims, one by one", 1), ("10,000 claims in batches of 1,000", 1000)] {
        let due = Timestamp::now();
        let ticks: Vec<Tick> = (0..CLAIMS)
            .map(|number| Tick {
                workflow: ids[number % ids.len()],
                schedule: format!("schedule {}", number / WORKFLOWS),
                due,
                run: RunId::new(),
                claimed_at: due,
                state: TickState::Claimed,
                lateness_us: 0,
                stretch: None,
            })
            .collect();
        let start = Instant::now();
        let tasks: Vec<_> = ticks
            .chunks(batch)
            .map(|ticks| {
                let (store, ticks) = (store.clone(), ticks.to_vec());
                tokio::spawn(async move {
                    let claims = store.claim_all(ticks).await?;
                    anyhow::Ok((claims, start.elapsed()))
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            let (claims, latency) = task.await??;
            anyhow::ensure!(claims.iter().all(|claim| *claim == Claim::Claimed), "an instant was taken");
            latencies.extend(std::iter::repeat_n(latency, claims.len()));
        }
        report(name, latencies);
    }
    Ok(())
}

async fn listings(store: &Arc<EmbeddedStore>, ids: &Arc<[WorkflowId]>) -> anyhow::Result<()> {
    let one = |status| vec![status];
    let all = RunFilter::default();
    let own = RunFilter { workflow: Some(ids[7]), ..RunFilter::default() };
    let few = Arc::new(ids[..5].iter().copied().collect::<std::collections::HashSet<_>>());
    let filters = [
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
        ("a trigger and a workflow", RunFilter { trigger: Some("test".to_owned()), ..own.clone() }),
        (
            "failed, a trigger",
            RunFilter { statuses: one(Status::Failed), trigger: Some("catch".to_owned()), ..all.clone() },
        ),
        ("a status that no run has", RunFilter { statuses: one(Status::Interrupted), ..all.clone() }),
        ("a time that no run has", RunFilter { until: Some(Timestamp::UNIX_EPOCH), ..all.clone() }),
        ("the oldest minute", RunFilter { until: Some(oldest(store).await?), ..all.clone() }),
        (
            "failed by a time",
            RunFilter { until: Some(oldest(store).await?), statuses: one(Status::Failed), ..all },
        ),
    ];
    let mut last = None;
    for (name, filter) in filters {
        let mut latencies = Vec::new();
        for _ in 0..50 {
            let start = Instant::now();
            let page = store.runs(filter.clone(), None, 50).await?;
            latencies.push(start.elapsed());
            last = page.runs.last().map(|run| run.id).or(last);
        }
        let first = latencies[0];
        let name = format!("page: {name}");
        report(&name, latencies);
        println!("{name:<30} 1st {:>10.1} ms of 20", ms(first));
    }
    for (name, text) in [
        ("search, in every log", "log line"),
        ("search, in 1 of 1,000", "UNREACHABLE"),
        ("search, nowhere", "no such text"),
    ] {
        let mut latencies = Vec::new();
        let filter = RunFilter { text: Some(text.to_owned()), ..RunFilter::default() };
        let mut read = 0;
        for _ in 0..50 {
            let start = Instant::now();
            let page = store.runs(filter.clone(), None, 50).await?;
            latencies.push(start.elapsed());
            read = page.searched.map_or(0, |searched| searched.runs);
        }
        report(name, latencies);
        println!("{name:<30}     {read:>10} runs read for one page");
    }
    let id = last.context("there are runs")?;
    let mut latencies = Vec::new();
    for _ in 0..1000 {
        let start = Instant::now();
        store.run(id).await?.context("the run is there")?;
        latencies.push(start.elapsed());
    }
    report("one run by its id", latencies);
    Ok(())
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

async fn timed<T>(name: &str, action: impl Future<Output = tidegate::store::Result<T>>) -> anyhow::Result<T> {
    let start = Instant::now();
    let value = action.await?;
    println!("{name:<30}     {:>10.1} ms", ms(start.elapsed()));
    Ok(value)
}

fn report(name: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    for (word, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        let index = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
        let Some(latency) = latencies.get(index) else { continue };
        println!("{name:<30} {word} {:>10.1} µs", latency.as_secs_f64() * 1e6);
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kilobytes =
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}

fn workflow(number: usize) -> anyhow::Result<Workflow> {
    let now = Timestamp::now();
    Ok(Workflow {
        id: WorkflowId::new(),
        name: format!("workflow-{number}").parse()?,
        description: String::new(),
        kind: Kind::Catch,
        owner: None,
        managers: Vec::new(),
        viewers: Vec::new(),
        private: false,
        state: State::Active,
        catch_key: None,
        endpoint: Endpoint::default(),
        signature: None,
        egress: None,
        schedules: Vec::new(),
        limits: LimitOverrides::default(),
        retry: RetryPolicy::default(),
        samples: Vec::new(),
        active_version: None,
        created_at: now,
        updated_at: now,
        revision: Revision(1),
    })
}

fn run(workflow: WorkflowId, number: usize) -> anyhow::Result<Run> {
    let now = Timestamp::now();
    let fails = number % 1000 == 999;
    let serial = RUNS.fetch_add(1, Ordering::Relaxed);
    // Rare ones are spread over all segments.
    let (is_cancelled, is_test) = (serial % 100_000 == 99_999, serial % 20_000 == 19_999);
    Ok(Run {
        format: tidegate::run::FORMAT,
        id: RunId::new(),
        workflow,
        workflow_name: "workflow".parse()?,
        version: Some(1),
        trigger: if is_test { Trigger::Test } else { Trigger::Catch },
        attempt: 1,
        event: None,
        status: match (is_cancelled, fails) {
            (true, _) => Status::Cancelled,
            (false, true) => Status::Failed,
            (false, false) => Status::Succeeded,
        },
        fault: fails.then(|| Fault::new(FaultKind::Trap, "wasm trap: unreachable")),
        accepted_at: now,
        started_at: Some(now),
        finished_at: Some(now),
        request: Some(Arc::new(RequestRecord {
            method: "POST".to_owned(),
            path_with_query: "/catch/key".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Body::cut(vec![b'x'; 200].into(), 1 << 16),
        })),
        reply: Some(ReplyRecord {
            status: 200,
            headers: Vec::new(),
            body: Body::cut(vec![b'y'; 100].into(), 1 << 16),
        }),
        value: None,
        log: LogSummary { lines: 2, bytes: 20, dropped_bytes: 0 },
        exchanges: Vec::new(),
        settings_read: Vec::new(),
        settings_changed: Vec::new(),
        lateness_us: None,
        node: Some("bench".into()),
        usage: Usage {
            memory_peak_bytes: 1 << 20,
            cpu_us: 300,
            wall_us: 400,
            instantiate_us: 20,
            queue_us: 2,
        },
        inputs: Inputs::default(),
        trace: None,
    })
}

fn log() -> Arc<[LogLine]> {
    (0..2)
        .map(|number| LogLine {
            at_us: number,
            level: Level::Info,
            stream: Stream::Stdout,
            text: "hello from a log line".to_owned(),
            fields: Vec::new(),
        })
        .collect()
}
