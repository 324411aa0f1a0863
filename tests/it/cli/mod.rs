//! The binary: exit codes, what goes to standard output and what to standard error, and
//! each command against a host that really runs.

mod accounts;
mod backup;
mod bad_input;
mod demo;
mod doctor;
mod local;
mod programs;
mod queue;
mod serve;
mod workflows;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{guests, python};

/// A wait for something that will come. Reached only when the test fails.
const LIMIT: Duration = Duration::from_secs(120);

/// A machine without profile, data folder and environment.
struct Machine {
    home: TempDir,
    /// What the environment says besides.
    variables: Vec<(&'static str, String)>,
}

/// What a command left behind.
#[derive(Debug)]
struct Ended {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Machine {
    fn new() -> Self {
        // The tools of builds are shared with `make`, so that they are fetched once.
        let cache = python::cache().to_str().unwrap().to_owned();
        Self { home: tempfile::tempdir().unwrap(), variables: vec![("TIDEGATE_CACHE", cache)] }
    }

    /// The same with the Python runtime at hand.
    fn with_python() -> Self {
        python::runtime();
        Self::new().with("TIDEGATE_RUNTIMES", python::cache().join("runtimes").to_str().unwrap())
    }

    /// The same with one more variable.
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Another machine that has this one's master key.
    fn with_its_key(&self) -> Self {
        Self::new().with("TIDEGATE_KEYS__FILE", self.path(".config/tidegate/master.key").to_str().unwrap())
    }

    /// A path in the home folder.
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let foreign = ["TIDEGATE_", "XDG_", "NO_COLOR", "CLICOLOR"];
            if foreign.iter().any(|beginning| name.starts_with(beginning)) {
                command.env_remove(name);
            }
        }
        command.args(arguments).current_dir(self.home.path()).env("HOME", self.home.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }

    /// Runs a command that reads standard input.
    fn run_with(&self, arguments: &[&str], stdin: &str) -> Ended {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        ended(child.wait_with_output().unwrap())
    }
}

fn ended(output: std::process::Output) -> Ended {
    Ended {
        exit: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ended {
    /// It succeeded: what it printed.
    fn ok(&self) -> &str {
        assert_eq!(self.exit, Some(0), "{self:#?}");
        &self.stdout
    }

    /// It succeeded and printed one JSON document and nothing else.
    fn json(&self) -> Value {
        assert_eq!((self.exit, self.stderr.as_str()), (Some(0), ""), "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// It failed this way, printed no data, and said this.
    fn failed(&self, exit: i32, part: &str) -> &str {
        assert_eq!((self.exit, self.stdout.as_str()), (Some(exit), ""), "{self:#?}");
        assert!(self.stderr.starts_with("error: ") || self.stderr.contains("\nerror: "), "{self:#?}");
        assert!(self.stderr.contains(part), "{part:?} is not in {self:#?}");
        &self.stderr
    }
}

/// A command that goes on: its lines come one by one.
struct Going {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Going {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::sync_channel(10_000);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The test has seen enough.
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line with this text.
    fn line_with(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT);
            let line = line.unwrap_or_else(|error| panic!("waiting for {part:?}: {error}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end, and waits until it has.
    fn terminate(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host that serves, and a machine whose commands use it.
struct Host {
    serving: Going,
    machine: Machine,
    /// Its management API.
    url: String,
}

impl Host {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(flags: &[&str]) -> Self {
        let machine = Machine::new();
        let data = machine.path("data");
        Self::serving(machine, &data, flags)
    }

    /// A host over a data folder.
    fn over(machine: Machine, data: &Path) -> Self {
        Self::serving(machine, data, &[])
    }

    fn serving(machine: Machine, data: &Path, flags: &[&str]) -> Self {
        let data = data.to_str().unwrap();
        let arguments = [&["serve", "--data", data, "--listen", "127.0.0.1:0"], flags].concat();
        let serving = Going::start(machine.command(&arguments));
        let line = serving.line_with("listening on");
        let url = line.split_whitespace().nth(2).unwrap().trim_end_matches(',').to_owned();
        let machine = machine.with("TIDEGATE_DATA", data);
        Self { serving, machine, url }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.machine.run(arguments)
    }

    fn run_with(&self, arguments: &[&str], stdin: &str) -> Ended {
        self.machine.run_with(arguments, stdin)
    }

    fn data(&self) -> PathBuf {
        self.machine.path("data")
    }
}

/// Posts a JSON body and returns status, the run's id and the reply's body.
fn post(url: &str, body: &str) -> (u16, String, String) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let mut reply = agent.post(url).header("content-type", "application/json").send(body).unwrap();
    let run = reply.headers().get("tidegate-run").map(|id| id.to_str().unwrap().to_owned());
    (reply.status().as_u16(), run.unwrap_or_default(), reply.body_mut().read_to_string().unwrap())
}

/// Posts a JSON body that is to be run later, and returns its run.
fn post_later(url: &str, body: &str) -> String {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let request =
        agent.post(url).header("content-type", "application/json").header("prefer", "respond-async");
    let reply = request.send(body).unwrap();
    assert_eq!(reply.status().as_u16(), 202);
    reply.headers()["tidegate-run"].to_str().unwrap().to_owned()
}

/// A guest's component.
fn guest(name: &str) -> String {
    guests::path(name).to_str().unwrap().to_owned()
}

#[test]
fn nobody_at_the_address_says_how_to_start_a_host() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let machine = Machine::new().with("TIDEGATE_URL", &format!("http://{free}"));
    let ended = machine.run(&["list", "--json"]);
    ended.failed(1, "cannot be reached");
    assert!(ended.stderr.lines().nth(1).unwrap().starts_with("hint: "), "{ended:#?}");
}

#[test]
fn a_wrong_environment_is_bad_configuration() {
    let machine = Machine::new().with("TIDEGATE_URL", "127.0.0.1:8080");
    machine.run(&["list"]).failed(64, "TIDEGATE_URL: \"127.0.0.1:8080\" ");
    let machine = Machine::new().with("TIDEGATE_DATA", "/nonexistent");
    machine.run(&["list"]).failed(64, "there is no token in the data folder");
}

#[test]
fn a_reader_that_left_ends_a_command_quietly() {
    let machine = Machine::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = ended(machine.command(&["serve", "--print-config"]).stdout(writer).output().unwrap());
    assert_eq!((ended.exit, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn nothing_but_a_terminal_gets_colours() {
    let ended = Machine::new().run(&["archive", "x"]);
    ended.failed(2, "needs --yes");
    assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
}
