//! Index rows: what a listing needs to know of a run or a tick without its record.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use super::hidden::Hidden;
use super::{RunFilter, Tick};
use crate::run::{RunId, Status, Trigger};
use crate::workflow::WorkflowId;

/// Where a frame stands in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u32,
    pub(super) body_bytes: u32,
    pub(super) tail_bytes: u32,
}

impl Place {
    /// The bytes of the whole frame. A frame has 32 MiB at most, and begins within the
    /// first GiB and a bit.
    pub(super) fn range(self) -> Range<u32> {
        let bytes = super::frame::HEADER_BYTES as u32;
        let bytes = bytes.saturating_add(self.body_bytes).saturating_add(self.tail_bytes);
        self.offset..self.offset.saturating_add(bytes)
    }

    /// Bytes of the whole frame.
    pub(super) fn bytes(self) -> u64 {
        let range = self.range();
        u64::from(range.end - range.start)
    }
}

/// Status and trigger of a run in one small number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

const STATUSES: [Status; 6] = [
    Status::Queued,
    Status::Running,
    Status::Succeeded,
    Status::Failed,
    Status::Interrupted,
    Status::Cancelled,
];
const TRIGGERS: [&str; 4] = ["catch", "pull", "test", "replay"];

impl Class {
    pub(super) fn of(status: Status, trigger: &Trigger) -> Self {
        let status = match status {
            Status::Queued => 0,
            Status::Running => 1,
            Status::Succeeded => 2,
            Status::Failed => 3,
            Status::Interrupted => 4,
            Status::Cancelled => 5,
        };
        let trigger = match trigger {
            Trigger::Catch => 0,
            Trigger::Pull { .. } => 1,
            Trigger::Test => 2,
            Trigger::Replay { .. } => 3,
        };
        Self(status * TRIGGERS.len() as u8 + trigger)
    }

    pub(super) fn code(self) -> u8 {
        self.0
    }

    /// All classes, by code.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..(STATUSES.len() * TRIGGERS.len()) as u8).map(Self)
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        (usize::from(code) < STATUSES.len() * TRIGGERS.len()).then_some(Self(code))
    }
}

/// A set of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Classes(pub(super) u32);

impl Classes {
    pub(super) fn insert(&mut self, class: Class) {
        self.0 |= 1 << class.0;
    }

    pub(super) fn contains(self, class: Class) -> bool {
        self.0 & (1 << class.0) != 0
    }

    pub(super) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What a filter lets through.
    fn of(filter: &RunFilter) -> Self {
        let mut classes = Self::default();
        for (status_code, status) in STATUSES.iter().enumerate() {
            for (trigger_code, word) in TRIGGERS.iter().enumerate() {
                let has_status = filter.statuses.is_empty() || filter.statuses.contains(status);
                if has_status && filter.trigger.as_ref().is_none_or(|wanted| wanted == word) {
                    classes.insert(Class((status_code * TRIGGERS.len() + trigger_code) as u8));
                }
            }
        }
        classes
    }
}

/// The index row of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunRow {
    pub(super) id: RunId,
    pub(super) workflow: WorkflowId,
    pub(super) accepted_at: Timestamp,
    pub(super) class: Class,
    pub(super) place: Place,
}

/// The index row of a ledger entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TickRow {
    pub(super) tick: Arc<Tick>,
    pub(super) place: Place,
}

/// What names a ledger entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TickKey {
    pub(super) workflow: WorkflowId,
    pub(super) schedule: String,
    pub(super) due: Timestamp,
}

impl TickKey {
    pub(super) fn of(tick: &Tick) -> Self {
        Self { workflow: tick.workflow, schedule: tick.schedule.clone(), due: tick.due }
    }
}

/// Which rows a listing takes.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) workflow: Option<WorkflowId>,
    pub(super) among: Option<Arc<HashSet<WorkflowId>>>,
    pub(super) classes: Classes,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    /// Only runs with a smaller id.
    pub(super) before: Option<RunId>,
    /// What is not shown any more.
    pub(super) hidden: Arc<Hidden>,
}

impl Selection {
    pub(super) fn new(filter: &RunFilter, before: Option<RunId>, hidden: Arc<Hidden>) -> Self {
        Self {
            workflow: filter.workflow,
            among: filter.among.clone(),
            classes: Classes::of(filter),
            since: filter.since,
            until: filter.until,
            before,
            hidden,
        }
    }

    pub(super) fn takes(&self, row: &RunRow) -> bool {
        self.before.is_none_or(|before| row.id < before)
            && self.classes.contains(row.class)
            && self.workflow.is_none_or(|workflow| row.workflow == workflow)
            && self.among.as_ref().is_none_or(|among| among.contains(&row.workflow))
            && self.since.is_none_or(|since| row.accepted_at >= since)
            && self.until.is_none_or(|until| row.accepted_at < until)
            && (self.hidden.is_empty() || !self.hidden.hides(row.workflow, row.id))
    }
}

/// The newest rows, at most a number of them, without duplicates.
pub(super) struct Newest<R> {
    rows: BTreeMap<RunId, R>,
    limit: usize,
}

impl<R> Newest<R> {
    pub(super) fn new(limit: usize) -> Self {
        Self { rows: BTreeMap::new(), limit }
    }

    /// Whether a row with this id would be taken.
    pub(super) fn takes(&self, id: RunId) -> bool {
        self.rows.len() < self.limit || self.rows.first_key_value().is_some_and(|(oldest, _)| id > *oldest)
    }

    /// Takes a row. One with the same id that was taken before stays.
    pub(super) fn insert(&mut self, id: RunId, row: R) {
        if !self.takes(id) {
            return;
        }
        self.rows.entry(id).or_insert(row);
        if self.rows.len() > self.limit {
            self.rows.pop_first();
        }
    }

    /// The rows, newest first.
    pub(super) fn into_rows(self) -> impl Iterator<Item = R> {
        self.rows.into_values().rev()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_status_and_trigger_has_a_class_of_its_own() {
        let triggers = [
            Trigger::Catch,
            Trigger::Pull { schedule: "s".to_owned(), due: Timestamp::UNIX_EPOCH },
            Trigger::Test,
            Trigger::Replay { of: RunId::new() },
        ];
        let mut seen = HashSet::new();
        for status in STATUSES {
            for trigger in &triggers {
                let class = Class::of(status, trigger);
                assert!(seen.insert(class.code()));
                assert_eq!(Class::from_code(class.code()), Some(class));
                let filter = RunFilter {
                    statuses: vec![status],
                    trigger: Some(trigger.word().to_owned()),
                    ..RunFilter::default()
                };
                assert_eq!(Classes::of(&filter), Classes(1 << class.code()));
            }
        }
        assert_eq!(Class::from_code(24), None);
        assert_eq!(Classes::of(&RunFilter::default()).0.count_ones(), 24);
        let unknown = RunFilter { trigger: Some("cron".to_owned()), ..RunFilter::default() };
        assert_eq!(Classes::of(&unknown), Classes(0));
    }

    #[test]
    fn newest_keeps_the_largest_ids_once() {
        let ids: Vec<RunId> = (0..10).map(|_| RunId::new()).collect();
        let mut newest = Newest::new(3);
        for index in [4, 9, 2, 9, 7, 8, 0] {
            newest.insert(ids[index], index);
        }
        assert_eq!(newest.into_rows().collect::<Vec<_>>(), [9, 8, 7]);
    }
}
