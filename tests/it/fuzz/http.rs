//! Bytes on the wire: whatever a client sends, it is answered or cut off, and the host goes
//! on.

use crate::fuzz::{Dice, drive};
use crate::support::host::Host;
use crate::support::http::{Connection, Request};

const LINES: [&str; 24] = [
    "GET / HTTP/1.1\r\n",
    "POST /catch/x HTTP/1.1\r\n",
    "POST * HTTP/1.0\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "OPTIONS http://a/b HTTP/1.1\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET  / HTTP/1.1\r\n",
    "GET / HTTP/9.9\r\n",
    "host: a\r\n",
    "Host: b\r\n",
    "host:\r\n",
    "content-length: 5\r\n",
    "content-length: +5\r\n",
    "content-length: 99999999999999999999\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding : chunked\r\n",
    "expect: 100-continue\r\n",
    "connection: close\r\n",
    "connection: upgrade\r\nupgrade: h2c\r\n",
    " folded: x\r\n",
    "x\0y: z\r\n",
    "\n",
    "\r\n",
];
const BODIES: [&str; 8] = [
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "-1\r\n",
    "5;a=b\r\nhello\r\n",
    "0\r\nx: y\r\n\r\n",
    "{}",
    "",
];

fn request(dice: &mut Dice, good: &[u8]) -> Vec<u8> {
    let mut bytes = match dice.below(3) {
        0 => good.to_vec(),
        1 => {
            let mut lines = LINES[dice.below(8)].to_owned();
            (0..dice.below(8)).for_each(|_| lines.push_str(dice.pick::<&str>(&LINES)));
            lines.push_str("\r\n");
            lines.push_str(dice.pick::<&str>(&BODIES));
            lines.into_bytes()
        }
        _ => dice.bytes(600),
    };
    if !dice.one_in(4) {
        dice.mutate(&mut bytes);
    }
    bytes
}

#[test]
fn arbitrary_bytes_are_answered_or_cut_off() {
    let host = Host::with(&[("server.header_timeout_ms", "500"), ("server.body_timeout_ms", "500")]);
    let hello = host.deploy("hello", "catch", "hello");
    let good = Request::new("POST", &hello.path).json(&serde_json::json!({ "a": [1, "é"] })).bytes();
    drive("http", 1_500, |dice| {
        let to = if dice.one_in(2) { host.catch } else { host.api };
        let mut connection = Connection::open(to);
        connection.send(request(dice, &good)).shut_write();
        // To a client that has said all, everything is answered, and then the host closes.
        while let Some(line) = connection.line() {
            if let Some(status) = line.strip_prefix("HTTP/1.") {
                assert!(!status.contains(" 500 ") && !status.contains(" 502 "), "{line}");
            }
        }
    });
    assert_eq!(host.call(&hello, &serde_json::json!({})).expect(200).text(), "hello\n");
    let metrics = host.get("/metrics").expect(200).text();
    assert!(metrics.contains("tidegate_panics_total 0"), "{metrics}");
}
