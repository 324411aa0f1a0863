//! Settings: values go in, and only those that are plain come out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::workflow::{Revision, Seal, SettingWriter, Visibility};

/// `GET /api/v1/workflows/{name}/settings`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SettingList {
    /// In the order of their names.
    pub settings: Vec<SettingView>,
    /// Counts the commits.
    pub revision: Revision,
}

/// A setting.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SettingView {
    /// Its name.
    pub name: String,
    /// How its value is treated.
    pub visibility: Visibility,
    /// What it is sealed to; only of a sealed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// The value, when it is plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Tells values of this setting apart and says nothing else of them: 8 hexadecimal
    /// digits that depend on a key of the workflow's own.
    #[serde(default)]
    pub fingerprint: String,
    /// When it was written last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Who wrote it last: a person, or the run of the workflow that left it in its settings.
    pub updated_by: SettingWriter,
}

/// `PATCH /api/v1/workflows/{name}/settings`: a merge patch (RFC 7396) over the names;
/// `null` deletes a setting. The query `visibility=plain` marks those that are set.
pub type PatchSettings = BTreeMap<String, Option<Value>>;

/// `PUT /api/v1/workflows/{name}/settings/{setting}`.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingSpec {
    /// The value. Left out, the present one is kept, which is allowed when nobody sees more
    /// of it than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// How it is treated. Left out, as before; a new setting is secret, or sealed when `seal`
    /// is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// What it is sealed to. A sealed value is a text of 8 to 4096 bytes without control
    /// characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
}

impl std::fmt::Debug for SettingSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettingSpec")
            .field("visibility", &self.visibility)
            .field("seal", &self.seal)
            .finish_non_exhaustive()
    }
}
