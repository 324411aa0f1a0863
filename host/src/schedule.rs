//! Schedules: when a pull workflow is due.
//!
//! Pure arithmetic on instants; no clock is read and nothing is stored here.
//! [`crate::scheduler`] sleeps until the instants that this module computes.
//!
//! **Intervals** lie on a fixed grid, `anchor + n * interval` with n from 1, in elapsed
//! time: nothing drifts, and no zone matters.
//!
//! **Cron expressions** name local times of a zone; [`expression`] has the dialect. Where
//! the zone's clocks are moved, these rules hold, and a brute-force simulator in the tests
//! holds the code to them:
//!
//! - *Clock times* (minutes and seconds given as single values, and not every hour):
//!   local times that do not exist are due together, once, at the first instant after the
//!   gap. A local time that occurs twice is due once, at its first occurrence.
//! - *Repetitions* (a `*`, a range or a step among the minutes or seconds, such as
//!   `*/15 * * * *` or `*/15 0-5 * * *`; or every hour, such as `5 * * * *`) follow
//!   elapsed time: they are due at every instant whose local time matches, in both
//!   occurrences of a repeated hour, and a gap adds nothing. One exception, so that
//!   nothing is lost: when a gap swallows matching times and the hour behind the gap does
//!   not match (`*/15 2 * * *` where 02:00 to 03:00 is missing), they are due once, at the
//!   first instant after the gap.

mod describe;
pub mod expression;
pub mod interval;
mod local;
#[cfg(test)]
mod oracle;
mod policy;
mod zone;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use expression::{CronError, Expression};
pub use interval::IntervalError;
use local::Local;
pub use policy::{BACKFILL_MAX, JITTER_MS_MAX, Missed, Overlap, Policy, START_DEADLINE_MS_MIN};

/// Shortest interval in milliseconds, whatever the configuration says.
pub const INTERVAL_MS_MIN: u64 = 1_000;
/// Longest interval in milliseconds: 366 days.
pub const INTERVAL_MS_MAX: u64 = 366 * 86_400_000;
/// Longest name of a schedule, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

const NS_PER_MS: i128 = 1_000_000;

/// One schedule of a pull workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Unique within the workflow, for example `default` or `nightly`: 1 to 63 lower-case
    /// letters, digits, hyphens and underscores.
    pub name: String,
    /// The rule that gives the due instants.
    pub cadence: Cadence,
    /// Only instants behind it are due, and an interval's grid begins at it: a schedule
    /// that is deployed with its own time as anchor is first due one interval later, not at
    /// once. Whoever changes the cadence sets it to the time of the change
    /// ([`Schedule::replacing`]), so that the new rule is not held against the past.
    pub anchor: Timestamp,
    /// What happens to instants that cannot run on time.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
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

/// Why a schedule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The name is empty, too long, or has other characters.
    #[error(
        "a schedule's name has 1 to {NAME_BYTES_MAX} lower-case letters, digits, hyphens and underscores, not {0:?}"
    )]
    Name(String),
    /// The interval, or the expression's shortest distance, is below the minimum.
    #[error("due every {}, but at least {} apart is allowed", interval::format(*.found_ms), interval::format(*.minimum_ms))]
    TooOften {
        /// What was asked for, in milliseconds.
        found_ms: u64,
        /// What is allowed, in milliseconds.
        minimum_ms: u64,
    },
    /// The interval is longer than [`INTERVAL_MS_MAX`].
    #[error("an interval is at most {} long, not {}", interval::format(INTERVAL_MS_MAX), interval::format(*.0))]
    TooSeldom(u64),
    /// The cron expression cannot be read.
    #[error("the cron expression {expression:?} cannot be read")]
    Cron {
        /// The expression.
        expression: String,
        /// What is wrong with it, and where.
        #[source]
        source: Box<CronError>,
    },
    /// The cron expression names days that no calendar has, for example 30 February.
    #[error("the cron expression {0:?} is never due: no year has such a day")]
    Never(String),
    /// The zone does not exist.
    #[error("there is no time zone {name:?}{}", nearest.as_ref().map(|n| format!(", the nearest is {n}")).unwrap_or_default())]
    Zone {
        /// The name that was given.
        name: String,
        /// The zone that was probably meant.
        nearest: Option<String>,
    },
    /// A part of the policy is out of range.
    #[error("{0}")]
    Policy(String),
}

impl ScheduleError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            ScheduleError::Name(_) => "for example `default` or `nightly`".to_owned(),
            ScheduleError::TooOften { minimum_ms, .. } => {
                format!("the operator sets the minimum by schedule.interval_ms_min, now {minimum_ms}")
            }
            ScheduleError::TooSeldom(_) => {
                "use a cron expression for rare times, for example `0 3 1 1 *`".to_owned()
            }
            ScheduleError::Cron { source, .. } => source.hint(),
            ScheduleError::Never(_) => "check day of month against month".to_owned(),
            ScheduleError::Zone { .. } => {
                "give an IANA name such as `Europe/Paris`, `America/New_York` or `UTC`".to_owned()
            }
            ScheduleError::Policy(_) => {
                "leave the policy out for: no overlap, one run for missed instants".to_owned()
            }
        }
    }
}

/// One instant of a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upcoming {
    /// The due instant.
    pub due: Timestamp,
    /// The local time in the schedule's zone (UTC for an interval).
    pub local: DateTime,
    /// What the zone's clock changes did to it; `None` on ordinary days.
    pub shift: Option<Shift>,
}

/// What a change of the zone's clocks did to a due instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// It stands for local times that do not exist that day, of which this is the first.
    Moved {
        /// The local time that was skipped by the clocks.
        from: DateTime,
    },
    /// Its local time occurs twice; this is the only time it is due.
    Once,
    /// Its local time occurs twice, and it is due both times.
    Twice,
    /// The clocks were moved between the instant before and this one.
    Changed {
        /// Seconds by which they went forward; negative for back.
        by_s: i32,
    },
}

impl Schedule {
    /// A schedule with the default policy. `anchor` is cut to whole milliseconds, the
    /// precision of intervals.
    pub fn new(name: impl Into<String>, cadence: Cadence, anchor: Timestamp) -> Self {
        let anchor = Timestamp::from_millisecond(anchor.as_millisecond()).unwrap_or(anchor);
        Self { name: name.into(), cadence, anchor, policy: Policy::default() }
    }

    /// This schedule as a successor of `old`: it keeps the anchor of an unchanged cadence,
    /// so that deploying the same interval again does not move its grid.
    pub fn replacing(mut self, old: Option<&Schedule>) -> Self {
        if let Some(old) = old.filter(|old| old.cadence == self.cadence) {
            self.anchor = old.anchor;
        }
        self
    }

    /// Checks everything, and with it that [`Schedule::rule`] and
    /// [`Schedule::next_after`] give a result. `interval_ms_min` is the operator's
    /// shortest distance between two due instants.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self, interval_ms_min: u64) -> Result<(), ScheduleError> {
        let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(sound) {
            return Err(ScheduleError::Name(self.name.chars().take(NAME_BYTES_MAX + 1).collect()));
        }
        let rule = self.rule()?;
        let found_ms = rule.distance_ms_min();
        let minimum_ms = interval_ms_min.max(INTERVAL_MS_MIN);
        if found_ms < minimum_ms {
            return Err(ScheduleError::TooOften { found_ms, minimum_ms });
        }
        self.policy.validate(found_ms).map_err(ScheduleError::Policy)
    }

    /// The rule in a form that is ready to compute with; worth keeping where it is asked
    /// more than once.
    ///
    /// # Errors
    /// As [`Schedule::validate`], without names, minima and policies.
    pub fn rule(&self) -> Result<Rule, ScheduleError> {
        let kind = match &self.cadence {
            Cadence::Every { interval_ms: found_ms @ ..INTERVAL_MS_MIN } => {
                return Err(ScheduleError::TooOften { found_ms: *found_ms, minimum_ms: INTERVAL_MS_MIN });
            }
            Cadence::Every { interval_ms } if *interval_ms > INTERVAL_MS_MAX => {
                return Err(ScheduleError::TooSeldom(*interval_ms));
            }
            Cadence::Every { interval_ms } => Kind::Every { interval_ms: *interval_ms },
            Cadence::Cron { expression: text, timezone } => {
                let expression: Expression = text.parse().map_err(|source| ScheduleError::Cron {
                    expression: text.chars().take(expression::CHARS_MAX).collect(),
                    source: Box::new(source),
                })?;
                if expression.is_never() {
                    return Err(ScheduleError::Never(text.clone()));
                }
                Kind::Local(Local::new(expression, zone::find(timezone)?))
            }
        };
        Ok(Rule { anchor: self.anchor, kind })
    }

    /// The first due instant behind `after`; `None` when the schedule is not valid, or
    /// the calendar ends (the year 9999).
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.rule().ok()?.next_after(after)
    }

    /// The next `n` due instants behind `after`, with marks where the zone's clocks
    /// change. Empty when the schedule is not valid.
    pub fn upcoming(&self, after: Timestamp, n: usize) -> Vec<Upcoming> {
        let Ok(rule) = self.rule() else { return Vec::new() };
        let mut upcoming = Vec::with_capacity(n.min(1_000));
        let mut last = after;
        while upcoming.len() < n {
            let Some(due) = rule.next_after(last) else { break };
            upcoming.push(rule.preview(last, due));
            last = due;
        }
        upcoming
    }

    /// The rule for people, for example `every 90 minutes` or `at 09:30 on weekdays,
    /// Europe/Paris`; expressions that do not fit into a short phrase are shown as they
    /// are, with their zone.
    pub fn describe(&self) -> String {
        describe::cadence(&self.cadence)
    }
}

/// A schedule's rule, parsed, with its zone: what [`Schedule::next_after`] computes with.
#[derive(Debug, Clone)]
pub struct Rule {
    anchor: Timestamp,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Every { interval_ms: u64 },
    Local(Local),
}

impl Rule {
    /// The first due instant behind `after` and behind the anchor. `None` when the calendar
    /// ends.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.max(self.anchor);
        match &self.kind {
            Kind::Every { interval_ms } => {
                let interval_ns = i128::from(*interval_ms) * NS_PER_MS;
                let anchor_ns = self.anchor.as_nanosecond();
                let steps = (after.as_nanosecond() - anchor_ns) / interval_ns + 1;
                Timestamp::from_nanosecond(anchor_ns + steps * interval_ns).ok()
            }
            Kind::Local(local) => local.next_after(after),
        }
    }

    /// The shortest distance between two due instants, in milliseconds.
    pub fn distance_ms_min(&self) -> u64 {
        match &self.kind {
            Kind::Every { interval_ms } => *interval_ms,
            Kind::Local(local) => local.expression().distance_ms_min(),
        }
    }

    /// The last due instant in `(after, until]`, found without going through those
    /// before it.
    pub fn last_within(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let is_followed = |t: Timestamp| self.next_after(t).filter(|due| *due <= until);
        let first = is_followed(after)?;
        if let Kind::Every { interval_ms } = &self.kind {
            let interval_ns = i128::from(*interval_ms) * NS_PER_MS;
            let steps = (until.as_nanosecond() - first.as_nanosecond()) / interval_ns;
            return Timestamp::from_nanosecond(first.as_nanosecond() + steps * interval_ns).ok();
        }
        // `next_after` never falls when its argument grows, so bisection finds the last
        // second that a due instant within the bounds follows.
        let (mut followed, mut last) = (first.as_second() - 1, first);
        let mut unfollowed = until.as_second() + 1;
        while unfollowed - followed > 1 {
            let middle = followed + (unfollowed - followed) / 2;
            match Timestamp::from_second(middle).ok().and_then(is_followed) {
                Some(due) => (followed, last) = (middle, due),
                None => unfollowed = middle,
            }
        }
        Some(last)
    }

    /// The number of due instants in `(after, until]`, counted to `max` at most.
    pub fn count_within(&self, after: Timestamp, until: Timestamp, max: u64) -> u64 {
        if let Kind::Every { interval_ms } = &self.kind {
            let Some(first) = self.next_after(after).filter(|due| *due <= until) else { return 0 };
            let interval_ns = i128::from(*interval_ms) * NS_PER_MS;
            let steps = (until.as_nanosecond() - first.as_nanosecond()) / interval_ns;
            return u64::try_from(steps + 1).unwrap_or(max).min(max);
        }
        let (mut count, mut last) = (0, after);
        while count < max {
            match self.next_after(last) {
                Some(due) if due <= until => (count, last) = (count + 1, due),
                _ => break,
            }
        }
        count
    }

    fn preview(&self, last: Timestamp, due: Timestamp) -> Upcoming {
        match &self.kind {
            Kind::Every { .. } => {
                Upcoming { due, local: jiff::tz::Offset::UTC.to_datetime(due), shift: None }
            }
            Kind::Local(local) => local.preview(last, due),
        }
    }
}

#[cfg(test)]
mod tests;
