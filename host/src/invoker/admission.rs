//! Permits for a run, and the queue in front of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Invoker;
use super::owners::{CpuSpent, Owner, Place};
use super::turns::{Slot, Turns};
use crate::engine::egress::OwnerEgress;
use crate::engine::{MemoryBudget, Permit};
use crate::pace::Pace;
use crate::registry::Entry;
use crate::run::{Fault, FaultKind};
use crate::workflow::{OwnerId, WorkflowId};

/// The right to run, and the account that the run is charged to.
pub(super) struct Admitted<'a> {
    pub(super) permit: Permit,
    pub(super) turn: Turn<'a>,
}

/// A run among those of its workflow and its owner. When it is dropped, others may run.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    owner: Arc<Owner>,
    workflow: WorkflowId,
    cpu_us: u64,
    place: Option<Place>,
    pace: Arc<Pace>,
    since: Instant,
    _own: OwnedSemaphorePermit,
}

impl Turn<'_> {
    /// What the run's memory is charged to.
    pub(super) fn memory(&self) -> Option<Arc<MemoryBudget>> {
        self.owner.memory.clone()
    }

    /// What is charged with what the run sends.
    pub(super) fn egress(&self) -> Option<Arc<OwnerEgress>> {
        self.owner.egress.clone()
    }

    /// Charges the processor time that the run took.
    pub(super) fn charge(&mut self, cpu_us: u64) {
        self.cpu_us = cpu_us;
        self.owner.spend_cpu(cpu_us);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Before others are told.
        drop(self.place.take());
        let held = self.since.elapsed();
        self.owner.pace.held(held);
        self.pace.held(held);
        self.turns.left(&self.owner.id, self.workflow, self.cpu_us);
    }
}

impl Invoker {
    /// Counts a request to one of an owner's workflows.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn take_rate(&self, owner: &OwnerId) -> Result<(), Duration> {
        match self.owners.rate() {
            Some(rate) => self.owners.get(owner).meter.take(rate),
            None => Ok(()),
        }
    }

    /// Waits for the workflow's own permit and for a pool slot, within the queue's bounds,
    /// unless it is likely to be in vain: a run whose turn would come after three quarters
    /// of the time that runs may wait is refused at once.
    pub(super) async fn admit(&self, entry: &Entry, is_patient: bool) -> Result<Admitted<'_>, Fault> {
        let owner = self.owners.get(&entry.workflow.owner_id());
        while let Err(spent) = owner.cpu_left() {
            if !is_patient {
                return Err(fault_of_cpu(spent));
            }
            tokio::time::sleep(spent.again_in).await;
        }
        let own = entry.permits();
        // The own permit first: a workflow at its limit must not hold slots while it waits.
        if let Ok(own) = own.clone().try_acquire_owned()
            && let Some(slot) = self.turns.try_take(&owner)
        {
            return Ok(self.admitted(entry, owner, slot, own));
        }
        let account = owner.clone();
        let own_line = entry.pace().wait();
        // Those who wait for their workflow's permit are not in the way of others.
        let for_slots = account.pace.waiting();
        let both = async {
            let own = acquire(own).await?;
            let _line = account.pace.wait();
            let slot = self.turns.take(&owner, entry.workflow.id).await.ok_or_else(shutting_down)?;
            Ok((slot, own))
        };
        let engine = &self.config.engine;
        let (slot, own) = if is_patient {
            both.await?
        } else {
            let waiting = Waiting::enter(&self.queued);
            if waiting.place > engine.queue_max {
                let message = format!(
                    "{} runs are waiting already, the limit is {}",
                    waiting.place - 1,
                    engine.queue_max
                );
                return Err(Fault::new(FaultKind::Overload, message));
            }
            // The rest of the queue is for others.
            let waiting_max = engine.queue_max - engine.queue_max / 8;
            let Some(_waiting) = owner.wait(waiting_max) else {
                let message = format!(
                    "{waiting_max} runs of this owner's workflows are waiting already, and that is the limit"
                );
                return Err(Fault::new(FaultKind::Quota, message));
            };
            let patience = Duration::from_millis(engine.queue_ms);
            let expected = Ord::max(
                entry.pace().time_for(own_line.before, entry.permits_max()),
                account.pace.time_for(for_slots, account.slots()),
            );
            if expected > patience / 4 * 3 {
                return Err(fault_of_line(own_line.before.max(for_slots), expected, patience));
            }
            tokio::time::timeout(patience, both).await.unwrap_or_else(|_| {
                let message = format!("no permit came free within {} ms", engine.queue_ms);
                Err(Fault::new(FaultKind::Overload, message))
            })?
        };
        Ok(self.admitted(entry, owner, slot, own))
    }

    fn admitted(
        &self,
        entry: &Entry,
        owner: Arc<Owner>,
        slot: Slot,
        own: OwnedSemaphorePermit,
    ) -> Admitted<'_> {
        let Slot { permit, place } = slot;
        let workflow = entry.workflow.id;
        let (pace, since) = (entry.pace().clone(), Instant::now());
        let place = Some(place);
        let turn = Turn { turns: &self.turns, owner, workflow, cpu_us: 0, place, pace, since, _own: own };
        Admitted { permit, turn }
    }
}

fn fault_of_cpu(spent: CpuSpent) -> Fault {
    let CpuSpent { ms_per_minute, again_in } = spent;
    let message = format!(
        "the workflows of its owner have used their {ms_per_minute} ms of processor time by the minute; there is some again in {} ms",
        again_in.as_millis() + 1
    );
    Fault::new(FaultKind::Quota, message)
}

/// Who is told at once can do something else; who waits in vain only makes the line longer.
fn fault_of_line(before: usize, expected: Duration, patience: Duration) -> Fault {
    let message = format!(
        "{before} runs are waiting already, which is going to take about {} ms; a run waits for {} ms at most",
        expected.as_millis(),
        patience.as_millis()
    );
    Fault::new(FaultKind::Overload, message)
}

fn shutting_down() -> Fault {
    Fault::new(FaultKind::Overload, "the host is shutting down")
}

async fn acquire(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    permits.clone().acquire_owned().await.map_err(|_| shutting_down())
}

/// A place in the queue, given up when it is dropped.
struct Waiting<'a> {
    queued: &'a AtomicUsize,
    /// From 1.
    place: usize,
}

impl<'a> Waiting<'a> {
    fn enter(queued: &'a AtomicUsize) -> Self {
        Self { queued, place: queued.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}
