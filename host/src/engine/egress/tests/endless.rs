//! Servers whose answers have no end, or have too many of them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::server::{Server, drain, read_head};
use super::tls::{Authority, url};
use super::{FakeDns, Guest, egress_with, soon};
use crate::workflow::WorkflowId;

const OK: &str = "HTTP/1.1 200 OK\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// Says `first`, and then `again` for as long as anybody listens. The exchange has three
/// seconds, so that what is only ended by the clock fails with its word.
async fn endless(first: &'static str, again: &'static str) -> (String, u64) {
    let server = Server::raw(move |_, mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(first.as_bytes()).await;
        let piece = again.repeat(1000);
        while stream.write_all(piece.as_bytes()).await.is_ok() {}
    })
    .await;
    let egress = egress_with(&[&server.entry()], FakeDns::default(), |config| {
        config.exchange_timeout_ms = 3000;
        config.response_bytes_max = 1 << 20;
    });
    let mut guest = Guest::new(&egress);
    let result = soon(guest.get(&server.url("/"))).await;
    assert!(result.is_err(), "{first:?} {again:?}");
    let last = guest.last();
    (last.error.unwrap(), last.response_bytes)
}

#[tokio::test]
async fn whatever_has_no_end_is_ended() {
    for (first, again, words) in [
        // Lines and heads are ended by their size, before the clock.
        ("", "x", &["http-protocol-error", "http-response-header-section-size"][..]),
        ("HTTP/1.1 200 ", "x", &["http-response-header-section-size", "http-protocol-error"]),
        (OK, "x: y\r\n", &["http-response-header-section-size"]),
        ("HTTP/1.1 200 OK\r\nx: ", "y", &["http-response-header-section-size"]),
        ("HTTP/1.1 200 OK\r\nx", "y", &["http-response-header-section-size"]),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", &["http-response-timeout", "connection-read-timeout"]),
        ("", "\r\n", &["http-response-header-section-size", "http-protocol-error", "http-response-timeout"]),
        // Bodies by their number of bytes.
        (CHUNKED, "1\r\nx\r\n", &["http-response-body-size"]),
        (CHUNKED, "3e8\r\n", &["http-protocol-error"]),
        ("HTTP/1.1 200 OK\r\n\r\n", "x", &["http-response-body-size"]),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "x", &["http-response-body-size"]),
        // What stands between the bytes of a body, by its own caps.
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;a=", "b", &["http-protocol-error"]),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "0",
            &["http-protocol-error", "http-response-timeout"],
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "x: y\r\n", &["http-protocol-error"]),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ", "y", &["http-protocol-error"]),
    ] {
        let (word, bytes) = endless(first, again).await;
        // On a busy machine the clock may be first.
        let is_ended = words.contains(&word.as_str()) || word == "http-response-timeout";
        assert!(is_ended, "{first:?} {again:?}: {word}");
        assert!(bytes <= 1 << 20, "{first:?} {again:?}: {bytes} bytes reached the guest");
    }
}

#[tokio::test]
async fn answer_to_nothing_is_never_taken_for_the_next_requests() {
    const TWO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst\
                       HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    let server = Server::raw(|number, mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            let answer = if number == 0 { TWO } else { "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nright" };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let egress = egress_with(&[&server.entry()], FakeDns::default(), |_| {});
    let workflow = WorkflowId::new();
    let first = Guest::of(&egress, workflow).get(&server.url("/")).await.unwrap();
    assert_eq!(first.body(), "first");
    for _ in 0..3 {
        let next = soon(Guest::of(&egress, workflow).get(&server.url("/"))).await.unwrap();
        assert_eq!(next.body(), "right");
    }
}

/// One frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// `:status: 200` of HPACK's static table.
const STATUS_200: &[u8] = &[0x88];

#[tokio::test]
async fn frames_of_http2_that_make_no_sense_or_no_end_are_ended() {
    let authority = Authority::new();
    let config = authority.server(&["api.example"], &["h2"]);
    let head = frame(HEADERS, END_HEADERS, 1, STATUS_200);
    let literal = [&[0x40, 1, b'a', 100][..], &[b'b'; 100]].concat();
    for (name, first, again) in [
        ("continuations", frame(HEADERS, 0, 1, STATUS_200), frame(CONTINUATION, 0, 1, &literal)),
        ("empty continuations", frame(HEADERS, 0, 1, STATUS_200), frame(CONTINUATION, 0, 1, &[])),
        ("empty data", head.clone(), frame(DATA, 0, 1, &[])),
        ("pings", head.clone(), frame(PING, 0, 0, &[0; 8])),
        ("settings", head.clone(), frame(SETTINGS, 0, 0, &[])),
        ("data of no stream", Vec::new(), frame(DATA, 0, 0, b"x")),
        ("data before the head", Vec::new(), frame(DATA, 0, 1, b"x")),
        ("data of a stream that nobody opened", head.clone(), frame(DATA, 0, 99, b"x")),
        ("pushes", head.clone(), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
        ("resets", Vec::new(), frame(RST_STREAM, 0, 1, &[0, 0, 0, 7])),
        ("farewells", Vec::new(), frame(GOAWAY, 0, 0, &[0; 8])),
        ("windows over their limit", head.clone(), frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("windows of zero", head.clone(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])),
        ("heads", head.clone(), head.clone()),
        ("bad compression", Vec::new(), frame(HEADERS, END_HEADERS, 1, &[0xff; 50])),
        ("unknown frames", head.clone(), frame(0xee, 0, 1, &[0; 100])),
        ("a frame that is too long", head.clone(), frame(DATA, 0, 1, &[0; 20_000])),
    ] {
        let (config, again) = (config.clone(), again.repeat(50));
        let server = Server::raw(move |_, stream| {
            let (acceptor, first, again) = (TlsAcceptor::from(config.clone()), first.clone(), again.clone());
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                // The client's preface, settings and request.
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[])).await;
                let _ = stream.write_all(&first).await;
                let (mut reading, mut writing) = tokio::io::split(stream);
                let reading = async { while matches!(reading.read(&mut buffer).await, Ok(1..)) {} };
                let writing = async { while writing.write_all(&again).await.is_ok() {} };
                tokio::join!(reading, writing);
            }
        })
        .await;
        let egress = authority.egress(&server);
        let mut guest = Guest::until(&egress, WorkflowId::new(), Duration::from_secs(3));
        let result = soon(guest.get(&url(&server, "/"))).await;
        assert!(result.is_err(), "{name}: {result:?}");
        let word = guest.last().error.unwrap();
        let words = [
            "http-protocol-error",
            "connection-terminated",
            "http-response-header-section-size",
            "http-response-incomplete",
            "http-response-timeout",
        ];
        assert!(words.contains(&word.as_str()), "{name}: {word}");
        drop(guest);
        soon(egress.close()).await;
    }
}

#[tokio::test]
async fn server_that_never_takes_the_request_is_given_up() {
    let server = Server::raw(|_, stream| async move {
        // Nothing is read, so that the window closes.
        let () = std::future::pending().await;
        drop(stream);
    })
    .await;
    let egress = egress_with(&[&server.entry()], FakeDns::default(), |config| {
        config.first_byte_timeout_ms = 200;
        config.request_bytes_max = 64 << 20;
    });
    let mut guest = Guest::new(&egress);
    let request = super::request("POST", &server.url("/"), vec![b'x'; 32 << 20]);
    let result = soon(guest.fetch(request)).await;
    guest.assert_failed(result, "connection-read-timeout");
}

#[tokio::test]
async fn reply_in_a_coding_is_handed_over_as_it_is() {
    // What would be gigabytes is a few bytes, for whoever does not decompress.
    let bomb = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 20\r\n\r\n";
    let server = Server::raw(move |_, mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(bomb.as_bytes()).await;
        let _ = stream.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
        drain(&mut stream).await;
    })
    .await;
    let egress = egress_with(&[&server.entry()], FakeDns::default(), |_| {});
    let response = Guest::new(&egress).get(&server.url("/")).await.unwrap();
    assert_eq!(response.body().len(), 20);
    assert_eq!(response.headers()["content-encoding"], "gzip");
}
