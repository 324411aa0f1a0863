//! What a run is handed, and what it leaves behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;

use super::bindings::runtime::Code as RuntimeCode;
use super::bindings::workflow::tidegate::workflow::types;
use super::egress::{OutboundLimits, SealedSettings};
use super::memory::MemoryBudget;
use super::state::CommitSettings;
use crate::run::{Exchange, Fault, Inputs, LogLine, LogSummary, Trace, Usage};
use crate::workflow::{Destination, SettingChange, Settings, Visibility, WorkflowId};

/// An HTTP request for a catch workflow.
#[derive(Clone)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// Path and, behind `?`, the query.
    pub path_with_query: String,
    /// Lower-case names in the caller's order, hop-by-hop headers removed.
    pub headers: Vec<(String, String)>,
    /// The untouched body.
    pub body: Bytes,
}

/// What starts a run, as the guest sees it.
#[derive(Clone)]
pub enum Input {
    /// A request, for a catch.
    Request(Request),
    /// A due instant, for a pull.
    Tick {
        /// The schedule's name.
        schedule: String,
        /// The instant that was due.
        due: Timestamp,
    },
}

/// A program for a runtime.
pub struct Source {
    pub(super) code: RuntimeCode,
    pub(super) text: Bytes,
}

impl Source {
    /// The program that `code` was compiled from `text`, a file named `file`.
    pub fn new(file: String, code: &[u8], text: Bytes) -> Self {
        Self { code: RuntimeCode { file, bytes: code.to_vec() }, text }
    }
}

/// One run, before it starts.
pub struct Call {
    /// Whose run it is. Only runs of one workflow share connections.
    pub workflow: WorkflowId,
    /// What starts it.
    pub input: Input,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The settings that the guest is handed.
    pub settings: Arc<Settings>,
    /// The program, for a runtime; `None` for a workflow component.
    pub source: Option<Arc<Source>>,
    /// Saves settings before the end; `None` refuses it.
    pub commit: Option<Arc<dyn CommitSettings>>,
    /// Its place in a trace, which goes on with what it sends, unless it sends a
    /// `traceparent` of its own.
    pub trace: Option<Trace>,
    /// What its memory is charged to beside the host's budget; `None` for that alone.
    pub memory: Option<Arc<MemoryBudget>>,
    /// Where it may send requests; `None` for wherever the host lets workflows go.
    pub destinations: Option<Arc<[Destination]>>,
    /// What it may send, where that is less than what the host lets any run send.
    pub outbound: OutboundLimits,
    /// Its limits.
    pub limits: CallLimits,
}

/// The limits of one run.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// Wall-clock time, host calls included.
    pub deadline: Duration,
    /// Processor time.
    pub cpu_max: Duration,
    /// Sum of its linear memories.
    pub memory_bytes_max: u64,
    /// Its log.
    pub log_bytes_max: usize,
}

/// The HTTP response that a guest asked for, unchecked but for its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// As the guest gave it.
    pub status: u16,
    /// As the guest gave them.
    pub headers: Vec<(String, String)>,
    /// `None` asks for the default body.
    pub body: Option<Bytes>,
}

/// What a run that came to its end leaves behind.
#[derive(Debug)]
pub struct Outcome {
    /// The response; `None` asks for the default reply.
    pub reply: Option<Reply>,
    /// The returned value as JSON text, unchecked.
    pub value: Option<String>,
    /// The settings to save.
    pub changes: Vec<SettingChange>,
}

/// All that is known of a run after it.
pub struct Report {
    /// How it ended.
    pub end: Result<Outcome, Fault>,
    /// Its log, capped.
    pub log: Vec<LogLine>,
    /// How much of it there was.
    pub log_summary: LogSummary,
    /// Its exchanges with the outside.
    pub exchanges: Vec<Exchange>,
    /// What it used; `queue_us` is the caller's to fill.
    pub usage: Usage,
    /// What chance gave it.
    pub inputs: Inputs,
}

impl Input {
    pub(super) fn into_trigger(self, attempt: u32) -> types::Trigger {
        match self {
            Input::Request(request) => types::Trigger::Catch(types::Request {
                method: request.method,
                path_with_query: request.path_with_query,
                headers: request.headers,
                body: request.body.into(),
            }),
            Input::Tick { schedule, due } => types::Trigger::Pull(types::Tick {
                schedule,
                due_ms: u64::try_from(due.as_millisecond()).unwrap_or_default(),
                attempt,
            }),
        }
    }
}

/// The settings as the guest gets them: of sealed ones a placeholder.
pub(super) fn settings_for_guest(
    settings: &Settings,
    sealed: Option<&SealedSettings>,
) -> Vec<types::Setting> {
    let entries = settings.entries.iter();
    entries
        .map(|(name, setting)| {
            let value = match setting.visibility {
                Visibility::Secret | Visibility::Plain => setting.value.expose().to_owned(),
                Visibility::Sealed => {
                    let placeholder = sealed.and_then(|sealed| sealed.placeholder(name));
                    format!("\"{}\"", placeholder.unwrap_or_default())
                }
            };
            types::Setting { name: name.clone(), value }
        })
        .collect()
}

/// The time that a run has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) started: Instant,
    pub(super) deadline: Instant,
}

impl Span {
    pub(super) fn from_now(deadline: Duration) -> Self {
        let started = Instant::now();
        Self { started, deadline: started + deadline }
    }
}
