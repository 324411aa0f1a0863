//! A workflow in memory, and the index of all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, Semaphore};

use super::RegistryError;
use crate::pace::Pace;
use crate::rate::Meter;
use crate::workflow::{Digest, Settings, Version, Workflow, WorkflowId, WorkflowName};

/// A workflow as the data path sees it. Immutable: a change makes a new entry, which
/// shares the live part.
pub struct Entry {
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// The version that runs; `None` until the first deploy.
    pub version: Option<Arc<Version>>,
    pub(super) live: Arc<Live>,
}

/// What outlives a change of the workflow.
pub(super) struct Live {
    pub(super) settings: ArcSwapOption<Settings>,
    /// Held while settings are read from the store or committed, so that memory never
    /// goes back to an older state.
    pub(super) settings_gate: Mutex<()>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) permits_max: AtomicU32,
    pub(super) meter: Meter,
    pub(super) pace: Arc<Pace>,
}

impl Entry {
    /// Permits for this workflow's own concurrency.
    pub fn permits(&self) -> &Arc<Semaphore> {
        &self.live.permits
    }

    /// How long its runs hold such a permit, and who waits for one.
    pub fn pace(&self) -> &Arc<Pace> {
        &self.live.pace
    }

    /// The number of permits for this workflow's own concurrency.
    pub fn permits_max(&self) -> usize {
        self.live.permits_max.load(Ordering::Relaxed) as usize
    }

    /// How often its endpoint was called lately.
    pub fn meter(&self) -> &Meter {
        &self.live.meter
    }

    /// The version that runs, or why there is none.
    ///
    /// # Errors
    /// When nothing was deployed yet.
    pub fn deployed(&self) -> Result<&Arc<Version>, RegistryError> {
        self.version.as_ref().ok_or_else(|| RegistryError::Missing {
            what: format!("a deployed version of the workflow {}", self.workflow.name),
        })
    }
}

/// All entries, by what they are looked up with.
#[derive(Default)]
pub(super) struct Catalogue {
    pub(super) by_name: BTreeMap<WorkflowName, Arc<Entry>>,
    pub(super) by_id: HashMap<WorkflowId, Arc<Entry>>,
    /// By the SHA-256 of the key: how long a lookup takes says nothing about a key.
    pub(super) by_key: HashMap<Digest, Arc<Entry>>,
}

impl Catalogue {
    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        self.remove(&entry.workflow.name);
        if let Some(key) = &entry.workflow.catch_key {
            self.by_key.insert(Digest::of(key.expose().as_bytes()), entry.clone());
        }
        self.by_id.insert(entry.workflow.id, entry.clone());
        self.by_name.insert(entry.workflow.name.clone(), entry);
    }

    pub(super) fn remove(&mut self, name: &WorkflowName) {
        let Some(old) = self.by_name.remove(name) else { return };
        self.by_id.remove(&old.workflow.id);
        if let Some(key) = &old.workflow.catch_key {
            self.by_key.remove(&Digest::of(key.expose().as_bytes()));
        }
    }
}
