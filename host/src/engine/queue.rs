//! The queue in front of the compiler: how many uploads may wait, and how many are worked
//! on at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::compile::CompileError;

/// Lets few in at the same time, and few wait.
pub(super) struct CompileQueue {
    permits: Semaphore,
    /// Uploads between their arrival and their end.
    inside: AtomicUsize,
    inside_max: usize,
}

/// A place in the queue; given up when it is dropped.
pub(super) struct Place<'a>(&'a CompileQueue);

impl CompileQueue {
    /// A queue for `compiles_max` compilations at the same time, and `waiting_max` uploads
    /// that wait for one.
    pub(super) fn new(compiles_max: usize, waiting_max: usize) -> Self {
        let inside_max = compiles_max.saturating_add(waiting_max);
        Self { permits: Semaphore::new(compiles_max), inside: AtomicUsize::new(0), inside_max }
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
