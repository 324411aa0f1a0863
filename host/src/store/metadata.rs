//! The metadata in memory, and what each change of it means.
//!
//! Everything is planned first, as values to put, by the one thread that writes; then
//! the values go to the journal; then [`Metadata::apply`] takes them over. Opening the
//! store applies the very same values, so that there is one way in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::accounts::{AccountChange, Accounts, KeptAccounts};
use super::keys::{Key, Position, Put};
use super::settings::{Changed, StoredSettings};
use super::{Result, StoreError};
use crate::account::User;
use crate::keys::{CipherError, KeyId, KeyRing};
use crate::run::RunId;
use crate::workflow::{
    Code, Digest, Revision, Runtime, SettingChange, SettingWriter, Version, Workflow, WorkflowId,
    WorkflowName,
};

/// Longest name of a setting, in bytes.
pub(super) const SETTING_NAME_BYTES_MAX: usize = 256;

/// Limits of the settings of one workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SettingLimits {
    pub(super) settings_max: usize,
    pub(super) setting_bytes_max: usize,
}

/// A workflow with what belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) workflow: Workflow,
    /// By number.
    pub(super) versions: BTreeMap<u32, Version>,
    pub(super) settings: StoredSettings,
    /// Its runs with smaller ids are not shown any more.
    pub(super) run_floor: Option<RunId>,
}

/// All metadata.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    kept: HashMap<WorkflowId, Arc<Kept>>,
    names: BTreeMap<WorkflowName, WorkflowId>,
    runtimes: BTreeMap<WorkflowName, Runtime>,
    accounts: KeptAccounts,
    /// No instant up to this one can be claimed any more: its ledger entries are deleted.
    ledger_floor: Option<Timestamp>,
    /// What the checkpoint does not have yet, as encoded keys and values.
    dirty: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// The end of the journal's last change.
    position: Position,
}

/// All metadata at one moment, shared with what is in memory.
pub(super) struct Snapshot {
    /// By name.
    pub(super) kept: Vec<Arc<Kept>>,
    /// By name.
    pub(super) runtimes: Vec<Runtime>,
    pub(super) accounts: Accounts,
    pub(super) ledger_floor: Option<Timestamp>,
    pub(super) position: Position,
}

impl Snapshot {
    /// Every blob that a version or a runtime names.
    pub(super) fn blobs(&self) -> BTreeSet<Digest> {
        let versions = self.kept.iter().flat_map(|kept| kept.versions.values());
        let of_versions = versions.flat_map(|version| version.code.blobs());
        of_versions.chain(self.runtimes.iter().map(|runtime| runtime.component)).collect()
    }

    /// Everything as values to put.
    pub(super) fn puts(&self) -> Result<Vec<Put>> {
        let mut puts = Vec::new();
        for kept in &self.kept {
            let id = kept.workflow.id;
            puts.push(put(Key::Workflow(id), &kept.workflow)?);
            for version in kept.versions.values() {
                puts.push(put(Key::Version(id, version.number), version)?);
            }
            for (name, setting) in &kept.settings.entries {
                puts.push(put(Key::Setting(id, name.clone()), setting)?);
            }
            if kept.settings.revision != Revision::default() {
                puts.push(put(Key::SettingsRevision(id), &kept.settings.revision)?);
            }
            if let Some(key) = &kept.settings.key {
                puts.push(put(Key::Wrapped(id), key)?);
            }
            if let Some(floor) = kept.run_floor {
                puts.push(put(Key::RunFloor(id), &floor)?);
            }
        }
        for runtime in &self.runtimes {
            puts.push(put(Key::Runtime(runtime.name.clone()), runtime)?);
        }
        if let Some(floor) = self.ledger_floor {
            puts.push(put(Key::LedgerFloor, &floor)?);
        }
        puts.extend(self.accounts.puts()?);
        Ok(puts)
    }
}

/// A value that the store cannot make sense of.
#[derive(Debug, thiserror::Error)]
#[error("a value of {key:?} is not what it should be: {reason}")]
pub(super) struct BadValue {
    key: Key,
    reason: String,
}

impl Metadata {
    // ---- reading -------------------------------------------------------------------

    /// All workflows in the order of their names.
    pub(super) fn workflows(&self) -> Vec<Arc<Kept>> {
        self.names.values().filter_map(|id| self.kept.get(id)).cloned().collect()
    }

    /// A workflow with what belongs to it.
    pub(super) fn get(&self, id: WorkflowId) -> Result<&Arc<Kept>> {
        self.kept.get(&id).ok_or_else(|| StoreError::Missing { what: format!("workflow {id}") })
    }

    pub(super) fn contains(&self, id: WorkflowId) -> bool {
        self.kept.contains_key(&id)
    }

    /// All runtimes in the order of their names.
    pub(super) fn runtimes(&self) -> Vec<Runtime> {
        self.runtimes.values().cloned().collect()
    }

    /// All users, tokens, sessions and one-time links.
    pub(super) fn accounts(&self) -> Accounts {
        self.accounts.all()
    }

    pub(super) fn ledger_floor(&self) -> Option<Timestamp> {
        self.ledger_floor
    }

    /// The smallest ids of runs that are shown.
    pub(super) fn run_floors(&self) -> impl Iterator<Item = (WorkflowId, RunId)> {
        self.kept.iter().filter_map(|(id, kept)| Some((*id, kept.run_floor?)))
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Whether the checkpoint lacks something.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Bytes of what the checkpoint lacks.
    pub(super) fn dirty_bytes(&self) -> u64 {
        let bytes =
            |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
        self.dirty.iter().map(bytes).sum::<usize>() as u64
    }

    /// Every blob that a version or a runtime names.
    pub(super) fn blobs(&self) -> BTreeSet<Digest> {
        let versions = self.kept.values().flat_map(|kept| kept.versions.values());
        let of_versions = versions.flat_map(|version| version.code.blobs());
        of_versions.chain(self.runtimes.values().map(|runtime| runtime.component)).collect()
    }

    /// A copy to take one's time with.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            kept: self.workflows(),
            runtimes: self.runtimes(),
            accounts: self.accounts(),
            ledger_floor: self.ledger_floor,
            position: self.position,
        }
    }

    // ---- taking values over ----------------------------------------------------------

    /// Takes over values that the journal has up to `position`.
    pub(super) fn apply(&mut self, puts: Vec<Put>, position: Position) -> std::result::Result<(), BadValue> {
        self.position = position;
        for (key, value) in puts {
            self.dirty.insert(key.encode(), value.clone());
            self.take(key, value.as_deref())?;
        }
        Ok(())
    }

    /// Takes over a value of the checkpoint or the export, which covers `position`.
    pub(super) fn load(
        &mut self,
        key: Key,
        value: &[u8],
        position: Position,
    ) -> std::result::Result<(), BadValue> {
        self.position = position;
        self.take(key, Some(value))
    }

    /// Marks everything as missing in the checkpoint.
    pub(super) fn make_dirty(&mut self) -> Result<()> {
        self.dirty = self.snapshot().puts()?.into_iter().map(|(key, value)| (key.encode(), value)).collect();
        Ok(())
    }

    /// A new journal was begun at `position`.
    pub(super) fn move_to(&mut self, position: Position) {
        self.position = position;
    }

    /// What the checkpoint lacks, and the position that it has with it.
    pub(super) fn take_dirty(&mut self) -> (BTreeMap<Vec<u8>, Option<Vec<u8>>>, Position) {
        (std::mem::take(&mut self.dirty), self.position)
    }

    /// A value of a workflow that is not there is left alone: it was archived.
    fn take(&mut self, key: Key, value: Option<&[u8]>) -> std::result::Result<(), BadValue> {
        match (&key, value) {
            (Key::Workflow(id), Some(value)) => {
                let workflow: Workflow = parse(&key, value)?;
                if let Some(kept) = self.kept.get_mut(id) {
                    Arc::make_mut(kept).workflow = workflow;
                } else {
                    self.names.insert(workflow.name.clone(), *id);
                    let (versions, settings) = (BTreeMap::new(), StoredSettings::default());
                    self.kept.insert(*id, Arc::new(Kept { workflow, versions, settings, run_floor: None }));
                }
            }
            (Key::Workflow(id), None) => {
                if let Some(kept) = self.kept.remove(id) {
                    self.names.remove(&kept.workflow.name);
                }
            }
            (Key::Version(id, number), value) => {
                let version = value.map(|value| parse(&key, value)).transpose()?;
                if let Some(kept) = self.kept.get_mut(id) {
                    replace(&mut Arc::make_mut(kept).versions, *number, version);
                }
            }
            (Key::Setting(id, name), value) => {
                let setting = value.map(|value| parse(&key, value)).transpose()?;
                if let Some(kept) = self.kept.get_mut(id) {
                    replace(&mut Arc::make_mut(kept).settings.entries, name.clone(), setting);
                }
            }
            (Key::SettingsRevision(id), value) => {
                let revision = value.map(|value| parse(&key, value)).transpose()?;
                if let Some(kept) = self.kept.get_mut(id) {
                    Arc::make_mut(kept).settings.revision = revision.unwrap_or_default();
                }
            }
            (Key::Wrapped(id), value) => {
                let wrapped = value.map(|value| parse(&key, value)).transpose()?;
                if let Some(kept) = self.kept.get_mut(id) {
                    Arc::make_mut(kept).settings.key = wrapped;
                }
            }
            (Key::RunFloor(id), value) => {
                let floor = value.map(|value| parse(&key, value)).transpose()?;
                if let Some(kept) = self.kept.get_mut(id) {
                    Arc::make_mut(kept).run_floor = floor;
                }
            }
            (Key::Runtime(name), value) => {
                let runtime = value.map(|value| parse(&key, value)).transpose()?;
                replace(&mut self.runtimes, name.clone(), runtime);
            }
            (Key::LedgerFloor, value) => {
                self.ledger_floor = value.map(|value| parse(&key, value)).transpose()?;
            }
            (Key::User(_) | Key::Token(_) | Key::Session(_) | Key::OneTimeLink(_), value) => {
                self.accounts.take(&key, value)?;
            }
        }
        Ok(())
    }

    // ---- planning --------------------------------------------------------------------

    /// Adds a workflow.
    pub(super) fn plan_create(&self, workflow: &Workflow) -> Result<Vec<Put>> {
        if self.names.contains_key(&workflow.name) {
            return Err(StoreError::NameTaken(workflow.name.clone()));
        }
        if let Some(kept) = self.kept.get(&workflow.id) {
            return Err(StoreError::Conflict {
                what: format!("workflow {}", workflow.id),
                expected: Revision::default(),
                found: kept.workflow.revision,
            });
        }
        if let Some(number) = workflow.active_version {
            return Err(missing_version(number, &workflow.name));
        }
        Ok(vec![put(Key::Workflow(workflow.id), workflow)?])
    }

    /// Replaces a workflow.
    pub(super) fn plan_save(&self, mut workflow: Workflow) -> Result<(Vec<Put>, Workflow)> {
        let kept = self.get(workflow.id)?;
        let stored = &kept.workflow;
        if stored.revision != workflow.revision {
            return Err(StoreError::Conflict {
                what: format!("workflow {}", stored.name),
                expected: workflow.revision,
                found: stored.revision,
            });
        }
        if let Some(number) = workflow.active_version
            && !kept.versions.contains_key(&number)
        {
            return Err(missing_version(number, &stored.name));
        }
        workflow.name = stored.name.clone();
        workflow.kind = stored.kind;
        workflow.created_at = stored.created_at;
        workflow.updated_at = Timestamp::now().max(stored.updated_at);
        workflow.revision = Revision(stored.revision.0 + 1);
        Ok((vec![put(Key::Workflow(workflow.id), &workflow)?], workflow))
    }

    /// Deletes a workflow with everything that belongs to it.
    pub(super) fn plan_archive(&self, id: WorkflowId) -> Result<Vec<Put>> {
        let kept = self.get(id)?;
        let versions = kept.versions.keys().map(|number| Key::Version(id, *number));
        let settings = kept.settings.entries.keys().map(|name| Key::Setting(id, name.clone()));
        let keys = [Key::Workflow(id), Key::SettingsRevision(id), Key::RunFloor(id), Key::Wrapped(id)]
            .into_iter()
            .chain(versions)
            .chain(settings);
        Ok(keys.map(|key| (key, None)).collect())
    }

    /// Adds a version and makes it the active one.
    pub(super) fn plan_version(
        &self,
        id: WorkflowId,
        code: Code,
        created_by: Option<String>,
        message: String,
    ) -> Result<(Vec<Put>, (Version, Workflow))> {
        let kept = self.get(id)?;
        let number = kept.versions.last_key_value().map_or(0, |(number, _)| *number) + 1;
        let created_at = Timestamp::now();
        let version = Version { number, code, created_at, created_by, message };
        let mut workflow = kept.workflow.clone();
        workflow.active_version = Some(number);
        workflow.updated_at = created_at.max(workflow.updated_at);
        workflow.revision.0 += 1;
        let puts = vec![put(Key::Version(id, number), &version)?, put(Key::Workflow(id), &workflow)?];
        Ok((puts, (version, workflow)))
    }

    /// Applies all changes of settings, or none.
    pub(super) fn plan_settings(
        &self,
        id: WorkflowId,
        changes: Vec<SettingChange>,
        by: &SettingWriter,
        keys: &KeyRing,
        limits: SettingLimits,
    ) -> Result<(Vec<Put>, StoredSettings)> {
        let settings = &self.get(id)?.settings;
        if changes.is_empty() {
            return Ok((Vec::new(), settings.clone()));
        }
        changes.iter().try_for_each(|change| check_setting(change, limits))?;
        let Changed { settings, names, is_keyed } = settings.changed(id, changes, by, keys, limits)?;
        let mut puts = vec![put(Key::SettingsRevision(id), &settings.revision)?];
        if let (true, Some(key)) = (is_keyed, &settings.key) {
            puts.push(put(Key::Wrapped(id), key)?);
        }
        for name in names {
            let value = settings.entries.get(&name).map(encode).transpose()?;
            puts.push((Key::Setting(id, name), value));
        }
        Ok((puts, settings))
    }

    /// Gives a workflow a data key, unless it has one.
    pub(super) fn plan_key(&self, id: WorkflowId, keys: &KeyRing) -> Result<Vec<Put>> {
        let key = self.get(id)?.settings.new_key(id, keys)?;
        key.map(|key| put(Key::Wrapped(id), &key)).transpose().map(|put| put.into_iter().collect())
    }

    /// Wraps all data keys with the current master key, and says how many were not.
    pub(super) fn plan_rewrap(&self, keys: &KeyRing) -> Result<(Vec<Put>, usize)> {
        let mut puts = Vec::new();
        for (id, kept) in &self.kept {
            let Some(wrapped) = &kept.settings.key else { continue };
            let again = keys.rewrap(wrapped, *id).map_err(|error| StoreError::Damaged {
                what: format!("the data key of the workflow {id}"),
                reason: error.to_string(),
            })?;
            if let Some(again) = again {
                puts.push(put(Key::Wrapped(*id), &again)?);
            }
        }
        let count = puts.len();
        Ok((puts, count))
    }

    /// The master keys that data keys are wrapped with, and how many each.
    pub(super) fn key_ids(&self) -> BTreeMap<KeyId, usize> {
        let mut ids = BTreeMap::new();
        for key in self.kept.values().filter_map(|kept| kept.settings.key.as_ref()) {
            *ids.entry(key.key).or_default() += 1;
        }
        ids
    }

    /// Whether all data keys can be unwrapped; else the first error.
    pub(super) fn check_keys(&self, keys: &KeyRing) -> std::result::Result<(), (WorkflowId, CipherError)> {
        for (id, kept) in &self.kept {
            if let Some(wrapped) = &kept.settings.key {
                keys.unwrap_key(wrapped, *id).map_err(|error| (*id, error))?;
            }
        }
        Ok(())
    }

    /// Encrypts settings that were written before format 4.
    pub(super) fn encrypt_plain(&mut self, keys: &KeyRing) -> Result<()> {
        for (id, kept) in &mut self.kept {
            if kept.settings.has_plain() {
                Arc::make_mut(kept).settings.encrypt_plain(*id, keys)?;
            }
        }
        Ok(())
    }

    /// Adds a runtime, or replaces the one of that name.
    pub(super) fn plan_runtime(&self, runtime: &Runtime) -> Result<Vec<Put>> {
        Ok(vec![put(Key::Runtime(runtime.name.clone()), runtime)?])
    }

    /// Applies changes of accounts, all or none.
    pub(super) fn plan_accounts(&self, changes: Vec<AccountChange>) -> Result<(Vec<Put>, Vec<User>)> {
        self.accounts.plan(changes)
    }

    /// Raises the floors of workflows' runs.
    pub(super) fn plan_run_floors(&self, floors: &[(WorkflowId, RunId)]) -> Result<Vec<Put>> {
        let is_news = |(id, floor): &&(WorkflowId, RunId)| {
            self.kept.get(id).is_some_and(|kept| kept.run_floor < Some(*floor))
        };
        floors.iter().filter(is_news).map(|(id, floor)| put(Key::RunFloor(*id), floor)).collect()
    }

    /// Raises the ledger's floor.
    pub(super) fn plan_floor(&self, floor: Timestamp) -> Result<Vec<Put>> {
        if self.ledger_floor >= Some(floor) {
            return Ok(Vec::new());
        }
        Ok(vec![put(Key::LedgerFloor, &floor)?])
    }
}

fn check_setting(change: &SettingChange, limits: SettingLimits) -> Result<()> {
    let name_bytes = change.name.len();
    if name_bytes == 0 || name_bytes > SETTING_NAME_BYTES_MAX {
        return Err(StoreError::Limit {
            what: format!("a setting's name of {name_bytes} bytes"),
            limit: format!("1 to {SETTING_NAME_BYTES_MAX} bytes"),
        });
    }
    let value_bytes = change.value.as_ref().map_or(0, |value| value.expose().len());
    if value_bytes > limits.setting_bytes_max {
        return Err(StoreError::Limit {
            what: format!("the value of setting {:?} with {value_bytes} bytes", change.name),
            limit: format!("{} bytes", limits.setting_bytes_max),
        });
    }
    Ok(())
}

fn missing_version(number: u32, name: &WorkflowName) -> StoreError {
    StoreError::Missing { what: format!("version {number} of workflow {name}") }
}

pub(super) fn replace<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

pub(super) fn put(key: Key, value: &impl Serialize) -> Result<Put> {
    Ok((key, Some(encode(value)?)))
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| StoreError::Io { action: "encode a value".to_owned(), source: error.into() })
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(
    key: &Key,
    value: &[u8],
) -> std::result::Result<T, BadValue> {
    // Not the parser's own message: it may quote the value, which may be a secret.
    serde_json::from_slice(value).map_err(|error| BadValue {
        key: key.clone(),
        reason: format!("no such JSON at byte {} of {}", error.column(), value.len()),
    })
}
