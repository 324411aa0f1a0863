//! Work that runs later, again, or was given up.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::{FaultKind, ReplyRecord, RunId, Status};
use crate::workflow::WorkflowName;

/// What a callback is told about an event that is over.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CallbackBody {
    /// The run that the caller was given when the event was accepted.
    pub run: RunId,
    /// The run of the last attempt.
    pub last_run: RunId,
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// How it ended.
    pub status: Status,
    /// The kind of fault.
    pub fault: Option<FaultKind>,
    /// Attempts that were made.
    pub attempts: u32,
    /// What a caller who waited would have been answered; `None` when it is not kept.
    #[schema(value_type = Option<Object>)]
    pub reply: Option<ReplyRecord>,
}

/// What became of telling the callback of an event. It is known while the event is
/// remembered: `queue.remember_hours` after its end, `queue.dead_days` when the callback or
/// the event was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallbackView {
    /// How far it came.
    pub state: CallbackState,
    /// Tries so far.
    pub tries: u32,
    /// When the last try was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub tried_at: Option<Timestamp>,
    /// The next try is not before; of `pending` alone.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
    /// Why the last try did not tell it.
    pub error: Option<String>,
}

/// How far telling a callback came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackState {
    /// The event is not over.
    Waiting,
    /// It is to be told, or told again.
    Pending,
    /// It was told.
    Told,
    /// The receiver does not want it (410), or its workflow does not have it any more.
    Gone,
    /// It was tried `queue.callback_attempts` times.
    GivenUp,
}

/// The answer to a request that is run later, and to who asks for its result too early.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AsyncAccepted {
    /// Names the event, and its first attempt.
    pub run: RunId,
    /// `queued` or `running`.
    pub status: Status,
    /// The path of the result.
    pub result: String,
}

/// `POST /api/v1/workflows/{name}/replay`: which runs are run again. What is left out
/// does not narrow it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayMany {
    /// Statuses; `failed` and `interrupted` when it is empty.
    pub statuses: Vec<Status>,
    /// `catch`, `pull`, `test` or `replay`.
    pub trigger: Option<String>,
    /// Runs accepted at or after this instant.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Runs accepted before this instant.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Runs with this text in their log, their error or its trace, as in a listing.
    pub text: Option<String>,
    /// The version that runs them; the active one when it is left out.
    pub version: Option<u32>,
    /// Runs that are looked at, 1 to 500, newest first; 500 when it is left out.
    pub limit: Option<usize>,
    /// `next` of the answer before.
    pub cursor: Option<RunId>,
}

/// What became of a [`ReplayMany`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReplayedMany {
    /// New runs, which are queued.
    pub queued: Vec<Replayed>,
    /// Runs that are not run again.
    pub skipped: Vec<SkippedReplay>,
    /// Ask with `cursor` for the runs behind these; `None` when there are none.
    pub next: Option<RunId>,
}

/// A run that will be run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// The new run.
    pub run: RunId,
    /// The old one.
    pub replay_of: RunId,
}

/// A run that is not run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SkippedReplay {
    /// The old run.
    pub run: RunId,
    /// Why.
    pub reason: String,
}

/// `GET /api/v1/dead`: events that were given up.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadList {
    /// Latest first.
    pub dead: Vec<DeadView>,
    /// Ask with `cursor=` this for the page behind it.
    pub next: Option<RunId>,
}

/// An event that was given up: none of its attempts succeeded.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadView {
    /// Names the event: the run of its first attempt.
    pub event: RunId,
    /// The run of its last attempt.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// `catch`, `pull`, `test` or `replay`.
    pub trigger: String,
    /// Attempts that were made.
    pub attempts: u32,
    /// The status of the last one.
    pub status: Status,
    /// Its kind of fault.
    pub fault: Option<FaultKind>,
    /// When the host accepted it.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Timestamp,
    /// When it was given up.
    #[schema(value_type = String, format = DateTime)]
    pub died_at: Timestamp,
}

/// `POST /api/v1/dead/redrive`: which dead letters are driven again. Exactly one of the
/// fields is given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedriveRequest {
    /// These events, at most 1,000.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<RunId>,
    /// All of this workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// `true`: all.
    pub all: bool,
}

/// What became of a [`RedriveRequest`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Redriven {
    /// Events that wait for another attempt; at most 10,000 a call.
    pub events: Vec<RunId>,
}
