//! Ahead-of-time compilation, in a child process with limits of its own.
//!
//! Cranelift is handed bytes that a stranger wrote. The child has no environment and no
//! descriptors but its three pipes, and the kernel ends it at its limits; whatever
//! happens to it, the host goes on. The same child merges the component's core modules
//! first ([`super::fuse`]): the host itself never does that either.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{fuse, tuning};
use crate::api::Fusion;

/// The hidden subcommand by which the host's own binary becomes the child.
pub const CHILD_COMMAND: &str = "compile-component";

/// What the child may print of an error.
const MESSAGE_BYTES_MAX: u64 = 4096;

/// How long the reason can be for which a component is not fused.
const REASON_BYTES_MAX: usize = 300;

/// What a component became.
pub(super) struct Compiled {
    /// Native code.
    pub(super) artefact: Vec<u8>,
    /// Whether its core modules were merged.
    pub(super) fusion: Fusion,
}

/// Where compilation happens.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// In a child: this binary is started with [`CHILD_COMMAND`].
    Child {
        /// The host's own binary.
        program: PathBuf,
        /// Wall-clock time.
        timeout: Duration,
        /// Address space.
        memory_bytes_max: u64,
    },
    /// In this process: for tests of the engine alone, whose binary has no subcommands.
    InProcess,
}

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler refused it.
    #[error("the component cannot be compiled: {0}")]
    Refused(String),
    /// It took too long.
    #[error("compiling took longer than {} s", .0.as_secs())]
    Timeout(Duration),
    /// The child was ended by the kernel, most likely at its memory limit.
    #[error(
        "the compiler was stopped by signal {signal}: the component takes too much memory or time to compile"
    )]
    Killed {
        /// The signal.
        signal: i32,
    },
    /// The child could not be run.
    #[error("the compiler cannot be run")]
    Run(#[source] std::io::Error),
}

impl Compiler {
    /// Compiles a component that was scanned.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub(super) async fn compile(
        &self,
        wasm: Bytes,
        memory_bytes_max: usize,
        fuse: bool,
    ) -> Result<Compiled, CompileError> {
        match self {
            Compiler::InProcess => {
                let compiled = tokio::task::spawn_blocking(move || precompile(&wasm, memory_bytes_max, fuse));
                compiled
                    .await
                    .map_err(|panic| CompileError::Refused(panic.to_string()))?
                    .map_err(CompileError::Refused)
            }
            Compiler::Child { program, timeout, memory_bytes_max: child_bytes_max } => {
                let mut command = Command::new(program);
                command
                    .arg(CHILD_COMMAND)
                    .args(["--memory-bytes-max", &memory_bytes_max.to_string()])
                    .args(["--address-space-bytes-max", &child_bytes_max.to_string()])
                    .args(["--cpu-seconds-max", &(timeout.as_secs().max(1) * cores()).to_string()])
                    .args(fuse.then_some("--fuse"))
                    .env_clear()
                    .env("RAYON_NUM_THREADS", compile_threads().to_string())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .kill_on_drop(true);
                let finished = tokio::time::timeout(*timeout, talk(command, wasm)).await;
                unpack(finished.map_err(|_| CompileError::Timeout(*timeout))??)
            }
        }
    }
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

/// Half of the cores, so that a deploy leaves the other half to the runs.
fn compile_threads() -> u64 {
    (cores() / 2).max(1)
}

async fn talk(mut command: Command, wasm: Bytes) -> Result<Vec<u8>, CompileError> {
    let mut child = command.spawn().map_err(CompileError::Run)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let (mut artefact, mut message) = (Vec::new(), String::new());
    let feed = async {
        // A child that ended early closes the pipe; its status tells why.
        let _ = stdin.write_all(&wasm).await;
        drop(stdin);
    };
    let mut limited = stderr.take(MESSAGE_BYTES_MAX);
    let (_, read, _) =
        tokio::join!(feed, stdout.read_to_end(&mut artefact), limited.read_to_string(&mut message));
    read.map_err(CompileError::Run)?;
    drop(limited);
    let status = child.wait().await.map_err(CompileError::Run)?;
    if status.success() {
        return Ok(artefact);
    }
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        // Rust aborts when it cannot allocate.
        Some(signal) => Err(CompileError::Killed { signal }),
        None => Err(CompileError::Refused(message.trim().to_owned())),
    }
}

/// Takes apart what the child wrote: a line of JSON, then the artefact.
fn unpack(mut output: Vec<u8>) -> Result<Compiled, CompileError> {
    let refused = || CompileError::Refused("the compiler gave no result".to_owned());
    let line_bytes = output.iter().position(|byte| *byte == b'\n').ok_or_else(refused)?;
    let fusion = serde_json::from_slice(&output[..line_bytes]).map_err(|_| refused())?;
    output.drain(..=line_bytes);
    Ok(Compiled { artefact: output, fusion })
}

/// What the child does: reads a component from stdin, writes to stdout a line of JSON
/// about how it was fused, and the artefact.
///
/// # Errors
/// One line for the parent.
pub fn child_main(
    memory_bytes_max: usize,
    address_space_bytes_max: u64,
    cpu_seconds_max: u64,
    fuse: bool,
) -> Result<(), String> {
    confine(address_space_bytes_max, cpu_seconds_max)
        .map_err(|error| format!("setting limits failed: {error}"))?;
    let mut wasm = Vec::new();
    std::io::stdin().lock().read_to_end(&mut wasm).map_err(|error| format!("reading failed: {error}"))?;
    let Compiled { artefact, fusion } = precompile(&wasm, memory_bytes_max, fuse)?;
    let mut line = serde_json::to_vec(&fusion).map_err(|error| error.to_string())?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)
        .and_then(|()| out.write_all(&artefact))
        .map_err(|error| format!("writing failed: {error}"))
}

fn confine(address_space_bytes_max: u64, cpu_seconds_max: u64) -> std::io::Result<()> {
    let set = |resource, value: u64| {
        rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
    };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    set(Resource::As, address_space_bytes_max)?;
    set(Resource::Cpu, cpu_seconds_max)?;
    set(Resource::Core, 0)?;
    // No file can be written or opened: only the pipes are left.
    set(Resource::Fsize, 0)?;
    // Below the runs, which have a caller waiting.
    rustix::process::nice(10)?;
    Ok(())
}

fn precompile(wasm: &[u8], memory_bytes_max: usize, fuse: bool) -> Result<Compiled, String> {
    // One instance is the smallest pool: the pool does not change the code, and a large
    // one reserves more address space than the child has.
    let mut config = tuning::config(1, memory_bytes_max);
    config.allocation_strategy(wasmtime::InstanceAllocationStrategy::OnDemand);
    let engine = wasmtime::Engine::new(&config).map_err(|error| format!("{error:#}"))?;
    let compile = |wasm: &[u8]| engine.precompile_component(wasm).map_err(|error| format!("{error:#}"));
    let mut reason = match fuse {
        false => "it is switched off, see engine.fuse".to_owned(),
        true => match fuse::fuse(wasm) {
            Err(reason) => reason.to_string(),
            Ok(fused) => match compile(&fused.component) {
                Ok(artefact) => {
                    let fuse::Report { modules, merged, .. } = fused.report;
                    return Ok(Compiled { artefact, fusion: Fusion { modules, merged, reason: None } });
                }
                Err(error) => format!("the merged component cannot be compiled: {error}"),
            },
        },
    };
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    Ok(Compiled { artefact: compile(wasm)?, fusion: Fusion::refused(reason) })
}
