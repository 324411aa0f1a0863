//! Many callers that are slow on purpose: `make soak SOAK=slow` is the large one.

use serde_json::json;

use crate::support::host::Host;
use crate::support::http::{Connection, Request};
use crate::support::wait;

/// Callers of each kind.
const CALLERS: usize = 60;

#[test]
fn slow_callers_are_given_up_one_by_one_and_hold_up_nobody() {
    let host = Host::with(&[
        ("server.header_timeout_ms", "2000"),
        ("server.body_timeout_ms", "2000"),
        ("server.idle_timeout_ms", "2000"),
    ]);
    let hello = host.deploy("hello", "catch", "hello");
    let huge = host.deploy("huge", "catch", "huge-reply");
    let open = |begun: &[u8]| -> Vec<Connection> {
        (0..CALLERS)
            .map(|_| {
                let mut connection = host.connect();
                connection.send(begun);
                connection
            })
            .collect()
    };
    let silent = open(b"");
    let heads = open(format!("POST {} HTTP/1.1\r\nhost: a\r\nx: ", hello.path).as_bytes());
    let head = Request::new("POST", &hello.path).header("content-type", "application/json");
    let bodies = open(&[head.header("content-length", "100").bytes(), b"{".to_vec()].concat());
    let read = Request::new("POST", &huge.path).json(&json!({ "bytes": 6_000_000 })).bytes().repeat(6);
    let readers: Vec<Connection> = (0..4)
        .map(|_| {
            let mut connection = host.connect();
            connection.send(&read);
            connection
        })
        .collect();
    for _ in 0..100 {
        host.call(&hello, &json!({})).expect(200);
    }
    for mut connection in silent {
        assert!(connection.is_closed());
    }
    for (connections, code) in [(heads, "head-timeout"), (bodies, "body-timeout")] {
        for mut connection in connections {
            let reply = connection.reply().unwrap().expect(408);
            assert_eq!(reply.field("code"), code);
        }
    }
    // Those that do not read are told nothing, and are gone all the same.
    wait::until("the connections' end", || {
        let metrics = host.get("/metrics").expect(200).text();
        metrics.lines().any(|line| line == "tidegate_http_connections_open 1")
    });
    drop(readers);
    let runs = host.get("/metrics").expect(200).text();
    let line = "tidegate_runs_total{trigger=\"catch\",status=\"succeeded\",fault=\"\"}";
    let ran: usize = runs.lines().find_map(|found| found.strip_prefix(line)).unwrap().trim().parse().unwrap();
    assert!(ran < 100 + 4 * 6, "whoever does not read gets nothing more run: {ran}");
}
