//! One open connection, and who uses it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::client::conn::{http1, http2};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::body::RequestBody;
use super::pool::{Key, Pool};

/// Streams on one HTTP/2 connection; for more, another one is opened. What RFC 9113,
/// 6.5.2, recommends servers to allow at least.
pub(super) const STREAMS_MAX: u32 = 100;

/// An HTTP/1 connection: for one exchange at a time. Dropped, it is closed.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) address: SocketAddr,
    pub(super) driver: AbortHandle,
}

impl Drop for Http1 {
    fn drop(&mut self) {
        // The sender alone would let the driver finish an upload that nobody waits for.
        self.driver.abort();
    }
}

/// An HTTP/2 connection: for many exchanges at a time. Closed when the last one of its
/// users is gone.
#[derive(Debug)]
pub(super) struct Http2 {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) address: SocketAddr,
    streams: AtomicU32,
    is_retired: AtomicBool,
    used_at: Mutex<Instant>,
}

impl Http2 {
    pub(super) fn new(sender: http2::SendRequest<RequestBody>, address: SocketAddr) -> Self {
        Self {
            sender,
            address,
            streams: AtomicU32::new(0),
            is_retired: AtomicBool::new(false),
            used_at: Mutex::new(Instant::now()),
        }
    }

    /// Whether no further exchange may begin on it.
    pub(super) fn is_over(&self) -> bool {
        self.sender.is_closed() || self.is_retired.load(Ordering::Relaxed)
    }

    /// Since when nobody has used it; `None` while somebody does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.streams.load(Ordering::Relaxed) == 0;
        is_idle.then(|| *self.used_at.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A place for one more exchange, if there is one.
    pub(super) fn open_stream(self: &Arc<Self>) -> Option<Stream> {
        let place = |streams| (streams < STREAMS_MAX).then_some(streams + 1);
        self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place).ok()?;
        Some(Stream(self.clone()))
    }
}

/// One exchange's place on an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Stream(Arc<Http2>);

impl Stream {
    pub(super) fn connection(&self) -> &Http2 {
        &self.0
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        *self.0.used_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection to send a request on.
#[derive(Debug)]
pub(super) enum Connection {
    Http1(Http1),
    Http2(Stream),
}

impl Connection {
    /// The address that it goes to.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Connection::Http1(connection) => connection.address,
            Connection::Http2(stream) => stream.connection().address,
        }
    }
}

/// A connection while a response's body comes in on it. Dropped, an HTTP/1 connection is
/// closed, and an HTTP/2 connection stays open for others.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) pool: Arc<Pool>,
    pub(super) key: Key,
}

impl Lease {
    /// The exchange is over and left the connection in order.
    pub(super) fn release(self) {
        match self.connection {
            Connection::Http1(connection) => self.pool.put(self.key, connection),
            Connection::Http2(stream) => drop(stream),
        }
    }

    /// The exchange failed: the connection may be dead, and is not used for others.
    pub(super) fn retire(self) {
        match self.connection {
            Connection::Http1(connection) => drop(connection),
            Connection::Http2(stream) => stream.connection().is_retired.store(true, Ordering::Relaxed),
        }
    }
}
