//! Requests that are answered before they ran, and their results.

use serde_json::json;

use super::{accepted, async_request, ended, result};
use crate::support::host::Host;
use crate::support::http::Request;

#[test]
fn async_request_is_answered_at_once_and_its_reply_is_fetched() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({}));
    let other = host.deploy_echo("other", &json!({}));
    let reply = async_request(&echo, &json!({ "n": 1 })).send(host.catch).expect(202);
    assert_eq!(reply.header("preference-applied"), Some("respond-async"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    let (run, location) = (reply.field("run"), reply.header("location").unwrap().to_owned());
    assert_eq!(location, format!("{}/runs/{run}", echo.path));
    assert_eq!((reply.header("tidegate-run"), reply.field("result")), (Some(&*run), location.clone()));

    let late = result(&host, &location).expect(200);
    assert_eq!(late.header("tidegate-run"), Some(&*run));
    assert_eq!(late.header("cache-control"), Some("no-store"));
    let seen = late.json();
    assert_eq!((&seen["method"], &seen["body"]), (&json!("POST"), &json!("{\"n\":1}")));
    let direct = host.call(&echo, &json!({ "n": 1 }));
    assert_eq!(late.header("content-type"), direct.header("content-type"));

    let record = ended(&host, &run);
    assert_eq!((&record["trigger"], &record["attempt"]), (&json!("catch"), &json!(1)));
    assert_eq!((&record["event"], &record["status"]), (&json!(run), &json!("succeeded")));
    let get = |path: &str| Request::new("GET", path).send(host.catch);
    // It can be fetched again; by nobody who does not know key and run.
    get(&location).expect(200);
    assert_eq!(get(&format!("{}/runs/{run}", other.path)).expect(404).field("code"), "no-result");
    get(&format!("{}/runs/x", echo.path)).expect(404);
    get(&format!("/catch/x/runs/{run}")).expect(404);
    let direct = direct.header("tidegate-run").unwrap().to_owned();
    get(&format!("{}/runs/{direct}", echo.path)).expect(404);
    let post = Request::new("POST", &location).send(host.catch).expect(405);
    assert_eq!(post.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn what_the_endpoint_refuses_is_not_queued() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({}));
    let request = |body: &str| {
        let request = Request::new("POST", &echo.path).header("prefer", "respond-async");
        request.body("application/json", body).send(host.catch)
    };
    request("{").expect(400);
    host.tell("PATCH", "/api/v1/workflows/echo", &json!({ "state": "paused" })).expect(200);
    let paused = request("{}").expect(503);
    assert!(paused.header("retry-after").is_some());
    assert_eq!(super::metric(&host, "tidegate_queue_events_total{result=\"new\"}"), 0);
}

#[test]
fn large_reply_is_kept_whole_for_who_fetches_it() {
    let host = Host::with(&[("run.record_body_bytes_max", "10")]);
    let echo = host.deploy_echo("echo", &json!({}));
    let (run, location) = accepted(&host, &echo, &json!({ "long": "x".repeat(5000) }));
    let seen = result(&host, &location).expect(200).json();
    assert!(seen["body"].as_str().unwrap().len() > 5000, "the workflow was handed the whole body");
    assert_eq!(ended(&host, &run)["request"]["body"]["text"].as_str().unwrap().len(), 10);
}

#[test]
fn full_queue_says_when_to_come_again_and_sync_requests_go_on() {
    let host = Host::with(&[("queue.events_max", "2"), ("queue.running_max", "1")]);
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let hello = host.deploy("hello", "catch", "hello");
    let (running, _) = accepted(&host, &slow, &json!({ "seconds": 30 }));
    host.wait_for_run(&slow, "running");
    let (waiting, location) = accepted(&host, &hello, &json!({}));
    let full = async_request(&hello, &json!({})).send(host.catch).expect(503);
    assert_eq!(full.field("code"), "queue-full");
    let after: u64 = full.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&after));
    host.call(&hello, &json!({})).expect(200);

    // Both are listed, the one that waits too.
    let pending = Request::new("GET", &location).send(host.catch).expect(202);
    assert_eq!(pending.field("status"), "queued");
    let queued = host.get("/api/v1/runs?status=queued").expect(200).json();
    assert_eq!(queued["runs"][0]["id"], json!(waiting));
    let shown = host.get(&format!("/api/v1/runs/{waiting}")).expect(200).json();
    assert_eq!((&shown["status"], &shown["request"]["body"]["text"]), (&json!("queued"), &json!("{}")));
    super::cancel(&host, &running).expect(200);
    result(&host, &location).expect(200);
    accepted(&host, &hello, &json!({}));
}
