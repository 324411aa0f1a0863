//! How often something may happen: the generic cell rate algorithm (ITU-T I.371), whose
//! whole state is one instant.
//!
//! A leaky bucket without anybody who empties it: each event moves the *theoretical
//! arrival time* of the next one on, and one that comes too long before it is refused.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const NANOS_PER_S: u64 = 1_000_000_000;
const NANOS_PER_MINUTE: u64 = 60 * NANOS_PER_S;

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

/// So much a minute, of which all may be taken at once after a minute's pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    per_minute: u64,
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

impl Allowance {
    /// So much a minute. `None` for 0, which stands for no limit.
    pub fn per_minute(amount: u64) -> Option<Self> {
        (amount > 0).then_some(Self { per_minute: amount })
    }

    /// The state behind an amount that is taken `now`, by the state before it. It comes back
    /// evenly.
    ///
    /// # Errors
    /// How long to wait until so much is there; the state stays then.
    pub fn after(self, state: u64, now: u64, amount: u64) -> Result<u64, Duration> {
        let cost = u128::from(amount) * u128::from(NANOS_PER_MINUTE) / u128::from(self.per_minute);
        let next = u128::from(state.max(now)) + cost;
        let full = u128::from(now) + u128::from(NANOS_PER_MINUTE);
        match u64::try_from(next) {
            Ok(state) if next <= full => Ok(state),
            _ => Err(Duration::from_nanos(u64::try_from(next - full.min(next)).unwrap_or(u64::MAX))),
        }
    }
}

impl Meter {
    /// Takes an amount now.
    ///
    /// # Errors
    /// How long to wait until so much is there.
    pub fn take_of(&self, allowance: Allowance, amount: u64) -> Result<(), Duration> {
        let now = now();
        self.step(|state| allowance.after(state, now, amount))
    }

    fn step(&self, after: impl Fn(u64) -> Result<u64, Duration>) -> Result<(), Duration> {
        let mut state = self.0.load(Ordering::Relaxed);
        loop {
            let next = after(state)?;
            match self.0.compare_exchange_weak(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => state = seen,
            }
        }
    }

    /// Counts an event that happens now.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn take(&self, rate: Rate) -> Result<(), Duration> {
        self.take_at(rate, now())
    }

    fn take_at(&self, rate: Rate, now: u64) -> Result<(), Duration> {
        self.step(|state| rate.after(state, now))
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

    #[test]
    fn an_allowance_is_taken_to_the_last_and_comes_back_evenly() {
        let allowance = Allowance::per_minute(60).unwrap();
        let second = |seconds: u64| seconds * NANOS_PER_S;
        let empty = allowance.after(0, second(100), 60).unwrap();
        assert_eq!(allowance.after(empty, second(100), 1), Err(Duration::from_secs(1)));
        assert_eq!(allowance.after(empty, second(100), 0), Ok(empty));
        let later = allowance.after(empty, second(110), 10).unwrap();
        assert_eq!(allowance.after(later, second(110), 1), Err(Duration::from_secs(1)));
        // After hours there is one minute's worth.
        assert!(allowance.after(later, second(9000), 60).is_ok());
        assert!(allowance.after(later, second(9000), 61).is_err());
        assert!(allowance.after(later, second(9000), u64::MAX).is_err());
        assert_eq!(Allowance::per_minute(0), None);
        let wide = Allowance::per_minute(u64::MAX).unwrap();
        assert!(wide.after(0, 0, u64::MAX).is_ok());
    }
}
