//! Attempts, dead letters, and driving them again.

use serde_json::{Value, json};

use super::{accepted, dead, ended, metric, result, set_retry, wait_for_dead, wait_for_runs};
use crate::support::host::Host;
use crate::support::http::Request;
use crate::support::wait;

fn quick(attempts: u32) -> Value {
    json!({ "attempts": attempts, "backoff_ms": 1, "backoff_max_ms": 1 })
}

#[test]
fn failed_event_is_tried_again_until_it_is_a_dead_letter_and_is_driven_again() {
    let host = Host::start();
    let settings = host.deploy("settings", "catch", "settings");
    set_retry(&host, &settings, &quick(3));
    let (event, location) = accepted(&host, &settings, &json!({ "fail": "no" }));
    let letters = wait_for_dead(&host, 1);
    let letter = &letters[0];
    assert_eq!((&letter["event"], &letter["attempts"]), (&json!(event), &json!(3)));
    assert_eq!((&letter["status"], &letter["fault"]), (&json!("failed"), &json!("exception")));
    assert_eq!((&letter["workflow"], &letter["trigger"]), (&json!("settings"), &json!("catch")));
    let runs = host.runs(&settings);
    assert_eq!(runs.len(), 3);
    let attempts: Vec<_> = runs.iter().rev().map(|run| run["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert!(runs.iter().all(|run| run["event"] == json!(event)), "each names the first");
    assert_eq!((&runs[2]["id"], &runs[0]["id"]), (&json!(event), &letter["run"]));
    // Who asks for the result gets the last failure.
    let failed = result(&host, &location).expect(502);
    assert_eq!(failed.header("tidegate-run"), letter["run"].as_str());

    let redrive = |body: Value| host.tell("POST", "/api/v1/dead/redrive", &body);
    let again = redrive(json!({ "events": [event] })).expect(200).json();
    assert_eq!(again["events"], json!([event]));
    let runs = wait_for_runs(&host, &settings, 6);
    assert_eq!(runs[5]["attempt"], 6, "it has its attempts again");
    let letters = wait_for_dead(&host, 1);
    assert_eq!(letters[0]["attempts"], 6);
    assert_eq!(metric(&host, "tidegate_queue_dead "), 1);
    assert_eq!(metric(&host, "tidegate_queue_redriven_total"), 1);
    assert_eq!(metric(&host, "tidegate_queue_attempts_total{result=\"retried\"}"), 4);

    // Driven again in a version that works.
    host.upload("settings", "application/wasm", &crate::support::guests::component("hello")).expect(201);
    assert_eq!(redrive(json!({ "workflow": "settings" })).expect(200).json()["events"], json!([event]));
    assert_eq!(result(&host, &location).expect(200).header("tidegate-fault"), None);
    assert_eq!(dead(&host), [] as [Value; 0]);
    for wrong in [json!({}), json!({ "all": true, "workflow": "settings" }), json!({ "evnts": [] })] {
        redrive(wrong).expect(422);
    }
    redrive(json!({ "workflow": "none" })).expect(404);
    assert_eq!(redrive(json!({ "all": true })).expect(200).json()["events"], json!([]));
}

#[test]
fn only_the_faults_that_the_policy_names_are_tried_again() {
    let host = Host::start();
    let settings = host.deploy("settings", "catch", "settings");
    let retry = json!({ "attempts": 5, "backoff_ms": 1, "on": ["trap"] });
    set_retry(&host, &settings, &retry);
    accepted(&host, &settings, &json!({ "fail": "no" }));
    assert_eq!(wait_for_dead(&host, 1)[0]["attempts"], 1);
    accepted(&host, &settings, &json!({ "trap": true }));
    assert_eq!(wait_for_dead(&host, 2)[0]["attempts"], 5);

    let shown = host.get("/api/v1/workflows/settings").expect(200).json();
    assert_eq!(
        (&shown["retry"]["attempts"], &shown["retry"]["backoff_max_ms"]),
        (&json!(5), &json!(300_000))
    );
    for (wrong, field) in [
        (json!({ "attempts": 0 }), "retry.attempts"),
        (json!({ "attempts": 21 }), "retry.attempts"),
        (json!({ "backoff_ms": 400_000 }), "retry.backoff_max_ms"),
        (json!({ "jitter_percent": 101 }), "retry.jitter_percent"),
        (json!({ "on": ["skipped"] }), "retry.on"),
    ] {
        let refused =
            host.tell("PATCH", "/api/v1/workflows/settings", &json!({ "retry": wrong })).expect(422);
        assert!(refused.field("message").starts_with(field), "{}", refused.text());
    }
}

#[test]
fn attempt_that_comes_later_waits_as_a_queued_run() {
    let host = Host::start();
    let settings = host.deploy("settings", "catch", "settings");
    set_retry(
        &host,
        &settings,
        &json!({ "attempts": 2, "backoff_ms": 3_600_000, "backoff_max_ms": 3_600_000 }),
    );
    let (event, location) = accepted(&host, &settings, &json!({ "fail": "no" }));
    let waiting = super::wait_for_attempt(&host, &settings, 2);
    assert_eq!((&waiting["attempt"], &waiting["event"]), (&json!(2), &json!(event)));
    assert_ne!(waiting["id"], json!(event));
    assert_eq!(ended(&host, &event)["status"], "failed");
    let pending = Request::new("GET", &location).send(host.catch).expect(202);
    assert_eq!(pending.field("run"), event);
}

#[test]
fn pull_that_failed_is_tried_again_and_driven_again() {
    let host = Host::start();
    let pull = host.create(&json!({ "name": "pull", "kind": "pull", "retry": quick(2),
        "schedules": [{ "cron": "0 0 1 1 *" }, { "name": "often", "every": "1s" }] }));
    host.tell("PATCH", "/api/v1/workflows/pull/settings", &json!({ "FAIL": "down" })).expect(200);
    host.upload("pull", "application/wasm", &crate::support::guests::component("pull")).expect(201);
    let letters = wait::for_some("a dead letter", || dead(&host).pop());
    // Nothing more comes due.
    let quiet = json!({ "schedules": [{ "cron": "0 0 1 1 *" }] });
    host.tell("PATCH", "/api/v1/workflows/pull", &quiet).expect(200);
    assert_eq!((&letters["trigger"], &letters["attempts"]), (&json!("pull"), &json!(2)));
    let first = ended(&host, letters["event"].as_str().unwrap());
    let second = ended(&host, letters["run"].as_str().unwrap());
    assert_eq!((&first["attempt"], &second["attempt"]), (&json!(1), &json!(2)));
    assert_eq!((&first["due"], &first["schedule"]), (&second["due"], &second["schedule"]));
    assert_eq!(second["event"], first["id"]);

    host.tell("PATCH", "/api/v1/workflows/pull/settings", &json!({ "FAIL": null })).expect(200);
    let redriven = json!({ "events": [letters["event"]] });
    host.tell("POST", "/api/v1/dead/redrive", &redriven).expect(200);
    let third = wait::for_some("a success", || {
        host.runs(&pull).into_iter().find(|run| run["attempt"] == 3 && run["status"] == "succeeded")
    });
    let third = ended(&host, third["id"].as_str().unwrap());
    assert_eq!((&third["value"]["attempt"], &third["due"]), (&json!(3), &first["due"]));
}
