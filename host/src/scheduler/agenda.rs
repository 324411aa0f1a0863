//! What the scheduler knows of each schedule, in the order in which they want attention.
//! No IO: it is told the time, and returns the work.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::lane::Lane;
use super::plan::{Plan, Situation, Start, late_max, plan};
use super::tick::{Done, Work};
use super::{Key, PullSchedule, RETRY};
use crate::schedule::{Overlap, Rule, Schedule};
use crate::store::{Tick, TickState};
use crate::workflow::{Digest, WorkflowId};

/// How often a paused schedule gets an entry in the ledger.
const PAUSED_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// All schedules.
pub(super) struct Agenda {
    /// How long before its time an instant is claimed.
    claim_ahead: SignedDuration,
    entries: HashMap<u64, Entry>,
    ids: HashMap<Key, u64>,
    /// When each entry is to be looked at, for those that are ever due.
    order: BTreeSet<(Timestamp, u64)>,
    ids_given: u64,
}

/// One schedule.
struct Entry {
    key: Key,
    schedule: Schedule,
    rule: Rule,
    jitter: SignedDuration,
    is_paused: bool,
    /// What is due up to here was dealt with.
    last: Timestamp,
    /// What became due before this passed unseen.
    seen_from: Timestamp,
    /// The first one that was not.
    next: Option<Timestamp>,
    /// It is not looked at before, even if it is due.
    not_before: Option<Timestamp>,
    /// Its place in the order.
    wake: Option<Timestamp>,
    /// Its runs that are going, or wait for one that is.
    active: u32,
    lane: Arc<Lane>,
    /// The round of what is planned.
    round: u64,
    /// What this round began with, if it was not the first one.
    round_from: Option<Timestamp>,
}

/// What [`Agenda::sync`] found.
#[derive(Default)]
pub(super) struct Difference {
    /// Schedules that are to be [added](Agenda::add).
    pub(super) added: Vec<PullSchedule>,
    /// Schedules that changed.
    pub(super) changed: Vec<u64>,
    /// Schedules that are gone.
    pub(super) removed: Vec<Key>,
    /// Instants that fell due before the change.
    pub(super) work: Vec<Work>,
}

impl Agenda {
    pub(super) fn new(claim_ahead: Duration) -> Self {
        Self {
            claim_ahead: SignedDuration::try_from(claim_ahead).unwrap_or(SignedDuration::ZERO),
            entries: HashMap::new(),
            ids: HashMap::new(),
            order: BTreeSet::new(),
            ids_given: 0,
        }
    }

    /// When something is to be done next.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        self.order.first().map(|(wake, _)| *wake)
    }

    /// A schedule, its next due instant, and how it runs.
    pub(super) fn published(&self, id: u64) -> Option<(Key, Option<Timestamp>, Arc<Lane>)> {
        self.entries.get(&id).map(|entry| (entry.key.clone(), entry.next, entry.lane.clone()))
    }

    /// Deals with the schedule that has waited longest, if its time has come.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<(u64, Option<Work>)> {
        let &(_, id) = self.order.first().filter(|(wake, _)| *wake <= now)?;
        Some((id, self.look(id, now, self.claim_ahead)))
    }

    /// Takes a schedule in whose newest entry in the ledger is `newest`. Times in the future
    /// were written under a clock that was wrong.
    pub(super) fn add(&mut self, pull: PullSchedule, newest: Option<&Tick>, now: Timestamp) -> Option<u64> {
        let PullSchedule { workflow, schedule, since, paused } = pull;
        let rule = rule_of(workflow, &schedule)?;
        let key: Key = (workflow, Arc::from(schedule.name.as_str()));
        let last = newest.map_or(since, |newest| newest.due.max(since)).min(now);
        let lane = Lane::new(paused);
        if let Some(skipped) = newest.filter(|newest| newest.state == TickState::SkippedRunning) {
            lane.remember_overrun(&Start::new(&rule, skipped.due, false));
        }
        self.ids_given += 1;
        let id = self.ids_given;
        let entry = Entry {
            jitter: jitter_of(&key, &schedule),
            next: rule.next_after(last),
            rule,
            schedule,
            is_paused: paused,
            last,
            seen_from: now,
            not_before: None,
            wake: None,
            active: 0,
            round: 0,
            round_from: None,
            lane: Arc::new(lane),
            key: key.clone(),
        };
        self.entries.insert(id, entry);
        if let Some(old) = self.ids.insert(key, id) {
            self.remove(old);
        }
        self.reorder(id);
        Some(id)
    }

    /// Compares with the schedules as they are now.
    pub(super) fn sync(&mut self, wanted: Vec<PullSchedule>, now: Timestamp) -> Difference {
        let mut difference = Difference::default();
        let mut seen = HashSet::with_capacity(wanted.len());
        for pull in wanted {
            let key: Key = (pull.workflow, Arc::from(pull.schedule.name.as_str()));
            let Some(&id) = self.ids.get(&key) else {
                difference.added.push(pull);
                continue;
            };
            seen.insert(id);
            if self.differs(id, &pull) {
                // Up to now the old rule held.
                difference.work.extend(self.look(id, now, SignedDuration::ZERO));
                self.change(id, pull);
                difference.changed.push(id);
            }
        }
        let gone: Vec<Key> =
            self.ids.iter().filter(|(_, id)| !seen.contains(id)).map(|(key, _)| key.clone()).collect();
        for key in &gone {
            if let Some(id) = self.ids.remove(key) {
                // What was due until now has its entry, unless the whole workflow is gone.
                difference.work.extend(self.look(id, now, SignedDuration::ZERO));
                self.remove(id);
            }
        }
        difference.removed = gone;
        difference
    }

    /// Follows a clock that was set back: what is due from now on is due, also where it was
    /// dealt with before the change. What ran is claimed, and does not run again.
    /// Returns the schedules.
    pub(super) fn turn_back(&mut self, now: Timestamp) -> Vec<u64> {
        let ids: Vec<u64> = self.entries.keys().copied().collect();
        for &id in &ids {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.last = entry.last.min(now);
            entry.seen_from = entry.seen_from.min(now);
            let next = entry.rule.next_after(now);
            // What was due before the change and waits still, waits on.
            entry.next = [entry.next, next].into_iter().flatten().min();
            entry.not_before = None;
            self.reorder(id);
        }
        ids
    }

    /// Follows a clock that was set forward, or a machine that slept: what was due
    /// meanwhile passed unseen.
    pub(super) fn turn_forward(&mut self, now: Timestamp) {
        self.entries.values_mut().for_each(|entry| entry.seen_from = now);
    }

    /// Notes that a piece of work is over.
    pub(super) fn finish(&mut self, done: Done, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&done.entry) else { return };
        if done.has_run {
            entry.active = entry.active.saturating_sub(1);
        }
        if let Some(unclaimed) = done.unclaimed_from {
            // What was planned behind a claim that failed is planned again with it already.
            if done.round < entry.round && entry.round_from.is_some_and(|from| from <= unclaimed) {
                return;
            }
            (entry.round, entry.round_from) = (entry.lane.round(), Some(unclaimed));
            entry.next = Some(entry.next.map_or(unclaimed, |next| next.min(unclaimed)));
            entry.not_before = now.checked_add(RETRY).ok();
            self.reorder(done.entry);
        }
    }

    /// Plans what is due of a schedule, and moves on. An instant that is due at most
    /// `ahead` later is planned if it is going to run.
    fn look(&mut self, id: u64, now: Timestamp, ahead: SignedDuration) -> Option<Work> {
        let entry = self.entries.get_mut(&id)?;
        let first = entry.next?;
        let policy = &entry.schedule.policy;
        let active_max = match policy.overlap {
            Overlap::Forbid => 1,
            Overlap::QueueOne => 2,
            Overlap::Allow => u32::MAX,
        };
        let is_taken = entry.active >= active_max;
        let (is_paused, jitter) = (entry.is_paused, entry.jitter);
        let early_by = first.duration_since(now) + jitter;
        let Plan { unrun, runs, last } = if early_by > ahead {
            return None;
        } else if early_by <= SignedDuration::ZERO {
            let seen_from = entry.seen_from;
            plan(&entry.rule, policy, first, Situation { now, seen_from, is_paused, is_taken, jitter })
        } else if is_paused || is_taken {
            // It may be otherwise when its time has come.
            entry.not_before = now.checked_add(early_by).ok();
            self.reorder(id);
            return None;
        } else {
            Plan { runs: vec![Start::new(&entry.rule, first, false)], last: Some(first), ..Plan::default() }
        };
        entry.not_before = None;
        if let Some(last) = last {
            entry.last = last;
            entry.next = entry.rule.next_after(last);
            if is_paused {
                entry.not_before = now.checked_add(PAUSED_EVERY).ok();
            }
        }
        entry.active += u32::from(!runs.is_empty());
        let work = Work {
            entry: id,
            workflow: entry.key.0,
            schedule: entry.key.1.clone(),
            jitter: entry.jitter,
            late_max: late_max(policy),
            cadence: unrun.iter().any(|group| group.count > 1).then(|| entry.schedule.cadence.clone()),
            unrun,
            runs,
            is_exclusive: policy.overlap != Overlap::Allow,
            lane: entry.lane.clone(),
            claims: Some(entry.lane.turn_to_claim()),
            round: entry.round,
        };
        self.reorder(id);
        (!work.unrun.is_empty() || !work.runs.is_empty()).then_some(work)
    }

    fn differs(&self, id: u64, pull: &PullSchedule) -> bool {
        self.entries
            .get(&id)
            .is_some_and(|entry| entry.is_paused != pull.paused || entry.schedule != pull.schedule)
    }

    fn change(&mut self, id: u64, pull: PullSchedule) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.is_paused = pull.paused;
        entry.not_before = None;
        entry.lane.set_paused(pull.paused);
        let is_moved =
            entry.schedule.cadence != pull.schedule.cadence || entry.schedule.anchor != pull.schedule.anchor;
        if is_moved && let Some(rule) = rule_of(pull.workflow, &pull.schedule) {
            // The anchor of a new rule keeps it out of the past.
            entry.next = rule.next_after(entry.last);
            entry.rule = rule;
        }
        entry.jitter = jitter_of(&entry.key, &pull.schedule);
        entry.schedule = pull.schedule;
        self.reorder(id);
    }

    fn remove(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            entry.lane.remove();
            if let Some(wake) = entry.wake {
                self.order.remove(&(wake, id));
            }
        }
    }

    fn reorder(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(wake) = entry.wake.take() {
            self.order.remove(&(wake, id));
        }
        // An instant whose delay lies behind the calendar's end is never due.
        let ready = entry.next.and_then(|next| next.checked_add(entry.jitter).ok());
        let ahead = ready.and_then(|ready| ready.checked_sub(self.claim_ahead).ok());
        entry.wake = ahead.map(|ahead| entry.not_before.map_or(ahead, |bound| bound.max(ahead)));
        if let Some(wake) = entry.wake {
            self.order.insert((wake, id));
        }
    }
}

fn rule_of(workflow: WorkflowId, schedule: &Schedule) -> Option<Rule> {
    schedule
        .rule()
        .inspect_err(|error| {
            // It was validated when it was stored: a zone may have left the database.
            let error = error as &dyn std::error::Error;
            tracing::error!(%workflow, schedule = schedule.name, error, "a stored schedule cannot be used");
        })
        .ok()
}

/// The delay of a schedule's runs: the same every time, spread evenly over the schedules.
fn jitter_of(key: &Key, schedule: &Schedule) -> SignedDuration {
    let jitter_ms = schedule.policy.jitter_ms;
    let mut name = key.0.as_bytes().to_vec();
    name.extend_from_slice(key.1.as_bytes());
    let digest = Digest::of(&name);
    let place = digest.as_bytes().iter().take(8).fold(0_u64, |place, byte| place << 8 | u64::from(*byte));
    let delay_ms = place.checked_rem(jitter_ms.saturating_add(1)).unwrap_or(0);
    SignedDuration::from_millis(i64::try_from(delay_ms).unwrap_or(0))
}
