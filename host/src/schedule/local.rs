//! A cron expression in a zone: from local times to instants. The rules at clock changes
//! are in the parent module's documentation.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::{Expression, Shift, Upcoming};

/// A cron expression in a zone.
#[derive(Debug, Clone)]
pub(super) struct Local {
    expression: Expression,
    zone: TimeZone,
}

/// A stretch of time with one offset.
struct Stretch {
    /// The instant and the offset before it, of the change that began the stretch.
    begin: Option<(Timestamp, Offset)>,
    offset: Offset,
    /// The instant of the change that ends it.
    end: Option<Timestamp>,
}

impl Local {
    pub(super) fn new(expression: Expression, zone: TimeZone) -> Self {
        Self { expression, zone }
    }

    pub(super) fn expression(&self) -> &Expression {
        &self.expression
    }

    /// The first due instant behind `after`.
    ///
    /// Goes through the stretches between clock changes. In each, local time is instant
    /// plus offset; what is special stands at its beginning: the gap that a change may
    /// have left, or the local times that it repeats.
    pub(super) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        // Due instants lie on whole seconds; the first that can be meant:
        let mut from = Timestamp::from_second(floor_second(after) + 1).ok()?;
        let mut stretch = self.stretch_of(from);
        // The first named time at or behind the first one: for the years in between that
        // rare expressions cross.
        let mut known: Option<(DateTime, DateTime)> = None;
        loop {
            if stretch.begin.is_some_and(|(at, _)| at == from) && self.stands_for_gap(&stretch).is_some() {
                return Some(from);
            }
            let local = self.first_unrepeated(&stretch, stretch.offset.to_datetime(from));
            let named = match known {
                Some((behind, named)) if behind <= local && local <= named => named,
                // Nothing named behind this local time: none in later stretches either.
                _ => self.expression.at_or_after(local)?,
            };
            known = Some((local, named));
            let due = stretch.offset.to_timestamp(named).ok();
            let Some(end) = stretch.end else { return due };
            if let Some(due) = due.filter(|due| *due < end) {
                return Some(due);
            }
            from = end;
            stretch = self.stretch_of(end);
        }
    }

    pub(super) fn preview(&self, last: Timestamp, due: Timestamp) -> Upcoming {
        let stretch = self.stretch_of(due);
        let local = stretch.offset.to_datetime(due);
        let begins = stretch.begin.is_some_and(|(at, _)| at == due);
        let missing = if begins { self.stands_for_gap(&stretch) } else { None };
        let is_fold =
            matches!(self.zone.to_ambiguous_timestamp(local).offset(), AmbiguousOffset::Fold { .. });
        let by_s = stretch.offset.seconds() - self.zone.to_offset(last).seconds();
        let shift = if let Some(from) = missing {
            Some(Shift::Moved { from })
        } else if is_fold {
            Some(if self.expression.repeats { Shift::Twice } else { Shift::Once })
        } else if by_s != 0 {
            Some(Shift::Changed { by_s })
        } else {
            None
        };
        Upcoming { due, local, shift }
    }

    fn stretch_of(&self, instant: Timestamp) -> Stretch {
        // `preceding` is strict, and the change at `instant` itself belongs to it.
        let behind = instant.saturating_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(instant);
        let begin = self.zone.preceding(behind).next().map(|change| {
            let at = change.timestamp();
            let before = at.saturating_sub(jiff::SignedDuration::from_nanos(1)).unwrap_or(at);
            (at, self.zone.to_offset(before))
        });
        let end = self.zone.following(instant).next().map(|change| change.timestamp());
        Stretch { begin, offset: self.zone.to_offset(instant), end }
    }

    /// The first of the named local times that the gap before this stretch swallowed and
    /// that are due at its first instant instead; `None` when there is no gap or nothing
    /// is to be made up for.
    fn stands_for_gap(&self, stretch: &Stretch) -> Option<DateTime> {
        let (at, before) = stretch.begin?;
        let (missing_from, missing_to) = (before.to_datetime(at), stretch.offset.to_datetime(at));
        // A repetition that goes on in the hour behind the gap needs no substitute.
        if self.expression.repeats && self.expression.has_hour(missing_to) {
            return None;
        }
        self.expression.at_or_after(missing_from).filter(|named| *named < missing_to)
    }

    /// The first local time of the stretch, at or behind `local`, that has not been there
    /// before.
    fn first_unrepeated(&self, stretch: &Stretch, local: DateTime) -> DateTime {
        match stretch.begin {
            Some((at, before)) if !self.expression.repeats => local.max(before.to_datetime(at)),
            _ => local,
        }
    }
}

fn floor_second(instant: Timestamp) -> i64 {
    // `as_second` cuts towards zero.
    instant.as_second() - i64::from(instant.subsec_nanosecond() < 0)
}
