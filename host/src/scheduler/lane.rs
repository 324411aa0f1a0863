//! Where the runs of one schedule take their turns, and whether they keep its pace.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::plan::Start;
use crate::store::TickState;

/// Why a claimed instant does not run.
pub(super) type Reason = (TickState, &'static str);

/// A run that took longer than the distance to its schedule's next due instant: as long as
/// runs do, instants are skipped, wait or overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun {
    /// The instant whose run it was, or that found it still going after a restart.
    pub due: Timestamp,
    /// How long it took, or has taken when the next instant came; `None` when that was
    /// before the host's last start.
    pub took: Option<Duration>,
    /// From its due instant to the next one.
    pub distance: Duration,
}

/// Where the runs of one schedule take their turns.
pub(super) struct Lane {
    pub(super) turn: Semaphore,
    is_paused: AtomicBool,
    is_removed: AtomicBool,
    pace: Mutex<Pace>,
    /// Cancelled when the claims that were planned last are made.
    claims: Mutex<Option<CancellationToken>>,
    /// What was planned in earlier rounds is not claimed any more: a claim of them failed.
    round: AtomicU64,
}

/// The turn in which a piece of work claims its instants. A start of the host goes on behind
/// the newest instant of the ledger: an older one that is claimed after it would be lost by a
/// crash in between.
pub(super) struct ClaimTurn {
    before: Option<CancellationToken>,
    _made: DropGuard,
}

impl ClaimTurn {
    /// Waits until all that was planned before is claimed.
    pub(super) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            before.cancelled().await;
        }
    }
}

/// How long runs take.
#[derive(Default)]
struct Pace {
    /// Runs that are going, and when they began.
    going: Vec<(Start, Instant)>,
    overrun: Option<Overrun>,
}

impl Lane {
    pub(super) fn new(is_paused: bool) -> Self {
        Self {
            turn: Semaphore::new(1),
            is_paused: AtomicBool::new(is_paused),
            is_removed: AtomicBool::new(false),
            pace: Mutex::default(),
            claims: Mutex::default(),
            round: AtomicU64::new(0),
        }
    }

    /// Notes that a claim of this round failed. Whatever was planned behind it must not be
    /// claimed before it: it is planned again, with it.
    pub(super) fn fail_round(&self, round: u64) {
        self.round.fetch_max(round.saturating_add(1), Ordering::SeqCst);
    }

    /// The round in which claims can be made.
    pub(super) fn round(&self) -> u64 {
        self.round.load(Ordering::SeqCst)
    }

    /// The turn behind everybody who has asked for one; it is over when it is dropped.
    pub(super) fn turn_to_claim(&self) -> ClaimTurn {
        let made = CancellationToken::new();
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let before = claims.replace(made.clone()).filter(|before| !before.is_cancelled());
        ClaimTurn { before, _made: made.drop_guard() }
    }

    pub(super) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
    }

    /// Why nothing more starts; `None` when it does.
    pub(super) fn closed(&self) -> Option<Reason> {
        if self.is_removed.load(Ordering::Relaxed) {
            return Some((TickState::Missed, "its schedule was removed before its turn came"));
        }
        let is_paused = self.is_paused.load(Ordering::Relaxed);
        is_paused.then_some((TickState::SkippedPaused, "the workflow was paused before its turn came"))
    }

    /// Takes over from the ledger that an instant found a run still going.
    pub(super) fn remember_overrun(&self, skipped: &Start) {
        self.pace().overrun = overrun(skipped, None);
    }

    /// Notes that a run begins; it ends when the returned value is dropped.
    pub(super) fn begin(&self, start: Start) -> Going<'_> {
        self.pace().going.push((start, Instant::now()));
        Going { lane: self, due: start.due }
    }

    /// Notes that a due instant found a run still going.
    pub(super) fn collide(&self) {
        let mut pace = self.pace();
        let found = pace.going.iter().find_map(|(start, since)| overrun(start, Some(since.elapsed())));
        pace.overrun = found.or(pace.overrun);
    }

    fn end(&self, due: Timestamp) {
        let mut pace = self.pace();
        if let Some(at) = pace.going.iter().position(|(start, _)| start.due == due) {
            let (start, since) = pace.going.swap_remove(at);
            pace.overrun = overrun(&start, Some(since.elapsed()));
        }
    }

    /// The latest run that ended, or that an instant found still going, if it was too long.
    pub(super) fn overrun(&self) -> Option<Overrun> {
        self.pace().overrun
    }

    // A panic under this lock leaves whole values behind.
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that goes.
pub(super) struct Going<'a> {
    lane: &'a Lane,
    due: Timestamp,
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.lane.end(self.due);
    }
}

/// `None` for a run that keeps the pace.
fn overrun(start: &Start, took: Option<Duration>) -> Option<Overrun> {
    let distance = Duration::try_from(start.distance?).ok()?;
    took.is_none_or(|took| took > distance).then_some(Overrun { due: start.due, took, distance })
}
