//! Runs that are cancelled: running, waiting, of callers who wait.

use serde_json::{Value, json};

use super::{accepted, cancel, dead, ended, result, set_retry};
use crate::support::host::Host;
use crate::support::http::Request;

#[test]
fn running_event_is_cancelled() {
    let host = Host::start();
    let slow = host.deploy("slow", "catch", "slow-host-call");
    set_retry(&host, &slow, &json!({ "attempts": 5 }));
    let (event, location) = accepted(&host, &slow, &json!({ "seconds": 30 }));
    host.wait_for_run(&slow, "running");
    let run = cancel(&host, &event).expect(200).json();
    assert_eq!((&run["status"], &run["fault"]), (&json!("cancelled"), &json!("cancelled")));
    assert_eq!(run["id"], json!(event));
    assert_eq!(result(&host, &location).expect(503).field("code"), "cancelled");
    assert_eq!((host.runs(&slow).len(), dead(&host)), (1, vec![]), "nobody tries it again");
    assert_eq!(cancel(&host, &event).expect(409).field("code"), "ended");
    cancel(&host, "x").expect(404);
    cancel(&host, &"0".repeat(26)).expect(404);
}

#[test]
fn event_is_cancelled_at_whatever_moment_of_its_start() {
    let host = Host::start();
    let slow = host.deploy("slow", "catch", "slow-host-call");
    for _ in 0..40 {
        let (event, _) = accepted(&host, &slow, &json!({ "seconds": 30 }));
        assert_eq!(cancel(&host, &event).expect(200).json()["status"], "cancelled");
    }
}

#[test]
fn spinning_run_of_a_caller_who_waits_is_cancelled() {
    let host = Host::start();
    let spin = host.deploy("spin", "catch", "spin");
    let mut connection = host.connect();
    connection.send(Request::new("POST", &spin.path).json(&json!({})).bytes());
    let running = host.wait_for_run(&spin, "running");
    let id = running["id"].as_str().unwrap();
    assert_eq!(cancel(&host, id).expect(200).json()["status"], "cancelled");
    let reply = connection.reply().unwrap().expect(503);
    assert_eq!((reply.field("code").as_str(), reply.header("tidegate-fault")), ("cancelled", Some("host")));
    // Its instance is given back behind its caller's reply, as any.
    crate::support::wait::until("its place", || super::metric(&host, "tidegate_instances_in_use") == 0);
    let run = ended(&host, id);
    assert!(run["usage"]["cpu_us"].as_u64() > Some(0), "what it used is on record: {run}");
    assert!(run["usage"]["memory_peak_bytes"].as_u64() > Some(0), "{run}");
    assert_ne!(run["inputs"]["random_seed"], json!("0".repeat(64)), "{run}");
}

#[test]
fn cancelled_run_keeps_what_it_had_done() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let host = Host::with(&[("egress.allow_private", &address.to_string())]);
    let outbound = host.deploy("outbound", "catch", "outbound");
    let (event, _) = accepted(&host, &outbound, &json!({ "url": format!("http://{address}/a") }));
    let _called = silent.accept().unwrap();
    assert_eq!(cancel(&host, &event).expect(200).json()["status"], "cancelled");
    let run = ended(&host, &event);
    let exchanges = run["exchanges"].as_array().unwrap();
    assert_eq!((exchanges.len(), exchanges[0]["url"].as_str()), (1, Some(&*format!("http://{address}/a"))));
    assert!(exchanges[0]["error"].is_string(), "it was given up: {run}");
}

#[test]
fn event_that_waits_is_taken_out_of_the_queue() {
    let host = Host::with(&[("queue.running_max", "1")]);
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let settings = host.deploy("settings", "catch", "settings");
    let (running, _) = accepted(&host, &slow, &json!({ "seconds": 30 }));
    host.wait_for_run(&slow, "running");
    let (waiting, location) = accepted(&host, &settings, &json!({ "set": { "A": 1 } }));
    let run = cancel(&host, &waiting).expect(200).json();
    assert_eq!((&run["status"], &run["id"]), (&json!("cancelled"), &json!(waiting)));
    assert_eq!((&run["started_at"], &run["version"]), (&Value::Null, &json!(1)));
    assert_eq!(result(&host, &location).expect(503).field("code"), "cancelled");
    cancel(&host, &running).expect(200);
    assert_eq!(ended(&host, &running)["status"], "cancelled");
    assert_eq!(host.runs(&settings).len(), 1);
    let list = host.get("/api/v1/workflows/settings/settings").expect(200).json();
    assert_eq!(list["settings"], json!([]), "it never ran");
}

#[test]
fn attempt_that_would_come_later_is_cancelled_by_its_own_id_or_the_events() {
    let host = Host::start();
    let settings = host.deploy("settings", "catch", "settings");
    set_retry(
        &host,
        &settings,
        &json!({ "attempts": 2, "backoff_ms": 3_600_000, "backoff_max_ms": 3_600_000 }),
    );
    for by_event in [true, false] {
        let (event, location) = accepted(&host, &settings, &json!({ "fail": "no" }));
        let waiting = super::wait_for_attempt(&host, &settings, 2);
        let id = if by_event { &event } else { waiting["id"].as_str().unwrap() };
        let run = cancel(&host, id).expect(200).json();
        assert_eq!((&run["id"], &run["status"]), (&waiting["id"], &json!("cancelled")));
        assert_eq!((&run["attempt"], &run["event"]), (&json!(2), &json!(event)));
        assert_eq!(result(&host, &location).expect(503).header("tidegate-run"), run["id"].as_str());
    }
    assert_eq!(dead(&host), [] as [Value; 0]);
}

#[test]
fn graceful_end_leaves_what_waits_for_the_next_start() {
    let mut host = Host::with(&[("queue.running_max", "1"), ("server.drain_ms", "1")]);
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let hello = host.deploy("hello", "catch", "hello");
    let (running, _) = accepted(&host, &slow, &json!({ "seconds": 30 }));
    host.wait_for_run(&slow, "running");
    let (_, location) = accepted(&host, &hello, &json!({}));
    host.terminate();
    assert!(host.wait().success());
    host.kill_and_restart();
    result(&host, &location).expect(200);
    assert_eq!(ended(&host, &running)["status"], "interrupted");
    let letters = super::wait_for_dead(&host, 1);
    assert_eq!((&letters[0]["event"], &letters[0]["fault"]), (&json!(running), &json!("interrupted")));
}
