//! One segment of run records: what is known of it, and how its file is read.

use std::collections::{BTreeMap, HashMap};
use std::iter::Sum;
use std::ops::{Add, Sub};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::frame::{self, Kind, Salt, Scan};
use super::hidden::Hidden;
use super::live::Live;
use super::logfile::{self, Purpose};
use super::rows::{Place, RunRow, TickRow};
use super::sidecar::{Share, Summary};
use super::status::lock;
use super::{Result, StoreError, records};
use crate::workflow::WorkflowId;

/// One segment.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) salt: Salt,
    pub(super) rows: Rows,
    /// Bytes of the file.
    pub(super) bytes: AtomicU64,
    /// Bytes of the index file.
    pub(super) index_bytes: u64,
    /// What is below the floors, by workflow. Shared by both forms of a segment: it may be
    /// counted while the segment gets its index.
    dead: Arc<Mutex<HashMap<WorkflowId, Portion>>>,
}

/// Some runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Portion {
    pub(super) runs: u64,
    /// Bytes of their frames.
    pub(super) bytes: u64,
}

impl Portion {
    pub(super) fn of(row: &RunRow) -> Self {
        Self { runs: 1, bytes: row.place.bytes() }
    }

    /// Whether `other` is not more than this, in either number.
    pub(super) fn covers(self, other: Self) -> bool {
        other.runs <= self.runs && other.bytes <= self.bytes
    }
}

impl Add for Portion {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { runs: self.runs + other.runs, bytes: self.bytes + other.bytes }
    }
}

impl Sub for Portion {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let bytes = self.bytes.saturating_sub(other.bytes);
        Self { runs: self.runs.saturating_sub(other.runs), bytes }
    }
}

impl Sum for Portion {
    fn sum<I: Iterator<Item = Self>>(portions: I) -> Self {
        portions.fold(Self::default(), Add::add)
    }
}

/// What is known of a segment's rows without reading a file.
pub(super) enum Rows {
    /// All of them.
    Live(Live),
    /// A summary; the rows are in the index file.
    Complete(Summary),
}

impl Segment {
    /// A segment without rows yet.
    pub(super) fn live(number: u64, salt: Salt, bytes: u64) -> Self {
        let rows = Rows::Live(Live::default());
        Self { number, salt, rows, bytes: AtomicU64::new(bytes), index_bytes: 0, dead: Arc::default() }
    }

    /// A segment that is not written to any more, with its index file.
    pub(super) fn complete(number: u64, salt: Salt, summary: Summary, bytes: u64, index_bytes: u64) -> Self {
        let rows = Rows::Complete(summary);
        Self { number, salt, rows, bytes: AtomicU64::new(bytes), index_bytes, dead: Arc::default() }
    }

    /// This segment, now that it has an index file.
    pub(super) fn with_index(&self, summary: Summary, index_bytes: u64) -> Self {
        let dead = self.dead.clone();
        Self { dead, ..Self::complete(self.number, self.salt, summary, self.bytes(), index_bytes) }
    }

    /// The rows, while they are in memory.
    pub(super) fn live_rows(&self) -> Option<&Live> {
        match &self.rows {
            Rows::Live(live) => Some(live),
            Rows::Complete(_) => None,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The latest instant at which a run was accepted or a tick claimed.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        match &self.rows {
            Rows::Complete(summary) => summary.newest,
            Rows::Live(live) => {
                let (runs, ticks) = live.rows();
                let accepted = runs.iter().map(|row| row.accepted_at);
                accepted.chain(ticks.iter().map(|row| row.tick.claimed_at)).max()
            }
        }
    }

    /// The latest due instant of a tick.
    pub(super) fn due_newest(&self) -> Option<Timestamp> {
        match &self.rows {
            Rows::Complete(summary) => summary.due_newest,
            Rows::Live(live) => live.rows().1.iter().map(|row| row.tick.due).max(),
        }
    }

    /// The earliest instant at which a run was accepted.
    pub(super) fn accepted_oldest(&self) -> Option<Timestamp> {
        match &self.rows {
            Rows::Complete(summary) => summary.accepted_oldest,
            Rows::Live(live) => live.rows().0.iter().map(|row| row.accepted_at).min(),
        }
    }

    /// The runs of each workflow.
    pub(super) fn portions(&self) -> Vec<(WorkflowId, Portion)> {
        match &self.rows {
            Rows::Complete(summary) => {
                let portion = |share: &Share| Portion { runs: share.runs.into(), bytes: share.bytes };
                summary.shares.iter().map(|share| (share.workflow, portion(share))).collect()
            }
            Rows::Live(live) => {
                let mut portions: BTreeMap<_, Portion> = BTreeMap::new();
                for row in &live.rows().0 {
                    let own = portions.entry(row.workflow).or_default();
                    *own = *own + Portion::of(row);
                }
                portions.into_iter().collect()
            }
        }
    }

    /// The runs of each workflow that are shown.
    pub(super) fn shown(&self, hidden: &Hidden) -> Vec<(WorkflowId, Portion)> {
        let mut portions = self.portions();
        portions.retain(|(workflow, _)| !hidden.is_archived(*workflow));
        let dead = lock(&self.dead);
        for (workflow, portion) in &mut portions {
            *portion = *portion - dead.get(workflow).copied().unwrap_or_default();
        }
        portions
    }

    /// Bytes of runs that are not shown any more.
    pub(super) fn dead_bytes(&self, hidden: &Hidden) -> u64 {
        if hidden.is_empty() {
            return 0;
        }
        let all: Portion = self.portions().into_iter().map(|(_, portion)| portion).sum();
        let shown: Portion = self.shown(hidden).into_iter().map(|(_, portion)| portion).sum();
        (all - shown).bytes
    }

    /// Notes what is below the floors.
    pub(super) fn set_dead(&self, dead: HashMap<WorkflowId, Portion>) {
        *lock(&self.dead) = dead;
    }

    /// What is below the floors.
    pub(super) fn dead(&self) -> HashMap<WorkflowId, Portion> {
        lock(&self.dead).clone()
    }

    /// The number of runs.
    pub(super) fn runs_len(&self) -> u64 {
        match &self.rows {
            Rows::Complete(summary) => u64::from(summary.runs),
            Rows::Live(live) => live.runs_len() as u64,
        }
    }
}

/// The rows of a segment that was read from its beginning to its end.
pub(super) struct Scanned {
    pub(super) runs: Vec<RunRow>,
    pub(super) ticks: Vec<TickRow>,
    pub(super) scan: Scan,
    pub(super) bytes: u64,
    pub(super) salt: Salt,
    pub(super) has_header: bool,
}

/// Reads a segment and collects its rows.
pub(super) fn scan(folder: &Path, number: u64, salt: Salt) -> Result<Scanned> {
    let read = logfile::open(folder, Purpose::Runs, number, salt)?;
    let (mut runs, mut ticks) = (Vec::new(), Vec::new());
    let each = |found: frame::Found<'_>| {
        let Ok(offset) = u32::try_from(found.offset) else { return };
        let place =
            Place { offset, body_bytes: found.body.len() as u32, tail_bytes: found.tail.len() as u32 };
        match found.kind {
            Some(Kind::Run) => runs.extend(records::run_row(found.body, place)),
            Some(Kind::Tick) => {
                let tick = records::decode_tick(found.body).ok().map(Arc::new);
                ticks.extend(tick.map(|tick| TickRow { tick, place }));
            }
            Some(Kind::Change | Kind::Event | Kind::Gone | Kind::Rollups) | None => {}
        }
    };
    let range = logfile::HEADER_BYTES.min(read.bytes)..read.bytes;
    let scan = frame::scan(&read.file, range, read.salt, each)
        .map_err(|source| StoreError::Io { action: format!("read segment {number}"), source })?;
    let (bytes, salt, has_header) = (read.bytes, read.salt, read.has_header);
    Ok(Scanned { runs, ticks, scan, bytes, salt, has_header })
}
