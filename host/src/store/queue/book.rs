//! The queue in memory: where every event is, and in which order. No IO, no clock.
//!
//! Entries are replaced, never edited, so that applying what the files say gives the same
//! book as having done it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{CallbackResult, Enqueued, EventState, QueueEntry, QueueFigures, QueueLimits, Redrive, Wanted};
use crate::run::RunId;
use crate::store::{Result, StoreError};
use crate::workflow::WorkflowId;

/// The frame that holds an event's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct InputPlace {
    pub(in crate::store) file: u64,
    pub(in crate::store) offset: u64,
    pub(in crate::store) frame_bytes: u32,
    /// Bytes of the input alone.
    pub(in crate::store) input_bytes: u32,
}

/// An event and where the files have it.
struct Slot {
    entry: Arc<QueueEntry>,
    input: Option<InputPlace>,
    /// The oldest file that the event needs.
    home: u64,
}

/// All events.
#[derive(Default)]
pub(in crate::store) struct Book {
    slots: HashMap<RunId, Slot>,
    /// Events that wait for their attempt or for their callback.
    due: BTreeSet<(Timestamp, RunId)>,
    keys: HashMap<(WorkflowId, String), RunId>,
    /// Events by the run of their current attempt, where that is not their id.
    runs: HashMap<RunId, RunId>,
    dead: BTreeSet<(Timestamp, RunId)>,
    ended: BTreeSet<(Timestamp, RunId)>,
    /// Events that are over, whose callback was given up: somebody may ask why.
    untold: BTreeSet<(Timestamp, RunId)>,
    homes: BTreeMap<u64, HashSet<RunId>>,
    leased: BTreeSet<RunId>,
    /// Events that are not over, by the run of their attempt.
    unended: BTreeMap<RunId, RunId>,
    /// Leased in an earlier life.
    orphans: BTreeSet<RunId>,
    /// Callbacks that are being told.
    telling: HashSet<RunId>,
    /// Bytes of the inputs of dead letters.
    dead_bytes: u64,
    figures: QueueFigures,
}

impl Book {
    // ---- reading -----------------------------------------------------------------------

    /// The event with this id, or whose current run has it.
    pub(super) fn get(&self, id: RunId) -> Option<&Arc<QueueEntry>> {
        let id = self.runs.get(&id).copied().unwrap_or(id);
        self.slots.get(&id).map(|slot| &slot.entry)
    }

    pub(super) fn input(&self, id: RunId) -> Option<InputPlace> {
        self.slots.get(&id).and_then(|slot| slot.input)
    }

    pub(in crate::store) fn figures(&self) -> QueueFigures {
        QueueFigures {
            waiting: (self.due.len() as u64).saturating_sub(self.notifying_due()),
            leased: self.leased.len() as u64,
            dead: self.dead.len() as u64,
            remembered: (self.ended.len() + self.untold.len()) as u64,
            ..self.figures
        }
    }

    fn notifying_due(&self) -> u64 {
        self.figures.notifying.saturating_sub(self.telling.len() as u64)
    }

    /// The event that a new one with this key would repeat.
    pub(super) fn known(&self, entry: &QueueEntry, now: Timestamp, remember: Duration) -> Option<Enqueued> {
        let key = entry.event.key.as_ref()?;
        let known = self.get(*self.keys.get(&(entry.event.workflow, key.name.clone()))?)?;
        let is_old = known.end().is_some_and(|end| is_past(end.at, remember, now));
        (!is_old).then(|| Enqueued::Known(Box::new((**known).clone())))
    }

    /// Whether there is room for an event with so many bytes of input.
    ///
    /// # Errors
    /// [`StoreError::QueueFull`].
    pub(super) fn check_room(&self, input_bytes: usize, limits: &QueueLimits) -> Result<()> {
        let now = self.figures();
        let events = now.leased + now.notifying + now.waiting;
        if events >= limits.events_max as u64 {
            let what = format!("{events} events are in the queue");
            return Err(StoreError::QueueFull { what, limit: format!("{} events", limits.events_max) });
        }
        let bytes = self.figures.input_bytes + input_bytes as u64;
        if bytes > limits.bytes_max {
            let what = format!("{bytes} bytes would be in the queue");
            return Err(StoreError::QueueFull { what, limit: format!("{} bytes", limits.bytes_max) });
        }
        Ok(())
    }

    /// Events to lease, oldest first.
    pub(super) fn due(
        &self,
        now: Timestamp,
        wanted: Wanted,
        room: &dyn Fn(WorkflowId) -> usize,
    ) -> Vec<Arc<QueueEntry>> {
        let mut rooms: HashMap<WorkflowId, usize> = HashMap::new();
        let Wanted { mut runs, mut callbacks } = wanted;
        let mut found = Vec::new();
        for (_, id) in self.due.iter().take_while(|(due, _)| *due <= now) {
            if runs == 0 && callbacks == 0 {
                break;
            }
            let Some(entry) = self.slots.get(id).map(|slot| &slot.entry) else { continue };
            if let EventState::Waiting { .. } = entry.state {
                let workflow = entry.event.workflow;
                let left = rooms.entry(workflow).or_insert_with(|| room(workflow));
                if *left == 0 || runs == 0 {
                    continue;
                }
                (*left, runs) = (*left - 1, runs - 1);
            } else {
                if callbacks == 0 {
                    continue;
                }
                callbacks -= 1;
            }
            found.push(entry.clone());
        }
        found
    }

    /// When the next event comes due after `now`.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.due.iter().map(|(due, _)| *due).find(|due| *due > now)
    }

    pub(super) fn orphans(&self) -> Vec<Arc<QueueEntry>> {
        self.orphans.iter().filter_map(|id| self.get(*id)).cloned().collect()
    }

    /// Events that are not over, latest attempt first.
    pub(super) fn unended(&self, workflow: Option<WorkflowId>, limit: usize) -> Vec<QueueEntry> {
        let latest_first = self.unended.values().rev().filter_map(|id| self.get(*id));
        let meant = latest_first.filter(|entry| workflow.is_none_or(|id| entry.event.workflow == id));
        meant.take(limit).map(|entry| (**entry).clone()).collect()
    }

    /// Dead letters, latest death first, behind the one named `cursor`.
    pub(super) fn dead_letters(
        &self,
        workflow: Option<WorkflowId>,
        cursor: Option<RunId>,
        limit: usize,
    ) -> Vec<QueueEntry> {
        let behind = match cursor {
            None => None,
            Some(id) => match self.get(id).and_then(|entry| entry.end()) {
                Some(end) => Some((end.at, id)),
                // It was driven again or dropped: where the page ended is not known any more.
                None => return Vec::new(),
            },
        };
        let dead = self.dead.iter().rev().filter(|place| behind.is_none_or(|behind| **place < behind));
        let dead = dead.filter_map(|(_, id)| self.get(*id));
        let dead = dead.filter(|entry| workflow.is_none_or(|id| entry.event.workflow == id));
        dead.take(limit).map(|entry| (**entry).clone()).collect()
    }

    /// The dead letters that are meant, oldest first.
    pub(super) fn to_redrive(&self, which: &Redrive, limit: usize) -> Vec<Arc<QueueEntry>> {
        let is_meant = |entry: &&Arc<QueueEntry>| match which {
            Redrive::Ids(ids) => ids.contains(&entry.event.id),
            Redrive::Of(workflow) => workflow.is_none_or(|id| entry.event.workflow == id),
        };
        let dead = self.dead.iter().filter_map(|(_, id)| self.get(*id));
        dead.filter(is_meant).take(limit).cloned().collect()
    }

    /// Events that are to be forgotten now: too old, or too many. The second number says
    /// how many of them are dead letters.
    pub(super) fn overdue(&self, now: Timestamp, limits: &QueueLimits) -> (Vec<RunId>, u64) {
        let too_many = |set: &BTreeSet<(Timestamp, RunId)>, max: usize| set.len().saturating_sub(max);
        let pick = |set: &BTreeSet<(Timestamp, RunId)>, keep: Duration, surplus: usize| -> Vec<RunId> {
            let oldest = set.iter().enumerate();
            let gone = oldest.take_while(|(index, (at, _))| *index < surplus || is_past(*at, keep, now));
            gone.map(|(_, (_, id))| *id).collect()
        };
        let surplus = too_many(&self.dead, limits.dead_max).max(self.dead_over_bytes(limits.bytes_max));
        let mut gone = pick(&self.dead, limits.dead_keep, surplus);
        let dead = gone.len() as u64;
        gone.extend(pick(&self.ended, limits.remember, too_many(&self.ended, limits.remembered_max)));
        let keep = limits.dead_keep.max(limits.remember);
        gone.extend(pick(&self.untold, keep, too_many(&self.untold, limits.dead_max)));
        (gone, dead)
    }

    /// How many of the oldest dead letters go until their inputs fit.
    fn dead_over_bytes(&self, bytes_max: u64) -> usize {
        let mut left = self.dead_bytes;
        let bytes = |id: &RunId| self.input(*id).map_or(0, |place| u64::from(place.input_bytes));
        let over = self.dead.iter().take_while(|(_, id)| {
            let is_over = left > bytes_max;
            left = left.saturating_sub(bytes(id));
            is_over
        });
        over.count()
    }

    /// Whether more is remembered than may be.
    pub(super) fn is_over(&self, limits: &QueueLimits) -> bool {
        self.dead.len() > limits.dead_max
            || self.ended.len() > limits.remembered_max
            || self.untold.len() > limits.dead_max
            || self.dead_bytes > limits.bytes_max
    }

    pub(super) fn of_workflow(&self, workflow: WorkflowId) -> Vec<RunId> {
        let all = self.slots.values().filter(|slot| slot.entry.event.workflow == workflow);
        all.map(|slot| slot.entry.event.id).collect()
    }

    /// Workflows that have events.
    pub(in crate::store) fn workflows(&self) -> HashSet<WorkflowId> {
        self.slots.values().map(|slot| slot.entry.event.workflow).collect()
    }

    /// Bytes that the files would have with nothing but what is needed.
    pub(super) fn living_bytes(&self, entry_bytes: u64) -> u64 {
        self.figures.input_bytes + self.dead_bytes + self.slots.len() as u64 * entry_bytes
    }

    /// Events that need this file.
    pub(super) fn living_in(&self, file: u64) -> Vec<Arc<QueueEntry>> {
        let ids = self.homes.get(&file).into_iter().flatten();
        ids.filter_map(|id| self.get(*id)).cloned().collect()
    }

    // ---- changing ----------------------------------------------------------------------

    /// Takes over an entry that `file` has; `input` when its frame there holds the input.
    pub(super) fn put(&mut self, entry: QueueEntry, file: u64, input: Option<InputPlace>) {
        let id = entry.event.id;
        let old = self.unlink(id);
        let keeps_input = entry.end().is_none_or(|end| end.is_dead);
        let input = input.or(old.and_then(|slot| slot.input)).filter(|_| keeps_input);
        let home = input.map_or(file, |place| place.file);
        match entry.state {
            EventState::Waiting { not_before } => drop(self.due.insert((not_before, id))),
            EventState::Leased { .. } => drop(self.leased.insert(id)),
            EventState::Notifying { not_before, .. } => {
                self.due.insert((not_before, id));
                self.figures.notifying += 1;
            }
            EventState::Ended { end } if end.is_dead => drop(self.dead.insert((end.at, id))),
            EventState::Ended { end } if is_untold(&entry) => drop(self.untold.insert((end.at, id))),
            EventState::Ended { end } => drop(self.ended.insert((end.at, id))),
        }
        if let Some(key) = &entry.event.key {
            self.keys.insert((entry.event.workflow, key.name.clone()), id);
        }
        if entry.run != id {
            self.runs.insert(entry.run, id);
        }
        if entry.end().is_none() {
            self.unended.insert(entry.run, id);
        }
        *self.bytes_of(entry.end().is_some()) += input.map_or(0, |place| u64::from(place.input_bytes));
        self.homes.entry(home).or_default().insert(id);
        self.slots.insert(id, Slot { entry: Arc::new(entry), input, home });
    }

    /// Forgets an event.
    pub(super) fn remove(&mut self, id: RunId) {
        let Some(slot) = self.unlink(id) else { return };
        if let Some(key) = &slot.entry.event.key {
            let key = (slot.entry.event.workflow, key.name.clone());
            // A later event may have its key by now.
            if self.keys.get(&key) == Some(&id) {
                self.keys.remove(&key);
            }
        }
    }

    /// Notes that a callback is being told.
    pub(super) fn tell(&mut self, id: RunId) {
        if let Some(slot) = self.slots.get(&id)
            && let EventState::Notifying { not_before, .. } = slot.entry.state
        {
            self.due.remove(&(not_before, id));
            self.telling.insert(id);
        }
    }

    /// Everything that is leased was so in an earlier life.
    pub(super) fn orphan_all(&mut self) {
        self.orphans = self.leased.clone();
    }

    fn bytes_of(&mut self, is_over: bool) -> &mut u64 {
        if is_over { &mut self.dead_bytes } else { &mut self.figures.input_bytes }
    }

    fn unlink(&mut self, id: RunId) -> Option<Slot> {
        let slot = self.slots.remove(&id)?;
        let entry = &slot.entry;
        match entry.state {
            EventState::Waiting { not_before } => drop(self.due.remove(&(not_before, id))),
            EventState::Leased { .. } => drop(self.leased.remove(&id)),
            EventState::Notifying { not_before, .. } => {
                self.due.remove(&(not_before, id));
                self.telling.remove(&id);
                self.figures.notifying -= 1;
            }
            EventState::Ended { end } => {
                self.dead.remove(&(end.at, id));
                self.ended.remove(&(end.at, id));
                self.untold.remove(&(end.at, id));
            }
        }
        if entry.run != id {
            self.runs.remove(&entry.run);
        }
        self.unended.remove(&entry.run);
        let input_bytes = slot.input.map_or(0, |place| u64::from(place.input_bytes));
        *self.bytes_of(slot.entry.end().is_some()) -= input_bytes;
        self.orphans.remove(&id);
        if let Some(home) = self.homes.get_mut(&slot.home) {
            home.remove(&id);
            if home.is_empty() {
                self.homes.remove(&slot.home);
            }
        }
        Some(slot)
    }
}

fn is_untold(entry: &QueueEntry) -> bool {
    entry.told.as_ref().is_some_and(|told| told.result == CallbackResult::GivenUp)
}

fn is_past(at: Timestamp, keep: Duration, now: Timestamp) -> bool {
    let age = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    now.duration_since(at) >= age
}
