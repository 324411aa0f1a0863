//! The durable queue: events that were accepted now and are run later, their attempts,
//! and those that were given up.
//!
//! An *event* is one piece of accepted work: a request that was answered 202, a tick
//! whose run is tried again, a replay. It is named by the id of its first run. Each
//! attempt is a run of its own. The path of an event:
//!
//! ```text
//! waiting ──lease──> leased ──end──> [notifying ──>] ended
//!    ^                 │ │                             │ dead letters only
//!    └──────retry──────┘ └──forget──> (gone)           │
//!    └──────────────────────redrive────────────────────┘
//! ```
//!
//! One process owns the queue, so a lease ends with its settlement or with the process:
//! there is nothing to renew. What was leased when a process ended is an *orphan* for
//! the next one, which has to find out what became of its run.

pub(super) mod book;
pub(super) mod log;
mod sealing;
mod verbs;
pub(super) mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::run::{FaultKind, RequestRecord, RunId, Status, Trigger};
use crate::workflow::WorkflowId;

/// One piece of accepted work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Names the event, and its first attempt's run.
    pub id: RunId,
    /// Whose it is.
    pub workflow: WorkflowId,
    /// What its runs are recorded as.
    pub trigger: Trigger,
    /// When the host accepted it.
    pub accepted_at: Timestamp,
    /// The version that runs it; `None` for the one that is active then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// What makes it the same as another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<DedupeKey>,
    /// The URL that is told how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    /// Its caller waits for it: it is run by whoever enqueued it, once, and has no input
    /// in the queue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_direct: bool,
}

/// Two events of a workflow with the same name are one, while the first is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupeKey {
    /// What the caller named it by; unique within the workflow.
    pub name: String,
    /// A digest of what was asked, by which a name that is used for something else is
    /// noticed.
    pub print: String,
}

/// What an event's runs are handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventInput {
    /// A request with its whole body.
    Request(RequestRecord),
    /// A due instant.
    Tick {
        /// The schedule's name.
        schedule: String,
        /// The instant.
        due: Timestamp,
    },
    /// Nothing is kept: the event is direct, or over.
    Nothing,
}

/// Where an event is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum EventState {
    /// Its next attempt has not begun.
    Waiting {
        /// It does not begin before.
        not_before: Timestamp,
    },
    /// Its attempt may be going on.
    Leased {
        /// Since when.
        since: Timestamp,
    },
    /// Over; its callback has not been told yet.
    Notifying {
        /// The next try is not before.
        not_before: Timestamp,
        /// Tries so far.
        tries: u32,
        /// How it ended.
        end: EventEnd,
    },
    /// Over.
    Ended {
        /// How it ended.
        end: EventEnd,
    },
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEnd {
    /// The status of its last run.
    pub status: Status,
    /// The fault of its last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultKind>,
    /// When.
    pub at: Timestamp,
    /// It was given up: it is in the list of dead letters, with its input, and can be
    /// driven again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_dead: bool,
}

/// An event as the queue has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// The event.
    pub event: Event,
    /// The run of the attempt that waits, goes on, or was the last one.
    pub run: RunId,
    /// The number of that attempt, from 1.
    pub attempt: u32,
    /// Attempts that do not count against the policy: those before the last redrive, and
    /// those that never began.
    #[serde(default)]
    pub pardoned: u32,
    /// Where it is.
    pub state: EventState,
    /// How telling its callback went; `None` before the first try, and without a callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<CallbackRecord>,
}

/// How telling a callback went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackRecord {
    /// How the last try went.
    pub result: CallbackResult,
    /// When that was.
    pub at: Timestamp,
    /// Tries so far, from 1.
    pub tries: u32,
    /// Why the last try did not tell it, one line of at most 300 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a try to tell a callback went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackResult {
    /// The receiver took it.
    Told,
    /// The receiver does not want it, or nobody is there to be told.
    Gone,
    /// It failed, and was the last one.
    GivenUp,
    /// It failed; another one follows.
    Again,
}

impl QueueEntry {
    /// A new event that waits for its first attempt.
    pub fn waiting(event: Event, not_before: Timestamp) -> Self {
        let run = event.id;
        Self { event, run, attempt: 1, pardoned: 0, state: EventState::Waiting { not_before }, told: None }
    }

    /// A new event whose first attempt begins at once.
    pub fn leased(event: Event) -> Self {
        let (run, since) = (event.id, event.accepted_at);
        Self { event, run, attempt: 1, pardoned: 0, state: EventState::Leased { since }, told: None }
    }

    /// How it ended; `None` while it has not.
    pub fn end(&self) -> Option<EventEnd> {
        match self.state {
            EventState::Waiting { .. } | EventState::Leased { .. } => None,
            EventState::Notifying { end, .. } | EventState::Ended { end } => Some(end),
        }
    }

    /// Attempts that count against the policy, the current one included.
    pub fn attempts_spent(&self) -> u32 {
        self.attempt.saturating_sub(self.pardoned)
    }
}

/// The answer to [`EventQueue::enqueue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the queue.
    New,
    /// An event with its key is there already, and nothing was added.
    Known(Box<QueueEntry>),
}

/// An event that is to be worked on now, by nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The event; in the state [`EventState::Leased`] its run is to be carried out, in
    /// [`EventState::Notifying`] its callback is to be told.
    pub entry: QueueEntry,
    /// What its run is handed.
    pub input: EventInput,
}

/// What [`EventQueue::lease`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leases {
    /// Oldest first.
    pub leased: Vec<Leased>,
    /// When the next event comes due that is not due yet.
    pub next: Option<Timestamp>,
}

/// How much a lease takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Events whose runs are to be carried out.
    pub runs: usize,
    /// Events whose callbacks are to be told.
    pub callbacks: usize,
}

impl Wanted {
    /// At most so many of each.
    pub fn each(limit: usize) -> Self {
        Self { runs: limit, callbacks: limit }
    }
}

/// How many events of a workflow may be leased now, for their runs.
pub type Room = Arc<dyn Fn(WorkflowId) -> usize + Send + Sync>;

/// What becomes of a leased event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Another attempt follows, as a run of its own.
    Retry {
        /// Not before.
        not_before: Timestamp,
        /// The last one counts against the policy.
        counts: bool,
    },
    /// It is over.
    End(EventEnd),
    /// It never was: nothing of it is kept, and its key is free.
    Forget,
}

/// How a try to tell a callback went, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notified {
    /// It was told.
    Told,
    /// Nobody wants to know.
    Gone,
    /// It is not tried again.
    GivenUp {
        /// Why it was not told, one line.
        reason: String,
    },
    /// It is to be told again.
    Again {
        /// Not before.
        not_before: Timestamp,
        /// Why it was not told, one line.
        reason: String,
    },
}

/// Which dead letters are driven again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redrive {
    /// These events; others of the list that are no dead letters are left out.
    Ids(Vec<RunId>),
    /// Those of a workflow, or all.
    Of(Option<WorkflowId>),
}

/// Limits of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Events that are not over.
    pub events_max: usize,
    /// Bytes of their inputs.
    pub bytes_max: u64,
    /// How long an event that is over is remembered, with its key.
    pub remember: Duration,
    /// Events that are over and remembered; the oldest are forgotten first.
    pub remembered_max: usize,
    /// How long a dead letter is kept, and an event whose callback was given up.
    pub dead_keep: Duration,
    /// Dead letters, and events whose callback was given up, each; the oldest go first.
    pub dead_max: usize,
}

impl QueueLimits {
    /// The limits that a configuration gives.
    pub fn from_config(config: &crate::config::Queue) -> Self {
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        Self {
            events_max: config.events_max,
            bytes_max: config.bytes_max,
            remember: hours(config.remember_hours.into()),
            remembered_max: config.remembered_max,
            dead_keep: hours(24 * u64::from(config.dead_days)),
            dead_max: config.dead_max,
        }
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            events_max: 10_000,
            bytes_max: 256 << 20,
            remember: Duration::from_secs(24 * 3600),
            remembered_max: 100_000,
            dead_keep: Duration::from_secs(30 * 24 * 3600),
            dead_max: 10_000,
        }
    }
}

/// How full the queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueFigures {
    /// Events that wait for an attempt.
    pub waiting: u64,
    /// Events whose attempt goes on.
    pub leased: u64,
    /// Events that are over but for their callback.
    pub notifying: u64,
    /// Dead letters.
    pub dead: u64,
    /// Events that are over and remembered.
    pub remembered: u64,
    /// Bytes of inputs of events that are not over, dead letters not included.
    pub input_bytes: u64,
    /// Bytes of the queue's files.
    pub file_bytes: u64,
    /// Dead letters that went for want of room or of age since the store was opened.
    pub dead_dropped: u64,
}

/// The verbs of the queue. Each that changes something returns when the change is on the
/// disk.
#[async_trait]
pub trait EventQueue: Send + Sync {
    /// Adds an event, unless one of its workflow with its key is remembered.
    ///
    /// # Errors
    /// [`StoreError::QueueFull`](super::StoreError::QueueFull);
    /// [`StoreError::Full`](super::StoreError::Full) for a request while there is little room
    /// on the disk, for one whose caller waits while there is hardly any;
    /// [`StoreError::Missing`](super::StoreError::Missing) for an unknown workflow.
    async fn enqueue(&self, entry: QueueEntry, input: EventInput) -> Result<Enqueued>;

    /// Takes events that are due, oldest first, at most as many as are `wanted`, and of no
    /// workflow more than `room` says.
    async fn lease(&self, now: Timestamp, wanted: Wanted, room: Room) -> Result<Leases>;

    /// Takes one event that waits; `None` when it does not. It is named by its id or by
    /// the run of its next attempt.
    async fn take(&self, id: RunId) -> Result<Option<Leased>>;

    /// Records what became of a lease, and returns the event as it is now.
    ///
    /// # Errors
    /// [`StoreError::Missing`](super::StoreError::Missing) when the event is not leased
    /// for this run, for example because its workflow was archived.
    async fn settle_event(&self, id: RunId, run: RunId, settlement: Settlement) -> Result<QueueEntry>;

    /// Records how a try to tell a callback went.
    ///
    /// # Errors
    /// As [`EventQueue::settle_event`].
    async fn settle_callback(&self, id: RunId, notified: Notified) -> Result<()>;

    /// What was leased when the process before this one ended, oldest first.
    async fn orphans(&self) -> Result<Vec<Leased>>;

    /// Makes dead letters wait again, at most `limit` of them, oldest first, and returns
    /// their ids. Attempts count from there.
    async fn redrive(&self, which: Redrive, limit: usize) -> Result<Vec<RunId>>;

    /// Dead letters, newest first, behind `cursor`.
    async fn dead_letters(
        &self,
        workflow: Option<WorkflowId>,
        cursor: Option<RunId>,
        limit: usize,
    ) -> Result<(Vec<QueueEntry>, Option<RunId>)>;

    /// The event with this id, or whose current run has it, while it is remembered.
    async fn event(&self, id: RunId) -> Result<Option<QueueEntry>>;

    /// What the event's runs are handed; `None` when it is unknown.
    async fn event_input(&self, id: RunId) -> Result<Option<EventInput>>;

    /// Events that wait or are leased, latest attempt first, at most `limit`.
    async fn unended(&self, workflow: Option<WorkflowId>, limit: usize) -> Result<Vec<QueueEntry>>;

    /// Forgets what is too old or too much.
    async fn tidy_queue(&self, now: Timestamp) -> Result<()>;

    /// How full the queue is. Cheap.
    fn queue_figures(&self) -> QueueFigures;
}
