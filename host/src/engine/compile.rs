//! Ahead-of-time compilation, in a child process with limits of its own.
//!
//! Validator and Cranelift are handed bytes that a stranger wrote. The child has no
//! environment but the number of its threads and no descriptors but its three pipes, and
//! the kernel ends it at its limits ([`super::confine`]); whatever happens to it, the host
//! goes on. The same child merges the component's core modules before it compiles
//! ([`super::fuse`]): the host itself never does that either.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wasmtime::{Config, OptLevel, RegallocAlgorithm};

use super::InstallError;
use super::child::ChildOptions;
use super::confine::{self, Bounds};
use super::patience::Priority;
use super::scan::{self, ScanError};
use super::{fuse, strip, tuning};
use crate::api::Fusion;

/// The hidden subcommand by which the host's own binary becomes the child.
pub const CHILD_COMMAND: &str = "compile-component";

/// How the child's message about an invalid component begins; the place follows.
pub(super) const INVALID: &str = "invalid at ";

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
    InProcess(Effort),
}

/// How much is done for fast code. What code means is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What the host's child does.
    Full,
    /// The least: for tests of what the engine does with very much code that runs once.
    Least,
}

impl Effort {
    fn config(self) -> Config {
        let mut config = tuning::common();
        if self == Effort::Least {
            config
                .cranelift_opt_level(OptLevel::None)
                .cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
        }
        config
    }
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
    /// Validates and compiles a component that was scanned, in a child on so many threads.
    ///
    /// # Errors
    /// [`ScanError::Invalid`], or why it cannot be compiled.
    pub(super) async fn compile(
        &self,
        wasm: Bytes,
        steps: Steps,
        threads: usize,
    ) -> Result<Compiled, InstallError> {
        match self {
            Compiler::InProcess(effort) => {
                let effort = *effort;
                let compiled = tokio::task::spawn_blocking(move || {
                    scan::validate(&wasm)?;
                    precompile(&wasm, steps, effort).map_err(|reason| CompileError::Refused(reason).into())
                });
                compiled.await.map_err(|panic| CompileError::Refused(panic.to_string()))?
            }
            Compiler::Child { program, timeout, memory_bytes_max } => {
                let bounds = Bounds {
                    memory_bytes_max: *memory_bytes_max,
                    cpu_seconds_max: (timeout.as_secs() + 1) * threads as u64,
                };
                let child = ChildOptions { program, timeout: *timeout, bounds, steps, threads };
                let output = child.compile(wasm).await?;
                let refused = || CompileError::Refused("the compiler gave no result".to_owned());
                // It moves the artefact, which can be large: not on a thread that answers calls.
                Ok(super::blocking(move || Compiled::read(output)).await?.ok_or_else(refused)?)
            }
        }
    }
}

/// What the child does: reads a component from stdin, writes to stdout what it became.
///
/// # Errors
/// One line for the parent.
pub fn child_main(
    steps: Steps,
    priority: Priority,
    address_space_bytes_max: u64,
    cpu_seconds_max: u64,
) -> Result<(), String> {
    let bounds = Bounds { memory_bytes_max: address_space_bytes_max, cpu_seconds_max };
    confine::confine(bounds, priority).map_err(|error| format!("setting limits failed: {error}"))?;
    let mut wasm = Vec::new();
    std::io::stdin().lock().read_to_end(&mut wasm).map_err(|error| format!("reading failed: {error}"))?;
    match scan::validate(&wasm) {
        Err(ScanError::Invalid { reason, at }) => return Err(format!("{INVALID}{at}: {reason}")),
        Err(error) => return Err(error.to_string()),
        Ok(()) => {}
    }
    let compiled = precompile(&wasm, steps, Effort::Full)?;
    compiled.write(std::io::stdout().lock()).map_err(|error| format!("writing failed: {error}"))
}

fn precompile(wasm: &[u8], steps: Steps, effort: Effort) -> Result<Compiled, String> {
    let engine = wasmtime::Engine::new(&effort.config()).map_err(|error| format!("{error:#}"))?;
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

    #[test]
    fn each_way_to_fail_has_a_counter() {
        use crate::telemetry::COMPILE_RESULTS;
        assert!(CompileError::WORDS.iter().all(|word| COMPILE_RESULTS.contains(word)));
        assert_eq!(CompileError::WORDS.len() + 1, COMPILE_RESULTS.len());
    }
}
