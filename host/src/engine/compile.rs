//! Ahead-of-time compilation, in a child process with limits of its own.
//!
//! Validator and Cranelift are handed bytes that a stranger wrote. The child has no
//! environment but the number of its threads and no descriptors but its three pipes, and
//! the kernel ends it at its limits ([`super::confine`]); whatever happens to it, the host
//! goes on. The same child merges the component's core modules before it compiles
//! ([`super::fuse`]): the host itself never does that either.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::InstallError;
use super::confine::{self, Bounds};
use super::scan::{self, ScanError};
use super::{fuse, tuning};
use crate::api::Fusion;

/// The hidden subcommand by which the host's own binary becomes the child.
pub const CHILD_COMMAND: &str = "compile-component";

/// What the child may print of an error.
const MESSAGE_BYTES_MAX: u64 = 4096;

/// The largest artefact, in bytes. The stock Python runtime's has 110 MB.
const ARTEFACT_BYTES_MAX: u64 = 1 << 30;

/// How the child's message about an invalid component begins; the place follows.
const INVALID: &str = "invalid at ";

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

/// Why a component was not compiled. Each limit has a kind of its own.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler refused it.
    #[error("the component cannot be compiled: {0}")]
    Refused(String),
    /// It took too long by the clock.
    #[error("compiling took longer than {} ms", .0.as_millis())]
    Timeout(Duration),
    /// It took too much processor time.
    #[error("compiling took more than {seconds_max} s of processor time")]
    Cpu {
        /// The limit.
        seconds_max: u64,
    },
    /// It needed too much memory.
    #[error("compiling needs more memory than the limit of {bytes_max} bytes")]
    Memory {
        /// The limit.
        bytes_max: u64,
    },
    /// What came out is too large.
    #[error("the compiled component is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// Too many wait already.
    #[error("{uploads_max} uploads are being compiled or wait for it, and that is the limit")]
    Busy {
        /// The limit.
        uploads_max: usize,
    },
    /// The child was ended by a signal that no limit explains.
    #[error("the compiler was stopped by signal {signal}")]
    Killed {
        /// The signal.
        signal: i32,
    },
    /// The child could not be run.
    #[error("the compiler cannot be run")]
    Run(#[source] std::io::Error),
}

impl CompileError {
    /// What [`CompileError::word`] can be.
    pub const WORDS: [&str; 8] =
        ["refused", "timeout", "cpu", "memory", "too-large", "busy", "killed", "unusable"];

    /// The kind as one word, for counters.
    pub fn word(&self) -> &'static str {
        match self {
            CompileError::Refused(_) => "refused",
            CompileError::Timeout(_) => "timeout",
            CompileError::Cpu { .. } => "cpu",
            CompileError::Memory { .. } => "memory",
            CompileError::TooLarge { .. } => "too-large",
            CompileError::Busy { .. } => "busy",
            CompileError::Killed { .. } => "killed",
            CompileError::Run(_) => "unusable",
        }
    }
}

impl Compiler {
    /// Validates and compiles a component that was scanned.
    ///
    /// # Errors
    /// [`ScanError::Invalid`], or why it cannot be compiled.
    pub(super) async fn compile(
        &self,
        wasm: Bytes,
        memory_bytes_max: usize,
        fuse: bool,
    ) -> Result<Compiled, InstallError> {
        match self {
            Compiler::InProcess => {
                let compiled = tokio::task::spawn_blocking(move || {
                    scan::validate(&wasm)?;
                    precompile(&wasm, memory_bytes_max, fuse)
                        .map_err(|reason| CompileError::Refused(reason).into())
                });
                compiled.await.map_err(|panic| CompileError::Refused(panic.to_string()))?
            }
            Compiler::Child { program, timeout, memory_bytes_max: child_bytes_max } => {
                let bounds = Bounds {
                    memory_bytes_max: *child_bytes_max,
                    cpu_seconds_max: (timeout.as_secs() + 1) * compile_threads(),
                };
                let mut command = Command::new(program);
                command
                    .arg(CHILD_COMMAND)
                    .args(["--memory-bytes-max", &memory_bytes_max.to_string()])
                    .args(["--address-space-bytes-max", &bounds.memory_bytes_max.to_string()])
                    .args(["--cpu-seconds-max", &bounds.cpu_seconds_max.to_string()])
                    .args(fuse.then_some("--fuse"))
                    .env_clear()
                    .env("RAYON_NUM_THREADS", compile_threads().to_string())
                    .current_dir("/")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .kill_on_drop(true);
                let finished = tokio::time::timeout(*timeout, talk(command, wasm, bounds)).await;
                Ok(unpack(finished.map_err(|_| CompileError::Timeout(*timeout))??)?)
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

async fn talk(mut command: Command, wasm: Bytes, bounds: Bounds) -> Result<Vec<u8>, InstallError> {
    let mut child = command.spawn().map_err(CompileError::Run)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let (mut artefact, mut message) = (Vec::new(), Vec::new());
    let feed = async {
        // A child that ended early closes the pipe; its status tells why.
        let _ = stdin.write_all(&wasm).await;
        drop(stdin);
    };
    let mut stdout = stdout.take(ARTEFACT_BYTES_MAX + 1);
    let mut stderr = stderr.take(MESSAGE_BYTES_MAX);
    let (_, read, said) =
        tokio::join!(feed, stdout.read_to_end(&mut artefact), stderr.read_to_end(&mut message));
    read.and(said).map_err(CompileError::Run)?;
    if artefact.len() as u64 > ARTEFACT_BYTES_MAX {
        return Err(CompileError::TooLarge { bytes_max: ARTEFACT_BYTES_MAX }.into());
    }
    drop((stdout, stderr));
    let status = child.wait().await.map_err(CompileError::Run)?;
    if status.success() {
        return Ok(artefact);
    }
    Err(failure(status, String::from_utf8_lossy(&message).trim(), bounds))
}

/// Why a child failed, by its end and its last words.
fn failure(status: ExitStatus, message: &str, bounds: Bounds) -> InstallError {
    if let Some((at, reason)) = message.strip_prefix(INVALID).and_then(|rest| rest.split_once(": "))
        && let Ok(at) = at.parse()
    {
        return ScanError::Invalid { reason: reason.to_owned(), at }.into();
    }
    // An allocation that failed aborts the process, and a thread without a stack panics.
    let lacked_memory =
        ["memory allocation of", "Cannot allocate memory", "Resource temporarily unavailable"];
    let error = match status.signal() {
        Some(signal) if signal == Signal::XCPU.as_raw() => {
            CompileError::Cpu { seconds_max: bounds.cpu_seconds_max }
        }
        _ if lacked_memory.iter().any(|words| message.contains(words)) => {
            CompileError::Memory { bytes_max: bounds.memory_bytes_max }
        }
        Some(signal) => CompileError::Killed { signal },
        None => CompileError::Refused(message.to_owned()),
    };
    error.into()
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
    let bounds = Bounds { memory_bytes_max: address_space_bytes_max, cpu_seconds_max };
    confine::confine(bounds).map_err(|error| format!("setting limits failed: {error}"))?;
    let mut wasm = Vec::new();
    std::io::stdin().lock().read_to_end(&mut wasm).map_err(|error| format!("reading failed: {error}"))?;
    match scan::validate(&wasm) {
        Err(ScanError::Invalid { reason, at }) => return Err(format!("{INVALID}{at}: {reason}")),
        Err(error) => return Err(error.to_string()),
        Ok(()) => {}
    }
    let Compiled { artefact, fusion } = precompile(&wasm, memory_bytes_max, fuse)?;
    let mut line = serde_json::to_vec(&fusion).map_err(|error| error.to_string())?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)
        .and_then(|()| out.write_all(&artefact))
        .map_err(|error| format!("writing failed: {error}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_fail_has_a_counter() {
        use crate::telemetry::COMPILE_RESULTS;
        assert!(CompileError::WORDS.iter().all(|word| COMPILE_RESULTS.contains(word)));
        assert_eq!(CompileError::WORDS.len() + 1, COMPILE_RESULTS.len());
    }

    #[test]
    fn a_childs_end_tells_which_limit_it_met() {
        let bounds = Bounds { memory_bytes_max: 1 << 20, cpu_seconds_max: 7 };
        let killed = |signal: i32| ExitStatus::from_raw(signal);
        let exited = ExitStatus::from_raw(1 << 8);
        for (status, message, expected) in [
            (
                exited,
                "invalid at 66: type mismatch: x",
                "the component is not valid: type mismatch: x (at byte 0x42)",
            ),
            (exited, "too clever", "the component cannot be compiled: too clever"),
            (killed(libc::SIGXCPU), "", "compiling took more than 7 s of processor time"),
            (
                killed(libc::SIGABRT),
                "memory allocation of 9 bytes failed",
                "compiling needs more memory than the limit of 1048576 bytes",
            ),
            (killed(libc::SIGABRT), "stack overflow", "the compiler was stopped by signal 6"),
            (killed(libc::SIGKILL), "", "the compiler was stopped by signal 9"),
        ] {
            assert_eq!(failure(status, message, bounds).to_string(), expected);
        }
    }
}
