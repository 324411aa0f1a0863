//! The compiler's child, as the host sees it: started, fed, watched and ended.
//!
//! A child begins with what others leave of the processors. While those are full of runs that is
//! next to nothing, so it is watched ([`super::patience`]), and once at most another child takes
//! its place, with a priority of its own.

use std::future::Future;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::InstallError;
use super::compile::{CHILD_COMMAND, CompileError, INVALID, Steps};
use super::confine::Bounds;
use super::patience::{Patience, Priority, processor_time};
use super::scan::ScanError;

/// What the child may print of an error.
const MESSAGE_BYTES_MAX: u64 = 4096;

/// The largest artefact, in bytes. The stock Python runtime's has 110 MB.
const ARTEFACT_BYTES_MAX: u64 = 1 << 30;

/// What a child is started with.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChildOptions<'a> {
    /// The host's own binary.
    pub(super) program: &'a Path,
    /// Wall-clock time, whatever is done in it.
    pub(super) timeout: Duration,
    pub(super) bounds: Bounds,
    pub(super) steps: Steps,
    pub(super) threads: usize,
}

impl ChildOptions<'_> {
    /// Has a component compiled; what the child wrote.
    ///
    /// # Errors
    /// [`ScanError::Invalid`], or why it cannot be compiled.
    pub(super) async fn compile(&self, wasm: Bytes) -> Result<Vec<u8>, InstallError> {
        let began = Instant::now();
        let patient = self.attempt(wasm.clone(), Priority::Rest, began);
        if let Some(output) = patient.await? {
            return Ok(output);
        }
        tracing::info!("others left a compilation no processor time: it begins anew with some of its own");
        let attempt = self.attempt(wasm, Priority::Low, began);
        Ok(attempt.await?.expect("nobody gives up a child of the low priority"))
    }

    /// One child; `None` when it was given up because it got nowhere.
    async fn attempt(
        &self,
        wasm: Bytes,
        priority: Priority,
        began: Instant,
    ) -> Result<Option<Vec<u8>>, InstallError> {
        let mut child = self.start(priority).map_err(CompileError::Run)?;
        let in_vain = got_nowhere(child.id(), priority, self.timeout);
        let ended = tokio::select! {
            biased;
            output = talk(&mut child, wasm, self.bounds) => return output.map(Some),
            () = tokio::time::sleep_until(began + self.timeout) => {
                Err(CompileError::Timeout(self.timeout).into())
            }
            () = in_vain => Ok(None),
        };
        // Gone before the next one begins: its memory takes a while to give back.
        child.kill().await.map_err(CompileError::Run)?;
        ended
    }

    fn start(&self, priority: Priority) -> std::io::Result<Child> {
        let Bounds { memory_bytes_max, cpu_seconds_max } = self.bounds;
        let mut command = Command::new(self.program);
        command
            .arg(CHILD_COMMAND)
            .args(["--address-space-bytes-max", &memory_bytes_max.to_string()])
            .args(["--cpu-seconds-max", &cpu_seconds_max.to_string()])
            .args((priority == Priority::Rest).then_some("--rest"))
            .args(self.steps.fuse.then_some("--fuse"))
            .args(self.steps.in_place.then_some("--in-place"))
            .env_clear()
            .env("RAYON_NUM_THREADS", self.threads.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn()
    }
}

/// Is done when a child that has the rest of the processors gets nowhere with it.
fn got_nowhere(pid: Option<u32>, priority: Priority, timeout: Duration) -> impl Future<Output = ()> {
    let began = Instant::now();
    async move {
        let mut patience = Patience::new(timeout);
        while priority == Priority::Rest
            && let Some(look) = patience.next_look()
        {
            tokio::time::sleep_until(began + look).await;
            if patience.is_in_vain(look, pid.and_then(processor_time)) {
                return;
            }
        }
        std::future::pending().await
    }
}

async fn talk(child: &mut Child, wasm: Bytes, bounds: Bounds) -> Result<Vec<u8>, InstallError> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const BOUNDS: Bounds = Bounds { memory_bytes_max: 1 << 20, cpu_seconds_max: 7 };
    const STEPS: Steps = Steps { fuse: false, in_place: false };

    /// Has a program that stands in for the compiler do it.
    async fn compile_by(script: &str, timeout: Duration) -> (Result<Vec<u8>, InstallError>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("compiler");
        // Each start leaves a line.
        let script =
            format!("#!/bin/sh\necho \"$*\" >> {}\n{script}\n", folder.path().join("starts").display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let child = ChildOptions { program: &program, timeout, bounds: BOUNDS, steps: STEPS, threads: 1 };
        let output = child.compile(Bytes::from_static(b"a component")).await;
        let starts = std::fs::read_to_string(folder.path().join("starts")).unwrap_or_default();
        (output, starts.lines().count())
    }

    #[tokio::test]
    async fn a_child_that_gets_nowhere_with_the_rest_is_begun_anew_once() {
        let asleep_with_the_rest = r#"case "$*" in *--rest*) exec sleep 1000;; esac; cat"#;
        let (output, starts) = compile_by(asleep_with_the_rest, Duration::from_secs(60)).await;
        assert_eq!((output.unwrap().as_slice(), starts), (b"a component".as_slice(), 2));
        // The second has what is left of the time.
        let (output, starts) = compile_by("exec sleep 1000", Duration::from_secs(2)).await;
        let error = output.unwrap_err();
        assert!(matches!(error, InstallError::Compile(CompileError::Timeout(_))), "{error}");
        assert_eq!(starts, 2);
    }

    #[tokio::test]
    async fn a_child_that_ends_is_not_begun_anew() {
        let (output, starts) = compile_by("cat", Duration::from_secs(60)).await;
        assert_eq!((output.unwrap().as_slice(), starts), (b"a component".as_slice(), 1));
        let (output, starts) = compile_by("echo no >&2; exit 1", Duration::from_secs(60)).await;
        assert_eq!(
            (output.unwrap_err().to_string().as_str(), starts),
            ("the component cannot be compiled: no", 1)
        );
    }

    #[test]
    fn a_childs_end_tells_which_limit_it_met() {
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
            assert_eq!(failure(status, message, BOUNDS).to_string(), expected);
        }
    }
}
