//! Components whose core module is generated: the sandbox's own imports, arbitrary code.

use std::io::{BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::engine::{Effort, InstallError, ScanError};
use tidegate::run::FaultKind;
use tokio::sync::Semaphore;

use super::drops::Sandbox;
use super::{folder, number, seeds};
use crate::support::guests;

/// Of so many modules one is compiled with all that the host does for fast code. The others
/// are not: most of the time goes into that, and what is looked at is what the engine makes of
/// the code that it is given, not how fast that is.
const FULL_EVERY: u64 = 7;

/// The generator, compiled when it is not yet.
fn generator() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| folder().join("../../target"), PathBuf::from);
    let target = target.join("fuzz");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(folder().join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .unwrap();
    assert!(built.success(), "the generator of modules does not compile");
    target.join("release/tidegate-fuzz-modules")
}

/// A component in three parts: what stands before the core module that has the export
/// `workflow`, that module, and what stands behind it.
fn parts(component: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut depth = 0;
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            wasmparser::Payload::ModuleSection { unchecked_range, .. } if depth == 0 => {
                let module = &component[unchecked_range.clone()];
                if exports_workflow(module) {
                    // The section's header: its id and its length.
                    let header = 1 + leb(module.len()).len();
                    let before = component[..unchecked_range.start - header].to_vec();
                    return (before, module.to_vec(), component[unchecked_range.end..].to_vec());
                }
                depth += 1;
            }
            wasmparser::Payload::ModuleSection { .. } | wasmparser::Payload::ComponentSection { .. } => {
                depth += 1
            }
            wasmparser::Payload::End(_) if depth > 0 => depth -= 1,
            _ => {}
        }
    }
    panic!("no core module has the export `workflow`");
}

fn exports_workflow(module: &[u8]) -> bool {
    wasmparser::Parser::new(0).parse_all(module).any(|payload| match payload {
        Ok(wasmparser::Payload::ExportSection(exports)) => {
            exports.into_iter().flatten().any(|export| export.name == "workflow")
        }
        _ => false,
    })
}

fn leb(number: usize) -> Vec<u8> {
    crate::support::wasm::leb(number)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn generated_modules_are_refused_or_run_and_end() {
    let (before, shape, behind) = parts(&guests::component("hello"));
    let scratch = tempfile::tempdir().unwrap();
    let shape_file = scratch.path().join("shape.wasm");
    std::fs::write(&shape_file, &shape).unwrap();
    let generator = generator();
    let (least, full) = (Arc::new(Sandbox::with(Effort::Least)), Arc::new(Sandbox::new()));
    // As many at the same time as there are cores.
    let at_once_max = std::thread::available_parallelism().unwrap().get() as u32;
    let (ran, refused, at_once) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(Semaphore::new(at_once_max as usize)),
    );
    let seeds = seeds("modules", 20_000);
    let total = seeds.len() as u64;
    let mut tasks = tokio::task::JoinSet::new();
    for (first, count) in runs_of(&seeds) {
        let mut child = Command::new(&generator)
            .arg(&shape_file)
            .args([first.to_string(), count.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        for seed in first..first + count {
            let mut length = [0; 4];
            out.read_exact(&mut length).unwrap();
            let mut module = vec![0; u32::from_le_bytes(length) as usize];
            out.read_exact(&mut module).unwrap();
            let component = [&before[..], &[1], &leb(module.len()), &module, &behind].concat();
            let place = at_once.clone().acquire_owned().await.unwrap();
            let own = if seed % FULL_EVERY == 3 { &full } else { &least };
            let (own, ran, refused) = (own.clone(), ran.clone(), refused.clone());
            tasks.spawn(async move {
                match one(&own, component).await {
                    Ok(()) => ran.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        let known = matches!(
                            error,
                            InstallError::Scan(ScanError::Invalid { .. } | ScanError::TooLarge { .. })
                                | InstallError::Link(_)
                                | InstallError::Compile(_)
                        );
                        assert!(known, "the seed {seed}: {error}");
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                };
                drop(place);
            });
            while let Some(ended) = tasks.try_join_next() {
                ended.unwrap();
            }
            if seed % 500 == 0 {
                // What is being saved would be swept away with the rest.
                let _nothing_runs = at_once.acquire_many(at_once_max).await.unwrap();
                least.sweep().await;
                full.sweep().await;
            }
        }
        assert!(child.wait().unwrap().success());
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    least.has_everything_back();
    full.has_everything_back();
    let (ran, refused) = (ran.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    assert_eq!(ran + refused, total);
    assert!(ran > total / 2, "{ran} ran and {refused} were refused: the control");
    assert!(number(super::TIMES).is_some() || total >= 20_000);
}

/// The seeds as first ones with counts of those that follow each other.
fn runs_of(seeds: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for seed in seeds {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == *seed => *count += 1,
            _ => runs.push((*seed, 1)),
        }
    }
    runs
}

async fn one(sandbox: &Sandbox, component: Vec<u8>) -> Result<(), InstallError> {
    let program = sandbox.engine.install(component.into()).await?;
    let report = sandbox.run(&program, b"{}", Duration::from_millis(2)).await;
    if let Err(fault) = report.end {
        let kinds = [
            FaultKind::Trap,
            FaultKind::Memory,
            FaultKind::Deadline,
            FaultKind::Cpu,
            FaultKind::Result,
            FaultKind::Exception,
        ];
        assert!(kinds.contains(&fault.kind), "{fault:?}");
    }
    Ok(())
}
