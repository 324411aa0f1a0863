//! A workflow's own list of destinations, and what a run may send in all.

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
