//! The wire types of the management API: what the server sends and the command line
//! reads. JSON only; times are RFC 3339 in UTC.
//!
//! These are a contract: fields are added, never removed or given another meaning.
//! Workflows, their versions and settings are here, the rest in modules by noun.

mod accounts;
mod audit;
mod backup;
mod errors;
mod fusion;
mod history;
mod host;
mod keys;
mod queue;
mod runs;
mod samples;
mod schedules;
mod settings;
mod statistics;
mod upcoming;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

pub use self::accounts::{
    CreateToken, CreateUser, CreatedToken, IdentitySpec, LinkView, MeView, PatchUser, ProveSession,
    ProviderView, PutPassword, SessionView, SignInView, TokenList, TokenView, UserList, UserView,
};
pub use self::audit::AuditList;
pub use self::backup::{BACKUP_FORMAT, BACKUP_MANIFEST, BackupFile, BackupManifest};
pub use self::errors::{Diagnostic, ErrorBody, RunError};
pub use self::fusion::Fusion;
pub use self::history::{HistoryPoint, HistoryView};
pub use self::host::{About, HealthView, PackageView, RuntimeList, RuntimeView, SlotFigures};
pub use self::keys::{KeyUse, KeyView};
pub use self::queue::{
    AsyncAccepted, CallbackBody, CallbackState, CallbackView, DeadList, DeadView, RedriveRequest, Redriven,
    ReplayMany, Replayed, ReplayedMany, SkippedReplay,
};
pub use self::runs::{EventsLost, RunDetail, RunEvent, RunList, RunLog, RunView, Searched, TestRequest};
pub use self::samples::{SampleList, SampleView};
pub use self::schedules::{
    MissedWord, OverrunView, PolicyView, ScheduleRule, ScheduleSpec, ScheduleView, StretchView, TickList,
    TickView,
};
pub use self::settings::{PatchSettings, SettingList, SettingSpec, SettingView};
pub use self::statistics::{Percentiles, StatisticsPoint, StatisticsView, UsageView, WorkflowUsageView};
pub use self::upcoming::{ChangeKind, ChangeView, UpcomingList, UpcomingView};
use crate::workflow::{
    Code, Destination, Digest, Endpoint, Kind, LimitOverrides, RetryPolicy, Revision, Signature, State,
    Version, WorkflowId, WorkflowName,
};

/// `GET /api/v1/workflows`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkflowList {
    /// In the order of their names.
    pub workflows: Vec<WorkflowView>,
}

/// A workflow.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkflowView {
    /// Names it for people.
    pub name: WorkflowName,
    /// Names it for ever.
    pub id: WorkflowId,
    /// How it is started.
    pub kind: Kind,
    /// One or a few sentences.
    pub description: String,
    /// The account that owns it.
    pub owner: Option<String>,
    /// Accounts that may change it beside its owner.
    pub managers: Vec<String>,
    /// Accounts that may look into it and its runs.
    #[serde(default)]
    pub viewers: Vec<String>,
    /// Whether it is hidden from everyone else.
    pub private: bool,
    /// Whether it takes new work.
    pub state: State,
    /// Where to call it; `None` for a pull, and for who may not run the workflow.
    pub url: Option<String>,
    /// When it is due; empty for a catch.
    pub schedules: Vec<ScheduleView>,
    /// What its endpoint accepts.
    pub endpoint: Endpoint,
    /// How requests to its endpoint have to be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Where its requests may go; left out, wherever the host lets workflows go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<Destination>>,
    /// Limits of its own.
    pub limits: LimitOverrides,
    /// Whether and when failed work is tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// The version that runs; `None` until the first deploy.
    pub active_version: Option<u32>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When anything of it changed last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Counts its changes.
    pub revision: Revision,
    /// How the component of the version that runs was compiled; left out in lists, and
    /// while it is not compiled on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
}

/// `POST /api/v1/workflows`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkflow {
    /// Names it for people. A text, so that a bad one gets its own message.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
    /// How it is started. Never changes.
    pub kind: Kind,
    /// One or a few sentences.
    #[serde(default)]
    pub description: String,
    /// Accounts that may change it beside its owner.
    #[serde(default)]
    pub managers: Vec<String>,
    /// Accounts that may look into it and its runs.
    #[serde(default)]
    pub viewers: Vec<String>,
    /// Whether it is hidden from everyone else.
    #[serde(default)]
    pub private: bool,
    /// When it is due; only for a pull, which may also get its schedules later.
    #[serde(default)]
    pub schedules: Vec<ScheduleSpec>,
    /// What its endpoint accepts; only for a catch.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// How requests to its endpoint have to be signed; only for a catch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Where its requests may go; left out, wherever the host lets workflows go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<Destination>>,
    /// Limits of its own.
    #[serde(default)]
    pub limits: LimitOverrides,
    /// Whether and when failed work is tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
}

/// `PATCH /api/v1/workflows/{name}`: what is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchWorkflow {
    /// One or a few sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The login of the new owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// All managers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managers: Option<Vec<String>>,
    /// All viewers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewers: Option<Vec<String>>,
    /// Whether it is hidden from everyone else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// `paused` pauses it, `active` resumes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// All schedules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<ScheduleSpec>>,
    /// What its endpoint accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// How requests to its endpoint have to be signed; `null` takes unsigned ones.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Signature>)]
    pub signature: Option<Option<Signature>>,
    /// All destinations of its requests; an empty list lets nothing out, `null` lets them go
    /// wherever the host lets workflows go.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Destination>>)]
    pub egress: Option<Option<Vec<Destination>>>,
    /// Limits of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitOverrides>,
    /// Whether and when failed work is tried again; what is left out in it gets its
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// `true` gives the endpoint a new URL; the old one stops working at once.
    #[serde(default)]
    pub rotate_url: bool,
}

/// Tells a field that is `null` from one that is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl PatchWorkflow {
    /// Whether it changes who may do what with the workflow.
    pub fn shares(&self) -> bool {
        self.owner.is_some() || self.managers.is_some() || self.viewers.is_some() || self.private.is_some()
    }
}

/// `POST /api/v1/workflows/{name}/versions`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Deployed {
    /// The workflow.
    pub name: WorkflowName,
    /// How it is started.
    pub kind: Kind,
    /// The new version, which is the active one now.
    pub version: u32,
    /// Where to call it; `None` for a pull.
    pub url: Option<String>,
    /// When it is due next; `None` for a catch.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_due: Option<Timestamp>,
    /// Milliseconds that the deploy took, compilation included.
    pub deploy_ms: u64,
}

/// `POST /api/v1/workflows/{name}/versions?check=true`: the program would be accepted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    /// The workflow.
    pub name: WorkflowName,
    /// How it is started.
    pub kind: Kind,
    /// Milliseconds that the check took, compilation included.
    pub check_ms: u64,
}

/// `GET /api/v1/workflows/{name}/versions`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionList {
    /// Newest first.
    pub versions: Vec<VersionView>,
}

/// A version.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// From 1, without gaps.
    pub number: u32,
    /// Whether it is the one that runs.
    pub active: bool,
    /// `component` or `source`.
    pub form: String,
    /// SHA-256 of what was uploaded.
    pub digest: Digest,
    /// The source file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The runtime that runs the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// When it was uploaded.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Who uploaded it.
    pub created_by: Option<String>,
    /// What the uploader said of it.
    pub message: String,
    /// How its component, or that of its runtime, was compiled; left out while it is not
    /// compiled on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
}

impl VersionView {
    /// The view of a version of a workflow whose active version is `active`; how it was
    /// compiled is the caller's to fill.
    pub fn new(version: &Version, active: Option<u32>) -> Self {
        let (form, digest, file, runtime) = match &version.code {
            Code::Component { component, .. } => ("component", *component, None, None),
            Code::Source { file, source, runtime_name, .. } => {
                ("source", *source, Some(file.clone()), Some(runtime_name.clone()))
            }
        };
        Self {
            number: version.number,
            active: active == Some(version.number),
            form: form.to_owned(),
            digest,
            file,
            runtime,
            created_at: version.created_at,
            created_by: version.created_by.clone(),
            message: version.message.clone(),
            fusion: None,
        }
    }
}

/// `POST /api/v1/workflows/{name}/activate`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Activate {
    /// The version that runs from now on; left out, the one before the active one.
    #[serde(default)]
    pub version: Option<u32>,
}
