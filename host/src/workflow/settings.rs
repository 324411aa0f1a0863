//! The settings of a workflow: environment properties that outlive its runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Mask, Revision, Seal, Secret};

/// How a setting's value is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Can be set and replaced, never read back.
    #[default]
    Secret,
    /// Shown to those who may see the workflow.
    Plain,
    /// As secret, and the workflow's code does not see it either: the code gets a placeholder,
    /// and the host puts the value into requests to the hosts that it is sealed to.
    Sealed,
}

impl Visibility {
    /// The word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Visibility::Secret => "secret",
            Visibility::Plain => "plain",
            Visibility::Sealed => "sealed",
        }
    }
}

/// Who wrote a setting last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SettingWriter {
    /// An account, or the local operator when `None`.
    User(Option<String>),
    /// The workflow itself, in this run.
    Run(crate::run::RunId),
}

/// One environment property.
#[derive(Clone)]
pub struct Setting {
    /// The value as JSON text.
    pub value: Secret,
    /// How the value is treated.
    pub visibility: Visibility,
    /// What it is sealed to; only of a sealed one.
    pub seal: Option<Seal>,
    /// Tells values of this setting apart and says nothing else of them: 8 hexadecimal digits.
    pub fingerprint: String,
    /// When it was written last.
    pub updated_at: Timestamp,
    /// Who wrote it last.
    pub updated_by: SettingWriter,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting")
            .field("visibility", &self.visibility)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

/// A workflow's settings by name.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Sorted by name.
    pub entries: BTreeMap<String, Setting>,
    /// Counts the commits.
    pub revision: Revision,
    /// Made when it is asked for.
    masks: Masks,
}

/// What finds secrets among settings. Building it takes a moment, and a change of settings
/// seldom changes a secret.
#[derive(Clone, Default)]
struct Masks {
    all: OnceLock<Option<Arc<Mask>>>,
    sealed: OnceLock<Option<Arc<Mask>>>,
    /// Of values that were replaced: runs that began before still have them.
    former: Vec<Arc<Mask>>,
}

/// Sets of replaced values that are still looked for.
const FORMER_MAX: usize = 4;

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masks(..)")
    }
}

impl Settings {
    /// These settings.
    pub fn new(entries: BTreeMap<String, Setting>, revision: Revision) -> Self {
        Self { entries, revision, masks: Masks::default() }
    }

    /// What finds the values of secret and sealed ones, and those that were replaced lately.
    pub fn masks(&self) -> impl Iterator<Item = &Arc<Mask>> {
        let current = self.masks.all.get_or_init(|| Mask::of(&self.entries).map(Arc::new));
        current.iter().chain(&self.masks.former)
    }

    /// What finds the values of sealed ones.
    pub fn sealed_mask(&self) -> Option<Arc<Mask>> {
        self.masks.sealed.get_or_init(|| Mask::of_sealed(&self.entries).map(Arc::new)).clone()
    }

    /// Takes over what `before` has built, where it finds the same values.
    pub fn inherit(&mut self, before: &Settings) {
        let secrets = |settings: &Settings, is_sealed: bool| -> Vec<(String, Secret)> {
            let is_one = |setting: &Setting| match setting.visibility {
                Visibility::Sealed => true,
                Visibility::Secret => !is_sealed && Mask::finds(setting),
                Visibility::Plain => false,
            };
            let entries = settings.entries.iter().filter(|(_, setting)| is_one(setting));
            entries.map(|(name, setting)| (name.clone(), setting.value.clone())).collect()
        };
        let is_same = |is_sealed| {
            let (now, then) = (secrets(self, is_sealed), secrets(before, is_sealed));
            now.len() == then.len()
                && now.iter().zip(&then).all(|(a, b)| a.0 == b.0 && a.1.expose() == b.1.expose())
        };
        let (is_same_secret, is_same_sealed) = (is_same(false), is_same(true));
        let former = if is_same_secret {
            None
        } else {
            before.masks.all.get_or_init(|| Mask::of(&before.entries).map(Arc::new)).clone()
        };
        let former = former.into_iter().chain(before.masks.former.iter().cloned());
        self.masks.former = former.take(FORMER_MAX).collect();
        if is_same_secret {
            self.masks.all = before.masks.all.clone();
        }
        if is_same_sealed {
            self.masks.sealed = before.masks.sealed.clone();
        }
    }
}

/// One setting that is set or deleted.
#[derive(Clone)]
pub struct SettingChange {
    /// 1 to 256 bytes.
    pub name: String,
    /// The new value as JSON text; `None` deletes the setting.
    pub value: Option<Secret>,
    /// The new visibility; `None` keeps it (a new setting is secret).
    pub visibility: Option<Visibility>,
    /// What it is sealed to; goes with [`Visibility::Sealed`], and with nothing else.
    pub seal: Option<Seal>,
}

impl SettingChange {
    /// A setting whose value is set or deleted, and whose visibility stays.
    pub fn new(name: String, value: Option<impl Into<Secret>>) -> Self {
        Self { name, value: value.map(Into::into), visibility: None, seal: None }
    }
}

impl fmt::Debug for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingChange")
            .field("name", &self.name)
            .field("deletes", &self.value.is_none())
            .finish_non_exhaustive()
    }
}
