//! The queue in front of the compiler: how many uploads may wait, how many are worked on at
//! the same time, and how much of the machine those take together.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::compile::CompileError;

/// What compilations may take of the machine: half of the cores, however many there are of
/// them. They have the lowest priority there is ([`super::patience`]), but share caches and
/// memory with runs all the same. On four cores a hello's p99 beside four with two threads each was
/// twice what it is without (tests/bench, case `hostile`). So few at a time, with two threads each:
/// the functions of an honest component are compiled side by side, while a bomb that is one
/// function has one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    /// Compilations at the same time.
    compiles: usize,
    /// Threads of each.
    threads: usize,
}

impl Share {
    fn of(cores: usize, compiles_max: usize) -> Self {
        let half = (cores / 2).max(1);
        let compiles = compiles_max.clamp(1, (cores / 4).max(1));
        Self { compiles, threads: half / compiles }
    }
}

/// Lets few in at the same time, and few wait.
pub(super) struct CompileQueue {
    permits: Semaphore,
    threads: usize,
    /// Uploads between their arrival and their end.
    inside: AtomicUsize,
    inside_max: usize,
}

/// A place in the queue; given up when it is dropped.
pub(super) struct Place<'a>(&'a CompileQueue);

impl CompileQueue {
    /// A queue for `compiles_max` compilations at the same time, or fewer where a quarter of the
    /// cores is less, and `waiting_max` uploads that wait for one, in the order in which they
    /// came.
    pub(super) fn new(compiles_max: usize, waiting_max: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::shared(Share::of(cores, compiles_max), compiles_max.saturating_add(waiting_max))
    }

    fn shared(Share { compiles, threads }: Share, inside_max: usize) -> Self {
        Self { permits: Semaphore::new(compiles), threads, inside: AtomicUsize::new(0), inside_max }
    }

    /// Threads that one compilation may have.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// A place for an upload, which is taken before anything of it is looked at.
    ///
    /// # Errors
    /// [`CompileError::Busy`] when all are taken.
    pub(super) fn enter(&self) -> Result<Place<'_>, CompileError> {
        let place = self.enter_unbounded();
        if self.inside.load(Ordering::Relaxed) > self.inside_max {
            return Err(CompileError::Busy { uploads_max: self.inside_max });
        }
        Ok(place)
    }

    /// A place for a component that was accepted before and lost its artefact: there are no
    /// more of them than versions that run.
    pub(super) fn enter_unbounded(&self) -> Place<'_> {
        self.inside.fetch_add(1, Ordering::Relaxed);
        Place(self)
    }
}

impl<'a> Place<'a> {
    /// Waits for the compiler.
    pub(super) async fn compiler(&self) -> SemaphorePermit<'a> {
        self.0.permits.acquire().await.expect("the semaphore is never closed")
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn all_compilations_together_take_half_of_the_cores() {
        for cores in 1..=128 {
            for compiles_max in [1, 2, 3, 4, 7, 64, usize::MAX] {
                let share = Share::of(cores, compiles_max);
                assert!(share.compiles >= 1 && share.compiles <= compiles_max, "{cores} {share:?}");
                assert!(share.threads >= 1, "{cores} {share:?}");
                assert!(share.compiles * share.threads <= (cores / 2).max(1), "{cores} {share:?}");
            }
            assert_eq!(Share::of(cores, 1), Share { compiles: 1, threads: (cores / 2).max(1) });
        }
        assert_eq!(Share::of(2, 4), Share { compiles: 1, threads: 1 });
        assert_eq!(Share::of(4, 4), Share { compiles: 1, threads: 2 });
        assert_eq!(Share::of(16, 4), Share { compiles: 4, threads: 2 });
    }

    #[test]
    fn who_waits_is_compiled_in_the_order_in_which_it_came() {
        let queue = CompileQueue::shared(Share { compiles: 1, threads: 1 }, 3);
        let places: Vec<_> = (0..3).map(|_| queue.enter_unbounded()).collect();
        let first = places[0].compiler().now_or_never();
        let mut waiting: Vec<_> = places[1..].iter().map(|place| Box::pin(place.compiler())).collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        drop(first);
        assert!((&mut waiting[1]).now_or_never().is_none(), "who came first goes first");
        assert!((&mut waiting[0]).now_or_never().is_some());
    }

    #[test]
    fn so_many_wait_and_no_more_and_places_come_back() {
        let queue = CompileQueue::new(1, 2);
        let places: Vec<_> =
            (0..3).map(|_| queue.enter().unwrap_or_else(|error| panic!("{error}"))).collect();
        assert!(matches!(queue.enter(), Err(CompileError::Busy { uploads_max: 3 })));
        assert!(matches!(queue.enter(), Err(CompileError::Busy { .. })), "a refusal takes no place");
        let compiling = places[0].compiler().now_or_never();
        assert!(compiling.is_some() && places[1].compiler().now_or_never().is_none());
        drop(queue.enter_unbounded());
        drop(compiling);
        drop(places);
        assert!(queue.enter().is_ok());
    }
}
