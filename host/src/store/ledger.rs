//! The schedule's ledger: which instants are claimed, and which of them nothing settled.
//!
//! Entries are frames in the segments, like runs. In memory there is one instant per
//! schedule, the newest that was claimed: a newer one is certainly free, and the
//! scheduler claims in that order. Only a claim of an older instant has to look into
//! the segments.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::rows::TickKey;
use super::{Tick, TickState};
use crate::workflow::WorkflowId;

/// The part of the ledger that is in memory.
#[derive(Default)]
pub(super) struct Ledger {
    newest: HashMap<WorkflowId, HashMap<String, Timestamp>>,
    unsettled: BTreeMap<TickKey, Arc<Tick>>,
}

/// Whether an instant can be claimed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Free,
    Taken,
    /// The segments have to be asked.
    Unknown,
}

/// What the ledger knew of an instant before an entry was put.
pub(super) struct Before {
    key: TickKey,
    newest: Option<Timestamp>,
    unsettled: Option<Arc<Tick>>,
}

impl Ledger {
    /// Looks whether an instant can be claimed. `floor` is the latest instant whose
    /// entry may be deleted.
    pub(super) fn ask(&self, tick: &Tick, floor: Option<Timestamp>) -> Answer {
        if floor >= Some(tick.due) {
            return Answer::Taken;
        }
        let newest = self.newest.get(&tick.workflow).and_then(|own| own.get(&tick.schedule));
        match newest {
            Some(newest) if *newest == tick.due => Answer::Taken,
            Some(newest) if *newest > tick.due => Answer::Unknown,
            _ => Answer::Free,
        }
    }

    /// Takes an entry over, as it is now.
    pub(super) fn put(&mut self, tick: &Arc<Tick>) {
        self.saw(tick.workflow, &tick.schedule, tick.due);
        let key = TickKey::of(tick);
        match tick.state {
            TickState::Claimed => drop(self.unsettled.insert(key, tick.clone())),
            _ => drop(self.unsettled.remove(&key)),
        }
    }

    /// What [`Ledger::put`] is about to change.
    pub(super) fn before(&self, tick: &Tick) -> Before {
        let key = TickKey::of(tick);
        let newest = self.newest.get(&tick.workflow).and_then(|own| own.get(&tick.schedule)).copied();
        Before { newest, unsettled: self.unsettled.get(&key).cloned(), key }
    }

    /// Takes an entry back that was not written after all.
    pub(super) fn restore(&mut self, before: Before) {
        let Before { key, newest, unsettled } = before;
        let own = self.newest.entry(key.workflow).or_default();
        match newest {
            Some(newest) => drop(own.insert(key.schedule.clone(), newest)),
            None => drop(own.remove(&key.schedule)),
        }
        match unsettled {
            Some(tick) => drop(self.unsettled.insert(key, tick)),
            None => drop(self.unsettled.remove(&key)),
        }
    }

    /// Notes that an instant of a schedule was claimed.
    pub(super) fn saw(&mut self, workflow: WorkflowId, schedule: &str, due: Timestamp) {
        let own = self.newest.entry(workflow).or_default();
        match own.get_mut(schedule) {
            Some(newest) => *newest = due.max(*newest),
            None => drop(own.insert(schedule.to_owned(), due)),
        }
    }

    /// The entry, while nothing settled it.
    pub(super) fn unsettled(&self, key: &TickKey) -> Option<Arc<Tick>> {
        self.unsettled.get(key).cloned()
    }

    /// All entries that nothing settled.
    pub(super) fn all_unsettled(&self) -> Vec<Arc<Tick>> {
        self.unsettled.values().cloned().collect()
    }

    /// Forgets a workflow.
    pub(super) fn forget(&mut self, workflow: WorkflowId) {
        self.newest.remove(&workflow);
        self.unsettled.retain(|key, _| key.workflow != workflow);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn only_older_instants_need_the_segments() {
        let workflow = WorkflowId::new();
        let at = |second| Timestamp::from_second(second).unwrap();
        let tick = |second| Arc::new(samples::tick(workflow, "hourly", at(second)));
        let mut ledger = Ledger::default();
        assert_eq!(ledger.ask(&tick(10), None), Answer::Free);
        ledger.put(&tick(10));
        assert_eq!(ledger.ask(&tick(10), None), Answer::Taken);
        assert_eq!(ledger.ask(&tick(11), None), Answer::Free);
        assert_eq!(ledger.ask(&tick(9), None), Answer::Unknown);
        assert_eq!(ledger.ask(&tick(9), Some(at(9))), Answer::Taken);
        assert_eq!(ledger.ask(&samples::tick(workflow, "daily", at(9)), None), Answer::Free);
        ledger.forget(workflow);
        assert_eq!(ledger.ask(&tick(10), None), Answer::Free);
    }

    #[test]
    fn entry_that_was_not_written_leaves_nothing_behind() {
        let workflow = WorkflowId::new();
        let at = |second| Timestamp::from_second(second).unwrap();
        let tick = |second| samples::tick(workflow, "hourly", at(second));
        let mut ledger = Ledger::default();
        let mut before = Vec::new();
        for second in [10, 20, 10] {
            let mut tick = tick(second);
            if before.len() == 2 {
                tick.state = TickState::Ran;
            }
            before.push(ledger.before(&tick));
            ledger.put(&Arc::new(tick));
        }
        assert_eq!(ledger.all_unsettled().len(), 1);
        ledger.restore(before.pop().unwrap());
        assert_eq!(ledger.all_unsettled().len(), 2);
        before.into_iter().rev().for_each(|before| ledger.restore(before));
        assert_eq!((ledger.ask(&tick(10), None), ledger.all_unsettled().len()), (Answer::Free, 0));
    }

    #[test]
    fn settled_entry_is_no_longer_unsettled() {
        let workflow = WorkflowId::new();
        let mut tick = samples::tick(workflow, "hourly", Timestamp::UNIX_EPOCH);
        let mut ledger = Ledger::default();
        ledger.put(&Arc::new(tick.clone()));
        assert_eq!(ledger.all_unsettled().len(), 1);
        tick.state = TickState::Ran;
        ledger.put(&Arc::new(tick));
        assert_eq!(ledger.all_unsettled().len(), 0);
    }
}
