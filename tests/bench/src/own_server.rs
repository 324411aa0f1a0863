//! The accept loop of the servers that this program brings along.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// Serves until it is killed; says where on stdout.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve<F, S>(listen: SocketAddr, answer: F) -> anyhow::Result<()>
where
    F: Fn(Request<Incoming>) -> S + Copy + Send + 'static,
    S: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
{
    // As many workers as cores, like the peers.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        writeln!(std::io::stdout(), "serving on http://{}", listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new());
                // A client that goes away is no error here.
                let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    })
}
