//! The clocks and the randomness that a guest gets, so that both can be recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng, TryRng};
use sha2::{Digest as _, Sha256};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::run::Inputs;

/// Clocks advance in steps of this: a timer that is finer helps a guest to read other
/// guests' caches more than it helps it to do its work.
const STEP: Duration = Duration::from_millis(1);

/// One run's clocks and random source, and the record of them. Clones share the record.
#[derive(Clone)]
pub(super) struct Chance {
    seed: [u8; 32],
    start_wall: Duration,
    start: Instant,
    record: Arc<Record>,
}

#[derive(Default)]
struct Record {
    clock_reads: AtomicU64,
    random_read: AtomicBool,
}

impl Chance {
    /// Fresh chance: a seed of the operating system's, the clocks of now.
    pub(super) fn fresh(start: Instant) -> Self {
        Self {
            seed: rand::random(),
            start_wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            start,
            record: Arc::default(),
        }
    }

    /// The random source, from the seed's beginning.
    pub(super) fn random(&self) -> Random {
        Random { rng: StdRng::from_seed(self.seed), record: self.record.clone() }
    }

    /// The seed of `wasi:random/insecure-seed`, by which language runtimes order their
    /// hash tables.
    pub(super) fn hash_seed(&self) -> u128 {
        // One-way: what a hash table's order gives away must say nothing of the seed
        // behind the guest's secrets.
        let digest = Sha256::new().chain_update(b"hash seed").chain_update(self.seed).finalize();
        u128::from_le_bytes(digest[..16].try_into().expect("16 of 32 bytes"))
    }

    /// What stands for a sealed setting: of this run alone, and the same again when the run is
    /// repeated with its seed.
    pub(super) fn placeholder(&self, name: &str) -> [u8; 16] {
        let digest = Sha256::new().chain_update(b"sealed setting").chain_update(self.seed);
        let digest = digest.chain_update(name.as_bytes()).finalize();
        digest[..16].try_into().expect("16 of 32 bytes")
    }

    /// What the guest got.
    pub(super) fn inputs(&self) -> Inputs {
        let read = self.record.random_read.load(Ordering::Relaxed);
        Inputs {
            random_seed: if read { data_encoding::HEXLOWER.encode(&self.seed) } else { String::new() },
            clock_start_ns: self.start_wall.as_nanos() as u64,
            clock_reads: self.record.clock_reads.load(Ordering::Relaxed),
        }
    }

    fn elapsed(&self) -> Duration {
        self.record.clock_reads.fetch_add(1, Ordering::Relaxed);
        self.start.elapsed()
    }
}

fn coarse(time: Duration) -> Duration {
    Duration::from_millis(time.as_millis() as u64)
}

impl HostWallClock for Chance {
    fn resolution(&self) -> Duration {
        STEP
    }

    fn now(&self) -> Duration {
        // From the start on, the monotonic clock carries it: within a run time never
        // goes backward, whatever happens to the system's clock.
        coarse(self.start_wall + self.elapsed())
    }
}

impl HostMonotonicClock for Chance {
    fn resolution(&self) -> u64 {
        STEP.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        // Not from zero: a guest that subtracts a time-out from it must not underflow.
        coarse(self.elapsed() + Duration::from_secs(3600)).as_nanos() as u64
    }
}

/// A run's random source: ChaCha12, seeded for this run alone.
pub(super) struct Random {
    rng: StdRng,
    record: Arc<Record>,
}

impl TryRng for Random {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.record.random_read.store(true, Ordering::Relaxed);
        Ok(self.rng.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.record.random_read.store(true, Ordering::Relaxed);
        Ok(self.rng.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.record.random_read.store(true, Ordering::Relaxed);
        self.rng.fill_bytes(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_gives_the_same_bytes_again_and_runs_differ() {
        let (one, two) = (Chance::fresh(Instant::now()), Chance::fresh(Instant::now()));
        assert_eq!(one.inputs().random_seed, "");
        let first = one.random().next_u64();
        assert_eq!(one.random().next_u64(), first);
        assert_ne!(two.random().next_u64(), first);
        assert_eq!(one.inputs().random_seed.len(), 64);
    }

    #[test]
    fn clocks_are_coarse_counted_and_never_go_backward() {
        let chance = Chance::fresh(Instant::now());
        let mut last = 0;
        for _ in 0..1000 {
            let now = HostMonotonicClock::now(&chance);
            assert_eq!(now % 1_000_000, 0);
            assert!(now >= last);
            last = now;
        }
        assert_eq!(HostWallClock::now(&chance).subsec_nanos() % 1_000_000, 0);
        assert_eq!(chance.inputs().clock_reads, 1001);
    }
}
