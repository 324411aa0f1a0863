//! From checked addresses to an open connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Http1, Http2};
use super::error::{Code, Failure};
use super::pool::{Key, Pool};
use super::target::{Host, Target};

/// How long one address may be silent before the next one is tried beside it
/// (RFC 8305, 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// What one HTTP/2 stream, and all streams of a connection, may send ahead of the guest's
/// reading. hyper's defaults (2 and 5 MiB) are made for browsers.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// hyper takes no smaller buffer.
const BUFFER_BYTES_MIN: usize = 8192;

/// The limits of making a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectLimits {
    pub(super) connect: Duration,
    pub(super) tls: Duration,
}

/// Opens connections, no more at a time than the host may have.
pub(super) struct Connector {
    tls: TlsConnector,
    limits: ConnectLimits,
    permits: Arc<Semaphore>,
    http1: http1::Builder,
    http2: http2::Builder<Tracked>,
}

/// Runs what hyper spawns for an HTTP/2 connection among the pool's tasks.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tracked {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

impl Connector {
    pub(super) fn new(
        tls: Arc<rustls::ClientConfig>,
        limits: ConnectLimits,
        connections_max: usize,
        head_bytes_max: usize,
        tasks: TaskTracker,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1.max_header_size(head_bytes_max).max_buf_size(head_bytes_max.max(BUFFER_BYTES_MIN));
        let mut http2 = http2::Builder::new(Tracked(tasks));
        http2
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            // What is over it looks like a violation of the protocol: what is only over the
            // cap is let in, and then told apart.
            .max_header_list_size(u32::try_from(head_bytes_max.saturating_mul(2)).unwrap_or(u32::MAX));
        let permits = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        Self { tls: TlsConnector::from(tls), limits, permits, http1, http2 }
    }

    /// Opens a connection to one of these addresses, which were checked. HTTP/2 is spoken
    /// where the server chooses it in the TLS handshake.
    ///
    /// # Errors
    /// No connection in time, or none at all.
    pub(super) async fn connect(
        &self,
        target: &Target,
        addresses: &[SocketAddr],
        pool: &Arc<Pool>,
        key: &Key,
    ) -> Result<Connection, Failure> {
        let permit = self.permit(pool).await?;
        let dialled = timeout(self.limits.connect, dial(addresses)).await;
        let (stream, address) = dialled
            .map_err(|_| Failure::from(Code::ConnectionTimeout))?
            .map_err(|error| Failure::of_connect(&error))?;
        // Small requests must not wait for the acknowledgement of earlier ones. A socket
        // that refuses the option is about to fail anyway.
        let _ = stream.set_nodelay(true);
        if !target.is_tls {
            return self.http1(Socket { io: stream, _permit: permit }, address, pool).await;
        }
        let handshake = self.tls.connect(server_name(&target.host)?, stream);
        let stream = timeout(self.limits.tls, handshake)
            .await
            .map_err(|_| Failure::from(Code::ConnectionTimeout))?
            .map_err(|error| Failure::of_handshake(&error))?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let socket = Socket { io: stream, _permit: permit };
        if is_http2 {
            self.http2(socket, address, pool, key).await
        } else {
            self.http1(socket, address, pool).await
        }
    }

    /// A place among the host's connections; one that only waits is closed for it.
    async fn permit(&self, pool: &Pool) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        pool.evict();
        match timeout(self.limits.connect, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Code::ConnectionLimitReached.into()),
        }
    }

    async fn http1<T>(
        &self,
        socket: Socket<T>,
        address: SocketAddr,
        pool: &Pool,
    ) -> Result<Connection, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = self.http1.handshake(TokioIo::new(socket)).await;
        let (sender, connection) = handshake.map_err(|error| Failure::of_hyper(&error))?;
        let driver = pool.tasks.spawn(async move {
            // The exchange that it belongs to gets the error too.
            let _ = connection.await;
        });
        Ok(Connection::Http1(Http1 { sender, address, driver: driver.abort_handle() }))
    }

    async fn http2<T>(
        &self,
        socket: Socket<T>,
        address: SocketAddr,
        pool: &Arc<Pool>,
        key: &Key,
    ) -> Result<Connection, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = self.http2.handshake(TokioIo::new(socket)).await;
        let (sender, connection) = handshake.map_err(|error| Failure::of_hyper(&error))?;
        pool.tasks.spawn(async move {
            let _ = connection.await;
        });
        let connection = Arc::new(Http2::new(sender, address));
        let stream = connection.open_stream().expect("a new connection has no streams");
        pool.share(key.clone(), connection);
        Ok(Connection::Http2(stream))
    }
}

/// Connects to the first of these addresses that answers.
async fn dial(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = addresses.iter().take(ADDRESSES_MAX).copied();
    let mut attempts = FuturesUnordered::new();
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => {
                attempts.push(async move { Ok((TcpStream::connect(address).await?, address)) });
            }
            None if attempts.is_empty() => return Err(last_error),
            None => {}
        }
        let next_address = async {
            if waiting.len() == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(NEXT_ADDRESS_AFTER).await;
        };
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(connected) => return Ok(connected),
                Err(error) => last_error = error,
            },
            () = next_address => {}
        }
    }
}

/// The name that the server's certificate must be for.
fn server_name(host: &Host) -> Result<ServerName<'static>, Failure> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => {
            ServerName::try_from(name.to_string()).map_err(|_| Code::HttpRequestUriInvalid.into())
        }
    }
}

/// A socket that gives its place among the host's connections back when it is closed.
struct Socket<T> {
    io: T,
    _permit: OwnedSemaphorePermit,
}

impl<T: AsyncRead + Unpin> AsyncRead for Socket<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Socket<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
