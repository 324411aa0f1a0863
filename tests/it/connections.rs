//! Clients that go away.

use serde_json::json;

use crate::support::host::Host;
use crate::support::http::Request;
use crate::support::wait;

#[test]
fn a_client_that_hangs_up_does_not_cut_the_run() {
    let host = Host::start();
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let request = Request::new("POST", &slow.path).json(&json!({ "seconds": 1 })).bytes();
    let mut connection = host.connect();
    connection.send(request);
    host.wait_for_run(&slow, "running");
    drop(connection);
    let run = host.wait_for_run(&slow, "succeeded");
    assert_eq!(run["reply_status"], 200);
}

#[test]
fn a_client_that_is_done_sending_gets_its_answer() {
    let host = Host::start();
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let request = Request::new("POST", &slow.path).json(&json!({ "seconds": 1 })).bytes();
    let mut connection = host.connect();
    let reply = connection.send(request).shut_write().reply().expect("an answer").expect(200);
    assert_eq!(reply.json()["waited_seconds"], 1);
    assert!(connection.is_closed());
}

#[test]
fn a_client_that_hangs_up_in_its_body_runs_nothing() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({}));
    let head = Request::new("POST", &echo.path)
        .header("content-type", "application/json")
        .header("content-length", "10")
        .bytes();
    let mut connection = host.connect();
    connection.send(head).send("{").shut_write();
    // An answer is allowed, a run is not.
    assert!(connection.reply().is_none_or(|reply| reply.status == 400));
    drop(connection);
    // The host has noticed once the connection is no longer counted as open.
    wait::until("the connection's end", || {
        let metrics = Request::new("GET", "/metrics").send(host.api).text();
        metrics.lines().any(|line| line == "tidegate_http_connections_open 1")
    });
    assert!(host.runs(&echo).is_empty());
}
