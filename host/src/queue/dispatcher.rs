//! Leases events that are due and has them run.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::settling::Began;
use super::{Queue, handed, no_input};
use crate::engine::Input;
use crate::registry::Entry;
use crate::run::{Fault, FaultKind, Run, Status};
use crate::store::{EventState, Leased, QueueEntry, Room, Settlement, Wanted};
use crate::workflow::{State, WorkflowId};

/// How often what is too old is forgotten.
const TIDY: Duration = Duration::from_secs(60);
/// The longest sleep: a clock that is set forward, or a machine that was suspended, is
/// noticed after it.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// How long a store that failed is left alone.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// Callbacks that are told at the same time.
const CALLBACKS_MAX: usize = 16;

impl Queue {
    /// Has events run until `shutdown` is cancelled; returns when those that run then are
    /// settled. Whoever calls it drains the invoker meanwhile.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        // What is left is recovered by the next start.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = self.recover() => {}
        }
        let (mut runs, mut callbacks) = (JoinSet::new(), JoinSet::new());
        let mut tidy = interval(TIDY);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut changes = self.registry.changes();
        while !shutdown.is_cancelled() {
            // All that ended meanwhile: what is leased together shares a flush.
            while runs.try_join_next().is_some() {}
            while callbacks.try_join_next().is_some() {}
            let wanted = Wanted {
                runs: self.config.queue.running_max.saturating_sub(runs.len()),
                callbacks: CALLBACKS_MAX.saturating_sub(callbacks.len()),
            };
            let pause = self.lease(wanted, &mut runs, &mut callbacks).await;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                Some(_) = runs.join_next() => {}
                Some(_) = callbacks.join_next() => {}
                () = self.wake.notified() => {}
                Ok(()) = changes.changed() => {}
                _ = tidy.tick() => self.tidy().await,
                () = sleep(pause) => {}
            }
        }
        self.stopping.cancel();
        while runs.join_next().await.is_some() {}
        while callbacks.join_next().await.is_some() {}
    }

    /// Waits until the runs of callers who waited are settled: they may outlast both
    /// [`Queue::run`] and their callers.
    pub async fn settled(&self) {
        self.calls.close();
        self.calls.wait().await;
    }

    /// Takes what is due, and returns how long nothing else will be.
    async fn lease(
        self: &Arc<Self>,
        wanted: Wanted,
        runs: &mut JoinSet<()>,
        callbacks: &mut JoinSet<()>,
    ) -> Duration {
        let now = Timestamp::now();
        let leases = match self.store.lease(now, wanted, self.room()).await {
            Ok(leases) => leases,
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "events cannot be taken from the queue");
                return STORE_PAUSE;
            }
        };
        for leased in leases.leased {
            match leased.entry.state {
                EventState::Leased { .. } => self.launch(leased, runs),
                _ => drop(callbacks.spawn(self.clone().tell(leased.entry))),
            }
        }
        let until_next =
            leases.next.map_or(SignedDuration::MAX, |next| next.duration_since(Timestamp::now()));
        Duration::try_from(until_next.max(SignedDuration::ZERO)).unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
    }

    /// How many events of a workflow may run at the same time: half of all, so that one
    /// workflow does not hold up the others, and no more than it may run at all.
    fn room(&self) -> Room {
        let (registry, config) = (self.registry.clone(), self.config.clone());
        let going: HashMap<WorkflowId, usize> = self.flights.by_workflow();
        Arc::new(move |id| {
            // Events of a workflow that is gone are taken in order to be forgotten.
            let Some(entry) = registry.by_id(id) else { return usize::MAX };
            if entry.workflow.state == State::Paused {
                return 0;
            }
            let own = entry.workflow.limits.concurrency_max.unwrap_or(config.run.concurrency_max);
            let share = config.queue.running_max.div_ceil(2);
            share.min(own as usize).saturating_sub(going.get(&id).copied().unwrap_or(0))
        })
    }

    fn launch(self: &Arc<Self>, leased: Leased, runs: &mut JoinSet<()>) {
        let (run, workflow) = (leased.entry.run, leased.entry.event.workflow);
        let cancel = CancellationToken::new();
        self.flights.begin(run, workflow, cancel.clone());
        let this = self.clone();
        runs.spawn(async move {
            let landing = Landing(&this, run);
            this.carry_out(leased, cancel).await;
            drop(landing);
        });
    }

    async fn carry_out(&self, leased: Leased, cancel: CancellationToken) {
        let Leased { entry, input } = leased;
        let Some(workflow) = self.registry.by_id(entry.event.workflow) else {
            return self.settle(&entry, Settlement::Forget).await;
        };
        let at_version = match entry.event.version {
            None => Ok(workflow.clone()),
            Some(number) => self.registry.at_version(&workflow, number).await,
        };
        let run = match (handed(input), at_version) {
            (Some(input), Ok(version)) => {
                let mut invocation = self.attempt(&entry, input);
                if let Some(queued) = &mut invocation.queued {
                    queued.cancel = cancel;
                }
                let finished = self.invoker.invoke(&version, invocation).await;
                if !finished.is_recorded && !self.record_later(&finished.run, &finished.log).await {
                    return;
                }
                finished.run
            }
            (None, _) => {
                let fault =
                    Fault::new(FaultKind::Host, "what the run was to be handed is lost: it was damaged");
                match self.unrun(&workflow, &entry, no_input(), fault).await {
                    Some(run) => run,
                    None => return,
                }
            }
            (Some(input), Err(error)) => {
                let fault = Fault::new(FaultKind::Refused, error.to_string());
                match self.unrun(&workflow, &entry, input, fault).await {
                    Some(run) => run,
                    None => return,
                }
            }
        };
        self.settle_run(&workflow, &entry, &run, Began::AsRecorded).await;
    }

    /// Records an attempt that cannot be made; `None` when there is no room for that.
    async fn unrun(
        &self,
        workflow: &Entry,
        entry: &QueueEntry,
        input: Input,
        fault: Fault,
    ) -> Option<Arc<Run>> {
        let invocation = self.attempt(entry, input);
        let run = self.invoker.record_unrun(workflow, &invocation, Status::Failed, fault).await;
        self.record_unless_kept(&run).await.then_some(run)
    }

    async fn tidy(&self) {
        if let Err(error) = self.store.tidy_queue(Timestamp::now()).await {
            tracing::error!(error = &error as &dyn Error, "the queue could not be tidied");
        }
    }
}

/// Whatever happens to a run, its place is free afterwards.
struct Landing<'a>(&'a Queue, crate::run::RunId);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.flights.land(self.1);
    }
}
