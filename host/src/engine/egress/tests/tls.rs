use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio::sync::Barrier;

use super::server::{Reply, Server};
use super::{FakeDns, Guest, channel, egress_with, request, soon};
use crate::engine::egress::Egress;
use crate::workflow::WorkflowId;

/// A certificate authority of the test's own.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) file: NamedTempFile,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// A server's side, for these names or addresses.
    pub(super) fn server(&self, names: &[&str], protocols: &[&str]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// An egress that trusts it and may reach the server as `api.example`.
    pub(super) fn egress(&self, server: &Server) -> Arc<Egress> {
        self.egress_with(server, 5000)
    }

    fn egress_with(&self, server: &Server, tls_timeout_ms: u64) -> Arc<Egress> {
        let dns = FakeDns::default().answer("api.example", Ok(&["127.0.0.1"]));
        let ca_file = self.file.path().to_str().unwrap().to_owned();
        egress_with(&[&server.entry()], dns, |config| {
            config.ca_file = ca_file;
            config.tls_timeout_ms = tls_timeout_ms;
        })
    }
}

pub(super) fn url(server: &Server, path: &str) -> String {
    format!("https://api.example:{}{path}", server.address.port())
}

fn version(version: Version) -> Reply {
    let text = Bytes::from(format!("{version:?}"));
    Response::new(Full::new(text).map_err(|never| match never {}).boxed_unsync())
}

#[tokio::test]
async fn the_protocol_is_the_one_that_the_server_chooses() {
    let authority = Authority::new();
    for (protocols, spoken) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0"),
        (&["http/1.1"][..], "HTTP/1.1"),
        (&["h2"][..], "HTTP/2.0"),
        (&[][..], "HTTP/1.1"),
    ] {
        let config = authority.server(&["api.example"], protocols);
        let server = Server::https(config, |request| async move { version(request.version()) }).await;
        let mut guest = Guest::new(&authority.egress(&server));
        assert_eq!(guest.get(&url(&server, "/")).await.unwrap().body(), spoken);
        assert_eq!((guest.last().status, guest.last().error), (Some(200), None));
    }
}

#[tokio::test]
async fn http2_carries_the_request_and_streams_both_ways() {
    let authority = Authority::new();
    let config = authority.server(&["api.example"], &["h2"]);
    let server = Server::https(config, |request| async move {
        let seen = format!("{} {} {:?}", request.method(), request.uri(), request.headers().get("host"));
        let mut response = Response::new(request.into_body().map_err(Into::into).boxed_unsync());
        response.headers_mut().insert("x-seen", seen.parse().unwrap());
        response
    })
    .await;
    let mut guest = Guest::new(&authority.egress(&server));
    let (mut pieces, body) = channel();
    let request = Request::put(url(&server, "/a?b=c")).header("connection", "x").body(body).unwrap();
    let mut response = guest.send(request).await.unwrap();
    assert_eq!(response.headers()["x-seen"], format!("PUT {} None", url(&server, "/a?b=c")));
    for piece in ["first", "second"] {
        pieces.send(Ok(Bytes::from(piece))).await.unwrap();
        let frame = soon(response.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(pieces);
    assert!(soon(response.body_mut().frame()).await.is_none());
    assert_eq!((guest.last().request_bytes, guest.last().response_bytes), (11, 11));
}

#[tokio::test]
async fn one_http2_connection_serves_many_requests_and_later_runs() {
    let authority = Authority::new();
    let together = Arc::new(Barrier::new(8));
    let server = Server::https(authority.server(&["api.example"], &["h2"]), move |request| {
        let together = together.clone();
        async move {
            if request.uri().path() == "/together" {
                together.wait().await;
            }
            version(request.version())
        }
    })
    .await;
    let egress = authority.egress(&server);
    let workflow = WorkflowId::new();
    Guest::of(&egress, workflow).get(&url(&server, "/")).await.unwrap();
    let mut guest = Guest::of(&egress, workflow);
    let all = (0..8).map(|_| guest.begin(request("GET", &url(&server, "/together"), "")));
    for response in soon(futures::future::join_all(all)).await {
        super::whole(response.unwrap()).await.unwrap();
    }
    assert_eq!(server.accepted(), 1);
    Guest::of(&egress, WorkflowId::new()).get(&url(&server, "/")).await.unwrap();
    assert_eq!(server.accepted(), 2);
    soon(egress.close()).await;
}

#[tokio::test]
async fn certificates_for_others_or_by_strangers_are_refused() {
    let (ours, strangers) = (Authority::new(), Authority::new());
    for (config, is_good) in [
        (ours.server(&["api.example"], &[]), true),
        (ours.server(&["other.example"], &[]), false),
        (ours.server(&["127.0.0.1"], &[]), false),
        (strangers.server(&["api.example"], &[]), false),
    ] {
        let server = Server::https(config, |request| async move { version(request.version()) }).await;
        let mut guest = Guest::new(&ours.egress(&server));
        let result = guest.get(&url(&server, "/")).await;
        assert_eq!(result.is_ok(), is_good);
        if !is_good {
            guest.assert_failed(result, "tls-certificate-error");
        }
    }
}

#[tokio::test]
async fn a_certificate_for_an_address_serves_its_literal() {
    let authority = Authority::new();
    let config = authority.server(&["127.0.0.1"], &["h2"]);
    let server = Server::https(config, |request| async move { version(request.version()) }).await;
    let mut guest = Guest::new(&authority.egress(&server));
    guest.get(&format!("https://{}/", server.address)).await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_or_that_hangs_up_is_told_apart() {
    let authority = Authority::new();
    let plain = Server::script("HTTP/1.1 200 OK\r\n\r\n").await;
    let mut guest = Guest::new(&authority.egress_with(&plain, 100));
    let result = soon(guest.get(&url(&plain, "/"))).await;
    guest.assert_failed(result, "connection-timeout");

    let talking = Server::raw(|_, mut stream| async move {
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example ESMTP\r\n").await.unwrap();
        super::server::drain(&mut stream).await;
    })
    .await;
    let mut guest = Guest::new(&authority.egress(&talking));
    let result = soon(guest.get(&url(&talking, "/"))).await;
    guest.assert_failed(result, "tls-protocol-error");

    let alert = Server::raw(|_, mut stream| async move {
        // A fatal alert: handshake_failure.
        tokio::io::AsyncWriteExt::write_all(&mut stream, &[21, 3, 3, 0, 2, 2, 40]).await.unwrap();
        super::server::drain(&mut stream).await;
    })
    .await;
    let mut guest = Guest::new(&authority.egress(&alert));
    let result = soon(guest.get(&url(&alert, "/"))).await;
    guest.assert_failed(result, "tls-alert-received");

    let silent = Server::silent().await;
    let mut guest = Guest::new(&authority.egress_with(&silent, 100));
    let result = soon(guest.get(&url(&silent, "/"))).await;
    guest.assert_failed(result, "connection-timeout");
}

#[tokio::test]
async fn http2_failures_have_the_same_words() {
    let authority = Authority::new();
    let server = Server::https(authority.server(&["api.example"], &["h2"]), |request| async move {
        let mut response = version(request.version());
        match request.uri().path() {
            "/large-head" => {
                for index in 0..20 {
                    let name: http::HeaderName = format!("x-{index}").parse().unwrap();
                    response.headers_mut().insert(name, "y".repeat(5000).parse().unwrap());
                }
            }
            "/huge-head" => {
                for index in 0..20 {
                    let name: http::HeaderName = format!("x-{index}").parse().unwrap();
                    response.headers_mut().insert(name, "y".repeat(16_000).parse().unwrap());
                }
            }
            "/many-headers" => {
                for index in 0..120 {
                    let name: http::HeaderName = format!("x-{index}").parse().unwrap();
                    response.headers_mut().insert(name, "y".parse().unwrap());
                }
            }
            "/stall" => std::future::pending().await,
            "/reset" => {
                let pieces = [Ok(http_body::Frame::data(Bytes::from("hel"))), Err("broken".into())];
                *response.body_mut() = StreamBody::new(futures::stream::iter(pieces)).boxed_unsync();
            }
            _ => {}
        }
        response
    })
    .await;
    let egress = authority.egress(&server);
    let mut guest = Guest::new(&egress);
    for (path, word) in [
        ("/large-head", "http-response-header-section-size"),
        ("/huge-head", "http-protocol-error"),
        ("/many-headers", "http-response-header-section-size"),
        ("/stall", "connection-read-timeout"),
        ("/reset", "connection-terminated"),
    ] {
        let patience = if path == "/stall" { Duration::from_millis(100) } else { Duration::from_secs(10) };
        guest.options.first_byte_timeout = Some(patience);
        let result = soon(guest.get(&url(&server, path))).await;
        guest.assert_failed_by(result, word, path);
        guest.options.first_byte_timeout = None;
        // What failed does not stand in the way of the next one: its connection may be dead.
        let accepted = server.accepted();
        guest.get(&url(&server, "/")).await.unwrap();
        assert_eq!(server.accepted(), accepted + 1, "{path}");
    }
    soon(egress.close()).await;
}
