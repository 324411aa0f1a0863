//! How often something may happen: the generic cell rate algorithm (ITU-T I.371), whose
//! whole state is one instant.
//!
//! A leaky bucket without anybody who empties it: each event moves the *theoretical
//! arrival time* of the next one on, and one that comes too long before it is refused.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const NANOS_PER_S: u64 = 1_000_000_000;

/// Instants are counted from the process's first use of a rate.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A rate, with a burst that it forgives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds from one event to the next at the rate.
    interval: u64,
    /// Nanoseconds that an event may come too early.
    tolerance: u64,
}

/// The state of one thing that has a rate: its theoretical arrival time. 0 when nothing
/// has happened for long.
#[derive(Debug, Default)]
pub struct Meter(AtomicU64);

impl Rate {
    /// So many events a second, and so many at once (at least 1). `None` for 0 a second,
    /// which stands for no limit.
    pub fn new(per_s: u32, burst: u32) -> Option<Self> {
        let interval = NANOS_PER_S.checked_div(per_s.into())?;
        Some(Self { interval, tolerance: interval * u64::from(burst.saturating_sub(1)) })
    }

    /// The state behind an event that happens `now`, by the state before it.
    ///
    /// # Errors
    /// How long it has to wait. The state stays then: who asks too often is not let in
    /// later for it.
    pub fn after(self, state: u64, now: u64) -> Result<u64, Duration> {
        let arrival = state.max(now);
        let early = arrival - now;
        if early > self.tolerance {
            return Err(Duration::from_nanos(early - self.tolerance));
        }
        Ok(arrival + self.interval)
    }
}

impl Meter {
    /// Counts an event that happens now.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn take(&self, rate: Rate) -> Result<(), Duration> {
        self.take_at(rate, now())
    }

    fn take_at(&self, rate: Rate, now: u64) -> Result<(), Duration> {
        let mut state = self.0.load(Ordering::Relaxed);
        loop {
            let next = rate.after(state, now)?;
            match self.0.compare_exchange_weak(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => state = seen,
            }
        }
    }
}

/// This instant, as [`Rate::after`] counts it.
pub fn now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn burst_passes_and_one_more_waits_for_its_turn() {
        let rate = Rate::new(10, 3).unwrap();
        let meter = Meter::default();
        for _ in 0..3 {
            assert_eq!(meter.take_at(rate, 1000 * MS), Ok(()));
        }
        assert_eq!(meter.take_at(rate, 1000 * MS), Err(Duration::from_millis(100)));
        assert_eq!(meter.take_at(rate, 1099 * MS), Err(Duration::from_millis(1)));
        assert_eq!(meter.take_at(rate, 1100 * MS), Ok(()));
        assert!(meter.take_at(rate, 1100 * MS).is_err());
        // After a pause there is a burst again, and never more than one.
        for _ in 0..3 {
            assert_eq!(meter.take_at(rate, 60_000 * MS), Ok(()));
        }
        assert!(meter.take_at(rate, 60_000 * MS).is_err());
    }

    #[test]
    fn steady_rate_is_let_through_for_ever_and_no_more_than_it() {
        let rate = Rate::new(1000, 1).unwrap();
        let meter = Meter::default();
        let taken = (0..100_000).filter(|tenth| meter.take_at(rate, 1000 * MS + tenth * MS / 10).is_ok());
        assert_eq!(taken.count(), 10_000);
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(Rate::new(0, 5), None);
        let alone = Rate::new(1, 0).unwrap();
        assert_eq!(alone, Rate::new(1, 1).unwrap(), "one at a time is the least");
    }

    #[test]
    fn many_threads_get_no_more_than_one() {
        let rate = Rate::new(1, 500).unwrap();
        let meter = Meter::default();
        let taken: usize = std::thread::scope(|scope| {
            let count = || (0..500).filter(|_| meter.take_at(rate, 1).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 500);
    }
}
