//! The sandbox alone: fresh instances of one component, by threads, in the plain pool and
//! reset in place, in turns.
//!
//! `cargo run --release --example engine_bench -- COMPONENT [--source FILE.py]
//! [--no-fuse] [--rounds N] [--seconds S] [--held N] [THREADS ...]`
//!
//! `--source` is for a language runtime. `--held` is the number of instances that exist
//! at the same time when memory is measured.

#![allow(clippy::print_stdout, reason = "a table is what this program is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use tidegate::config::{Config, Reset};
use tidegate::engine::egress::Egress;
use tidegate::engine::{
    Call, CallLimits, Compiler, Effort, Engine, EngineOptions, Input, Program, Request, Source,
};
use tidegate::workflow::{Settings, WorkflowId};

const LIMITS: CallLimits = CallLimits {
    deadline: Duration::from_secs(10),
    cpu_max: Duration::from_secs(10),
    memory_bytes_max: 128 << 20,
    log_bytes_max: 1 << 16,
};

/// An engine with the program, and what is handed to that.
struct Rig {
    name: &'static str,
    engine: Engine,
    program: Program,
    source: Option<Arc<Source>>,
    _folder: tempfile::TempDir,
}

/// One thread's calls, in microseconds.
#[derive(Default)]
struct Times {
    instantiate: Vec<f64>,
    run: Vec<f64>,
    drop: Vec<f64>,
    total: Vec<f64>,
    faults: i64,
}

struct Arguments {
    component: PathBuf,
    source: Option<PathBuf>,
    rounds: usize,
    seconds: f64,
    held: u32,
    fuse: bool,
    threads: Vec<usize>,
}

fn main() -> anyhow::Result<()> {
    let arguments = arguments()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rigs = [("pool", Reset::Pool), ("in place", Reset::InPlace)];
    let rigs = rigs.map(|(name, reset)| runtime.block_on(rig(name, reset, &arguments)));
    for rig in &rigs {
        let rig = rig.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        if rig.name == "in place" && !rig.program.is_reset_in_place() {
            println!("this component has no form that can be reset in place: both are the pool");
        }
        let bytes = runtime.block_on(held(rig, arguments.held))?;
        println!("{:>8}: {:.2} MB private for each of {} instances", rig.name, bytes / 1e6, arguments.held);
        if let Some(slots) = rig.engine.gauges().slots {
            println!(
                "{:>8}  {:.2} MB written by one",
                "",
                slots.restored_bytes as f64 / slots.resets as f64 / 1e6
            );
        }
    }
    println!("p50 in microseconds; faults are page faults of one call");
    println!("threads  reset     instantiate    run   drop  total    p99  calls/s  faults");
    for &threads in &arguments.threads {
        for _ in 0..arguments.rounds {
            for rig in rigs.iter().flatten() {
                let mut times = measure(rig, threads, arguments.seconds);
                let calls = times.total.len() as f64;
                println!(
                    "{threads:>7}  {:<9} {:>11.1} {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>8.0} {:>7.2}",
                    rig.name,
                    at(&mut times.instantiate, 0.5),
                    at(&mut times.run, 0.5),
                    at(&mut times.drop, 0.5),
                    at(&mut times.total, 0.5),
                    at(&mut times.total, 0.99),
                    calls / arguments.seconds,
                    times.faults as f64 / calls
                );
            }
        }
    }
    Ok(())
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut given = std::env::args().skip(1);
    let component = PathBuf::from(given.next().context("the path of a component is missing")?);
    let mut arguments =
        Arguments { component, source: None, rounds: 3, seconds: 1.0, held: 50, fuse: true, threads: vec![] };
    while let Some(word) = given.next() {
        let mut value = || given.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--no-fuse" => arguments.fuse = false,
            "--source" => arguments.source = Some(value()?.into()),
            "--rounds" => arguments.rounds = value()?.parse()?,
            "--seconds" => arguments.seconds = value()?.parse()?,
            "--held" => arguments.held = value()?.parse()?,
            threads => arguments.threads.push(threads.parse()?),
        }
    }
    if arguments.threads.is_empty() {
        arguments.threads = vec![1, 4];
    }
    Ok(arguments)
}

async fn rig(name: &'static str, reset: Reset, arguments: &Arguments) -> anyhow::Result<Rig> {
    let folder = tempfile::tempdir()?;
    let config = Config::defaults();
    let options = EngineOptions {
        artefacts: folder.path().to_owned(),
        artefact_key: [1; 32],
        compiler: Compiler::InProcess(Effort::Full),
        compiles_max: 1,
        compiles_waiting_max: 16,
        instances_max: config.engine.instances_max,
        memory_bytes_max: config.engine.memory_bytes_max,
        memory_total_bytes_max: 0,
        epoch_tick: Duration::from_millis(config.engine.epoch_tick_ms),
        fuse: arguments.fuse,
        reset,
        idle_bytes_max: config.engine.idle_memory_bytes_max,
        idle_max: Duration::from_millis(config.engine.idle_ms),
        on_compiled: Box::new(|_, _| ()),
    };
    let engine = Engine::new(options, Egress::new(&config.egress)?)?;
    let program = engine.install(Bytes::from(std::fs::read(&arguments.component)?)).await?;
    let source = match &arguments.source {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)?;
            let code = engine.compile_source(&program, "workflow.py", &text, LIMITS).await;
            let code = code.map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
            let code = code.map_err(|diagnostics| anyhow::anyhow!("{diagnostics:?}"))?;
            Some(Arc::new(Source::new("workflow.py".to_owned(), &code, Bytes::from(text))))
        }
    };
    Ok(Rig { name, engine, program, source, _folder: folder })
}

fn call(rig: &Rig) -> Call {
    Call {
        workflow: WorkflowId::from_bytes([1; 16]),
        input: Input::Request(Request {
            method: "POST".to_owned(),
            path_with_query: "/".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from_static(b"{}"),
        }),
        attempt: 1,
        settings: Arc::new(Settings::default()),
        source: rig.source.clone(),
        commit: None,
        trace: None,
        memory: None,
        destinations: None,
        outbound: Default::default(),
        limits: LIMITS,
    }
}

/// Private memory of one instance, of so many that have run and exist, in bytes.
async fn held(rig: &Rig, count: u32) -> anyhow::Result<f64> {
    let mut remains = Vec::new();
    let before = private_bytes()?;
    for _ in 0..count {
        let permit = rig.engine.permits().clone().acquire_owned().await?;
        let (report, rest) = rig.engine.run(&rig.program, call(rig), permit).await;
        anyhow::ensure!(report.end.is_ok(), "{:?}", report.end.err());
        remains.push(rest);
    }
    Ok((private_bytes()? - before) / f64::from(count))
}

fn private_bytes() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let private = text.lines().filter(|line| line.starts_with("Private_Dirty:"));
    let kib: Option<f64> =
        private.map(|line| line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok())).sum();
    Ok(kib.context("the kernel does not say what is private")? * 1024.0)
}

fn measure(rig: &Rig, threads: usize, seconds: f64) -> Times {
    // What comes first is not what is measured.
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    std::thread::scope(|scope| {
        let each = |_| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(calls(rig, until))
            })
        };
        let running: Vec<_> = (0..threads).map(each).collect();
        running.into_iter().fold(Times::default(), |mut sum, thread| {
            let times = thread.join().expect("no panic");
            sum.instantiate.extend(times.instantiate);
            sum.run.extend(times.run);
            sum.drop.extend(times.drop);
            sum.total.extend(times.total);
            sum.faults += times.faults;
            sum
        })
    })
}

async fn calls(rig: &Rig, until: Instant) -> Times {
    let mut times = Times::default();
    // The first few find no slot of this thread's.
    for warm_up in (0..10).map(|_| true).chain(std::iter::repeat(false)) {
        if Instant::now() >= until {
            break;
        }
        let permit = rig.engine.permits().clone().acquire_owned().await.expect("open");
        let (call, faults, start) = (call(rig), page_faults(), Instant::now());
        let (report, remains) = rig.engine.run(&rig.program, call, permit).await;
        let ran = Instant::now();
        drop(remains);
        let dropped = Instant::now();
        let faults = page_faults() - faults;
        assert!(report.end.is_ok(), "{:?}", report.end.err());
        if !warm_up {
            let us = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e6;
            times.instantiate.push(report.usage.instantiate_us as f64);
            times.run.push(us(start, ran));
            times.drop.push(us(ran, dropped));
            times.total.push(us(start, dropped));
            times.faults += faults;
        }
    }
    times
}

/// Page faults of this thread so far.
fn page_faults() -> i64 {
    let text = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux says it");
    // Behind the name in brackets: state, ppid, pgrp, session, tty, tpgid, flags, minflt.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    behind.split_whitespace().nth(7).and_then(|word| word.parse().ok()).expect("a number")
}

fn at(times: &mut [f64], quantile: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(((times.len().max(1) - 1) as f64 * quantile) as usize).copied().unwrap_or_default()
}
