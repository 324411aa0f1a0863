//! Permits for a run, and the queue in front of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Invoker;
use crate::engine::Permit;
use crate::registry::Entry;
use crate::run::{Fault, FaultKind};

impl Invoker {
    /// Waits for the workflow's own permit and for a pool slot, within the queue's bounds.
    pub(super) async fn admit(
        &self,
        entry: &Entry,
        is_patient: bool,
    ) -> Result<(Permit, OwnedSemaphorePermit), Fault> {
        let (own, pool) = (entry.permits(), self.engine.permits());
        // The own permit first: a workflow at its limit must not hold slots while it waits.
        if let Ok(own) = own.clone().try_acquire_owned()
            && let Ok(pool) = pool.clone().try_acquire_owned()
        {
            return Ok((pool, own));
        }
        let engine = &self.config.engine;
        if is_patient {
            let own = acquire(own).await?;
            return Ok((acquire(pool).await?, own));
        }
        let waiting = Waiting::enter(&self.queued);
        if waiting.place > engine.queue_max {
            let message =
                format!("{} runs are waiting already, the limit is {}", waiting.place - 1, engine.queue_max);
            return Err(Fault::new(FaultKind::Overload, message));
        }
        let both = async {
            let own = acquire(own).await?;
            Ok((acquire(pool).await?, own))
        };
        let patience = Duration::from_millis(engine.queue_ms);
        tokio::time::timeout(patience, both).await.unwrap_or_else(|_| {
            let message = format!("no permit came free within {} ms", engine.queue_ms);
            Err(Fault::new(FaultKind::Overload, message))
        })
    }
}

async fn acquire(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    let permit = permits.clone().acquire_owned().await;
    permit.map_err(|_| Fault::new(FaultKind::Overload, "the host is shutting down"))
}

/// A place in the queue, given up when it is dropped.
struct Waiting<'a> {
    queued: &'a AtomicUsize,
    /// From 1.
    place: usize,
}

impl<'a> Waiting<'a> {
    fn enter(queued: &'a AtomicUsize) -> Self {
        Self { queued, place: queued.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}
