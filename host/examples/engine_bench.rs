//! The sandbox alone: fresh instances of one component, fused and as it is, in rounds
//! that take turns.
//!
//! `cargo run --release --example engine_bench -- COMPONENT [--source FILE] [THREADS ...]`

#![allow(clippy::print_stdout, reason = "a table is what this program is for")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate::config::Config;
use tidegate::engine::egress::Egress;
use tidegate::engine::{Call, CallLimits, Compiler, Engine, EngineOptions, Input, Program, Request, Source};
use tidegate::workflow::{Settings, WorkflowId};

const ROUNDS: usize = 6;
const ROUND: Duration = Duration::from_millis(1500);

/// An engine with the component, and what its calls took.
struct Side {
    name: &'static str,
    engine: Engine,
    program: Program,
    source: Option<Arc<Source>>,
    compile: Duration,
    artefact_bytes: u64,
    fusion: String,
    _folder: tempfile::TempDir,
}

/// What one call took.
#[derive(Clone, Copy)]
struct Sample {
    instantiate_us: f64,
    call_us: f64,
    total_us: f64,
    faults: f64,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let component = arguments.next().expect("the path of a component");
    let (mut source, mut threads) = (None, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--source" => source = Some(std::fs::read_to_string(arguments.next().expect("a Python file"))?),
            number => threads.push(number.parse::<usize>()?),
        }
    }
    if threads.is_empty() {
        threads = vec![1, 4];
    }
    let wasm = Bytes::from(std::fs::read(component)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sides = [("as it is", false), ("fused", true)];
    let made = sides.map(|(name, fuse)| runtime.block_on(side(name, fuse, wasm.clone(), source.as_deref())));
    let sides = made.into_iter().collect::<anyhow::Result<Vec<Side>>>()?;
    for side in &sides {
        println!(
            "{}: compiled in {:.1} s, {:.1} MB of native code; fused: {}",
            side.name,
            side.compile.as_secs_f64(),
            side.artefact_bytes as f64 / 1e6,
            side.fusion
        );
    }
    for count in threads {
        measure(&sides, count);
    }
    Ok(())
}

async fn side(name: &'static str, fuse: bool, wasm: Bytes, source: Option<&str>) -> anyhow::Result<Side> {
    let config = Config::defaults();
    let folder = tempfile::tempdir()?;
    let compile = Arc::new(AtomicU64::new(0));
    let compiled = compile.clone();
    let options = EngineOptions {
        artefacts: folder.path().to_owned(),
        artefact_key: [1; 32],
        compiler: Compiler::InProcess,
        compiles_max: 1,
        instances_max: config.engine.instances_max,
        memory_bytes_max: config.engine.memory_bytes_max,
        memory_total_bytes_max: 0,
        fuse,
        epoch_tick: Duration::from_millis(config.engine.epoch_tick_ms),
        on_compiled: Box::new(move |_, took| compiled.store(took.as_millis() as u64, Ordering::Relaxed)),
    };
    let engine = Engine::new(options, Egress::new(&config.egress)?)?;
    let program = engine.install(wasm).await?;
    let fusion = engine.fusion(program.digest()).await?;
    let source = match source {
        None => None,
        Some(text) => {
            let code = engine.compile_source(&program, "workflow.py", text, limits()).await;
            let code = code.expect("a runtime").expect("valid source");
            Some(Arc::new(Source::new("workflow.py".to_owned(), &code, Bytes::from(text.to_owned()))))
        }
    };
    Ok(Side {
        name,
        program,
        source,
        compile: Duration::from_millis(compile.load(Ordering::Relaxed)),
        artefact_bytes: largest(folder.path())?,
        fusion: fusion.map(|fusion| fusion.to_string()).unwrap_or_default(),
        engine,
        _folder: folder,
    })
}

/// The size of the largest file in the folder's folders.
fn largest(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for engine in std::fs::read_dir(folder)? {
        for file in std::fs::read_dir(engine?.path())? {
            bytes = bytes.max(file?.metadata()?.len());
        }
    }
    Ok(bytes)
}

fn measure(sides: &[Side], threads: usize) {
    let samples: Vec<Mutex<Vec<Sample>>> = sides.iter().map(|_| Mutex::default()).collect();
    // The first round warms up.
    for round in 0..=ROUNDS {
        for (side, samples) in sides.iter().zip(&samples) {
            let until = Instant::now() + ROUND;
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                        let taken = runtime.expect("a runtime").block_on(calls(side, until));
                        if round > 0 {
                            samples.lock().expect("no panic").extend(taken);
                        }
                    });
                }
            });
        }
    }
    for (side, samples) in sides.iter().zip(&samples) {
        let samples = samples.lock().expect("no panic");
        let at = |quantile: f64, of: fn(&Sample) -> f64| {
            let mut values: Vec<f64> = samples.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[((values.len() - 1) as f64 * quantile) as usize]
        };
        println!(
            "{threads} threads, {:>8}: {:6.0} calls/s; p50 {:6.0} us (instantiate {:5.0}, call {:5.0}), \
             p99 {:6.0} us; {:.0} page faults",
            side.name,
            samples.len() as f64 / (ROUNDS as f64 * ROUND.as_secs_f64()),
            at(0.5, |sample| sample.total_us),
            at(0.5, |sample| sample.instantiate_us),
            at(0.5, |sample| sample.call_us),
            at(0.99, |sample| sample.total_us),
            at(0.5, |sample| sample.faults),
        );
    }
}

fn limits() -> CallLimits {
    CallLimits { deadline: Duration::from_secs(10), memory_bytes_max: 128 << 20, log_bytes_max: 1 << 16 }
}

/// Calls until then, one after the other.
async fn calls(side: &Side, until: Instant) -> Vec<Sample> {
    let mut samples = Vec::new();
    while Instant::now() < until {
        let call = Call {
            workflow: WorkflowId::from_bytes([1; 16]),
            input: Input::Request(Request {
                method: "POST".to_owned(),
                path_with_query: "/".to_owned(),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: Bytes::from_static(b"{}"),
            }),
            attempt: 1,
            settings: Arc::new(Settings::default()),
            source: side.source.clone(),
            commit: None,
            traceparent: None,
            limits: limits(),
        };
        let permit = side.engine.permits().clone().acquire_owned().await.expect("open");
        let (start, faults) = (Instant::now(), page_faults());
        let (report, remains) = side.engine.run(&side.program, call, permit).await;
        assert!(report.end.is_ok(), "{:?}", report.end.err());
        drop(remains);
        let usage = report.usage;
        samples.push(Sample {
            instantiate_us: usage.instantiate_us as f64,
            call_us: usage.wall_us.saturating_sub(usage.instantiate_us) as f64,
            total_us: start.elapsed().as_secs_f64() * 1e6,
            faults: (page_faults() - faults) as f64,
        });
    }
    samples
}

/// Page faults of this thread so far that needed no reading from disk.
fn page_faults() -> i64 {
    // SAFETY: `rusage` is plain integers, for which zeroes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place for the kernel to write to.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    usage.ru_minflt
}
