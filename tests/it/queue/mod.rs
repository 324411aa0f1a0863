//! The durable queue: asynchronous requests, keys, retries, dead letters, cancelling.

mod accepting;
mod callbacks;
mod crashes;
mod keys;
mod replays;
mod retries;
mod stopping;

use serde_json::{Value, json};

use crate::support::host::{Host, Workflow};
use crate::support::http::{Reply, Request};
use crate::support::wait;

/// A request that is to be answered before it ran.
fn async_request(workflow: &Workflow, body: &Value) -> Request {
    Request::new("POST", &workflow.path).header("prefer", "respond-async").json(body)
}

/// Has a request accepted, and returns its run and the path of its result.
fn accepted(host: &Host, workflow: &Workflow, body: &Value) -> (String, String) {
    let reply = async_request(workflow, body).send(host.catch).expect(202);
    (reply.field("run"), reply.header("location").unwrap().to_owned())
}

/// The result at this path, once it is there.
fn result(host: &Host, path: &str) -> Reply {
    wait::for_some("a result", || {
        Some(Request::new("GET", path).send(host.catch)).filter(|reply| reply.status != 202)
    })
}

/// A run, once it is over.
fn ended(host: &Host, id: &str) -> Value {
    wait::for_some("the end of a run", || {
        let run = host.get(&format!("/api/v1/runs/{id}")).expect(200).json();
        let is_over = !matches!(run["status"].as_str().unwrap(), "queued" | "running");
        is_over.then_some(run)
    })
}

fn dead(host: &Host) -> Vec<Value> {
    host.get("/api/v1/dead").expect(200).json()["dead"].as_array().unwrap().clone()
}

/// The dead letters, once there are so many.
fn wait_for_dead(host: &Host, count: usize) -> Vec<Value> {
    wait::for_some("dead letters", || Some(dead(host)).filter(|dead| dead.len() == count))
}

/// The runs of a workflow that are over, oldest first, once there are so many.
fn wait_for_runs(host: &Host, workflow: &Workflow, count: usize) -> Vec<Value> {
    wait::for_some("runs that are over", || {
        let mut runs = host.runs(workflow);
        runs.retain(|run| !matches!(run["status"].as_str().unwrap(), "queued" | "running"));
        runs.reverse();
        (runs.len() >= count).then_some(runs)
    })
}

/// The attempt of a workflow's event that waits with this number.
fn wait_for_attempt(host: &Host, workflow: &Workflow, number: u32) -> Value {
    wait::for_some("an attempt that waits", || {
        let runs = host.runs(workflow);
        runs.into_iter().find(|run| run["status"] == "queued" && run["attempt"] == number)
    })
}

fn set_retry(host: &Host, workflow: &Workflow, retry: &Value) {
    let path = format!("/api/v1/workflows/{}", workflow.name);
    host.tell("PATCH", &path, &json!({ "retry": retry })).expect(200);
}

/// A counter or gauge of the metrics.
fn metric(host: &Host, name: &str) -> u64 {
    let text = host.get("/metrics").expect(200).text();
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn cancel(host: &Host, id: &str) -> Reply {
    host.request("POST", &format!("/api/v1/runs/{id}/cancel")).send(host.api)
}
