//! One segment of run records: what is known of it, and how its file is read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::frame::{self, Kind, Salt, Scan};
use super::live::Live;
use super::logfile::{self, Purpose};
use super::rows::{Place, RunRow, TickRow};
use super::sidecar::Summary;
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
        Self { number, salt, rows, bytes: AtomicU64::new(bytes), index_bytes: 0 }
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

    /// The number of runs, for each workflow.
    pub(super) fn runs_by_workflow(&self) -> Vec<(WorkflowId, u64)> {
        match &self.rows {
            Rows::Complete(summary) => {
                summary.shares.iter().map(|share| (share.workflow, u64::from(share.runs))).collect()
            }
            Rows::Live(live) => {
                let mut counts = BTreeMap::new();
                live.rows().0.iter().for_each(|row| *counts.entry(row.workflow).or_default() += 1);
                counts.into_iter().collect()
            }
        }
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
            Some(Kind::Change | Kind::Event | Kind::Gone) | None => {}
        }
    };
    let range = logfile::HEADER_BYTES.min(read.bytes)..read.bytes;
    let scan = frame::scan(&read.file, range, read.salt, each)
        .map_err(|source| StoreError::Io { action: format!("read segment {number}"), source })?;
    let (bytes, salt, has_header) = (read.bytes, read.salt, read.has_header);
    Ok(Scanned { runs, ticks, scan, bytes, salt, has_header })
}
