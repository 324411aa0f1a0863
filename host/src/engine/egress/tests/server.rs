//! Servers to be a guest of.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Reply = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// A server on this machine, and what it has seen.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Hands each connection, counted from 0, to `serve`.
    pub(super) async fn raw<F, S>(serve: S) -> Self
    where
        S: Fn(usize, TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::raw_at("127.0.0.1:0", serve).await
    }

    pub(super) async fn raw_at<F, S>(address: &str, serve: S) -> Self
    where
        S: Fn(usize, TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            // The connections end with the server.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(count.fetch_add(1, Ordering::SeqCst), stream));
            }
        });
        Self { address, accepted, task }
    }

    /// Speaks HTTP/1.
    pub(super) async fn http<F, S>(service: S) -> Self
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        Self::raw(move |_, stream| {
            let service = service.clone();
            async move {
                let service = service_fn(move |request| {
                    let reply = service(request);
                    async move { Ok::<_, Infallible>(reply.await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            }
        })
        .await
    }

    /// Speaks TLS, and in it what both sides chose.
    pub(super) async fn https<F, S>(config: Arc<rustls::ServerConfig>, service: S) -> Self
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let acceptor = TlsAcceptor::from(config);
        Self::raw(move |_, stream| {
            let (service, acceptor) = (service.clone(), acceptor.clone());
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| {
                    let reply = service(request);
                    async move { Ok::<_, Infallible>(reply.await) }
                });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await
    }

    /// Answers each request with the same bytes, whatever they are, and closes the
    /// connection.
    pub(super) async fn script(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::raw(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                read_head(&mut stream).await;
                // The client may hang up before it has heard it all.
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0; 1]).await;
            }
        })
        .await
    }

    /// Accepts and says nothing.
    pub(super) async fn silent() -> Self {
        Self::raw(|_, mut stream| async move { drain(&mut stream).await }).await
    }

    /// Connections so far.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(super) fn url(&self, path: &str) -> String {
        super::url(self.address, path)
    }

    /// The entry of `allow_private` that opens it.
    pub(super) fn entry(&self) -> String {
        self.address.to_string()
    }
}

/// The bytes up to the end of a request's head; empty when the client has closed.
pub(super) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Reads until the client closes or resets the connection.
pub(super) async fn drain(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}
