//! Runs as they happen, as server-sent events.

use serde_json::{Value, json};

use crate::support::host::Host;
use crate::support::http::Connection;

/// The next event of a stream: its name and its data. Comments are skipped.
fn next(stream: &mut Connection) -> Option<(String, Value)> {
    loop {
        let chunk = String::from_utf8(stream.chunk()?).unwrap();
        let value = |field: &str| {
            chunk.lines().find_map(|line| line.strip_prefix(field)).map(|value| value.trim().to_owned())
        };
        if let (Some(name), Some(data)) = (value("event:"), value("data:")) {
            return Some((name, serde_json::from_str(&data).unwrap()));
        }
    }
}

/// A stream that misses nothing from now on.
fn open(host: &Host, path: &str) -> Connection {
    let mut stream = Connection::open(host.api);
    stream.send(host.request("GET", path).bytes());
    let head: Vec<String> = std::iter::from_fn(|| stream.line().filter(|line| !line.is_empty())).collect();
    assert_eq!(head[0], "HTTP/1.1 200 OK");
    assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
    assert_eq!(stream.chunk().unwrap(), b": open\n\n");
    stream
}

#[test]
fn a_run_is_told_when_it_starts_and_when_it_ends() {
    let mut host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    let trap = host.deploy("trap", "catch", "trap");
    let mut all = open(&host, "/api/v1/events");
    let mut one = open(&host, "/api/v1/events?workflow=trap");
    let id = host.call(&hello, &json!({})).header("tidegate-run").unwrap().to_owned();
    host.call(&trap, &json!({})).expect(502);

    for status in ["running", "succeeded"] {
        let (name, run) = next(&mut all).unwrap();
        assert_eq!((name.as_str(), &run["status"], &run["id"]), ("run", &json!(status), &json!(id)));
    }
    for stream in [&mut all, &mut one] {
        for status in ["running", "failed"] {
            let (_, run) = next(stream).unwrap();
            assert_eq!((&run["workflow"], &run["status"]), (&json!("trap"), &json!(status)));
        }
    }
    host.terminate();
    assert_eq!(next(&mut all), None, "the stream ends with the host");
    assert!(host.wait().success());
}

#[test]
fn streams_have_a_number_and_a_workflow_that_exists() {
    let host = Host::start();
    host.get("/api/v1/events?workflow=none").expect(404);
    host.get("/api/v1/events?since=1").expect(400);
    let mut streams: Vec<Connection> = (0..64).map(|_| open(&host, "/api/v1/events")).collect();
    let refused = host.get("/api/v1/events").expect(503);
    assert_eq!(
        (refused.field("code").as_str(), refused.header("retry-after").is_some()),
        ("too-many-streams", true)
    );
    drop(streams.pop());
}
