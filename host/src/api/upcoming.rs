//! Due instants to come.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schedule::{Cadence, Schedule, Shift, Upcoming, interval};

/// `GET /api/v1/schedules/upcoming` and
/// `GET /api/v1/workflows/{name}/schedules/{schedule}/upcoming`: due instants to come.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpcomingList {
    /// The rule in words.
    pub description: String,
    /// The zone of the local times; `UTC` for an interval, which no zone matters to.
    pub timezone: String,
    /// Earliest first; empty when there are none before the year 10000.
    pub upcoming: Vec<UpcomingView>,
}

/// A due instant to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpcomingView {
    /// The instant.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// What clocks in the zone show then, with their offset, for example
    /// `2026-03-29T03:00:00+02:00`.
    pub local: String,
    /// What a change of the zone's clocks did to it; `None` on ordinary days.
    #[serde(default)]
    pub change: Option<ChangeView>,
}

/// What a change of a zone's clocks did to a due instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// What it did.
    pub kind: ChangeKind,
    /// The same for people.
    pub note: String,
}

/// Kinds of [`ChangeView`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It stands for local times that do not exist that day.
    Moved,
    /// Its local time occurs twice, and it is due the first time only.
    Once,
    /// Its local time occurs twice, and it is due both times.
    Twice,
    /// The clocks were changed between the instant before and this one.
    Changed,
}

impl UpcomingList {
    /// The next `n` due instants of a schedule behind `after`.
    pub fn of(schedule: &Schedule, n: usize, after: Timestamp) -> Self {
        let timezone = match &schedule.cadence {
            Cadence::Every { .. } => "UTC".to_owned(),
            Cadence::Cron { timezone, .. } => timezone.clone(),
        };
        let upcoming = schedule.upcoming(after, n).iter().map(UpcomingView::from).collect();
        Self { description: schedule.describe(), timezone, upcoming }
    }
}

impl From<&Upcoming> for UpcomingView {
    fn from(upcoming: &Upcoming) -> Self {
        let change = upcoming.shift.map(|shift| ChangeView::new(shift, upcoming.local));
        Self { due: upcoming.due, local: with_offset(upcoming.local, upcoming.due), change }
    }
}

impl ChangeView {
    fn new(shift: Shift, local: DateTime) -> Self {
        let clock = |time: DateTime| time.strftime("%H:%M").to_string();
        let (kind, note) = match shift {
            Shift::Moved { from } if from.date() == local.date() => {
                (ChangeKind::Moved, format!("clocks go forward: {} does not exist that day", clock(from)))
            }
            Shift::Moved { from } => (
                ChangeKind::Moved,
                format!("clocks go forward: {} of {} does not exist", clock(from), from.date()),
            ),
            Shift::Once => (
                ChangeKind::Once,
                format!("clocks go back: {} occurs twice, due the first time", clock(local)),
            ),
            Shift::Twice => {
                (ChangeKind::Twice, format!("clocks go back: {} occurs twice, due both times", clock(local)))
            }
            Shift::Changed { by_s } => {
                let way = if by_s < 0 { "back" } else { "forward" };
                let size = interval::format(u64::from(by_s.unsigned_abs()) * 1_000);
                (ChangeKind::Changed, format!("clocks went {way} by {size} before this"))
            }
        };
        Self { kind, note }
    }
}

/// `2026-03-29T03:00:00+02:00`.
fn with_offset(local: DateTime, instant: Timestamp) -> String {
    let as_utc = Offset::UTC.to_timestamp(local).unwrap_or(instant);
    let seconds = as_utc.as_second() - instant.as_second();
    let (sign, size) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
    format!("{}{sign}{:02}:{:02}", local.strftime("%Y-%m-%dT%H:%M:%S"), size / 3600, size % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expression: &str, zone: &str, after: &str) -> Vec<String> {
        let after: Timestamp = after.parse().unwrap();
        let cadence = Cadence::Cron { expression: expression.to_owned(), timezone: zone.to_owned() };
        let list = UpcomingList::of(&Schedule::new("s", cadence, after), 3, after);
        let line = |one: UpcomingView| match one.change {
            Some(change) => format!("{} {}", one.local, change.note),
            None => one.local,
        };
        list.upcoming.into_iter().map(line).collect()
    }

    #[test]
    fn changes_of_clocks_are_told() {
        assert_eq!(
            of("30 2 * * *", "Europe/Paris", "2026-03-28T00:00:00Z"),
            [
                "2026-03-28T02:30:00+01:00",
                "2026-03-29T03:00:00+02:00 clocks go forward: 02:30 does not exist that day",
                "2026-03-30T02:30:00+02:00",
            ]
        );
        assert_eq!(
            of("30 2 * * *", "Europe/Paris", "2026-10-24T00:30:00Z"),
            [
                "2026-10-25T02:30:00+02:00 clocks go back: 02:30 occurs twice, due the first time",
                "2026-10-26T02:30:00+01:00 clocks went back by 1h before this",
                "2026-10-27T02:30:00+01:00",
            ]
        );
        assert_eq!(
            of("15 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00:00Z")[1],
            "2026-04-05T02:15:00+10:30 clocks went back by 30m before this"
        );
        assert_eq!(
            of("0 12 * * *", "America/New_York", "2026-01-01T00:00:00Z")[0],
            "2026-01-01T12:00:00-05:00"
        );
        assert_eq!(
            of("0 12 * * *", "Pacific/Apia", "2011-12-29T23:00:00Z")[0],
            "2011-12-31T00:00:00+14:00 clocks go forward: 12:00 of 2011-12-30 does not exist"
        );
    }
}
