//! What happens to due instants that cannot run on time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most instants that [`Missed::All`] makes up for.
pub const BACKFILL_MAX: u32 = 100;
/// Longest jitter, in milliseconds: an hour.
pub const JITTER_MS_MAX: u64 = 3_600_000;
/// Shortest start deadline, in milliseconds.
pub const START_DEADLINE_MS_MIN: u64 = 1_000;

/// How a schedule treats instants that meet a running run, a host that was down, or a
/// stampede. The default: no overlap, one run for missed instants, no deadline, no jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What happens when the run of an earlier instant of this schedule is still going.
    /// Other schedules of the same workflow do not count: they are independent.
    pub overlap: Overlap,
    /// What happens to instants that passed while the host was down or asleep.
    pub missed: Missed,
    /// An instant that cannot start within so many milliseconds is missed; without it,
    /// instants start however late they are. At least 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_deadline_ms: Option<u64>,
    /// Runs start up to so many milliseconds after they are due. The delay of a schedule
    /// is always the same, so that its runs keep their distance. Below the interval, and
    /// at most an hour.
    pub jitter_ms: u64,
}

/// What happens when the run of an earlier instant is still going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// The instant is skipped.
    #[default]
    Forbid,
    /// One instant waits for the run to end; further ones are skipped.
    QueueOne,
    /// It runs beside the earlier one.
    Allow,
}

/// What happens to instants that passed while the host was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// The latest one runs, late; the ones before it are recorded as missed.
    #[default]
    Once,
    /// None of them runs.
    Skip,
    /// The latest ones run, one after the other; the ones before them are recorded as
    /// missed.
    All {
        /// How many, 1 to 100.
        max: u32,
    },
}

impl Policy {
    pub(super) fn is_default(&self) -> bool {
        *self == Policy::default()
    }

    /// Says what is out of range. `distance_ms` is the shortest distance between two due
    /// instants.
    pub(super) fn validate(&self, distance_ms: u64) -> Result<(), String> {
        if let Missed::All { max } = self.missed
            && !(1..=BACKFILL_MAX).contains(&max)
        {
            return Err(format!("missed runs are made up for 1 to {BACKFILL_MAX} times, not {max}"));
        }
        if let Some(found) = self.start_deadline_ms
            && found < START_DEADLINE_MS_MIN
        {
            return Err(format!("a start deadline is at least {START_DEADLINE_MS_MIN} ms, not {found} ms"));
        }
        let jitter_ms_max = JITTER_MS_MAX.min(distance_ms - 1);
        if self.jitter_ms > jitter_ms_max {
            return Err(format!("the jitter is at most {jitter_ms_max} ms here, not {} ms", self.jitter_ms));
        }
        Ok(())
    }
}
