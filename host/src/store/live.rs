//! The rows of the segment that is being written, and of complete ones until their
//! index file is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::rows::{Place, RunRow, Selection, TickKey, TickRow};
use super::status::lock;
use crate::run::RunId;
use crate::workflow::WorkflowId;

/// Rows in the order in which they were written.
#[derive(Default)]
pub(super) struct Live(Mutex<Both>);

/// Under one lock: each record goes through it, and threads hand its line of the cache on.
#[derive(Default)]
struct Both {
    runs: Parts<RunRow>,
    ticks: Parts<TickRow>,
}

impl Both {
    fn len(&self) -> usize {
        self.runs.len() + self.ticks.len()
    }
}

/// Rows in immutable parts, so that a reader holds the lock for a moment only, however
/// long it searches: the writer must not wait for it.
struct Parts<T> {
    full: Vec<Arc<[T]>>,
    last: Vec<T>,
}

const PART_ROWS: usize = 256;

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self { full: Vec::new(), last: Vec::new() }
    }
}

impl<T: Clone> Parts<T> {
    fn push(&mut self, row: T) {
        self.last.push(row);
        if self.last.len() == PART_ROWS {
            self.full.push(std::mem::take(&mut self.last).into());
        }
    }

    fn len(&self) -> usize {
        self.full.len() * PART_ROWS + self.last.len()
    }

    fn snapshot(&self) -> Vec<Arc<[T]>> {
        self.full.iter().cloned().chain(std::iter::once(self.last.as_slice().into())).collect()
    }
}

impl Live {
    /// Adds what was written in one go, and returns the number of all rows.
    pub(super) fn extend(
        &self,
        runs: impl IntoIterator<Item = RunRow>,
        ticks: impl IntoIterator<Item = TickRow>,
    ) -> usize {
        let mut own = lock(&self.0);
        runs.into_iter().for_each(|row| own.runs.push(row));
        ticks.into_iter().for_each(|row| own.ticks.push(row));
        own.len()
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// The number of runs.
    pub(super) fn runs_len(&self) -> usize {
        lock(&self.0).runs.len()
    }

    /// All rows.
    pub(super) fn rows(&self) -> (Vec<RunRow>, Vec<TickRow>) {
        let (runs, ticks) = (self.run_parts(), self.tick_parts());
        let runs = runs.iter().flat_map(|part| part.iter().copied()).collect();
        (runs, ticks.iter().flat_map(|part| part.iter().cloned()).collect())
    }

    /// Hands the rows that the selection takes to `each`: latest written first.
    pub(super) fn select(&self, selection: &Selection, mut each: impl FnMut(RunRow)) {
        for part in self.run_parts().iter().rev() {
            part.iter().rev().filter(|row| selection.takes(row)).for_each(|row| each(*row));
        }
    }

    /// The row of a run: the one that was written last.
    pub(super) fn run(&self, id: RunId) -> Option<RunRow> {
        let parts = self.run_parts();
        parts.iter().rev().find_map(|part| part.iter().rev().find(|row| row.id == id).copied())
    }

    /// The ticks of a workflow, or of one of its schedules, as they were written last.
    pub(super) fn ticks(&self, workflow: WorkflowId, schedule: Option<&str>) -> Vec<(TickKey, Place)> {
        let mut found = BTreeMap::new();
        for part in self.tick_parts() {
            let own = part.iter().filter(|row| row.tick.workflow == workflow);
            for row in own.filter(|row| schedule.is_none_or(|name| row.tick.schedule == name)) {
                found.insert(TickKey::of(&row.tick), row.place);
            }
        }
        found.into_iter().collect()
    }

    /// Where a tick was written last.
    pub(super) fn tick(&self, key: &TickKey) -> Option<Place> {
        let is_it = |row: &&TickRow| {
            let tick = &row.tick;
            tick.due == key.due && tick.workflow == key.workflow && tick.schedule == key.schedule
        };
        let parts = self.tick_parts();
        parts.iter().rev().find_map(|part| part.iter().rev().find(is_it).map(|row| row.place))
    }

    fn run_parts(&self) -> Vec<Arc<[RunRow]>> {
        lock(&self.0).runs.snapshot()
    }

    fn tick_parts(&self) -> Vec<Arc<[TickRow]>> {
        lock(&self.0).ticks.snapshot()
    }
}
