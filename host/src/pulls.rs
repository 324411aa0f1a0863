//! The scheduler's ticks as runs: what [`crate::scheduler`] decides on is run and
//! recorded by [`crate::invoker`].

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::engine::Input;
use crate::invoker::{Invocation, Invoker};
use crate::queue::Queue;
use crate::registry::{Entry, Registry};
use crate::run::{Fault, FaultKind, Run, Status, Trigger};
use crate::scheduler::{Due, PullSchedule, Pulls, RunEnd, Unrun};
use crate::store::{Store, Tick, TickState};
use crate::telemetry::Telemetry;
use crate::workflow::{Kind, State, WorkflowId};

/// Runs ticks through the invoker.
pub struct InvokedPulls(Arc<Parts>);

struct Parts {
    registry: Arc<Registry>,
    invoker: Arc<Invoker>,
    store: Arc<dyn Store>,
    telemetry: Arc<Telemetry>,
    queue: Arc<Queue>,
}

impl InvokedPulls {
    /// Pulls over the host's parts.
    pub fn new(
        registry: Arc<Registry>,
        invoker: Arc<Invoker>,
        store: Arc<dyn Store>,
        telemetry: Arc<Telemetry>,
        queue: Arc<Queue>,
    ) -> Self {
        Self(Arc::new(Parts { registry, invoker, store, telemetry, queue }))
    }
}

impl Parts {
    fn entry(&self, id: WorkflowId) -> Option<Arc<Entry>> {
        self.registry.by_id(id)
    }

    async fn run_due(self: Arc<Self>, due: Due, place: OwnedSemaphorePermit) -> RunEnd {
        self.telemetry.tick_started(due.lateness);
        let Some(entry) = self.entry(due.tick.workflow) else {
            // Archived since it was due: nothing of it is kept, this run neither.
            return RunEnd::Ended;
        };
        let invocation = Invocation {
            accepted_at: Timestamp::now(),
            ready_at: due.ready,
            place: Some(place),
            ..invocation(&due.tick)
        };
        let finished = self.invoker.invoke(&entry, invocation).await;
        let end = end_of(&finished.run);
        let state = match end {
            RunEnd::Ended if due.is_backfill => TickState::Backfilled,
            end => state_of(end),
        };
        self.telemetry.ticks_settled(state, 1);
        // The next tick of the schedule comes after the last attempt at this one.
        self.queue.follow_up(&entry, &finished.run, input_of(&due.tick)).await;
        end
    }

    async fn record(self: Arc<Self>, unrun: Unrun) {
        self.telemetry.ticks_settled(unrun.tick.state, unrun.stands_for);
        let Some(entry) = self.entry(unrun.tick.workflow) else { return };
        let fault = Fault::new(FaultKind::Skipped, unrun.message);
        self.invoker.record_unrun(&entry, &invocation(&unrun.tick), Status::Cancelled, fault).await;
    }

    async fn recover_tick(self: Arc<Self>, tick: Tick) -> TickState {
        // The record is written before the ledger is: it may be there, from the run's end or
        // from a recovery that was itself cut.
        if let Ok(Some(run)) = self.store.run(tick.run).await {
            if let Some(entry) = self.entry(tick.workflow) {
                self.queue.take_over(&entry, &run, input_of(&tick)).await;
            }
            return state_of(end_of(&run));
        }
        self.telemetry.ticks_settled(TickState::Interrupted, 1);
        if let Some(entry) = self.entry(tick.workflow) {
            let fault = Fault::new(FaultKind::Interrupted, "the host ended before the run did");
            let run = self.invoker.record_unrun(&entry, &invocation(&tick), Status::Interrupted, fault).await;
            self.queue.take_over(&entry, &run, input_of(&tick)).await;
        }
        TickState::Interrupted
    }
}

fn end_of(run: &Run) -> RunEnd {
    match run.fault.as_ref().map(|fault| fault.kind) {
        Some(FaultKind::Overload | FaultKind::Quota | FaultKind::Refused) => RunEnd::Refused,
        Some(FaultKind::Interrupted) => RunEnd::Interrupted,
        _ => RunEnd::Ended,
    }
}

fn state_of(end: RunEnd) -> TickState {
    match end {
        RunEnd::Ended => TickState::Ran,
        RunEnd::Refused => TickState::Refused,
        RunEnd::Interrupted => TickState::Interrupted,
    }
}

fn input_of(tick: &Tick) -> Input {
    Input::Tick { schedule: tick.schedule.clone(), due: tick.due }
}

fn invocation(tick: &Tick) -> Invocation {
    let (schedule, due) = (tick.schedule.clone(), tick.due);
    // So that its record is as late as the ledger says.
    let lateness = SignedDuration::from_micros(i64::try_from(tick.lateness_us).unwrap_or(i64::MAX));
    let ready_at = tick.claimed_at.checked_sub(lateness).unwrap_or(due);
    Invocation {
        id: tick.run,
        trigger: Trigger::Pull { schedule, due },
        input: input_of(tick),
        attempt: 1,
        accepted_at: tick.claimed_at,
        ready_at,
        place: None,
        queued: None,
    }
}

impl Pulls for InvokedPulls {
    fn schedules(&self) -> Vec<PullSchedule> {
        let mut schedules = Vec::new();
        for entry in self.0.registry.list() {
            let Some(version) = entry.version.as_ref().filter(|_| entry.workflow.kind == Kind::Pull) else {
                continue;
            };
            schedules.extend(entry.workflow.schedules.iter().map(|schedule| PullSchedule {
                workflow: entry.workflow.id,
                schedule: schedule.clone(),
                since: version.created_at,
                paused: entry.workflow.state == State::Paused,
            }));
        }
        schedules
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.registry.changes()
    }

    fn run(&self, due: Due, place: OwnedSemaphorePermit) -> BoxFuture<'static, RunEnd> {
        self.0.clone().run_due(due, place).boxed()
    }

    fn record_unrun(&self, unrun: Unrun) -> BoxFuture<'static, ()> {
        self.0.clone().record(unrun).boxed()
    }

    fn recover(&self, tick: Tick) -> BoxFuture<'static, TickState> {
        self.0.clone().recover_tick(tick).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples;

    #[test]
    fn ledger_says_of_a_tick_what_the_record_of_its_run_does() {
        let state = |status: Status, fault: Option<FaultKind>| {
            let mut run = samples::run(WorkflowId::new());
            run.status = status;
            run.fault = fault.map(|kind| Fault::new(kind, "x"));
            state_of(end_of(&run))
        };
        assert_eq!(state(Status::Succeeded, None), TickState::Ran);
        assert_eq!(state(Status::Failed, Some(FaultKind::Trap)), TickState::Ran);
        assert_eq!(state(Status::Cancelled, Some(FaultKind::Overload)), TickState::Refused);
        assert_eq!(state(Status::Interrupted, Some(FaultKind::Interrupted)), TickState::Interrupted);
    }
}
