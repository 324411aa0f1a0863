//! The end of the process between acceptance and end.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{accepted, ended, result, set_retry, wait_for_dead, wait_for_runs};
use crate::support::host::Host;
use crate::support::http::Request;

#[test]
fn what_was_accepted_runs_once_after_kill_9() {
    let mut host = Host::with(&[("queue.running_max", "1")]);
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let echo = host.deploy_echo("echo", &json!({}));
    let (running, _) = accepted(&host, &slow, &json!({ "seconds": 30 }));
    host.wait_for_run(&slow, "running");
    let events: Vec<_> = (0..5).map(|n| accepted(&host, &echo, &json!({ "n": n }))).collect();
    host.kill_and_restart();
    for (n, (event, location)) in events.iter().enumerate() {
        let seen = result(&host, location).expect(200).json();
        assert_eq!(seen["body"], format!("{{\"n\":{n}}}"));
        assert_eq!(ended(&host, event)["status"], "succeeded");
    }
    assert_eq!(host.runs(&echo).len(), 5);
    // Nobody knows how far this one came, and its policy does not say that it may run twice.
    let run = ended(&host, &running);
    assert_eq!((&run["status"], &run["fault"]), (&json!("interrupted"), &json!("interrupted")));
    assert_eq!(wait_for_dead(&host, 1)[0]["event"], json!(running));
    host.kill_and_restart();
    assert_eq!((host.runs(&echo).len(), host.runs(&slow).len()), (5, 1), "an end is an end");
}

#[test]
fn interrupted_work_runs_again_where_it_may() {
    let mut host = Host::start();
    let slow = host.deploy("slow", "catch", "slow-host-call");
    set_retry(&host, &slow, &json!({ "attempts": 2, "backoff_ms": 1, "on": ["interrupted"] }));
    let (event, location) = accepted(&host, &slow, &json!({ "seconds": 2 }));
    host.wait_for_run(&slow, "running");
    host.kill_and_restart();
    result(&host, &location).expect(200);
    let runs = host.runs(&slow);
    let seen: Vec<_> = runs.iter().rev().map(|run| (&run["attempt"], &run["status"])).collect();
    assert_eq!(seen, [(&json!(1), &json!("interrupted")), (&json!(2), &json!("succeeded"))]);
    assert!(runs.iter().all(|run| run["event"] == json!(event)));
}

#[test]
fn interrupted_pull_runs_again_where_it_may() {
    let mut host = Host::start();
    let pull = host.create(&json!({ "name": "pull", "kind": "pull",
        "retry": { "attempts": 2, "backoff_ms": 1, "on": ["interrupted"] },
        "schedules": [{ "every": "1s" }] }));
    host.tell("PATCH", "/api/v1/workflows/pull/settings", &json!({ "HOLD_MS": 20_000 })).expect(200);
    host.upload("pull", "application/wasm", &crate::support::guests::component("pull")).expect(201);
    let running = host.wait_for_run(&pull, "running");
    host.tell("PATCH", "/api/v1/workflows/pull/settings", &json!({ "HOLD_MS": null })).expect(200);
    host.kill_and_restart();
    let runs = crate::support::wait::for_some("the second attempt", || {
        let mut runs = host.runs(&pull);
        runs.retain(|run| run["event"] == running["id"] && run["status"] == "succeeded");
        Some(runs).filter(|runs| !runs.is_empty())
    });
    assert_eq!((runs.len(), &runs[0]["attempt"], &runs[0]["due"]), (1, &json!(2), &running["due"]));
    assert_eq!(ended(&host, running["id"].as_str().unwrap())["status"], "interrupted");
}

#[test]
fn key_of_a_call_that_was_interrupted_follows_the_policy() {
    let mut host = Host::start();
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let again = host.deploy("again", "catch", "slow-host-call");
    set_retry(&host, &again, &json!({ "attempts": 2, "on": ["interrupted"] }));
    let request = |workflow: &crate::support::host::Workflow| {
        Request::new("POST", &workflow.path).header("idempotency-key", "k").json(&json!({ "seconds": 2 }))
    };
    for workflow in [&slow, &again] {
        host.connect().send(request(workflow).bytes());
        host.wait_for_run(workflow, "running");
    }
    host.kill_and_restart();
    wait_for_runs(&host, &slow, 1);
    wait_for_runs(&host, &again, 1);
    let reply = crate::support::wait::for_some("an answer", || {
        Some(request(&slow).send(host.catch)).filter(|reply| reply.status != 409)
    });
    assert_eq!(reply.expect(503).field("code"), "interrupted");
    let reply = crate::support::wait::for_some("an answer", || {
        Some(request(&again).send(host.catch)).filter(|reply| reply.status != 409)
    });
    reply.expect(200);
    assert_eq!((host.runs(&slow).len(), host.runs(&again).len()), (1, 2));
}

/// An end records what it finds and settles it, each with a flush of its own, and may itself
/// be cut between the two.
#[test]
fn recovery_that_was_cut_runs_nothing_twice() {
    let mut host = Host::start();
    let later = host.deploy("later", "catch", "slow-host-call");
    let once = host.deploy("once", "catch", "slow-host-call");
    let (event, _) = accepted(&host, &later, &json!({ "seconds": 30 }));
    let call =
        Request::new("POST", &once.path).header("idempotency-key", "k").json(&json!({ "seconds": 30 }));
    let mut caller = host.connect();
    caller.send(call.clone().bytes());
    host.wait_for_run(&later, "running");
    host.wait_for_run(&once, "running");
    host.kill();
    let names = |host: &Host| -> BTreeSet<_> {
        let entries = std::fs::read_dir(host.data().join("queue")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let before = names(&host);
    host.restart(&[]);
    let answer = |host: &Host| {
        crate::support::wait::for_some("an answer", || {
            Some(call.clone().send(host.catch)).filter(|reply| reply.status != 409)
        })
    };
    for round in ["recovered", "recovered again"] {
        let reply = answer(&host).expect(503);
        assert_eq!(reply.field("code"), "interrupted", "{round}");
        assert_eq!(wait_for_dead(&host, 1)[0]["event"], json!(event), "{round}");
        assert_eq!((host.runs(&later).len(), host.runs(&once).len()), (1, 1), "{round}");
        host.kill();
        // The records reached the disk, and the settlements did not.
        let since: Vec<_> = names(&host).difference(&before).cloned().collect();
        assert!(!since.is_empty());
        since.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        host.restart(&[]);
    }
}

/// Clients that note what was acknowledged, and a host that is killed under them.
#[test]
fn nothing_accepted_is_lost_or_ends_twice_over_many_kills() {
    let mut host = Host::start();
    let echo = host.deploy_echo("echo", &json!({}));
    let mut events = Vec::new();
    for _ in 0..5 {
        let (catch, path) = (host.catch, echo.path.clone());
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let mut acknowledged = Vec::new();
                    let Ok(mut connection) =
                        std::panic::catch_unwind(|| crate::support::http::Connection::open(catch))
                    else {
                        return acknowledged;
                    };
                    let request =
                        Request::new("POST", &path).header("prefer", "respond-async").json(&json!({}));
                    let bytes = request.bytes();
                    while let Some(reply) = connection.send(&bytes).reply() {
                        acknowledged.push(reply.expect(202).field("run"));
                    }
                    acknowledged
                })
            })
            .collect();
        crate::support::wait::until("some events", || {
            super::metric(&host, "tidegate_queue_events_total{result=\"new\"}") > 100
        });
        host.kill_and_restart();
        for client in clients {
            events.extend(client.join().unwrap());
        }
    }
    assert!(events.len() > 300, "{}", events.len());
    let ids: BTreeSet<&String> = events.iter().collect();
    assert_eq!(ids.len(), events.len());
    crate::support::wait::until("an empty queue", || {
        let left = |name: &str| super::metric(&host, name);
        left("tidegate_queue_waiting ") + left("tidegate_queue_running ") == 0
    });
    // Every run of every page: each event has one record, or an interrupted one.
    let mut seen: std::collections::BTreeMap<String, u32> = Default::default();
    let mut query = "?limit=500".to_owned();
    loop {
        let page: Value = host.get(&format!("/api/v1/workflows/echo/runs{query}")).expect(200).json();
        for run in page["runs"].as_array().unwrap() {
            assert!(matches!(run["status"].as_str().unwrap(), "succeeded" | "interrupted"), "{run}");
            *seen.entry(run["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=500&cursor={next}");
    }
    let lost: Vec<_> = events.iter().filter(|event| !seen.contains_key(*event)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(seen.values().all(|count| *count == 1), "a run has two ends");
}
