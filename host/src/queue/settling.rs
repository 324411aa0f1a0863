//! What follows from how an attempt ended.

use std::error::Error;

use jiff::{SignedDuration, Timestamp};

use super::{Queue, VERIFIED_PREFIX};
use crate::registry::Entry;
use crate::run::{FaultKind, Run, Status};
use crate::store::{EventEnd, QueueEntry, Settlement, StoreError};
use crate::workflow::RetryPolicy;

/// Whether any of the user's code may have run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Began {
    /// The host was there: the record says it.
    AsRecorded,
    /// The host was gone, and nobody knows; the record, if there is one, is of a recovery.
    Perhaps,
}

/// What follows from an attempt's run.
pub(super) fn settlement(entry: &QueueEntry, policy: &RetryPolicy, run: &Run, began: Began) -> Settlement {
    let now = Timestamp::now();
    let fault = run.fault.as_ref().map(|fault| fault.kind);
    let end = |is_dead| Settlement::End(EventEnd { status: run.status, fault, at: now, is_dead });
    let kind = match (run.status, fault) {
        (Status::Succeeded, _) => return end(false),
        (_, Some(FaultKind::Cancelled)) => return end(false),
        (_, kind) => kind.unwrap_or(FaultKind::Host),
    };
    // The host stopped while it waited for a permit.
    if kind == FaultKind::Interrupted && run.started_at.is_none() && began == Began::AsRecorded {
        return Settlement::Retry { not_before: now, counts: false };
    }
    if !policy.tries_again(entry.attempts_spent(), kind) {
        return end(true);
    }
    let delay = policy.delay(entry.attempts_spent(), rand::random());
    let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
    Settlement::Retry { not_before: now.checked_add(delay).unwrap_or(now), counts: true }
}

/// What follows from the run of a caller who waited: nobody tries it again for him.
fn settlement_of_call(entry: &QueueEntry, policy: &RetryPolicy, run: &Run, began: Began) -> Settlement {
    let is_webhook = entry.event.key.as_ref().is_some_and(|key| key.name.starts_with(VERIFIED_PREFIX));
    if is_webhook && run.status != Status::Succeeded {
        return Settlement::Forget;
    }
    let fault = run.fault.as_ref().map(|fault| fault.kind);
    let never_ran = run.started_at.is_none() && began == Began::AsRecorded;
    let is_interrupted = fault == Some(FaultKind::Interrupted);
    // The caller may come again with the same key when nothing ran, or when what may have
    // run may run twice.
    let tries_again = is_interrupted && policy.attempts > 1 && policy.on.contains(&FaultKind::Interrupted);
    if never_ran && run.status != Status::Succeeded || tries_again {
        return Settlement::Forget;
    }
    Settlement::End(EventEnd { status: run.status, fault, at: Timestamp::now(), is_dead: false })
}

impl Queue {
    /// Records what becomes of an attempt, counts it, and tells who waits.
    pub(super) async fn settle(&self, entry: &QueueEntry, settlement: Settlement) {
        let id = entry.event.id;
        match self.store.settle_event(id, entry.run, settlement).await {
            Ok(now) => {
                self.telemetry.queue.settled(&settlement);
                if let Settlement::End(EventEnd { is_dead: true, fault, .. }) = settlement {
                    let fault = fault.map(FaultKind::word);
                    tracing::warn!(event = %id, attempts = now.attempt, fault, "an event was given up");
                }
                if now.end().is_some() || settlement == Settlement::Forget {
                    self.flights.ended(id);
                }
            }
            // Archived meanwhile.
            Err(StoreError::Missing { .. }) => self.flights.ended(id),
            Err(error) => {
                // It stays leased, and is looked at again at the next start.
                tracing::error!(event = %id, error = &error as &dyn Error, "an event could not be settled");
            }
        }
    }

    pub(super) async fn settle_run(&self, workflow: &Entry, entry: &QueueEntry, run: &Run, began: Began) {
        let settlement = settlement(entry, &workflow.workflow.retry, run, began);
        self.settle(entry, settlement).await;
    }

    pub(super) async fn settle_call(&self, workflow: &Entry, entry: &QueueEntry, run: &Run) {
        self.settle_call_as(workflow, entry, run, Began::AsRecorded).await;
    }

    pub(super) async fn settle_call_as(&self, workflow: &Entry, entry: &QueueEntry, run: &Run, began: Began) {
        self.settle(entry, settlement_of_call(entry, &workflow.workflow.retry, run, began)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Fault;
    use crate::store::{DedupeKey, samples};

    fn ended(status: Status, kind: Option<FaultKind>, started: bool) -> Run {
        let mut run = samples::run(crate::workflow::WorkflowId::new());
        run.status = status;
        run.fault = kind.map(|kind| Fault::new(kind, "x"));
        run.started_at = run.started_at.filter(|_| started);
        run
    }

    fn entry(attempt: u32, pardoned: u32) -> QueueEntry {
        let event = samples::event(crate::workflow::WorkflowId::new());
        QueueEntry { attempt, pardoned, ..QueueEntry::leased(event) }
    }

    fn twice() -> RetryPolicy {
        RetryPolicy { attempts: 2, ..RetryPolicy::default() }
    }

    fn is_dead(settlement: &Settlement) -> Option<bool> {
        match settlement {
            Settlement::End(end) => Some(end.is_dead),
            Settlement::Retry { .. } | Settlement::Forget => None,
        }
    }

    #[test]
    fn faults_that_count_are_tried_again_until_the_attempts_are_spent() {
        let failed = ended(Status::Failed, Some(FaultKind::Trap), true);
        let settled = |entry: QueueEntry, policy: &RetryPolicy, run: &Run| {
            settlement(&entry, policy, run, Began::AsRecorded)
        };
        let first = settled(entry(1, 0), &twice(), &failed);
        assert!(
            matches!(first, Settlement::Retry { not_before, counts: true } if not_before > Timestamp::now())
        );
        assert_eq!(is_dead(&settled(entry(2, 0), &twice(), &failed)), Some(true));
        assert_eq!(is_dead(&settled(entry(5, 4), &twice(), &failed)), None, "four do not count");
        let refused = ended(Status::Cancelled, Some(FaultKind::Refused), false);
        assert_eq!(is_dead(&settled(entry(1, 0), &twice(), &refused)), Some(true));
        for run in
            [ended(Status::Succeeded, None, true), ended(Status::Cancelled, Some(FaultKind::Cancelled), true)]
        {
            assert_eq!(is_dead(&settled(entry(1, 0), &twice(), &run)), Some(false));
        }
    }

    #[test]
    fn interrupted_work_that_may_have_begun_runs_again_only_by_policy() {
        let unbegun = ended(Status::Interrupted, Some(FaultKind::Interrupted), false);
        let never = RetryPolicy::default();
        let again = settlement(&entry(1, 0), &never, &unbegun, Began::AsRecorded);
        assert!(matches!(again, Settlement::Retry { counts: false, .. }));
        for run in [unbegun.clone(), ended(Status::Interrupted, Some(FaultKind::Interrupted), true)] {
            assert_eq!(is_dead(&settlement(&entry(1, 0), &never, &run, Began::Perhaps)), Some(true));
            let again = settlement(&entry(1, 0), &twice(), &run, Began::Perhaps);
            assert!(matches!(again, Settlement::Retry { counts: true, .. }));
        }
    }

    #[test]
    fn key_of_a_call_is_free_again_when_nothing_ran() {
        let overload = ended(Status::Cancelled, Some(FaultKind::Overload), false);
        let call = entry(1, 0);
        assert_eq!(settlement_of_call(&call, &twice(), &overload, Began::AsRecorded), Settlement::Forget);
        let failed = ended(Status::Failed, Some(FaultKind::Exception), true);
        assert_eq!(is_dead(&settlement_of_call(&call, &twice(), &failed, Began::AsRecorded)), Some(false));
        let cut = ended(Status::Interrupted, Some(FaultKind::Interrupted), false);
        assert_eq!(settlement_of_call(&call, &twice(), &cut, Began::Perhaps), Settlement::Forget);
        let never = RetryPolicy::default();
        assert_eq!(is_dead(&settlement_of_call(&call, &never, &cut, Began::Perhaps)), Some(false));
    }

    #[test]
    fn key_of_a_verified_webhook_is_free_again_unless_it_succeeded() {
        let mut delivery = entry(1, 0);
        let key = DedupeKey { name: format!("{VERIFIED_PREFIX}github:1"), print: String::new() };
        delivery.event.key = Some(key);
        let settled =
            |run: &Run| settlement_of_call(&delivery, &RetryPolicy::default(), run, Began::AsRecorded);
        assert_eq!(is_dead(&settled(&ended(Status::Succeeded, None, true))), Some(false));
        for kind in [FaultKind::Exception, FaultKind::Interrupted, FaultKind::Cancelled] {
            assert_eq!(settled(&ended(Status::Failed, Some(kind), true)), Settlement::Forget, "{kind}");
        }
    }
}
