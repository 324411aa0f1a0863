//! Lanes for guests that compute for long: fewer than there are cores.
//!
//! Guests give way at every tick, to whoever is next in the runtime's queue. With many that
//! compute, that queue is as long as they are many, and one that needs a fraction of a
//! millisecond stands in it several times: once for its request, once for its run. So who has
//! computed for some ticks goes on in a lane only, each of which takes one guest at a time, in
//! the order in which they came; what is left of the cores is for those that are short.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::UpdateDeadline;

/// Ticks that a guest computes before it needs a lane: many run to their end in that.
const TICKS_FREE: u32 = 4;

/// The lanes of an engine.
#[derive(Debug, Clone)]
pub(super) struct Lanes(Arc<Semaphore>);

/// The way of one guest.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Semaphore>,
    ticks: AtomicU32,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Lanes {
    /// All cores but one; one where there is no other.
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(cores.saturating_sub(1).max(1))
    }

    fn of(lanes: usize) -> Self {
        Self(Arc::new(Semaphore::new(lanes)))
    }

    /// For a guest that begins.
    pub(super) fn lane(&self) -> Arc<Lane> {
        Arc::new(Lane { lanes: self.0.clone(), ticks: AtomicU32::new(0), held: Mutex::default() })
    }
}

impl Lane {
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
                // They are never closed; without a lane a guest would go on all the same.
                let permit = own.lanes.clone().acquire_owned().await.ok();
                own.hold(permit);
            }),
        )
    }

    /// Leaves the lane: for a guest that waits, whatever for.
    pub(super) fn leave(&self) {
        if self.ticks.load(Ordering::Relaxed) > TICKS_FREE {
            self.hold(None);
        }
    }

    fn hold(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use futures::FutureExt as _;

    use super::*;

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
        let lane = lanes.lane();
        assert!((0..TICKS_FREE).all(|_| wait(&lane).is_none()));
        lane
    }

    #[tokio::test]
    async fn who_computes_for_long_needs_a_lane_and_gets_it_in_turn() {
        let lanes = Lanes::of(1);
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
        assert!(wait(&lanes.lane()).is_none());
        one.leave();
        assert!((&mut third).now_or_never().is_none(), "who came first goes first");
        second.await;
        two.leave();
        third.await;
        assert_eq!(lanes.0.available_permits(), 0);
        // Given up in the middle of it.
        drop(three);
        assert_eq!(lanes.0.available_permits(), 1);
    }

    #[tokio::test]
    async fn who_waits_leaves_its_lane_and_who_is_given_up_in_the_queue_its_place() {
        let lanes = Lanes::of(1);
        let (one, two) = (long(&lanes), long(&lanes));
        wait(&one).unwrap().await;
        let mut queued = wait(&two).unwrap();
        assert!((&mut queued).now_or_never().is_none());
        tokio::task::yield_now().await;
        assert!((&mut queued).now_or_never().is_none());
        drop((queued, two));
        one.leave();
        assert_eq!(lanes.0.available_permits(), 1);
        wait(&one).unwrap().await;
        assert_eq!(lanes.0.available_permits(), 0);
    }
}
