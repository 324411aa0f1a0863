//! What retention takes of each workflow, and how much of each segment is still shown.
//!
//! The host's own limits delete whole segments, oldest first. A workflow's limits raise
//! its *floor*: its runs with smaller ids are not shown from that moment on. Their space
//! comes back when [`compaction`](super::compaction) writes a segment anew that is
//! mostly dead, or when the segment's time has come.

use std::collections::HashMap;
use std::sync::Arc;

use super::hidden::Hidden;
use super::rows::RunRow;
use super::segment::{Portion, Rows, Segment};
use super::segments::Segments;
use super::{Result, WorkflowRetention, WorkflowUsage};
use crate::run::RunId;
use crate::workflow::WorkflowId;

/// The segments at one moment.
pub(super) struct Survey<'a> {
    segments: &'a Segments,
    /// Newest first.
    list: Vec<Arc<Segment>>,
    /// The rows of the segments that have no index file yet, by id, for each segment's
    /// number.
    live: HashMap<u64, HashMap<WorkflowId, Vec<RunRow>>>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(segments: &'a Segments) -> Self {
        let list = segments.list();
        let mut live = HashMap::new();
        for segment in &list {
            let Some(rows) = segment.live_rows() else { continue };
            let mut own: HashMap<WorkflowId, Vec<RunRow>> = HashMap::new();
            rows.rows().0.into_iter().for_each(|row| own.entry(row.workflow).or_default().push(row));
            own.values_mut().for_each(|rows| rows.sort_by_key(|row| row.id));
            live.insert(segment.number, own);
        }
        Self { segments, list, live }
    }

    /// The smallest id that a workflow's own limits spare; `None` when they spare all.
    /// Where segments overlap in time, a few more runs stay than the limits say, never
    /// fewer.
    pub(super) fn floor(&self, limits: &WorkflowRetention) -> Result<Option<RunId>> {
        let mut floor: Option<RunId> = None;
        let mut left = Portion {
            runs: limits.runs_max.unwrap_or(u64::MAX),
            bytes: limits.bytes_max.unwrap_or(u64::MAX),
        };
        let is_old = |at| limits.accepted_before.is_some_and(|before| at < before);
        for segment in &self.list {
            let Some(share) = self.share(segment, limits.workflow) else { continue };
            let is_young = segment.accepted_oldest().is_none_or(|oldest| !is_old(oldest));
            if is_young && left.covers(share.portion) {
                left = left - share.portion;
                floor = floor.into_iter().chain([share.smallest]).min();
                continue;
            }
            for row in self.rows(segment, limits.workflow)?.iter().rev() {
                let own = Portion { runs: 1, bytes: row.place.bytes() };
                if is_old(row.accepted_at) || !left.covers(own) {
                    return Ok(Some(floor.unwrap_or_else(|| successor(row.id))));
                }
                left = left - own;
                floor = floor.into_iter().chain([row.id]).min();
            }
        }
        Ok(None)
    }

    /// Counts anew what is below the floors, in every segment.
    pub(super) fn count_dead(&self, hidden: &Hidden) -> Result<()> {
        for segment in &self.list {
            let mut dead = HashMap::new();
            for (workflow, floor) in hidden.floors() {
                let Some(share) = self.share(segment, workflow) else { continue };
                let portion = if share.largest < floor {
                    share.portion
                } else if share.smallest >= floor {
                    continue;
                } else {
                    let rows = self.rows(segment, workflow)?;
                    rows.iter().take_while(|row| row.id < floor).map(Portion::of).sum()
                };
                dead.insert(workflow, portion);
            }
            segment.set_dead(dead);
        }
        Ok(())
    }

    /// The runs that are shown, of each workflow that has some.
    pub(super) fn usage(&self, hidden: &Hidden) -> Vec<WorkflowUsage> {
        let mut all: HashMap<WorkflowId, Portion> = HashMap::new();
        for segment in &self.list {
            for (workflow, portion) in segment.shown(hidden) {
                let own = all.entry(workflow).or_default();
                *own = *own + portion;
            }
        }
        let mut usage: Vec<_> = all
            .into_iter()
            .filter(|(_, portion)| portion.runs > 0)
            .map(|(workflow, Portion { runs, bytes })| WorkflowUsage { workflow, runs, bytes })
            .collect();
        usage.sort_by_key(|own| own.workflow);
        usage
    }

    /// What a workflow has in a segment, and bounds of its ids there.
    fn share(&self, segment: &Segment, workflow: WorkflowId) -> Option<Bounds> {
        match &segment.rows {
            Rows::Complete(summary) => {
                let (_, share) = summary.share(workflow)?;
                let (smallest, largest) = summary.ids?;
                let portion = Portion { runs: share.runs.into(), bytes: share.bytes };
                (share.runs > 0).then_some(Bounds { portion, smallest, largest })
            }
            Rows::Live(_) => {
                let rows = self.live.get(&segment.number)?.get(&workflow)?;
                let (smallest, largest) = (rows.first()?.id, rows.last()?.id);
                Some(Bounds { portion: rows.iter().map(Portion::of).sum(), smallest, largest })
            }
        }
    }

    /// A workflow's rows in a segment, by id.
    fn rows(&self, segment: &Segment, workflow: WorkflowId) -> Result<Vec<RunRow>> {
        match self.live.get(&segment.number) {
            Some(live) => Ok(live.get(&workflow).cloned().unwrap_or_default()),
            None => self.segments.rows_of(segment, workflow),
        }
    }
}

struct Bounds {
    portion: Portion,
    smallest: RunId,
    largest: RunId,
}

/// The next id.
fn successor(id: RunId) -> RunId {
    RunId::from_bytes(u128::from_be_bytes(*id.as_bytes()).saturating_add(1).to_be_bytes())
}
