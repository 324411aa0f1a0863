//! Ten times as many callers as there is room for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::support::host::{Client, Host};
use crate::support::http::{Connection, Request};

/// Runs at a time, and places in front of them.
const RUNNING_MAX: usize = 4;
const WAITING_MAX: usize = 4;
const CALLERS: usize = 10 * (RUNNING_MAX + WAITING_MAX);
/// Calls that all of them make together.
const CALLS: usize = 2000;

/// What callers were answered: how often, by status and code.
type Outcomes = BTreeMap<(u16, String), usize>;

#[test]
fn ten_times_the_capacity_is_answered_or_refused_and_nothing_is_lost() {
    let (running, waiting) = (RUNNING_MAX.to_string(), WAITING_MAX.to_string());
    let host = Host::with(&[("engine.instances_max", &running), ("engine.queue_max", &waiting)]);
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let request = Request::new("POST", &slow.path).json(&json!({ "seconds": 1 })).bytes();
    let (is_over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (outcomes, probes) = std::thread::scope(|scope| {
        let callers: Vec<_> =
            (0..CALLERS).map(|_| scope.spawn(|| call(&host.client(), &request, &made))).collect();
        let probes = scope.spawn(|| probe(&host, &is_over));
        let mut outcomes = Outcomes::new();
        let mut runs = Vec::new();
        // What goes wrong in one must not keep the probes going.
        let called: Vec<_> = callers.into_iter().map(|caller| caller.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        for called in called {
            let (own, answered) = called.unwrap();
            own.into_iter().for_each(|(outcome, count)| *outcomes.entry(outcome).or_default() += count);
            runs.extend(answered);
        }
        for run in &runs {
            let record = host.get(&format!("/api/v1/runs/{run}")).expect(200).json();
            assert_eq!(record["status"], "succeeded", "{record}");
        }
        assert_eq!(runs.len(), outcomes[&(200, String::new())]);
        (outcomes, probes.join().unwrap())
    });
    let kinds: Vec<_> = outcomes.keys().map(|(status, code)| (*status, code.as_str())).collect();
    assert_eq!(kinds, [(200, ""), (503, "overload")], "{outcomes:?}");
    let (answered, refused) = (outcomes[&(200, String::new())], outcomes[&(503, "overload".to_owned())]);
    assert_eq!(answered + refused, CALLS);
    assert!(answered >= RUNNING_MAX + WAITING_MAX && refused > 0, "{outcomes:?}");
    assert!(probes > 0);
    // Each refusal is counted, and the host is as before.
    let metrics = host.get("/metrics").expect(200).text();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("tidegate_instances_in_use "));
    assert_eq!(counted, Some("0"));
    host.call(&slow, &json!({ "seconds": 0 })).expect(200);
}

#[test]
fn who_would_wait_in_vain_is_refused_at_once_and_others_are_answered() {
    let limits = [("run.concurrency_max", "1"), ("engine.queue_ms", "4000")];
    let host = Host::with(&limits);
    let slow = host.deploy("slow", "catch", "slow-host-call");
    // What the host learns of it: a run takes two seconds. So the third who waits waits for
    // four, which is more than three quarters of what anybody waits for.
    let request = Request::new("POST", &slow.path).json(&json!({ "seconds": 2 })).bytes();
    Connection::open(host.client().catch).send(&request).reply().expect("an answer");
    let made = AtomicUsize::new(CALLS - 2 * CALLERS);
    let outcomes: Vec<Outcomes> = std::thread::scope(|scope| {
        let callers: Vec<_> =
            (0..CALLERS).map(|_| scope.spawn(|| call(&host.client(), &request, &made).0)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let sum = |status| -> usize {
        let all = outcomes.iter().flatten().filter(|((own, _), _)| *own == status);
        all.map(|(_, count)| *count).sum()
    };
    assert!(sum(200) > 0 && sum(503) > 0, "{outcomes:?}");
    assert_eq!(sum(200) + sum(503), 2 * CALLERS);
    let refused = host.get("/api/v1/runs?status=cancelled&limit=500").expect(200).json();
    let messages = refused["runs"].as_array().unwrap().iter().map(|run| run["message"].to_string());
    let in_vain = messages.filter(|message| message.contains("which is going to take about")).count();
    assert!(in_vain > 0, "{refused}");
}

/// Calls one time after the other until enough are made; returns what came of it, and the runs that were answered.
fn call(client: &Client, request: &[u8], made: &AtomicUsize) -> (Outcomes, Vec<String>) {
    let mut connection = Connection::open(client.catch);
    let (mut outcomes, mut runs) = (Outcomes::new(), Vec::new());
    while made.fetch_add(1, Ordering::Relaxed) < CALLS {
        let reply = connection.send(request).reply().expect("every call is answered");
        let code = if reply.status == 200 { String::new() } else { reply.field("code") };
        if reply.status == 200 {
            runs.push(reply.header("tidegate-run").unwrap().to_owned());
        } else {
            let seconds: u64 = reply.header("retry-after").expect("when to try again").parse().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
            assert_eq!(reply.header("tidegate-fault"), Some("host"));
        }
        *outcomes.entry((reply.status, code)).or_default() += 1;
    }
    (outcomes, runs)
}

/// Asks whether the host is alive until it is over; it always is. Returns how often.
fn probe(host: &Host, is_over: &AtomicBool) -> usize {
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        Request::new("GET", "/healthz").send(host.api).expect(200);
        Request::new("GET", "/readyz").send(host.api).expect(200);
        host.get("/api/v1/workflows").expect(200);
        count += 1;
    }
    count
}
