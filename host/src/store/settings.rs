//! The settings of a workflow as they are kept: values encrypted, the rest readable.
//!
//! Nothing in here decrypts on its own: what journal, checkpoint, export and backup hold is
//! what is in memory here. [`crate::keys`] has the keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::metadata::SettingLimits;
use super::{Result, StoreError};
use crate::keys::{CipherError, DataKey, KeyRing, WrappedKey};
use crate::workflow::{
    Revision, Seal, Secret, Setting, SettingChange, SettingWriter, Settings, Visibility, WorkflowId,
};

/// One setting as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredSetting {
    /// Nonce and ciphertext in base64; `None` before format 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cipher: Option<String>,
    /// The value, before format 4.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    value: Option<Plain>,
    #[serde(default)]
    visibility: Visibility,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<Seal>,
    updated_at: Timestamp,
    updated_by: SettingWriter,
    /// The revision of the settings that wrote it.
    #[serde(default)]
    version: u64,
    #[serde(default)]
    fingerprint: String,
}

/// A value of an older format. Its `Debug` shows nothing.
#[derive(Clone, Serialize)]
struct Plain(Box<RawValue>);

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plain(..)")
    }
}

/// `null` is a value too.
fn present<'a, D: Deserializer<'a>>(deserializer: D) -> std::result::Result<Option<Plain>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(|value| Some(Plain(value)))
}

/// A workflow's settings as they are kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct StoredSettings {
    /// By name.
    pub(super) entries: BTreeMap<String, StoredSetting>,
    pub(super) revision: Revision,
    /// The key of all values; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<WrappedKey>,
}

/// What a change of settings means for what is kept.
pub(super) struct Changed {
    pub(super) settings: StoredSettings,
    /// Whose values are others now.
    pub(super) names: Vec<String>,
    /// The workflow has a data key that it did not have.
    pub(super) is_keyed: bool,
}

impl StoredSettings {
    /// The settings with these changes, all or none.
    pub(super) fn changed(
        &self,
        id: WorkflowId,
        changes: Vec<SettingChange>,
        by: &SettingWriter,
        keys: &KeyRing,
        limits: SettingLimits,
    ) -> Result<Changed> {
        let mut settings = self.clone();
        let updated_at = Timestamp::now();
        settings.revision.0 += 1;
        let (key, is_keyed) = settings.data_key(id, keys)?;
        let mut names = Vec::new();
        for change in changes {
            let before = settings.entries.remove(&change.name);
            if let Some(value) = change.value {
                let (visibility, seal) = match (change.visibility, before) {
                    (Some(visibility), _) => (visibility, change.seal),
                    (None, Some(before)) => (before.visibility, before.seal),
                    (None, None) => Default::default(),
                };
                let mut setting = StoredSetting {
                    cipher: None,
                    value: None,
                    visibility,
                    seal,
                    updated_at,
                    updated_by: by.clone(),
                    version: settings.revision.0,
                    fingerprint: key.fingerprint(&change.name, &value),
                };
                setting.cipher = Some(key.encrypt(&setting.context(id, &change.name), &value));
                settings.entries.insert(change.name.clone(), setting);
            }
            names.push(change.name);
        }
        if settings.entries.len() > limits.settings_max {
            return Err(StoreError::Limit {
                what: format!("{} settings of one workflow", settings.entries.len()),
                limit: format!("{} settings", limits.settings_max),
            });
        }
        Ok(Changed { settings, names, is_keyed })
    }

    /// Decrypts all of them.
    pub(super) fn open(&self, id: WorkflowId, keys: &KeyRing) -> Result<Settings> {
        let Some(wrapped) = &self.key else {
            return match self.entries.first_key_value() {
                None => Ok(Settings::new(BTreeMap::new(), self.revision)),
                Some((name, _)) => Err(unreadable(id, name, CipherError::NotAuthentic)),
            };
        };
        let key = keys.unwrap_key(wrapped, id).map_err(|error| unreadable_key(id, error))?;
        let opened = self.entries.iter().map(|(name, stored)| {
            let cipher = stored.cipher.as_deref().ok_or(CipherError::NotAuthentic);
            let value = cipher.and_then(|cipher| key.decrypt(&stored.context(id, name), cipher));
            let setting = Setting {
                value: value.map_err(|error| unreadable(id, name, error))?,
                visibility: stored.visibility,
                seal: stored.seal.clone(),
                fingerprint: stored.fingerprint.clone(),
                updated_at: stored.updated_at,
                updated_by: stored.updated_by.clone(),
            };
            Ok((name.clone(), setting))
        });
        Ok(Settings::new(opened.collect::<Result<_>>()?, self.revision))
    }

    /// Whether a value is not encrypted: it was written before format 4.
    pub(super) fn has_plain(&self) -> bool {
        self.entries.values().any(|setting| setting.value.is_some())
    }

    /// Encrypts what is not.
    pub(super) fn encrypt_plain(&mut self, id: WorkflowId, keys: &KeyRing) -> Result<()> {
        if !self.has_plain() {
            return Ok(());
        }
        let (key, _) = self.data_key(id, keys)?;
        let version = self.revision.0;
        for (name, setting) in &mut self.entries {
            let Some(Plain(value)) = setting.value.take() else { continue };
            let value = Secret::from(value);
            setting.version = version;
            setting.fingerprint = key.fingerprint(name, &value);
            setting.cipher = Some(key.encrypt(&setting.context(id, name), &value));
        }
        Ok(())
    }

    /// A data key as it is to be kept, where there is none.
    pub(super) fn new_key(&self, id: WorkflowId, keys: &KeyRing) -> Result<Option<WrappedKey>> {
        if self.key.is_some() {
            return Ok(None);
        }
        let (_, wrapped) = keys.new_data_key(id).map_err(|error| unreadable_key(id, error))?;
        Ok(Some(wrapped))
    }

    /// The data key, which encrypts the workflow's events too.
    pub(super) fn key_of_events(&self, id: WorkflowId, keys: &KeyRing) -> Result<DataKey> {
        let wrapped = self.key.as_ref().ok_or(CipherError::NoKey);
        let key = wrapped.and_then(|wrapped| keys.unwrap_key(wrapped, id));
        key.map_err(|error| unreadable_key(id, error))
    }

    fn data_key(&mut self, id: WorkflowId, keys: &KeyRing) -> Result<(DataKey, bool)> {
        if let Some(wrapped) = &self.key {
            let key = keys.unwrap_key(wrapped, id).map_err(|error| unreadable_key(id, error))?;
            return Ok((key, false));
        }
        let (key, wrapped) = keys.new_data_key(id).map_err(|error| unreadable_key(id, error))?;
        self.key = Some(wrapped);
        Ok((key, true))
    }
}

impl StoredSetting {
    /// What the value belongs to. Whoever changes any of this, or puts the value elsewhere,
    /// finds it undecryptable: a sealed setting cannot be made a plain one on the disk.
    fn context(&self, id: WorkflowId, name: &str) -> Vec<u8> {
        let mut context = b"tidegate setting 1".to_vec();
        let mut add = |part: &[u8]| {
            context.extend_from_slice(&(part.len() as u64).to_le_bytes());
            context.extend_from_slice(part);
        };
        add(id.as_bytes());
        add(name.as_bytes());
        add(&self.version.to_le_bytes());
        add(self.visibility.word().as_bytes());
        if let Some(seal) = &self.seal {
            add(if seal.allow_http { b"http" } else { b"tls" });
            seal.places.iter().for_each(|place| add(place.word().as_bytes()));
            add(b"");
            seal.hosts.iter().for_each(|host| add(host.to_string().as_bytes()));
        }
        context
    }
}

fn unreadable(id: WorkflowId, name: &str, error: CipherError) -> StoreError {
    StoreError::Damaged {
        what: format!("the setting {name:?} of the workflow {id}"),
        reason: error.to_string(),
    }
}

fn unreadable_key(id: WorkflowId, error: CipherError) -> StoreError {
    StoreError::Damaged { what: format!("the data key of the workflow {id}"), reason: error.to_string() }
}
