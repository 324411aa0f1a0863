//! Whose turn it is when there are more runs than slots.
//!
//! Deficit round robin in two levels, owners and each owner's workflows, by the processor
//! time that their runs were measured to take: who has used much waits longer, however
//! many runs they send. While nobody waits, none of this is asked.
//!
//! Every run that waits also waits at the pool's semaphore. Whichever of them gets a permit
//! there hands it to the one whose turn it is, and waits on: so no permit is ever held
//! back, and none is lost when a run is given up.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::owners::Owner;
use crate::workflow::{OwnerId, WorkflowId};

/// Processor time that a share is filled up by when all that wait have used theirs, in
/// microseconds.
const QUANTUM_US: i64 = 10_000;
/// The most that a share can be behind: what was used long ago is forgiven.
const DEBT_US_MAX: i64 = 2_000_000;
/// What a run is taken to cost until it has ended and was measured.
const GUESS_US: i64 = 1_000;

/// The queue in front of the pool.
pub(super) struct Turns {
    pool: Arc<Semaphore>,
    waiting: AtomicUsize,
    state: Mutex<Shares>,
    /// An owner who was at their limit has a run less.
    freed: Notify,
}

impl Turns {
    /// The queue in front of this pool.
    pub(super) fn new(pool: Arc<Semaphore>) -> Self {
        Self { pool, waiting: AtomicUsize::new(0), state: Mutex::default(), freed: Notify::new() }
    }

    /// A slot at once, unless somebody waits for one, there is none, or the owner has
    /// theirs.
    pub(super) fn try_take(&self, owner: &Arc<Owner>) -> Option<Slot> {
        if self.waiting.load(Ordering::Acquire) > 0 || !owner.has_room() {
            return None;
        }
        let permit = self.pool.clone().try_acquire_owned().ok()?;
        Some(Slot { permit, place: owner.enter() })
    }

    /// Waits for a slot; `None` when the host is shutting down.
    pub(super) async fn take(&self, owner: &Arc<Owner>, workflow: WorkflowId) -> Option<Slot> {
        let mut ticket = Ticket::new(self, owner, workflow);
        loop {
            let permit = tokio::select! {
                biased;
                slot = &mut ticket.slot => return slot.ok(),
                permit = self.pool.clone().acquire_owned() => permit.ok()?,
            };
            // Before the look at the shares, so that no change of them is missed.
            let freed = self.freed.notified();
            let Err(unused) = self.lock().hand_out(permit) else { continue };
            drop(unused);
            tokio::select! {
                biased;
                slot = &mut ticket.slot => return slot.ok(),
                () = freed => {}
            }
        }
    }

    /// Says that a run of an owner has left its place, and what it was measured to take.
    pub(super) fn left(&self, owner: &OwnerId, workflow: WorkflowId, cpu_us: u64) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.lock().charge(owner, workflow, i64::try_from(cpu_us).unwrap_or(i64::MAX));
            self.freed.notify_one();
        }
    }

    // What a panic leaves behind under this lock are numbers.
    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run: a slot of the pool, and a place among the owner's runs.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) place: super::owners::Place,
}

/// A place in the queue; given up when it is dropped.
struct Ticket<'a> {
    turns: &'a Turns,
    owner: Arc<Owner>,
    workflow: WorkflowId,
    number: u64,
    slot: oneshot::Receiver<Slot>,
}

impl<'a> Ticket<'a> {
    fn new(turns: &'a Turns, owner: &Arc<Owner>, workflow: WorkflowId) -> Self {
        let (sender, slot) = oneshot::channel();
        turns.waiting.fetch_add(1, Ordering::AcqRel);
        let number = turns.lock().wait(owner, workflow, sender);
        Self { turns, owner: owner.clone(), workflow, number, slot }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        // A slot that came at this moment is free before others look for one.
        self.slot.close();
        drop(self.slot.try_recv());
        let mut shares = self.turns.lock();
        shares.forget(&self.owner.id, self.workflow, self.number);
        if self.turns.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Nobody waits: everybody starts anew.
            *shares = Shares { number: shares.number, ..Shares::default() };
        } else {
            drop(shares);
            // It may have been told of room that another can use.
            self.turns.freed.notify_one();
        }
    }
}

/// A run that waits.
struct Waiter {
    number: u64,
    slot: oneshot::Sender<Slot>,
}

/// Who waits, and what everybody has used.
#[derive(Default)]
struct Shares {
    number: u64,
    owners: Ring<OwnerId, OwnerShare>,
}

struct OwnerShare {
    owner: Arc<Owner>,
    workflows: Ring<WorkflowId, VecDeque<Waiter>>,
}

impl Shares {
    fn wait(&mut self, owner: &Arc<Owner>, workflow: WorkflowId, slot: oneshot::Sender<Slot>) -> u64 {
        self.number += 1;
        let share = self
            .owners
            .get_or_insert(&owner.id, || OwnerShare { owner: owner.clone(), workflows: Ring::default() });
        let waiters = share.workflows.get_or_insert(&workflow, VecDeque::new);
        waiters.push_back(Waiter { number: self.number, slot });
        self.number
    }

    fn forget(&mut self, owner: &OwnerId, workflow: WorkflowId, number: u64) {
        if let Some(share) = self.owners.get_mut(owner)
            && let Some(waiters) = share.workflows.get_mut(&workflow)
        {
            waiters.retain(|waiter| waiter.number != number);
        }
    }

    fn charge(&mut self, owner: &OwnerId, workflow: WorkflowId, cpu_us: i64) {
        let beyond_the_guess = cpu_us.saturating_sub(GUESS_US);
        self.owners.charge(owner, beyond_the_guess);
        if let Some(share) = self.owners.get_mut(owner) {
            share.workflows.charge(&workflow, beyond_the_guess);
        }
    }

    /// Gives the permit to the run whose turn it is; gives it back when nobody may have it.
    fn hand_out(&mut self, mut permit: OwnedSemaphorePermit) -> Result<(), OwnedSemaphorePermit> {
        loop {
            let waits = |share: &OwnerShare| share.workflows.any(|waiters| !waiters.is_empty());
            let owners_waiting = self.owners.count(waits);
            let may = |share: &OwnerShare| {
                let has_room = match owners_waiting {
                    0 | 1 => share.owner.has_room(),
                    _ => share.owner.has_room_beside_others(),
                };
                has_room && waits(share)
            };
            // All of those who wait have their half: they go by turns all the same.
            let next = match self.owners.next(may) {
                None => self.owners.next(|share| share.owner.has_room() && waits(share)),
                some => some,
            };
            let Some(share) = next else { return Err(permit) };
            let Some(waiters) = share.workflows.next(|waiters| !waiters.is_empty()) else {
                return Err(permit);
            };
            let Some(waiter) = waiters.pop_front() else { return Err(permit) };
            match waiter.slot.send(Slot { permit, place: share.owner.enter() }) {
                Ok(()) => return Ok(()),
                // Given up at this moment.
                Err(slot) => permit = slot.permit,
            }
        }
    }
}

/// Shares in a circle: one is served as long as it has not used what it was given.
struct Ring<K, V> {
    /// In the order in which they are served.
    circle: VecDeque<K>,
    shares: HashMap<K, Share<V>>,
}

struct Share<V> {
    /// What it may use before it is another's turn, in microseconds.
    left_us: i64,
    value: V,
}

impl<K, V> Default for Ring<K, V> {
    fn default() -> Self {
        Self { circle: VecDeque::new(), shares: HashMap::new() }
    }
}

impl<K: Hash + Eq + Clone, V> Ring<K, V> {
    fn get_or_insert(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        let (circle, shares) = (&mut self.circle, &mut self.shares);
        let share = shares.entry(key.clone()).or_insert_with(|| {
            circle.push_back(key.clone());
            Share { left_us: QUANTUM_US, value: make() }
        });
        &mut share.value
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.shares.get_mut(key).map(|share| &mut share.value)
    }

    fn count(&self, condition: impl Fn(&V) -> bool) -> usize {
        self.shares.values().filter(|share| condition(&share.value)).count()
    }

    fn any(&self, condition: impl Fn(&V) -> bool) -> bool {
        self.shares.values().any(|share| condition(&share.value))
    }

    fn charge(&mut self, key: &K, used_us: i64) {
        if let Some(share) = self.shares.get_mut(key) {
            share.left_us = share.left_us.saturating_sub(used_us).clamp(-DEBT_US_MAX, QUANTUM_US);
        }
    }

    /// The share that is served next, of those that meet the condition.
    fn next(&mut self, condition: impl Fn(&V) -> bool) -> Option<&mut V> {
        let best =
            self.shares.values().filter(|share| condition(&share.value)).map(|share| share.left_us).max()?;
        if best <= 0 {
            // As many rounds as it takes until one of them has something.
            let rounds = -best / QUANTUM_US + 1;
            for share in self.shares.values_mut().filter(|share| condition(&share.value)) {
                share.left_us = (share.left_us + rounds * QUANTUM_US).min(QUANTUM_US);
            }
        }
        let shares = &self.shares;
        let is_next = |key: &K| shares[key].left_us > 0 && condition(&shares[key].value);
        let at = self.circle.iter().position(is_next)?;
        // Those before it have nothing left, or nobody who waits: they come behind it.
        self.circle.rotate_left(at);
        let share = self.shares.get_mut(&self.circle[0])?;
        share.left_us -= GUESS_US;
        Some(&mut share.value)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::super::owners::Owners;
    use super::*;
    use crate::config::Config;

    /// A pool of so many slots, and owners with the shares that are the default.
    struct World {
        turns: Arc<Turns>,
        owners: Owners,
    }

    /// Runs that wait, each with its owner's name and what it is going to take.
    type Waiting = Vec<(&'static str, u64, BoxFuture<'static, Option<Slot>>)>;

    impl World {
        fn new(slots: u32) -> Self {
            let mut config = Config::defaults();
            config.engine.instances_max = slots;
            let pool = Arc::new(Semaphore::new(slots as usize));
            Self { turns: Arc::new(Turns::new(pool)), owners: Owners::new(&config, None) }
        }

        fn owner(&self, name: &str) -> Arc<Owner> {
            self.owners.get(&OwnerId::from(Some(name)))
        }

        fn workflow(name: &str, number: u8) -> WorkflowId {
            WorkflowId::from_bytes([name.as_bytes()[0], number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }

        fn wait(&self, name: &'static str, workflow: u8, cpu_us: u64, waiting: &mut Waiting) {
            let (turns, owner) = (self.turns.clone(), self.owner(name));
            let mut run = async move { turns.take(&owner, Self::workflow(name, workflow)).await }.boxed();
            assert!((&mut run).now_or_never().is_none(), "there is no slot");
            waiting.push((name, cpu_us, run));
        }

        /// Lets one of the runs end; those whose turn it is then run, and are returned in
        /// their order.
        fn end(
            &self,
            name: &str,
            workflow: u8,
            cpu_us: u64,
            slot: Slot,
            waiting: &mut Waiting,
        ) -> Vec<(&'static str, u64, Slot)> {
            drop(slot);
            self.turns.left(&OwnerId::from(Some(name)), Self::workflow(name, workflow), cpu_us);
            let mut served = Vec::new();
            // Twice: one that is looked at late may have handed a slot to one before it.
            for _ in 0..2 {
                waiting.retain_mut(|(name, cpu_us, run)| match run.now_or_never() {
                    Some(slot) => {
                        served.push((*name, *cpu_us, slot.expect("the pool is open")));
                        false
                    }
                    None => true,
                });
            }
            served
        }
    }

    #[test]
    fn one_who_floods_with_long_runs_does_not_hold_up_another() {
        let world = World::new(2);
        let flood = world.owner("flood");
        let mut running: VecDeque<_> =
            (0..2).map(|_| ("flood", 50_000, world.turns.try_take(&flood).expect("a slot"))).collect();
        let mut waiting = Waiting::new();
        (0..200).for_each(|_| world.wait("flood", 1, 50_000, &mut waiting));
        (0..20).for_each(|_| world.wait("quiet", 1, 500, &mut waiting));
        let mut order = Vec::new();
        while let Some((name, cpu_us, slot)) = running.pop_front() {
            for next in world.end(name, 1, cpu_us, slot, &mut waiting) {
                order.push(next.0);
                running.push_back(next);
            }
        }
        assert_eq!(order.len(), 220, "everybody is served in the end");
        let last = order.iter().rposition(|name| *name == "quiet").expect("it was served");
        // Of two slots each has one: twenty turns for twenty, and first come, first served
        // would have been two hundred and twenty.
        assert!(last < 42, "the quiet owner's 20 runs were through after {last} turns");
    }

    #[test]
    fn owners_who_use_the_same_get_the_same_however_many_runs_they_send() {
        let world = World::new(4);
        let many = world.owner("many");
        let mut running: VecDeque<_> =
            (0..4).map(|_| ("many", 5_000, world.turns.try_take(&many).expect("a slot"))).collect();
        let mut waiting = Waiting::new();
        (0..300).for_each(|_| world.wait("many", 1, 5_000, &mut waiting));
        (0..100).for_each(|_| world.wait("few", 1, 5_000, &mut waiting));
        let mut order = Vec::new();
        while let Some((name, cpu_us, slot)) = running.pop_front() {
            for next in world.end(name, 1, cpu_us, slot, &mut waiting) {
                order.push(next.0);
                running.push_back(next);
            }
        }
        let few = order[..150].iter().filter(|name| **name == "few").count();
        assert!((65..=85).contains(&few), "{few} of the first 150 turns");
    }

    #[test]
    fn workflows_of_one_owner_take_turns_too() {
        let world = World::new(1);
        let mut slot = world.turns.try_take(&world.owner("one")).expect("a slot");
        let mut waiting = Waiting::new();
        (0..50).for_each(|_| world.wait("one", 1, 100_000, &mut waiting));
        (0..5).for_each(|_| world.wait("one", 2, 7, &mut waiting));
        let (mut workflow, mut cpu_us, mut order) = (1, 100_000, Vec::new());
        while !waiting.is_empty() {
            let served = world.end("one", workflow, cpu_us, slot, &mut waiting).remove(0);
            (cpu_us, slot) = (served.1, served.2);
            workflow = if cpu_us == 7 { 2 } else { 1 };
            order.push(workflow);
        }
        let last = order.iter().rposition(|workflow| *workflow == 2).expect("it was served");
        assert!(last < 10, "{order:?}");
    }

    #[test]
    fn an_owner_has_half_of_the_slots_while_others_wait_and_never_the_last_eighth() {
        let world = World::new(16);
        let (greedy, other) = (world.owner("greedy"), world.owner("other"));
        let mut held: Vec<Slot> = std::iter::from_fn(|| world.turns.try_take(&greedy)).collect();
        assert_eq!(held.len(), 14, "the last eighth is for others");
        assert!(world.turns.try_take(&other).is_some(), "and they need not wait for it");
        let mut waiting = Waiting::new();
        (0..20).for_each(|_| world.wait("greedy", 1, 10, &mut waiting));
        // One who waits takes nothing from those who may run: nobody is in front of them.
        let slot = {
            let (turns, other) = (world.turns.clone(), other.clone());
            async move { turns.take(&other, World::workflow("o", 1)).await }.now_or_never()
        };
        held.push(slot.flatten().expect("a slot that the greedy one may not have"));
        held.push(
            {
                let (turns, other) = (world.turns.clone(), other.clone());
                async move { turns.take(&other, World::workflow("o", 1)).await }.now_or_never()
            }
            .flatten()
            .expect("the last one"),
        );
        (0..20).for_each(|_| world.wait("other", 1, 10, &mut waiting));
        // As its runs end, the other gets their slots, up to half.
        for _ in 0..6 {
            let served = world.end("greedy", 1, 10, held.remove(0), &mut waiting);
            assert_eq!(served.iter().map(|one| one.0).collect::<Vec<_>>(), ["other"]);
            held.extend(served.into_iter().map(|one| one.2));
        }
        assert_eq!((greedy.running(), other.running()), (8, 8));
    }

    #[test]
    fn a_run_that_is_given_up_leaves_its_slot_and_its_turn_to_others() {
        let world = World::new(1);
        let owner = world.owner("one");
        let slot = world.turns.try_take(&owner).expect("a slot");
        let mut waiting = Waiting::new();
        (0..3).for_each(|_| world.wait("one", 1, 1, &mut waiting));
        drop(waiting.remove(0));
        let served = world.end("one", 1, 1, slot, &mut waiting);
        assert_eq!((served.len(), waiting.len()), (1, 1));
        // A slot that was handed over and never taken comes back.
        drop(served);
        drop(waiting);
        assert_eq!((world.turns.pool.available_permits(), owner.running()), (1, 0));
        assert!(world.turns.try_take(&owner).is_some(), "nobody waits any more");
    }
}
