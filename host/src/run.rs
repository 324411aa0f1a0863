//! Runs: what started one, what it was handed, how it ended and what it used.
//!
//! These are the records that the debugger shows and that replay reads, so the
//! format has a version ([`FORMAT`]) and unknown fields of a newer one are ignored.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::workflow::{WorkflowId, WorkflowName, id128};

/// The version of the record's format that this build writes.
pub const FORMAT: u16 = 1;

id128! {
    /// Names one run; sorts by the time the run was accepted.
    RunId
}

/// One execution, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The format's version, [`FORMAT`] when it was written.
    pub format: u16,
    /// Names the run.
    pub id: RunId,
    /// The workflow that ran.
    pub workflow: WorkflowId,
    /// The workflow's name at that time.
    pub workflow_name: WorkflowName,
    /// The version that ran; `None` when nothing was deployed.
    pub version: Option<u32>,
    /// What started it.
    pub trigger: Trigger,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The event of the queue that it is an attempt at, named by the run of the first
    /// attempt; `None` for what did not go through the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<RunId>,
    /// How far it came.
    pub status: Status,
    /// What went wrong; `None` unless `status` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// When the host accepted it.
    pub accepted_at: Timestamp,
    /// When its instance was asked for, after it had waited for a permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The HTTP request of a catch, its body cut at the configured cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<RequestRecord>>,
    /// What the caller was answered, its body cut at the configured cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyRecord>,
    /// What the function returned when it was no reply, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    /// How much log it wrote.
    #[serde(default)]
    pub log: LogSummary,
    /// HTTP exchanges with the outside, in the order they began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<Exchange>,
    /// Names of the settings that it was handed, which are all that there were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings_read: Vec<String>,
    /// Names of the settings that it changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings_changed: Vec<String>,
    /// How long after its due instant a pull started, or was given up, in microseconds;
    /// `None` for other triggers, and for attempts that follow a first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness_us: Option<u64>,
    /// The host that ran it, by the name that it is configured with; `None` in records
    /// of builds before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
    /// The non-deterministic things that the host gave it, for replay.
    #[serde(default)]
    pub inputs: Inputs,
}

impl RunId {
    /// A new id that nobody can guess who knows other ids: 74 random bits behind the
    /// milliseconds of the clock. Such ids sort by those milliseconds alone.
    pub fn unguessable() -> Self {
        let random: [u8; 16] = rand::random();
        let mut bytes = *Self::new().as_bytes();
        // Version and variant stay what they are (RFC 9562 section 5.7).
        bytes[6] = bytes[6] & 0xf0 | random[6] & 0x0f;
        bytes[7] = random[7];
        bytes[8] = bytes[8] & 0xc0 | random[8] & 0x3f;
        bytes[9..].copy_from_slice(&random[9..]);
        Self::from_bytes(bytes)
    }
}

impl Run {
    /// Wall-clock time from start to end; `None` while it has not both.
    pub fn duration_ms(&self) -> Option<f64> {
        let (started, finished) = (self.started_at?, self.finished_at?);
        Some(finished.duration_since(started).as_secs_f64().max(0.0) * 1e3)
    }

    /// Notes how late a pull is at `now`; other triggers are never late, and later attempts
    /// are as late as their policy wants them.
    pub fn note_lateness(&mut self, now: Timestamp) {
        if let Trigger::Pull { due, .. } = self.trigger
            && self.attempt == 1
        {
            self.lateness_us = Some(u64::try_from(now.duration_since(due).as_micros()).unwrap_or(0));
        }
    }
}

/// What started a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Trigger {
    /// A request at the workflow's endpoint.
    Catch,
    /// A due instant of a schedule.
    Pull {
        /// The schedule's name.
        schedule: String,
        /// The instant that was due.
        #[schema(value_type = String, format = DateTime)]
        due: Timestamp,
    },
    /// A test run asked for by a person.
    Test,
    /// The same request again.
    Replay {
        /// The run that is run again.
        of: RunId,
    },
}

impl Trigger {
    /// What [`Trigger::word`] can be.
    pub const WORDS: [&str; 4] = ["catch", "pull", "test", "replay"];

    /// One word: `catch`, `pull`, `test` or `replay`.
    pub fn word(&self) -> &'static str {
        match self {
            Trigger::Catch => "catch",
            Trigger::Pull { .. } => "pull",
            Trigger::Test => "test",
            Trigger::Replay { .. } => "replay",
        }
    }
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted, waiting.
    Queued,
    /// In its sandbox.
    Running,
    /// Ended, and its settings are saved.
    Succeeded,
    /// Ended with a fault; nothing was saved.
    Failed,
    /// The host ended before the run did.
    Interrupted,
    /// Never ran (its request was refused, its tick skipped, the host had no room), or was
    /// stopped on purpose
    Cancelled,
}

impl Status {
    /// All statuses.
    pub const ALL: [Status; 6] = [
        Status::Queued,
        Status::Running,
        Status::Succeeded,
        Status::Failed,
        Status::Interrupted,
        Status::Cancelled,
    ];

    /// The status as one word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Interrupted => "interrupted",
            Status::Cancelled => "cancelled",
        }
    }

    /// Whether the run can still change.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Status::Queued | Status::Running)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

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
    /// What the guest returned cannot be used: a reply over its cap, a setting that
    /// is not JSON.
    Result,
    /// The request was refused before any of the user's code ran.
    Refused,
    /// No permit came free in time, or the host is shutting down.
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
    pub const ALL: [FaultKind; 11] = [
        FaultKind::Exception,
        FaultKind::Trap,
        FaultKind::Memory,
        FaultKind::Deadline,
        FaultKind::Result,
        FaultKind::Refused,
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
            FaultKind::Result => "result",
            FaultKind::Refused => "refused",
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
            | FaultKind::Result => Blame::Guest,
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

/// A request as a guest and a record get it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Upper case.
    pub method: String,
    /// Path and, behind `?`, the query.
    pub path_with_query: String,
    /// Lower-case names, the caller's order, repeated names repeated.
    pub headers: Vec<(String, String)>,
    /// The body, perhaps cut.
    pub body: Body,
}

/// A response as it was sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyRecord {
    /// 200 to 599.
    pub status: u16,
    /// As sent, without those that the transport adds.
    pub headers: Vec<(String, String)>,
    /// The body, perhaps cut.
    pub body: Body,
}

// Headers and bodies hold secrets and personal data: they never reach a log line.
impl fmt::Debug for RequestRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestRecord")
            .field("method", &self.method)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReplyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyRecord")
            .field("status", &self.status)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A recorded body: `{"text"}` when it is UTF-8, else `{"base64"}`, with `"of"` giving
/// the full size in bytes when it was cut.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BodyJson", into = "BodyJson")]
pub struct Body {
    /// What was kept.
    pub bytes: Bytes,
    /// The size before the cut, in bytes; at least `bytes.len()`.
    pub full_bytes: u64,
}

impl Body {
    /// The whole of `bytes`, or its first `keep_bytes_max`.
    pub fn cut(bytes: Bytes, keep_bytes_max: usize) -> Self {
        let full_bytes = bytes.len() as u64;
        let kept = if bytes.len() > keep_bytes_max { bytes.slice(..keep_bytes_max) } else { bytes };
        Self { bytes: kept, full_bytes }
    }

    /// Whether something is missing.
    pub fn is_cut(&self) -> bool {
        self.full_bytes > self.bytes.len() as u64
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} of {} bytes)", self.bytes.len(), self.full_bytes)
    }
}

#[derive(Serialize, Deserialize)]
struct BodyJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
}

impl From<Body> for BodyJson {
    fn from(body: Body) -> Self {
        let of = body.is_cut().then_some(body.full_bytes);
        match std::str::from_utf8(&body.bytes) {
            Ok(text) => Self { text: Some(text.to_owned()), base64: None, of },
            Err(_) => Self { text: None, base64: Some(data_encoding::BASE64.encode(&body.bytes)), of },
        }
    }
}

impl TryFrom<BodyJson> for Body {
    type Error = String;

    fn try_from(json: BodyJson) -> Result<Self, String> {
        let bytes = match (json.text, json.base64) {
            (Some(text), None) => Bytes::from(text),
            (None, Some(base64)) => data_encoding::BASE64
                .decode(base64.as_bytes())
                .map_err(|error| format!("a recorded body is not base64: {error}"))?
                .into(),
            (None, None) => Bytes::new(),
            (Some(_), Some(_)) => return Err("a recorded body has both text and base64".to_owned()),
        };
        let full_bytes = json.of.unwrap_or(bytes.len() as u64).max(bytes.len() as u64);
        Ok(Self { bytes, full_bytes })
    }
}

/// How much log a run wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct LogSummary {
    /// Lines kept.
    pub lines: u32,
    /// Bytes kept, of the lines' texts and fields.
    pub bytes: u64,
    /// Bytes that the cap dropped.
    pub dropped_bytes: u64,
}

/// One line of a run's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Microseconds since the run started.
    pub at_us: u64,
    /// How much it matters.
    pub level: Level,
    /// Where it came from.
    pub stream: Stream,
    /// The text, without its line break; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Structured fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// Where a log line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// The guest's standard output.
    Stdout,
    /// The guest's standard error.
    Stderr,
    /// The guest's calls of the `log` interface.
    Log,
    /// The host's own remarks, for example of a reply without a body.
    Host,
}

/// One HTTP exchange of a run with the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exchange {
    /// Microseconds since the run started.
    pub at_us: u64,
    /// Upper case.
    pub method: String,
    /// The URL; values in its query are replaced by `…`.
    pub url: String,
    /// The response's status; `None` when there was none.
    pub status: Option<u16>,
    /// Bytes of the request's body that were sent.
    pub request_bytes: u64,
    /// Bytes of the response's body that the guest was given.
    pub response_bytes: u64,
    /// Microseconds to the end of the response, or to the error.
    pub duration_us: u64,
    /// Why there was no response, one word of the `wasi:http` error codes, for
    /// example `connection-refused` or `destination-ip-prohibited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is known beyond that word, for people: the rule of the policy that refused
    /// it, the cap that was reached, the name server's answer. For example `127.0.0.1 is
    /// a loopback address (RFC 1122)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a run used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Largest sum of its linear memories, in bytes.
    pub memory_peak_bytes: u64,
    /// Processor time of its instance, in microseconds.
    pub cpu_us: u64,
    /// Wall-clock time from permit to end, in microseconds.
    pub wall_us: u64,
    /// Of that, the time until the instance existed.
    pub instantiate_us: u64,
    /// Time from acceptance to permit, in microseconds.
    pub queue_us: u64,
}

/// The non-deterministic things that the host gave a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Inputs {
    /// The seed of everything random that the guest read: 32 bytes in hexadecimal;
    /// empty when it read nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub random_seed: String,
    /// The wall clock when the run started, in nanoseconds since the Unix epoch.
    #[serde(default)]
    pub clock_start_ns: u64,
    /// Number of clock reads.
    #[serde(default)]
    pub clock_reads: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_survives_json_as_text_or_base64_and_says_what_was_cut() {
        for (bytes, keep, json) in [
            (Bytes::from_static(b"{\"a\": 1}"), 100, r#"{"text":"{\"a\": 1}"}"#),
            (Bytes::from_static(b"\xff\x00"), 100, r#"{"base64":"/wA="}"#),
            (Bytes::from_static(b"abcdef"), 2, r#"{"text":"ab","of":6}"#),
            (Bytes::new(), 0, r#"{"text":""}"#),
        ] {
            let body = Body::cut(bytes, keep);
            assert_eq!(serde_json::to_string(&body).unwrap(), json);
            assert_eq!(serde_json::from_str::<Body>(json).unwrap(), body);
        }
        assert!(serde_json::from_str::<Body>(r#"{"text":"a","base64":"YQ=="}"#).is_err());
    }
}
