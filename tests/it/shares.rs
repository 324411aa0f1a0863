//! What runs may use: alone, together with those of their owner, together with all others.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::host::{Host, Workflow};
use crate::support::http::{Reply, Request};
use crate::support::{guests, wait};

const FORM: &str = "application/x-www-form-urlencoded";
const MIB: usize = 1 << 20;

fn deploy(host: &Host, name: &str, guest: &str, limits: &Value) -> Workflow {
    let workflow = host.create(&json!({ "name": name, "kind": "catch", "limits": limits }));
    host.upload(name, "application/wasm", &guests::component(guest)).expect(201);
    workflow
}

fn hostile(host: &Host, workflow: &Workflow, mode: &str) -> Reply {
    host.call(workflow, &json!({ "mode": mode }))
}

fn memory_in_use(host: &Host) -> usize {
    let metrics = host.get("/metrics").expect(200).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("tidegate_instances_memory_bytes "));
    line.unwrap().parse().unwrap()
}

/// Holds 16 MiB and a little for its program in one run, and asks for as much in another.
fn second_of_two(setting: (&str, usize)) -> Reply {
    let host = Host::with(&[(setting.0, &setting.1.to_string())]);
    let held = deploy(&host, "held", "hostile", &json!({ "deadline_ms": 4000 }));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| hostile(&host, &held, "memory-held"));
        wait::until("the first to hold its memory", || memory_in_use(&host) > 16 * MIB);
        let second = hostile(&host, &held, "memory-held");
        assert_eq!(
            first.join().unwrap().expect(504).field("code"),
            "deadline",
            "the first keeps what it has"
        );
        // What the first held is free again.
        wait::until("the memory to come back", || memory_in_use(&host) == 0);
        assert_eq!(hostile(&host, &held, "memory-held").expect(504).field("code"), "deadline");
        second
    })
}

#[test]
fn all_runs_share_the_hosts_memory() {
    let refused = second_of_two(("engine.memory_total_bytes_max", 30 * MIB)).expect(503);
    assert_eq!(
        (refused.field("code").as_str(), refused.header("tidegate-fault")),
        ("overload", Some("host"))
    );
    assert!(refused.header("retry-after").is_some());
    assert_eq!(second_of_two(("engine.memory_total_bytes_max", 40 * MIB)).field("code"), "deadline");
}

#[test]
fn the_runs_of_one_owner_share_their_memory() {
    let refused = second_of_two(("owner.memory_bytes_max", 30 * MIB)).expect(429);
    assert_eq!((refused.field("code").as_str(), refused.header("tidegate-fault")), ("quota", Some("guest")));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(second_of_two(("owner.memory_bytes_max", 40 * MIB)).field("code"), "deadline");
}

#[test]
fn a_run_has_so_much_processor_time_and_waiting_is_free() {
    let host = Host::start();
    let limits = json!({ "cpu_ms_max": 100, "deadline_ms": 20_000 });
    let spinning = deploy(&host, "spinning", "hostile", &limits);
    for mode in ["spin-loop", "spin-host-calls", "spin-timers"] {
        let reply = hostile(&host, &spinning, mode).expect(504);
        assert_eq!((reply.field("code").as_str(), reply.header("tidegate-fault")), ("cpu", Some("guest")));
    }
    let run = &host.runs(&spinning)[0];
    assert_eq!(run["fault"], "cpu");
    assert_eq!(run["message"], "the run took more than its 100 ms of processor time");
    // One that waits longer than that uses none of it.
    let waiting = deploy(&host, "waiting", "hostile", &json!({ "cpu_ms_max": 100, "deadline_ms": 400 }));
    assert_eq!(hostile(&host, &waiting, "wait-for-ever").expect(504).field("code"), "deadline");
    let metrics = host.get("/metrics").expect(200).text();
    let line = "tidegate_runs_total{trigger=\"catch\",status=\"failed\",fault=\"cpu\"} 3";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[test]
fn an_owner_has_so_much_processor_time_by_the_minute() {
    let host = Host::with(&[("owner.cpu_ms_per_minute_max", "1000")]);
    let hello = host.deploy("hello", "catch", "hello");
    let spinning =
        deploy(&host, "spinning", "hostile", &json!({ "cpu_ms_max": 1500, "deadline_ms": 20_000 }));
    host.call(&hello, &json!({})).expect(200);
    // One run may take more than there is, which is owed then: half a minute and more.
    assert_eq!(hostile(&host, &spinning, "spin-loop").expect(504).field("code"), "cpu");
    let refused = host.call(&hello, &json!({})).expect(429);
    assert_eq!((refused.field("code").as_str(), refused.header("tidegate-fault")), ("quota", Some("guest")));
    assert!(refused.header("retry-after").is_some());
    let run = &host.runs(&hello)[0];
    assert_eq!((&run["status"], &run["fault"]), (&json!("cancelled"), &json!("quota")));
    assert!(run["message"].as_str().unwrap().contains("1000 ms of processor time by the minute"), "{run}");
    let metrics = host.get("/metrics").expect(200).text();
    let line = "tidegate_runs_total{trigger=\"catch\",status=\"cancelled\",fault=\"quota\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[test]
fn one_workflow_that_floods_the_host_does_not_keep_another_out() {
    let host = Host::with(&[("engine.instances_max", "2"), ("engine.queue_ms", "120000")]);
    let hello = host.deploy("hello", "catch", "hello");
    let flood = deploy(&host, "flood", "hostile", &json!({ "deadline_ms": 100 }));
    let (ended, total) = (AtomicUsize::new(0), 80);
    std::thread::scope(|scope| {
        for _ in 0..total {
            scope.spawn(|| {
                assert_eq!(hostile(&host, &flood, "spin-loop").expect(504).field("code"), "deadline");
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
        wait::until("the flood to wait", || {
            host.get("/metrics").expect(200).text().lines().any(|line| {
                line.strip_prefix("tidegate_runs_waiting ")
                    .is_some_and(|count| count.parse::<usize>().unwrap() > 40)
            })
        });
        let before = ended.load(Ordering::SeqCst);
        for _ in 0..5 {
            host.call(&hello, &json!({})).expect(200);
        }
        // First come, first served would have let all of them through before.
        let between = ended.load(Ordering::SeqCst) - before;
        assert!(between < 30, "{between} runs of the flood ended before five others were through");
    });
    assert_eq!(ended.into_inner(), total, "and none of the flood is lost");
}

#[test]
fn a_workflow_has_lower_limits_of_its_own_for_body_log_and_reply() {
    let host = Host::start();
    let echo = deploy(&host, "echo", "echo", &json!({ "body_bytes_max": 100 }));
    let post = |bytes: usize| Request::new("POST", &echo.path).body(FORM, "x".repeat(bytes)).send(host.catch);
    post(100).expect(200);
    let over = post(101).expect(413);
    assert_eq!(
        (over.field("code").as_str(), over.header("tidegate-fault")),
        ("body-too-large", Some("caller"))
    );

    let reply = deploy(&host, "reply", "huge-reply", &json!({ "reply_bytes_max": 1000 }));
    assert_eq!(host.call(&reply, &json!({ "bytes": 1000 })).expect(200).body.len(), 1000);
    let over = host.call(&reply, &json!({ "bytes": 1001 })).expect(502);
    assert_eq!((over.field("code").as_str(), over.header("tidegate-fault")), ("result", Some("guest")));

    let log = deploy(&host, "log", "log-flood", &json!({ "log_bytes_max": 2000 }));
    host.call(&log, &json!({ "stdout": 1000 })).expect(200);
    host.call(&log, &json!({ "stdout": 9000 })).expect(200);
    let summaries: Vec<Value> = host
        .runs(&log)
        .iter()
        .map(|run| {
            let id = run["id"].as_str().unwrap();
            host.get(&format!("/api/v1/runs/{id}")).expect(200).json()["log"].clone()
        })
        .collect();
    assert_eq!(summaries[1]["dropped_bytes"], 0, "{summaries:?}");
    assert!(summaries[0]["dropped_bytes"].as_u64().unwrap() >= 6_000, "{summaries:?}");

    // None of them can be more than the host's.
    for (limit, over) in [
        ("body_bytes_max", 1_048_577),
        ("log_bytes_max", 65_537),
        ("reply_bytes_max", 6_291_457),
        ("cpu_ms_max", 30_001),
    ] {
        let request = json!({ "name": "w", "kind": "catch", "limits": { limit: over } });
        let refused = host.tell("POST", "/api/v1/workflows", &request).expect(422);
        assert!(refused.field("message").contains(limit), "{}", refused.text());
        host.tell(
            "POST",
            "/api/v1/workflows",
            &json!({ "name": format!("w{over}"), "kind": "catch", "limits": { limit: over - 1 } }),
        )
        .expect(201);
    }
}
