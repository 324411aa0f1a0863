//! Limits of requests, each at both sides of its edge.

use std::time::Duration;

use serde_json::json;

use crate::support::host::Host;
use crate::support::http::{Connection, Request};
use crate::support::wait;

const FORM: &str = "application/x-www-form-urlencoded";

/// `a=` and as many letters as make `bytes`.
fn form(bytes: usize) -> String {
    format!("a={}", "x".repeat(bytes - 2))
}

fn chunked(path: &str, pieces: &[&str]) -> Vec<u8> {
    let head = Request::new("POST", path).header("content-type", FORM).header("transfer-encoding", "chunked");
    let mut bytes = head.bytes();
    for piece in pieces {
        bytes.extend(format!("{:x}\r\n{piece}\r\n", piece.len()).bytes());
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

#[test]
fn a_body_has_a_largest_size_however_it_is_framed() {
    let host = Host::with(&[("server.body_bytes_max", "100")]);
    let echo = host.deploy_echo("echo", &json!({}));
    let seen = Request::new("POST", &echo.path).body(FORM, form(100)).send(host.catch).expect(200).json();
    assert_eq!(seen["body_bytes"], 100);
    let over = Request::new("POST", &echo.path).body(FORM, form(101)).send(host.catch).expect(413);
    assert_eq!(
        (over.field("code").as_str(), over.header("tidegate-fault")),
        ("body-too-large", Some("caller"))
    );
    assert_eq!(over.field("message"), "the body is over the limit of 100 bytes");

    let mut connection = host.connect();
    let (half, rest) = (form(50), "y".repeat(50));
    let reply = connection.send(chunked(&echo.path, &[&half, &rest])).reply().unwrap().expect(200);
    assert_eq!(reply.json()["body"], format!("{half}{rest}"));
    connection.send(chunked(&echo.path, &[&half, &rest, "z"])).reply().unwrap().expect(413);
}

#[test]
fn a_body_that_is_announced_as_too_large_is_refused_before_it_comes() {
    let host = Host::with(&[("server.body_bytes_max", "100")]);
    let echo = host.deploy_echo("echo", &json!({}));
    let head =
        Request::new("POST", &echo.path).header("content-type", FORM).header("content-length", "10000000000");
    host.connect().send(head.bytes()).reply().unwrap().expect(413);

    // A client that asks first is not told to go on.
    let head = Request::new("POST", &echo.path)
        .header("content-type", FORM)
        .header("content-length", "101")
        .header("expect", "100-continue");
    host.connect().send(head.bytes()).reply().unwrap().expect(413);
    let head = Request::new("POST", &echo.path)
        .header("content-type", FORM)
        .header("content-length", "100")
        .header("expect", "100-continue");
    let mut connection = host.connect();
    connection.send(head.bytes()).reply().unwrap().expect(100);
    connection.send(form(100)).reply().unwrap().expect(200);
}

#[test]
fn a_client_that_reads_only_after_it_has_sent_everything_gets_the_refusal() {
    let host = Host::with(&[("server.body_bytes_max", "100")]);
    let echo = host.deploy_echo("echo", &json!({}));
    // Far more than the buffers of both sockets hold.
    let body = form(16 << 20);
    let request = Request::new("POST", &echo.path).body(FORM, body);
    host.connect().send(request.bytes()).reply().expect("the refusal, and no reset").expect(413);
}

#[test]
fn a_head_has_a_largest_size_and_number_of_headers() {
    for headers_max in [20, 100] {
        let host = Host::with(&[
            ("server.header_bytes_max", "8192"),
            ("server.headers_max", &headers_max.to_string()),
        ]);
        let hello = host.deploy("hello", "catch", "hello");
        // `host` and `connection` are among them.
        let with = |more: usize| {
            let request = Request::new("POST", &hello.path);
            (0..more).fold(request, |request, n| request.header(&format!("x-{n}"), "v")).send(host.catch)
        };
        with(headers_max - 2).expect(200);
        let over = with(headers_max - 1).expect(431);
        assert_eq!(over.field("code"), "head-too-large");
        let words = format!("8192 bytes or of {headers_max} headers");
        assert!(over.field("message").contains(&words), "{}", over.text());

        let sized = |bytes: usize| {
            let empty =
                Request::new("POST", &hello.path).header("x", "").header("connection", "close").bytes().len();
            Request::new("POST", &hello.path).header("x", &"v".repeat(bytes - empty)).send(host.catch)
        };
        sized(8192).expect(200);
        sized(8193).expect(431);
        sized(40_000).expect(431);
    }
}

#[test]
fn a_head_that_does_not_come_is_given_up() {
    let host = Host::with(&[("server.header_timeout_ms", "200")]);
    let hello = host.deploy("hello", "catch", "hello");
    assert!(host.connect().is_closed(), "nothing was begun, and nothing is answered");
    for begun in ["POST ", "POST / HTTP/1.1\r\nhost: a\r\n"] {
        let mut connection = host.connect();
        let reply = connection.send(begun).reply().unwrap().expect(408);
        assert_eq!(reply.field("message"), "the request's head did not come within 200 ms");
        assert_eq!((reply.field("code").as_str(), connection.is_closed()), ("head-timeout", true));
    }
    // Idle is not slow: the time for the next request is another.
    let mut connection = host.connect();
    for _ in 0..2 {
        connection.send(Request::new("POST", &hello.path).bytes()).reply().unwrap().expect(200);
        assert!(!connection.has_answer_within(Duration::from_millis(400)));
    }
    connection.send("POST ").reply().unwrap().expect(408);
    assert!(connection.is_closed());
    let metrics = Request::new("GET", "/metrics").send(host.api).text();
    assert!(metrics.contains("http_requests_total{route=\"none\",status=\"408\"} 3"), "{metrics}");
}

#[test]
fn an_idle_connection_is_closed_in_the_end() {
    let host = Host::with(&[("server.idle_timeout_ms", "200")]);
    let hello = host.deploy("hello", "catch", "hello");
    let mut connection = host.connect();
    connection.send(Request::new("POST", &hello.path).bytes()).reply().unwrap().expect(200);
    assert!(connection.is_closed());
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let host = Host::with(&[("server.body_timeout_ms", "200")]);
    let echo = host.deploy_echo("echo", &json!({}));
    let head = Request::new("POST", &echo.path).header("content-type", FORM);
    let by_length = head.header("content-length", "10").bytes();
    let head = Request::new("POST", &echo.path).header("content-type", FORM);
    let by_chunks = head.header("transfer-encoding", "chunked").bytes();
    for (begun, piece) in [(by_length, "a=1"), (by_chunks, "3\r\na=1\r\n")] {
        let mut connection = host.connect();
        let reply = connection.send(begun).send(piece).reply().unwrap().expect(408);
        assert_eq!(reply.field("code"), "body-timeout");
    }
    assert!(host.runs(&echo).iter().all(|run| run["reply_status"] == 408));
}

#[test]
fn connections_over_their_number_wait() {
    let host = Host::with(&[("server.connections_max", "2")]);
    let hello = host.deploy("hello", "catch", "hello");
    let request = Request::new("POST", &hello.path).bytes();
    let mut open: Vec<Connection> = (0..2).map(|_| host.connect()).collect();
    for connection in &mut open {
        connection.send(&request).reply().unwrap().expect(200);
    }
    let mut third = host.connect();
    third.send(&request);
    assert!(!third.has_answer_within(Duration::from_millis(300)));
    drop(open.pop());
    third.reply().unwrap().expect(200);
}

#[test]
fn a_client_that_stops_reading_is_cut() {
    let host = Host::with(&[("server.body_timeout_ms", "300")]);
    let huge = host.deploy("huge", "catch", "huge-reply");
    let request = Request::new("POST", &huge.path).json(&json!({ "bytes": 6_000_000 })).bytes();
    let mut connection = host.connect();
    // More than the sockets of both sides hold.
    connection.send(request.repeat(6));
    wait::until("the connection's end", || {
        let metrics = Request::new("GET", "/metrics").send(host.api).text();
        metrics.lines().any(|line| line == "tidegate_http_connection_failures_total{reason=\"timeout\"} 1")
    });
    let runs = host.runs(&huge);
    assert!(runs.iter().all(|run| run["status"] == "succeeded"), "runs end before their reply is sent");
    assert!(runs.len() < 6, "nothing more is run for a client that does not read");
}

#[test]
fn a_host_without_descriptors_waits_for_some() {
    let host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    let request = Request::new("POST", &hello.path).bytes();
    host.connect().send(&request).reply().unwrap().expect(200);
    let mut open: Vec<Connection> = host.with_descriptors(4, || {
        let mut open: Vec<Connection> = (0..12).map(|_| host.connect()).collect();
        open.iter_mut().for_each(|connection| {
            connection.send(&request);
        });
        let answered =
            open.iter_mut().filter_map(|one| one.has_answer_within(Duration::from_millis(20)).then_some(()));
        assert!(answered.count() < 12, "there are descriptors for all of them");
        open
    });
    for connection in &mut open {
        connection.reply().unwrap().expect(200);
    }
    let metrics = Request::new("GET", "/metrics").send(host.api).text();
    assert!(metrics.contains("connection_failures_total{reason=\"accept\"}"), "{metrics}");
    assert!(metrics.contains("\ntidegate_store_stopped 0\n"), "the store needs none to go on:\n{metrics}");
    assert_eq!(host.runs(&hello).len(), 13, "all of them are on record");
}
