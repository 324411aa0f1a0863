//! The workflows, in memory: what the data path looks up, and the verbs that change them.
//!
//! The store is the truth; each verb changes the store first and the memory when that is
//! durable. The data path only reads memory. Nothing here knows of HTTP.

mod checks;
mod entry;
mod error;
mod samples;
mod schedules;
mod settings;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwapOption;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore, watch};

use self::checks::destinations;
pub use self::entry::Entry;
use self::entry::{Catalogue, Live};
pub use self::error::RegistryError;
use self::schedules::Making;
use crate::api::{Activate, CreateWorkflow, PatchWorkflow, ScheduleSpec};
use crate::config::Config;
use crate::schedule::Schedule;
use crate::store::{Store, StoreError};
use crate::workflow::{CatchKey, Digest, Kind, Revision, Version, Workflow, WorkflowId, WorkflowName};

/// Workflows whose versions are read at the same time at start.
const OPEN_CONCURRENCY: usize = 16;

/// The workflows.
pub struct Registry {
    store: Arc<dyn Store>,
    config: Arc<Config>,
    catalogue: RwLock<Catalogue>,
    /// Counts changes that can move a due instant; the scheduler waits for it.
    changed: watch::Sender<u64>,
}

impl Registry {
    /// Reads all workflows from the store.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(store: Arc<dyn Store>, config: Arc<Config>) -> Result<Self, StoreError> {
        let registry = Self { store, config, catalogue: RwLock::default(), changed: watch::Sender::new(0) };
        let workflows = registry.store.workflows().await?;
        let entries = futures::stream::iter(workflows)
            .map(|workflow| registry.read_entry(workflow, None))
            .buffer_unordered(OPEN_CONCURRENCY);
        let entries: Vec<_> = entries.collect().await;
        for entry in entries {
            registry.write().insert(Arc::new(entry?));
        }
        Ok(registry)
    }

    async fn read_entry(&self, workflow: Workflow, live: Option<Arc<Live>>) -> Result<Entry, StoreError> {
        let version = match workflow.active_version {
            Some(number) => {
                let versions = self.store.versions(workflow.id).await?;
                versions.into_iter().find(|version| version.number == number).map(Arc::new)
            }
            None => None,
        };
        Ok(self.entry(workflow, version, live))
    }

    fn entry(&self, workflow: Workflow, version: Option<Arc<Version>>, live: Option<Arc<Live>>) -> Entry {
        let permits_max = workflow
            .limits
            .concurrency_max
            .unwrap_or(self.config.run.concurrency_max)
            .min(self.config.run.concurrency_max);
        let live = live.unwrap_or_else(|| {
            Arc::new(Live {
                settings: ArcSwapOption::empty(),
                settings_gate: Mutex::new(()),
                permits: Arc::new(Semaphore::new(permits_max as usize)),
                permits_max: AtomicU32::new(permits_max),
                meter: Default::default(),
                pace: Arc::default(),
            })
        });
        let before = live.permits_max.swap(permits_max, Ordering::Relaxed);
        if permits_max > before {
            live.permits.add_permits((permits_max - before) as usize);
        } else if before > permits_max {
            // Those in use are taken away when they come back.
            let (permits, surplus) = (live.permits.clone(), before - permits_max);
            tokio::spawn(async move {
                if let Ok(surplus) = permits.acquire_many(surplus).await {
                    surplus.forget();
                }
            });
        }
        Entry { workflow: Arc::new(workflow), version, live }
    }

    // ---- what the data path reads ----------------------------------------------------

    /// The catch workflow with this key.
    pub fn by_key(&self, key: &str) -> Option<Arc<Entry>> {
        self.read().by_key.get(&Digest::of(key.as_bytes())).cloned()
    }

    /// The workflow with this name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Entry>> {
        let name: WorkflowName = name.parse().ok()?;
        self.read().by_name.get(&name).cloned()
    }

    /// The workflow with this id.
    pub fn by_id(&self, id: WorkflowId) -> Option<Arc<Entry>> {
        self.read().by_id.get(&id).cloned()
    }

    /// All workflows, in the order of their names.
    pub fn list(&self) -> Vec<Arc<Entry>> {
        self.read().by_name.values().cloned().collect()
    }

    /// A receiver that is told when schedules, states or the set of workflows changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    // ---- the verbs --------------------------------------------------------------------

    /// Creates a workflow. `owner` is a login; `None` is the built-in admin's.
    ///
    /// # Errors
    /// What is wrong with the request, or a name that is taken.
    pub async fn create(
        &self,
        request: CreateWorkflow,
        owner: Option<String>,
    ) -> Result<Arc<Entry>, RegistryError> {
        let name: WorkflowName = request.name.parse()?;
        let now = Timestamp::now();
        let mut workflow = Workflow {
            id: WorkflowId::new(),
            name: name.clone(),
            description: request.description,
            kind: request.kind,
            owner,
            managers: request.managers,
            viewers: request.viewers,
            private: request.private,
            state: Default::default(),
            catch_key: (request.kind == Kind::Catch).then(CatchKey::random),
            endpoint: request.endpoint.clone().unwrap_or_default(),
            signature: request.signature,
            egress: request.egress.map(destinations).transpose()?,
            schedules: Vec::new(),
            limits: request.limits,
            retry: request.retry,
            samples: Vec::new(),
            active_version: None,
            created_at: now,
            updated_at: now,
            revision: Revision::default(),
        };
        self.need_kind(&workflow, request.endpoint.is_some(), "endpoint", Kind::Catch)?;
        self.need_kind(&workflow, workflow.signature.is_some(), "a signature", Kind::Catch)?;
        self.need_kind(&workflow, !request.schedules.is_empty(), "a schedule", Kind::Pull)?;
        workflow.schedules = self.schedules(&[], request.schedules, now)?;
        self.check(&workflow)?;
        self.store
            .create_workflow(workflow.clone())
            .await
            .map_err(|error| RegistryError::of_store(&name, error))?;
        Ok(self.replace(self.entry(workflow, None, None)))
    }

    /// Changes a workflow. Pausing and resuming are changes of its state.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub async fn change(&self, name: &str, patch: PatchWorkflow) -> Result<Arc<Entry>, RegistryError> {
        let entry = self.find(name)?;
        let mut workflow = (*entry.workflow).clone();
        self.need_kind(&workflow, patch.endpoint.is_some(), "endpoint", Kind::Catch)?;
        self.need_kind(&workflow, matches!(patch.signature, Some(Some(_))), "a signature", Kind::Catch)?;
        self.need_kind(&workflow, patch.rotate_url, "a new URL", Kind::Catch)?;
        self.need_kind(
            &workflow,
            patch.schedules.as_ref().is_some_and(|list| !list.is_empty()),
            "a schedule",
            Kind::Pull,
        )?;
        let now = Timestamp::now();
        if let Some(schedules) = patch.schedules {
            workflow.schedules = self.schedules(&workflow.schedules, schedules, now)?;
        }
        workflow.description = patch.description.unwrap_or(workflow.description);
        workflow.owner = patch.owner.or(workflow.owner);
        workflow.managers = patch.managers.unwrap_or(workflow.managers);
        workflow.viewers = patch.viewers.unwrap_or(workflow.viewers);
        workflow.private = patch.private.unwrap_or(workflow.private);
        workflow.state = patch.state.unwrap_or(workflow.state);
        let gives_endpoint = patch.endpoint.is_some();
        workflow.endpoint = patch.endpoint.unwrap_or(workflow.endpoint);
        workflow.signature = patch.signature.unwrap_or(workflow.signature);
        if let Some(egress) = patch.egress {
            workflow.egress = egress.map(destinations).transpose()?;
        }
        workflow.limits = patch.limits.unwrap_or(workflow.limits);
        workflow.retry = patch.retry.unwrap_or(workflow.retry);
        if patch.rotate_url {
            workflow.catch_key = Some(CatchKey::random());
        }
        self.check(&workflow).map_err(|error| error.told_for(gives_endpoint, name))?;
        self.save(&entry, workflow, entry.version.clone()).await
    }

    /// Creates a schedule, or changes what is given of one that is there.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub async fn set_schedule(
        &self,
        name: &str,
        schedule: &str,
        spec: ScheduleSpec,
    ) -> Result<Arc<Entry>, RegistryError> {
        let entry = self.find(name)?;
        let mut workflow = (*entry.workflow).clone();
        self.need_kind(&workflow, true, "a schedule", Kind::Pull)?;
        if spec.name.as_deref().is_some_and(|named| named != schedule) {
            let reason = format!("the body names another schedule than the path, {schedule:?}");
            return Err(RegistryError::Invalid { field: "name", reason });
        }
        let spec = ScheduleSpec { name: Some(schedule.to_owned()), ..spec };
        let present = workflow.schedules.iter().position(|old| old.name == schedule);
        let (limit, count) = (self.config.schedule.schedules_max, workflow.schedules.len() + 1);
        if present.is_none() && count > limit {
            let what = format!("a workflow with {count} schedules");
            return Err(RegistryError::Limit { what, limit: format!("{limit} schedules") });
        }
        let making = Making { config: &self.config.schedule, now: Timestamp::now(), keeps_rule: true };
        let made = making.schedule(spec, present.map(|at| &workflow.schedules[at]))?;
        match present {
            Some(at) => workflow.schedules[at] = made,
            None => workflow.schedules.push(made),
        }
        self.save(&entry, workflow, entry.version.clone()).await
    }

    /// Removes a schedule.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn remove_schedule(&self, name: &str, schedule: &str) -> Result<Arc<Entry>, RegistryError> {
        let entry = self.find(name)?;
        let mut workflow = (*entry.workflow).clone();
        let before = workflow.schedules.len();
        workflow.schedules.retain(|present| present.name != schedule);
        if workflow.schedules.len() == before {
            return Err(RegistryError::missing_schedule(name, schedule));
        }
        self.save(&entry, workflow, entry.version.clone()).await
    }

    /// A schedule that is not kept: as [`Registry::set_schedule`] would make a new one, for
    /// a preview.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn draft_schedule(&self, spec: ScheduleSpec, now: Timestamp) -> Result<Schedule, RegistryError> {
        Making { config: &self.config.schedule, now, keeps_rule: false }.schedule(spec, None)
    }

    /// Deletes a workflow with its versions, settings and runs, for good.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn archive(&self, name: &str) -> Result<(), RegistryError> {
        let entry = self.find(name)?;
        let workflow = &entry.workflow;
        self.store
            .archive_workflow(workflow.id)
            .await
            .map_err(|error| RegistryError::of_store(&workflow.name, error))?;
        self.write().remove(&workflow.name);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// A workflow and all its versions, oldest first.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn versions(&self, name: &str) -> Result<(Arc<Entry>, Vec<Version>), RegistryError> {
        let entry = self.find(name)?;
        let versions = self.store.versions(entry.workflow.id).await.map_err(RegistryError::Store)?;
        Ok((entry, versions))
    }

    /// Makes another version the one that runs.
    ///
    /// # Errors
    /// When there is no such version.
    pub async fn activate(&self, name: &str, request: Activate) -> Result<Arc<Entry>, RegistryError> {
        let (entry, versions) = self.versions(name).await?;
        let active = entry.workflow.active_version;
        let wanted = match request.version {
            Some(number) => versions.into_iter().find(|version| version.number == number),
            None => versions.into_iter().rfind(|version| Some(version.number) < active),
        };
        let version = wanted.ok_or_else(|| RegistryError::Missing {
            what: match request.version {
                Some(number) => format!("version {number} of the workflow {name}"),
                None => format!("a version of the workflow {name} before the active one"),
            },
        })?;
        let mut workflow = (*entry.workflow).clone();
        workflow.active_version = Some(version.number);
        self.save(&entry, workflow, Some(Arc::new(version))).await
    }

    /// The workflow with another of its versions as the one that runs: for one run, not
    /// for others.
    ///
    /// # Errors
    /// When there is no such version.
    pub async fn at_version(&self, entry: &Entry, number: u32) -> Result<Arc<Entry>, RegistryError> {
        let (workflow, live) = (entry.workflow.clone(), entry.live.clone());
        let versions = self.store.versions(workflow.id).await.map_err(RegistryError::Store)?;
        let version = versions.into_iter().find(|version| version.number == number);
        let version = version.ok_or_else(|| RegistryError::Missing {
            what: format!("version {number} of the workflow {}", workflow.name),
        })?;
        Ok(Arc::new(Entry { workflow, version: Some(Arc::new(version)), live }))
    }

    /// Takes over what a deploy wrote to the store.
    pub(crate) fn deployed(&self, entry: &Entry, workflow: Workflow, version: Version) -> Arc<Entry> {
        self.replace(self.entry(workflow, Some(Arc::new(version)), Some(entry.live.clone())))
    }

    /// The workflow with this name, or the error that says it is missing.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn find(&self, name: &str) -> Result<Arc<Entry>, RegistryError> {
        self.by_name(name).ok_or_else(|| RegistryError::missing(name))
    }

    // ---- inside -----------------------------------------------------------------------

    async fn save(
        &self,
        entry: &Entry,
        mut workflow: Workflow,
        version: Option<Arc<Version>>,
    ) -> Result<Arc<Entry>, RegistryError> {
        workflow.updated_at = Timestamp::now();
        let name = workflow.name.clone();
        let saved = self.store.save_workflow(workflow).await;
        let workflow = saved.map_err(|error| RegistryError::of_store(&name, error))?;
        Ok(self.replace(self.entry(workflow, version, Some(entry.live.clone()))))
    }

    fn replace(&self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        let mut catalogue = self.write();
        // Of two changes that end at the same time the later revision stays.
        let newer = catalogue.by_name.get(&entry.workflow.name).is_some_and(|present| {
            present.workflow.id == entry.workflow.id && present.workflow.revision > entry.workflow.revision
        });
        if !newer {
            catalogue.insert(entry.clone());
        }
        drop(catalogue);
        self.changed.send_modify(|count| *count += 1);
        entry
    }

    // A panic under this lock leaves whole entries behind: they are replaced, not edited.
    fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner)
    }
}
