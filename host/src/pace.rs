//! How long those who wait for a permit are going to wait: by how many wait before them,
//! and how long permits were held lately.
//!
//! It only has to tell what is hopeless from what is not, and costs two atomics a run.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A new permit's share of the average: some hundred permits show a change.
const WEIGHT: i64 = 32;

/// Permits that are waited for, and held.
#[derive(Debug, Default)]
pub struct Pace {
    waiting: AtomicUsize,
    /// How long a permit was held on average, in microseconds; 0 before the first one.
    held_us: AtomicU64,
}

/// One who waits; it waits no more when this is dropped.
#[derive(Debug)]
pub struct Waiting<'a> {
    pace: &'a Pace,
    /// Those who have waited for longer.
    pub before: usize,
}

impl Pace {
    /// Notes that somebody waits.
    pub fn wait(&self) -> Waiting<'_> {
        Waiting { pace: self, before: self.waiting.fetch_add(1, Ordering::Relaxed) }
    }

    /// Those who wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Notes how long a permit was held.
    pub fn held(&self, held: Duration) {
        let held = i64::try_from(held.as_micros()).unwrap_or(i64::MAX);
        let before = i64::try_from(self.held_us.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        // Of two at the same moment one may be forgotten: it is an average.
        let after = if before == 0 { held } else { before + (held - before) / WEIGHT };
        self.held_us.store(after.max(1).unsigned_abs(), Ordering::Relaxed);
    }

    /// How long it takes until so many have had one of `permits` permits in turn. Nothing
    /// is known of those that are held now: they may come back at any moment.
    pub fn time_for(&self, before: usize, permits: usize) -> Duration {
        let held = Duration::from_micros(self.held_us.load(Ordering::Relaxed));
        let rounds = before as f64 / permits.max(1) as f64;
        Duration::try_from_secs_f64(held.as_secs_f64() * rounds).unwrap_or(Duration::MAX)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pace.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_follows_from_those_before_and_what_permits_were_held() {
        let pace = Pace::default();
        assert_eq!(pace.time_for(1000, 1), Duration::ZERO, "nothing is known yet");
        pace.held(Duration::from_secs(2));
        assert_eq!(pace.time_for(0, 4), Duration::ZERO);
        assert_eq!(pace.time_for(2, 4), Duration::from_secs(1));
        assert_eq!(pace.time_for(40, 4), Duration::from_secs(20));
        assert_eq!(pace.time_for(1, 0), Duration::from_secs(2));
        let (first, second) = (pace.wait(), pace.wait());
        assert_eq!((first.before, second.before), (0, 1));
        assert_eq!(pace.waiting(), 2);
        drop(first);
        assert_eq!(pace.wait().before, 1);
    }

    #[test]
    fn average_follows_a_change() {
        let pace = Pace::default();
        pace.held(Duration::from_secs(10));
        (0..400).for_each(|_| pace.held(Duration::from_millis(1)));
        assert!(pace.time_for(1, 1) < Duration::from_millis(5), "{:?}", pace.time_for(1, 1));
        (0..400).for_each(|_| pace.held(Duration::from_secs(1)));
        assert!(pace.time_for(1, 1) > Duration::from_millis(990), "{:?}", pace.time_for(1, 1));
        pace.held(Duration::MAX);
        pace.held(Duration::ZERO);
        pace.time_for(usize::MAX, 1);
    }
}
