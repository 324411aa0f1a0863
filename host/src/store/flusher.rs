//! Group flush: a thread that brings appended bytes to the disk and then tells those
//! who wait for it.
//!
//! Whoever asks while a flush is under way takes part in the next one together, so that
//! the number of flushes does not grow with the number of callers. The thread that
//! writes never waits for a flush.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::logfile::LogFile;
use super::status::{Status, StopOnPanic, lock};
use super::{Result, StoreError};

/// Called once when a flush is over.
pub(super) type Ack = Box<dyn FnOnce(Result<()>) + Send>;

/// The way to the flush thread.
pub(super) struct Flusher {
    state: Mutex<State>,
    wake: Condvar,
    delay_max: Duration,
    status: Arc<Status>,
}

#[derive(Default)]
struct State {
    dirty: Vec<Arc<LogFile>>,
    waiting: Vec<Ack>,
    /// When the oldest bytes that are not flushed were written.
    since: Option<Instant>,
    is_closing: bool,
    has_ended: bool,
}

/// Nobody waits for a thread that is gone.
struct Ended<'a>(&'a Flusher);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = lock(&self.0.state);
            state.has_ended = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|ack| ack(Err(ended())));
    }
}

fn ended() -> StoreError {
    StoreError::Stopped("its flush thread has ended".to_owned())
}

impl Flusher {
    /// Starts the thread. What nobody waits for is flushed after `delay_max`.
    pub(super) fn start(
        thread: &'static str,
        delay_max: Duration,
        status: Arc<Status>,
    ) -> std::io::Result<(Arc<Self>, JoinHandle<()>)> {
        let flusher = Arc::new(Self { state: Mutex::default(), wake: Condvar::new(), delay_max, status });
        let own = flusher.clone();
        let handle = std::thread::Builder::new().name(format!("tidegate-{thread}")).spawn(move || {
            let _ended = Ended(&own);
            let _guard = StopOnPanic { status: &own.status, thread };
            own.run();
        })?;
        Ok((flusher, handle))
    }

    /// Says that bytes were appended to a file, and calls each of `acks` when they are
    /// on the disk, or never will be.
    pub(super) fn written(&self, file: &Arc<LogFile>, acks: impl IntoIterator<Item = Ack>) {
        let mut state = lock(&self.state);
        if state.has_ended {
            drop(state);
            acks.into_iter().for_each(|ack| ack(Err(ended())));
            return;
        }
        if !state.dirty.iter().any(|dirty| Arc::ptr_eq(dirty, file)) {
            state.dirty.push(file.clone());
        }
        let was_idle = state.since.is_none() && state.waiting.is_empty();
        state.since.get_or_insert_with(Instant::now);
        let waiting_before = state.waiting.len();
        state.waiting.extend(acks);
        if was_idle || state.waiting.len() > waiting_before {
            self.wake.notify_one();
        }
    }

    /// Flushes what is left and ends the thread.
    pub(super) fn close(&self) {
        lock(&self.state).is_closing = true;
        self.wake.notify_one();
    }

    fn run(&self) {
        loop {
            let (dirty, waiting, is_closing) = self.next();
            let result = self.flush(&dirty);
            for ack in waiting {
                ack(match &result {
                    Ok(()) => Ok(()),
                    Err(reason) => Err(StoreError::Stopped(reason.clone())),
                });
            }
            if is_closing {
                return;
            }
        }
    }

    /// Waits until there is a reason to flush.
    fn next(&self) -> (Vec<Arc<LogFile>>, Vec<Ack>, bool) {
        let mut state = lock(&self.state);
        loop {
            if state.is_closing || !state.waiting.is_empty() {
                break;
            }
            let Some(since) = state.since else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = self.delay_max.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let taken = std::mem::take(&mut *state);
        state.is_closing = taken.is_closing;
        (taken.dirty, taken.waiting, taken.is_closing)
    }

    fn flush(&self, dirty: &[Arc<LogFile>]) -> std::result::Result<(), String> {
        // A flush that failed once is not tried again: the kernel may have dropped the
        // pages, and the second try would lie.
        if let Some(reason) = self.status.stopped() {
            return Err(reason.to_owned());
        }
        let start = Instant::now();
        for file in dirty {
            if let Err(error) = file.sync() {
                let reason = format!("flush of file {} failed: {error}", file.number);
                self.status.stop(reason.clone());
                return Err(reason);
            }
        }
        self.status.flush_us.store(start.elapsed().as_micros() as u64, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::frame::Salt;
    use super::super::logfile::Purpose;
    use super::*;

    fn flusher(delay: Duration) -> (Arc<Flusher>, JoinHandle<()>, Arc<LogFile>, tempfile::TempDir) {
        let temp = tempfile::tempdir().unwrap();
        let log = LogFile::create(temp.path(), Purpose::Runs, 1, Salt::new(3)).unwrap();
        let (flusher, handle) = Flusher::start("flush", delay, Arc::default()).unwrap();
        (flusher, handle, Arc::new(log), temp)
    }

    fn ack(sender: &mpsc::Sender<Result<u64>>, log: &Arc<LogFile>) -> Ack {
        let (sender, log) = (sender.clone(), log.clone());
        Box::new(move |result| sender.send(result.map(|()| log.synced())).unwrap())
    }

    #[test]
    fn those_who_wait_are_told_after_their_bytes_are_on_the_disk() {
        let (flusher, handle, log, _temp) = flusher(Duration::from_secs(3600));
        let (sender, receiver) = mpsc::channel();
        for _ in 0..20 {
            let end = log.append(b"x").unwrap() + 1;
            flusher.written(&log, [ack(&sender, &log)]);
            assert!(receiver.recv().unwrap().unwrap() >= end);
        }
        flusher.close();
        handle.join().unwrap();
    }

    #[test]
    fn bytes_that_nobody_waits_for_are_flushed_after_the_delay() {
        let (flusher, _handle, log, _temp) = flusher(Duration::from_millis(1));
        log.append(b"x").unwrap();
        flusher.written(&log, []);
        let deadline = Instant::now() + Duration::from_secs(30);
        while log.synced() < log.written() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    #[test]
    fn close_flushes_what_is_left() {
        let (flusher, handle, log, _temp) = flusher(Duration::from_secs(3600));
        log.append(b"x").unwrap();
        flusher.written(&log, []);
        flusher.close();
        handle.join().unwrap();
        assert_eq!(log.synced(), log.written());
    }

    #[test]
    fn nobody_waits_for_a_thread_that_is_gone() {
        let (flusher, handle, log, _temp) = flusher(Duration::from_secs(3600));
        flusher.close();
        handle.join().unwrap();
        let (sender, receiver) = mpsc::channel();
        log.append(b"x").unwrap();
        flusher.written(&log, [ack(&sender, &log)]);
        assert!(matches!(receiver.recv().unwrap(), Err(StoreError::Stopped(_))));
    }

    #[test]
    fn after_an_error_nobody_is_told_that_bytes_are_on_the_disk() {
        let (flusher, _handle, log, _temp) = flusher(Duration::from_secs(3600));
        flusher.status.stop("disk is gone".to_owned());
        let (sender, receiver) = mpsc::channel();
        log.append(b"x").unwrap();
        flusher.written(&log, [ack(&sender, &log)]);
        match receiver.recv().unwrap() {
            Err(StoreError::Stopped(reason)) => assert_eq!(reason, "disk is gone"),
            other => panic!("{other:?}"),
        }
        assert!(log.synced() < log.written());
    }
}
