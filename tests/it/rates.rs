//! Rates and connections by caller, at both sides of their edges.

use serde_json::json;

use crate::support::host::{Host, Workflow};
use crate::support::http::{Reply, Request};
use crate::support::wait;

fn call(host: &Host, workflow: &Workflow, caller: &str) -> Reply {
    Request::new("POST", &workflow.path).header("x-forwarded-for", caller).json(&json!({})).send(host.catch)
}

fn count(host: &Host, line: &str) -> bool {
    host.get("/metrics").expect(200).text().lines().any(|found| found == line)
}

fn is_told_when_to_come_back(reply: &Reply, code: &str) {
    assert_eq!((reply.status, reply.field("code").as_str()), (429, code), "{}", reply.text());
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1000).contains(&seconds), "{seconds}");
    assert_eq!(reply.header("tidegate-fault"), Some("caller"));
    assert!(!reply.field("hint").is_empty());
}

#[test]
fn endpoint_takes_its_burst_and_no_more_from_whomever() {
    let host = Host::with(&[("server.endpoint_rate_per_s_max", "1"), ("server.endpoint_burst_max", "20")]);
    let hello = host.deploy("hello", "catch", "hello");
    let other = host.deploy("other", "catch", "hello");
    let replies: Vec<Reply> = (0..200).map(|n| call(&host, &hello, &format!("203.0.113.{n}"))).collect();
    let taken = replies.iter().filter(|reply| reply.status == 200).count();
    // One more for each second that this takes.
    assert!((20..190).contains(&taken), "{taken}");
    assert!(replies[..20].iter().all(|reply| reply.status == 200));
    let refused: Vec<&Reply> = replies.iter().filter(|reply| reply.status != 200).collect();
    refused.iter().for_each(|reply| is_told_when_to_come_back(reply, "endpoint-rate"));
    assert_eq!(host.runs(&hello).len(), taken.min(50), "what is refused for its rate leaves no record");
    let line = format!("tidegate_catch_refusals_total{{code=\"endpoint-rate\"}} {}", refused.len());
    assert!(count(&host, &line), "{line}");
    call(&host, &other, "203.0.113.1").expect(200);
    // Browsers may still ask whether they may ask.
    for _ in 0..50 {
        Request::new("OPTIONS", &hello.path)
            .header("origin", "http://a.example")
            .send(host.catch)
            .expect(204);
    }
}

#[test]
fn address_takes_its_burst_and_no_more_wherever_it_asks() {
    let host = Host::with(&[("server.address_rate_per_s_max", "1"), ("server.address_burst_max", "20")]);
    let hello = host.deploy("hello", "catch", "hello");
    let replies: Vec<Reply> = (0..200).map(|_| call(&host, &hello, "203.0.113.7")).collect();
    let taken = replies.iter().filter(|reply| reply.status == 200).count();
    assert!((20..190).contains(&taken) && replies[..20].iter().all(|reply| reply.status == 200), "{taken}");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        is_told_when_to_come_back(reply, "address-rate");
    }
    // What stands left of the caller's own address is the caller's word, and changes nothing.
    let forged: Vec<Reply> =
        (0..50).map(|n| call(&host, &hello, &format!("198.51.100.{n}, 203.0.113.7"))).collect();
    assert!(forged.iter().filter(|reply| reply.status == 429).count() > 30);
    // Nor is there a way around by guessing endpoints, or by the API.
    let nowhere = |path: &str| Request::new("GET", path).header("x-forwarded-for", "203.0.113.7");
    for path in ["/catch/nowhere", "/api/v1/workflows"] {
        let refused = wait::for_some("a refusal", || {
            Some(nowhere(path).send(host.api)).filter(|reply| reply.status == 429)
        });
        is_told_when_to_come_back(&refused, "address-rate");
    }
    // Others are not concerned, nor is a proxy that names nobody; probes never are.
    call(&host, &hello, "203.0.113.8").expect(200);
    for _ in 0..100 {
        host.call(&hello, &json!({})).expect(200);
        nowhere("/healthz").send(host.api).expect(200);
    }
}

#[test]
fn address_has_so_many_connections_at_a_time() {
    let host =
        Host::with(&[("server.address_connections_max", "3"), ("server.trusted_proxies", "10.0.0.0/8")]);
    // One more is told why, and the host goes on for whoever is in already.
    let mut open: Vec<_> = (0..3).map(|_| host.connect()).collect();
    let health = Request::new("GET", "/healthz").bytes();
    for connection in &mut open {
        connection.send(&health).reply().unwrap().expect(200);
    }
    let turned_away = host.connect().reply().unwrap();
    assert_eq!((turned_away.status, turned_away.field("code").as_str()), (429, "address-connections"));
    assert!(turned_away.header("retry-after").is_some());
    open[0].send(&health).reply().unwrap().expect(200);
    open.pop();
    let mut again = wait::for_some("a place", || {
        let mut connection = host.connect();
        // The refusal comes unasked.
        connection.send(&health).reply().filter(|reply| reply.status == 200).map(|_| connection)
    });
    again.send(&health).reply().unwrap().expect(200);
    let metrics = Request::new("GET", "/metrics").header("authorization", "x").bytes();
    let reply = open[0].send(metrics).reply().unwrap();
    assert!(reply.text().contains("reason=\"address-connections\""), "{}", reply.text());
}

#[test]
fn workflow_has_a_rate_of_its_own() {
    let host = Host::start();
    let (slow, other) = (host.deploy("slow", "catch", "hello"), host.deploy("other", "catch", "hello"));
    let limit = |limits: serde_json::Value| {
        host.tell("PATCH", "/api/v1/workflows/slow", &json!({ "limits": limits }))
    };
    let shown = limit(json!({ "rate_per_s_max": 1, "burst_max": 20 })).expect(200).json();
    assert_eq!((&shown["limits"]["rate_per_s_max"], &shown["limits"]["burst_max"]), (&json!(1), &json!(20)));
    let replies: Vec<Reply> = (0..200).map(|_| call(&host, &slow, "203.0.113.1")).collect();
    let taken = replies.iter().filter(|reply| reply.status == 200).count();
    // One more for each second that this takes.
    assert!((20..190).contains(&taken) && replies[..20].iter().all(|reply| reply.status == 200), "{taken}");
    let refused: Vec<&Reply> = replies.iter().filter(|reply| reply.status != 200).collect();
    refused.iter().for_each(|reply| is_told_when_to_come_back(reply, "endpoint-rate"));
    call(&host, &other, "203.0.113.1").expect(200);
    let text = String::from_utf8(host.command(&["show", "slow"]).output().unwrap().stdout).unwrap();
    assert!(text.contains("1 request a second, 20 at once"), "{text}");
    // Without the limit it is called as often as anybody likes.
    limit(json!({})).expect(200);
    (0..50).for_each(|_| drop(call(&host, &slow, "203.0.113.1").expect(200)));
    for (limits, wrong) in [
        (json!({ "rate_per_s_max": 0 }), "limits.rate_per_s_max"),
        (json!({ "rate_per_s_max": 1_000_001 }), "limits.rate_per_s_max"),
        (json!({ "rate_per_s_max": 1, "burst_max": 0 }), "limits.burst_max"),
        (json!({ "burst_max": 5 }), "limits.burst_max"),
    ] {
        let refused = limit(limits).expect(422);
        assert!(refused.field("message").starts_with(wrong), "{}", refused.text());
    }
    let host = Host::with(&[("server.endpoint_rate_per_s_max", "10"), ("server.endpoint_burst_max", "20")]);
    host.deploy("slow", "catch", "hello");
    let limit = |limits: serde_json::Value| {
        host.tell("PATCH", "/api/v1/workflows/slow", &json!({ "limits": limits }))
    };
    limit(json!({ "rate_per_s_max": 10, "burst_max": 20 })).expect(200);
    limit(json!({ "rate_per_s_max": 11 })).expect(422);
    limit(json!({ "rate_per_s_max": 10, "burst_max": 21 })).expect(422);
}

#[test]
fn owners_workflows_have_a_rate_together() {
    let host = Host::with(&[("owner.rate_per_s_max", "1"), ("owner.burst_max", "20")]);
    let (one, two) = (host.deploy("one", "catch", "hello"), host.deploy("two", "catch", "hello"));
    host.tell("POST", "/api/v1/users", &json!({ "login": "eve" })).expect(201);
    let other = host.deploy("other", "catch", "hello");
    host.tell("PATCH", "/api/v1/workflows/other", &json!({ "owner": "eve" })).expect(200);
    let replies: Vec<Reply> =
        (0..200).map(|n| call(&host, if n % 2 == 0 { &one } else { &two }, "203.0.113.1")).collect();
    let taken = replies.iter().filter(|reply| reply.status == 200).count();
    assert!((20..190).contains(&taken) && replies[..20].iter().all(|reply| reply.status == 200), "{taken}");
    let refused: Vec<&Reply> = replies.iter().filter(|reply| reply.status != 200).collect();
    refused.iter().for_each(|reply| is_told_when_to_come_back(reply, "owner-rate"));
    let line = format!("tidegate_catch_refusals_total{{code=\"owner-rate\"}} {}", refused.len());
    assert!(count(&host, &line), "{line}");
    call(&host, &other, "203.0.113.1").expect(200);
}
