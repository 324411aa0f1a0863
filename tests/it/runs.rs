//! Runs in the API: listings, details, logs, test runs, replays.

use serde_json::{Value, json};

use crate::support::host::{Host, Workflow};
use crate::support::http::Request;
use crate::support::wait;

fn test_run(host: &Host, workflow: &Workflow, request: &Value) -> Value {
    host.tell("POST", &format!("/api/v1/workflows/{}/runs", workflow.name), request).expect(200).json()
}

#[test]
fn runs_are_listed_newest_first_in_pages_and_by_status() {
    let host = Host::start();
    let settings = host.deploy("settings", "catch", "settings");
    let hello = host.deploy("hello", "catch", "hello");
    let mut ids: Vec<String> = (0..5)
        .map(|n| {
            let body = if n == 2 { json!({ "fail": "x" }) } else { json!({}) };
            host.call(&settings, &body).header("tidegate-run").unwrap().to_owned()
        })
        .collect();
    ids.reverse();
    host.call(&hello, &json!({})).expect(200);

    let list = |query: &str| host.get(&format!("/api/v1/workflows/settings/runs{query}")).expect(200).json();
    let of = |list: &Value| -> Vec<String> {
        list["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = list("");
    assert_eq!((of(&all), &all["next"]), (ids.clone(), &Value::Null));
    assert!(all["runs"][0]["duration_ms"].as_f64().unwrap() > 0.0);

    let (mut pages, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = list(&query);
        pages.extend(of(&page));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&cursor={next}");
    }
    assert_eq!(pages, ids);

    assert_eq!(of(&list("?status=failed")), [ids[2].clone()]);
    assert_eq!(of(&list("?status=failed,succeeded")).len(), 5);
    assert_eq!(of(&list("?trigger=test")), [""; 0]);
    assert_eq!(of(&list("?since=2020-01-01T00:00:00Z")).len(), 5);
    assert_eq!(of(&list("?until=2020-01-01T00:00:00Z")).len(), 0);
    assert_eq!(of(&host.get("/api/v1/runs").expect(200).json()).len(), 6);
    host.get("/api/v1/workflows/none/runs").expect(404);
}

#[test]
fn an_outbound_call_that_policy_refused_says_why() {
    let host = Host::start();
    let outbound = host.deploy("outbound", "catch", "outbound");
    for (url, error, reason) in [
        (
            "http://127.0.0.1:9/?k=v",
            "destination-ip-prohibited",
            "127.0.0.1 is a loopback address (RFC 1122)",
        ),
        ("http://10.1.2.3/", "destination-ip-prohibited", "10.1.2.3 is a private address (RFC 1918)"),
        (
            "http://169.254.169.254/",
            "destination-ip-prohibited",
            "169.254.169.254 is a cloud's metadata service",
        ),
        ("http://db/", "destination-ip-prohibited", "the name has no dot"),
    ] {
        let reply = host.call(&outbound, &json!({ "url": url })).expect(200);
        let id = reply.header("tidegate-run").unwrap();
        let run = host.get(&format!("/api/v1/runs/{id}")).expect(200).json();
        let exchange = &run["exchanges"][0];
        assert_eq!((&exchange["error"], &exchange["status"]), (&json!(error), &Value::Null));
        assert!(exchange["reason"].as_str().unwrap().starts_with(reason), "{exchange}");
        assert!(!run["exchanges"].to_string().contains("k=v"), "{run}");
    }
    let schema = host.get("/api/v1/openapi.json").expect(200).json();
    assert!(schema["components"]["schemas"]["Exchange"]["properties"]["reason"].is_object());
}

#[test]
fn a_request_that_was_refused_is_found_by_its_status_and_fault() {
    let host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    host.call(&hello, &json!({})).expect(200);
    Request::new("POST", &hello.path).body("application/json", "{").send(host.catch).expect(400);
    let list = |status: &str| {
        host.get(&format!("/api/v1/workflows/hello/runs?status={status}")).expect(200).json()["runs"].clone()
    };
    assert_eq!(list("failed"), json!([]), "the workflow did not fail: it never ran");
    let refused = &list("cancelled")[0];
    assert_eq!((&refused["fault"], &refused["reply_status"]), (&json!("refused"), &json!(400)));
    assert_eq!(refused["started_at"], Value::Null);
}

#[test]
fn a_run_is_listed_while_it_runs() {
    let host = Host::start();
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let mut connection = host.connect();
    connection.send(Request::new("POST", &slow.path).json(&json!({ "seconds": 2 })).bytes());
    let running = host.wait_for_run(&slow, "running");
    let id = running["id"].as_str().unwrap();
    assert_eq!(host.get(&format!("/api/v1/runs/{id}")).expect(200).json()["status"], "running");
    assert_eq!(host.get(&format!("/api/v1/runs/{id}/log")).expect(200).json()["lines"], json!([]));
    assert_eq!(host.get("/api/v1/runs?status=running").json()["runs"].as_array().unwrap().len(), 1);
    assert_eq!(host.get("/api/v1/runs?status=failed").json()["runs"].as_array().unwrap().len(), 0);
    connection.reply().unwrap().expect(200);
    let runs = host.runs(&slow);
    assert_eq!((runs.len(), &runs[0]["status"]), (1, &json!("succeeded")));
}

#[test]
fn a_run_has_its_request_reply_and_log() {
    let host = Host::start();
    let flood = host.deploy("flood", "catch", "log-flood");
    let reply =
        host.call(&flood, &json!({ "stdout": 100, "lines": 1, "line_bytes": 3, "fields": 1 })).expect(200);
    let id = reply.header("tidegate-run").unwrap();
    let run = host.get(&format!("/api/v1/runs/{id}")).expect(200).json();
    assert_eq!((&run["version"], &run["attempt"]), (&json!(1), &json!(1)));
    assert!(run["request"]["body"]["text"].as_str().unwrap().contains("\"stdout\":100"));
    assert_eq!(run["reply"]["status"], 200);
    assert!(run["memory_peak_bytes"].as_u64().unwrap() > 0 && run["usage"]["cpu_us"].as_u64().unwrap() > 0);
    let log = host.get(&format!("/api/v1/runs/{id}/log")).expect(200).json();
    let lines = log["lines"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["stream"] == "stdout"));
    assert!(lines.iter().any(|line| line["text"] == "lll" && line["fields"] == json!([["field", "value"]])));
}

#[test]
fn runs_are_found_by_a_text_of_their_log_or_error() {
    let host = Host::start();
    let settings = host.deploy("settings", "catch", "settings");
    let flood = host.deploy("flood", "catch", "log-flood");
    host.call(&settings, &json!({ "fail": "the Reason" })).expect(502);
    host.call(&settings, &json!({})).expect(200);
    host.call(&flood, &json!({ "lines": 1, "line_bytes": 7 })).expect(200);
    let list = |path: &str| host.get(path).expect(200).json();
    let found = list("/api/v1/runs?text=the%20reason");
    assert_eq!(found["runs"].as_array().unwrap().len(), 1);
    assert_eq!((&found["runs"][0]["fault"], &found["next"]), (&json!("exception"), &Value::Null));
    assert_eq!(found["searched"]["runs"], 3);
    assert!(found["searched"]["back_to"].is_string());
    assert_eq!(list("/api/v1/workflows/flood/runs?text=LLLLLLL")["runs"].as_array().unwrap().len(), 1);
    assert_eq!(list("/api/v1/workflows/settings/runs?text=lllllll")["searched"]["runs"], 2);
    host.get(&format!("/api/v1/runs?text={}", "x".repeat(300))).expect(400);
}

#[test]
fn a_record_says_where_it_ran_and_what_it_was_handed() {
    let host = Host::with(&[("server.node", "node-7")]);
    let settings = host.deploy("settings", "catch", "settings");
    host.tell("PATCH", "/api/v1/workflows/settings/settings", &json!({ "GIVEN": 1, "OTHER": 2 })).expect(200);
    let reply = host.call(&settings, &json!({})).expect(200);
    let run = host.get(&format!("/api/v1/runs/{}", reply.header("tidegate-run").unwrap())).json();
    assert_eq!((&run["node"], &run["settings_read"]), (&json!("node-7"), &json!(["GIVEN", "OTHER"])));
    assert_eq!(run["lateness_ms"], Value::Null);
}

#[test]
fn statistics_tell_rates_failures_and_percentiles() {
    let host = Host::start();
    let settings = host.deploy("settings", "catch", "settings");
    let hello = host.deploy("hello", "catch", "hello");
    for n in 0..10 {
        let body = if n < 3 { json!({ "fail": "x" }) } else { json!({}) };
        host.call(&settings, &body);
    }
    host.call(&hello, &json!({})).expect(200);
    let path = "/api/v1/workflows/settings/statistics?step_minutes=60";
    let view = host.get(path).expect(200).json();
    let total = &view["total"];
    assert_eq!((&total["runs"], &total["statuses"]["failed"]), (&json!(10), &json!(3)));
    assert_eq!((&total["faults"]["exception"], &total["lateness_ms"]), (&json!(3), &Value::Null));
    let of = |name: &str| total["duration_ms"][name].as_f64().unwrap();
    assert!(0.0 < of("p50") && of("p50") <= of("p95") && of("p95") <= of("p99") && of("p99") <= of("max"));
    assert!(total["memory_bytes"]["p50"].as_f64().unwrap() > 1e5);
    assert_eq!(host.get("/api/v1/statistics").expect(200).json()["total"]["runs"], 11);
    let past = "/api/v1/statistics?since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z";
    assert_eq!(host.get(past).expect(200).json()["points"], json!([]));
    host.get("/api/v1/statistics?step_minutes=0").expect(400);
    host.get("/api/v1/workflows/none/statistics").expect(404);
}

#[test]
fn history_tells_what_the_host_has_in_use() {
    let host = Host::start();
    host.deploy("hello", "catch", "hello");
    // The first look is taken at the start.
    let view = wait::for_some("a first point of the history", || {
        let view = host.get("/api/v1/history").expect(200).json();
        (view["points"] != json!([])).then_some(view)
    });
    let point = &view["points"][0];
    assert!(point["free_bytes"].as_u64().unwrap() > 0 && point["instances_max"].as_u64().unwrap() > 0);
    assert_eq!(
        (&point["dead"], &point["refused"], &view["step_minutes"]),
        (&json!(0), &json!(0), &json!(12))
    );
    host.get("/api/v1/history?step_minutes=0").expect(400);
    let past = "/api/v1/history?since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z";
    assert_eq!(host.get(past).expect(200).json()["points"], json!([]));
}

#[test]
fn the_disks_use_is_told_by_workflow() {
    let host = Host::start();
    let [busy, idle] = ["busy", "idle"].map(|name| host.deploy(name, "catch", "hello"));
    for _ in 0..3 {
        host.call(&busy, &json!({})).expect(200);
    }
    host.call(&idle, &json!({})).expect(200);
    let usage = host.get("/api/v1/usage").expect(200).json();
    let own = usage["workflows"].as_array().unwrap();
    let of = |index: usize| (own[index]["name"].as_str().unwrap(), own[index]["runs"].as_u64().unwrap());
    assert_eq!((own.len(), of(0), of(1)), (2, ("busy", 3), ("idle", 1)));
    let bytes: u64 = own.iter().map(|own| own["run_bytes"].as_u64().unwrap()).sum();
    assert!(bytes > 4 * 100 && bytes < usage["run_bytes"].as_u64().unwrap(), "{usage}");
    assert!(usage["blob_bytes"].as_u64() > Some(0) && usage["free_bytes"].as_u64() > Some(0));
    assert_eq!(usage["dead_bytes"], 0);
}

#[test]
fn a_test_run_goes_the_endpoints_way() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({ "methods": ["POST", "PUT"] }));
    let request = json!({ "method": "put", "path": "/?q=1", "headers": { "X-A": "b" }, "body": { "n": 1 } });
    let run = test_run(&host, &echo, &request);
    assert_eq!((&run["status"], &run["trigger"]), (&json!("succeeded"), &json!("test")));
    let seen: Value = serde_json::from_str(run["reply"]["body"]["text"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&seen["method"], &seen["query"], &seen["body"]),
        (&json!("PUT"), &json!("q=1"), &json!("{\"n\":1}"))
    );

    // What the endpoint would refuse is refused here.
    for (request, reply_status) in [
        (json!({ "method": "GET" }), 405),
        (json!({ "headers": { "content-type": "text/plain" }, "body": "x" }), 415),
        (json!({ "headers": { "content-type": "application/json" }, "body": "{" }), 400),
    ] {
        let run = test_run(&host, &echo, &request);
        assert_eq!(
            (&run["fault"], &run["reply_status"]),
            (&json!("refused"), &json!(reply_status)),
            "{request}"
        );
    }
    let path = "/api/v1/workflows/echo/runs";
    let wrong = host.tell("POST", path, &json!({ "path": "no" })).expect(422);
    assert!(wrong.field("message").starts_with("path:"));
    host.tell("POST", path, &json!({ "bdy": 1 })).expect(422);
}

#[test]
fn a_pull_is_tried_without_a_request() {
    let host = Host::start();
    let pull = host.deploy("pull", "pull", "pull");
    let run = test_run(&host, &pull, &json!({}));
    assert_eq!((&run["status"], &run["trigger"]), (&json!("succeeded"), &json!("test")));
    assert_eq!((&run["value"]["runs"], &run["value"]["schedule"]), (&json!(1), &json!("test")));
    assert_eq!(run["request"], Value::Null);
    let wrong = host.tell("POST", "/api/v1/workflows/pull/runs", &json!({ "body": 1 })).expect(422);
    assert!(wrong.field("message").contains("send an empty object"));
    let again = format!("/api/v1/runs/{}/replay", run["id"].as_str().unwrap());
    let replayed = host.request("POST", &again).send(host.api).expect(200).json();
    assert_eq!((&replayed["value"]["runs"], &replayed["replay_of"]), (&json!(2), &run["id"]));
}

#[test]
fn a_run_is_run_again_as_it_was_or_edited() {
    let host = Host::with(&[("run.record_body_bytes_max", "100")]);
    let echo = host.deploy_echo("echo", &json!({}));
    let reply = Request::new("POST", &format!("{}?q=1", echo.path))
        .header("x-a", "b")
        .json(&json!({ "n": 1 }))
        .send(host.catch)
        .expect(200);
    let first = reply.header("tidegate-run").unwrap().to_owned();
    let path = format!("/api/v1/runs/{first}/replay");
    let again = host.request("POST", &path).send(host.api).expect(200).json();
    assert_eq!((&again["trigger"], &again["replay_of"]), (&json!("replay"), &json!(first)));
    let requests = |run: &Value| run["request"].clone();
    assert_eq!(requests(&again), requests(&host.get(&format!("/api/v1/runs/{first}")).json()));

    let edited = host.tell("POST", &path, &json!({ "body": { "n": 2 } })).expect(200).json();
    assert_eq!(edited["request"]["body"]["text"], "{\"n\":2}");

    // A record that holds a part of the body only cannot stand for the request.
    let cut = host.call(&echo, &json!({ "long": "x".repeat(200) })).expect(200);
    let path = format!("/api/v1/runs/{}/replay", cut.header("tidegate-run").unwrap());
    let refused = host.request("POST", &path).send(host.api).expect(409);
    assert_eq!(refused.field("code"), "not-replayable");
    host.request("POST", "/api/v1/runs/x/replay").send(host.api).expect(404);
}
