//! How the store is: whether it still writes, what an operator should look at, and
//! the figures of [`StoreHealth`](super::StoreHealth).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Result, StoreError};

/// Warnings that are kept; further ones are only logged.
const WARNINGS_MAX: usize = 32;

/// The reason of a store that was closed.
pub(super) const CLOSED: &str = "it is closed";

/// Shared by all parts of an open store.
#[derive(Default)]
pub(super) struct Status {
    stopped: OnceLock<String>,
    is_closed: AtomicBool,
    warnings: Mutex<Vec<String>>,
    /// Microseconds that the last flush of run records took.
    pub(super) flush_us: AtomicU64,
    /// Runs that can be listed.
    pub(super) runs: AtomicU64,
    /// Bytes of runs that are not shown any more.
    pub(super) dead_bytes: AtomicU64,
    /// Bytes of the checkpoint, the journal and the export.
    pub(super) metadata_bytes: AtomicU64,
}

impl Status {
    /// Nothing is written any more from now on. The first reason stays.
    pub(super) fn stop(&self, reason: String) {
        if self.stopped.set(reason.clone()).is_ok() {
            tracing::error!(reason, "the store stopped writing");
        }
    }

    /// Why nothing is written any more.
    pub(super) fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Fails when nothing is written any more.
    pub(super) fn check(&self) -> Result<()> {
        match self.stopped() {
            Some(reason) => Err(StoreError::Stopped(reason.to_owned())),
            None if self.is_closed.load(Ordering::Acquire) => Err(StoreError::Stopped(CLOSED.to_owned())),
            None => Ok(()),
        }
    }

    /// Nothing is written any more from now on, as it was wished.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Runs are not listed any more. The figure is counted anew from time to time, perhaps
    /// without them already: it stops at zero.
    pub(super) fn forget_runs(&self, runs: u64) {
        let _ = self
            .runs
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_sub(runs)));
    }

    /// Keeps a line for the operator, and logs it the first time: what is damaged is met again
    /// by each listing.
    pub(super) fn warn(&self, line: String) {
        let mut warnings = lock(&self.warnings);
        if warnings.contains(&line) {
            return;
        }
        tracing::warn!(detail = line, "the store found something to look at");
        if warnings.len() < WARNINGS_MAX {
            warnings.push(line);
        }
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }
}

/// Stops the store when the thread that holds this panics: what it was about to do is
/// unknown.
pub(super) struct StopOnPanic<'a> {
    pub(super) status: &'a Status,
    pub(super) thread: &'static str,
}

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.status.stop(format!("the {} thread panicked", self.thread));
        }
    }
}

// A panic while one of these locks is held stops the store by `StopOnPanic`; what the
// lock protects is valid between any two statements, so readers may go on.

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_reason_to_stop_stays() {
        let status = Status::default();
        assert!(status.check().is_ok());
        status.stop("no space".to_owned());
        status.stop("later".to_owned());
        match status.check() {
            Err(StoreError::Stopped(reason)) => assert_eq!(reason, "no space"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn panic_of_a_thread_stops_the_store() {
        let status = Status::default();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _guard = StopOnPanic { status: &status, thread: "writer" };
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(thread.join().is_err());
        });
        assert_eq!(status.stopped(), Some("the writer thread panicked"));
    }

    #[test]
    fn runs_that_were_counted_out_already_do_not_make_the_figure_wrap() {
        let status = Status::default();
        status.runs.store(5, Ordering::Relaxed);
        status.forget_runs(3);
        assert_eq!(status.runs.load(Ordering::Relaxed), 2);
        status.forget_runs(3);
        assert_eq!(status.runs.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_found_again_is_no_other_warning() {
        let status = Status::default();
        ["a", "b", "a"].into_iter().for_each(|line| status.warn(line.to_owned()));
        assert_eq!(status.warnings(), ["a", "b"]);
    }

    #[test]
    fn warnings_are_bounded() {
        let status = Status::default();
        (0..2 * WARNINGS_MAX).for_each(|n| status.warn(n.to_string()));
        assert_eq!(status.warnings().len(), WARNINGS_MAX);
    }
}
