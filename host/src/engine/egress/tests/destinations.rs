use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use super::server::{Server, read_head};
use super::{Answer, FakeDns, Guest, egress, egress_with, soon, url};
use crate::config::Config;
use crate::engine::egress::{Code, Egress, EgressError, Resolve, Sources};
use crate::workflow::WorkflowId;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const OK_CLOSE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_private_literal_is_refused_and_never_connected_to() {
    let server = Server::script(OK).await;
    let port = server.address.port();
    let egress = egress(&[]);
    for host in ["127.0.0.1", "127.9.9.9", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "[::]", "127.0.0.1."] {
        let mut guest = Guest::new(&egress);
        let result = guest.get(&format!("http://{host}:{port}/x?k=v")).await;
        guest.assert_failed(result, "destination-ip-prohibited");
        assert_eq!(guest.last().status, None);
    }
    let mut guest = Guest::new(&egress);
    let _ = guest.get(&server.url("/x?k=v")).await;
    assert_eq!(guest.last().reason.as_deref(), Some("127.0.0.1 is a loopback address (RFC 1122)"));
    let (_, remark) = guest.hooks.remarks().pop().unwrap();
    let expected = "destination-ip-prohibited: 127.0.0.1 is a loopback address (RFC 1122); \
                    the operator can open it with egress.allow_private";
    assert_eq!(remark, format!("GET {}: {expected}", server.url("/x?k=…")));
    assert_eq!(server.accepted(), 0);
    let refused: u64 = egress.counters().refused().map(|(_, count)| count).sum();
    assert_eq!(refused, 8);
}

#[tokio::test]
async fn local_names_are_refused_before_they_are_looked_up() {
    // The resolver would panic.
    let mut guest = Guest::new(&egress(&[]));
    for name in ["localhost", "a.localhost", "db", "printer.local", "x.internal", "0x7f.1", "127.1"] {
        let result = guest.get(&format!("http://{name}/")).await;
        guest.assert_failed(result, "destination-ip-prohibited");
    }
    for malformed in ["http://me:pw@a.example/", "http://a..example/"] {
        let result = guest.get(malformed).await;
        guest.assert_failed(result, "http-request-uri-invalid");
    }
    assert!(!guest.hooks.exchanges().iter().any(|exchange| exchange.url.contains("pw")));
}

#[tokio::test]
async fn one_private_address_among_a_names_answers_refuses_them_all() {
    let server = Server::script(OK).await;
    let port = server.address.port();
    for answer in [
        ["127.0.0.1", "127.0.0.2"],
        ["127.0.0.1", "169.254.169.254"],
        ["127.0.0.1", "::ffff:10.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["2606:4700::1111", "::1"],
    ] {
        for answer in [answer, [answer[1], answer[0]]] {
            let dns = FakeDns::default().answer("api.example", Ok(&answer));
            let egress = egress_with(&[&server.entry()], dns, |_| {});
            let mut guest = Guest::new(&egress);
            let result = guest.get(&format!("http://api.example:{port}/")).await;
            guest.assert_failed(result, "destination-ip-prohibited");
        }
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn a_name_that_turns_private_after_its_first_answer_is_refused() {
    let open = Server::script(OK_CLOSE).await;
    let port = open.address.port();
    let inside = Server::raw_at(&format!("127.0.0.2:{port}"), |_, _| async {}).await;
    let dns = FakeDns::default()
        .answer("api.example", Ok(&["127.0.0.1"]))
        .answer("api.example", Ok(&["127.0.0.2"]));
    let egress = egress_with(&[&open.entry()], dns, |_| {});
    let mut guest = Guest::new(&egress);
    let url = format!("http://api.example:{port}/");
    assert_eq!(guest.get(&url).await.unwrap().body(), "ok");
    let result = guest.get(&url).await;
    guest.assert_failed(result, "destination-ip-prohibited");
    assert_eq!((open.accepted(), inside.accepted()), (1, 0));
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_a_connection() {
    struct Once(AtomicUsize);
    impl Resolve for Once {
        fn resolve<'a>(&'a self, _: &'a str, sources: Sources) -> BoxFuture<'a, Answer> {
            assert_eq!(sources, Sources::Dns, "no entry names the host");
            assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0);
            Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap()]) })
        }
    }
    let server = Server::raw(|_, mut stream| async move {
        while read_head(&mut stream).await.to_ascii_lowercase().contains("host: api.example") {
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let egress = egress_with(&[&server.entry()], Once(AtomicUsize::new(0)), |_| {});
    let workflow = WorkflowId::new();
    for host in ["api.example", "API.Example", "api.example."] {
        let mut guest = Guest::of(&egress, workflow);
        let response = guest.get(&format!("http://{host}:{}/", server.address.port())).await;
        assert_eq!(response.unwrap().body(), "ok");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn an_allowed_name_is_looked_up_as_the_system_does() {
    struct Local;
    impl Resolve for Local {
        fn resolve<'a>(&'a self, name: &'a str, sources: Sources) -> BoxFuture<'a, Answer> {
            assert_eq!((name, sources), ("crm", Sources::System));
            Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap()]) })
        }
    }
    let server = Server::script(OK).await;
    let port = server.address.port();
    let egress = egress_with(&[&format!("CRM:{port}")], Local, |_| {});
    let mut guest = Guest::new(&egress);
    assert_eq!(guest.get(&format!("http://crm:{port}/")).await.unwrap().body(), "ok");
    let result = guest.get("http://crm:1/").await;
    guest.assert_failed(result, "destination-ip-prohibited");
    let result = guest.get(&server.url("/")).await;
    guest.assert_failed(result, "destination-ip-prohibited");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn localhost_is_this_machine_once_it_is_allowed() {
    let server = Server::script(OK).await;
    let port = server.address.port();
    let mut config = Config::defaults().egress;
    config.allow_private = vec![format!("localhost:{port}")];
    let egress = Egress::new(&config).unwrap();
    let mut guest = Guest::new(&egress);
    // The IPv6 loopback address is tried too, and nobody listens there.
    assert_eq!(guest.get(&format!("http://localhost:{port}/")).await.unwrap().body(), "ok");
}

#[tokio::test]
async fn redirects_are_the_guests_business_and_checked_afresh() {
    let inside = Server::script(OK).await;
    let location = inside.url("/admin");
    let server =
        Server::script(format!("HTTP/1.1 302 Go\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")).await;
    let mut guest = Guest::new(&egress(&[&server.entry()]));
    let response = guest.get(&server.url("/")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["location"].to_str().unwrap()),
        (302, &*location)
    );
    let result = guest.get(&location).await;
    guest.assert_failed(result, "destination-ip-prohibited");
    assert_eq!(inside.accepted(), 0);
}

#[tokio::test]
async fn this_hosts_own_listeners_are_refused_even_on_a_connection_made_before() {
    let server = Server::http(|_| async { http::Response::new(Default::default()) }).await;
    let egress = egress(&["127.0.0.1"]);
    let mut guest = Guest::new(&egress);
    guest.get(&server.url("/")).await.unwrap();
    egress.refuse_listeners(vec![SocketAddr::from(([0, 0, 0, 0], server.address.port()))]);
    let result = guest.get(&server.url("/")).await;
    guest.assert_failed(result, "destination-ip-prohibited");
    assert_eq!(
        egress.counters().refused().find(|(word, _)| *word == "own-listener"),
        Some(("own-listener", 1))
    );
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn lookups_that_fail_say_how() {
    struct Silent;
    impl Resolve for Silent {
        fn resolve<'a>(&'a self, _: &'a str, _: Sources) -> BoxFuture<'a, Answer> {
            Box::pin(std::future::pending())
        }
    }
    let dns = FakeDns::default()
        .answer("gone.example", Err(Code::DnsError))
        .answer("slow.example", Err(Code::DnsTimeout));
    let mut guest = Guest::new(&egress_with(&[], dns, |_| {}));
    let result = guest.get("http://gone.example/").await;
    guest.assert_failed(result, "dns-error");
    let result = guest.get("http://slow.example/").await;
    guest.assert_failed(result, "dns-timeout");

    let mut guest = Guest::new(&egress_with(&[], Silent, |config| config.connect_timeout_ms = 30));
    let result = soon(guest.get("http://silent.example/")).await;
    guest.assert_failed(result, "dns-timeout");
}

#[tokio::test]
async fn nobody_listening_is_refused_and_nobody_answering_times_out() {
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed_at = closed.local_addr().unwrap();
    let mut guest = Guest::new(&egress(&["127.0.0.1"]));
    let result = guest.get(&url(closed_at, "/")).await;
    guest.assert_failed(result, "connection-refused");

    // A listener whose queue is full drops further attempts.
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let full_at = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    let pause = std::time::Duration::from_millis(200);
    while let Ok(stream) = tokio::time::timeout(pause, tokio::net::TcpStream::connect(full_at)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100);
    }
    let hosts = egress_with(&["127.0.0.1"], FakeDns::default(), |config| config.connect_timeout_ms = 50);
    let mut guest = Guest::new(&hosts);
    let result = soon(guest.get(&url(full_at, "/"))).await;
    guest.assert_failed(result, "connection-timeout");
    let mut guest = Guest::new(&egress(&["127.0.0.1"]));
    guest.options.connect_timeout = Some(pause / 4);
    let result = soon(guest.get(&url(full_at, "/"))).await;
    guest.assert_failed(result, "connection-timeout");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails_or_is_silent() {
    let server = Server::script(OK).await;
    let port = server.address.port();
    let dns = FakeDns::default().answer("api.example", Ok(&["127.0.0.9", "127.0.0.8", "127.0.0.1"]));
    let egress = egress_with(&[&format!("api.example:{port}")], dns, |_| {});
    let mut guest = Guest::new(&egress);
    assert_eq!(guest.get(&format!("http://api.example:{port}/")).await.unwrap().body(), "ok");
}

#[test]
fn a_malformed_entry_is_named() {
    let mut config = Config::defaults().egress;
    config.allow_private = vec!["10.0.0.0/8".to_owned()];
    let dns: Arc<dyn Resolve> = Arc::new(FakeDns::default());
    let Err(error) = Egress::with_resolver(&config, dns) else { panic!("it is accepted") };
    assert!(matches!(error, EgressError::AllowEntry { .. }));
    let message =
        r#"the entry "10.0.0.0/8" of egress.allow_private must be one address, ranges are not accepted"#;
    assert_eq!(error.to_string(), message);
}
