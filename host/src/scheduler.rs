//! The scheduler: sleeps until an instant is due, claims it in the store, and has it run.
//!
//! It decides *when*; what runs, and how it is recorded, is behind [`Pulls`], and what is
//! remembered is behind [`Ledger`]. It must never run an instant that it has not claimed,
//! and never drop one without an entry in the ledger:
//!
//! - **Claims.** Of everybody who ever names the same instant of a schedule exactly one gets
//!   it. So neither a restart nor a clock that is set back repeats a run, and several hosts
//!   could share a store. A claim is made [`Options::claim_ahead`] before its instant, so
//!   that a disk that is slow for a moment does not make the run late.
//! - **Overlap** is judged per schedule: an instant whose predecessor's run is still going
//!   is recorded as skipped, waits, or runs beside it, as the policy says. Two schedules of
//!   one workflow are independent of each other.
//! - **Missed instants.** A schedule's instants that have passed unseen (the host was down,
//!   the machine was suspended, the clock was set forward) or that nobody had time for are
//!   one backlog: the policy picks those that still run, late, as backfilled, and the
//!   others are recorded as missed. The [`MISSED_ENTRIES_MAX`] latest of them have an entry
//!   each; one more entry stands for the stretch before them.
//! - **Pauses.** Instants of a paused workflow are recorded as skipped, at most one entry a
//!   minute and schedule, which stands for the stretch since the one before, and one at the
//!   end of the pause: a pause never writes more than the runs would have.
//! - **Entries.** Each due instant has exactly one entry in the ledger, its own or its
//!   part in a stretch; [`history`] lists them one by one.
//! - **Lateness** is the time from the due instant, and the schedule's jitter behind it, to
//!   the moment in which its run has one of [`Options::running_max`] places and is handed
//!   to the invoker; of an instant that does not run, to the decision.
//! - **Pace.** A schedule whose latest run took longer than the distance to its next due
//!   instant is flagged: [`Scheduler::overrun`].
//! - **Clocks.** Waiting is monotonic, due instants are wall-clock instants. No sleep is
//!   longer than [`Options::sleep_max`], so that a clock that was set, or a machine that was
//!   suspended (monotonic time stands still then), is noticed. This is the only polling.
//!   A clock that is set forward makes a backlog. One that is set back makes instants come
//!   again: those that were claimed are not repeated, those that were passed over run.
//!
//! The app starts it after the registry, and stops it before the invoker drains.

mod agenda;
pub mod history;
mod lane;
mod ledger;
mod plan;
mod tick;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::schedule::Schedule;
use crate::store::{Tick, TickState};
use crate::workflow::WorkflowId;
use agenda::Agenda;
use lane::Lane;
pub use lane::Overrun;
pub use ledger::Ledger;
use tick::{Context, Done, Work};

/// Missed instants of one backlog that have an entry of their own in the ledger.
pub const MISSED_ENTRIES_MAX: usize = 10;
/// Up to here the instants that one entry stands for are counted exactly.
pub const STANDS_FOR_MAX: u64 = 10_000;

/// Ledger reads and recoveries at the same time, at start.
const READS_MAX: usize = 64;
/// How long a store that failed is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// Smaller differences between wall and monotonic clock are no jumps.
const JUMP_MS_MIN: i128 = 1_000;
const MINUS_JUMP_MS_MIN: i128 = -JUMP_MS_MIN;

/// What the scheduler has run. The invoker's side of it.
pub trait Pulls: Send + Sync + 'static {
    /// All schedules of all workflows that have an active version, as they are now.
    fn schedules(&self) -> Vec<PullSchedule>;

    /// Told after everything that changes what [`Pulls::schedules`] returns: deploy, change,
    /// pause, resume, archive.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Runs a claimed instant to its end and records the run under `due.tick.run`. It must
    /// end some time, also while the host stops: the scheduler waits for it. `place` is one
    /// of [`Options::running_max`]; it is dropped when the run has left the sandbox, so that
    /// the next one need not wait until this one's record is on the disk.
    fn run(&self, due: Due, place: OwnedSemaphorePermit) -> BoxFuture<'static, RunEnd>;

    /// Records that an instant did not run. Its workflow may be gone by now.
    fn record_unrun(&self, unrun: Unrun) -> BoxFuture<'static, ()>;

    /// Decides on an instant that the host had claimed when it ended abruptly: records its
    /// run as interrupted and returns [`TickState::Interrupted`]; or returns what the run's
    /// record says, when there is one.
    fn recover(&self, tick: Tick) -> BoxFuture<'static, TickState>;
}

/// A schedule and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSchedule {
    /// The workflow.
    pub workflow: WorkflowId,
    /// One of its schedules.
    pub schedule: Schedule,
    /// Since when it can run: the creation of its active version. What was due before is
    /// not missed.
    pub since: Timestamp,
    /// Whether the workflow is paused.
    pub paused: bool,
}

/// A claimed instant that is to run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its entry in the ledger.
    pub tick: Tick,
    /// The due instant and the schedule's jitter behind it.
    pub ready: Timestamp,
    /// From then to now.
    pub lateness: Duration,
    /// It makes up for an instant that passed unseen.
    pub is_backfill: bool,
}

/// How a run ended, as far as the ledger is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// In success or in failure.
    Ended,
    /// It never began: the host had no room for it.
    Refused,
    /// It was cut by the end of the host.
    Interrupted,
}

/// A claimed instant that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrun {
    /// Its entry in the ledger, with its final state.
    pub tick: Tick,
    /// How many due instants the entry stands for, itself included; counted up to
    /// [`STANDS_FOR_MAX`].
    pub stands_for: u64,
    /// Why it does not run, one line.
    pub message: String,
}

/// The time of day. Durations are measured by tokio's clock, which tests can pause.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock; it may jump.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Bounds of the scheduler's work.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Schedules that are looked at before finished runs and changes are seen to.
    pub batch_max: usize,
    /// Runs at the same time. Further instants start late, in the order in which they were
    /// due, rather than being refused.
    pub running_max: usize,
    /// Instants between their claim and the end of their run. Further ones wait unclaimed.
    pub claimed_max: usize,
    /// How long before it is due an instant is claimed; it still starts when it is due.
    /// Below the shortest interval. If the host ends abruptly in between, the instant
    /// counts as interrupted.
    pub claim_ahead: Duration,
    /// The longest sleep: how late a clock that was set, or the end of a suspension, is
    /// noticed.
    pub sleep_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch_max: 1_024,
            running_max: 256,
            claimed_max: 16_384,
            claim_ahead: Duration::from_millis(500),
            sleep_max: Duration::from_secs(10),
        }
    }
}

/// The scheduler. [`Scheduler::run`] is its one task; the rest reads what it published.
pub struct Scheduler {
    context: Arc<Context>,
    options: Options,
    published: Mutex<Published>,
}

/// The next due instant of each schedule, and how its runs go.
type Published = BTreeMap<Key, (Option<Timestamp>, Arc<Lane>)>;
/// Names a schedule: whose it is, and its own name.
type Key = (WorkflowId, Arc<str>);

impl Scheduler {
    /// A scheduler that does nothing yet.
    pub fn new(
        pulls: Arc<dyn Pulls>,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Arc<Self> {
        let context = Arc::new(Context::new(pulls, ledger, clock, options.running_max));
        Arc::new(Self { context, options, published: Mutex::default() })
    }

    /// The next due instant of each of a workflow's schedules, by name. Empty until the
    /// scheduler has seen the workflow. While a workflow is paused, these instants will be
    /// skipped.
    pub fn next_due(&self, workflow: WorkflowId) -> Vec<(String, Timestamp)> {
        let published = self.published();
        let own = published.range((workflow, Arc::from(""))..).take_while(|((id, _), _)| *id == workflow);
        own.filter_map(|((_, name), (due, _))| Some((name.to_string(), (*due)?))).collect()
    }

    /// The run that shows that a schedule's runs outlast the distance of its due instants;
    /// `None` while they keep its pace.
    pub fn overrun(&self, workflow: WorkflowId, schedule: &str) -> Option<Overrun> {
        self.published().get(&(workflow, Arc::from(schedule))).and_then(|(_, lane)| lane.overrun())
    }

    /// How many schedules have an [`Scheduler::overrun`].
    pub fn overruns(&self) -> usize {
        self.published().values().filter(|(_, lane)| lane.overrun().is_some()).count()
    }

    // A panic under this lock leaves whole entries behind.
    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until `shutdown`; then claims nothing more, waits until the runs it started
    /// have ended and are settled, and returns. To be called once.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut agenda = Agenda::new(self.options.claim_ahead);
        let mut tasks = JoinSet::new();
        if shutdown.run_until_cancelled(self.recover()).await.is_some() {
            self.work(&mut agenda, &mut tasks, &shutdown).await;
        }
        self.context.stopping.cancel();
        while let Some(done) = tasks.join_next().await {
            finish(&mut agenda, done, self.context.clock.now());
        }
    }

    async fn work(&self, agenda: &mut Agenda, tasks: &mut JoinSet<Done>, shutdown: &CancellationToken) {
        let mut changes = self.context.pulls.changes();
        let mut may_change = true;
        let mut jumps = Jumps::new(self.context.clock.now());
        // When to read the schedules again, if they changed.
        let mut sync_at = Some(Instant::now());
        loop {
            if sync_at.is_some_and(|at| at <= Instant::now()) {
                let synced = shutdown.run_until_cancelled(self.sync(agenda, tasks)).await;
                sync_at = (synced == Some(false)).then(|| Instant::now() + RETRY);
            }
            let now = self.context.clock.now();
            match jumps.passed(now) {
                Passed::Evenly => {}
                Passed::Forward => agenda.turn_forward(now),
                Passed::Back => agenda.turn_back(now).into_iter().for_each(|id| self.publish(agenda, id)),
            }
            let wait = self.dispatch(agenda, tasks, now);
            let wake_at = Instant::now() + wait;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                changed = changes.changed(), if may_change => {
                    may_change = changed.is_ok();
                    sync_at = Some(Instant::now());
                }
                Some(done) = tasks.join_next() => finish(agenda, done, self.context.clock.now()),
                () = tokio::time::sleep_until(sync_at.map_or(wake_at, |at| at.min(wake_at))) => {}
            }
        }
    }

    /// Settles what an abrupt end of the host left behind.
    async fn recover(&self) {
        let Context { pulls, ledger, .. } = &*self.context;
        let unsettled = match ledger.unsettled_ticks().await {
            Ok(unsettled) => unsettled,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "unsettled ticks could not be read"
                );
                return;
            }
        };
        if !unsettled.is_empty() {
            tracing::warn!(ticks = unsettled.len(), "the host ended before the runs of these ticks did");
        }
        futures::stream::iter(unsettled)
            .for_each_concurrent(READS_MAX, |tick| async move {
                let state = pulls.recover(tick.clone()).await;
                self.context.settle(&tick, state, Duration::from_micros(tick.lateness_us)).await;
            })
            .await;
    }

    /// Starts what is due, and returns how long there is nothing more to start.
    fn dispatch(&self, agenda: &mut Agenda, tasks: &mut JoinSet<Done>, now: Timestamp) -> Duration {
        for _ in 0..self.options.batch_max.max(1) {
            if tasks.len() >= self.options.claimed_max.max(1) {
                return self.options.sleep_max;
            }
            let Some((id, work)) = agenda.take_due(now) else { break };
            self.publish(agenda, id);
            self.start(tasks, work);
        }
        let Some(wake) = agenda.wake() else { return self.options.sleep_max };
        let wait = Duration::try_from(wake.duration_since(now)).unwrap_or_default();
        wait.min(self.options.sleep_max)
    }

    fn start(&self, tasks: &mut JoinSet<Done>, work: Option<Work>) {
        if let Some(work) = work {
            tasks.spawn(self.context.clone().carry_out(work));
        }
    }

    /// Takes over the schedules as they are now; `false` when the store could not be asked
    /// about new ones.
    async fn sync(&self, agenda: &mut Agenda, tasks: &mut JoinSet<Done>) -> bool {
        let wanted = self.context.pulls.schedules();
        let now = self.context.clock.now();
        let difference = agenda.sync(wanted, now);
        for work in difference.work {
            self.start(tasks, Some(work));
        }
        {
            let mut published = self.published();
            for key in &difference.removed {
                published.remove(key);
            }
        }
        difference.changed.iter().for_each(|id| self.publish(agenda, *id));
        // Where each new schedule stands is in the ledger.
        let ledger = &self.context.ledger;
        let mut located = futures::stream::iter(difference.added)
            .map(|pull| async move {
                let last = ledger.ticks(pull.workflow, Some(&pull.schedule.name), None, 1).await;
                (pull, last)
            })
            .buffer_unordered(READS_MAX);
        let mut is_complete = true;
        while let Some((pull, last)) = located.next().await {
            match last {
                Ok(ticks) => {
                    if let Some(id) = agenda.add(pull, ticks.first(), now) {
                        self.publish(agenda, id);
                    }
                }
                Err(error) => {
                    is_complete = false;
                    tracing::error!(
                        workflow = %pull.workflow,
                        schedule = pull.schedule.name,
                        error = &error as &dyn std::error::Error,
                        "the ledger of a schedule could not be read"
                    );
                }
            }
        }
        is_complete
    }

    fn publish(&self, agenda: &Agenda, id: u64) {
        let Some((key, due, lane)) = agenda.published(id) else { return };
        self.published().insert(key, (due, lane));
    }
}

fn finish(agenda: &mut Agenda, done: Result<Done, tokio::task::JoinError>, now: Timestamp) {
    match done {
        Ok(done) => agenda.finish(done, now),
        // Nothing aborts these tasks, and their panics are caught inside.
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a tick's task was lost"),
    }
}

/// How the wall clock went on, beside the monotonic one.
enum Passed {
    Evenly,
    Forward,
    Back,
}

/// Notices jumps of the wall clock.
struct Jumps {
    wall: Timestamp,
    monotonic: Instant,
}

impl Jumps {
    fn new(wall: Timestamp) -> Self {
        Self { wall, monotonic: Instant::now() }
    }

    fn passed(&mut self, wall: Timestamp) -> Passed {
        let elapsed_ms = i128::try_from(self.monotonic.elapsed().as_millis()).unwrap_or(i128::MAX);
        let by_ms = wall.duration_since(self.wall).as_millis() - elapsed_ms;
        if by_ms.abs() >= JUMP_MS_MIN {
            tracing::warn!(by_ms = by_ms as i64, "the wall clock jumped");
        }
        *self = Self::new(wall);
        match by_ms {
            ..=MINUS_JUMP_MS_MIN => Passed::Back,
            JUMP_MS_MIN.. => Passed::Forward,
            _ => Passed::Evenly,
        }
    }
}

#[cfg(test)]
mod tests;
