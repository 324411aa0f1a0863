//! Runs: what started one, what it was handed, how it ended and what it used.
//!
//! These are the records that the debugger shows and that replay reads, so the
//! format has a version ([`FORMAT`]) and unknown fields of a newer one are ignored.

mod fault;
mod message;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

pub use self::fault::{Blame, Fault, FaultKind};
pub use self::message::{Body, ReplyRecord, RequestRecord};
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
    /// Its place in a distributed trace; `None` when the caller named none and traces are
    /// not exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// A run's place in a distributed trace (W3C Trace Context, level 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// 32 hexadecimal digits: the caller's, or the run's own id.
    pub trace_id: String,
    /// 16 hexadecimal digits that name the run.
    pub span_id: String,
    /// 16 hexadecimal digits that name what called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<String>,
    /// Whether the caller asks for it to be recorded.
    pub sampled: bool,
}

impl Trace {
    /// The place of a run that nobody called from within a trace.
    pub fn root(run: RunId) -> Self {
        let digits = data_encoding::HEXLOWER.encode(run.as_bytes());
        let span_id = digits[16..].to_owned();
        Self { trace_id: digits, span_id, parent_span_id: None, sampled: true }
    }

    /// The place of a run whose caller sent this header `traceparent`; `None` when it is
    /// malformed, which says that it is to be ignored.
    pub fn called(run: RunId, traceparent: &str) -> Option<Self> {
        let parts: Vec<&str> = traceparent.trim().split('-').collect();
        let [version, trace_id, parent, flags, ..] = parts[..] else { return None };
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id = |text: &str, digits: usize| is_hex(text, digits) && text.bytes().any(|byte| byte != b'0');
        let is_version = is_hex(version, 2) && version != "ff" && (version != "00" || parts.len() == 4);
        if !is_version || !is_id(trace_id, 32) || !is_id(parent, 16) || !is_hex(flags, 2) {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        let Self { span_id, .. } = Self::root(run);
        Some(Self {
            trace_id: trace_id.to_owned(),
            span_id,
            parent_span_id: Some(parent.to_owned()),
            sampled,
        })
    }

    /// 16 hexadecimal digits that name one of the run's outbound calls, by its place among its
    /// exchanges: a child of the run's own span.
    pub fn span_of_call(&self, index: usize) -> String {
        let own = u64::from_str_radix(&self.span_id, 16).unwrap_or(1);
        let mixed = own ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{:016x}", mixed.max(1))
    }

    /// The header `traceparent` of one of the run's outbound calls.
    pub fn header_of_call(&self, index: usize) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_of_call(index), u8::from(self.sampled))
    }
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

    /// Notes how late a pull is at `now` that could start at `ready`: its due instant and the
    /// schedule's jitter behind it. Other triggers are never late, and later attempts are as late
    /// as their policy wants them.
    pub fn note_lateness(&mut self, ready: Timestamp, now: Timestamp) {
        if matches!(self.trigger, Trigger::Pull { .. }) && self.attempt == 1 {
            self.lateness_us = Some(u64::try_from(now.duration_since(ready).as_micros()).unwrap_or(0));
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
    /// The sealed settings whose placeholders stood in the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed: Vec<SealedUse>,
}

/// What became of a sealed setting's placeholder in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SealedUse {
    /// The setting.
    pub name: String,
    /// Why the placeholder was left as it is; `None` when the value was put in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
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
    fn trace_is_the_callers_or_the_runs_own() {
        let run = RunId::from_bytes(*b"0123456789abcdef");
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::called(run, header).unwrap();
        assert_eq!(
            (trace.trace_id.as_str(), trace.span_id.as_str()),
            ("4bf92f3577b34da6a3ce929d0e0e4736", "3839616263646566")
        );
        assert_eq!(trace.header_of_call(0), format!("00-{}-{}-01", trace.trace_id, trace.span_of_call(0)));
        assert_eq!(trace.parent_span_id.as_deref(), Some("00f067aa0ba902b7"));
        let root = Trace::root(run);
        assert_eq!(
            (root.trace_id.as_str(), root.span_id.as_str()),
            ("30313233343536373839616263646566", "3839616263646566")
        );
        let later = header.replace("00-4", "cc-4") + "-what-comes";
        assert!(Trace::called(run, &later).is_some());
        for wrong in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert_eq!(Trace::called(run, wrong), None, "{wrong}");
        }
    }
}
