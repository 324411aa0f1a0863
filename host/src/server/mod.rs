//! The front door: connections, the catch endpoints and the management API.
//!
//! One thread accepts from one or two listeners, and answers the probes; the workers serve
//! everything else. A request goes from here to [`catch`] or
//! to [`api`]; both tell errors by the table in [`reply`]. Nothing here runs a workflow:
//! that is [`crate::invoker`]'s, so a client that hangs up does not cut a run.

mod accept;
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
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::callers::Callers;
use self::connection::Limits;
use crate::app::App;
use crate::rate::Rate;

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
///
/// # Errors
/// The thread that accepts connections does not run.
pub async fn serve(app: Arc<App>, listeners: Listeners, shutdown: CancellationToken) -> io::Result<()> {
    let front = Front::new(app, listeners.catch.is_none(), shutdown);
    accept::serve(Arc::new(front), listeners).await
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
}

/// hyper's services have an error; ours answer instead.
type Answered<B> = Result<hyper::Response<B>, Infallible>;
