//! Guests that do their worst: each ends as it must, and the host has everything back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::host::{Host, Workflow};
use crate::support::wait;

/// How each mode of the guest `hostile` must end: the fault, or `ok` for a run that goes on
/// because the host refused, or cut short, what was asked of it.
const ENDS: &[(&str, &str)] = &[
    ("spin-loop", "deadline"),
    ("spin-float", "deadline"),
    ("spin-dispatch", "deadline"),
    ("spin-tree", "deadline"),
    ("spin-indirect", "deadline"),
    ("spin-fill", "deadline"),
    ("spin-copy", "deadline"),
    ("spin-host-calls", "deadline"),
    ("spin-timers", "deadline"),
    ("spin-log", "deadline"),
    ("spin-random", "deadline"),
    ("wait-for-ever", "deadline"),
    ("wait-for-an-instant", "deadline"),
    ("recursion", "trap"),
    ("recursion-in-memory", "trap"),
    ("memory", "memory"),
    ("memory-small", "memory"),
    ("memory-held", "deadline"),
    ("handles-fields", "trap"),
    ("handles-pollables", "trap"),
    ("handles-requests", "trap"),
    ("handles-options", "trap"),
    ("handles-streams", "trap"),
    ("fields-flood", "trap"),
    ("field-huge", "trap"),
    ("fields-many", "trap"),
    ("poll-many", "trap"),
    ("poll-none", "trap"),
    ("random-1-gb", "trap"),
    ("insecure-random-1-gb", "trap"),
    ("random-u64-max", "trap"),
    ("writes-of-nothing", "ok"),
    ("writes-unflushed", "deadline"),
    ("write-beyond-the-room", "ok"),
    ("write-zeroes-2-64", "trap"),
    ("log-flood", "deadline"),
    ("outbound-held", "ok"),
    ("body-before-its-stream", "trap"),
    ("body-finished-with-its-stream", "trap"),
    ("request-invalid", "ok"),
    ("folders", "ok"),
    ("wall-clock-frozen", "ok"),
    ("exit", "trap"),
    ("trap", "trap"),
    ("unwind", "trap"),
];

fn deploy(host: &Host, name: &str, deadline_ms: u64) -> Workflow {
    let limits = json!({ "deadline_ms": deadline_ms, "memory_bytes_max": 32 << 20 });
    let workflow = host.create(&json!({ "name": name, "kind": "catch", "limits": limits }));
    host.upload(name, "application/wasm", &crate::support::guests::component("hostile")).expect(201);
    workflow
}

/// The fault of one call, or `ok`.
fn end(host: &Host, hostile: &Workflow, mode: &str) -> String {
    let reply = host.call(hostile, &json!({ "mode": mode }));
    if reply.status == 200 { "ok".to_owned() } else { reply.field("code") }
}

fn has_everything_back(host: &Host, descriptors: usize) {
    wait::until("slots, memory and descriptors to come back", || {
        let metrics = host.get("/metrics").expect(200).text();
        let is = |line: &str| metrics.lines().any(|found| found == line);
        is("tidegate_instances_in_use 0")
            && is("tidegate_instances_memory_bytes 0")
            && is("tidegate_runs_waiting 0")
            && host.descriptors() <= descriptors
    });
    let metrics = host.get("/metrics").expect(200).text();
    assert!(metrics.contains("tidegate_panics_total 0"), "{metrics}");
}

#[test]
fn every_hostile_guest_ends_as_it_must_and_leaves_nothing() {
    let host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    // What ends by itself gets all the time that a busy machine may take for it.
    let spinning = deploy(&host, "spinning", 300);
    let hostile = deploy(&host, "hostile", 30_000);
    let listed = host.call(&hostile, &json!({})).expect(200).json();
    let listed: Vec<&str> = listed.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(listed, ENDS.iter().map(|(mode, _)| *mode).collect::<Vec<_>>(), "each mode has an end");
    host.call(&hello, &json!({})).expect(200);
    let descriptors = host.descriptors();

    let ends: BTreeMap<&str, String> = ENDS
        .iter()
        .map(|(mode, must)| {
            let workflow = if *must == "deadline" { &spinning } else { &hostile };
            (*mode, end(&host, workflow, mode))
        })
        .collect();
    let wrong: Vec<_> = ENDS.iter().filter(|(mode, must)| ends[mode] != *must).collect();
    assert!(
        wrong.is_empty(),
        "these ended differently: {:?}",
        wrong.iter().map(|(mode, _)| (mode, &ends[mode])).collect::<Vec<_>>()
    );
    has_everything_back(&host, descriptors);
    assert_eq!(host.call(&hello, &json!({})).expect(200).text(), "hello\n");
    // Each is on record, and its log is capped.
    for run in host.runs(&spinning).into_iter().chain(host.runs(&hostile)) {
        let id = run["id"].as_str().unwrap();
        let whole = host.get(&format!("/api/v1/runs/{id}")).expect(200).json();
        assert!(whole["log"]["bytes"].as_u64().is_none_or(|bytes| bytes <= 70_000), "{whole}");
    }
}

#[test]
fn many_hostile_guests_at_once_leave_room_for_others() {
    let host = Host::with(&[("engine.instances_max", "32")]);
    let hello = host.deploy("hello", "catch", "hello");
    let hostile = deploy(&host, "hostile", 1000);
    host.call(&hello, &json!({})).expect(200);
    let descriptors = host.descriptors();
    std::thread::scope(|scope| {
        let calls: Vec<_> =
            ["spin-loop", "spin-fill", "spin-timers", "memory", "handles-requests", "log-flood"]
                .into_iter()
                .cycle()
                .take(24)
                .map(|mode| {
                    scope.spawn({
                        let (host, hostile) = (&host, &hostile);
                        move || end(host, hostile, mode)
                    })
                })
                .collect();
        let mut answered = 0;
        while calls.iter().any(|call| !call.is_finished()) {
            host.call(&hello, &json!({})).expect(200);
            answered += 1;
        }
        assert!(answered >= 5, "only {answered} calls were answered beside 24 hostile ones");
        for call in calls {
            let end = call.join().unwrap();
            assert!(["deadline", "memory", "trap"].contains(&&*end), "{end}");
        }
    });
    has_everything_back(&host, descriptors);
}
