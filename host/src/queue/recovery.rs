//! What an abrupt end of the host left behind.

use std::error::Error;

use super::settling::Began;
use super::{Queue, handed, no_input};
use crate::run::{Fault, FaultKind, Run, Status};
use crate::store::{Leased, Settlement, StoreError};

impl Queue {
    /// Gives every event that was leased when the host ended the one end that its record
    /// says, or records its attempt as interrupted.
    pub(super) async fn recover(&self) {
        let orphans = match self.store.orphans().await {
            Ok(orphans) => orphans,
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "events of an earlier run cannot be read");
                return;
            }
        };
        if !orphans.is_empty() {
            tracing::warn!(events = orphans.len(), "events were running when the host ended");
        }
        for orphan in orphans {
            let id = orphan.entry.event.id;
            if let Err(error) = self.recover_one(orphan).await {
                tracing::error!(event = %id, error = &error as &dyn Error, "an event could not be recovered");
            }
        }
    }

    async fn recover_one(&self, orphan: Leased) -> Result<(), StoreError> {
        let Leased { entry, input } = orphan;
        let Some(workflow) = self.registry.by_id(entry.event.workflow) else {
            self.settle(&entry, Settlement::Forget).await;
            return Ok(());
        };
        // The record is written before the event is settled: it may be there.
        let (run, began) = match self.store.run(entry.run).await? {
            Some(run) => {
                let began = began(&run);
                (std::sync::Arc::new(run), began)
            }
            None => {
                let invocation = self.attempt(&entry, handed(input).unwrap_or_else(no_input));
                let fault = Fault::new(FaultKind::Interrupted, "the host ended before the run did");
                let run = self.invoker.record_unrun(&workflow, &invocation, Status::Interrupted, fault).await;
                if !self.record_unless_kept(&run).await {
                    return Ok(());
                }
                (run, Began::Perhaps)
            }
        };
        if entry.event.is_direct {
            self.settle_call_as(&workflow, &entry, &run, began).await;
        } else {
            self.settle_run(&workflow, &entry, &run, began).await;
        }
        Ok(())
    }
}

/// Whether the run of this record began. A recovery that was itself cut before it settled the
/// event wrote an interrupted record without having seen the run: only other records are
/// certain to be of a host that was there.
fn began(run: &Run) -> Began {
    match run.status {
        Status::Interrupted => Began::Perhaps,
        Status::Queued | Status::Running | Status::Succeeded | Status::Failed | Status::Cancelled => {
            Began::AsRecorded
        }
    }
}
