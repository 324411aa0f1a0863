//! The wire types of the management API: what the server sends and the command line
//! reads. JSON only; times are RFC 3339 in UTC.
//!
//! These are a contract: fields are added, never removed or given another meaning.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::run::{
    Exchange, Fault, FaultKind, Inputs, LogLine, LogSummary, ReplyRecord, RequestRecord, Run, RunId, Status,
    Trace, Trigger, Usage,
};
use crate::store::{StoreHealth, TickState};
use crate::workflow::{
    Code, Digest, Endpoint, Kind, LimitOverrides, Revision, SettingWriter, State, Version, Visibility,
    WorkflowId, WorkflowName,
};

/// The body of every answer that is not a success.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// A stable word, for example `name-taken`.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Names the request in the host's log.
    pub request_id: String,
    /// What is wrong with a refused program; empty for other errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

/// The body of a catch endpoint's answer about a run that failed, or was refused before it
/// ran. It holds nothing that the workflow said.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunError {
    /// Names the run.
    pub run: RunId,
    /// A stable word, for example `deadline` or `invalid-json`.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One finding about a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// The file's name as it was uploaded.
    pub file: String,
    /// From 1; 0 when the finding belongs to no line.
    pub line: u32,
    /// From 1; 0 when it is unknown.
    pub column: u32,
    /// For example `SyntaxError: '(' was never closed`.
    pub message: String,
    /// The line itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

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
    /// Whether it is hidden from everyone else.
    pub private: bool,
    /// Whether it takes new work.
    pub state: State,
    /// Where to call it; `None` for a pull.
    pub url: Option<String>,
    /// When it is due; empty for a catch.
    pub schedules: Vec<ScheduleView>,
    /// What its endpoint accepts.
    pub endpoint: Endpoint,
    /// Limits of its own.
    pub limits: LimitOverrides,
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
}

/// A schedule of a pull workflow.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    /// Unique within the workflow.
    pub name: String,
    /// The rule, as it was given.
    #[serde(flatten)]
    pub rule: ScheduleRule,
    /// The rule in words, for example `every 90 minutes`.
    pub description: String,
    /// The next due instant; `None` while paused, or when there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_due: Option<Timestamp>,
}

/// A schedule as it is asked for: `every`, or `cron` with `timezone`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Unique within the workflow; `default` when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An interval, for example `90m` or `1h30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// A cron expression with five or six fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The IANA zone of `cron`; `UTC` when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// The rule of a schedule, as it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleRule {
    /// The interval, for example `1h30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// The cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
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
    /// Whether it is hidden from everyone else.
    #[serde(default)]
    pub private: bool,
    /// When it is due; only for a pull, which may also get its schedules later.
    #[serde(default)]
    pub schedules: Vec<ScheduleSpec>,
    /// What its endpoint accepts; only for a catch.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// Limits of its own.
    #[serde(default)]
    pub limits: LimitOverrides,
}

/// `PATCH /api/v1/workflows/{name}`: what is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchWorkflow {
    /// One or a few sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// All managers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managers: Option<Vec<String>>,
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
    /// Limits of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitOverrides>,
    /// `true` gives the endpoint a new URL; the old one stops working at once.
    #[serde(default)]
    pub rotate_url: bool,
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
}

impl VersionView {
    /// The view of a version of a workflow whose active version is `active`.
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
    /// The value, when it is plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// When it was written last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Who wrote it last.
    pub updated_by: SettingWriter,
}

/// `PATCH /api/v1/workflows/{name}/settings`: a merge patch (RFC 7396) over the names;
/// `null` deletes a setting. The query `visibility=plain` marks those that are set.
pub type PatchSettings = BTreeMap<String, Option<Value>>;

/// `POST /api/v1/workflows/{name}/runs`, and what a `request.json` file holds: a request
/// to try a catch workflow with. For a pull, an empty object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// `POST` when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path and query; `/` when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Header names and values. A JSON body gets `content-type: application/json` when
    /// there is none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A text is sent as it is; anything else is sent as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The body in base64, for bytes that are no text; instead of `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

/// `GET /api/v1/workflows/{name}/runs`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunList {
    /// Newest first; runs that have not ended come first.
    pub runs: Vec<RunView>,
    /// Ask with `cursor=` this for the page behind it. A search for a text may give a page
    /// that is not full, or empty, and a `next` all the same: it goes on there.
    pub next: Option<RunId>,
    /// How far a search for a text came; left out without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searched: Option<Searched>,
}

/// How far one page of a search for a text came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Searched {
    /// Runs whose log and error were read for this page.
    pub runs: u64,
    /// When the oldest of them was accepted; `None` when there were none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub back_to: Option<Timestamp>,
}

/// A run in a listing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    /// Names the run.
    pub id: RunId,
    /// The workflow's name when it ran.
    pub workflow: WorkflowName,
    /// The version that ran.
    pub version: Option<u32>,
    /// `catch`, `pull`, `test` or `replay`.
    pub trigger: String,
    /// The schedule, of a pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The instant that was due, of a pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<Timestamp>,
    /// The run that was run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<RunId>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// How far it came.
    pub status: Status,
    /// The kind of fault.
    pub fault: Option<FaultKind>,
    /// What went wrong, one line.
    pub message: Option<String>,
    /// When the host accepted it.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Timestamp,
    /// When its instance was asked for.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// From start to end.
    pub duration_ms: Option<f64>,
    /// How long after its due instant a pull started, or was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness_ms: Option<f64>,
    /// The HTTP status that the caller got.
    pub reply_status: Option<u16>,
    /// Largest sum of its linear memories.
    pub memory_peak_bytes: u64,
}

impl From<&Run> for RunView {
    fn from(run: &Run) -> Self {
        let (schedule, due) = match &run.trigger {
            Trigger::Pull { schedule, due } => (Some(schedule.clone()), Some(*due)),
            _ => (None, None),
        };
        let replay_of = match run.trigger {
            Trigger::Replay { of } => Some(of),
            _ => None,
        };
        Self {
            id: run.id,
            workflow: run.workflow_name.clone(),
            version: run.version,
            trigger: run.trigger.word().to_owned(),
            schedule,
            due,
            replay_of,
            attempt: run.attempt,
            status: run.status,
            fault: run.fault.as_ref().map(|fault| fault.kind),
            message: run.fault.as_ref().map(|fault| fault.message.clone()),
            accepted_at: run.accepted_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            duration_ms: run.duration_ms(),
            lateness_ms: run.lateness_us.map(|us| us as f64 / 1e3),
            reply_status: run.reply.as_ref().map(|reply| reply.status),
            memory_peak_bytes: run.usage.memory_peak_bytes,
        }
    }
}

/// `GET /api/v1/runs/{id}`, and the answer of a test run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunDetail {
    /// What a listing shows.
    #[serde(flatten)]
    pub run: RunView,
    /// The guest's traceback or the wasm backtrace.
    pub trace: Option<String>,
    /// What it was handed.
    #[schema(value_type = Option<Object>)]
    pub request: Option<RequestRecord>,
    /// What the caller was answered.
    #[schema(value_type = Option<Object>)]
    pub reply: Option<ReplyRecord>,
    /// What the function returned when it was no reply.
    pub value: Option<Value>,
    /// How much log it wrote.
    pub log: LogSummary,
    /// HTTP exchanges with the outside.
    pub exchanges: Vec<Exchange>,
    /// Names of the settings that it was handed.
    #[serde(default)]
    pub settings_read: Vec<String>,
    /// Names of the settings that it changed.
    pub settings_changed: Vec<String>,
    /// The host that ran it.
    #[serde(default)]
    pub node: Option<String>,
    /// Its place in a distributed trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_context: Option<Trace>,
    /// What it used.
    pub usage: Usage,
    /// The non-deterministic things that the host gave it.
    pub inputs: Inputs,
}

impl From<&Run> for RunDetail {
    fn from(run: &Run) -> Self {
        Self {
            run: RunView::from(run),
            trace: run.fault.as_ref().and_then(|Fault { trace, .. }| trace.clone()),
            request: run.request.clone(),
            reply: run.reply.clone(),
            value: run.value.as_ref().and_then(|value| serde_json::from_str(value.get()).ok()),
            log: run.log,
            exchanges: run.exchanges.clone(),
            settings_read: run.settings_read.clone(),
            settings_changed: run.settings_changed.clone(),
            node: run.node.as_deref().map(str::to_owned),
            trace_context: run.trace.clone(),
            usage: run.usage,
            inputs: run.inputs.clone(),
        }
    }
}

/// `GET /api/v1/runs/{id}/log`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunLog {
    /// In the order they were written.
    pub lines: Vec<LogLine>,
    /// Bytes that the cap dropped, between the lines that were kept.
    pub dropped_bytes: u64,
}

/// `GET /api/v1/workflows/{name}/ticks`: the schedule's ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TickList {
    /// Newest due instant first.
    pub ticks: Vec<TickView>,
}

/// What became of one due instant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TickView {
    /// The schedule's name.
    pub schedule: String,
    /// The instant that was due.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// What became of it.
    pub state: TickState,
    /// Its run.
    pub run: RunId,
    /// How late it was claimed.
    pub lateness_ms: f64,
}

/// `GET /api/v1/runtimes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RuntimeList {
    /// In the order of their names.
    pub runtimes: Vec<RuntimeView>,
}

/// A language runtime: what runs a workflow that was deployed as source.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RuntimeView {
    /// A workflow names its runtime by this.
    pub name: String,
    /// Whether workflows that name none get it.
    pub default: bool,
    /// For example `python`.
    pub language: String,
    /// For example `3.14.0`.
    pub version: String,
    /// SHA-256 of its component.
    pub digest: Digest,
    /// What programs can import.
    pub packages: Vec<PackageView>,
}

/// A package of a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackageView {
    /// For example `requests`.
    pub name: String,
    /// For example `2.32.5`.
    pub version: String,
}

/// One event of `GET /api/v1/events`: the SSE field `event` is `run`, `data` is this.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunEvent {
    /// The run as it is now: `running` when it starts, terminal when it ended.
    #[serde(flatten)]
    pub run: RunView,
}

/// The data of an event `lost` of `GET /api/v1/events`: the listener was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventsLost {
    /// Number of events that it will not get.
    pub lost: u64,
}

/// `GET /api/v1/health`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// Whether the host takes work.
    pub ready: bool,
    /// When the process became ready.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Workflows that are not archived.
    pub workflows: u64,
    /// Runs in their sandbox.
    pub runs_running: u64,
    /// Runs that wait for a permit.
    pub runs_waiting: u64,
    /// Instances that exist.
    pub instances_in_use: u64,
    /// Instances that may exist.
    pub instances_max: u64,
    /// Linear memory of all instances, in bytes.
    pub instances_memory_bytes: u64,
    /// How the store is.
    pub store: StoreHealth,
}

/// `GET /api/v1/workflows/{name}/statistics` and `GET /api/v1/statistics`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StatisticsView {
    /// The beginning of the first minute.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The end of the last minute.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// Minutes of one point.
    pub step_minutes: u32,
    /// All points together.
    pub total: StatisticsPoint,
    /// In the order of time; those without runs are left out.
    pub points: Vec<StatisticsPoint>,
}

/// The runs that ended in some minutes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StatisticsPoint {
    /// When the first of these minutes began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Their number.
    pub runs: u64,
    /// By status; those that did not occur are left out.
    pub statuses: BTreeMap<String, u64>,
    /// By kind of fault; those that did not occur are left out.
    pub faults: BTreeMap<String, u64>,
    /// From start to end, of those that started.
    pub duration_ms: Option<Percentiles>,
    /// Memory at most, of those that started.
    pub memory_bytes: Option<Percentiles>,
    /// How late pulls were.
    pub lateness_ms: Option<Percentiles>,
}

/// How large some numbers are; off by less than 1.6 %, but for `max` and `mean`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Percentiles {
    /// Half of them are not larger.
    pub p50: f64,
    /// 95 % are not larger.
    pub p95: f64,
    /// 99 % are not larger.
    pub p99: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// `GET /api/v1/usage`: what the data folder's bytes are.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UsageView {
    /// What is kept of each workflow that has runs, in the order of their names.
    pub workflows: Vec<WorkflowUsageView>,
    /// Bytes of run records and logs, of all workflows.
    pub run_bytes: u64,
    /// Of these, bytes of runs that are deleted and whose space has not come back yet.
    pub dead_bytes: u64,
    /// Bytes of the index and the metadata.
    pub index_bytes: u64,
    /// Bytes of statistics.
    pub statistics_bytes: u64,
    /// Bytes of components, sources and runtimes.
    pub blob_bytes: u64,
    /// Bytes free on the file system.
    pub free_bytes: u64,
}

/// What is kept of one workflow.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkflowUsageView {
    /// The workflow.
    pub name: WorkflowName,
    /// Its runs.
    pub runs: u64,
    /// Bytes of their records and logs.
    pub run_bytes: u64,
}

/// The name of a backup's manifest, beside the files of the data folder.
pub const BACKUP_MANIFEST: &str = "manifest.json";
/// The version of the manifest's format.
pub const BACKUP_FORMAT: u32 = 1;

/// What a backup consists of: the last file of `GET /api/v1/backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupManifest {
    /// The version of this format.
    pub format: u32,
    /// The version of the host that took it.
    pub tidegate: String,
    /// When it was taken.
    #[schema(value_type = String, format = DateTime)]
    pub taken_at: Timestamp,
    /// Workflows in it.
    pub workflows: u64,
    /// Runs in it.
    pub runs: u64,
    /// Every other file.
    pub files: Vec<BackupFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupFile {
    /// Its place below the folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// `GET /api/v1/version`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct About {
    /// Tidegate's version.
    pub version: String,
    /// The sandbox's version.
    pub wasmtime: String,
    /// When the process became ready.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
}
