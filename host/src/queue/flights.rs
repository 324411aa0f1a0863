//! The runs of events that are going on, and who waits for an end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::run::RunId;
use crate::workflow::WorkflowId;

/// All runs of events that were leased by the dispatcher.
#[derive(Default)]
pub(super) struct Flights(Mutex<State>);

#[derive(Default)]
struct State {
    by_run: HashMap<RunId, Flight>,
    by_workflow: HashMap<WorkflowId, usize>,
    /// By event: cancelled when it is over.
    ends: HashMap<RunId, CancellationToken>,
}

struct Flight {
    workflow: WorkflowId,
    cancel: CancellationToken,
    /// Cancelled when what follows from the run is settled.
    landed: CancellationToken,
}

impl Flights {
    /// A run begins.
    pub(super) fn begin(&self, run: RunId, workflow: WorkflowId, cancel: CancellationToken) {
        let mut state = self.lock();
        let landed = CancellationToken::new();
        state.by_run.insert(run, Flight { workflow, cancel, landed });
        *state.by_workflow.entry(workflow).or_default() += 1;
    }

    /// A run and what follows from it are over.
    pub(super) fn land(&self, run: RunId) {
        let mut state = self.lock();
        let Some(flight) = state.by_run.remove(&run) else { return };
        if let Some(count) = state.by_workflow.get_mut(&flight.workflow) {
            *count -= 1;
            if *count == 0 {
                state.by_workflow.remove(&flight.workflow);
            }
        }
        flight.landed.cancel();
    }

    /// Stops a run and waits until it has landed; false when there is no such run.
    pub(super) async fn cancel(&self, run: RunId) -> bool {
        let landed = match self.lock().by_run.get(&run) {
            None => return false,
            Some(flight) => {
                flight.cancel.cancel();
                flight.landed.clone()
            }
        };
        landed.cancelled().await;
        true
    }

    /// How many runs of each workflow are going on.
    pub(super) fn by_workflow(&self) -> HashMap<WorkflowId, usize> {
        self.lock().by_workflow.clone()
    }

    /// Cancelled when an event is over.
    pub(super) fn end_of(&self, event: RunId) -> CancellationToken {
        self.lock().ends.entry(event).or_default().clone()
    }

    /// An event is over.
    pub(super) fn ended(&self, event: RunId) {
        if let Some(waiting) = self.lock().ends.remove(&event) {
            waiting.cancel();
        }
    }

    // A panic under this lock leaves whole values behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_cancels_waits_until_the_run_has_landed() {
        let flights = std::sync::Arc::new(Flights::default());
        let (run, workflow, cancel) = (RunId::new(), WorkflowId::new(), CancellationToken::new());
        flights.begin(run, workflow, cancel.clone());
        assert_eq!(flights.by_workflow(), HashMap::from([(workflow, 1)]));
        let canceller = tokio::spawn({
            let flights = flights.clone();
            async move { flights.cancel(run).await }
        });
        cancel.cancelled().await;
        assert!(!canceller.is_finished());
        flights.land(run);
        assert!(canceller.await.unwrap());
        assert!(!flights.cancel(run).await);
        assert!(flights.by_workflow().is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_for_an_event_is_told_once_it_is_over() {
        let flights = Flights::default();
        let event = RunId::new();
        let (first, second) = (flights.end_of(event), flights.end_of(event));
        flights.ended(RunId::new());
        assert!(!first.is_cancelled());
        flights.ended(event);
        first.cancelled().await;
        second.cancelled().await;
    }
}
