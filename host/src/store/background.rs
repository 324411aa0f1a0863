//! Work on the store's files that nobody waits for: on a thread of its own which gives way to
//! others, and no faster than they leave room for. Without it, deleting a million runs would
//! make callers of the host wait for the disk and for a core.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Result, StoreError};

/// Bytes that are read and written in a second at most: a million runs of 1.3 KB are
/// written anew within two minutes.
const BYTES_PER_S: u64 = 32 << 20;
/// The longest pause that is owed for what was done in one go.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// The pause behind a file that was deleted: the file system's journal is everybody's.
const PAUSE_OF_DELETION: Duration = Duration::from_millis(10);
/// How much the thread gives way, as with `nice`: to 19.
const NICENESS: i32 = 15;

/// Does something on a thread that gives way to others.
///
/// # Errors
/// Those of the action, and when there is no thread for it.
pub(super) async fn run<T: Send + 'static>(action: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    let failed = |source| StoreError::Io { action: "delete in the background".to_owned(), source };
    std::thread::Builder::new()
        .name("tidegate-space".to_owned())
        .spawn(move || {
            // For this thread only; where it is not allowed, it is as fast as others.
            let _ = rustix::process::nice(NICENESS);
            let _ = sender.send(action());
        })
        .map_err(failed)?;
    receiver.await.unwrap_or_else(|error| Err(failed(std::io::Error::other(error))))
}

/// Keeps copying at its speed.
pub(super) struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }

    /// Notes that so many bytes were read or written, and sleeps as long as that was too
    /// fast.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        let pause = self.pause(self.since.elapsed());
        if pause >= Duration::from_millis(1) {
            std::thread::sleep(pause);
        }
    }

    fn pause(&self, elapsed: Duration) -> Duration {
        let wanted = Duration::from_secs_f64(self.bytes as f64 / BYTES_PER_S as f64);
        wanted.saturating_sub(elapsed).min(PAUSE_MAX)
    }
}

/// The pause between the deletions of two large files.
pub(super) fn pause_between_deletions() {
    std::thread::sleep(PAUSE_OF_DELETION);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_follows_from_what_was_moved() {
        let mut pace = Pace::new();
        assert_eq!(pace.pause(Duration::ZERO), Duration::ZERO);
        pace.bytes = BYTES_PER_S / 4;
        assert_eq!(pace.pause(Duration::from_millis(50)), Duration::from_millis(200));
        assert_eq!(pace.pause(Duration::from_millis(250)), Duration::ZERO);
        pace.bytes = BYTES_PER_S * 100;
        assert_eq!(pace.pause(Duration::from_secs(1)), PAUSE_MAX);
    }

    #[tokio::test]
    async fn work_in_the_background_gives_way() {
        let own = rustix::process::getpriority_process(None).unwrap();
        let seen = run(|| Ok(rustix::process::getpriority_process(None).unwrap())).await.unwrap();
        assert_eq!(seen, (own + NICENESS).min(19));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), own, "others go on as before");
        let failed: Result<()> = run(|| Err(StoreError::Full { free_bytes: 1 })).await;
        assert!(matches!(failed, Err(StoreError::Full { free_bytes: 1 })));
    }
}
