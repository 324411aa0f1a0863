//! Connections that wait for their next request.
//!
//! They are kept for the whole process, so that a run finds the connections of the runs
//! before it, and apart by workflow: some servers sign in a connection, not a request,
//! and one workflow must not speak as another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Http1, Http2};
use super::target::{Host, Target};
use crate::workflow::WorkflowId;

/// How long a connection whose exchange has just ended may take to become free: the last
/// bytes of the request are still on their way out.
const FREE_WAIT: Duration = Duration::from_millis(100);

/// Connections that are the same to a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) workflow: WorkflowId,
    pub(super) is_tls: bool,
    pub(super) host: Host,
    pub(super) port: u16,
}

impl Key {
    pub(super) fn new(workflow: WorkflowId, target: &Target) -> Self {
        Self { workflow, is_tls: target.is_tls, host: target.host.clone(), port: target.port }
    }
}

/// The connections that wait.
#[derive(Debug)]
pub(super) struct Pool {
    idle_per_host_max: usize,
    idle_timeout: Duration,
    /// All tasks of the connections.
    pub(super) tasks: TaskTracker,
    /// Cancelled when the host ends.
    pub(super) closing: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<Key, Slot>,
    is_swept: bool,
}

#[derive(Debug, Default)]
struct Slot {
    /// The one used last at the end.
    http1: Vec<Idle>,
    http2: Vec<Arc<Http2>>,
}

#[derive(Debug)]
struct Idle {
    connection: Http1,
    since: Instant,
}

impl Pool {
    pub(super) fn new(idle_per_host_max: usize, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle_per_host_max,
            idle_timeout,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that can take a request now.
    pub(super) async fn take(&self, key: &Key) -> Option<Connection> {
        loop {
            match self.pop(key)? {
                Connection::Http1(mut connection) => {
                    // Not free in time: its server does not read. An error: it is closed.
                    let free = tokio::time::timeout(FREE_WAIT, connection.sender.ready()).await;
                    if matches!(free, Ok(Ok(()))) {
                        return Some(Connection::Http1(connection));
                    }
                }
                Connection::Http2(stream) => return Some(Connection::Http2(stream)),
            }
        }
    }

    fn pop(&self, key: &Key) -> Option<Connection> {
        let mut state = self.state();
        let slot = state.slots.get_mut(key)?;
        slot.http2.retain(|connection| !connection.is_over());
        if let Some(stream) = slot.http2.iter().find_map(Http2::open_stream) {
            return Some(Connection::Http2(stream));
        }
        while let Some(idle) = slot.http1.pop() {
            if !idle.connection.sender.is_closed() && idle.since.elapsed() < self.idle_timeout {
                return Some(Connection::Http1(idle.connection));
            }
        }
        None
    }

    /// Keeps an HTTP/1 connection for the next request, if there is room for it.
    pub(super) fn put(self: &Arc<Self>, key: Key, connection: Http1) {
        if connection.sender.is_closed() || self.closing.is_cancelled() {
            return;
        }
        let mut state = self.state();
        let idle = &mut state.slots.entry(key).or_default().http1;
        if idle.len() < self.idle_per_host_max {
            idle.push(Idle { connection, since: Instant::now() });
        }
        self.sweep_later(&mut state);
    }

    /// Shares an HTTP/2 connection that was just opened.
    pub(super) fn share(self: &Arc<Self>, key: Key, connection: Arc<Http2>) {
        if self.closing.is_cancelled() {
            return;
        }
        let mut state = self.state();
        state.slots.entry(key).or_default().http2.push(connection);
        self.sweep_later(&mut state);
    }

    /// Closes the connection that has waited longest; says whether there was one.
    pub(super) fn evict(&self) -> bool {
        let mut state = self.state();
        let waiting = state.slots.iter().filter_map(|(key, slot)| Some((slot.oldest()?, key.clone())));
        let Some((since, key)) = waiting.min_by_key(|(since, _)| *since) else { return false };
        if let Some(slot) = state.slots.get_mut(&key) {
            slot.drop_older(since);
        }
        true
    }

    /// Closes all that wait, and keeps none from now on.
    pub(super) fn close(&self) {
        self.closing.cancel();
        self.state().slots.clear();
    }

    /// Sees to it that connections which nobody asks for are closed in time.
    fn sweep_later(self: &Arc<Self>, state: &mut State) {
        if std::mem::replace(&mut state.is_swept, true) {
            return;
        }
        let pool = Arc::downgrade(self);
        let (closing, period) = (self.closing.clone(), self.idle_timeout);
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = closing.cancelled() => return,
                    () = tokio::time::sleep(period) => {}
                }
                let Some(pool) = pool.upgrade() else { return };
                if pool.sweep() {
                    return;
                }
            }
        });
    }

    /// Drops what has waited for too long; says whether nothing is left to sweep.
    fn sweep(&self) -> bool {
        let mut state = self.state();
        if let Some(oldest) = Instant::now().checked_sub(self.idle_timeout) {
            state.slots.retain(|_, slot| {
                slot.drop_older(oldest);
                !slot.http1.is_empty() || !slot.http2.is_empty()
            });
        }
        state.is_swept = !state.slots.is_empty();
        !state.is_swept
    }
}

impl Slot {
    fn oldest(&self) -> Option<Instant> {
        let http1 = self.http1.iter().map(|idle| idle.since);
        http1.chain(self.http2.iter().filter_map(|connection| connection.idle_since())).min()
    }

    /// Drops what is closed, and what has waited since `limit` or longer.
    fn drop_older(&mut self, limit: Instant) {
        self.http1.retain(|idle| idle.since > limit && !idle.connection.sender.is_closed());
        self.http2.retain(|connection| {
            let is_old = connection.idle_since().is_some_and(|since| since <= limit);
            !is_old && !connection.is_over()
        });
    }
}
