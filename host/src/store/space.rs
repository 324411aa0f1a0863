//! How much room the file system has, and what is refused when there is little.
//!
//! Below the first mark nothing new is taken that may as well come later (deploys,
//! events). Below the second the records of runs are not kept either, nor requests taken
//! that promise to run once, so that what is left is for what must not fail: the ledger, settings, indexes, the checkpoint. Space
//! that comes back is noticed by itself.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Result, StoreError};

/// How old an answer may be while there is room.
const FRESH: Duration = Duration::from_millis(20);
/// A level ends once its mark would stand with one part in so many of the room less: who writes
/// and deletes around a mark must not make it begin and end with each write.
const CALM: u64 = 16;

/// Whether there is room on the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SpaceLevel {
    /// There is.
    #[default]
    Enough,
    /// Deploys and asynchronous events are refused.
    Low,
    /// Records of runs are not kept either.
    Full,
}

/// The room on the file system of a data folder.
pub(super) struct Space {
    folder: PathBuf,
    low_bytes: u64,
    full_bytes: u64,
    level: AtomicU8,
    free_bytes: AtomicU64,
    /// When this was made.
    since: Instant,
    /// Milliseconds from then to when the file system was asked last. Not behind a lock: each
    /// record looks at it.
    asked_ms: AtomicU64,
}

impl Space {
    /// The marks, in bytes; where they are more than a tenth and a twentieth of the file
    /// system, these count.
    pub(super) fn new(folder: PathBuf, low_bytes: u64, full_bytes: u64) -> Self {
        let space = Self {
            folder,
            low_bytes,
            full_bytes,
            level: AtomicU8::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
            since: Instant::now(),
            asked_ms: AtomicU64::new(0),
        };
        space.ask();
        space
    }

    /// The level, at most [`FRESH`] old.
    pub(super) fn level(&self) -> SpaceLevel {
        let now = self.since.elapsed().as_millis() as u64;
        let asked = self.asked_ms.load(Ordering::Relaxed);
        let is_fresh = now.saturating_sub(asked) < FRESH.as_millis() as u64;
        // Of those who see that it is not, one asks.
        let swapped = || self.asked_ms.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed);
        if !is_fresh && swapped().is_ok() {
            self.ask();
        }
        self.known()
    }

    /// Bytes that unprivileged processes can use, at this moment.
    pub(super) fn free_bytes_now(&self) -> u64 {
        self.ask();
        self.free_bytes()
    }

    /// Bytes that unprivileged processes can use, as they were asked for last.
    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Fails from `level` on.
    pub(super) fn check(&self, level: SpaceLevel) -> Result<()> {
        if self.level() >= level { Err(self.full()) } else { Ok(()) }
    }

    /// The error of a file system without room.
    pub(super) fn full(&self) -> StoreError {
        StoreError::Full { free_bytes: self.free_bytes() }
    }

    fn known(&self) -> SpaceLevel {
        match self.level.load(Ordering::Relaxed) {
            0 => SpaceLevel::Enough,
            1 => SpaceLevel::Low,
            _ => SpaceLevel::Full,
        }
    }

    fn ask(&self) {
        let Ok(stat) = rustix::fs::statvfs(&self.folder) else { return };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        let level = level_of(free, total, self.low_bytes, self.full_bytes);
        let before = self.known();
        let level =
            steady(level, before, || level_of(free - free / CALM, total, self.low_bytes, self.full_bytes));
        self.free_bytes.store(free, Ordering::Relaxed);
        self.level.store(level as u8, Ordering::Relaxed);
        if level > before {
            tracing::warn!(?level, free_bytes = free, "the file system of the data folder has little room");
        } else if level < before {
            tracing::warn!(?level, free_bytes = free, "the file system of the data folder has room again");
        }
    }
}

/// The level after `before`, where the room alone says `now`, and `calm` with some of it gone.
fn steady(now: SpaceLevel, before: SpaceLevel, calm: impl FnOnce() -> SpaceLevel) -> SpaceLevel {
    if now < before { calm().clamp(now, before) } else { now }
}

fn level_of(free: u64, total: u64, low_bytes: u64, full_bytes: u64) -> SpaceLevel {
    if free < full_bytes.min(total / 20) {
        SpaceLevel::Full
    } else if free < low_bytes.min(total / 10) {
        SpaceLevel::Low
    } else {
        SpaceLevel::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_ends_with_some_room_to_spare() {
        let after = |before, free: u64| {
            let of = |free| level_of(free, 1_000_000, 1600, 320);
            steady(of(free), before, || of(free - free / CALM))
        };
        use SpaceLevel::{Enough, Full, Low};
        for (before, free, now) in [
            (Enough, 1600, Enough),
            (Enough, 1599, Low),
            (Low, 1600, Low),
            (Low, 1705, Low),
            (Low, 1708, Enough),
            (Low, 319, Full),
            (Full, 320, Full),
            (Full, 342, Low),
            (Full, 1600, Low),
            (Full, 2000, Enough),
        ] {
            assert_eq!(after(before, free), now, "{free} after {before:?}");
        }
    }

    #[test]
    fn marks_are_bytes_on_large_and_shares_on_small_file_systems() {
        const GIB: u64 = 1 << 30;
        for (free, total, level) in [
            (2 * GIB, 1000 * GIB, SpaceLevel::Enough),
            (GIB - 1, 1000 * GIB, SpaceLevel::Low),
            (GIB / 4, 1000 * GIB, SpaceLevel::Low),
            (GIB / 4 - 1, 1000 * GIB, SpaceLevel::Full),
            (100, 1000, SpaceLevel::Enough),
            (99, 1000, SpaceLevel::Low),
            (49, 1000, SpaceLevel::Full),
            (0, 0, SpaceLevel::Enough),
        ] {
            assert_eq!(level_of(free, total, GIB, GIB / 4), level, "{free} of {total}");
        }
    }
}
