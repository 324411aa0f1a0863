//! HTTP/2 is not spoken here: what attacks its servers finds nothing to talk to.

use serde_json::json;

use crate::support::host::{Host, Workflow};
use crate::support::http::Request;
use crate::support::wait;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// One frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET {path}` as HPACK literals without Huffman coding or indexing.
fn headers(path: &str) -> Vec<u8> {
    let literal =
        |name: u8, value: &str| [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    // Static table (RFC 7541, appendix A): 1 :authority, 3 :method POST, 4 :path, 6 :scheme http.
    [vec![0x83, 0x86], literal(0x04, path), literal(0x01, "a")].concat()
}

/// The floods that are known by name, 5,000 frames each.
fn floods(hello: &Workflow) -> Vec<(&'static str, Vec<u8>)> {
    const FRAMES: u32 = 5000;
    let repeat = |one: &dyn Fn(u32) -> Vec<u8>| (0..FRAMES).flat_map(one).collect::<Vec<u8>>();
    let open = |stream: u32| frame(HEADERS, END_HEADERS, stream, &headers(&hello.path));
    vec![
        (
            "rapid reset",
            repeat(&|n| [open(2 * n + 1), frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])].concat()),
        ),
        ("empty data", [open(1), repeat(&|_| frame(DATA, 0, 1, &[]))].concat()),
        (
            "continuations",
            [
                frame(HEADERS, 0, 1, &headers(&hello.path)),
                repeat(&|_| frame(CONTINUATION, 0, 1, b"\x40\x01a\x01b")),
            ]
            .concat(),
        ),
        (
            "empty continuations",
            [frame(HEADERS, 0, 1, &[]), repeat(&|_| frame(CONTINUATION, 0, 1, &[]))].concat(),
        ),
        ("pings", repeat(&|n| frame(PING, 0, 0, &u64::from(n).to_be_bytes()))),
        ("settings", repeat(&|_| frame(SETTINGS, 0, 0, &[]))),
        ("streams", repeat(&|n| open(2 * n + 1))),
    ]
}

#[test]
fn frames_of_http2_are_refused_at_the_preface_and_run_nothing() {
    let host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    for (name, flood) in floods(&hello) {
        for is_first in [true, false] {
            let mut connection = host.connect();
            if !is_first {
                let request = Request::new("POST", &hello.path).bytes();
                connection.send(request).reply().unwrap().expect(200);
            }
            connection.send([PREFACE, &frame(SETTINGS, 0, 0, &[]), &flood].concat());
            // What hyper says of the preface is all that is said.
            let said: Vec<String> = std::iter::from_fn(|| connection.line()).collect();
            assert!(!said.iter().any(|line| line.contains(" 200 ")), "{name}: {said:?}");
        }
        host.call(&hello, &json!({})).expect(200);
    }
    let floods = floods(&hello).len();
    assert_eq!(host.runs(&hello).len(), 2 * floods, "one before each second flood, one behind each pair");
    wait::until("the connections' end", || {
        let metrics = host.get("/metrics").expect(200).text();
        assert!(metrics.lines().any(|line| line == "tidegate_panics_total 0"));
        metrics.lines().any(|line| line == "tidegate_http_connections_open 1")
    });
}

#[test]
fn upgrade_to_http2_is_not_taken() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({}));
    let mut connection = host.connect();
    let request = Request::new("POST", &echo.path)
        .header("connection", "Upgrade, HTTP2-Settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA")
        .json(&json!({ "a": 1 }));
    let reply = connection.send(request.bytes()).reply().unwrap().expect(200);
    assert!(!reply.text().contains("http2-settings"), "it is the connection's, not the workflow's");
    // It goes on as it was.
    connection.send(Request::new("POST", &echo.path).json(&json!({})).bytes()).reply().unwrap().expect(200);
}
