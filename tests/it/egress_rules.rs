//! A workflow's own list of destinations, and what a run may send in all.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::host::{Host, Workflow};

/// The runs' records hold what became of each exchange.
fn exchanges(host: &Host, workflow: &Workflow) -> Vec<Value> {
    let run = host.runs(workflow).remove(0);
    let run = host.get(&format!("/api/v1/runs/{}", run["id"].as_str().unwrap())).expect(200).json();
    run["exchanges"].as_array().unwrap().clone()
}

fn metric(host: &Host, reason: &str) -> u64 {
    let text = host.get("/metrics").expect(200).text();
    let line = format!("tidegate_egress_refusals_total{{reason=\"{reason}\"}} ");
    let count = text.lines().find_map(|found| found.strip_prefix(&line));
    count.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
}

#[test]
fn request_goes_only_where_the_workflow_lists() {
    let host = Host::start();
    let outbound = host.deploy("outbound", "catch", "outbound");
    let set = |egress: Value| {
        host.tell("PATCH", "/api/v1/workflows/outbound", &json!({ "egress": egress })).expect(200).json()
    };
    let shown = set(json!([{ "host": "API.Example.com.", "methods": ["GET"], "path_prefix": "/v1" }]));
    assert_eq!(shown["egress"][0]["host"], "api.example.com");
    let before = metric(&host, "not-listed");
    let refused = [
        ("GET", "https://other.example.com/v1"),
        ("POST", "https://api.example.com/v1"),
        ("GET", "https://api.example.com/v2"),
        ("GET", "https://api.example.com/v1/%2e%2e/v2"),
        ("GET", "https://api.example.com:8443/v1"),
        ("GET", "http://127.0.0.1/v1"),
    ];
    for (method, url) in refused {
        host.call(&outbound, &json!({ "method": method, "url": url }));
        let exchange = exchanges(&host, &outbound).remove(0);
        assert_eq!(exchange["error"], "http-request-denied", "{method} {url}: {exchange}");
        let reason = exchange["reason"].as_str().unwrap();
        assert_eq!(reason, "the workflow lists its destinations, and this is none of them");
    }
    assert_eq!(metric(&host, "not-listed"), before + refused.len() as u64);

    // What it lists is still held to the host's rules.
    set(json!([{ "host": "127.0.0.1", "port": 9 }]));
    host.call(&outbound, &json!({ "method": "GET", "url": "http://127.0.0.1:9/" }));
    assert_eq!(exchanges(&host, &outbound)[0]["error"], "destination-ip-prohibited");
    assert!(metric(&host, "loopback") >= 1);
    set(json!([]));
    host.call(&outbound, &json!({ "method": "GET", "url": "https://api.example.com/v1" }));
    assert_eq!(exchanges(&host, &outbound)[0]["error"], "http-request-denied");
}

#[test]
fn destinations_are_configured_by_api_and_command_line() {
    let host = Host::start();
    host.deploy("listed", "catch", "hello");
    let path = "/api/v1/workflows/listed";
    for (egress, message) in [
        (json!([{ "host": "https://a.example" }]), "is not a host name"),
        (json!([{ "host": "a.example", "port": 0 }]), "port 0"),
        (json!([{ "host": "a.example", "methods": ["get"] }]), "method"),
        (json!([{ "host": "a.example", "path_prefix": "v1" }]), "path_prefix"),
        (json!(vec![json!({ "host": "a.example" }); 65]), "64 destinations"),
    ] {
        let refused = host.tell("PATCH", path, &json!({ "egress": egress })).expect(422);
        assert!(refused.field("message").contains(message), "{}", refused.text());
    }
    host.tell("PATCH", path, &json!({ "egress": vec![json!({ "host": "a.example" }); 64] })).expect(200);
    let told = |arguments: &[&str]| {
        let output = host.command(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (_, said) = told(&["egress", "set", "listed", "GET,POST *.hrflow.ai/v1", "api.twilio.com:8443"]);
    assert!(said.contains("these 2 destinations, and nowhere else"), "{said}");
    let (page, _) = told(&["egress", "show", "listed"]);
    assert!(page.contains("*.hrflow.ai") && page.contains("8443") && page.contains("GET, POST"), "{page}");
    assert!(told(&["show", "listed"]).0.contains("*.hrflow.ai, api.twilio.com"));
    told(&["egress", "set", "listed", "--nowhere"]);
    assert_eq!(told(&["egress", "show", "listed", "--json"]).0.trim(), "[]");
    told(&["egress", "open", "listed"]);
    assert_eq!(told(&["egress", "show", "listed", "--json"]).0.trim(), "null");
    assert_eq!(host.get(path).json().get("egress"), None);
}

/// A server that answers each connection's first request with ten bytes; where it listens.
fn ten_bytes() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\n0123456789");
        }
    });
    address
}

/// What became of each request of a run that sends so many.
fn ends(host: &Host, workflow: &Workflow, server: &str, times: u32, hold: bool) -> Vec<String> {
    let steps = json!({ "url": format!("http://{server}/"), "times": times, "hold": hold });
    host.call(workflow, &steps).expect(200);
    let end = |exchange: Value| exchange["reason"].as_str().unwrap_or("").to_owned();
    exchanges(host, workflow).into_iter().map(end).collect()
}

#[test]
fn workflow_may_send_less_than_the_host_allows() {
    let server = ten_bytes();
    let host = Host::with(&[("egress.allow_private", &server)]);
    let outbound = host.deploy("outbound", "catch", "outbound");
    let limit =
        |limits: Value| host.tell("PATCH", "/api/v1/workflows/outbound", &json!({ "limits": limits }));
    for (limits, times, hold, reason, counter) in [
        (json!({ "egress_requests_max": 2 }), 3, false, "all the requests", "requests"),
        (json!({ "egress_concurrent_max": 2 }), 3, true, "as many requests open", "concurrent"),
        (json!({ "egress_bytes_max": 25 }), 3, false, "all the bytes", "bytes"),
    ] {
        let shown = limit(limits.clone()).expect(200).json();
        let (name, value) = limits.as_object().unwrap().iter().next().unwrap();
        assert_eq!(shown["limits"][name], *value);
        let before = metric(&host, counter);
        let ends = ends(&host, &outbound, &server, times, hold);
        assert_eq!((&ends[0][..], &ends[1][..]), ("", ""), "{limits}: {ends:?}");
        assert!(ends[2].starts_with("the run has") && ends[2].contains(reason), "{limits}: {ends:?}");
        assert_eq!(metric(&host, counter), before + 1, "{limits}");
    }
    for (limits, wrong) in [
        (json!({ "egress_requests_max": 0 }), "limits.egress_requests_max"),
        (json!({ "egress_requests_max": 101 }), "limits.egress_requests_max"),
        (json!({ "egress_concurrent_max": 9 }), "limits.egress_concurrent_max"),
        (json!({ "egress_bytes_max": 104857601 }), "limits.egress_bytes_max"),
    ] {
        let refused = limit(limits).expect(422);
        assert!(refused.field("message").starts_with(wrong), "{}", refused.text());
    }
    limit(json!({ "egress_requests_max": 100, "egress_concurrent_max": 8, "egress_bytes_max": 104857600 }))
        .expect(200);
    assert_eq!(ends(&host, &outbound, &server, 3, true), ["", "", ""]);
}

#[test]
fn owners_workflows_send_no_more_together_than_they_may() {
    let server = ten_bytes();
    // So little by the minute that nothing of it comes back while a host is asked.
    for (key, value, reason, counter, hold) in [
        ("owner.egress_requests_per_minute_max", "3", "all the requests", "owner-requests", false),
        ("owner.egress_concurrent_max", "3", "as many requests open", "owner-concurrent", true),
        ("owner.egress_bytes_per_minute_max", "39", "all the bytes", "owner-bytes", false),
    ] {
        let host = Host::with(&[("egress.allow_private", &server), (key, value)]);
        let (one, two) = (host.deploy("one", "catch", "outbound"), host.deploy("two", "catch", "outbound"));
        assert_eq!(ends(&host, &one, &server, 2, hold), ["", ""], "{key}");
        let times = if hold { 4 } else { 2 };
        let ends = ends(&host, &two, &server, times, hold);
        let (last, before) = ends.split_last().unwrap();
        assert!(before.iter().all(|reason| reason.is_empty()), "{key}: {ends:?}");
        assert!(last.starts_with("the workflows of this owner") && last.contains(reason), "{key}: {ends:?}");
        assert_eq!(metric(&host, counter), 1, "{key}");
        // Another owner has its own.
        host.tell("POST", "/api/v1/users", &json!({ "login": "eve" })).expect(201);
        host.tell("PATCH", "/api/v1/workflows/two", &json!({ "owner": "eve" })).expect(200);
        assert_eq!(self::ends(&host, &two, &server, 2, hold), ["", ""], "{key}");
    }
}
