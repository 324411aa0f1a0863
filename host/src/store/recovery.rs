//! Opening: what is on the disk becomes what is in memory.
//!
//! The metadata starts from the checkpoint, or from the export when the checkpoint is
//! lost, and goes on with the journal. Segments that have an index file are not read;
//! the last one is, and what a crash left at its end is cut off.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::folder::Folder;
use super::frame::{self, Kind};
use super::hidden::Hidden;
use super::keys::{Key, Position, decode_puts};
use super::ledger::Ledger;
use super::logfile::{self, LogFile, Purpose};
use super::metadata::Metadata;
use super::retention::Survey;
use super::rows::{Place, TickKey};
use super::segment::{self, Segment};
use super::segments::Segments;
use super::sidecar::{self, Head};
use super::status::Status;
use super::{Result, StoreError, export};

/// Deletes what can be made again: the index files, and the checkpoint where export and
/// journal have everything; returns whether they have.
pub(super) fn forget_indexes(folder: &Folder) -> Result<bool> {
    let failed = |source| StoreError::Io { action: "delete the index".to_owned(), source };
    for number in Purpose::Runs.numbers(&folder.runs())? {
        match std::fs::remove_file(sidecar::path(&folder.runs(), number)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    let journals = Purpose::Journal.numbers(&folder.journal())?;
    let is_complete = export::read(&folder.export())
        .is_ok_and(|export| journals.first().is_none_or(|first| *first <= export.position().file.max(1)));
    if is_complete && folder.sled().exists() {
        std::fs::remove_dir_all(folder.sled()).map_err(failed)?;
    }
    Ok(is_complete)
}

/// The metadata, and the database that will hold it from now on.
pub(super) struct OpenedMetadata {
    pub(super) metadata: Metadata,
    pub(super) checkpoint: Checkpoint,
    /// The new journal; those before stay until the next checkpoint.
    pub(super) journal: LogFile,
}

/// Reads the metadata. What the checkpoint lacks is marked as dirty. With `is_forgotten` it
/// was deleted on purpose.
pub(super) fn metadata(folder: &Folder, is_forgotten: bool, status: &Status) -> Result<OpenedMetadata> {
    let journals = Purpose::Journal.numbers(&folder.journal())?;
    let opened = Checkpoint::open(&folder.sled());
    if let Err(CheckpointError::Io(source)) = opened {
        return Err(StoreError::Io { action: format!("open {}", folder.sled().display()), source });
    }
    let is_continuous = |position: Position| {
        journals.first().is_none_or(|first| *first <= position.file.max(1))
            && (position != Position::default() || !folder.export().exists())
    };
    let mut metadata = Metadata::default();
    let checkpoint = match opened {
        Ok((checkpoint, contents)) if is_continuous(contents.position) => {
            for (key, value) in contents.values {
                let known = Key::decode(&key).ok_or_else(|| damaged("the checkpoint", "a key is unknown"))?;
                load(metadata.load(known, &value, contents.position), "the checkpoint")?;
            }
            metadata.move_to(contents.position);
            checkpoint
        }
        lost => {
            let reason = match &lost {
                Ok(_) => "it is older than the journal".to_owned(),
                Err(error) => error.to_string(),
            };
            drop(lost);
            metadata = match is_forgotten.then(|| export::read(&folder.export())) {
                Some(Ok(exported)) => {
                    std::fs::remove_dir_all(folder.sled()).map_err(|source| StoreError::Io {
                        action: format!("delete {}", folder.sled().display()),
                        source,
                    })?;
                    exported
                }
                Some(Err(_)) | None => rebuild(folder, &journals, &reason, status)?,
            };
            let (checkpoint, _) = Checkpoint::open(&folder.sled()).map_err(|error| StoreError::Io {
                action: "create a new checkpoint".to_owned(),
                source: std::io::Error::other(error),
            })?;
            metadata.make_dirty()?;
            checkpoint
        }
    };
    let first = metadata.position().file;
    for number in journals.iter().filter(|number| **number >= first) {
        replay(folder, *number, &mut metadata, status)?;
    }
    let next = journals.last().copied().unwrap_or(0).max(metadata.position().file) + 1;
    let journal = LogFile::create(&folder.journal(), Purpose::Journal, next, folder.salt())?;
    Ok(OpenedMetadata { metadata, checkpoint, journal })
}

fn damaged(what: &str, reason: &str) -> StoreError {
    StoreError::Damaged { what: what.to_owned(), reason: reason.to_owned() }
}

fn load(result: std::result::Result<(), super::metadata::BadValue>, what: &str) -> Result<()> {
    result.map_err(|error| damaged(what, &error.to_string()))
}

/// Starts from the export, with the checkpoint's files kept aside.
fn rebuild(folder: &Folder, journals: &[u64], reason: &str, status: &Status) -> Result<Metadata> {
    let mut aside = "nothing was left of it".to_owned();
    if folder.sled().exists() {
        let path = folder.metadata().join(format!("sled.broken-{}", Timestamp::now().as_millisecond()));
        std::fs::rename(folder.sled(), &path)
            .map_err(|source| StoreError::Io { action: format!("rename to {}", path.display()), source })?;
        aside = format!("its files are in {}", path.display());
    }
    let (metadata, base) = match export::read(&folder.export()) {
        Ok(metadata) => (metadata, "the export and the journal"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (Metadata::default(), "the journal alone")
        }
        Err(error) => {
            status.warn(format!("the export of the metadata cannot be read: {error}"));
            (Metadata::default(), "the journal alone")
        }
    };
    let is_complete = journals.first().is_none_or(|first| *first <= metadata.position().file.max(1));
    let result = if is_complete { "nothing is missing" } else { "older changes are missing" };
    tracing::error!(reason, base, result, "the checkpoint of the metadata was lost and made again");
    status.warn(format!(
        "the checkpoint of the metadata was lost ({reason}) and made again from {base}: {result}; {aside}"
    ));
    Ok(metadata)
}

fn replay(folder: &Folder, number: u64, metadata: &mut Metadata, status: &Status) -> Result<()> {
    let read = logfile::open(&folder.journal(), Purpose::Journal, number, folder.salt())?;
    let covered = metadata.position();
    let from = if number == covered.file { covered.offset } else { logfile::HEADER_BYTES };
    let mut failed = None;
    let each = |found: frame::Found<'_>| {
        if found.kind != Some(Kind::Change) || failed.is_some() {
            return;
        }
        let bytes = frame::HEADER_BYTES + found.body.len() + found.tail.len();
        let position = Position { file: number, offset: found.offset + bytes as u64 };
        let what = "a change in the journal";
        failed = match decode_puts(found.body) {
            None => Some(damaged(what, "it is not as it was written")),
            Some(puts) => load(metadata.apply(puts, position), what).err(),
        };
    };
    let scan = frame::scan(&read.file, from.min(read.bytes)..read.bytes, read.salt, each)
        .map_err(|source| StoreError::Io { action: format!("read journal {number}"), source })?;
    if let Some(error) = failed {
        return Err(error);
    }
    for gap in scan.gaps {
        status.warn(format!("bytes {} to {} of journal {number} are damaged", gap.start, gap.end));
    }
    Ok(())
}

/// The segments, and the file that is written on.
pub(super) struct OpenedRuns {
    pub(super) segments: Segments,
    heads: Vec<(u64, Head)>,
    pub(super) log: LogFile,
    pub(super) segment: Arc<Segment>,
}

/// Finds the segments, and indexes those that have no index.
pub(super) fn runs(folder: &Folder, status: &Arc<Status>) -> Result<OpenedRuns> {
    let path = folder.runs();
    let numbers = Purpose::Runs.numbers(&path)?;
    remove_orphans(&path, &numbers);
    let segments = Segments::new(path.clone(), status.clone());
    let mut heads = Vec::new();
    let (last, complete) = match numbers.split_last() {
        Some((last, complete)) => (Some(*last), complete),
        None => (None, &[][..]),
    };
    for number in complete {
        heads.push((*number, complete_segment(folder, *number, &segments, status)?));
    }
    let resumed = match last {
        None => None,
        Some(number) => resume(folder, number)?,
    };
    let (log, segment) = match resumed {
        Some(resumed) => resumed,
        None => {
            if let Some(number) = last {
                heads.push((number, complete_segment(folder, number, &segments, status)?));
            }
            let number = last.unwrap_or(0) + 1;
            let log = LogFile::create(&path, Purpose::Runs, number, folder.salt())?;
            let segment = Segment::live(number, folder.salt(), log.written());
            (log, segment)
        }
    };
    let segment = Arc::new(segment);
    segments.put(segment.clone());
    Ok(OpenedRuns { segments, heads, log, segment })
}

/// Index files without a segment: the segment was deleted.
fn remove_orphans(folder: &Path, numbers: &[u64]) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let number =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if path.extension().is_some_and(|extension| extension == "idx")
            && number.is_some_and(|number| numbers.binary_search(&number).is_err())
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Takes a segment that is not written to any more.
fn complete_segment(folder: &Folder, number: u64, segments: &Segments, status: &Status) -> Result<Head> {
    let (path, salt) = (folder.runs(), folder.salt());
    let read = logfile::open(&path, Purpose::Runs, number, salt)?;
    let head = match sidecar::read_head(&path, number, read.bytes) {
        Ok(head) => head,
        Err(_) => {
            let scanned = segment::scan(&path, number, salt)?;
            report(number, &scanned, status);
            // The index must never be on the disk before what it points to.
            read.file
                .sync_all()
                .map_err(|source| StoreError::Io { action: format!("flush segment {number}"), source })?;
            let segment = Segment::live(number, scanned.salt, scanned.bytes);
            if let Some(live) = segment.live_rows() {
                live.extend(scanned.runs, scanned.ticks);
            }
            let segment = Arc::new(segment);
            segments.put(segment.clone());
            segments.complete(&segment)?;
            sidecar::read_head(&path, number, read.bytes).map_err(|error| StoreError::Damaged {
                what: format!("the index of segment {number}, just written"),
                reason: error.to_string(),
            })?
        }
    };
    let index_bytes = std::fs::metadata(sidecar::path(&path, number)).map_or(0, |file| file.len());
    let summary = head.summary.clone();
    segments.put(Arc::new(Segment::complete(number, read.salt, summary, read.bytes, index_bytes)));
    Ok(head)
}

/// Goes on with the last segment, unless it cannot be trusted to take more.
fn resume(folder: &Folder, number: u64) -> Result<Option<(LogFile, Segment)>> {
    let path = folder.runs();
    let scanned = segment::scan(&path, number, folder.salt())?;
    if !scanned.has_header || scanned.salt != folder.salt() || !scanned.scan.gaps.is_empty() {
        if scanned.bytes <= logfile::HEADER_BYTES {
            // A crash came between the file's creation and its first flush.
            remove_segment(&path, number)?;
            let log = LogFile::create(&path, Purpose::Runs, number, folder.salt())?;
            let segment = Segment::live(number, folder.salt(), log.written());
            return Ok(Some((log, segment)));
        }
        return Ok(None);
    }
    if scanned.bytes > scanned.scan.end {
        let bytes = scanned.bytes - scanned.scan.end;
        tracing::info!(segment = number, bytes, "cut off what was not written completely");
    }
    let _ = std::fs::remove_file(sidecar::path(&path, number));
    let log = LogFile::resume(&path, Purpose::Runs, number, scanned.scan.end)?;
    let segment = Segment::live(number, scanned.salt, log.written());
    if let Some(live) = segment.live_rows() {
        live.extend(scanned.runs, scanned.ticks);
    }
    Ok(Some((log, segment)))
}

fn remove_segment(folder: &Path, number: u64) -> Result<()> {
    let path = Purpose::Runs.path(folder, number);
    std::fs::remove_file(&path)
        .map_err(|source| StoreError::Io { action: format!("delete {}", path.display()), source })
}

fn report(number: u64, scanned: &segment::Scanned, status: &Status) {
    if !scanned.has_header {
        status.warn(format!("the header of segment {number} is damaged"));
    }
    for gap in &scanned.scan.gaps {
        status.warn(format!("bytes {} to {} of segment {number} are damaged", gap.start, gap.end));
    }
    if scanned.bytes > scanned.scan.end {
        let end = scanned.scan.end;
        status.warn(format!("bytes {end} to {} of segment {number} are damaged", scanned.bytes));
    }
}

/// Makes the ledger from the segments, and hides the rows of archived workflows.
pub(super) fn ledger(opened: &OpenedRuns, metadata: &Metadata) -> Result<Ledger> {
    let segments = &opened.segments;
    let mut ledger = Ledger::default();
    let mut candidates: Vec<(u64, Place)> = Vec::new();
    for (number, head) in &opened.heads {
        for rows in head.schedules.iter().filter(|rows| metadata.contains(rows.workflow)) {
            ledger.saw(rows.workflow, &rows.schedule, rows.due_newest);
        }
        candidates.extend(head.open_ticks.iter().map(|place| (*number, *place)));
    }
    let list = segments.list();
    for (number, place) in candidates {
        let Some(segment) = list.iter().find(|segment| segment.number == number) else { continue };
        // A damaged entry cannot be settled; the claim is in the index all the same.
        let Ok(tick) = segments.read_tick(segment, place) else { continue };
        // A later segment may say what became of it.
        if metadata.contains(tick.workflow)
            && let Some(now) = segments.tick(&TickKey::of(&tick))?
        {
            ledger.put(&Arc::new(now));
        }
    }
    if let Some(live) = opened.segment.live_rows() {
        let ticks = live.rows().1.into_iter().map(|row| row.tick);
        ticks.filter(|tick| metadata.contains(tick.workflow)).for_each(|tick| ledger.put(&tick));
    }
    let mut hidden = Hidden::default();
    for (workflow, floor) in metadata.run_floors() {
        hidden.raise(workflow, floor);
    }
    for segment in &list {
        let workflows = segment.portions().into_iter().map(|(workflow, _)| workflow);
        workflows.filter(|id| !metadata.contains(*id)).for_each(|id| hidden.archive(id));
    }
    Survey::new(segments).count_dead(&hidden)?;
    segments.hide(|own| *own = hidden);
    Ok(ledger)
}
