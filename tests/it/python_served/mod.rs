//! Workflows in Python on a host that serves: what they are handed, what they keep, what
//! their callers get, how they come there.
//!
//! One host for all of it, because each has to compile the runtime. Every case quotes
//! the line of the product's contract that it proves.

mod crash;
mod deploy;
mod reply;
mod request;
mod settings;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

use crate::support::host::{Host, Workflow};
use crate::support::http::{Reply, Request};
use crate::support::python;
use crate::support::python_host::Server;

/// A line of the contract, and what shows that it holds.
type Case = (&'static str, fn(&Served));

/// A host with the default runtime, and a server that workflows may reach.
struct Served {
    host: Host,
    server: Server,
}

impl Served {
    fn start() -> Self {
        let host = Host::with(&[
            ("egress.allow_private", "127.0.0.1"),
            ("runtime.check_timeout_ms", "2000"),
            ("run.record_body_bytes_max", "4096"),
        ]);
        let wasm = python::runtime();
        let installed = host.request("PUT", "/api/v1/runtimes/python").body("application/wasm", wasm);
        assert_eq!(installed.send(host.api).expect(201).json()["default"], true);
        Self { host, server: Server::start("server.py", &[]) }
    }

    /// Creates a workflow as `extra` has it, and deploys this source to it.
    fn workflow(&self, name: &str, kind: &str, extra: &Value, source: &str) -> Workflow {
        let mut create = json!({ "name": name, "kind": kind });
        create.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
        let workflow = self.host.create(&create);
        self.host.upload(name, "text/x-python", source.as_bytes()).expect(201);
        workflow
    }

    /// Creates a catch and deploys this source to it.
    fn catch(&self, name: &str, source: &str) -> Workflow {
        self.workflow(name, "catch", &Value::Null, source)
    }

    /// Sends a request to a catch.
    fn post(&self, workflow: &Workflow, content_type: &str, body: &str) -> Reply {
        Request::new("POST", &workflow.path).body(content_type, body).send(self.host.catch)
    }

    fn call(&self, workflow: &Workflow, body: &Value) -> Reply {
        self.host.call(workflow, body)
    }

    /// The record of the run that a reply tells of.
    fn run(&self, reply: &Reply) -> Value {
        let id = reply.header("tidegate-run").expect("a run");
        self.host.get(&format!("/api/v1/runs/{id}")).expect(200).json()
    }

    /// The log of the run that a reply tells of: level and text of each line.
    fn log(&self, reply: &Reply) -> Vec<(String, String)> {
        let id = reply.header("tidegate-run").expect("a run");
        let log = self.host.get(&format!("/api/v1/runs/{id}/log")).expect(200).json();
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        log["lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| (text(line, "level"), text(line, "text")))
            .collect()
    }

    /// Runs a workflow as its schedule would, and returns the run.
    fn test_run(&self, workflow: &Workflow) -> Value {
        let path = format!("/api/v1/workflows/{}/runs", workflow.name);
        self.host.tell("POST", &path, &json!({})).expect(200).json()
    }

    /// Sets settings whose values can be read again.
    fn set(&self, workflow: &Workflow, settings: &Value) {
        let path = format!("/api/v1/workflows/{}/settings?visibility=plain", workflow.name);
        self.host.tell("PATCH", &path, settings).expect(200);
    }

    /// The address of the server that workflows may reach.
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port)
    }
}

#[test]
fn a_host_keeps_each_line_of_the_contract() {
    let served = Served::start();
    let lists = [request::CASES, settings::CASES, reply::CASES, deploy::CASES];
    let mut failed = Vec::new();
    for (line, case) in lists.into_iter().flatten() {
        // The case has said on standard error why it failed.
        if catch_unwind(AssertUnwindSafe(|| case(&served))).is_err() {
            failed.push(*line);
        }
    }
    if catch_unwind(AssertUnwindSafe(|| crash::between_the_call_and_the_tag(served))).is_err() {
        failed.push(crash::LINE);
    }
    assert!(failed.is_empty(), "these lines do not hold:\n{}", failed.join("\n"));
}
