//! The front door: connections, the catch endpoints and the management API.
//!
//! One accept loop serves one or two listeners. A request goes from here to [`catch`] or
//! to [`api`]; both tell errors by the table in [`reply`]. Nothing here runs a workflow:
//! that is [`crate::invoker`]'s, so a client that hangs up does not cut a run.

mod api;
mod body;
mod callers;
mod catch;
mod connection;
mod console;
mod cors;
mod descriptors;
mod framing;
mod head;
mod headers;
pub mod inherited;
pub(crate) mod local;
mod payload;
mod queued;
mod reply;
mod request_id;
mod signature;
mod unsent;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::callers::Callers;
use self::connection::Limits;
use crate::app::App;
use crate::rate::Rate;

/// The first wait after accepting failed for want of descriptors or memory.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// The longest such wait.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Where requests come in.
#[derive(Debug)]
pub struct Listeners {
    /// The management API, and the catch endpoints when they have no listener of their
    /// own.
    pub api: TcpListener,
    /// The catch endpoints alone.
    pub catch: Option<TcpListener>,
}

/// What a listener answers, beside the probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    All,
    Api,
    Catch,
}

/// What all connections share.
struct Front {
    app: Arc<App>,
    router: axum::Router,
    limits: Limits,
    callers: Callers,
    /// How often one endpoint may be called.
    endpoint_rate: Option<Rate>,
    body_bytes_max: usize,
    body_timeout: Duration,
    /// Catch replies come from the console's origin.
    shares_origin: bool,
    /// Cancelled when the host stops taking requests.
    draining: CancellationToken,
    /// The rests of refused bodies that are being read.
    linger: TaskTracker,
    /// Changes by the API and the console, whose callers may be gone.
    changes: TaskTracker,
}

/// Serves until `shutdown` is cancelled. Then nothing is accepted any more, requests in flight
/// are answered, connections that stay idle are closed, and what is left after
/// `server.drain_ms` is cut. Dropping the future cuts everything at once.
///
/// Whoever calls it stops the scheduler first, and drains the invoker afterwards: runs
/// whose callers went away may still be going.
pub async fn serve(app: Arc<App>, listeners: Listeners, shutdown: CancellationToken) {
    let config = &app.config.server;
    let drain = Duration::from_millis(config.drain_ms);
    let connections_max = descriptors::connections(config.connections_max).min(Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(connections_max));
    let front = Arc::new(Front::new(app.clone(), listeners.catch.is_none(), shutdown.clone()));
    let mut connections = JoinSet::new();
    let mut backoff = BACKOFF_MIN;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => front.connection_ended(ended),
            accepted = listeners.accept(&permits) => match accepted {
                Ok((socket, peer, serves, permit)) => {
                    backoff = BACKOFF_MIN;
                    let Some(place) = front.callers.connect(peer) else {
                        connection::turn_away(&front, &socket);
                        continue;
                    };
                    let connection = connection::serve(front.clone(), socket, peer, serves);
                    connections.spawn(async move {
                        connection.await;
                        drop((permit, place));
                    });
                }
                Err(error) => front.accept_failed(&error, &mut backoff).await,
            },
        }
    }
    drop(listeners);
    let deadline = Instant::now() + drain;
    while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, connections.join_next()).await {
        front.connection_ended(ended);
    }
    if !connections.is_empty() {
        tracing::warn!(connections = connections.len(), "connections were cut: they did not end in time");
    }
    connections.shutdown().await;
    // Without their connections these end at once.
    front.linger.close();
    front.linger.wait().await;
    // These wait for the disk at most; where it takes nothing, they are for the next start.
    front.changes.close();
    if tokio::time::timeout(drain, front.changes.wait()).await.is_err() {
        tracing::warn!(changes = front.changes.len(), "changes were cut: they did not end in time");
    }
}

impl Listeners {
    /// The next connection, once there is a permit for it: without one, clients wait in
    /// the system's queue.
    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, SocketAddr, Serves, OwnedSemaphorePermit)> {
        let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        let Some(catch) = &self.catch else {
            let (socket, peer) = self.api.accept().await?;
            return Ok((socket, peer, Serves::All, permit));
        };
        tokio::select! {
            accepted = self.api.accept() => accepted.map(|(socket, peer)| (socket, peer, Serves::Api, permit)),
            accepted = catch.accept() => accepted.map(|(socket, peer)| (socket, peer, Serves::Catch, permit)),
        }
    }
}

impl Front {
    fn new(app: Arc<App>, shares_origin: bool, draining: CancellationToken) -> Self {
        let config = &app.config.server;
        let changes = TaskTracker::new();
        Self {
            router: api::router(app.clone(), draining.clone(), changes.clone()),
            changes,
            limits: Limits::new(config),
            callers: Callers::new(config),
            endpoint_rate: Rate::new(config.endpoint_rate_per_s_max, config.endpoint_burst_max),
            body_bytes_max: config.body_bytes_max,
            body_timeout: Duration::from_millis(config.body_timeout_ms),
            shares_origin,
            draining,
            linger: TaskTracker::new(),
            app,
        }
    }

    fn connection_ended(&self, ended: Result<(), JoinError>) {
        // Requests are fenced one by one; this would be a panic between them.
        if ended.is_err_and(|error| error.is_panic()) {
            self.app.telemetry.panicked();
            tracing::error!("a connection panicked");
        }
    }

    /// Waits before the next accept when this one failed for a reason that lasts.
    async fn accept_failed(&self, error: &io::Error, backoff: &mut Duration) {
        self.app.telemetry.connection_failed("accept");
        if is_of_one_connection(error) {
            return;
        }
        tracing::warn!(%error, "accepting connections failed");
        tokio::time::sleep(*backoff).await;
        *backoff = (*backoff * 2).min(BACKOFF_MAX);
    }
}

/// Whether the next accept may succeed at once: the client was gone before it was
/// accepted (accept(2) lists these).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

/// hyper's services have an error; ours answer instead.
type Answered<B> = Result<hyper::Response<B>, Infallible>;
