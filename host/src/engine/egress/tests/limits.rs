use bytes::Bytes;
use futures::SinkExt;
use http::Request;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::server::{Server, drain, read_head};
use super::{FakeDns, Guest, channel, egress_with, request, soon};
use crate::config;
use crate::workflow::WorkflowId;

fn with(
    server: &Server,
    change: impl FnOnce(&mut config::Egress),
) -> std::sync::Arc<crate::engine::egress::Egress> {
    egress_with(&[&server.entry()], FakeDns::default(), change)
}

#[tokio::test]
async fn a_request_body_is_capped_before_and_while_it_is_sent() {
    let server = Server::raw(|_, mut stream| async move {
        read_head(&mut stream).await;
        let mut body = [0; 10];
        if tokio::io::AsyncReadExt::read_exact(&mut stream, &mut body).await.is_ok() {
            stream.write_all(b"HTTP/1.1 204 No\r\n\r\n").await.unwrap();
        }
        drain(&mut stream).await;
    })
    .await;
    let egress = with(&server, |config| config.request_bytes_max = 10);
    let mut guest = Guest::new(&egress);
    guest.fetch(request("POST", &server.url("/"), "0123456789")).await.unwrap();
    assert_eq!(guest.last().request_bytes, 10);

    let result = guest.fetch(request("POST", &server.url("/"), "0123456789x")).await;
    guest.assert_failed(result, "http-request-body-size");
    assert_eq!((guest.last().request_bytes, server.accepted()), (0, 1));

    let (_pieces, body) = channel();
    let declared = Request::post(server.url("/")).header("content-length", "11").body(body).unwrap();
    let result = guest.fetch(declared).await;
    guest.assert_failed(result, "http-request-body-size");

    let (mut pieces, body) = channel();
    let sending = guest.begin(Request::post(server.url("/")).body(body).unwrap());
    let writing = async move {
        for _ in 0..3 {
            let _ = pieces.send(Ok(Bytes::from("01234"))).await;
        }
    };
    let (result, ()) = soon(futures::future::join(sending, writing)).await;
    guest.assert_failed(result, "http-request-body-size");
    assert!(guest.last().request_bytes <= 10);
}

#[tokio::test]
async fn a_response_body_is_capped_by_its_head_and_while_it_comes() {
    let endless = Server::raw(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
    })
    .await;
    let mut guest = Guest::new(&with(&endless, |config| config.response_bytes_max = 100_000));
    let result = soon(guest.get(&endless.url("/"))).await;
    guest.assert_failed(result, "http-response-body-size");
    assert!((1..=100_000).contains(&guest.last().response_bytes));

    let declared = Server::script("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n0123456789x").await;
    for (cap, is_over) in [(10, true), (11, false)] {
        let mut guest = Guest::new(&with(&declared, |config| config.response_bytes_max = cap));
        let result = guest.get(&declared.url("/")).await;
        assert_eq!(guest.last().status, Some(200));
        if is_over {
            guest.assert_failed(result, "http-response-body-size");
        } else {
            assert_eq!(result.unwrap().body(), "0123456789x");
        }
        // A response to HEAD only tells the length.
        guest.fetch(request("HEAD", &declared.url("/"), "")).await.unwrap();
    }
}

#[tokio::test]
async fn a_run_has_a_cap_on_its_requests() {
    let server = Server::http(|_| async { http::Response::new(Default::default()) }).await;
    let egress = with(&server, |config| config.requests_max = 3);
    let mut guest = Guest::new(&egress);
    for _ in 0..3 {
        guest.get(&server.url("/")).await.unwrap();
    }
    for _ in 0..2 {
        let result = guest.get(&server.url("/")).await;
        guest.assert_failed(result, "http-request-denied");
    }
    assert_eq!(guest.hooks.exchanges().len(), 4);
    Guest::new(&egress).get(&server.url("/")).await.unwrap();
}

#[tokio::test]
async fn a_run_has_a_cap_on_its_requests_at_the_same_time() {
    let server = Server::script("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let egress = with(&server, |config| config.concurrent_max = 2);
    let mut guest = Guest::new(&egress);
    let get = || request("GET", &server.url("/"), "");
    let unread = guest.send(get()).await.unwrap();
    let waiting = guest.begin(get());
    let result = guest.send(get()).await;
    guest.assert_failed(result, "http-request-denied");
    // A body that is read, and a request that is given up, make room.
    super::whole(unread).await.unwrap();
    guest.get(&server.url("/")).await.unwrap();
    drop(waiting);
    let (first, second) = (guest.begin(get()), guest.begin(get()));
    first.await.unwrap();
    second.await.unwrap();
    let result = egress.counters().refused().find(|(word, _)| *word == "concurrent");
    assert_eq!(result, Some(("concurrent", 1)));
}

#[tokio::test]
async fn the_host_has_a_cap_on_its_connections() {
    let (hanging, mut seen) = mpsc::channel(1);
    let server = Server::raw(move |_, mut stream| {
        let hanging = hanging.clone();
        async move {
            while read_head(&mut stream).await.contains("/quick") {
                stream.write_all(b"HTTP/1.1 204 No\r\n\r\n").await.unwrap();
            }
            hanging.send(()).await.unwrap();
            drain(&mut stream).await;
        }
    })
    .await;
    let egress = with(&server, |config| {
        config.connections_max = 1;
        config.connect_timeout_ms = 100;
    });
    // Another workflow's connection that only waits makes room.
    Guest::of(&egress, WorkflowId::new()).get(&server.url("/quick")).await.unwrap();
    let mut busy = Guest::of(&egress, WorkflowId::new());
    busy.get(&server.url("/quick")).await.unwrap();
    // The first one's end.
    soon(seen.recv()).await.unwrap();
    // One that is in use does not.
    let held = tokio::spawn(busy.begin(request("GET", &server.url("/hang"), "")));
    soon(seen.recv()).await.unwrap();
    let mut guest = Guest::of(&egress, WorkflowId::new());
    let result = soon(guest.get(&server.url("/quick"))).await;
    guest.assert_failed(result, "connection-limit-reached");
    held.abort();
    let _ = held.await;
    guest.get(&server.url("/quick")).await.unwrap();
}
