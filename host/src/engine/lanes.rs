//! Lanes for guests that compute for long: fewer than there are cores.
//!
//! Guests give way at every tick, to whoever is next in the runtime's queue. With many that
//! compute, that queue is as long as they are many, and one that needs a fraction of a
//! millisecond stands in it several times: once for its request, once for its run. So who has
//! computed for some ticks goes on in a lane only, each of which takes one guest at a time, in
//! the order in which they came; what is left of the cores is for those that are short.
//!
//! A workflow whose last run was cut while it computed, or computed for very long, is a
//! *burner*: its next run computes in a lane from its beginning, and burners have half of the
//! cores together while others run too. Otherwise fifty that end and begin at the same moment
//! compute for their free ticks all at once, again and again. One run that ends well and soon
//! makes it no burner any more.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::UpdateDeadline;

use crate::workflow::WorkflowId;

/// Ticks that a guest computes before it needs a lane: many run to their end in that.
const TICKS_FREE: u32 = 4;

/// Processor time of a run that makes its workflow a burner, though nobody cut it. Below that,
/// the free ticks are a part of a run that those who compute honestly would miss.
const BURNED: Duration = Duration::from_millis(200);

/// Others run while one of theirs began within this time: who computes for long and honestly
/// has the machine when nobody else wants it.
const OTHERS_WITHIN: Duration = Duration::from_secs(1);
const NEVER_MS: u64 = u64::MAX;

/// Burners that are known. Where there are more, they are found out anew.
const BURNERS_MAX: usize = 4096;

/// The lanes of an engine.
#[derive(Debug, Clone)]
pub(super) struct Lanes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    all: Arc<Semaphore>,
    /// A burner needs one of these too, which it takes first.
    of_burners: Arc<Semaphore>,
    burners: Mutex<HashSet<WorkflowId>>,
    /// Whether there are any: asked by every run.
    has_burners: AtomicBool,
    started: Instant,
    /// When a run of somebody else began last, in milliseconds since then.
    others_ms: AtomicU64,
}

/// The way of one guest.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Lanes,
    workflow: WorkflowId,
    is_burner: bool,
    ticks: AtomicU32,
    held: Mutex<Option<Held>>,
}

/// A guest's place in a lane, given up when it is dropped.
#[derive(Debug)]
struct Held {
    _of_burners: Option<OwnedSemaphorePermit>,
    _lane: OwnedSemaphorePermit,
}

impl Lanes {
    /// All cores but one, half of the cores for burners; one where there is no other.
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(cores.saturating_sub(1).max(1), (cores / 2).max(1))
    }

    fn of(all: usize, of_burners: usize) -> Self {
        Self(Arc::new(Shared {
            all: Arc::new(Semaphore::new(all)),
            of_burners: Arc::new(Semaphore::new(of_burners)),
            burners: Mutex::default(),
            has_burners: AtomicBool::new(false),
            started: Instant::now(),
            others_ms: AtomicU64::new(NEVER_MS),
        }))
    }

    /// For a guest of this workflow that begins.
    pub(super) fn lane(&self, workflow: WorkflowId) -> Arc<Lane> {
        let has_burners = self.0.has_burners.load(Ordering::Relaxed);
        let is_burner = has_burners && self.0.burners().contains(&workflow);
        if has_burners && !is_burner {
            self.0.others_ms.store(self.0.now_ms(), Ordering::Relaxed);
        }
        let ticks = AtomicU32::new(if is_burner { TICKS_FREE } else { 0 });
        Arc::new(Lane { lanes: self.clone(), workflow, is_burner, ticks, held: Mutex::default() })
    }
}

impl Shared {
    // What a panic leaves behind under this lock is whole.
    fn burners(&self) -> MutexGuard<'_, HashSet<WorkflowId>> {
        self.burners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn has_others(&self) -> bool {
        let others_ms = self.others_ms.load(Ordering::Relaxed);
        let since_ms = u128::from(self.now_ms().saturating_sub(others_ms));
        others_ms != NEVER_MS && since_ms <= OTHERS_WITHIN.as_millis()
    }
}

impl Lane {
    /// Before a guest computes at all: at once for all but burners. Whether it is one, which
    /// may have waited.
    pub(super) async fn enter(&self) -> bool {
        if self.is_burner {
            self.take().await;
        }
        self.is_burner
    }

    /// What a guest does at a tick that finds it computing.
    pub(super) fn tick(self: &Arc<Self>) -> UpdateDeadline {
        if self.ticks.fetch_add(1, Ordering::Relaxed) < TICKS_FREE {
            return UpdateDeadline::Yield(1);
        }
        let own = self.clone();
        UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                // Others first; the lane is left meanwhile.
                tokio::task::yield_now().await;
                own.take().await;
            }),
        )
    }

    /// Leaves the lane: for a guest that waits, whatever for.
    pub(super) fn leave(&self) {
        if self.is_burner || self.ticks.load(Ordering::Relaxed) > TICKS_FREE {
            self.hold(None);
        }
    }

    /// Says how the guest ended: whether it was cut, and the processor time that it took.
    pub(super) fn ended(&self, is_cut: bool, cpu: Duration) {
        // Who waits for something else until it is cut burns nothing; a burner may not have had a
        // turn.
        let has_computed = self.is_burner || self.ticks.load(Ordering::Relaxed) > TICKS_FREE;
        let is_burner = cpu >= BURNED || (is_cut && has_computed);
        if is_burner == self.is_burner {
            return;
        }
        let shared = &*self.lanes.0;
        let mut burners = shared.burners();
        if is_burner {
            if burners.len() >= BURNERS_MAX {
                burners.clear();
            }
            burners.insert(self.workflow);
        } else {
            burners.remove(&self.workflow);
        }
        shared.has_burners.store(!burners.is_empty(), Ordering::Relaxed);
    }

    /// Waits for its turn. Who has one of the burners' lanes is among the few of them that
    /// others find before them. Asked for again at each tick, so others need not wait long.
    async fn take(&self) {
        let shared = &*self.lanes.0;
        let of_burners = match self.is_burner && shared.has_others() {
            true => shared.of_burners.clone().acquire_owned().await.ok(),
            false => None,
        };
        // They are never closed; without a lane a guest would go on all the same.
        let lane = shared.all.clone().acquire_owned().await.ok();
        self.hold(lane.map(|lane| Held { _of_burners: of_burners, _lane: lane }));
    }

    fn hold(&self, held: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use futures::FutureExt as _;

    use super::*;

    const CALM: WorkflowId = WorkflowId::from_bytes([1; 16]);
    const HOSTILE: WorkflowId = WorkflowId::from_bytes([2; 16]);

    /// What the guest waits for at its next tick; `None` when it only gives way.
    fn wait(lane: &Arc<Lane>) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        match lane.tick() {
            UpdateDeadline::YieldCustom(1, wait) => Some(wait),
            UpdateDeadline::Yield(1) => None,
            _ => panic!("a guest that computes is not stopped by a tick"),
        }
    }

    /// A guest that has computed for all the ticks that are free.
    fn long(lanes: &Lanes) -> Arc<Lane> {
        let lane = lanes.lane(CALM);
        assert!((0..TICKS_FREE).all(|_| wait(&lane).is_none()));
        lane
    }

    fn free(lanes: &Lanes) -> [usize; 2] {
        [lanes.0.all.available_permits(), lanes.0.of_burners.available_permits()]
    }

    #[tokio::test]
    async fn who_computes_for_long_needs_a_lane_and_gets_it_in_turn() {
        let lanes = Lanes::of(1, 1);
        let (one, two, three) = (long(&lanes), long(&lanes), long(&lanes));
        wait(&one).unwrap().await;
        let (mut second, mut third) = (wait(&two).unwrap(), wait(&three).unwrap());
        // Polled twice: once to give way, once to stand in the queue.
        for waiting in [&mut second, &mut third] {
            assert!(waiting.now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        for waiting in [&mut second, &mut third] {
            assert!(waiting.now_or_never().is_none(), "the lane is taken");
        }
        // Somebody short is not concerned.
        assert!(wait(&lanes.lane(CALM)).is_none());
        one.leave();
        assert!((&mut third).now_or_never().is_none(), "who came first goes first");
        second.await;
        two.leave();
        third.await;
        assert_eq!(free(&lanes), [0, 1]);
        // Given up in the middle of it.
        drop(three);
        assert_eq!(free(&lanes), [1, 1]);
    }

    #[tokio::test]
    async fn who_waits_leaves_its_lane_and_who_is_given_up_in_the_queue_its_place() {
        let lanes = Lanes::of(1, 1);
        let (one, two) = (long(&lanes), long(&lanes));
        wait(&one).unwrap().await;
        let mut queued = wait(&two).unwrap();
        assert!((&mut queued).now_or_never().is_none());
        tokio::task::yield_now().await;
        assert!((&mut queued).now_or_never().is_none());
        drop((queued, two));
        one.leave();
        assert_eq!(free(&lanes), [1, 1]);
        wait(&one).unwrap().await;
        assert_eq!(free(&lanes), [0, 1]);
    }

    /// Makes the workflow one of a burner: a run of it is cut while it computes.
    fn burn(lanes: &Lanes) {
        let cut = lanes.lane(HOSTILE);
        (0..=TICKS_FREE).for_each(|_| drop(cut.tick()));
        cut.ended(true, Duration::from_millis(1));
    }

    #[tokio::test]
    async fn burners_compute_in_lanes_from_the_beginning_and_leave_some_to_others() {
        let lanes = Lanes::of(3, 2);
        lanes.lane(HOSTILE).enter().await;
        assert_eq!(free(&lanes), [3, 2], "nobody knows it yet");
        burn(&lanes);
        let _other = lanes.lane(CALM);
        let burners: Vec<_> = (0..4).map(|_| lanes.lane(HOSTILE)).collect();
        burners[0].enter().await;
        burners[1].enter().await;
        assert_eq!(free(&lanes), [1, 0]);
        let mut third = Box::pin(burners[2].enter());
        assert!((&mut third).now_or_never().is_none());
        // The last lane is for those who compute for long and are no burners.
        let honest = long(&lanes);
        wait(&honest).unwrap().await;
        assert_eq!(free(&lanes), [0, 0]);
        // At its first tick a burner goes behind those who wait.
        let mut again = wait(&burners[0]).unwrap();
        burners[0].leave();
        third.await;
        assert!((&mut again).now_or_never().is_none());
        tokio::task::yield_now().await;
        assert!((&mut again).now_or_never().is_none());
        burners[1].leave();
        again.await;
        drop((burners, honest));
        assert_eq!(free(&lanes), [3, 2]);
    }

    #[tokio::test]
    async fn burners_have_all_lanes_while_nobody_else_runs() {
        let lanes = Lanes::of(3, 1);
        let _before = lanes.lane(CALM);
        burn(&lanes);
        let burners: Vec<_> = (0..2).map(|_| lanes.lane(HOSTILE)).collect();
        burners[0].enter().await;
        burners[1].enter().await;
        assert_eq!(free(&lanes), [1, 1]);
        let _other = lanes.lane(CALM);
        // Each gives way at its next tick, and one of them goes on.
        burners.iter().for_each(|burner| burner.leave());
        burners[0].take().await;
        assert!(burners[1].take().now_or_never().is_none());
        assert_eq!(free(&lanes), [2, 0]);
    }

    #[tokio::test]
    async fn a_burner_is_who_was_cut_or_computed_very_long_until_it_ends_well() {
        let lanes = Lanes::of(1, 1);
        let is_burner = || lanes.lane(HOSTILE).is_burner;
        // Cut while it waited for something else.
        lanes.lane(HOSTILE).ended(true, BURNED / 2);
        assert!(!is_burner());
        let honest = long(&lanes);
        (0..9).for_each(|_| drop(honest.tick()));
        honest.ended(false, BURNED / 2);
        assert!(!lanes.lane(CALM).is_burner);
        burn(&lanes);
        assert!(is_burner() && !lanes.lane(CALM).is_burner);
        // Without a turn until its end.
        lanes.lane(HOSTILE).ended(true, Duration::ZERO);
        assert!(is_burner());
        lanes.lane(HOSTILE).ended(false, Duration::from_millis(1));
        assert!(!is_burner());
        lanes.lane(HOSTILE).ended(false, BURNED);
        assert!(is_burner());
        // What is kept of them is bounded.
        for number in 0..2 * BURNERS_MAX as u128 {
            lanes.lane(WorkflowId::from_bytes(number.to_be_bytes())).ended(false, BURNED);
            assert!(lanes.0.burners().len() <= BURNERS_MAX);
        }
    }
}
