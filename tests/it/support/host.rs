//! The real binary, serving on ports and a data folder of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{Connection, Reply, Request};
use super::{guests, wait};

/// A host that serves. It is killed when it is dropped.
pub(crate) struct Host {
    child: Child,
    data: PathBuf,
    /// The data folder, when it is this host's own.
    temp: Option<TempDir>,
    /// Where the management API listens.
    pub(crate) api: SocketAddr,
    /// Where the catch endpoints listen.
    pub(crate) catch: SocketAddr,
    token: String,
    /// Keys of the configuration and their values.
    settings: Vec<(String, String)>,
}

/// A workflow of a host.
pub(crate) struct Workflow {
    /// Its name.
    pub(crate) name: String,
    /// The path of its endpoint; empty for a pull.
    pub(crate) path: String,
}

impl Host {
    /// A host with the default configuration.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// A host with some keys of the configuration, for example
    /// `("server.body_bytes_max", "100")`.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(tempfile::tempdir().unwrap(), owned(settings))
    }

    /// A host with so many workers, however many cores there are.
    pub(crate) fn with_workers(workers: usize, settings: &[(&str, &str)]) -> Self {
        let (data, settings) = (tempfile::tempdir().unwrap(), owned(settings));
        let path = data.path().to_owned();
        let mut command = serve(&path, &settings);
        command.env("TOKIO_WORKER_THREADS", workers.to_string());
        Self::spawn(command, path, Some(data), settings)
    }

    /// A host over a folder that stays when it ends. It flushes no more than it must: sled
    /// starts the program `sync` when it opens, which flushes the whole machine.
    pub(crate) fn on_folder(data: &Path, settings: &[(&str, &str)]) -> Self {
        let settings = owned(settings);
        let mut command = serve(data, &settings);
        command.env("PATH", "");
        Self::spawn(command, data.to_owned(), None, settings)
    }

    /// A host over a folder that stays when it ends, on a socket that stays, too.
    pub(crate) fn on_socket(data: &Path, settings: &[(&str, &str)], socket: &std::net::TcpListener) -> Self {
        let settings = owned(settings);
        let serving = serve(data, &settings);
        // As a service manager does it; the shell knows the pid that the host will have.
        let hand_over = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", hand_over, "sh"]).arg(serving.get_program()).args(serving.get_args());
        for (name, value) in serving.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let socket = std::os::fd::OwnedFd::from(socket.try_clone().unwrap());
        command.env("PATH", "").stdin(socket).stdout(Stdio::piped());
        Self::spawn(command, data.to_owned(), None, settings)
    }

    /// The same, where the host may end instead of serving.
    pub(crate) fn try_on_folder(data: &Path, settings: &[(&str, &str)]) -> Option<Self> {
        let settings = owned(settings);
        let mut command = serve(data, &settings);
        let mut child = command.env("PATH", "").spawn().unwrap();
        if !is_ready(&mut child) {
            assert!(!child.wait().unwrap().success());
            return None;
        }
        Some(Self::of(child, data.to_owned(), None, settings))
    }

    fn on(data: TempDir, settings: Vec<(String, String)>) -> Self {
        let path = data.path().to_owned();
        Self::spawn(serve(&path, &settings), path, Some(data), settings)
    }

    fn spawn(
        mut command: Command,
        data: PathBuf,
        temp: Option<TempDir>,
        settings: Vec<(String, String)>,
    ) -> Self {
        let mut child = command.spawn().unwrap();
        assert!(is_ready(&mut child), "serve ended before it was ready: {:?}", child.wait());
        Self::of(child, data, temp, settings)
    }

    fn of(child: Child, data: PathBuf, temp: Option<TempDir>, settings: Vec<(String, String)>) -> Self {
        let read = |name: &str| std::fs::read_to_string(data.join(name)).unwrap();
        let host: Value = serde_json::from_str(&read("host.json")).unwrap();
        let address =
            |key: &str| host[key].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        let token = read("admin.token").trim().to_owned();
        Self { child, api: address("url"), catch: address("catch_url"), token, data, temp, settings }
    }

    /// Ends the process without a warning (`kill -9`), and starts another one on its data
    /// folder, with the same configuration.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let data = self.temp.take().expect("it has a folder of its own");
        // What is replaced is dropped here, and its process is gone.
        *self = Self::on(data, std::mem::take(&mut self.settings));
    }

    /// A request to the management API with the token.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, path).header("authorization", &format!("Bearer {}", self.token))
    }

    /// The token in the data folder.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A command of the binary that talks to this host.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
            command.env_remove(name);
        }
        command.args(arguments).stdin(Stdio::null()).env("XDG_CONFIG_HOME", CONFIG_HOME);
        command.env("TIDEGATE_URL", format!("http://{}", self.api)).env("TIDEGATE_TOKEN", &self.token);
        command.env("TIDEGATE_CACHE", super::python::cache());
        command
    }

    /// Asks the management API.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path).send(self.api)
    }

    /// Tells the management API.
    pub(crate) fn tell(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.request(method, path).json(body).send(self.api)
    }

    /// Creates a workflow, and deploys a guest to it.
    pub(crate) fn deploy(&self, name: &str, kind: &str, guest: &str) -> Workflow {
        let workflow = self.create(&json!({ "name": name, "kind": kind }));
        self.upload(name, "application/wasm", &guests::component(guest)).expect(201);
        workflow
    }

    /// Creates a catch workflow with an endpoint of its own, and deploys `echo` to it.
    pub(crate) fn deploy_echo(&self, name: &str, endpoint: &Value) -> Workflow {
        let workflow = self.create(&json!({ "name": name, "kind": "catch", "endpoint": endpoint }));
        self.upload(name, "application/wasm", &guests::component("echo")).expect(201);
        workflow
    }

    /// Creates a workflow.
    pub(crate) fn create(&self, request: &Value) -> Workflow {
        let created = self.tell("POST", "/api/v1/workflows", request).expect(201).json();
        let url = created["url"].as_str().unwrap_or_default();
        let path = url.split_once("//").and_then(|(_, rest)| rest.find('/').map(|at| rest[at..].to_owned()));
        Workflow { name: created["name"].as_str().unwrap().to_owned(), path: path.unwrap_or_default() }
    }

    /// Uploads a version.
    pub(crate) fn upload(&self, name: &str, content_type: &str, program: &[u8]) -> Reply {
        let path = format!("/api/v1/workflows/{name}/versions");
        self.request("POST", &path).body(content_type, program).send(self.api)
    }

    /// Calls a workflow with a JSON body.
    pub(crate) fn call(&self, workflow: &Workflow, body: &Value) -> Reply {
        Request::new("POST", &workflow.path).json(body).send(self.catch)
    }

    /// A connection to the catch endpoints.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.catch)
    }

    /// The runs of a workflow, newest first.
    pub(crate) fn runs(&self, workflow: &Workflow) -> Vec<Value> {
        let list = self.get(&format!("/api/v1/workflows/{}/runs", workflow.name)).expect(200).json();
        list["runs"].as_array().unwrap().clone()
    }

    /// Waits for a run of a workflow with this status.
    pub(crate) fn wait_for_run(&self, workflow: &Workflow, status: &str) -> Value {
        wait::for_some(&format!("a run that {status}"), || {
            self.runs(workflow).into_iter().find(|run| run["status"] == status)
        })
    }

    /// Leaves the process room for so many descriptors more than it has, while `work`
    /// runs.
    pub(crate) fn with_descriptors<T>(&self, more: u64, work: impl FnOnce() -> T) -> T {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let pid = Pid::from_child(&self.child);
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count() as u64;
        let before = rustix::process::getrlimit(Resource::Nofile);
        let tight = Rlimit { current: Some(open + more), maximum: before.maximum };
        prlimit(Some(pid), Resource::Nofile, tight).unwrap();
        let result = work();
        prlimit(Some(pid), Resource::Nofile, before).unwrap();
        result
    }

    /// How much of its memory is resident, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// How often each of its workers gave up its core, by the thread's id.
    pub(crate) fn worker_switches(&self) -> BTreeMap<u32, u64> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().flatten();
        let of = |thread: std::fs::DirEntry| {
            // One that has just ended has no files any more.
            let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
            let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
            let switches = value("voluntary_ctxt_switches:")?.parse().ok()?;
            let id = thread.file_name().to_str()?.parse().ok()?;
            (value("Name:") == Some("tokio-rt-worker")).then_some((id, switches))
        };
        threads.filter_map(of).collect()
    }

    /// The processes that it has started and that have not ended.
    pub(crate) fn children(&self) -> Vec<u32> {
        let own = self.child.id();
        let threads = std::fs::read_dir(format!("/proc/{own}/task")).unwrap();
        let of = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children"));
        let lists = threads.flatten().flat_map(of);
        lists
            .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
            .collect()
    }

    /// Asks the process to end.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for the process to end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait::for_some("the host's end", || self.child.try_wait().unwrap())
    }

    /// Ends the process at once, as a loss of power would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the host again over its data folder, once its process has ended.
    pub(crate) fn restart(&mut self, settings: &[(&str, &str)]) {
        let data = self.temp.take().expect("it has a folder of its own");
        *self = Self::on(data, owned(settings));
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The data folder.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Stops the process where it is.
    pub(crate) fn freeze(&self) {
        use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
        waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
    }

    /// What a client of its own needs.
    pub(crate) fn client(&self) -> Client {
        Client { api: self.api, catch: self.catch, token: self.token.clone() }
    }
}

/// A client of a host, for a thread of its own.
pub(crate) struct Client {
    pub(crate) api: SocketAddr,
    pub(crate) catch: SocketAddr,
    token: String,
}

impl Client {
    /// A request to the management API with the token.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, path).header("authorization", &format!("Bearer {}", self.token))
    }

    /// The path of a workflow's endpoint; `None` when the host is gone.
    pub(crate) fn path(&self, workflow: &str) -> Option<String> {
        let request = self.request("GET", &format!("/api/v1/workflows/{workflow}"));
        let shown = Connection::try_open(self.api)?.send(request.bytes()).reply()?.expect(200).json();
        let (_, rest) = shown["url"].as_str()?.split_once("//")?;
        Some(rest[rest.find('/')?..].to_owned())
    }
}

/// Starts a host, and kills it so much later, wherever it is by then.
pub(crate) fn start_and_kill(data: &Path, settings: &[(&str, &str)], time: std::time::Duration) {
    let mut child = serve(data, &owned(settings)).env("PATH", "").spawn().unwrap();
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// One master key for all hosts of all tests, as on a developer's machine.
pub(crate) const CONFIG_HOME: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/config");

/// The command that serves a folder.
fn serve(data: &Path, settings: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", CONFIG_HOME);
    for (key, value) in settings {
        let name = key.to_uppercase().replace('.', "__");
        command.env(format!("TIDEGATE_{name}"), value);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the line that `serve` prints once it answers, or for its end.
fn is_ready(child: &mut Child) -> bool {
    let stdout = child.stdout.take().unwrap();
    let (sender, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        let _ = sender.send(read.map(|_| line));
    });
    let line = line.recv_timeout(wait::LIMIT).expect("serve prints a line when it is ready").unwrap();
    !line.is_empty()
}
