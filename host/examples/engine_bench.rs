//! The sandbox alone: fresh instances of one component, by threads.
//!
//! `cargo run --release --example engine_bench -- COMPONENT [THREADS ...]`

#![allow(clippy::print_stdout, reason = "a table is what this program is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate::config::Config;
use tidegate::engine::egress::Egress;
use tidegate::engine::{Call, CallLimits, Compiler, Engine, EngineOptions, Input, Request};
use tidegate::workflow::{Settings, WorkflowId};

const SECONDS: f64 = 3.0;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let component = PathBuf::from(arguments.next().expect("the path of a component"));
    let mut threads: Vec<usize> = arguments.map(|text| text.parse()).collect::<Result<_, _>>()?;
    if threads.is_empty() {
        threads = vec![1, 4];
    }
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wasm = Bytes::from(std::fs::read(component)?);
    let (engine, program) = runtime.block_on(async {
        let config = Config::defaults();
        let options = EngineOptions {
            artefacts: folder.path().to_owned(),
            artefact_key: [1; 32],
            compiler: Compiler::InProcess,
            compiles_max: 1,
            instances_max: config.engine.instances_max,
            memory_bytes_max: config.engine.memory_bytes_max,
            memory_total_bytes_max: 0,
            fuse: config.engine.fuse,
            epoch_tick: Duration::from_millis(config.engine.epoch_tick_ms),
            on_compiled: Box::new(|_, _| ()),
        };
        let engine = Arc::new(Engine::new(options, Egress::new(&config.egress)?)?);
        let program = Arc::new(engine.install(wasm).await?);
        anyhow::Ok((engine, program))
    })?;
    for count in threads {
        let until = Instant::now() + Duration::from_secs_f64(SECONDS);
        let mut times: Vec<f64> = std::thread::scope(|scope| {
            let each = |_| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.expect("a runtime").block_on(calls(&engine, &program, until))
                })
            };
            let running: Vec<_> = (0..count).map(each).collect();
            running.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        times.sort_by(f64::total_cmp);
        let at = |quantile: f64| times[((times.len() - 1) as f64 * quantile) as usize];
        println!(
            "{count} threads: {:.0} calls/s, {:.1} us of a thread each; p50 {:.1} us, p99 {:.1} us",
            times.len() as f64 / SECONDS,
            count as f64 * SECONDS * 1e6 / times.len() as f64,
            at(0.5),
            at(0.99)
        );
    }
    Ok(())
}

/// The microseconds of each call until then.
async fn calls(engine: &Engine, program: &tidegate::engine::Program, until: Instant) -> Vec<f64> {
    let mut times = Vec::new();
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
            source: None,
            commit: None,
            traceparent: None,
            limits: CallLimits {
                deadline: Duration::from_secs(10),
                memory_bytes_max: 64 << 20,
                log_bytes_max: 1 << 16,
            },
        };
        let permit = engine.permits().clone().acquire_owned().await.expect("open");
        let start = Instant::now();
        let (report, remains) = engine.run(program, call, permit).await;
        assert!(report.end.is_ok(), "{:?}", report.end.err());
        drop(remains);
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times
}
