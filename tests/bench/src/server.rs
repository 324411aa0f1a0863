//! A server under test: a child process that says where it serves.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::process::Process;

/// How long a server may take until it serves.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long a server may take to stop once it is asked to.
const GONE_WITHIN: Duration = Duration::from_secs(40);
/// Bytes that a pipe from a server holds.
const PIPE_BYTES: usize = 1 << 20;
/// Pieces of early output that wait to be looked at.
const PIECES_MAX: usize = 64;
/// How often such a pipe is emptied.
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);

/// Bytes of the end of its output that are kept to explain its death.
const LAST_BYTES: usize = 4 << 10;

/// A running server. It is killed when it is dropped.
pub struct Server {
    child: Child,
    /// Where it serves.
    pub address: SocketAddr,
    /// From the start of the process to the line that names the address.
    pub ready_after: Duration,
    shown: String,
    output: Arc<Output>,
    stopped: bool,
}

/// What a server says.
#[derive(Default)]
struct Output {
    serving: AtomicBool,
    /// The end of what it said since it serves.
    last: Mutex<Vec<u8>>,
}

impl Server {
    /// Starts a server and waits until a line of its output names the address it serves
    /// on, as `http://ADDRESS` or as workerd says it.
    ///
    /// # Errors
    /// When it cannot be started, ends, or says nothing within two minutes. The end of
    /// its output is in the message.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let started = Instant::now();
        let shown = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        let (said, says) = mpsc::sync_channel(PIECES_MAX);
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().context("its stdout is not ours")?;
        let stderr = child.stderr.take().context("its stderr is not ours")?;
        drain(stdout.into(), said.clone(), output.clone());
        drain(stderr.into(), said, output.clone());
        let address = ([0, 0, 0, 0], 0).into();
        let mut server = Self { child, address, ready_after: Duration::ZERO, shown, output, stopped: false };
        let mut text = String::new();
        loop {
            let patience = READY_WITHIN.saturating_sub(started.elapsed());
            let Ok(piece) = says.recv_timeout(patience) else {
                return Err(anyhow!("{} does not serve; it said:\n{text}", server.shown));
            };
            text.push_str(&String::from_utf8_lossy(&piece));
            // The last line may be incomplete.
            let lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if let Some(address) = lines.lines().find_map(address_in) {
                server.output.serving.store(true, Ordering::Relaxed);
                server.address = address;
                server.ready_after = started.elapsed();
                return Ok(server);
            }
        }
    }

    /// The process.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Fails when the server has ended, with the end of its output: what else went wrong
    /// then follows from that.
    ///
    /// # Errors
    /// When it has.
    pub fn is_there(&self) -> anyhow::Result<()> {
        // Left for the drop to collect.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Some(status) = waitid(WaitId::Pid(Pid::from_child(&self.child)), options)? else { return Ok(()) };
        let end = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown end".to_owned(),
        };
        let last = self.output.last.lock().unwrap_or_else(PoisonError::into_inner);
        bail!("{} has ended with {end}; its last words:\n{}", self.shown, String::from_utf8_lossy(&last))
    }

    /// Asks the server to stop and waits until it has.
    ///
    /// # Errors
    /// When it does not stop within 40 seconds.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(asked.elapsed() < GONE_WITHIN, "{} does not stop", self.shown);
            thread::sleep(Duration::from_millis(5));
        }
        self.stopped = true;
        Ok(())
    }
}

impl Drop for Server {
    #[allow(clippy::print_stderr, reason = "it talks to a terminal")]
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        if let Ok(Some(status)) = self.child.try_wait() {
            let last = self.output.last.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("bench: {} ended with {status}; its last words:", self.shown);
            eprintln!("{}", String::from_utf8_lossy(&last));
            return;
        }
        // Neither fails for a child that is there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what a server says: a server must not block on its own log. Once it serves, in
/// long intervals, so that a busy log does not wake us at every line.
fn drain(from: OwnedFd, said: mpsc::SyncSender<Vec<u8>>, output: Arc<Output>) {
    // Room for the interval's lines; a smaller pipe works too.
    let _ = rustix::pipe::fcntl_setpipe_size(&from, PIPE_BYTES);
    let mut from = File::from(from);
    thread::spawn(move || {
        let mut buffer = vec![0; PIPE_BYTES];
        while let Ok(read) = from.read(&mut buffer)
            && read > 0
        {
            let piece = &buffer[..read];
            if output.serving.load(Ordering::Relaxed) {
                let mut last = output.last.lock().unwrap_or_else(PoisonError::into_inner);
                last.extend_from_slice(&piece[read.saturating_sub(LAST_BYTES)..]);
                let surplus = last.len().saturating_sub(LAST_BYTES);
                last.drain(..surplus);
                drop(last);
                thread::sleep(DRAIN_INTERVAL);
            } else {
                // Nobody listens once the server has been given up.
                let _ = said.send(piece.to_vec());
            }
        }
    });
}

/// The address in a text such as `serving on http://127.0.0.1:8080/`, or in workerd's
/// `{"event":"listen","socket":"http","port":8080}`.
fn address_in(text: &str) -> Option<SocketAddr> {
    if let Some(after) = text.strip_prefix(r#"{"event":"listen","socket":"http","port":"#) {
        return Some(([127, 0, 0, 1], after.strip_suffix('}')?.parse().ok()?).into());
    }
    let after = text.split_once("http://")?.1;
    let end = after.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c))).unwrap_or(after.len());
    after[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_address_is_found_in_any_line_of_either_output() {
        let server = Server::start(&mut shell("echo hm; echo 'at http://127.0.0.1:81/' >&2; exec sleep 60"));
        assert_eq!(server.unwrap().address, ([127, 0, 0, 1], 81).into());
        assert_eq!(address_in("on http://[::1]:8080 now"), Some("[::1]:8080".parse().unwrap()));
        assert_eq!(address_in("see https://example.com"), None);
        let event = r#"{"event":"listen","socket":"http","port":8080}"#;
        assert_eq!(address_in(event), Some("127.0.0.1:8080".parse().unwrap()));
    }

    #[test]
    fn a_server_that_ends_is_explained_by_its_output() {
        let error = Server::start(&mut shell("echo no luck")).err().unwrap();
        assert!(error.to_string().contains("no luck"), "{error}");
    }

    #[test]
    fn a_server_that_has_ended_is_told_from_one_that_serves() {
        let mut server = Server::start(&mut shell("echo http://127.0.0.1:81/; exec sleep 60")).unwrap();
        server.is_there().unwrap();
        kill_process(Pid::from_child(&server.child), Signal::KILL).unwrap();
        let pid = WaitId::Pid(Pid::from_child(&server.child));
        waitid(pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        let error = server.is_there().unwrap_err().to_string();
        assert!(error.contains("has ended with signal 9"), "{error}");
        assert!(!server.child.wait().unwrap().success(), "its end is still there to be collected");
    }

    #[test]
    fn a_server_stops_when_it_is_asked_to() {
        let server = Server::start(&mut shell("echo http://127.0.0.1:81/; exec sleep 60")).unwrap();
        let process = server.process();
        server.stop().unwrap();
        assert!(process.memory().is_err());
    }
}
