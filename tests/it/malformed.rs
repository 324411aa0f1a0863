//! Requests that two parsers could read differently, and requests that nobody can read.

use serde_json::json;

use crate::support::host::Host;
use crate::support::http::Request;

/// `{P}` is the endpoint's path, `{S}` a request that must never be answered.
const MALFORMED: [&str; 24] = [
    // Both lengths, either first: RFC 9112 section 6.3.
    "POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    // Lengths that are not one number.
    "POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 6\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n{S}",
    // Codings that are not chunked alone.
    "POST {P} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{S}",
    "POST {P} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    // Lines that do not end in CR LF, or go on in the next.
    "POST {P} HTTP/1.1\nHost: a\nContent-Length: 0\n\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nX: b\nContent-Length: 0\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nX: b\r\n Content-Length: 9\r\n\r\n{S}",
    "POST {P} HTTP/1.1\r\nHost: a\r\nX: b\rContent-Length: 9\r\n\r\n{S}",
    // Hosts.
    "POST {P} HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "POST {P} HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
    // No HTTP/1 at all.
    "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03{S}",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{S}",
];

#[test]
fn a_request_with_two_readings_is_refused_and_nothing_behind_it_is_answered() {
    let host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    let smuggled = "POST /catch/smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    for malformed in MALFORMED {
        let bytes = malformed.replace("{P}", &hello.path).replace("{S}", smuggled);
        let is_framing = malformed.contains("{S}");
        // Alone, and behind a proper request on the same connection.
        for before in [false, true] {
            let mut connection = host.connect();
            if before {
                let good = Request::new("POST", &hello.path).json(&json!({})).bytes();
                connection.send(good).reply().unwrap().expect(200);
            }
            // A client of HTTP/2 could not read an answer.
            match connection.send(&bytes).reply() {
                Some(reply) => {
                    assert_eq!(reply.status, 400, "{malformed:?}: {}", reply.text());
                    assert!(
                        ["malformed-request", "invalid-host"].contains(&reply.field("code").as_str()),
                        "{}",
                        reply.text()
                    );
                    assert_eq!(reply.field("request_id"), reply.header("x-request-id").unwrap());
                    assert_eq!(reply.header("tidegate-fault"), Some("caller"));
                }
                None => assert!(malformed.starts_with("PRI"), "{malformed:?}: no answer"),
            }
            if is_framing {
                assert!(connection.is_closed(), "{malformed:?}: the connection goes on");
            }
        }
    }
    assert!(host.runs(&hello).iter().all(|run| run["status"] == "succeeded"), "none of them ran");
}

#[test]
fn a_request_that_cannot_be_parsed_is_answered_and_counted_like_any_other() {
    let host = Host::start();
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    let huge = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
    for (bytes, status, code) in [
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed-request"),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", 400, "malformed-request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400, "malformed-request"),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed-request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nx\u{0}: b\r\n\r\n", 400, "malformed-request"),
        (&huge, 431, "head-too-large"),
    ] {
        let mut connection = host.connect();
        let reply = connection.send(bytes).reply().unwrap().expect(status);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(reply.header("date").is_some());
        assert_eq!(reply.field("code"), code, "{}", reply.text());
        assert!(connection.is_closed());
    }
    host.connect().send(&long).reply().unwrap().expect(404);
    let metrics = Request::new("GET", "/metrics").send(host.api).expect(200).text();
    for line in ["status=\"400\"} 5", "status=\"431\"} 1"] {
        let line = format!("tidegate_http_requests_total{{route=\"none\",{line}");
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in\n{metrics}");
    }
}

#[test]
fn chunks_that_are_malformed_are_refused() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({ "raw_bodies": true }));
    let ran = host.runs(&echo).len();
    for body in [
        "1\nx\r\n0\r\n\r\n",
        "1;a\nx\r\n0\r\n\r\n",
        "1\r\nxy\r\n0\r\n\r\n",
        "x\r\n\r\n",
        "-1\r\nx\r\n0\r\n\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        " 1\r\nx\r\n0\r\n\r\n",
        "10000000000000001\r\nx\r\n0\r\n\r\n",
        "1\r\nx\r\n0\r\nA: b\n\r\n",
    ] {
        let head = Request::new("POST", &echo.path).header("transfer-encoding", "chunked");
        let mut connection = host.connect();
        if let Some(reply) = connection.send([head.bytes(), body.into()].concat()).reply() {
            assert_eq!(reply.status, 400, "{body:?}: {}", reply.text());
            assert!(connection.is_closed(), "{body:?}: the connection goes on");
        }
    }
    assert_eq!(host.runs(&echo).len(), ran, "none of them ran");

    // Extensions and trailers are allowed, and not the workflow's concern.
    let head = Request::new("POST", &echo.path).header("transfer-encoding", "chunked");
    let body = "1;name=value\r\nx\r\n00\r\nx-trailer: y\r\n\r\n";
    let reply = host.connect().send([head.bytes(), body.into()].concat()).reply().unwrap().expect(200);
    assert_eq!(reply.json()["body"], "x");
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({}));
    let request = |n: u32| Request::new("POST", &echo.path).json(&json!({ "n": n })).bytes();
    let chunked = Request::new("POST", &echo.path)
        .header("content-type", "application/json")
        .header("transfer-encoding", "chunked")
        .bytes();
    let chunked = [chunked, b"7\r\n{\"n\":3}\r\n0\r\n\r\n".to_vec()].concat();
    let mut connection = host.connect();
    connection.send([request(1), request(2), chunked, request(4)].concat());
    for n in 1..=4 {
        let reply = connection.reply().unwrap().expect(200);
        assert_eq!(reply.json()["body"], format!("{{\"n\":{n}}}"));
    }
}

#[test]
fn odd_targets_and_methods_are_answered_in_order() {
    let host = Host::start();
    for (line, status) in [
        ("OPTIONS * HTTP/1.1", 404),
        ("GET http://localhost/healthz HTTP/1.1", 200),
        ("CONNECT example.org:443 HTTP/1.1", 404),
        ("GET /healthz HTTP/1.1", 200),
        ("FOO /healthz HTTP/1.1", 405),
        ("GET /%2e%2e/healthz HTTP/1.1", 404),
        ("GET //healthz HTTP/1.1", 404),
        ("GET /api/v1/workflows/%ff HTTP/1.1", 400),
    ] {
        let token = host.request("GET", "/").bytes();
        let token = String::from_utf8(token).unwrap();
        let rest = token.split_once("\r\n").unwrap().1.to_owned();
        let reply = host.connect().send(format!("{line}\r\n{rest}")).reply().unwrap();
        assert_eq!(reply.status, status, "{line}: {}", reply.text());
    }
}
