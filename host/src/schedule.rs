//! Schedules: when a pull workflow is due.
//!
//! Pure arithmetic on instants; no clock is read and nothing is stored here.
//! [`crate::scheduler`] sleeps until the instants that this module computes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One schedule of a pull workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Unique within the workflow, for example `default` or `nightly`.
    pub name: String,
    /// The rule that gives the due instants.
    pub cadence: Cadence,
    /// The first instant that can be due, and the origin of an interval's grid.
    pub anchor: Timestamp,
}

/// The rule that gives a schedule's due instants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cadence {
    /// Every so many milliseconds from the anchor: a fixed grid, so that a late or a
    /// long run never shifts the ones behind it.
    Every {
        /// At least 1,000.
        interval_ms: u64,
    },
    /// A cron expression with five fields (minute first), or six (second first).
    Cron {
        /// The expression as it was written.
        expression: String,
        /// An IANA zone, for example `Europe/Paris`.
        timezone: String,
    },
}
