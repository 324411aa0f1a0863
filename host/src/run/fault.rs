//! Why a run did not succeed, and who has to act.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a run did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// The kind, for filters and counters.
    pub kind: FaultKind,
    /// One line for people.
    pub message: String,
    /// The guest's traceback or the wasm backtrace, several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Fault {
    /// A fault without a trace.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), trace: None }
    }
}

/// The kinds of fault. Each has its own counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// The function raised, or returned its error.
    Exception,
    /// The guest executed a trap: unreachable code, a bad access, an exit.
    Trap,
    /// The guest trapped after memory had been refused to it.
    Memory,
    /// The wall-clock deadline passed.
    Deadline,
    /// The run took more processor time than it may.
    Cpu,
    /// What the guest returned cannot be used: a reply over its cap, a setting that
    /// is not JSON.
    Result,
    /// The request was refused before any of the user's code ran.
    Refused,
    /// What the workflows of one owner may use together is used.
    Quota,
    /// No permit came free in time, the host's memory for guests is used, or the host is
    /// shutting down.
    Overload,
    /// A tick came while the last run was still going, or while the workflow was
    /// paused.
    Skipped,
    /// The host ended before the run did.
    Interrupted,
    /// Somebody stopped it, or took it out of the queue.
    Cancelled,
    /// The host failed.
    Host,
}

/// Who has to act on a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The caller of the endpoint.
    Caller,
    /// The workflow's author.
    Guest,
    /// The operator.
    Host,
}

impl Blame {
    /// The value of the reply header `tidegate-fault`.
    pub fn word(self) -> &'static str {
        match self {
            Blame::Caller => "caller",
            Blame::Guest => "guest",
            Blame::Host => "host",
        }
    }
}

impl FaultKind {
    /// All kinds, for counters that must exist before they count.
    pub const ALL: [FaultKind; 13] = [
        FaultKind::Exception,
        FaultKind::Trap,
        FaultKind::Memory,
        FaultKind::Deadline,
        FaultKind::Cpu,
        FaultKind::Result,
        FaultKind::Refused,
        FaultKind::Quota,
        FaultKind::Overload,
        FaultKind::Skipped,
        FaultKind::Interrupted,
        FaultKind::Cancelled,
        FaultKind::Host,
    ];

    /// The kind as one word, the `code` of the caller's error body.
    pub fn word(self) -> &'static str {
        match self {
            FaultKind::Exception => "exception",
            FaultKind::Trap => "trap",
            FaultKind::Memory => "memory",
            FaultKind::Deadline => "deadline",
            FaultKind::Cpu => "cpu",
            FaultKind::Result => "result",
            FaultKind::Refused => "refused",
            FaultKind::Quota => "quota",
            FaultKind::Overload => "overload",
            FaultKind::Skipped => "skipped",
            FaultKind::Interrupted => "interrupted",
            FaultKind::Cancelled => "cancelled",
            FaultKind::Host => "host",
        }
    }

    /// Who has to act on it.
    pub fn blame(self) -> Blame {
        match self {
            FaultKind::Exception
            | FaultKind::Trap
            | FaultKind::Memory
            | FaultKind::Deadline
            | FaultKind::Cpu
            | FaultKind::Result
            | FaultKind::Quota => Blame::Guest,
            FaultKind::Refused => Blame::Caller,
            FaultKind::Overload
            | FaultKind::Skipped
            | FaultKind::Interrupted
            | FaultKind::Cancelled
            | FaultKind::Host => Blame::Host,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
