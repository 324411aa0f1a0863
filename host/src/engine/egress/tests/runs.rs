use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use http::Request;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use wasmtime_wasi_http::WasiHttpHooks;

use super::server::{Server, read_head};
use super::{Guest, channel, egress, request, soon};

/// Tells what came in on each connection, once it is closed.
async fn recording_server(answer: &'static [u8]) -> (Server, mpsc::Receiver<Vec<u8>>) {
    let (ended, seen) = mpsc::channel(8);
    let server = Server::raw(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
            let (mut all, mut buffer) = (Vec::new(), [0; 1024]);
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                all.extend_from_slice(&buffer[..length]);
            }
            let _ = ended.send(all).await;
        }
    })
    .await;
    (server, seen)
}

#[tokio::test]
async fn a_response_that_the_guest_drops_is_recorded_and_its_connection_closed() {
    let (server, mut ended) = recording_server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel").await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let mut response = guest.send(request("GET", &server.url("/"), "")).await.unwrap();
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "hel");
    drop(response);
    let record = guest.last();
    assert_eq!((record.status, record.response_bytes, record.error), (Some(200), 3, None));
    soon(ended.recv()).await.unwrap();
}

#[tokio::test]
async fn a_request_that_the_guest_drops_is_recorded_and_its_connection_closed() {
    let (server, mut ended) = recording_server(b"").await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let task = tokio::spawn(guest.begin(request("GET", &server.url("/"), "")));
    assert_eq!(guest.last().error.as_deref(), Some("connection-terminated"));
    soon(async {
        while server.accepted() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    task.abort();
    soon(ended.recv()).await.unwrap();
    assert_eq!((guest.last().status, guest.last().error.as_deref()), (None, Some("connection-terminated")));
}

#[tokio::test]
async fn an_upload_that_is_cut_with_its_run_does_not_look_complete() {
    for end_first in [true, false] {
        let (server, mut ended) = recording_server(b"").await;
        let egress = egress(&[&server.entry()]);
        let mut guest = Guest::new(&egress);
        let (mut pieces, body) = channel();
        let task = tokio::spawn(guest.begin(Request::post(server.url("/")).body(body).unwrap()));
        pieces.send(Ok(Bytes::from("half"))).await.unwrap();
        if end_first {
            guest.hooks.end();
        } else {
            drop(guest);
        }
        // As when a store is dropped: the guest's end of the body goes, then the request.
        drop(pieces);
        let result = soon(task).await.unwrap();
        assert_eq!(super::word_of(&result.unwrap_err()), "http-request-body-size");
        let sent = soon(ended.recv()).await.unwrap();
        assert!(!sent.ends_with(b"0\r\n\r\n"), "{sent:?}");
    }
}

#[tokio::test]
async fn a_body_that_the_guest_breaks_off_does_not_look_complete() {
    let (server, mut ended) = recording_server(b"").await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let (mut pieces, body) = channel();
    let sending = guest.begin(Request::post(server.url("/")).body(body).unwrap());
    let writing = async move {
        pieces.send(Ok(Bytes::from("half"))).await.unwrap();
        let _ = pieces.send(Err(wasmtime_wasi_http::Error::HttpProtocolError)).await;
    };
    let (result, ()) = soon(futures::future::join(sending, writing)).await;
    guest.assert_failed(result, "http-request-body-size");
    let sent = soon(ended.recv()).await.unwrap();
    assert!(!sent.ends_with(b"0\r\n\r\n"), "{sent:?}");
}

#[tokio::test]
async fn exchanges_are_recorded_in_the_order_they_began() {
    let server = Server::http(|_| async { http::Response::new(Default::default()) }).await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let all: Vec<_> =
        (0..5).map(|index| guest.begin(request("GET", &server.url(&format!("/{index}")), ""))).collect();
    // Ended in the opposite order.
    for one in all.into_iter().rev() {
        super::whole(one.await.unwrap()).await.unwrap();
    }
    let exchanges = guest.hooks.exchanges();
    let urls: Vec<_> = exchanges.iter().map(|exchange| exchange.url.clone()).collect();
    assert_eq!(urls, (0..5).map(|index| server.url(&format!("/{index}"))).collect::<Vec<_>>());
    assert!(exchanges.is_sorted_by_key(|exchange| exchange.at_us));
    assert!(exchanges.iter().all(|exchange| exchange.status == Some(200) && exchange.error.is_none()));
}

#[tokio::test]
async fn connect_is_not_let_out_and_host_is_not_the_guests() {
    let server = Server::silent().await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let result = guest.fetch(request("CONNECT", &server.url("/"), "")).await;
    guest.assert_failed(result, "http-request-method-invalid");
    assert_eq!(server.accepted(), 0);
    assert!(!guest.hooks.set_host_header());
    assert!(guest.hooks.is_forbidden_header(&http::header::HOST));
}

#[tokio::test]
async fn closing_ends_what_waits_and_waits_for_what_is_in_use() {
    let server = Server::raw(|_, mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    })
    .await;
    let egress = egress(&[&server.entry()]);
    let mut guest = Guest::new(&egress);
    let (first, second) = (request("GET", &server.url("/"), ""), request("GET", &server.url("/"), ""));
    let (waits, in_use) = (guest.send(first).await.unwrap(), guest.send(second).await.unwrap());
    super::whole(waits).await.unwrap();
    let mut closing = Box::pin(egress.close());
    assert!(futures::FutureExt::now_or_never(closing.as_mut()).is_none());
    // What is in use may be used to its end, and is not kept.
    super::whole(in_use).await.unwrap();
    soon(closing).await;
}

#[tokio::test]
async fn dropping_a_request_at_any_moment_gives_everything_back() {
    let server = Server::http(|_| async { http::Response::new(Default::default()) }).await;
    let egress = egress(&[&server.entry()]);
    let mut guest = Guest::new(&egress);
    for polls in 0..60 {
        let mut sending = Box::pin(guest.begin(request("GET", &server.url("/"), "")));
        for _ in 0..polls {
            let polled = std::future::poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_ready()));
            if polled.await {
                break;
            }
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
    }
    soon(egress.close()).await;
    assert_eq!(guest.hooks.exchanges().len(), 60);
}
