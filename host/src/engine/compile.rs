//! Ahead-of-time compilation, in a child process with limits of its own.
//!
//! Cranelift is handed bytes that a stranger wrote. The child has no environment and no
//! descriptors but its three pipes, and the kernel ends it at its limits; whatever
//! happens to it, the host goes on.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{strip, tuning};

/// The hidden subcommand by which the host's own binary becomes the child.
pub const CHILD_COMMAND: &str = "compile-component";

/// What the child may print of an error.
const MESSAGE_BYTES_MAX: u64 = 4096;

/// A compiled component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compiled {
    /// Native code, and everything else that is known of the component.
    pub(super) artefact: Vec<u8>,
    /// What its memory shows at first, if that was taken out of it; a whole number of pages.
    pub(super) image: Option<Vec<u8>>,
}

impl Compiled {
    /// As the child hands it over: the image's length plus one, or zero, in eight bytes;
    /// the image; the artefact.
    fn write(&self, mut to: impl Write) -> std::io::Result<()> {
        let length = self.image.as_ref().map_or(0, |image| image.len() as u64 + 1);
        to.write_all(&length.to_le_bytes())?;
        to.write_all(self.image.as_deref().unwrap_or_default())?;
        to.write_all(&self.artefact)
    }

    /// The same back; `None` when the bytes are not of that form.
    fn read(mut bytes: Vec<u8>) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let Some(length) = u64::from_le_bytes(*length).checked_sub(1) else {
            return Some(Self { artefact: rest.to_vec(), image: None });
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len())?;
        let artefact = bytes.split_off(8 + length);
        bytes.drain(..8);
        Some(Self { artefact, image: Some(bytes) })
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
    /// Compiles a component that was scanned. With `in_place`, the contents of its memory
    /// are taken out, if it has the form for that.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub(super) async fn compile(&self, wasm: Bytes, in_place: bool) -> Result<Compiled, CompileError> {
        match self {
            Compiler::InProcess => {
                let compiled = tokio::task::spawn_blocking(move || precompile(&wasm, in_place));
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
                    .args(in_place.then_some("--in-place"))
                    .env_clear()
                    .env("RAYON_NUM_THREADS", compile_threads().to_string())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .kill_on_drop(true);
                let finished = tokio::time::timeout(*timeout, talk(command, wasm)).await;
                finished.map_err(|_| CompileError::Timeout(*timeout))?
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

async fn talk(mut command: Command, wasm: Bytes) -> Result<Compiled, CompileError> {
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
        let cut_off = || CompileError::Refused("the compiler's answer is cut off".to_owned());
        return Compiled::read(artefact).ok_or_else(cut_off);
    }
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        // Rust aborts when it cannot allocate.
        Some(signal) => Err(CompileError::Killed { signal }),
        None => Err(CompileError::Refused(message.trim().to_owned())),
    }
}

/// What the child does: reads a component from stdin, writes the artefact to stdout.
/// `in_place` takes the contents of its memory out.
///
/// # Errors
/// One line for the parent.
pub fn child_main(in_place: bool, address_space_bytes_max: u64, cpu_seconds_max: u64) -> Result<(), String> {
    confine(address_space_bytes_max, cpu_seconds_max)
        .map_err(|error| format!("setting limits failed: {error}"))?;
    let mut wasm = Vec::new();
    std::io::stdin().lock().read_to_end(&mut wasm).map_err(|error| format!("reading failed: {error}"))?;
    let compiled = precompile(&wasm, in_place)?;
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

fn precompile(wasm: &[u8], in_place: bool) -> Result<Compiled, String> {
    let stripped = if in_place { strip::strip(wasm) } else { None };
    let (component, image) = match &stripped {
        Some(stripped) => (stripped.component.as_slice(), Some(stripped.image.clone())),
        None => (wasm, None),
    };
    let engine = wasmtime::Engine::new(&tuning::common()).map_err(|error| format!("{error:#}"))?;
    let artefact = engine.precompile_component(component).map_err(|error| format!("{error:#}"))?;
    Ok(Compiled { artefact, image })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_child_says_is_understood() {
        for image in [None, Some(vec![]), Some(vec![7; 4096])] {
            let compiled = Compiled { artefact: vec![1, 2, 3], image };
            let mut bytes = Vec::new();
            compiled.write(&mut bytes).unwrap();
            assert_eq!(Compiled::read(bytes).unwrap(), compiled);
        }
        assert_eq!(Compiled::read(vec![1; 7]), None);
        assert_eq!(Compiled::read(vec![9, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]), None, "shorter than its image");
    }
}
