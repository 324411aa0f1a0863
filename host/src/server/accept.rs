//! The thread that accepts connections and answers the probes, and polls no guest: what
//! guests do with the workers, it says that the host is alive.
//!
//! It looks at the first bytes of each connection. One that asks for a probe is served
//! here; any other is handed to the workers, once for all of its requests. The first
//! request that is no probe takes a connection that is served here to the workers too.

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::callers::Place;
use super::{Front, Listeners, Serves, connection, descriptors};
use crate::telemetry::OpenConnection;

/// The first wait after accepting failed for want of descriptors or memory.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// The longest such wait.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How requests begin that this thread answers. Any other way to ask for a probe is the
/// workers' to understand.
const PROBES: [&[u8]; 4] = [b"GET /healthz", b"GET /readyz", b"HEAD /healthz", b"HEAD /readyz"];
/// The longest of them and the byte behind it.
const PROBE_BYTES: usize = 14;

/// A connection that was accepted, and is not served yet.
pub(super) struct Visitor {
    pub(super) socket: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) serves: Serves,
    pub(super) connected_at: Instant,
    held: Held,
}

/// What a connection holds to its end.
struct Held {
    _permit: OwnedSemaphorePermit,
    _place: Option<Place>,
    _open: OpenConnection,
}

/// Whether a connection may stay on this thread.
#[derive(Debug, Default)]
pub(super) struct Stay {
    is_over: AtomicBool,
    is_left: AtomicBool,
}

/// A connection that is served.
type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What becomes of a connection next.
enum Next {
    /// It has ended.
    Ended,
    /// The workers are to serve it.
    HandOver(Visitor),
    /// The workers are to go on with it.
    Move(Connection, Arc<Stay>),
}

/// All connections.
struct Door {
    front: Arc<Front>,
    workers: Handle,
    permits: Arc<Semaphore>,
    connections: JoinSet<Next>,
}

/// Starts the thread, and waits for its end: until the front drains, and the last connection
/// has ended, or was cut. Dropping the future cuts everything at once.
///
/// # Errors
/// The thread cannot be started, or not watch the listeners.
pub(super) async fn serve(front: Arc<Front>, listeners: Listeners) -> io::Result<()> {
    let workers = Handle::current();
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    let (sender, ended) = oneshot::channel();
    let serving = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let all = cut.run_until_cancelled(run(front, listeners, workers));
        runtime.block_on(all).unwrap_or(Ok(()))
    };
    std::thread::Builder::new().name("accept".to_owned()).spawn(move || {
        // Nobody waits for it any more when this fails.
        let _ = sender.send(serving());
    })?;
    ended.await.unwrap_or_else(|_| Err(io::Error::other("the thread that accepts connections panicked")))
}

/// Accepts on this thread; what it hands over goes to `workers`.
async fn run(front: Arc<Front>, listeners: Listeners, workers: Handle) -> io::Result<()> {
    let moved = |listener: TcpListener| TcpListener::from_std(listener.into_std()?);
    let listeners = Listeners { api: moved(listeners.api)?, catch: listeners.catch.map(moved).transpose()? };
    let connections_max = descriptors::connections(front.app.config.server.connections_max);
    let permits = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let mut door = Door { front, workers, permits, connections: JoinSet::new() };
    door.accept_from(listeners).await;
    door.close().await;
    Ok(())
}

impl Door {
    /// Accepts until the host stops taking requests.
    async fn accept_from(&mut self, listeners: Listeners) {
        let draining = self.front.draining.clone();
        let mut backoff = BACKOFF_MIN;
        let mut resting_until = None;
        loop {
            // What was accepted goes on meanwhile.
            let accepting = async {
                if let Some(until) = resting_until {
                    tokio::time::sleep_until(until).await;
                }
                listeners.accept(&self.permits).await
            };
            tokio::select! {
                biased;
                () = draining.cancelled() => return,
                Some(next) = self.connections.join_next() => self.go_on(next),
                accepted = accepting => match accepted {
                    Ok((socket, peer, serves, permit)) => {
                        (backoff, resting_until) = (BACKOFF_MIN, None);
                        self.welcome(socket, peer, serves, permit);
                    }
                    Err(error) => {
                        let rest = self.accept_failed(&error, &mut backoff);
                        resting_until = Some(Instant::now() + rest);
                    }
                },
            }
        }
    }

    fn welcome(&mut self, socket: TcpStream, peer: SocketAddr, serves: Serves, permit: OwnedSemaphorePermit) {
        let front = self.front.clone();
        let Some(place) = front.callers.connect(peer) else {
            return turn_away(&front, socket);
        };
        let held = Held { _permit: permit, _place: place, _open: front.app.telemetry.connection_opened() };
        let visitor = Visitor { socket, peer, serves, connected_at: Instant::now(), held };
        self.connections.spawn(receive(front, visitor));
    }

    /// Does what is next for a connection.
    fn go_on(&mut self, next: Result<Next, JoinError>) {
        match next {
            Ok(Next::Ended) => {}
            Ok(Next::HandOver(visitor)) => self.hand_over(visitor),
            Ok(Next::Move(connection, stay)) => {
                stay.is_left.store(true, Ordering::Release);
                let ended = async {
                    connection.await;
                    Next::Ended
                };
                self.connections.spawn_on(ended, &self.workers);
            }
            // Requests are fenced one by one; this would be a panic between them.
            Err(error) if error.is_panic() => {
                self.front.app.telemetry.panicked();
                tracing::error!("a connection panicked");
            }
            Err(_) => {}
        }
    }

    fn hand_over(&mut self, visitor: Visitor) {
        let front = self.front.clone();
        let Visitor { socket, peer, serves, connected_at, held } = visitor;
        // It is the workers that its bytes shall wake.
        let socket = socket.into_std();
        let served = async move {
            match socket.and_then(TcpStream::from_std) {
                Ok(socket) => connection::serve(front, socket, peer, serves, connected_at, None).await,
                Err(error) => {
                    front.app.telemetry.connection_failed("accept");
                    tracing::warn!(%error, "a connection could not be handed over");
                }
            }
            drop(held);
            Next::Ended
        };
        self.connections.spawn_on(served, &self.workers);
    }

    /// How long the next accept has to wait: some time when this one failed for a reason that
    /// lasts.
    fn accept_failed(&self, error: &io::Error, backoff: &mut Duration) -> Duration {
        self.front.app.telemetry.connection_failed("accept");
        if is_of_one_connection(error) {
            return Duration::ZERO;
        }
        tracing::warn!(%error, "accepting connections failed");
        let rest = *backoff;
        *backoff = (rest * 2).min(BACKOFF_MAX);
        rest
    }

    /// Lets connections end in the time that there is for it, and cuts the others.
    async fn close(mut self) {
        let drain = Duration::from_millis(self.front.app.config.server.drain_ms);
        let deadline = Instant::now() + drain;
        while let Ok(Some(next)) = tokio::time::timeout_at(deadline, self.connections.join_next()).await {
            self.go_on(next);
        }
        if !self.connections.is_empty() {
            let connections = self.connections.len();
            tracing::warn!(connections, "connections were cut: they did not end in time");
        }
        self.connections.shutdown().await;
        // Without their connections these end at once.
        self.front.linger.close();
        self.front.linger.wait().await;
        // These wait for the disk at most; where it takes nothing, they are for the next start.
        let changes = &self.front.changes;
        changes.close();
        if tokio::time::timeout(drain, changes.wait()).await.is_err() {
            tracing::warn!(changes = changes.len(), "changes were cut: they did not end in time");
        }
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

impl Stay {
    /// Has the connection driven by the workers: ready once it is.
    pub(super) async fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        // Nobody has to be woken: who takes the connection over polls it.
        poll_fn(|_| if self.is_left.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Drives a connection on this thread to its end, or until it is to leave.
    async fn drive(stay: Arc<Stay>, mut connection: Connection) -> Next {
        let is_to_leave = poll_fn(|context| match connection.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(false),
            Poll::Pending if stay.is_over.load(Ordering::Acquire) => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        });
        if is_to_leave.await { Next::Move(connection, stay) } else { Next::Ended }
    }
}

/// Decides who serves a connection, and serves it when that is this thread.
async fn receive(front: Arc<Front>, visitor: Visitor) -> Next {
    if !asks_for_probe(&front, &visitor).await {
        return Next::HandOver(visitor);
    }
    let Visitor { socket, peer, serves, connected_at, held } = visitor;
    let stay = Arc::new(Stay::default());
    let own = stay.clone();
    let connection = Box::pin(async move {
        connection::serve(front, socket, peer, serves, connected_at, Some(own)).await;
        drop(held);
    });
    Stay::drive(stay, connection).await
}

/// Whether the first bytes of a connection ask for a probe. Where none come in time, or none
/// any more, the workers see the same, and do what there is to do.
async fn asks_for_probe(front: &Front, visitor: &Visitor) -> bool {
    let mut first = [0; PROBE_BYTES];
    let until = visitor.connected_at + front.limits.head_time();
    tokio::select! {
        biased;
        peeked = tokio::time::timeout_at(until, visitor.socket.peek(&mut first)) => {
            matches!(peeked, Ok(Ok(bytes)) if is_probe(&first[..bytes]))
        }
        () = front.draining.cancelled() => false,
    }
}

/// Whether a request that begins with these bytes asks for a probe.
fn is_probe(first: &[u8]) -> bool {
    PROBES.iter().any(|probe| matches!(first.strip_prefix(*probe), Some([b' ' | b'?', ..])))
}

/// Closes a connection of an address that has too many. It is told why, as far as that
/// can be done without waiting for it.
fn turn_away(front: &Front, socket: TcpStream) {
    let answer = connection::too_many(front);
    // An empty buffer has room for it; a client that is gone does not miss it.
    let _ = socket.into_std().and_then(|mut socket| socket.write(&answer));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_requests_for_the_probes_are_for_this_thread() {
        for mine in ["GET /healthz HTTP/1.1", "GET /readyz HTTP/1.0", "HEAD /healthz?a", "HEAD /readyz "] {
            let bytes = &mine.as_bytes()[..mine.len().min(PROBE_BYTES)];
            assert!(is_probe(bytes), "{mine}");
        }
        for other in
            ["", "GET", "GET /healthz", "GET /healthzz ", "GET /healthz/", "POST /readyz ", " GET /readyz "]
        {
            assert!(!is_probe(other.as_bytes()), "{other:?}");
        }
    }
}
