//! The workflows, in memory: what the data path looks up, and the verbs that change them.
//!
//! The store is the truth; each verb changes the store first and the memory when that is
//! durable. The data path only reads memory. Nothing here knows of HTTP.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwapOption;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore, watch};

use crate::api::{Activate, CreateWorkflow, PatchSettings, PatchWorkflow, ScheduleSpec};
use crate::config::Config;
use crate::schedule::{Cadence, IntervalError, Schedule, ScheduleError, interval};
use crate::store::{Store, StoreError};
use crate::workflow::{
    CatchKey, Digest, Kind, LimitOverrides, NameError, Revision, SettingChange, SettingWriter, Settings,
    Version, Visibility, Workflow, WorkflowId, WorkflowName,
};

/// Longest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 2000;
/// Most managers of one workflow.
const MANAGERS_MAX: usize = 100;
/// Longest name of a setting, in bytes.
const SETTING_NAME_BYTES_MAX: usize = 256;
/// Workflows whose versions are read at the same time at start.
const OPEN_CONCURRENCY: usize = 16;

/// Why a verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The name is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A workflow of that name exists.
    #[error("a workflow named {0} exists already")]
    NameTaken(WorkflowName),
    /// The thing does not exist.
    #[error("{what} does not exist")]
    Missing {
        /// What was looked for, for example `the workflow sms`.
        what: String,
    },
    /// A schedule is wrong.
    #[error("the schedule {name:?} is wrong: {source}")]
    Schedule {
        /// The schedule's name.
        name: String,
        /// What is wrong.
        source: ScheduleError,
    },
    /// An interval cannot be read.
    #[error("the interval {text:?} is wrong: {source}")]
    Interval {
        /// What was given.
        text: String,
        /// What is wrong.
        source: IntervalError,
    },
    /// A field has a value that is not allowed.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, as the API names it.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The workflow's kind does not allow it.
    #[error("{what} is for {needed} workflows, {name} is a {kind}")]
    WrongKind {
        /// The workflow.
        name: WorkflowName,
        /// Its kind.
        kind: Kind,
        /// What was asked for.
        what: &'static str,
        /// The kind it would need.
        needed: Kind,
    },
    /// Somebody else changed it at the same time.
    #[error("the workflow {0} was changed by somebody else at the same time")]
    Conflict(WorkflowName),
    /// A limit was reached.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// What is over the limit, with its size.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

impl RegistryError {
    fn missing(name: &str) -> Self {
        RegistryError::Missing { what: format!("the workflow {name:?}") }
    }

    fn of_store(name: &WorkflowName, error: StoreError) -> Self {
        match error {
            StoreError::NameTaken(name) => RegistryError::NameTaken(name),
            StoreError::Missing { .. } => RegistryError::missing(name.as_str()),
            StoreError::Conflict { .. } => RegistryError::Conflict(name.clone()),
            StoreError::Limit { what, limit } => RegistryError::Limit { what, limit },
            other => RegistryError::Store(other),
        }
    }
}

/// A workflow as the data path sees it. Immutable: a change makes a new entry, which
/// shares the live part.
pub struct Entry {
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// The version that runs; `None` until the first deploy.
    pub version: Option<Arc<Version>>,
    live: Arc<Live>,
}

/// What outlives a change of the workflow.
struct Live {
    settings: ArcSwapOption<Settings>,
    /// Held while settings are read from the store or committed, so that memory never
    /// goes back to an older state.
    settings_gate: Mutex<()>,
    permits: Arc<Semaphore>,
    permits_max: AtomicU32,
}

impl Entry {
    /// Permits for this workflow's own concurrency.
    pub fn permits(&self) -> &Arc<Semaphore> {
        &self.live.permits
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

#[derive(Default)]
struct Catalogue {
    by_name: BTreeMap<WorkflowName, Arc<Entry>>,
    by_id: HashMap<WorkflowId, Arc<Entry>>,
    /// By the SHA-256 of the key: how long a lookup takes says nothing about a key.
    by_key: HashMap<Digest, Arc<Entry>>,
}

impl Catalogue {
    fn insert(&mut self, entry: Arc<Entry>) {
        self.remove(&entry.workflow.name);
        if let Some(key) = &entry.workflow.catch_key {
            self.by_key.insert(Digest::of(key.expose().as_bytes()), entry.clone());
        }
        self.by_id.insert(entry.workflow.id, entry.clone());
        self.by_name.insert(entry.workflow.name.clone(), entry);
    }

    fn remove(&mut self, name: &WorkflowName) {
        let Some(old) = self.by_name.remove(name) else { return };
        self.by_id.remove(&old.workflow.id);
        if let Some(key) = &old.workflow.catch_key {
            self.by_key.remove(&Digest::of(key.expose().as_bytes()));
        }
    }
}

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

    /// The settings of a workflow, from memory after the first time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settings_of(&self, entry: &Entry) -> Result<Arc<Settings>, StoreError> {
        if let Some(settings) = entry.live.settings.load_full() {
            return Ok(settings);
        }
        let _gate = entry.live.settings_gate.lock().await;
        if let Some(settings) = entry.live.settings.load_full() {
            return Ok(settings);
        }
        let settings = Arc::new(self.store.settings(entry.workflow.id).await?);
        entry.live.settings.store(Some(settings.clone()));
        Ok(settings)
    }

    /// Saves changes of settings, all or none, durably.
    ///
    /// # Errors
    /// A name or value over its limit, or a store that fails.
    pub async fn commit_settings(
        &self,
        entry: &Entry,
        changes: Vec<SettingChange>,
        by: SettingWriter,
    ) -> Result<Arc<Settings>, RegistryError> {
        for change in &changes {
            check_setting(change, self.config.run.setting_bytes_max)?;
        }
        let name = &entry.workflow.name;
        // The store merges concurrent commits; the gate only keeps memory in their order.
        let _gate = entry.live.settings_gate.lock().await;
        let committed = self.store.commit_settings(entry.workflow.id, changes, by).await;
        let settings = Arc::new(committed.map_err(|error| RegistryError::of_store(name, error))?);
        entry.live.settings.store(Some(settings.clone()));
        Ok(settings)
    }

    // ---- the verbs --------------------------------------------------------------------

    /// Creates a workflow.
    ///
    /// # Errors
    /// What is wrong with the request, or a name that is taken.
    pub async fn create(&self, request: CreateWorkflow) -> Result<Arc<Entry>, RegistryError> {
        let name: WorkflowName = request.name.parse()?;
        let now = Timestamp::now();
        let mut workflow = Workflow {
            id: WorkflowId::new(),
            name: name.clone(),
            description: request.description,
            kind: request.kind,
            owner: None,
            managers: request.managers,
            private: request.private,
            state: Default::default(),
            catch_key: (request.kind == Kind::Catch).then(CatchKey::random),
            endpoint: request.endpoint.clone().unwrap_or_default(),
            schedules: Vec::new(),
            limits: request.limits,
            active_version: None,
            created_at: now,
            updated_at: now,
            revision: Revision::default(),
        };
        self.need_kind(&workflow, request.endpoint.is_some(), "endpoint", Kind::Catch)?;
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
        workflow.managers = patch.managers.unwrap_or(workflow.managers);
        workflow.private = patch.private.unwrap_or(workflow.private);
        workflow.state = patch.state.unwrap_or(workflow.state);
        workflow.endpoint = patch.endpoint.unwrap_or(workflow.endpoint);
        workflow.limits = patch.limits.unwrap_or(workflow.limits);
        if patch.rotate_url {
            workflow.catch_key = Some(CatchKey::random());
        }
        self.check(&workflow)?;
        self.save(&entry, workflow, entry.version.clone()).await
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

    /// Takes over what a deploy wrote to the store.
    pub(crate) fn deployed(&self, entry: &Entry, workflow: Workflow, version: Version) -> Arc<Entry> {
        self.replace(self.entry(workflow, Some(Arc::new(version)), Some(entry.live.clone())))
    }

    /// The settings of a workflow.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn settings(&self, name: &str) -> Result<Arc<Settings>, RegistryError> {
        let entry = self.find(name)?;
        self.settings_of(&entry).await.map_err(RegistryError::Store)
    }

    /// Sets and deletes settings, on behalf of a person.
    ///
    /// # Errors
    /// A name or value that is not allowed.
    pub async fn change_settings(
        &self,
        name: &str,
        patch: PatchSettings,
        visibility: Option<Visibility>,
    ) -> Result<Arc<Settings>, RegistryError> {
        let entry = self.find(name)?;
        let changes = patch.into_iter().map(|(name, value)| {
            let value = value.map(|value| serde_json::value::to_raw_value(&value)).transpose();
            let value = value
                .map_err(|error| RegistryError::Invalid { field: "settings", reason: error.to_string() })?;
            Ok(SettingChange { name, value, visibility })
        });
        let changes: Vec<SettingChange> = changes.collect::<Result<_, RegistryError>>()?;
        self.commit_settings(&entry, changes, SettingWriter::User(None)).await
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

    fn schedules(
        &self,
        present: &[Schedule],
        wanted: Vec<ScheduleSpec>,
        now: Timestamp,
    ) -> Result<Vec<Schedule>, RegistryError> {
        let limit = self.config.schedule.schedules_max;
        if wanted.len() > limit {
            let what = format!("a workflow with {} schedules", wanted.len());
            return Err(RegistryError::Limit { what, limit: format!("{limit} schedules") });
        }
        let mut schedules: Vec<Schedule> = Vec::with_capacity(wanted.len());
        for spec in wanted {
            let name = spec.name.clone().unwrap_or_else(|| "default".to_owned());
            let cadence = cadence_of(spec)?;
            let schedule = Schedule::new(name.clone(), cadence, now)
                .replacing(present.iter().find(|old| old.name == name));
            schedule
                .validate(self.config.schedule.interval_ms_min)
                .map_err(|source| RegistryError::Schedule { name: name.clone(), source })?;
            if schedules.iter().any(|other| other.name == name) {
                let reason = format!("two schedules are named {name:?}; give each a name of its own");
                return Err(RegistryError::Invalid { field: "schedules", reason });
            }
            schedules.push(schedule);
        }
        Ok(schedules)
    }

    fn need_kind(
        &self,
        workflow: &Workflow,
        asked: bool,
        what: &'static str,
        needed: Kind,
    ) -> Result<(), RegistryError> {
        if asked && workflow.kind != needed {
            return Err(RegistryError::WrongKind {
                name: workflow.name.clone(),
                kind: workflow.kind,
                what,
                needed,
            });
        }
        Ok(())
    }

    fn check(&self, workflow: &Workflow) -> Result<(), RegistryError> {
        let invalid = |field, reason: String| Err(RegistryError::Invalid { field, reason });
        if workflow.description.len() > DESCRIPTION_BYTES_MAX {
            let length = workflow.description.len();
            return invalid(
                "description",
                format!("has {length} bytes, at most {DESCRIPTION_BYTES_MAX} are allowed"),
            );
        }
        if workflow.managers.len() > MANAGERS_MAX {
            return invalid("managers", format!("at most {MANAGERS_MAX} are allowed"));
        }
        if workflow.endpoint.methods.is_empty() {
            return invalid("endpoint.methods", "name at least one method".to_owned());
        }
        for method in &workflow.endpoint.methods {
            if method.parse::<http::Method>().is_err()
                || *method != method.to_uppercase()
                || method == "OPTIONS"
            {
                return invalid(
                    "endpoint.methods",
                    format!("{method:?} is not a method in upper case (OPTIONS is the host's)"),
                );
            }
        }
        self.check_limits(&workflow.limits)
    }

    fn check_limits(&self, limits: &LimitOverrides) -> Result<(), RegistryError> {
        let (engine, store) = (&self.config.engine, &self.config.store);
        for (field, value, maximum) in [
            ("limits.deadline_ms", limits.deadline_ms, engine.deadline_ms),
            ("limits.memory_bytes_max", limits.memory_bytes_max, engine.memory_bytes_max as u64),
            (
                "limits.concurrency_max",
                limits.concurrency_max.map(u64::from),
                self.config.run.concurrency_max.into(),
            ),
            ("limits.retention_days", limits.retention_days.map(u64::from), store.retention_days.into()),
            ("limits.retention_runs_max", limits.retention_runs_max, store.retention_runs_max),
            ("limits.retention_bytes_max", limits.retention_bytes_max, store.retention_bytes_max),
        ] {
            let Some(value) = value else { continue };
            if value == 0 || value > maximum {
                let reason = format!("must be 1 to {maximum} (the host's limit), is {value}");
                return Err(RegistryError::Invalid { field, reason });
            }
        }
        Ok(())
    }

    // A panic under this lock leaves whole entries behind: they are replaced, not edited.
    fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cadence_of(spec: ScheduleSpec) -> Result<Cadence, RegistryError> {
    let invalid = |reason: &str| RegistryError::Invalid { field: "schedules", reason: reason.to_owned() };
    match (spec.every, spec.cron, spec.timezone) {
        (Some(every), None, None) => {
            let interval_ms =
                interval::parse(&every).map_err(|source| RegistryError::Interval { text: every, source })?;
            Ok(Cadence::Every { interval_ms })
        }
        (None, Some(expression), timezone) => {
            Ok(Cadence::Cron { expression, timezone: timezone.unwrap_or_else(|| "UTC".to_owned()) })
        }
        (Some(_), Some(_), _) => Err(invalid("give `every` or `cron`, not both")),
        (Some(_), None, Some(_)) => {
            Err(invalid("an interval has no time zone; give `timezone` with `cron` only"))
        }
        (None, None, _) => Err(invalid("a schedule needs `every` or `cron`")),
    }
}

fn check_setting(change: &SettingChange, value_bytes_max: usize) -> Result<(), RegistryError> {
    let name = &change.name;
    if name.is_empty() || name.len() > SETTING_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(40).collect();
        let reason = format!(
            "{shown:?} is not a setting's name: 1 to {SETTING_NAME_BYTES_MAX} bytes, no control characters"
        );
        return Err(RegistryError::Invalid { field: "settings", reason });
    }
    let bytes = change.value.as_ref().map_or(0, |value| value.get().len());
    if bytes > value_bytes_max {
        let what = format!("the value of the setting {name:?} with {bytes} bytes");
        return Err(RegistryError::Limit { what, limit: format!("{value_bytes_max} bytes") });
    }
    Ok(())
}
