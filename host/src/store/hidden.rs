//! Which rows are not shown any more although they are still in a segment.

use std::collections::{HashMap, HashSet};

use crate::run::RunId;
use crate::workflow::WorkflowId;

/// Archived workflows, and for others the runs that retention took.
#[derive(Debug, Clone, Default)]
pub(super) struct Hidden {
    archived: HashSet<WorkflowId>,
    /// A workflow's runs with smaller ids are gone.
    floors: HashMap<WorkflowId, RunId>,
}

impl Hidden {
    pub(super) fn is_empty(&self) -> bool {
        self.archived.is_empty() && self.floors.is_empty()
    }

    /// Whether a run is not shown.
    pub(super) fn hides(&self, workflow: WorkflowId, run: RunId) -> bool {
        self.archived.contains(&workflow) || self.floor(workflow).is_some_and(|floor| run < floor)
    }

    pub(super) fn is_archived(&self, workflow: WorkflowId) -> bool {
        self.archived.contains(&workflow)
    }

    /// The smallest id of a run that is shown.
    pub(super) fn floor(&self, workflow: WorkflowId) -> Option<RunId> {
        self.floors.get(&workflow).copied()
    }

    pub(super) fn floors(&self) -> impl Iterator<Item = (WorkflowId, RunId)> {
        self.floors.iter().map(|(workflow, floor)| (*workflow, *floor))
    }

    pub(super) fn archive(&mut self, workflow: WorkflowId) {
        self.floors.remove(&workflow);
        self.archived.insert(workflow);
    }

    pub(super) fn unarchive(&mut self, workflow: WorkflowId) {
        self.archived.remove(&workflow);
    }

    /// Raises the floor of a workflow. It never sinks.
    pub(super) fn raise(&mut self, workflow: WorkflowId, floor: RunId) {
        let own = self.floors.entry(workflow).or_insert(floor);
        *own = floor.max(*own);
    }
}
