//! Runs that somebody stops, and events that are taken out of the queue.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Queue, handed, no_input};
use crate::invoker::Cancelled;
use crate::run::{Fault, FaultKind, RunId, Status};
use crate::store::{EventEnd, EventInput, Leased, QueueEntry, Settlement, StoreError};

/// How long, and how often, somebody who cancels waits for a leased event to begin. One that
/// does not was left behind by a host that ended, or by a store that failed.
const LAUNCH_WAIT: Duration = Duration::from_millis(10);
const LAUNCH_WAITS_MAX: u32 = 100;

impl Queue {
    /// Stops a run, or takes an event that waits out of the queue, and returns when its
    /// end is on record, with the id of the run that was cancelled. `None` when nothing
    /// with this id waits or runs.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn cancel(self: &Arc<Self>, id: RunId) -> Result<Option<RunId>, StoreError> {
        let Some(event) = self.store.event(id).await?.map(|entry| entry.event.id) else {
            return Ok(self.stop(id).await);
        };
        let (mut stopped, mut waits) = (None, 0);
        loop {
            let this = self.clone();
            let taken = self.unless_lost(async move {
                let Some(Leased { entry, input }) = this.store.take(event).await? else { return Ok(None) };
                this.give_up(&entry, input).await;
                Ok(Some(entry.run))
            });
            if let Some(run) = taken.await? {
                return Ok(Some(run));
            }
            let entry = self.store.event(event).await?;
            let Some(entry) = entry.filter(|entry| entry.end().is_none()) else { return Ok(stopped) };
            if self.flights.cancel(entry.run).await {
                // It may have failed by itself at the last moment, and wait again.
                stopped = Some(entry.run);
            } else if let Some(run) = self.stop(entry.run).await {
                return Ok(Some(run));
            } else if entry.event.is_direct || waits == LAUNCH_WAITS_MAX {
                return Ok(stopped);
            } else {
                // It was leased this moment, and is about to begin.
                waits += 1;
                tokio::time::sleep(LAUNCH_WAIT).await;
            }
        }
    }

    async fn stop(&self, run: RunId) -> Option<RunId> {
        match self.invoker.cancel(run).await {
            Cancelled::Ended => Some(run),
            Cancelled::NotRunning => None,
        }
    }

    /// Records an event that is cancelled before its attempt began.
    async fn give_up(&self, entry: &QueueEntry, input: EventInput) {
        if let Some(workflow) = self.registry.by_id(entry.event.workflow) {
            let invocation = self.attempt(entry, handed(input).unwrap_or_else(no_input));
            let fault = Fault::new(FaultKind::Cancelled, "it was taken out of the queue");
            let run = self.invoker.record_unrun(&workflow, &invocation, Status::Cancelled, fault).await;
            if !self.record_unless_kept(&run).await {
                return;
            }
        }
        let end = EventEnd {
            status: Status::Cancelled,
            fault: Some(FaultKind::Cancelled),
            at: Timestamp::now(),
            is_dead: false,
        };
        self.settle(entry, Settlement::End(end)).await;
    }
}
