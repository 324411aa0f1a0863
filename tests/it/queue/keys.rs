//! Requests that must not run twice.

use serde_json::{Value, json};

use super::{async_request, ended, result};
use crate::support::host::{Host, Workflow};
use crate::support::http::{Reply, Request};

fn keyed(host: &Host, workflow: &Workflow, key: &str, body: &Value) -> Reply {
    Request::new("POST", &workflow.path).header("idempotency-key", key).json(body).send(host.catch)
}

/// A step for the guest `settings` that shows whether it ran again.
fn count(n: u64) -> Value {
    json!({ "set": { format!("RUN_{n}"): n } })
}

#[test]
fn repeated_request_gets_the_first_ones_reply() {
    let host = Host::with(&[("run.record_body_bytes_max", "10")]);
    let settings = host.deploy("settings", "catch", "settings");
    let first = keyed(&host, &settings, "a", &count(1)).expect(200);
    assert_eq!(first.header("tidegate-repeated"), None);
    let again = keyed(&host, &settings, "a", &count(1)).expect(200);
    assert_eq!(again.header("tidegate-repeated"), Some("true"));
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("tidegate-run"), first.header("tidegate-run"));
    assert_eq!(host.runs(&settings).len(), 1);

    let reused = keyed(&host, &settings, "a", &count(2)).expect(422);
    assert_eq!(reused.field("code"), "key-reused");
    assert!(reused.field("message").contains(first.header("tidegate-run").unwrap()));
    keyed(&host, &settings, "b", &count(2)).expect(200);
    assert_eq!(host.runs(&settings).len(), 2);
    // A failure is a reply as well.
    let failed = keyed(&host, &settings, "f", &json!({ "fail": "x" })).expect(502);
    let again = keyed(&host, &settings, "f", &json!({ "fail": "x" })).expect(502);
    assert_eq!(again.body, failed.body);
    assert_eq!(keyed(&host, &settings, "", &count(1)).expect(400).field("code"), "invalid-key");
}

#[test]
fn request_whose_twin_is_running_is_told_so() {
    let host = Host::start();
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let body = json!({ "seconds": 30 });
    let mut connection = host.connect();
    let request = Request::new("POST", &slow.path).header("idempotency-key", "k").json(&body);
    connection.send(request.bytes());
    let running = host.wait_for_run(&slow, "running");
    let twin = keyed(&host, &slow, "k", &body).expect(409);
    assert_eq!(twin.field("code"), "still-running");
    assert!(twin.header("retry-after").is_some());
    assert!(twin.field("message").contains(running["id"].as_str().unwrap()));
    super::cancel(&host, running["id"].as_str().unwrap()).expect(200);
    let reply = connection.reply().unwrap().expect(503);
    assert_eq!(reply.field("code"), "cancelled");
    assert_eq!(keyed(&host, &slow, "k", &body).expect(503).field("code"), "cancelled");
}

#[test]
fn repeated_async_request_is_the_same_event() {
    let host = Host::start();
    let settings = host.deploy("settings", "catch", "settings");
    let send =
        || async_request(&settings, &count(1)).header("idempotency-key", "a").send(host.catch).expect(202);
    let first = send();
    let again = send();
    assert_eq!(again.field("run"), first.field("run"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("tidegate-repeated"), Some("true"));
    result(&host, first.header("location").unwrap()).expect(200);
    assert_eq!(send().field("run"), first.field("run"));
    assert_eq!(host.runs(&settings).len(), 1);
    // Who waits gets the reply of the one that ran.
    let waited = keyed(&host, &settings, "a", &count(1)).expect(200);
    assert_eq!(waited.header("tidegate-run"), Some(&*first.field("run")));
}

#[test]
fn webhook_is_one_by_the_delivery_id_that_the_workflow_names() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({ "delivery_id_header": "X-Delivery" }));
    let deliver = |id: &str| {
        let request = Request::new("POST", &echo.path).header("x-delivery", id).json(&json!({ "a": 1 }));
        request.send(host.catch).expect(200).header("tidegate-run").unwrap().to_owned()
    };
    let first = deliver("1");
    assert_eq!(deliver("1"), first);
    assert_ne!(deliver("2"), first);
    // A key of the caller's that reads the same is another one.
    let keyed = keyed(&host, &echo, "1", &json!({ "a": 1 })).expect(200);
    assert_ne!(keyed.header("tidegate-run"), Some(&*first));
    let wrong = json!({ "endpoint": { "delivery_id_header": "a b" } });
    let wrong = host.tell("PATCH", "/api/v1/workflows/echo", &wrong).expect(422);
    assert!(wrong.field("message").starts_with("endpoint.delivery_id_header"));
}

#[test]
fn key_is_free_when_nothing_ran_or_its_time_is_over() {
    let host =
        Host::with(&[("engine.instances_max", "1"), ("engine.queue_ms", "1"), ("queue.remember_hours", "0")]);
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let hello = host.deploy("hello", "catch", "hello");
    let mut busy = host.connect();
    busy.send(Request::new("POST", &slow.path).json(&json!({ "seconds": 30 })).bytes());
    let running = host.wait_for_run(&slow, "running");
    let refused = keyed(&host, &hello, "k", &json!({})).expect(503);
    assert_eq!(refused.field("code"), "overload");
    super::cancel(&host, running["id"].as_str().unwrap()).expect(200);
    ended(&host, running["id"].as_str().unwrap());
    let first = keyed(&host, &hello, "k", &json!({})).expect(200);
    assert_eq!(first.header("tidegate-repeated"), None);
    let later = keyed(&host, &hello, "k", &json!({})).expect(200);
    assert_ne!(later.header("tidegate-run"), first.header("tidegate-run"));
}
