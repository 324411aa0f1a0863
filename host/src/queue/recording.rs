//! The record of an attempt when there is no room for it: the event waits.
//!
//! An event that ended without a record would be gone without a word: its accepted request,
//! and the reply that somebody is to fetch.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Queue;
use crate::run::{LogLine, Run};
use crate::store::{Durability, StoreError};

/// Time until a record that found no room is tried again.
const RETRY: Duration = Duration::from_millis(200);

impl Queue {
    /// Keeps a record that found no room before, once there is some. Without it, as when the
    /// host ends first, the attempt stays leased: the next start records it as interrupted.
    pub(super) async fn record_later(&self, run: &Arc<Run>, log: &Arc<[LogLine]>) -> bool {
        loop {
            match self.store.append_run(run.clone(), log.clone(), Durability::Durable).await {
                // Without its workflow nobody asks for it.
                Ok(()) | Err(StoreError::Missing { .. }) => return true,
                Err(StoreError::Full { .. }) => {}
                Err(error) => {
                    let error = &error as &dyn Error;
                    tracing::error!(run = %run.id, error, "an attempt could not be recorded");
                    return false;
                }
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return false,
                () = sleep(RETRY) => {}
            }
        }
    }

    /// The same for what never ran, which may be recorded already.
    pub(super) async fn record_unless_kept(&self, run: &Arc<Run>) -> bool {
        match self.store.run(run.id).await {
            Ok(None) => self.record_later(run, &Arc::from([])).await,
            Ok(Some(_)) | Err(_) => true,
        }
    }
}
