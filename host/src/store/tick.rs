//! The schedule's ledger: due instants, and what became of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::RunId;
use crate::schedule::Cadence;
use crate::workflow::WorkflowId;

/// One due instant of a schedule, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Whose schedule.
    pub workflow: WorkflowId,
    /// The schedule's name.
    pub schedule: String,
    /// The instant that was due.
    pub due: Timestamp,
    /// The run that the instant was given to, or that records why there was none.
    pub run: RunId,
    /// When it was claimed; for an instant that was claimed ahead of its time, its time.
    pub claimed_at: Timestamp,
    /// What became of it.
    pub state: TickState,
    /// Microseconds from the instant, and the schedule's jitter behind it, to the start of
    /// its run, or to the decision that it does not run.
    #[serde(default)]
    pub lateness_us: u64,
    /// The instants before this one that share the entry; `None` for an instant alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretch: Option<Stretch>,
}

/// Consecutive instants of a schedule that did not run and share an entry of the ledger,
/// which is that of the last of them. An instant among them that has an entry of its own
/// is not meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The first of them.
    pub first: Timestamp,
    /// How many they are, the last one included; counted up to a bound.
    pub count: u64,
    /// The rule that gave them.
    pub cadence: Cadence,
}

/// A place in the order of ledger entries: by instant, then by the schedule's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TickPlace {
    /// The instant that was due.
    pub due: Timestamp,
    /// The schedule's name.
    pub schedule: String,
}

/// What became of a due instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TickState {
    /// Claimed; its run has not ended yet, or the host ended before it did.
    Claimed,
    /// Its run ended, in success or in failure.
    Ran,
    /// As `ran`; it made up for an instant that the host had missed.
    Backfilled,
    /// The host ended before its run did.
    Interrupted,
    /// The run of an earlier instant was still going.
    SkippedRunning,
    /// The workflow was paused.
    SkippedPaused,
    /// The host was down, asleep or busy when it was due, and its policy does not make up
    /// for it; or its turn came after its start deadline.
    Missed,
    /// The host had no room for it.
    Refused,
}

impl TickState {
    /// All states.
    pub const ALL: [TickState; 8] = [
        TickState::Claimed,
        TickState::Ran,
        TickState::Backfilled,
        TickState::Interrupted,
        TickState::SkippedRunning,
        TickState::SkippedPaused,
        TickState::Missed,
        TickState::Refused,
    ];

    /// The state as one word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            TickState::Claimed => "claimed",
            TickState::Ran => "ran",
            TickState::Backfilled => "backfilled",
            TickState::Interrupted => "interrupted",
            TickState::SkippedRunning => "skipped-running",
            TickState::SkippedPaused => "skipped-paused",
            TickState::Missed => "missed",
            TickState::Refused => "refused",
        }
    }
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The instant is yours and nobody else will get it.
    Claimed,
    /// Somebody has it already.
    Taken,
}
