//! Runs and their logs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::CallbackView;
use crate::run::{
    Exchange, Fault, FaultKind, Inputs, LogLine, LogSummary, ReplyRecord, RequestRecord, Run, RunId, Status,
    Trace, Trigger, Usage,
};
use crate::workflow::WorkflowName;

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
    /// The run of the first attempt, of work that went through the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<RunId>,
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
    /// How long after its due instant a pull started, or was given up; of its first
    /// attempt.
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
            event: run.event,
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
    /// What became of telling the callback of its event; left out when the event has none,
    /// or is not remembered any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackView>,
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
            request: run.request.as_deref().cloned(),
            reply: run.reply.clone(),
            value: run.value.as_ref().and_then(|value| serde_json::from_str(value.get()).ok()),
            log: run.log,
            exchanges: run.exchanges.clone(),
            settings_read: run.settings_read.clone(),
            settings_changed: run.settings_changed.clone(),
            node: run.node.as_deref().map(str::to_owned),
            trace_context: run.trace.clone(),
            callback: None,
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
