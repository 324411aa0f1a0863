//! Gives the space of dead runs back: a segment that is mostly dead is written anew
//! without them, under the same number.
//!
//! The new file is complete and flushed before it takes the old one's name, and its
//! index is written after that: a crash in between leaves an index about another file,
//! which is made again when the store opens.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::background::Pace;
use super::disk::{self, Step};
use super::folder::{LEFTOVER_PREFIX, create_file, sync_folder};
use super::frame::{self, Found, Kind};
use super::hidden::Hidden;
use super::logfile::{self, Purpose};
use super::records;
use super::rows::{Place, RunRow, TickRow};
use super::segment::{Rows, Segment};
use super::shared::Shared;
use super::status::write;
use super::{Result, StoreError, indexing, sidecar};

/// Bytes after which what was written is brought to the disk: one large flush would hold
/// up the flushes that callers wait for.
const FLUSH_BYTES: u64 = 4 << 20;
/// Bytes after which a look at the pace is due.
const PACED_BYTES: u64 = 1 << 20;
/// A segment that is being written is ended for its dead bytes from so many on.
const OPEN_DEAD_BYTES_MIN: u64 = 4 << 20;

/// Whether at least half of a segment is dead.
pub(super) fn is_worth_it(segment: &Segment, hidden: &Hidden) -> bool {
    let dead = segment.dead_bytes(hidden);
    dead > 0 && dead.saturating_mul(2) >= segment.bytes().saturating_sub(logfile::HEADER_BYTES)
}

/// Whether the segment that is being written should be ended, so that its space can
/// come back.
pub(super) fn should_end(segment: &Segment, hidden: &Hidden, segment_bytes: u64) -> bool {
    segment.dead_bytes(hidden) >= OPEN_DEAD_BYTES_MIN.min(segment_bytes / 2) && is_worth_it(segment, hidden)
}

/// Writes every complete segment that is worth it anew, and returns the bytes that came
/// back. Blocks.
pub(super) fn compact(shared: &Shared) -> Result<u64> {
    let hidden = shared.segments.hidden();
    let mut freed = 0;
    for segment in shared.segments.list() {
        shared.status.check()?;
        // What statistics cover is said by places in segments.
        let is_counted = shared.statistics.covers(segment.number);
        if is_counted && matches!(segment.rows, Rows::Complete(_)) && is_worth_it(&segment, &hidden) {
            match compact_segment(shared, &segment, &hidden) {
                // It was deleted in between.
                Err(error) if error.is_gone() => {}
                // What room is left is for other things; the next segment may be smaller.
                Err(error) if error.is_full() => {}
                result => freed += result?,
            }
        }
    }
    Ok(freed)
}

/// What stays of a segment.
#[derive(Default)]
struct Rest {
    runs: Vec<RunRow>,
    ticks: Vec<TickRow>,
    bytes: u64,
}

fn compact_segment(shared: &Shared, segment: &Arc<Segment>, hidden: &Hidden) -> Result<u64> {
    let (folder, number) = (shared.folder.runs(), segment.number);
    let failed = |source| StoreError::Io { action: format!("write segment {number} anew"), source };
    let temporary = folder.join(format!("{LEFTOVER_PREFIX}{number:08}"));
    let _ = fs::remove_file(&temporary);
    let rest = copy_rest(shared, segment, hidden, &temporary).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    let Some(rest) = rest else { return Ok(0) };
    if rest.runs.is_empty() && rest.ticks.is_empty() {
        let _ = fs::remove_file(&temporary);
        shared.segments.delete(std::slice::from_ref(segment))?;
        return Ok(segment.bytes());
    }
    let index = indexing::build(number, rest.bytes, &rest.runs, &rest.ticks);
    let head = shared.segments.parse(&index, number, rest.bytes)?.head;
    let compacted = Segment::complete(number, segment.salt, head.summary, rest.bytes, index.len() as u64);
    {
        // Readers that have rows of the old file finish first.
        let _files = write(shared.segments.files());
        if !shared.segments.is_current(segment) {
            let _ = fs::remove_file(&temporary);
            return Ok(0);
        }
        let path = Purpose::Runs.path(&folder, number);
        disk::step(&folder, Step::Rename, || fs::rename(&temporary, path))
            .and_then(|()| sync_folder(&folder))
            .map_err(failed)?;
        shared.segments.replace(Arc::new(compacted));
        sidecar::write(&folder, number, &index).map_err(failed)?;
    }
    Ok(segment.bytes().saturating_sub(rest.bytes))
}

/// Copies what is shown; `None` when the segment is damaged, which is left as it is for
/// the operator to see.
fn copy_rest(shared: &Shared, segment: &Segment, hidden: &Hidden, path: &Path) -> Result<Option<Rest>> {
    let number = segment.number;
    let failed = |source| StoreError::Io { action: format!("write segment {number} anew"), source };
    let read = logfile::open(&shared.folder.runs(), Purpose::Runs, number, segment.salt)?;
    if !read.has_header {
        return Ok(None);
    }
    let mut copy = Copy {
        folder: shared.folder.runs(),
        file: create_file(path).map_err(failed)?,
        rest: Rest { bytes: logfile::HEADER_BYTES, ..Rest::default() },
        pending: logfile::header(Purpose::Runs, number, read.salt).to_vec(),
        unflushed: 0,
        pace: Pace::new(),
        unpaced: 0,
    };
    let mut result = Ok(());
    let scan = frame::scan(&read.file, logfile::HEADER_BYTES..read.bytes, read.salt, |found| {
        if result.is_ok() {
            copy.read(found.whole.len() as u64);
            result = copy.take(&found, hidden);
        }
    });
    let scan = scan.map_err(failed)?;
    result.and_then(|()| copy.write()).and_then(|()| copy.sync()).map_err(failed)?;
    let is_whole = scan.gaps.is_empty() && scan.end == read.bytes;
    if !is_whole {
        let _ = fs::remove_file(path);
    }
    Ok(is_whole.then_some(copy.rest))
}

/// A file that is being written anew.
struct Copy {
    folder: PathBuf,
    file: File,
    rest: Rest,
    pending: Vec<u8>,
    unflushed: u64,
    pace: Pace,
    /// Bytes that were read since the last look at the pace.
    unpaced: u64,
}

impl Copy {
    fn read(&mut self, bytes: u64) {
        self.unpaced += bytes;
        if self.unpaced >= PACED_BYTES {
            self.pace.moved(std::mem::take(&mut self.unpaced));
        }
    }

    fn take(&mut self, found: &Found<'_>, hidden: &Hidden) -> std::io::Result<()> {
        // A segment is at most 1 GiB and a batch.
        let Ok(offset) = u32::try_from(self.rest.bytes) else { return Ok(()) };
        let (body_bytes, tail_bytes) = (found.body.len() as u32, found.tail.len() as u32);
        let place = Place { offset, body_bytes, tail_bytes };
        match found.kind {
            Some(Kind::Run) => match records::run_row(found.body, place) {
                Some(row) if hidden.hides(row.workflow, row.id) => return Ok(()),
                row => self.rest.runs.extend(row),
            },
            Some(Kind::Tick) => match records::decode_tick(found.body) {
                Ok(tick) if hidden.is_archived(tick.workflow) => return Ok(()),
                tick => self.rest.ticks.extend(tick.ok().map(|tick| TickRow { tick: Arc::new(tick), place })),
            },
            // Of a later build: it is not ours to drop.
            Some(Kind::Change | Kind::Event | Kind::Gone | Kind::Rollups) | None => {}
        }
        self.pending.extend_from_slice(found.whole);
        self.rest.bytes += found.whole.len() as u64;
        if self.pending.len() as u64 >= FLUSH_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> std::io::Result<()> {
        let at = self.rest.bytes - self.pending.len() as u64;
        disk::write_at(&self.folder, &self.file, &self.pending, at)?;
        self.unflushed += self.pending.len() as u64;
        self.pace.moved(self.pending.len() as u64);
        self.pending.clear();
        if self.unflushed >= FLUSH_BYTES {
            self.sync()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    fn sync(&self) -> std::io::Result<()> {
        disk::step(&self.folder, Step::Sync, || self.file.sync_data())
    }
}
