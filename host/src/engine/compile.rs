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
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{fuse, strip, tuning};
use crate::api::Fusion;

/// The hidden subcommand by which the host's own binary becomes the child.
pub const CHILD_COMMAND: &str = "compile-component";

/// What the child may print of an error.
const MESSAGE_BYTES_MAX: u64 = 4096;

/// How long the reason can be for which a component is not fused.
const REASON_BYTES_MAX: usize = 300;

/// What is done to a component before it is compiled, where its shape allows.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// Its core modules are merged.
    pub fuse: bool,
    /// The contents of its memory are taken out.
    pub in_place: bool,
}

/// What a component became.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compiled {
    /// Native code.
    pub(super) artefact: Vec<u8>,
    /// What its memory shows at first, if that was taken out; a whole number of pages.
    pub(super) image: Option<Vec<u8>>,
    /// Whether its core modules were merged.
    pub(super) fusion: Fusion,
}

/// The line of JSON in front of what the child hands over.
#[derive(Serialize, Deserialize)]
struct Head {
    fusion: Fusion,
    image_bytes: Option<usize>,
}

impl Compiled {
    /// As the child hands it over: the head, the image, the artefact.
    fn write(&self, mut to: impl Write) -> std::io::Result<()> {
        let head =
            Head { fusion: self.fusion.clone(), image_bytes: self.image.as_ref().map(|image| image.len()) };
        let mut line = serde_json::to_vec(&head)?;
        line.push(b'\n');
        to.write_all(&line)?;
        to.write_all(self.image.as_deref().unwrap_or_default())?;
        to.write_all(&self.artefact)
    }

    /// The same back; `None` when the bytes are not of that form.
    fn read(mut output: Vec<u8>) -> Option<Self> {
        let line_bytes = output.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&output[..line_bytes]).ok()?;
        output.drain(..=line_bytes);
        let image_bytes = head.image_bytes.unwrap_or_default();
        let artefact = (image_bytes <= output.len()).then(|| output.split_off(image_bytes))?;
        Some(Self { artefact, image: head.image_bytes.map(|_| output), fusion: head.fusion })
    }
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
    pub(super) async fn compile(&self, wasm: Bytes, steps: Steps) -> Result<Compiled, CompileError> {
        match self {
            Compiler::InProcess => {
                let compiled = tokio::task::spawn_blocking(move || precompile(&wasm, steps));
                compiled
                    .await
                    .map_err(|panic| CompileError::Refused(panic.to_string()))?
                    .map_err(CompileError::Refused)
            }
            Compiler::Child { program, timeout, memory_bytes_max: child_bytes_max } => {
                let mut command = Command::new(program);
                command
                    .arg(CHILD_COMMAND)
                    .args(["--address-space-bytes-max", &child_bytes_max.to_string()])
                    .args(["--cpu-seconds-max", &(timeout.as_secs().max(1) * cores()).to_string()])
                    .args(steps.fuse.then_some("--fuse"))
                    .args(steps.in_place.then_some("--in-place"))
                    .env_clear()
                    .env("RAYON_NUM_THREADS", compile_threads().to_string())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .kill_on_drop(true);
                let finished = tokio::time::timeout(*timeout, talk(command, wasm)).await;
                let output = finished.map_err(|_| CompileError::Timeout(*timeout))??;
                let refused = || CompileError::Refused("the compiler gave no result".to_owned());
                Compiled::read(output).ok_or_else(refused)
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

/// What the child does: reads a component from stdin, writes to stdout what it became.
///
/// # Errors
/// One line for the parent.
pub fn child_main(steps: Steps, address_space_bytes_max: u64, cpu_seconds_max: u64) -> Result<(), String> {
    confine(address_space_bytes_max, cpu_seconds_max)
        .map_err(|error| format!("setting limits failed: {error}"))?;
    let mut wasm = Vec::new();
    std::io::stdin().lock().read_to_end(&mut wasm).map_err(|error| format!("reading failed: {error}"))?;
    let compiled = precompile(&wasm, steps)?;
    compiled.write(std::io::stdout().lock()).map_err(|error| format!("writing failed: {error}"))
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

fn precompile(wasm: &[u8], steps: Steps) -> Result<Compiled, String> {
    let engine = wasmtime::Engine::new(&tuning::common()).map_err(|error| format!("{error:#}"))?;
    let compile = |wasm: &[u8], fusion: Fusion| {
        let stripped = if steps.in_place { strip::strip(wasm) } else { None };
        let component = stripped.as_ref().map_or(wasm, |stripped| &stripped.component);
        let artefact = engine.precompile_component(component).map_err(|error| format!("{error:#}"))?;
        Ok::<_, String>(Compiled { artefact, image: stripped.map(|stripped| stripped.image), fusion })
    };
    let mut reason = match steps.fuse {
        false => "it is switched off, see engine.fuse".to_owned(),
        true => match fuse::fuse(wasm) {
            Err(reason) => reason.to_string(),
            Ok(fused) => {
                let fuse::Report { modules, merged, .. } = fused.report;
                match compile(&fused.component, Fusion { modules, merged, reason: None }) {
                    Ok(compiled) => return Ok(compiled),
                    Err(error) => format!("the merged component cannot be compiled: {error}"),
                }
            }
        },
    };
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    compile(wasm, Fusion::refused(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_child_says_is_understood() {
        for image in [None, Some(vec![]), Some(vec![b'\n'; 4096])] {
            let fusion = Fusion { modules: 3, merged: 2, reason: None };
            let compiled = Compiled { artefact: vec![1, 2, 3], image, fusion };
            let mut bytes = Vec::new();
            compiled.write(&mut bytes).unwrap();
            assert_eq!(Compiled::read(bytes.clone()).as_ref(), Some(&compiled));
            bytes.truncate(bytes.len() - 4);
            assert_ne!(Compiled::read(bytes), Some(compiled));
        }
        assert_eq!(Compiled::read(b"no line".to_vec()), None);
        assert_eq!(Compiled::read(b"no JSON\n".to_vec()), None);
    }
}
