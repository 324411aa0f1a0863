//! The settings that a run saves, before its end and at it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use super::host_fault;
use crate::engine::{CommitRefusal, CommitSettings};
use crate::registry::{Entry, Registry, RegistryError};
use crate::run::{Fault, FaultKind, RunId};
use crate::workflow::{SettingChange, SettingWriter};

/// Saves one run's settings, before its end and at it.
pub(super) struct RunSettings {
    pub(super) registry: Arc<Registry>,
    pub(super) entry: Arc<Entry>,
    pub(super) run: RunId,
    pub(super) commits_left: AtomicU32,
    pub(super) changed: Mutex<BTreeSet<String>>,
}

impl RunSettings {
    pub(super) async fn save(&self, entry: &Entry, changes: Vec<SettingChange>) -> Result<(), RegistryError> {
        let names: Vec<String> = changes.iter().map(|change| change.name.clone()).collect();
        self.registry.commit_settings(entry, changes, SettingWriter::Run(self.run)).await?;
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        Ok(())
    }

    pub(super) fn changed(&self) -> Vec<String> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    async fn commit_early(self: Arc<Self>, changes: Vec<SettingChange>) -> Result<(), CommitRefusal> {
        let one_less = |left: u32| left.checked_sub(1);
        if self.commits_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err() {
            return Err(CommitRefusal::Refused("this run has used up its early saves".to_owned()));
        }
        self.save(&self.entry, changes).await.map_err(|error| match error {
            RegistryError::Invalid { .. } | RegistryError::Limit { .. } => CommitRefusal::Invalid(error.to_string()),
            full if full.is_full() => {
                CommitRefusal::Unavailable("there is no room on the host's disk for the settings".to_owned())
            }
            other => {
                tracing::error!(run = %self.run, error = &other as &dyn std::error::Error, "an early save failed");
                CommitRefusal::Unavailable("the host could not store the settings".to_owned())
            }
        })
    }
}

impl CommitSettings for RunSettings {
    fn commit(self: Arc<Self>, changes: Vec<SettingChange>) -> BoxFuture<'static, Result<(), CommitRefusal>> {
        Box::pin(self.commit_early(changes))
    }
}

/// What a run failed of whose settings were not saved.
pub(super) fn fault_of_commit(error: &RegistryError) -> Fault {
    match error {
        RegistryError::Invalid { .. } | RegistryError::Limit { .. } => {
            Fault::new(FaultKind::Result, error.to_string())
        }
        RegistryError::Missing { .. } => Fault::new(
            FaultKind::Result,
            "the workflow was archived while it ran; its settings were not saved",
        ),
        // The store says itself when the disk is full, once.
        full if full.is_full() => {
            Fault::new(FaultKind::Host, "there is no room on the host's disk for the settings that it saved")
        }
        other => host_fault(other),
    }
}
