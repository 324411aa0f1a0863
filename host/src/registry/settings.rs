//! The settings of workflows: read from memory, written through the store.

use std::sync::Arc;

use super::checks::{check_sealed_value, check_setting};
use super::{Entry, Registry, RegistryError};
use crate::api::{PatchSettings, SettingSpec};
use crate::store::StoreError;
use crate::workflow::{Secret, Setting, SettingChange, SettingWriter, Settings, Visibility};

impl Registry {
    /// The settings of a workflow, from memory after the first time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settings_of(&self, entry: &Entry) -> Result<Arc<Settings>, StoreError> {
        if let Some(settings) = entry.live.settings.load_full() {
            return Ok(settings);
        }
        let _gate = entry.live.settings_gate.lock().await;
        self.settings_held(entry).await
    }

    /// The settings of a workflow, if they are in memory.
    pub fn settings_in_memory(&self, entry: &Entry) -> Option<Arc<Settings>> {
        entry.live.settings.load_full()
    }

    /// Saves changes of settings, all or none, durably.
    ///
    /// # Errors
    /// A name or value over its limit, a value that cannot be sealed, or a store that fails.
    pub async fn commit_settings(
        &self,
        entry: &Entry,
        changes: Vec<SettingChange>,
        by: SettingWriter,
    ) -> Result<Arc<Settings>, RegistryError> {
        // The store merges concurrent commits; the gate keeps memory in their order.
        let _gate = entry.live.settings_gate.lock().await;
        self.commit_held(entry, changes, by).await
    }

    /// The settings of a workflow.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn settings(&self, name: &str) -> Result<Arc<Settings>, RegistryError> {
        let entry = self.find(name)?;
        self.settings_of(&entry).await.map_err(RegistryError::Store)
    }

    /// Sets and deletes settings, on behalf of the account with the login `by`.
    ///
    /// # Errors
    /// A name or value that is not allowed.
    pub async fn change_settings(
        &self,
        name: &str,
        patch: PatchSettings,
        visibility: Option<Visibility>,
        by: Option<String>,
    ) -> Result<Arc<Settings>, RegistryError> {
        let entry = self.find(name)?;
        if visibility == Some(Visibility::Sealed) {
            let reason = "a sealed setting needs its hosts: set it by itself, with PUT".to_owned();
            return Err(RegistryError::Invalid { field: "visibility", reason });
        }
        let changes = patch.into_iter().map(|(name, value)| {
            let value = value.as_ref().map(raw).transpose()?;
            Ok(SettingChange { visibility, ..SettingChange::new(name, value) })
        });
        let changes: Vec<SettingChange> = changes.collect::<Result<_, RegistryError>>()?;
        self.commit_settings(&entry, changes, SettingWriter::User(by)).await
    }

    /// Sets one setting, or changes how its value is treated, on behalf of `by`. Without
    /// a value it can only be closed further: nobody may open what they do not know.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn put_setting(
        &self,
        name: &str,
        setting: &str,
        spec: SettingSpec,
        by: Option<String>,
    ) -> Result<Arc<Settings>, RegistryError> {
        let entry = self.find(name)?;
        let visibility = match (spec.visibility, &spec.seal) {
            (None, Some(_)) => Some(Visibility::Sealed),
            (given, _) => given,
        };
        if (visibility == Some(Visibility::Sealed)) != spec.seal.is_some() {
            let reason = "`seal`, with the hosts, goes with the visibility `sealed` and needs it".to_owned();
            return Err(RegistryError::Invalid { field: "seal", reason });
        }
        let _gate = entry.live.settings_gate.lock().await;
        let value = match &spec.value {
            Some(value) => raw(value)?,
            None => {
                let current = self.settings_held(&entry).await.map_err(RegistryError::Store)?;
                let present = current.entries.get(setting).ok_or_else(|| RegistryError::Missing {
                    what: format!("the setting {setting:.64?}, whose value is to be kept,"),
                })?;
                if !is_closing(present, visibility, &spec) {
                    let reason = "this would let the value be seen where it is not now: give the value too";
                    return Err(RegistryError::Invalid { field: "value", reason: reason.to_owned() });
                }
                present.value.clone()
            }
        };
        let change =
            SettingChange { name: setting.to_owned(), value: Some(value), visibility, seal: spec.seal };
        self.commit_held(&entry, vec![change], SettingWriter::User(by)).await
    }

    /// The gate is held.
    async fn settings_held(&self, entry: &Entry) -> Result<Arc<Settings>, StoreError> {
        if let Some(settings) = entry.live.settings.load_full() {
            return Ok(settings);
        }
        let settings = Arc::new(self.store.settings(entry.workflow.id).await?);
        entry.live.settings.store(Some(settings.clone()));
        Ok(settings)
    }

    /// The gate is held.
    async fn commit_held(
        &self,
        entry: &Entry,
        changes: Vec<SettingChange>,
        by: SettingWriter,
    ) -> Result<Arc<Settings>, RegistryError> {
        let name = &entry.workflow.name;
        let of_store = |error| RegistryError::of_store(name, error);
        let current = self.settings_held(entry).await.map_err(of_store)?;
        for change in &changes {
            check_setting(change, self.config.run.setting_bytes_max)?;
            check_sealed_value(change, current.entries.get(&change.name))?;
        }
        let committed = self.store.commit_settings(entry.workflow.id, changes, by).await;
        let mut settings = committed.map_err(of_store)?;
        settings.inherit(&current);
        let settings = Arc::new(settings);
        entry.live.settings.store(Some(settings.clone()));
        Ok(settings)
    }
}

fn raw(value: &serde_json::Value) -> Result<Secret, RegistryError> {
    serde_json::to_string(value)
        .map(Secret::new)
        .map_err(|error| RegistryError::Invalid { field: "settings", reason: error.to_string() })
}

/// Whether nobody sees more of the value than before.
fn is_closing(present: &Setting, visibility: Option<Visibility>, spec: &SettingSpec) -> bool {
    match (present.visibility, visibility.unwrap_or(present.visibility)) {
        (Visibility::Sealed, Visibility::Sealed) => match (&spec.seal, &present.seal) {
            (Some(new), Some(old)) => new.is_within(old),
            // It stays as it is.
            (None, _) => true,
            (Some(_), None) => false,
        },
        (Visibility::Sealed, _) | (Visibility::Secret, Visibility::Plain) => false,
        (Visibility::Plain | Visibility::Secret, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::workflow::Seal;

    fn seal(host: &str) -> Option<Seal> {
        Some(Seal::to(vec![host.parse().unwrap()]))
    }

    fn present(visibility: Visibility, seal: Option<Seal>) -> Setting {
        let value = raw(&"hunter2!".into()).unwrap();
        let updated_by = SettingWriter::User(None);
        Setting {
            value,
            visibility,
            seal,
            fingerprint: String::new(),
            updated_at: Timestamp::UNIX_EPOCH,
            updated_by,
        }
    }

    #[test]
    fn without_its_value_a_setting_can_only_be_closed() {
        use Visibility::{Plain, Sealed, Secret};
        for (before, seal_before, after, seal_after, is_allowed) in [
            (Plain, None, Secret, None, true),
            (Plain, None, Sealed, seal("a.example"), true),
            (Secret, None, Sealed, seal("a.example"), true),
            (Secret, None, Secret, None, true),
            (Secret, None, Plain, None, false),
            (Sealed, seal("a.example"), Secret, None, false),
            (Sealed, seal("a.example"), Plain, None, false),
            (Sealed, seal("a.example"), Sealed, seal("b.example"), false),
            (Sealed, seal("a.example"), Sealed, seal("a.example"), true),
            (Sealed, None, Sealed, seal("a.example"), false),
        ] {
            let spec = SettingSpec { seal: seal_after, ..SettingSpec::default() };
            let found = is_closing(&present(before, seal_before), Some(after), &spec);
            assert_eq!(found, is_allowed, "{before:?} to {after:?}");
        }
    }
}
