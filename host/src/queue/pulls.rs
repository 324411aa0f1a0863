//! Ticks whose run failed: further attempts are events of the queue.

use super::settling::{Began, settlement};
use super::{Queue, kept};
use crate::engine::Input;
use crate::registry::Entry;
use crate::run::{Run, Status};
use crate::store::{Event, QueueEntry, StoreError};

impl Queue {
    /// A pull's run ended: tries it again as its workflow's policy says, and returns when
    /// there is nothing more to try, or the host stops. The next ticks of its schedule are
    /// judged by then.
    pub async fn follow_up(&self, entry: &Entry, run: &Run, input: Input) {
        if !self.enqueue_failed(entry, run, input, Began::AsRecorded).await {
            return;
        }
        let is_over = self.flights.end_of(run.id);
        // It may be over already: nobody tells us then.
        let known = self.store.event(run.id).await;
        if matches!(known, Ok(Some(known)) if known.end().is_none()) {
            tokio::select! {
                () = is_over.cancelled() => {}
                () = self.stopping.cancelled() => {}
            }
        } else {
            self.flights.ended(run.id);
        }
    }

    /// The host ended before it was decided whether a pull's run is tried again: decides
    /// it now, once.
    pub async fn take_over(&self, entry: &Entry, run: &Run, input: Input) {
        // It may be in the queue already.
        if matches!(self.store.event(run.id).await, Ok(None)) {
            self.enqueue_failed(entry, run, input, Began::Perhaps).await;
        }
    }

    /// Puts a pull's run that failed into the queue, as an event whose first attempt was
    /// made. Returns whether it did.
    async fn enqueue_failed(&self, entry: &Entry, run: &Run, input: Input, began: Began) -> bool {
        let policy = &entry.workflow.retry;
        if policy.attempts <= 1 || !matches!(run.status, Status::Failed | Status::Interrupted) {
            return false;
        }
        let event = Event {
            id: run.id,
            workflow: run.workflow,
            trigger: run.trigger.clone(),
            accepted_at: run.accepted_at,
            version: None,
            key: None,
            callback: None,
            is_direct: false,
        };
        let leased = QueueEntry::leased(event);
        let enqueued = self.store.enqueue(leased.clone(), kept(input)).await;
        self.telemetry.queue.accepted(&enqueued);
        if let Err(error) = &enqueued {
            let error = error as &dyn std::error::Error;
            // The record says that it failed, and `tidegate_queue_events_total` why no attempt follows.
            match enqueued {
                Err(StoreError::QueueFull { .. } | StoreError::Full { .. }) => {
                    tracing::debug!(run = %run.id, error, "a run that failed cannot be tried again");
                }
                _ => tracing::error!(run = %run.id, error, "a run that failed cannot be tried again"),
            }
            return false;
        }
        let settlement = settlement(&leased, policy, run, began);
        self.settle(&leased, settlement).await;
        self.wake.notify_one();
        true
    }
}
