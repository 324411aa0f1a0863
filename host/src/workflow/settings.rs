//! The settings of a workflow: environment properties that outlive its runs.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Revision;

/// How a setting's value is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Can be set and replaced, never read back.
    #[default]
    Secret,
    /// Shown to those who may see the workflow.
    Plain,
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

/// One environment property as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct Setting {
    /// The value as JSON text.
    pub value: Box<RawValue>,
    /// How the value is treated.
    #[serde(default)]
    pub visibility: Visibility,
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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Sorted by name.
    pub entries: BTreeMap<String, Setting>,
    /// Counts the commits.
    pub revision: Revision,
}

/// One setting that is set or deleted.
#[derive(Clone)]
pub struct SettingChange {
    /// 1 to 256 bytes.
    pub name: String,
    /// The new value as JSON text; `None` deletes the setting.
    pub value: Option<Box<RawValue>>,
    /// The new visibility; `None` keeps it (a new setting is secret).
    pub visibility: Option<Visibility>,
}

impl fmt::Debug for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingChange")
            .field("name", &self.name)
            .field("deletes", &self.value.is_none())
            .finish_non_exhaustive()
    }
}
