//! What an OTLP collector is sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::host::Host;
use crate::support::http::Request;

/// A wait for something that will come. Reached only when the test fails.
const LIMIT: Duration = Duration::from_secs(60);

/// A collector that keeps what it gets: the path, the key, the document.
fn collector() -> (String, mpsc::Receiver<(String, bool, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::sync_channel(1000);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            loop {
                let mut head = String::new();
                while reader.read_line(&mut head).is_ok_and(|bytes| bytes > 2) {}
                let Some(path) = head.split(' ').nth(1) else { break };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                let has_key = head.contains("x-key: secret\r\n");
                let sent = sender.send((path.to_owned(), has_key, serde_json::from_slice(&body).unwrap()));
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                if sent.is_err() || reader.get_mut().write_all(answer).is_err() {
                    return;
                }
            }
        }
    });
    (url, receiver)
}

fn attribute<'a>(of: &'a Value, key: &str) -> &'a Value {
    let all = of["attributes"].as_array().unwrap();
    all.iter().find(|own| own["key"] == key).map_or(&Value::Null, |own| &own["value"])
}

#[test]
fn a_run_is_a_span_of_its_callers_trace_with_logs_and_metrics() {
    let (url, received) = collector();
    let mut host = Host::with(&[
        ("telemetry.otlp_endpoint", &url),
        ("telemetry.otlp_headers", "x-key=secret"),
        ("server.node", "node-7"),
    ]);
    let serving = &host;
    let settings = serving.deploy("settings", "catch", "settings");
    let flood = serving.deploy("flood", "catch", "log-flood");
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let called = Request::new("POST", &settings.path)
        .header("traceparent", parent)
        .json(&json!({ "fail": "x" }))
        .send(serving.catch)
        .expect(502);
    let run = called.header("tidegate-run").unwrap().to_owned();
    serving.call(&flood, &json!({ "lines": 1, "line_bytes": 3 })).expect(200);
    let detail = serving.get(&format!("/api/v1/runs/{run}")).expect(200).json();
    assert_eq!(detail["trace_context"]["parent_span_id"], "00f067aa0ba902b7");

    // The end of the host sends what is left, the metrics among it.
    host.terminate();
    assert!(host.wait().success());
    let (mut spans, mut logs, mut metrics) = (Vec::new(), Vec::new(), Vec::new());
    while metrics.is_empty() || spans.len() < 2 {
        let (path, has_key, document) = received.recv_timeout(LIMIT).unwrap();
        assert!(has_key);
        let (resources, scopes, items, into) = match path.as_str() {
            "/v1/traces" => ("resourceSpans", "scopeSpans", "spans", &mut spans),
            "/v1/logs" => ("resourceLogs", "scopeLogs", "logRecords", &mut logs),
            "/v1/metrics" => ("resourceMetrics", "scopeMetrics", "metrics", &mut metrics),
            other => panic!("{other}"),
        };
        let resource = &document[resources][0];
        assert_eq!(attribute(&resource["resource"], "service.instance.id")["stringValue"], "node-7");
        into.extend(resource[scopes][0][items].as_array().unwrap().clone());
    }
    let of = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    let failed = of("settings");
    assert_eq!(failed["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(failed["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!((&failed["kind"], &failed["status"]["code"]), (&json!(2), &json!(2)));
    assert_eq!(attribute(failed, "faas.invocation_id")["stringValue"], run);
    assert_eq!(attribute(failed, "error.type")["stringValue"], "exception");
    assert_eq!(attribute(failed, "http.response.status_code")["intValue"], "502");
    let other = of("flood");
    assert_eq!((other["traceId"].as_str().unwrap().len(), &other["parentSpanId"]), (32, &json!("")));
    assert!(
        logs.iter().any(|line| line["body"]["stringValue"] == "lll" && line["spanId"] == other["spanId"])
    );
    assert!(logs.iter().any(|line| line["severityText"] == "ERROR" && line["traceId"] == failed["traceId"]));
    let last = metrics.iter().rev().find(|metric| metric["name"] == "faas.invocations").unwrap();
    let points = last["sum"]["dataPoints"].as_array().unwrap();
    assert_eq!(points.iter().map(|point| point["asInt"].as_str().unwrap()).collect::<Vec<_>>(), ["1", "1"]);
    assert!(metrics.iter().any(|metric| metric["name"] == "faas.invoke_duration"));
}

#[test]
fn a_collector_that_is_gone_slows_nobody() {
    let (url, received) = collector();
    drop(received);
    let host = Host::with(&[("telemetry.otlp_endpoint", &url)]);
    let hello = host.deploy("hello", "catch", "hello");
    for _ in 0..20 {
        host.call(&hello, &json!({})).expect(200);
    }
    assert_eq!(host.runs(&hello).len(), 20);
}
