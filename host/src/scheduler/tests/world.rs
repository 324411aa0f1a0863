//! A small world for the scheduler: schedules that can be changed, a ledger in memory, a
//! workflow that notes what it was given, and a wall clock that can be set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::history::{self, Filter};
use super::super::{Clock, Due, Ledger, Options, PullSchedule, Pulls, RunEnd, Scheduler, Unrun};
use crate::schedule::{Cadence, Policy, Schedule};
use crate::store::{Claim, Result, StoreError, Tick, TickPlace, TickState};
use crate::workflow::WorkflowId;

pub(super) fn instant(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// When every world begins.
pub(super) const BEGIN: &str = "2026-03-01T00:00:00Z";

pub(super) const MINUTE: u64 = 60_000;
pub(super) const HOUR: u64 = 60 * MINUTE;

pub(super) struct World {
    origin: Instant,
    changed: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// How far the wall clock was set from where it began.
    pub(super) set_by: SignedDuration,
    pub(super) schedules: Vec<PullSchedule>,
    pub(super) ticks: BTreeMap<(WorkflowId, String, Timestamp), Tick>,
    /// What was run, with the wall clock's reading at its start.
    pub(super) runs: Vec<(Due, Timestamp)>,
    pub(super) unrun: Vec<Unrun>,
    pub(super) recovered: Vec<Tick>,
    pub(super) running: usize,
    pub(super) running_max: usize,
    /// How long a run takes.
    pub(super) run_takes: Duration,
    /// How long its record takes then.
    pub(super) record_takes: Duration,
    pub(super) run_ends: Option<RunEnd>,
    pub(super) run_panics: bool,
    pub(super) store_fails: bool,
    /// So many claims fail.
    pub(super) claims_fail: usize,
    /// How long a claim takes.
    pub(super) claim_takes: Duration,
    /// What the scheduler did that it must never do. It survives panics, so these are kept.
    pub(super) violations: Vec<String>,
}

impl State {
    fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            self.violations.push(what.to_owned());
        }
    }
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        let (origin, changed) = (Instant::now(), watch::Sender::new(0));
        Arc::new(Self { origin, changed, state: Mutex::default() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.origin.elapsed()).unwrap();
        instant(BEGIN) + elapsed + self.state().set_by
    }

    /// Lets the simulated time pass until the wall clock shows this.
    pub(super) async fn until(&self, text: &str) {
        self.pass(instant(text).duration_since(self.now())).await;
    }

    /// Lets so much simulated time pass, and a millisecond: what is due at its end is over.
    pub(super) async fn pass(&self, duration: SignedDuration) {
        tokio::time::sleep(duration.unsigned_abs() + Duration::from_millis(1)).await;
    }

    /// Sets the wall clock.
    pub(super) fn set_clock(&self, by: SignedDuration) {
        self.state().set_by += by;
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Vec<PullSchedule>)) {
        change(&mut self.state().schedules);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Adds a schedule of a workflow of its own. An interval's first instant is the present.
    pub(super) fn add(&self, cadence: Cadence, policy: Policy) -> WorkflowId {
        let before_ms = match &cadence {
            Cadence::Every { interval_ms } => *interval_ms as i64,
            Cadence::Cron { .. } => 1,
        };
        let anchor = self.now() - SignedDuration::from_millis(before_ms);
        self.add_anchored(cadence, policy, anchor)
    }

    pub(super) fn add_anchored(&self, cadence: Cadence, policy: Policy, anchor: Timestamp) -> WorkflowId {
        let workflow = WorkflowId::new();
        let schedule = Schedule { policy, ..Schedule::new("default", cadence, anchor) };
        schedule.validate(1).unwrap();
        let pull = PullSchedule { workflow, schedule, since: anchor, paused: false };
        self.change(|schedules| schedules.push(pull));
        workflow
    }

    pub(super) fn every(&self, interval_ms: u64) -> WorkflowId {
        self.add(Cadence::Every { interval_ms }, Policy::default())
    }

    pub(super) fn pause(&self, workflow: WorkflowId, paused: bool) {
        self.change(|schedules| {
            let own = schedules.iter_mut().filter(|pull| pull.workflow == workflow);
            own.for_each(|pull| pull.paused = paused);
        });
    }

    pub(super) fn scheduler(self: &Arc<Self>, options: Options) -> Running {
        let pulls = Arc::new(Workflows(self.clone()));
        let scheduler =
            Scheduler::new(pulls, Arc::new(Book(self.clone())), Arc::new(Wall(self.clone())), options);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(scheduler.clone().run(shutdown.clone()));
        Running { world: self.clone(), scheduler, shutdown, task }
    }

    pub(super) fn start(self: &Arc<Self>) -> Running {
        self.scheduler(Options::default())
    }

    /// The due instants that ran, in the order in which they began, as `HH:MM:SS`.
    pub(super) fn ran(&self) -> Vec<String> {
        self.state().runs.iter().map(|(due, _)| due.tick.due.strftime("%H:%M:%S").to_string()).collect()
    }

    /// The ledger: due instant, state, and for how many instants the entry stands.
    pub(super) fn book(&self) -> Vec<(String, TickState, u64)> {
        let state = self.state();
        let stands_for = |tick: &Tick| {
            state.unrun.iter().find(|unrun| unrun.tick.run == tick.run).map_or(1, |unrun| unrun.stands_for)
        };
        let entry = |tick: &Tick| (tick.due.strftime("%H:%M:%S").to_string(), tick.state, stands_for(tick));
        state.ticks.values().map(entry).collect()
    }

    pub(super) fn states(&self) -> Vec<TickState> {
        self.state().ticks.values().map(|tick| tick.state).collect()
    }

    /// Fails if an instant ran twice.
    pub(super) fn check_nothing_twice(&self) {
        let state = self.state();
        let mut seen = BTreeSet::new();
        for (due, _) in &state.runs {
            let Tick { workflow, schedule, due, .. } = &due.tick;
            assert!(seen.insert((*workflow, schedule.clone(), *due)), "{schedule} ran twice for {due}");
        }
    }

    /// The whole ledger of a workflow, read in pages of `limit`.
    pub(super) async fn history(self: &Arc<Self>, workflow: WorkflowId, limit: usize) -> Vec<Tick> {
        let (ledger, filter) = (Book(self.clone()), Filter::default());
        let (mut items, mut cursor) = (Vec::new(), None);
        loop {
            let now = self.now();
            let page = history::page(&ledger, workflow, &filter, cursor, limit, now).await.unwrap();
            assert!(page.items.len() <= limit);
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return items;
            }
        }
    }

    /// Fails unless each due instant of a schedule in `(after, until]` has one entry, of
    /// its own or shared, and the ledger lists it once.
    pub(super) async fn check_all_accounted_for(
        self: &Arc<Self>,
        workflow: WorkflowId,
        after: Timestamp,
        until: Timestamp,
    ) {
        let pull = self.state().schedules.iter().find(|pull| pull.workflow == workflow).unwrap().clone();
        let rule = pull.schedule.rule().unwrap();
        let due = rule.count_within(after, until, u64::MAX);
        let listed = self.history(workflow, 97).await;
        let listed: Vec<Timestamp> = listed.iter().rev().map(|tick| tick.due).collect();
        let all = std::iter::successors(rule.next_after(after), |due| rule.next_after(*due));
        assert_eq!(listed, all.take_while(|due| *due <= until).collect::<Vec<_>>());
        let state = self.state();
        let own = state.ticks.range((workflow, String::new(), Timestamp::MIN)..);
        let own: Vec<&Tick> =
            own.map(|(_, tick)| tick).take_while(|tick| tick.workflow == workflow).collect();
        let shared: u64 = state
            .unrun
            .iter()
            .filter(|unrun| unrun.tick.workflow == workflow)
            .map(|unrun| unrun.stands_for - 1)
            .sum();
        assert_eq!(own.len() as u64 + shared, due, "{:?}", pull.schedule.describe());
        assert!(own.iter().all(|tick| tick.state != TickState::Claimed), "an entry is not settled");
        let recorded = state.runs.iter().filter(|(due, _)| due.tick.workflow == workflow).count()
            + state.unrun.iter().filter(|unrun| unrun.tick.workflow == workflow).count();
        assert_eq!(recorded, own.len(), "an entry without a record");
    }
}

/// A scheduler at work.
pub(super) struct Running {
    world: Arc<World>,
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) shutdown: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl Running {
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
        assert_eq!(self.world.state().violations, Vec::<String>::new());
    }

    /// The end of the process: nothing is waited for.
    pub(super) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

struct Workflows(Arc<World>);
pub(super) struct Book(pub(super) Arc<World>);
struct Wall(Arc<World>);

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// Counts a run as going as long as it lives.
struct Going(Arc<World>);

impl Drop for Going {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

impl Pulls for Workflows {
    fn schedules(&self) -> Vec<PullSchedule> {
        self.0.state().schedules.clone()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    fn run(&self, due: Due, place: OwnedSemaphorePermit) -> BoxFuture<'static, RunEnd> {
        let world = self.0.clone();
        async move {
            let now = world.now();
            let (takes, record_takes, ends, panics) = {
                let mut state = world.state();
                let is_claimed = state.ticks.get(&key_of(&due.tick)) == Some(&due.tick);
                state.expect(is_claimed && due.tick.state == TickState::Claimed, "run without a claim");
                state.running += 1;
                state.running_max = state.running_max.max(state.running);
                state.runs.push((due, now));
                (state.run_takes, state.record_takes, state.run_ends, state.run_panics)
            };
            let going = (Going(world), place);
            assert!(!panics, "the run panics, as the test wants it");
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            drop(going);
            if !record_takes.is_zero() {
                tokio::time::sleep(record_takes).await;
            }
            ends.unwrap_or(RunEnd::Ended)
        }
        .boxed()
    }

    fn record_unrun(&self, unrun: Unrun) -> BoxFuture<'static, ()> {
        let world = self.0.clone();
        async move {
            let mut state = world.state();
            let is_settled = state.ticks.get(&key_of(&unrun.tick)) == Some(&unrun.tick);
            state.expect(
                is_settled && unrun.tick.state != TickState::Claimed,
                "recorded before it is claimed",
            );
            state.unrun.push(unrun);
        }
        .boxed()
    }

    fn recover(&self, tick: Tick) -> BoxFuture<'static, TickState> {
        self.0.state().recovered.push(tick);
        async { TickState::Interrupted }.boxed()
    }
}

fn key_of(tick: &Tick) -> (WorkflowId, String, Timestamp) {
    (tick.workflow, tick.schedule.clone(), tick.due)
}

impl World {
    fn check_store(&self) -> Result<()> {
        match self.state().store_fails {
            true => Err(StoreError::Stopped("the test wants it".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Ledger for Book {
    async fn claim(&self, tick: Tick) -> Result<Claim> {
        let takes = self.0.state().claim_takes;
        match takes.is_zero() {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(takes).await,
        }
        self.0.check_store()?;
        let mut state = self.0.state();
        if let Some(left) = state.claims_fail.checked_sub(1) {
            state.claims_fail = left;
            return Err(StoreError::Full { free_bytes: 0 });
        }
        if state.ticks.contains_key(&key_of(&tick)) {
            return Ok(Claim::Taken);
        }
        state.ticks.insert(key_of(&tick), tick);
        Ok(Claim::Claimed)
    }

    async fn settle(
        &self,
        workflow: WorkflowId,
        schedule: &str,
        due: Timestamp,
        settled: TickState,
        lateness: Duration,
    ) -> Result<()> {
        tokio::task::yield_now().await;
        self.0.check_store()?;
        let mut state = self.0.state();
        let tick = state.ticks.get_mut(&(workflow, schedule.to_owned(), due));
        let before = tick.map(|tick| {
            tick.lateness_us = lateness.as_micros() as u64;
            std::mem::replace(&mut tick.state, settled)
        });
        state.expect(before == Some(TickState::Claimed) && settled != TickState::Claimed, "settled twice");
        Ok(())
    }

    async fn ticks(
        &self,
        workflow: WorkflowId,
        schedule: Option<&str>,
        up_to: Option<&TickPlace>,
        limit: usize,
    ) -> Result<Vec<Tick>> {
        self.0.check_store()?;
        let state = self.0.state();
        let own = state.ticks.values().filter(|tick| tick.workflow == workflow);
        let mut own: Vec<Tick> = own
            .filter(|tick| schedule.is_none_or(|name| tick.schedule == name))
            .filter(|tick| {
                up_to.is_none_or(|up_to| (tick.due, &tick.schedule) <= (up_to.due, &up_to.schedule))
            })
            .cloned()
            .collect();
        own.sort_by(|a, b| (b.due, &b.schedule).cmp(&(a.due, &a.schedule)));
        own.truncate(limit);
        Ok(own)
    }

    async fn unsettled_ticks(&self) -> Result<Vec<Tick>> {
        let state = self.0.state();
        Ok(state.ticks.values().filter(|tick| tick.state == TickState::Claimed).cloned().collect())
    }
}
