//! What becomes of a schedule's due instants: arithmetic and policy, no IO.

use jiff::{SignedDuration, Timestamp};

use super::{MISSED_ENTRIES_MAX, STANDS_FOR_MAX};
use crate::schedule::{Missed, Policy, Rule};
use crate::store::TickState;

/// How things stand when a schedule is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    pub(super) now: Timestamp,
    /// The host was down or asleep until here: what became due before passed unseen.
    pub(super) seen_from: Timestamp,
    /// The workflow is paused.
    pub(super) is_paused: bool,
    /// A run of the schedule is going, and the policy lets no other begin or wait.
    pub(super) is_taken: bool,
    /// The delay of this schedule's runs.
    pub(super) jitter: SignedDuration,
}

/// What becomes of the due instants up to now, in the order in which they were due.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// Those that do not run.
    pub(super) unrun: Vec<Group>,
    /// Those that run, behind those that do not.
    pub(super) runs: Vec<Start>,
    /// The last instant that is dealt with; `None` when none was due.
    pub(super) last: Option<Timestamp>,
}

/// An instant that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) due: Timestamp,
    /// It makes up for an instant that was missed.
    pub(super) is_backfill: bool,
    /// From this instant to the next one of the schedule; `None` at the calendar's end.
    pub(super) distance: Option<SignedDuration>,
}

/// Instants that do not run and share an entry in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) first: Timestamp,
    /// The instant whose entry it is.
    pub(super) last: Timestamp,
    pub(super) count: u64,
    pub(super) state: TickState,
    pub(super) message: String,
}

/// Decides on all instants of `rule` from `first` on whose time has come. `first` is due
/// at some time, perhaps not yet.
pub(super) fn plan(rule: &Rule, policy: &Policy, first: Timestamp, situation: Situation) -> Plan {
    let Situation { now, seen_from, is_paused, is_taken, jitter } = situation;
    let (ready_until, unseen_until) = (minus(now, jitter), minus(seen_from, jitter));
    let before = minus(first, SignedDuration::from_nanos(1));
    let Some(last) = rule.last_within(before, ready_until) else { return Plan::default() };
    let backlog = Backlog { rule, before, last };
    let mut plan = Plan { last: Some(last), ..Plan::default() };
    if is_paused {
        plan.unrun.extend(backlog.group(TickState::SkippedPaused, "the workflow was paused"));
        return plan;
    }
    if is_taken {
        plan.unrun = backlog.before(last).missed();
        let reason = "the run of an earlier instant was still going";
        plan.unrun.push(Group::new(last, last, 1, TickState::SkippedRunning, reason));
        return plan;
    }
    let runs_max = match policy.missed {
        Missed::Once | Missed::Skip => 1,
        Missed::All { max } => max as usize,
    };
    let limit = late_max(policy);
    let is_in_time = |due: &Timestamp| limit.is_none_or(|limit| ready_until.duration_since(*due) <= limit);
    let may_run = |due: &Timestamp| policy.missed != Missed::Skip || *due >= unseen_until;
    let runs = backlog.latest(runs_max).into_iter().filter(is_in_time).filter(may_run);
    plan.runs = runs.map(|due| Start::new(rule, due, due < unseen_until || due < last)).collect();
    plan.unrun = match plan.runs.first() {
        Some(first_run) => backlog.before(first_run.due).missed(),
        None => backlog.missed(),
    };
    plan
}

/// How late a run may start; `None` for any time.
pub(super) fn late_max(policy: &Policy) -> Option<SignedDuration> {
    policy.start_deadline_ms.and_then(|ms| i64::try_from(ms).ok()).map(SignedDuration::from_millis)
}

/// Due instants behind `before`, up to and with `last`, which is one; or none when `last`
/// is not behind `before`.
struct Backlog<'a> {
    rule: &'a Rule,
    before: Timestamp,
    last: Timestamp,
}

impl<'a> Backlog<'a> {
    /// The part of it before an instant.
    fn before(&self, bound: Timestamp) -> Backlog<'a> {
        let until = minus(bound, SignedDuration::from_nanos(1));
        let last = self.rule.last_within(self.before, until).unwrap_or(self.before);
        Backlog { rule: self.rule, before: self.before, last }
    }

    /// Its last instants, at most `n`, in order.
    fn latest(&self, n: usize) -> Vec<Timestamp> {
        let mut latest = Vec::new();
        let mut next = (self.last > self.before).then_some(self.last);
        while let Some(due) = next.filter(|_| latest.len() < n) {
            latest.push(due);
            next = self.rule.last_within(self.before, minus(due, SignedDuration::from_nanos(1)));
        }
        latest.reverse();
        latest
    }

    /// One entry for all.
    fn group(&self, state: TickState, reason: &str) -> Option<Group> {
        let first = self.rule.next_after(self.before).filter(|first| *first <= self.last)?;
        let count = self.rule.count_within(self.before, self.last, STANDS_FOR_MAX);
        Some(Group::new(first, self.last, count, state, reason))
    }

    /// Entries that say that these instants were missed.
    fn missed(&self) -> Vec<Group> {
        let reason = "the host was down or busy when it was due";
        let single = self.latest(MISSED_ENTRIES_MAX);
        let rest = single.first().and_then(|first| self.before(*first).group(TickState::Missed, reason));
        let single = single.into_iter().map(|due| Group::new(due, due, 1, TickState::Missed, reason));
        rest.into_iter().chain(single).collect()
    }
}

impl Start {
    pub(super) fn new(rule: &Rule, due: Timestamp, is_backfill: bool) -> Self {
        let distance = rule.next_after(due).map(|next| next.duration_since(due));
        Self { due, is_backfill, distance }
    }
}

impl Group {
    fn new(first: Timestamp, last: Timestamp, count: u64, state: TickState, reason: &str) -> Self {
        let message = match count {
            1 => reason.to_owned(),
            STANDS_FOR_MAX => format!("{reason}; this stands for at least {count} instants since {first}"),
            _ => format!("{reason}; this stands for {count} instants since {first}"),
        };
        Self { first, last, count, state, message }
    }
}

fn minus(instant: Timestamp, duration: SignedDuration) -> Timestamp {
    instant.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Cadence, Schedule};

    const SECOND: SignedDuration = SignedDuration::from_secs(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A rule that is due every ten seconds, from 10 on.
    fn rule() -> Rule {
        let cadence = Cadence::Every { interval_ms: 10_000 };
        Schedule::new("default", cadence, at(0)).rule().unwrap()
    }

    fn at_now(now: i64) -> Situation {
        Situation {
            now: at(now),
            seen_from: at(0),
            is_paused: false,
            is_taken: false,
            jitter: SignedDuration::ZERO,
        }
    }

    fn runs(plan: &Plan) -> Vec<(i64, bool)> {
        plan.runs.iter().map(|start| (start.due.as_second(), start.is_backfill)).collect()
    }

    fn seconds(groups: &[Group]) -> Vec<(i64, i64, u64)> {
        groups.iter().map(|group| (group.first.as_second(), group.last.as_second(), group.count)).collect()
    }

    #[test]
    fn nothing_is_planned_before_its_time() {
        let rule = rule();
        assert_eq!(plan(&rule, &Policy::default(), at(10), at_now(9)), Plan::default());
        let delayed = Situation { jitter: SECOND * 5, ..at_now(14) };
        assert_eq!(plan(&rule, &Policy::default(), at(10), delayed), Plan::default());
        let due = plan(&rule, &Policy::default(), at(10), Situation { now: at(15), ..delayed });
        assert_eq!((runs(&due), due.last), (vec![(10, false)], Some(at(10))));
        assert_eq!(due.runs[0].distance, Some(SECOND * 10));
        // Late by more than an interval: 20 is due, and not yet to be started.
        let late = plan(&rule, &Policy::default(), at(10), Situation { now: at(24), ..delayed });
        assert_eq!((runs(&late), late.last), (vec![(10, false)], Some(at(10))));
    }

    #[test]
    fn backlog_splits_into_runs_single_entries_and_a_rest() {
        let plan = plan(&rule(), &Policy::default(), at(10), at_now(205));
        assert_eq!((runs(&plan), plan.last), (vec![(200, false)], Some(at(200))));
        let mut expected = vec![(10, 90, 9)];
        expected.extend((10..20).map(|n| (n * 10, n * 10, 1)));
        assert_eq!(seconds(&plan.unrun), expected);
        assert!(plan.unrun.iter().all(|group| group.state == TickState::Missed));
        assert_eq!(
            plan.unrun[0].message,
            "the host was down or busy when it was due; this stands for 9 instants since 1970-01-01T00:00:10Z"
        );
    }

    #[test]
    fn what_passed_unseen_is_made_up_for_or_skipped() {
        let (rule, woken) = (rule(), Situation { seen_from: at(41), ..at_now(41) });
        let of = |missed, situation| {
            let plan = plan(&rule, &Policy { missed, ..Policy::default() }, at(10), situation);
            (runs(&plan), plan.unrun.len())
        };
        assert_eq!(of(Missed::Once, woken), (vec![(40, true)], 3));
        assert_eq!(of(Missed::All { max: 3 }, woken), (vec![(20, true), (30, true), (40, true)], 1));
        assert_eq!(of(Missed::Skip, woken), (vec![], 4));
        // 50 was due while the host was up; so was 40, where its jitter lies behind the start.
        let later = Situation { now: at(51), ..woken };
        assert_eq!(of(Missed::All { max: 2 }, later), (vec![(40, true), (50, false)], 3));
        assert_eq!(of(Missed::Skip, later), (vec![(50, false)], 4));
        let delayed = Situation { jitter: SECOND * 5, now: at(46), ..woken };
        assert_eq!(of(Missed::Skip, delayed), (vec![(40, false)], 3));
    }

    #[test]
    fn count_of_a_long_backlog_is_bounded() {
        let paused = Situation { is_paused: true, ..at_now(1_000_000) };
        let plan = plan(&rule(), &Policy::default(), at(10), paused);
        assert_eq!(seconds(&plan.unrun), [(10, 1_000_000, STANDS_FOR_MAX)]);
        assert!(plan.unrun[0].message.contains("at least 10000 instants"), "{}", plan.unrun[0].message);
    }

    #[test]
    fn backlog_behind_a_running_run_is_skipped_and_missed() {
        let taken = Situation { is_taken: true, ..at_now(35) };
        let plan = plan(&rule(), &Policy::default(), at(10), taken);
        let states: Vec<TickState> = plan.unrun.iter().map(|group| group.state).collect();
        assert_eq!(states, [TickState::Missed, TickState::Missed, TickState::SkippedRunning]);
        assert_eq!((runs(&plan), plan.last), (vec![], Some(at(30))));
    }
}
