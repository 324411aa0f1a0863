use std::sync::Arc;

use bytes::Bytes;
use futures::SinkExt;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Barrier, mpsc};

use super::server::{Reply, Server, drain, read_head};
use super::{FakeDns, Guest, body, channel, egress, egress_with, request, soon, url};
use crate::workflow::WorkflowId;

fn reply(text: &'static str) -> Reply {
    Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync())
}

#[tokio::test]
async fn get_brings_status_headers_and_body_and_is_recorded() {
    let server =
        Server::script("HTTP/1.1 404 No\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 5\r\n\r\nhello").await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let response = guest.get(&server.url("/v1/jobs?key=secret&page=2")).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(response.body(), "hello");
    let record = guest.last();
    assert_eq!((record.method.as_str(), record.status, record.error.as_deref()), ("GET", Some(404), None));
    assert_eq!(record.url, server.url("/v1/jobs?key=…&page=…"));
    assert_eq!((record.request_bytes, record.response_bytes), (0, 5));
    assert_eq!(guest.hooks.remarks(), []);
}

#[tokio::test]
async fn the_head_is_sent_as_given_but_for_what_is_about_the_connection() {
    let (heads, mut seen) = mpsc::channel(1);
    let server = Server::raw(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            heads.send(read_head(&mut stream).await).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let egress = egress(&[&server.entry()]);
    let mut guest = Guest::new(&egress);
    let request = Request::post(server.url("/a%20b//c/../d?x=%41&y"))
        .header("host", "evil.example")
        .header("connection", "close, x-hop")
        .header("transfer-encoding", "gzip")
        .header("upgrade", "websocket")
        .header("te", "trailers")
        .header("keep-alive", "1")
        .header("x-api-key", "k")
        .header("x-api-key", "l")
        .body(body("ab"))
        .unwrap();
    guest.fetch(request).await.unwrap();
    let head = seen.recv().await.unwrap();
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /a%20b//c/../d?x=%41&y HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", server.address);
    assert_eq!(lines, ["content-length: 2", host.as_str(), "x-api-key: k", "x-api-key: l"]);

    guest.get(&format!("http://{}?q", server.address)).await.unwrap();
    assert!(seen.recv().await.unwrap().starts_with("GET /?q HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_trace_goes_on_with_a_span_of_its_own_for_each_call_unless_the_guest_sets_one() {
    let (heads, mut seen) = mpsc::channel(1);
    let server = Server::raw(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            heads.send(read_head(&mut stream).await).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let egress = egress(&[&server.entry()]);
    let trace = crate::run::Trace::root(crate::run::RunId::new());
    let started = std::time::Instant::now();
    let options = crate::engine::egress::RunEgressOptions {
        workflow: WorkflowId::new(),
        started,
        deadline: started + std::time::Duration::from_secs(60),
        open: true,
        destinations: None,
        trace: Some(trace.clone()),
        limits: Default::default(),
        sealed: None,
    };
    let mut guest = Guest { hooks: egress.for_run(options), options: Default::default() };
    let of_call = |index| format!("traceparent: {}", trace.header_of_call(index));
    assert!(of_call(0) != of_call(2) && trace.span_of_call(0) != trace.span_id);
    for (own, expected) in
        [(None, of_call(0)), (Some("00-guest"), "traceparent: 00-guest".to_owned()), (None, of_call(2))]
    {
        let mut request = request("GET", &server.url("/"), "");
        own.map(|own| request.headers_mut().insert("traceparent", HeaderValue::from_static(own)));
        guest.fetch(request).await.unwrap();
        let head = seen.recv().await.unwrap();
        assert_eq!(head.matches("traceparent").count(), 1, "{head}");
        assert!(head.contains(&expected), "{head}");
    }
}

#[tokio::test]
async fn bodies_stream_in_both_directions_at_once() {
    let server = Server::http(|request| async move {
        Response::new(request.into_body().map_err(Into::into).boxed_unsync())
    })
    .await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let (mut pieces, body) = channel();
    let request = Request::post(server.url("/echo")).body(body).unwrap();
    let mut response = guest.send(request).await.unwrap();
    for piece in ["first", "second", "third"] {
        pieces.send(Ok(Bytes::from(piece))).await.unwrap();
        // It comes back before the next one is written.
        let frame = soon(response.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
        assert!(guest.last().response_bytes > 0);
    }
    drop(pieces);
    assert!(soon(response.body_mut().frame()).await.is_none());
    assert_eq!((guest.last().request_bytes, guest.last().response_bytes), (16, 16));
}

#[tokio::test]
async fn runs_of_one_workflow_share_connections_and_those_of_two_do_not() {
    let server = Server::http(|_| async { reply("hello") }).await;
    let egress = egress(&[&server.entry()]);
    let (ours, theirs) = (WorkflowId::new(), WorkflowId::new());
    for _ in 0..5 {
        Guest::of(&egress, ours).get(&server.url("/")).await.unwrap();
    }
    assert_eq!(server.accepted(), 1);
    Guest::of(&egress, theirs).get(&server.url("/")).await.unwrap();
    assert_eq!(server.accepted(), 2);
    let counters = egress.counters();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((count(&counters.connections_opened), count(&counters.connections_reused)), (2, 4));
    assert_eq!((count(&counters.requests), count(&counters.bytes_in)), (6, 30));
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_configured() {
    let together = Arc::new(Barrier::new(4));
    let server = Server::http(move |_| {
        let together = together.clone();
        async move {
            together.wait().await;
            reply("hello")
        }
    })
    .await;
    let egress = egress_with(&[&server.entry()], FakeDns::default(), |config| config.idle_per_host_max = 3);
    let mut guest = Guest::new(&egress);
    for accepted in [4, 5] {
        let four: Vec<_> = (0..4).map(|_| guest.begin(request("GET", &server.url("/"), ""))).collect();
        for response in futures::future::join_all(four).await {
            super::whole(response.unwrap()).await.unwrap();
        }
        assert_eq!(server.accepted(), accepted);
    }
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let (closed, mut seen) = mpsc::channel(1);
    let server = Server::raw(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            drain(&mut stream).await;
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let egress = egress_with(&[&server.entry()], FakeDns::default(), |config| config.idle_timeout_ms = 20);
    Guest::new(&egress).get(&server.url("/")).await.unwrap();
    soon(seen.recv()).await.unwrap();
}

/// Answers the first request of its first connection, and closes that connection when a
/// second one has come in.
async fn server_that_closes_on_reuse() -> Server {
    Server::raw(|index, mut stream| async move {
        loop {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            if index == 0 {
                read_head(&mut stream).await;
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_get_that_meets_a_closing_connection_is_sent_again() {
    let server = server_that_closes_on_reuse().await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    for accepted in [1, 2] {
        assert_eq!(guest.get(&server.url("/")).await.unwrap().body(), "ok");
        assert_eq!(server.accepted(), accepted);
    }
    assert_eq!(guest.hooks.exchanges().len(), 2);
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let server = server_that_closes_on_reuse().await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    guest.get(&server.url("/")).await.unwrap();
    let result = guest.fetch(request("POST", &server.url("/"), "once")).await;
    let word = guest.last().error.unwrap();
    // Whether the close overtakes the request's body is the system's business.
    assert!(["http-response-incomplete", "connection-terminated"].contains(&word.as_str()), "{word}");
    guest.assert_failed(result, &word);
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn connections_that_the_server_wants_closed_are_not_used_again() {
    let server = Server::script("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    for accepted in 1..4 {
        assert_eq!(guest.get(&server.url("/")).await.unwrap().body(), "ok");
        assert_eq!(server.accepted(), accepted);
    }
}

#[tokio::test]
async fn responses_without_bodies_end_at_once_and_leave_the_connection() {
    let server = Server::raw(|_, mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            let answer: &[u8] = match head.split(' ').next().unwrap() {
                "HEAD" => b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n",
                "DELETE" => b"HTTP/1.1 204 No\r\n\r\n",
                "GET" => b"HTTP/1.1 304 No\r\ncontent-length: 99\r\n\r\n",
                _ => return,
            };
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    for (method, status) in [("HEAD", 200), ("DELETE", 204), ("GET", 304), ("HEAD", 200)] {
        let response = soon(guest.fetch(request(method, &server.url("/"), ""))).await.unwrap();
        assert_eq!((response.status().as_u16(), response.body().len()), (status, 0));
        assert_eq!(guest.last().error, None);
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_body_of_any_framing() {
    let server = Server::http(|request| async move {
        request.into_body().collect().await.unwrap();
        reply("hello")
    })
    .await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    for (length, is_finished) in [(Some("4"), true), (None, true), (Some("4"), false), (Some("0"), true)] {
        let (mut pieces, body) = channel();
        let mut post = Request::post(server.url("/"));
        if let Some(length) = length {
            post = post.header("content-length", length);
        }
        let sending = guest.begin(post.body(body).unwrap());
        let writing = async {
            if length != Some("0") {
                pieces.send(Ok(Bytes::from("ping"))).await.unwrap();
            }
            // One writer keeps its end for longer than the exchange takes.
            if is_finished {
                pieces.close_channel();
            }
        };
        let (response, ()) = soon(futures::future::join(sending, writing)).await;
        super::whole(response.unwrap()).await.unwrap();
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn interim_responses_are_skipped() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let server = Server::script(format!("{interim}HTTP/1.1 201 OK\r\ncontent-length: 2\r\n\r\nok")).await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let response = guest.get(&server.url("/")).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().contains_key("link")), (201, false));
}

#[tokio::test]
async fn a_response_without_a_length_ends_with_its_connection() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"] {
        let server = Server::script(format!("{head}to the end")).await;
        let mut guest = Guest::new(&egress(&[&server.entry()]));
        assert_eq!(guest.get(&server.url("/")).await.unwrap().body(), "to the end");
        assert_eq!((guest.last().error, guest.last().response_bytes), (None, 10));
    }
}

#[tokio::test]
async fn trailers_reach_the_guest() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
    let server = Server::script(chunked).await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let response = guest.send(request("GET", &server.url("/"), "")).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
    assert_eq!(guest.last().error, None);
}

#[tokio::test]
async fn an_early_answer_ends_the_exchange_and_the_upload() {
    let server = Server::raw(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let (mut pieces, body) = channel();
    let response = guest.fetch(Request::post(server.url("/")).body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(guest.last().error, None);
    // The writer learns that nobody reads on.
    soon(async { while pieces.send(Ok(Bytes::from("x"))).await.is_ok() {} }).await;
    guest.get(&server.url("/")).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn ipv6_literals_are_reached() {
    let server = Server::raw_at("[::1]:0", |_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let mut guest = Guest::new(&egress(&["::1"]));
    assert_eq!(guest.get(&url(server.address, "/")).await.unwrap().body(), "ok");
}
