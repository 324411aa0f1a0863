//! Rollups of runs by workflow and minute, in files of their own that are kept longer
//! than runs.
//!
//! ```text
//! stats/<day since 1970>.log   frames; the body of each:
//! | covered: segment 8, offset 8 | entries: workflow 16, minute 4, bytes 4, rollup
//! ```
//!
//! The writer adds each run's sample to what is in memory, after its record is written.
//! The keeper appends what is in memory once a minute. A frame says which records it and
//! those before it cover, so that what a crash took from memory is made again from the
//! records behind. Entries of one workflow and minute add up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Buf;
use jiff::Timestamp;

use super::disk::{self, Step};
use super::frame::{self, Builder, Kind};
use super::keys::Position;
use super::logfile::{self, LogFile, Purpose};
use super::shared::Shared;
use super::status::lock;
use super::{Result, StoreError, records};
use crate::statistics::{HostFigures, Minute, Rollup, Sample};
use crate::workflow::WorkflowId;

/// Time between two appends of what is in memory.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
const MINUTES_PER_DAY: u32 = 24 * 60;
const ENTRY_BYTES: usize = 24;
/// Names the host's own entries, where others name a workflow. No workflow has this id: they
/// are random, or of the time at which they were made.
const HOST: [u8; 16] = [0; 16];
/// Samples that are counted together.
const SAMPLES_MAX: usize = 256;
/// Minutes of the host's figures that wait for a disk that takes nothing: a day.
const HOST_MINUTES_MAX: usize = 24 * 60;

type Rollups = HashMap<(WorkflowId, Minute), Rollup>;

/// The statistics of an open store.
#[derive(Default)]
pub(super) struct Statistics {
    pending: Mutex<Pending>,
    files: Mutex<Files>,
    /// The first segment that has records which no file covers.
    covered: AtomicU64,
    bytes: AtomicU64,
    /// Ends the search through old records.
    is_closing: AtomicBool,
    /// Waited for with `files`.
    counted: Condvar,
}

#[derive(Default)]
struct Pending {
    /// What is not in the rollups yet.
    samples: Vec<Sample>,
    rollups: Rollups,
    /// What the host had in use.
    host: BTreeMap<Minute, HostFigures>,
    /// Records before this are in the rollups or in files.
    position: Position,
}

#[derive(Default)]
struct Files {
    /// The file of the latest day.
    log: Option<LogFile>,
    /// How far the records of before the store opened are counted.
    state: State,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    #[default]
    Counting,
    Complete,
    /// The store closed, or the records could not be read; the next open tries again.
    GivenUp,
}

impl Pending {
    /// Takes a sample. They are counted together: threads in turns would wait for each other's
    /// rollups to come over from the other's cache, record by record.
    fn push(&mut self, sample: Sample) {
        if self.samples.capacity() == 0 {
            self.samples.reserve_exact(SAMPLES_MAX);
        }
        self.samples.push(sample);
        if self.samples.len() >= SAMPLES_MAX {
            self.count();
        }
    }

    fn count(&mut self) {
        for sample in self.samples.drain(..) {
            self.rollups.entry((sample.workflow, sample.minute)).or_default().add(&sample);
        }
    }

    /// The rollups, with all samples in them.
    fn counted(&mut self) -> &mut Rollups {
        self.count();
        &mut self.rollups
    }
}

impl Statistics {
    /// Takes samples of records that were written, up to a place in the segments. Only
    /// the writer calls this.
    pub(super) fn add(&self, samples: impl IntoIterator<Item = Sample>, position: Position) {
        let mut pending = lock(&self.pending);
        samples.into_iter().for_each(|sample| pending.push(sample));
        pending.position = position;
    }

    /// Takes in what the host had in use.
    pub(super) fn note_host(&self, minute: Minute, figures: &HostFigures) {
        let mut pending = lock(&self.pending);
        pending.host.entry(minute).and_modify(|own| own.merge(figures)).or_insert(*figures);
        // While the disk takes nothing.
        while pending.host.len() > HOST_MINUTES_MAX {
            pending.host.pop_first();
        }
    }

    /// Takes the sample of a run that is not recorded.
    pub(super) fn count(&self, sample: &Sample) {
        lock(&self.pending).push(*sample);
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether files cover all records of a segment.
    pub(super) fn covers(&self, segment: u64) -> bool {
        segment < self.covered.load(Ordering::Acquire)
    }

    /// Whether the store closes.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Nobody needs old records to be counted any more.
    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
    }
}

/// Counts what was recorded and is in no file: the records in `ends`, the segments as they
/// were when the store opened. Blocks, and readers of statistics wait.
pub(super) fn catch_up(shared: &Shared, ends: &[(u64, u64)]) {
    let own = &shared.statistics;
    let mut files = lock(&own.files);
    files.state = match count_old(shared, ends) {
        Ok(true) => State::Complete,
        Ok(false) => State::GivenUp,
        Err(error) => {
            shared.status.warn(format!("statistics are not complete: {error}"));
            State::GivenUp
        }
    };
    own.counted.notify_all();
}

/// Whether it came to the end.
fn count_old(shared: &Shared, ends: &[(u64, u64)]) -> Result<bool> {
    let own = &shared.statistics;
    let covered = last_covered(shared)?;
    let mut rollups = Rollups::new();
    for (number, end) in ends.iter().filter(|(number, _)| *number >= covered.file) {
        if own.is_closing() {
            return Ok(false);
        }
        let from = if *number == covered.file { covered.offset } else { logfile::HEADER_BYTES };
        match count_segment(shared, *number, from..(*end).max(from), &mut rollups) {
            Err(error) if error.is_gone() => {}
            result => result?,
        }
    }
    let mut pending = lock(&own.pending);
    for (key, rollup) in rollups {
        pending.rollups.entry(key).or_default().merge(&rollup);
    }
    let end = ends.iter().max().map(|(file, offset)| Position { file: *file, offset: *offset });
    pending.position = end.into_iter().chain([pending.position]).max().unwrap_or_default();
    drop(pending);
    own.covered.store(covered.file, Ordering::Release);
    own.bytes.store(size(shared)?, Ordering::Relaxed);
    Ok(true)
}

fn count_segment(
    shared: &Shared,
    number: u64,
    range: std::ops::Range<u64>,
    rollups: &mut Rollups,
) -> Result<()> {
    let read = logfile::open(&shared.folder.runs(), Purpose::Runs, number, shared.folder.salt())?;
    let range = range.start.min(read.bytes)..range.end.min(read.bytes);
    let each = |found: frame::Found<'_>| {
        if found.kind == Some(Kind::Run)
            && let Ok(run) = records::decode_run(found.body)
        {
            let sample = Sample::from(&run);
            rollups.entry((sample.workflow, sample.minute)).or_default().add(&sample);
        }
    };
    frame::scan(&read.file, range, read.salt, each)
        .map(drop)
        .map_err(|source| StoreError::Io { action: format!("read segment {number}"), source })
}

/// What the last frame covers.
fn last_covered(shared: &Shared) -> Result<Position> {
    for day in Purpose::Statistics.numbers(&shared.folder.statistics())?.into_iter().rev() {
        let mut covered = None;
        scan(shared, day, |found| covered = covered.max(decode_position(found.body)))?;
        if let Some(covered) = covered {
            return Ok(covered);
        }
    }
    Ok(Position::default())
}

fn decode_position(body: &[u8]) -> Option<Position> {
    Position::decode(body.get(..16)?)
}

fn scan(shared: &Shared, day: u64, each: impl FnMut(frame::Found<'_>)) -> Result<frame::Scan> {
    let read = logfile::open(&shared.folder.statistics(), Purpose::Statistics, day, shared.folder.salt())?;
    frame::scan(&read.file, logfile::HEADER_BYTES.min(read.bytes)..read.bytes, read.salt, each)
        .map_err(|source| StoreError::Io { action: format!("read statistics of day {day}"), source })
}

/// Appends what is in memory to the file of the day, and brings it to the disk. Blocks.
pub(super) fn flush(shared: &Shared) -> Result<()> {
    let own = &shared.statistics;
    let mut files = lock(&own.files);
    if files.state != State::Complete {
        return Ok(());
    }
    shared.status.check()?;
    let (rollups, host, position) = {
        let mut pending = lock(&own.pending);
        (std::mem::take(pending.counted()), std::mem::take(&mut pending.host), pending.position)
    };
    if rollups.is_empty() && host.is_empty() {
        own.covered.store(position.file, Ordering::Release);
        return Ok(());
    }
    let appended = append(shared, &mut files, &rollups, &host, position);
    if let Err(error) = appended {
        let mut pending = lock(&own.pending);
        for (key, rollup) in rollups {
            pending.rollups.entry(key).or_default().merge(&rollup);
        }
        for (minute, figures) in host {
            pending.host.entry(minute).and_modify(|own| own.merge(&figures)).or_insert(figures);
        }
        return Err(error);
    }
    own.covered.store(position.file, Ordering::Release);
    own.bytes.store(size(shared)?, Ordering::Relaxed);
    Ok(())
}

fn append(
    shared: &Shared,
    files: &mut Files,
    rollups: &Rollups,
    host: &BTreeMap<Minute, HostFigures>,
    position: Position,
) -> Result<()> {
    let mut builder = Builder::new(Kind::Rollups, 4096);
    let buffer = builder.buffer();
    buffer.extend_from_slice(&position.encode());
    for ((workflow, minute), rollup) in rollups {
        put_entry(buffer, workflow.as_bytes(), *minute, |buffer| rollup.encode(buffer));
    }
    for (minute, figures) in host {
        put_entry(buffer, &HOST, *minute, |buffer| figures.encode(buffer));
    }
    let frame = builder.finish(shared.folder.salt()).map_err(|error| StoreError::Limit {
        what: format!("statistics of {} bytes", error.bytes),
        limit: format!("{} bytes", frame::FRAME_BYTES_MAX),
    })?;
    let today = u64::from(Minute::of(Timestamp::now()).0 / MINUTES_PER_DAY);
    // The clock may have been set back: files are in the order of their frames.
    let day = files.log.as_ref().map_or(today, |log| log.number.max(today));
    let log = match files.log.take() {
        Some(log) if log.number == day => log,
        _ => open_day(shared, day)?,
    };
    let failed = |source| StoreError::Io { action: "write statistics".to_owned(), source };
    let written = log.append(&frame).and_then(|_| log.sync());
    files.log = Some(log);
    written.map_err(failed)
}

fn put_entry(buffer: &mut Vec<u8>, id: &[u8], minute: Minute, encode: impl FnOnce(&mut Vec<u8>)) {
    buffer.extend_from_slice(id);
    buffer.extend_from_slice(&minute.0.to_le_bytes());
    let at = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    encode(buffer);
    let bytes = (buffer.len() - at - 4) as u32;
    buffer[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
}

fn open_day(shared: &Shared, day: u64) -> Result<LogFile> {
    let (folder, salt) = (shared.folder.statistics(), shared.folder.salt());
    let day = Purpose::Statistics.numbers(&folder)?.last().copied().unwrap_or(0).max(day);
    if !Purpose::Statistics.path(&folder, day).exists() {
        return LogFile::create(&folder, Purpose::Statistics, day, salt);
    }
    let read = logfile::open(&folder, Purpose::Statistics, day, salt)?;
    if !read.has_header || read.salt != salt {
        // A crash came before its first flush, or its head is damaged: it stays as it is.
        return LogFile::create(&folder, Purpose::Statistics, day + 1, salt);
    }
    let scan = scan(shared, day, |_| {})?;
    LogFile::resume(&folder, Purpose::Statistics, day, scan.end)
}

/// The rollups from a minute up to before another, in steps of so many minutes, for a
/// workflow or for all of them, by their first minute. Blocks.
pub(super) fn query(
    shared: &Shared,
    workflow: Option<WorkflowId>,
    from: Minute,
    to: Minute,
    step: u32,
) -> Result<BTreeMap<Minute, Rollup>> {
    let mut points: BTreeMap<Minute, Rollup> = BTreeMap::new();
    let wanted = |of: WorkflowId| workflow.is_none_or(|wanted| wanted == of);
    each(shared, from..to, wanted, |_, minute, rollup| {
        points.entry(step_of(minute, from, step)).or_default().merge(rollup);
    })?;
    Ok(points)
}

/// The same by workflow, for some of them or for all. Blocks.
pub(super) fn by_workflow(
    shared: &Shared,
    among: Option<&HashSet<WorkflowId>>,
    from: Minute,
    to: Minute,
    step: u32,
) -> Result<HashMap<WorkflowId, BTreeMap<Minute, Rollup>>> {
    let mut found: HashMap<WorkflowId, BTreeMap<Minute, Rollup>> = HashMap::new();
    let wanted = |of: WorkflowId| among.is_none_or(|among| among.contains(&of));
    each(shared, from..to, wanted, |of, minute, rollup| {
        found.entry(of).or_default().entry(step_of(minute, from, step)).or_default().merge(rollup);
    })?;
    Ok(found)
}

/// What the host had in use, in steps of so many minutes. Blocks.
pub(super) fn host_history(
    shared: &Shared,
    from: Minute,
    to: Minute,
    step: u32,
) -> Result<BTreeMap<Minute, HostFigures>> {
    let mut points: BTreeMap<Minute, HostFigures> = BTreeMap::new();
    let mut take = |minute: Minute, figures: HostFigures| {
        let step = step_of(minute, from, step);
        points.entry(step).and_modify(|own| own.merge(&figures)).or_insert(figures);
    };
    let _files = lock(&shared.statistics.files);
    each_written(shared, from, |of, minute, mut bytes| {
        if of.as_bytes() == &HOST
            && (from..to).contains(&minute)
            && let Some(figures) = HostFigures::decode(&mut bytes)
        {
            take(minute, figures);
        }
    })?;
    for (minute, figures) in lock(&shared.statistics.pending).host.range(from..to.max(from)) {
        take(*minute, *figures);
    }
    Ok(points)
}

/// The first minute of the step that a minute is in.
fn step_of(minute: Minute, from: Minute, step: u32) -> Minute {
    Minute(from.0 + (minute.0 - from.0) / step.max(1) * step.max(1))
}

/// Hands on each rollup of some minutes and workflows; waits until old records are counted.
fn each(
    shared: &Shared,
    minutes: std::ops::Range<Minute>,
    wanted: impl Fn(WorkflowId) -> bool,
    mut take: impl FnMut(WorkflowId, Minute, &Rollup),
) -> Result<()> {
    let own = &shared.statistics;
    let mut files = lock(&own.files);
    while files.state == State::Counting {
        files = own.counted.wait(files).unwrap_or_else(PoisonError::into_inner);
    }
    each_written(shared, minutes.start, |of, minute, mut bytes| {
        if of.as_bytes() != &HOST
            && minutes.contains(&minute)
            && wanted(of)
            && let Some(rollup) = Rollup::decode(&mut bytes)
        {
            take(of, minute, &rollup);
        }
    })?;
    for ((of, minute), rollup) in lock(&own.pending).counted() {
        if minutes.contains(minute) && wanted(*of) {
            take(*of, *minute, rollup);
        }
    }
    Ok(())
}

/// Hands on each entry of the files that can have something of a minute and of later ones.
fn each_written(
    shared: &Shared,
    from: Minute,
    mut take: impl FnMut(WorkflowId, Minute, &[u8]),
) -> Result<()> {
    let first = u64::from(from.0 / MINUTES_PER_DAY);
    for day in Purpose::Statistics.numbers(&shared.folder.statistics())? {
        // What a day's file has is of that day, or of before: a flush comes later.
        if day >= first {
            scan(shared, day, |found| {
                let _ = entries(found.body, &mut take);
            })?;
        }
    }
    Ok(())
}

/// Hands each entry of a frame on; `None` when the frame is not as a build writes it.
fn entries(body: &[u8], take: &mut impl FnMut(WorkflowId, Minute, &[u8])) -> Option<()> {
    let mut rest = body.get(16..)?;
    while !rest.is_empty() {
        let (mut head, behind) = rest.split_at_checked(ENTRY_BYTES)?;
        let mut id = [0; 16];
        head.try_copy_to_slice(&mut id).ok()?;
        let (minute, bytes) = (head.try_get_u32_le().ok()?, head.try_get_u32_le().ok()?);
        let (rollup, behind) = behind.split_at_checked(bytes as usize)?;
        take(WorkflowId::from_bytes(id), Minute(minute), rollup);
        rest = behind;
    }
    Some(())
}

/// Deletes the files of days before this one, and the oldest while all have more than so
/// many bytes; the latest stays. Blocks.
pub(super) fn prune(shared: &Shared, before: Option<Timestamp>, bytes_max: Option<u64>) -> Result<()> {
    let _files = lock(&shared.statistics.files);
    let folder = shared.folder.statistics();
    let failed = |source| StoreError::Io { action: "delete statistics".to_owned(), source };
    let days = Purpose::Statistics.numbers(&folder)?;
    let before = before.map(|at| u64::from(Minute::of(at).0 / MINUTES_PER_DAY));
    let mut left = size(shared)?;
    for day in days.iter().take(days.len().saturating_sub(1)) {
        let path = Purpose::Statistics.path(&folder, *day);
        let is_old = before.is_some_and(|before| *day < before);
        if !is_old && bytes_max.is_none_or(|bytes_max| left <= bytes_max) {
            break;
        }
        left = left.saturating_sub(std::fs::metadata(&path).map_err(failed)?.len());
        disk::step(&folder, Step::Remove, || std::fs::remove_file(&path)).map_err(failed)?;
    }
    shared.statistics.bytes.store(left, Ordering::Relaxed);
    Ok(())
}

/// Damage in the files, one line each. Blocks.
pub(super) fn gaps(shared: &Shared) -> Result<Vec<String>> {
    let _files = lock(&shared.statistics.files);
    let mut lines = Vec::new();
    for day in Purpose::Statistics.numbers(&shared.folder.statistics())? {
        let damaged = scan(shared, day, |_| {})?.gaps.into_iter();
        lines.extend(damaged.map(|gap| {
            format!("bytes {} to {} of the statistics of day {day} are damaged", gap.start, gap.end)
        }));
    }
    Ok(lines)
}

/// The files with their bytes.
pub(super) fn files(shared: &Shared) -> Result<Vec<(u64, u64)>> {
    let folder = shared.folder.statistics();
    let days = Purpose::Statistics.numbers(&folder)?;
    let sized = days.into_iter().map(|day| {
        let path = Purpose::Statistics.path(&folder, day);
        let failed = |source| StoreError::Io { action: format!("read {}", path.display()), source };
        Ok((day, std::fs::metadata(&path).map_err(failed)?.len()))
    });
    sized.collect()
}

fn size(shared: &Shared) -> Result<u64> {
    Ok(files(shared)?.into_iter().map(|(_, bytes)| bytes).sum())
}
