//! Claims instants, has them run, and settles them: the scheduler's IO.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::lane::{ClaimTurn, Lane, Reason};
use super::plan::{Group, Start};
use super::{Clock, Due, Ledger, Pulls, RunEnd, Unrun};
use crate::run::RunId;
use crate::schedule::Cadence;
use crate::store::{Claim, StoreError, Stretch, Tick, TickState};
use crate::workflow::WorkflowId;

/// What the instants of all schedules share.
pub(super) struct Context {
    pub(super) pulls: Arc<dyn Pulls>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) clock: Arc<dyn Clock>,
    /// A permit for each run.
    places: Arc<Semaphore>,
    /// No instant that has to wait for its turn starts any more.
    pub(super) stopping: CancellationToken,
    /// The last claim failed: 10,000 schedules say so once.
    is_failing: AtomicBool,
}

/// Instants of one schedule that are to be dealt with, in the order in which they were due.
pub(super) struct Work {
    pub(super) entry: u64,
    pub(super) workflow: WorkflowId,
    pub(super) schedule: Arc<str>,
    pub(super) jitter: SignedDuration,
    /// How late a run may start.
    pub(super) late_max: Option<SignedDuration>,
    pub(super) unrun: Vec<Group>,
    pub(super) runs: Vec<Start>,
    /// The rule that gave them, where several of them share an entry.
    pub(super) cadence: Option<Cadence>,
    /// Only one run of the schedule goes at a time.
    pub(super) is_exclusive: bool,
    pub(super) lane: Arc<Lane>,
    /// Its place among all that is planned for the schedule.
    pub(super) claims: Option<ClaimTurn>,
    /// Plans of one round are claimed in their order; none behind one that failed.
    pub(super) round: u64,
}

/// A piece of work that is over.
pub(super) struct Done {
    pub(super) entry: u64,
    /// It had something to run.
    pub(super) has_run: bool,
    /// The first instant that was not claimed, because the store failed at it or at one
    /// before it.
    pub(super) unclaimed_from: Option<Timestamp>,
    pub(super) round: u64,
}

/// What a run holds while it goes.
struct Turn<'a> {
    lane: Option<SemaphorePermit<'a>>,
    place: OwnedSemaphorePermit,
}

/// The answer to a claim.
enum Claimed {
    Ours(Tick),
    /// Somebody has it, or the workflow is gone.
    NotOurs,
    StoreFailed,
}

impl Work {
    /// The first instant.
    fn first(&self) -> Option<Timestamp> {
        let unrun = self.unrun.iter().map(|group| group.first);
        unrun.chain(self.runs.iter().map(|start| start.due)).min()
    }
}

impl Context {
    pub(super) fn new(
        pulls: Arc<dyn Pulls>,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        running_max: usize,
    ) -> Self {
        let places = Arc::new(Semaphore::new(running_max.clamp(1, Semaphore::MAX_PERMITS)));
        let (stopping, is_failing) = (CancellationToken::new(), AtomicBool::new(false));
        Self { pulls, ledger, clock, places, stopping, is_failing }
    }

    pub(super) async fn carry_out(self: Arc<Self>, work: Work) -> Done {
        let (entry, round, has_run) = (work.entry, work.round, !work.runs.is_empty());
        // A panic costs this schedule these instants, not the host its scheduler. Their
        // claims are settled at the next start.
        let unclaimed_from = AssertUnwindSafe(self.work(work)).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("the host failed while it ran a tick");
            None
        });
        Done { entry, has_run, unclaimed_from, round }
    }

    /// Records what became of a claimed instant.
    pub(super) async fn settle(&self, tick: &Tick, state: TickState, lateness: Duration) {
        match self.ledger.settle(tick.workflow, &tick.schedule, tick.due, state, lateness).await {
            Ok(()) => {}
            // Archived while it ran: its ledger went with it.
            Err(StoreError::Missing { .. }) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(run = %tick.run, error, "a tick could not be settled");
            }
        }
    }

    async fn work(&self, mut work: Work) -> Option<Timestamp> {
        if let Some(claims) = &mut work.claims {
            claims.come().await;
        }
        if work.lane.round() != work.round {
            return work.first();
        }
        for group in &work.unrun {
            if group.state == TickState::SkippedRunning {
                work.lane.collide();
            }
            match self.claim(&work, group.last, group.state, stretch(&work, group)).await {
                Claimed::Ours(tick) => {
                    let (stands_for, message) = (group.count, group.message.clone());
                    self.pulls.record_unrun(Unrun { tick, stands_for, message }).await;
                }
                Claimed::NotOurs => {}
                Claimed::StoreFailed => {
                    work.lane.fail_round(work.round);
                    return Some(group.first);
                }
            }
        }
        // All of them before the first runs: what is claimed is in the ledger, whatever
        // happens to the host meanwhile.
        let mut ticks = Vec::with_capacity(work.runs.len());
        let mut unclaimed_from = None;
        for &start in &work.runs {
            match self.claim(&work, start.due, TickState::Claimed, None).await {
                Claimed::Ours(tick) => ticks.push((start, tick)),
                Claimed::NotOurs => {}
                Claimed::StoreFailed => {
                    work.lane.fail_round(work.round);
                    unclaimed_from = Some(start.due);
                    break;
                }
            }
        }
        // Those behind it may claim theirs now.
        drop(work.claims.take());
        for (index, (start, tick)) in ticks.into_iter().enumerate() {
            self.take_turn(&work, start, tick, index > 0).await;
        }
        unclaimed_from
    }

    async fn claim(
        &self,
        work: &Work,
        due: Timestamp,
        state: TickState,
        stretch: Option<Stretch>,
    ) -> Claimed {
        let (ready, now) = (due.checked_add(work.jitter).unwrap_or(due), self.clock.now());
        let lateness = match state {
            // It is known when it starts.
            TickState::Claimed => Duration::ZERO,
            _ => since(ready, now),
        };
        let tick = Tick {
            workflow: work.workflow,
            schedule: work.schedule.to_string(),
            due,
            run: RunId::new(),
            claimed_at: now.max(ready),
            state,
            lateness_us: u64::try_from(lateness.as_micros()).unwrap_or(u64::MAX),
            stretch,
        };
        let claimed = match self.ledger.claim(tick.clone()).await {
            Ok(Claim::Claimed) => Claimed::Ours(tick),
            Ok(Claim::Taken) | Err(StoreError::Missing { .. }) => Claimed::NotOurs,
            Err(error) => {
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "due instants cannot be claimed, nothing runs on schedule");
                }
                return Claimed::StoreFailed;
            }
        };
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("due instants can be claimed again");
        }
        claimed
    }

    /// Runs a claimed instant when no other run of its schedule is in the way.
    async fn take_turn(&self, work: &Work, start: Start, tick: Tick, is_further: bool) {
        let ready = tick.due.checked_add(work.jitter).unwrap_or(tick.due);
        // Claimed ahead of its time. Monotonic time: a clock that is set meanwhile does not
        // matter any more.
        if let Ok(early_by) = Duration::try_from(ready.duration_since(self.clock.now())) {
            tokio::time::sleep(early_by).await;
        }
        work.lane.collide();
        let turn = self.turn(work, is_further).await;
        let lateness = since(ready, self.clock.now());
        let turn = match turn {
            Ok(turn) => turn,
            Err(reason) => return self.give_up(tick, reason, lateness).await,
        };
        if work.late_max.and_then(|limit| Duration::try_from(limit).ok()).is_some_and(|max| lateness > max) {
            let reason = (TickState::Missed, "its turn came after its start deadline");
            return self.give_up(tick, reason, lateness).await;
        }
        let going = work.lane.begin(start);
        let due = Due { tick: tick.clone(), ready, lateness, is_backfill: start.is_backfill };
        // The place is free when the run is out of its sandbox; the schedule's next run waits
        // for the ledger.
        let Turn { lane: _lane, place } = turn;
        let end = self.pulls.run(due, place).await;
        drop(going);
        let state = match end {
            RunEnd::Ended if start.is_backfill => TickState::Backfilled,
            RunEnd::Ended => TickState::Ran,
            RunEnd::Refused => TickState::Refused,
            RunEnd::Interrupted => TickState::Interrupted,
        };
        self.settle(&tick, state, lateness).await;
    }

    /// Waits until no other run of the schedule is in the way, and there is a place.
    async fn turn<'a>(&'a self, work: &'a Work, is_further: bool) -> Result<Turn<'a>, Reason> {
        let stopped = (TickState::Missed, "the host stopped before its turn came");
        if is_further && self.stopping.is_cancelled() {
            return Err(stopped);
        }
        let lane = match work.is_exclusive {
            true => match work.lane.turn.try_acquire() {
                Ok(permit) => Some(permit),
                Err(_) => Some(self.unless_stopped(work.lane.turn.acquire()).await.ok_or(stopped)?),
            },
            false => None,
        };
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => self.unless_stopped(self.places.clone().acquire_owned()).await.ok_or(stopped)?,
        };
        match work.lane.closed() {
            Some(reason) => Err(reason),
            None => Ok(Turn { lane, place }),
        }
    }

    /// A permit; `None` when the host stops before there is one.
    async fn unless_stopped<P>(&self, permit: impl Future<Output = Result<P, AcquireError>>) -> Option<P> {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            permit = permit => permit.ok(),
        }
    }

    async fn give_up(&self, mut tick: Tick, (state, message): Reason, lateness: Duration) {
        self.settle(&tick, state, lateness).await;
        tick.state = state;
        tick.lateness_us = u64::try_from(lateness.as_micros()).unwrap_or(u64::MAX);
        self.pulls.record_unrun(Unrun { tick, stands_for: 1, message: message.to_owned() }).await;
    }
}

/// How far an instant lies back; zero when it is still to come.
fn since(ready: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(ready)).unwrap_or_default()
}

/// What a group's entry says of the instants before it.
fn stretch(work: &Work, group: &Group) -> Option<Stretch> {
    let cadence = work.cadence.clone().filter(|_| group.count > 1)?;
    Some(Stretch { first: group.first, count: group.count, cadence })
}
