use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::server::{Server, drain, read_head};
use super::{FakeDns, Guest, channel, egress, egress_with, request, soon, word_of};
use crate::workflow::WorkflowId;

const HEAD: &str = "HTTP/1.1 200 OK\r\n";

#[tokio::test]
async fn heads_that_are_not_http_fail_the_request() {
    let many: String = (0..101).map(|index| format!("x-{index}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(70_000));
    for (answer, word) in [
        ("garbage\r\n\r\n".to_owned(), "http-protocol-error"),
        ("\0\0\0\0".to_owned(), "http-protocol-error"),
        ("HTTP/1.1 99 Low\r\n\r\n".to_owned(), "http-protocol-error"),
        ("HTTP/1.1 2000 High\r\n\r\n".to_owned(), "http-protocol-error"),
        ("HTTP/3.0 200 OK\r\n\r\n".to_owned(), "http-protocol-error"),
        (format!("{HEAD}no colon\r\n\r\n"), "http-protocol-error"),
        (format!("{HEAD}x y: z\r\n\r\n"), "http-protocol-error"),
        (format!("{HEAD}a: 1\r\n folded: 2\r\n\r\n"), "http-protocol-error"),
        (format!("{HEAD}content-length: 1\r\ncontent-length: 2\r\n\r\nx"), "http-protocol-error"),
        (format!("{HEAD}content-length: -1\r\n\r\n"), "http-protocol-error"),
        (
            "HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(),
            "http-upgrade-failed",
        ),
        (String::new(), "http-response-incomplete"),
        ("HTTP/1.1 200 O".to_owned(), "http-response-incomplete"),
        (format!("{HEAD}a: 1\r\n"), "http-response-incomplete"),
        (format!("{HEAD}{many}\r\n"), "http-response-header-section-size"),
        (format!("{HEAD}{large}\r\n"), "http-response-header-section-size"),
        (format!("{HEAD}{}", large.trim_end()), "http-response-header-section-size"),
    ] {
        let server = Server::script(answer.clone()).await;
        let mut guest = Guest::new(&egress(&[&server.entry()]));
        let result = soon(guest.get(&server.url("/"))).await;
        guest.assert_failed_by(result, word, &answer);
    }
}

#[tokio::test]
async fn a_small_header_cap_holds_below_the_smallest_buffer() {
    let server = Server::script(format!("{HEAD}x: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(600))).await;
    let entry = server.entry();
    for (cap, is_over) in [(500, true), (1000, false)] {
        let egress =
            egress_with(&[&entry], FakeDns::default(), |config| config.response_header_bytes_max = cap);
        let mut guest = Guest::new(&egress);
        let result = guest.get(&server.url("/")).await;
        assert_eq!(result.is_err(), is_over);
        if is_over {
            guest.assert_failed(result, "http-response-header-section-size");
        }
    }
}

#[tokio::test]
async fn bodies_that_break_fail_the_reading() {
    for (answer, read, word) in [
        ("content-length: 9\r\n\r\nhel", 3, "http-response-incomplete"),
        ("transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n", 3, "http-response-incomplete"),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhel", 3, "http-response-incomplete"),
        ("transfer-encoding: chunked\r\n\r\n3\r\nhel\r\nzz\r\n", 3, "http-protocol-error"),
        ("transfer-encoding: chunked\r\n\r\n3\r\nhelXX", 3, "http-protocol-error"),
        ("transfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\n", 0, "http-protocol-error"),
    ] {
        let server = Server::script(format!("{HEAD}{answer}")).await;
        let mut guest = Guest::new(&egress(&[&server.entry()]));
        let result = soon(guest.get(&server.url("/"))).await;
        guest.assert_failed_by(result, word, answer);
        assert_eq!((guest.last().status, guest.last().response_bytes), (Some(200), read));
    }
}

/// Sends a reset instead of an orderly end.
async fn reset_after(mut stream: TcpStream, answer: &str) {
    read_head(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.set_zero_linger().unwrap();
}

#[tokio::test]
async fn resets_are_told_from_orderly_ends() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel"] {
        let server = Server::raw(move |_, stream| reset_after(stream, answer)).await;
        let mut guest = Guest::new(&egress(&[&server.entry()]));
        let result = soon(guest.get(&server.url("/"))).await;
        guest.assert_failed_by(result, "connection-terminated", answer);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let server = Server::silent().await;
    let entry = server.entry();
    // By the host's limit, and by a shorter one of the guest's.
    let hosts = egress_with(&[&entry], FakeDns::default(), |config| config.first_byte_timeout_ms = 50);
    let mut guest = Guest::new(&hosts);
    guest.options.first_byte_timeout = Some(Duration::from_secs(3600));
    let result = soon(guest.get(&server.url("/"))).await;
    guest.assert_failed(result, "connection-read-timeout");

    let mut guest = Guest::new(&egress(&[&entry]));
    guest.options.first_byte_timeout = Some(Duration::from_millis(50));
    let result = soon(guest.get(&server.url("/"))).await;
    guest.assert_failed(result, "connection-read-timeout");
}

#[tokio::test]
async fn interim_responses_without_end_are_given_up() {
    let server = Server::raw(|_, mut stream| async move {
        read_head(&mut stream).await;
        while stream.write_all(b"HTTP/1.1 102 Wait\r\n\r\n").await.is_ok() {}
    })
    .await;
    let egress =
        egress_with(&[&server.entry()], FakeDns::default(), |config| config.first_byte_timeout_ms = 100);
    let mut guest = Guest::new(&egress);
    let result = soon(guest.get(&server.url("/"))).await;
    guest.assert_failed(result, "connection-read-timeout");
}

#[tokio::test]
async fn an_upload_that_goes_on_is_not_a_silent_server() {
    let server = Server::raw(|_, mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("chunked"), "{head}");
        // Eight pieces of ten bytes, and the end.
        let mut rest = [0; 8 * (3 + 10 + 2) + 5];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut rest).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let egress =
        egress_with(&[&server.entry()], FakeDns::default(), |config| config.first_byte_timeout_ms = 2000);
    let mut guest = Guest::new(&egress);
    let (mut pieces, body) = channel();
    let sending = guest.begin(Request::post(server.url("/")).body(body).unwrap());
    let writing = async move {
        for _ in 0..8 {
            // All pieces together take longer than a server may be silent.
            tokio::time::sleep(Duration::from_millis(300)).await;
            futures::SinkExt::send(&mut pieces, Ok(Bytes::from("0123456789"))).await.unwrap();
        }
    };
    let (response, ()) = soon(futures::future::join(sending, writing)).await;
    assert_eq!(response.unwrap().status(), 200);
}

/// A response whose body never ends: one byte, again and again.
async fn drip(mut stream: TcpStream, pause: Duration) {
    read_head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    while stream.write_all(b"x").await.is_ok() {
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test]
async fn a_body_that_drips_is_cut_at_the_exchanges_end() {
    let server = Server::raw(|_, stream| drip(stream, Duration::from_millis(10))).await;
    let egress = egress_with(&[&server.entry()], FakeDns::default(), |config| {
        config.first_byte_timeout_ms = 10_000;
        config.exchange_timeout_ms = 500;
    });
    let mut guest = Guest::new(&egress);
    let result = soon(guest.get(&server.url("/"))).await;
    guest.assert_failed(result, "http-response-timeout");
    assert_eq!(guest.last().status, Some(200));
    assert!(guest.last().response_bytes > 0);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let server = Server::raw(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    guest.options.between_bytes_timeout = Some(Duration::from_millis(50));
    let result = soon(guest.get(&server.url("/"))).await;
    guest.assert_failed(result, "connection-read-timeout");
    assert_eq!(guest.last().response_bytes, 3);
}

#[tokio::test]
async fn a_guests_timeout_of_zero_ends_its_request_and_nothing_else() {
    let server = Server::raw(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    // What is zero may be there at once all the same: then the body's silence ends it.
    let pause = Some(Duration::from_millis(50));
    let zero = Some(Duration::ZERO);
    for (connect, first_byte, between) in [(zero, pause, pause), (pause, zero, pause), (pause, pause, zero)] {
        let mut guest = Guest::new(&egress(&[&server.entry()]));
        guest.options.connect_timeout = connect;
        guest.options.first_byte_timeout = first_byte;
        guest.options.between_bytes_timeout = between;
        let result = soon(guest.get(&server.url("/"))).await;
        let word = result.as_ref().map_or_else(word_of, |response| response.status().to_string());
        assert!(word.ends_with("-timeout"), "{connect:?} {first_byte:?} {between:?}: {word}");
    }
}

#[tokio::test]
async fn a_guest_that_reads_late_is_not_a_stalled_body() {
    let server = Server::script("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    guest.options.between_bytes_timeout = Some(Duration::from_millis(200));
    let response = guest.send(request("GET", &server.url("/"), "")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn a_body_that_never_pauses_is_cut_at_the_exchanges_end_too() {
    let server = Server::script("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let egress =
        egress_with(&[&server.entry()], FakeDns::default(), |config| config.exchange_timeout_ms = 500);
    let mut guest = Guest::new(&egress);
    let response = guest.send(request("GET", &server.url("/"), "")).await.unwrap();
    // It is all there, so that nothing but the clock stands against it.
    tokio::time::sleep(Duration::from_millis(600)).await;
    guest.assert_failed(response.into_body().collect().await, "http-response-timeout");
}

#[tokio::test]
async fn no_exchange_outlives_its_run() {
    let server = Server::silent().await;
    let dripping = Server::raw(|_, stream| drip(stream, Duration::from_millis(5))).await;
    let egress = egress(&[&server.entry(), &dripping.entry()]);
    for url in [server.url("/"), dripping.url("/")] {
        let mut guest = Guest::until(&egress, WorkflowId::new(), Duration::from_millis(80));
        let result = soon(guest.get(&url)).await;
        guest.assert_failed(result, "http-response-timeout");
    }
}
