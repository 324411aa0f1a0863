//! The index of one complete segment, in an immutable file beside it.
//!
//! ```text
//! "tidegidx" 8 | format 4 | segment number 8 | segment bytes 8 | head bytes 4
//! | body bytes 4 | CRC32C of the head and the above 4 | CRC32C of the body 4
//! | head: summary, shares of the workflows, schedules, open ticks
//! | body: run rows by id | run numbers by workflow and id | tick rows by schedule and due
//! ```
//!
//! It can be made again from the segment at any time. Deleting runs is deleting two
//! files; nothing has to be taken out of a shared index, and no index grows in memory
//! with the number of runs.

use std::path::{Path, PathBuf};

use bytes::Buf;
use jiff::Timestamp;

use super::folder;
use super::records::instant;
use super::rows::{Class, Classes, Place, RunRow, Selection, TickKey};
use crate::run::RunId;
use crate::workflow::WorkflowId;

pub(super) const MAGIC: [u8; 8] = *b"tidegidx";
/// Since 2 a share has the bytes of its runs.
pub(super) const FORMAT: u32 = 2;
pub(super) const FIXED_BYTES: usize = 44;
pub(super) const RUN_ROW_BYTES: usize = 48;
pub(super) const TICK_ROW_BYTES: usize = 20;

/// What is kept in memory of a complete segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Summary {
    pub(super) runs: u32,
    pub(super) ticks: u32,
    /// Smallest and largest id.
    pub(super) ids: Option<(RunId, RunId)>,
    /// The earliest instant at which a run was accepted.
    pub(super) accepted_oldest: Option<Timestamp>,
    /// The latest instant at which a run was accepted or a tick claimed.
    pub(super) newest: Option<Timestamp>,
    /// The latest due instant of a tick.
    pub(super) due_newest: Option<Timestamp>,
    /// By workflow id.
    pub(super) shares: Vec<Share>,
}

/// What a workflow has in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) workflow: WorkflowId,
    pub(super) runs: u32,
    pub(super) ticks: u32,
    /// Bytes of the runs' frames.
    pub(super) bytes: u64,
    pub(super) classes: Classes,
}

impl Summary {
    pub(super) fn share(&self, workflow: WorkflowId) -> Option<(usize, &Share)> {
        let index = self.shares.binary_search_by_key(&workflow, |share| share.workflow).ok()?;
        Some((index, &self.shares[index]))
    }

    /// Whether the segment can have a row that the selection takes.
    pub(super) fn may_have(&self, selection: &Selection) -> bool {
        let Some((smallest, _)) = self.ids else { return false };
        let is_too_new = selection.before.is_some_and(|before| smallest >= before)
            || selection
                .until
                .is_some_and(|until| self.accepted_oldest.is_some_and(|oldest| oldest >= until));
        if is_too_new || selection.since.is_some_and(|since| self.newest < Some(since)) {
            return false;
        }
        match selection.workflow {
            Some(workflow) => {
                let floor = selection.hidden.floor(workflow);
                if floor.is_some_and(|floor| self.ids.is_some_and(|(_, largest)| largest < floor)) {
                    return false;
                }
                self.share(workflow).is_some_and(|(_, share)| share.classes.intersects(selection.classes))
            }
            None => self.shares.iter().any(|share| share.classes.intersects(selection.classes)),
        }
    }
}

/// The ticks of one schedule in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScheduleRows {
    pub(super) workflow: WorkflowId,
    pub(super) schedule: String,
    pub(super) due_newest: Timestamp,
    first: u32,
    ticks: u32,
}

/// The part of an index that is read when the store opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) summary: Summary,
    /// By workflow and name.
    pub(super) schedules: Vec<ScheduleRows>,
    /// Ticks that nothing in this segment settles.
    pub(super) open_ticks: Vec<Place>,
}

/// A whole index.
pub(super) struct Sidecar {
    pub(super) head: Head,
    /// Where the runs of each share begin among the postings.
    first_postings: Vec<usize>,
    body: Vec<u8>,
}

/// An index file that does not match its checksums or its segment.
#[derive(Debug, thiserror::Error)]
pub(super) enum SidecarError {
    #[error("it cannot be read")]
    Io(#[from] std::io::Error),
    #[error("it does not match: {0}")]
    Mismatch(&'static str),
}

impl From<bytes::TryGetError> for SidecarError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Mismatch("it is too short")
    }
}

/// The path of the index beside a segment.
pub(super) fn path(runs: &Path, number: u64) -> PathBuf {
    runs.join(format!("{number:08}.idx"))
}

/// Writes an index.
pub(super) fn write(runs: &Path, number: u64, file: &[u8]) -> std::io::Result<()> {
    folder::write_atomically(&path(runs, number), file)
}

/// Reads the head of the index of a segment of `segment_bytes` bytes.
pub(super) fn read_head(runs: &Path, number: u64, segment_bytes: u64) -> Result<Head, SidecarError> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path(runs, number))?;
    let mut fixed = [0; FIXED_BYTES];
    file.read_exact(&mut fixed)?;
    let sizes = Sizes::parse(&fixed, number, segment_bytes)?;
    if file.metadata()?.len() != (FIXED_BYTES + sizes.head + sizes.body) as u64 {
        return Err(SidecarError::Mismatch("its size is not what it says"));
    }
    let mut head = vec![0; sizes.head];
    file.read_exact(&mut head)?;
    sizes.check_head(&fixed, &head)?;
    parse_head(&head)
}

struct Sizes {
    head: usize,
    body: usize,
    head_sum: u32,
    body_sum: u32,
}

impl Sizes {
    fn parse(mut fixed: &[u8], number: u64, segment_bytes: u64) -> Result<Self, SidecarError> {
        let mut magic = [0; 8];
        fixed.try_copy_to_slice(&mut magic)?;
        if magic != MAGIC || fixed.try_get_u32_le()? != FORMAT {
            return Err(SidecarError::Mismatch("it is of another format"));
        }
        if fixed.try_get_u64_le()? != number || fixed.try_get_u64_le()? != segment_bytes {
            return Err(SidecarError::Mismatch("it is about another segment"));
        }
        Ok(Self {
            head: fixed.try_get_u32_le()? as usize,
            body: fixed.try_get_u32_le()? as usize,
            head_sum: fixed.try_get_u32_le()?,
            body_sum: fixed.try_get_u32_le()?,
        })
    }

    fn check_head(&self, fixed: &[u8], head: &[u8]) -> Result<(), SidecarError> {
        if crc32c::crc32c_append(crc32c::crc32c(&fixed[..FIXED_BYTES - 8]), head) != self.head_sum {
            return Err(SidecarError::Mismatch("the checksum of its head"));
        }
        Ok(())
    }
}

fn parse_head(mut from: &[u8]) -> Result<Head, SidecarError> {
    let from = &mut from;
    let mut summary =
        Summary { runs: from.try_get_u32_le()?, ticks: from.try_get_u32_le()?, ..Summary::default() };
    if summary.runs > 0 {
        let (first, last) = (take::<16>(from)?, take::<16>(from)?);
        summary.ids = Some((RunId::from_bytes(first), RunId::from_bytes(last)));
    }
    let (oldest, newest, due_newest) = (take_instant(from)?, take_instant(from)?, take_instant(from)?);
    summary.accepted_oldest = (summary.runs > 0).then_some(oldest);
    summary.newest = (summary.runs > 0 || summary.ticks > 0).then_some(newest);
    summary.due_newest = (summary.ticks > 0).then_some(due_newest);
    for _ in 0..from.try_get_u32_le()? {
        summary.shares.push(Share {
            workflow: WorkflowId::from_bytes(take(from)?),
            runs: from.try_get_u32_le()?,
            ticks: from.try_get_u32_le()?,
            bytes: from.try_get_u64_le()?,
            classes: Classes(from.try_get_u32_le()?),
        });
    }
    let mut head = Head { summary, schedules: Vec::new(), open_ticks: Vec::new() };
    let mut first: u32 = 0;
    for _ in 0..from.try_get_u32_le()? {
        let workflow = WorkflowId::from_bytes(take(from)?);
        let due_newest = take_instant(from)?;
        let ticks = from.try_get_u32_le()?;
        let mut name = vec![0; (from.try_get_u32_le()? as usize).min(from.remaining())];
        from.try_copy_to_slice(&mut name)?;
        let schedule = String::from_utf8(name).map_err(|_| SidecarError::Mismatch("a schedule's name"))?;
        head.schedules.push(ScheduleRows { workflow, schedule, due_newest, first, ticks });
        first = first.checked_add(ticks).ok_or(SidecarError::Mismatch("its counts"))?;
    }
    for _ in 0..from.try_get_u32_le()? {
        let (offset, body_bytes) = (from.try_get_u32_le()?, from.try_get_u32_le()?);
        head.open_ticks.push(Place { offset, body_bytes, tail_bytes: 0 });
    }
    Ok(head)
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], SidecarError> {
    let mut bytes = [0; N];
    from.try_copy_to_slice(&mut bytes)?;
    Ok(bytes)
}

fn take_instant(from: &mut &[u8]) -> Result<Timestamp, SidecarError> {
    instant(&take::<12>(from)?).ok_or(SidecarError::Mismatch("an instant"))
}

impl Sidecar {
    /// Reads the index of a segment of `segment_bytes` bytes.
    pub(super) fn read(runs: &Path, number: u64, segment_bytes: u64) -> Result<Self, SidecarError> {
        Self::parse(std::fs::read(path(runs, number))?, number, segment_bytes)
    }

    /// Takes an index from the bytes of its file.
    pub(super) fn parse(mut file: Vec<u8>, number: u64, segment_bytes: u64) -> Result<Self, SidecarError> {
        let sizes = Sizes::parse(&file, number, segment_bytes)?;
        if file.len() != FIXED_BYTES + sizes.head + sizes.body {
            return Err(SidecarError::Mismatch("its size is not what it says"));
        }
        let body = file.split_off(FIXED_BYTES + sizes.head);
        sizes.check_head(&file, &file[FIXED_BYTES..])?;
        if crc32c::crc32c(&body) != sizes.body_sum {
            return Err(SidecarError::Mismatch("the checksum of its body"));
        }
        let head = parse_head(&file[FIXED_BYTES..])?;
        let mut first_postings = Vec::with_capacity(head.summary.shares.len());
        let mut first = 0;
        for share in &head.summary.shares {
            first_postings.push(first);
            first += share.runs as usize;
        }
        let (runs, ticks) = (head.summary.runs as usize, head.summary.ticks as usize);
        if first != runs || body.len() != runs * (RUN_ROW_BYTES + 4) + ticks * TICK_ROW_BYTES {
            return Err(SidecarError::Mismatch("its counts"));
        }
        Ok(Self { head, first_postings, body })
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + self.head.schedules.len() * 80 + self.head.summary.shares.len() * 40
    }

    /// Hands the rows that the selection takes to `each`, newest first, until it says no.
    pub(super) fn select(&self, selection: &Selection, mut each: impl FnMut(RunRow) -> bool) {
        let runs = self.head.summary.runs as usize;
        let (first, count) = match selection.workflow {
            None => (None, runs),
            Some(workflow) => match self.head.summary.share(workflow) {
                None => return,
                Some((index, share)) => (Some(self.first_postings[index]), share.runs as usize),
            },
        };
        let number = |at: usize| first.map_or(at, |first| self.posting(first + at));
        let end = match selection.before {
            None => count,
            Some(before) => partition_point(count, |at| self.run_id(number(at)) < before),
        };
        for at in (0..end).rev() {
            if let Some(row) = self.run_row(number(at))
                && selection.takes(&row)
                && !each(row)
            {
                return;
            }
        }
    }

    /// The row of a run.
    pub(super) fn run(&self, id: RunId) -> Option<RunRow> {
        let runs = self.head.summary.runs as usize;
        let at = partition_point(runs, |at| self.run_id(at) < id);
        (at < runs).then(|| self.run_row(at)).flatten().filter(|row| row.id == id)
    }

    /// A workflow's rows, by id.
    pub(super) fn runs_of(&self, workflow: WorkflowId) -> Vec<RunRow> {
        let Some((index, share)) = self.head.summary.share(workflow) else { return Vec::new() };
        let first = self.first_postings[index];
        (first..first + share.runs as usize).filter_map(|at| self.run_row(self.posting(at))).collect()
    }

    /// All rows of runs, by id.
    pub(super) fn runs(&self) -> impl Iterator<Item = RunRow> {
        (0..self.head.summary.runs as usize).filter_map(|at| self.run_row(at))
    }

    /// The newest ticks of a workflow, or of one of its schedules, that were due at
    /// `until` at the latest; at most `limit`, and one more, of each schedule.
    pub(super) fn ticks(
        &self,
        workflow: WorkflowId,
        schedule: Option<&str>,
        until: Option<Timestamp>,
        limit: usize,
    ) -> Vec<(TickKey, Place)> {
        let schedules = &self.head.schedules;
        let first = schedules.partition_point(|rows| rows.workflow < workflow);
        let own = schedules[first..].iter().take_while(|rows| rows.workflow == workflow);
        own.filter(|rows| schedule.is_none_or(|name| rows.schedule == name))
            .flat_map(|rows| {
                let (first, count) = (rows.first as usize, rows.ticks as usize);
                let is_early = |at| self.tick_row(first + at).is_some_and(|(due, _)| until >= Some(due));
                let count = if until.is_some() { partition_point(count, is_early) } else { count };
                // One more: the caller may not want the last one, whose name is behind.
                let newest = (first..first + count).rev().take(limit.saturating_add(1));
                newest.filter_map(|at| {
                    let (due, place) = self.tick_row(at)?;
                    Some((TickKey { workflow, schedule: rows.schedule.clone(), due }, place))
                })
            })
            .collect()
    }

    /// Where a tick stands.
    pub(super) fn tick(&self, key: &TickKey) -> Option<Place> {
        let schedules = &self.head.schedules;
        let wanted = (key.workflow, key.schedule.as_str());
        let index =
            schedules.binary_search_by(|rows| (rows.workflow, rows.schedule.as_str()).cmp(&wanted)).ok()?;
        let (first, count) = (schedules[index].first as usize, schedules[index].ticks as usize);
        let earlier = |at: usize| self.tick_row(first + at).is_some_and(|(due, _)| due < key.due);
        let at = partition_point(count, earlier);
        let (due, place) = (at < count).then(|| self.tick_row(first + at)).flatten()?;
        (due == key.due).then_some(place)
    }

    fn run_bytes(&self, at: usize) -> &[u8] {
        &self.body[at * RUN_ROW_BYTES..(at + 1) * RUN_ROW_BYTES]
    }

    fn run_id(&self, at: usize) -> RunId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.run_bytes(at)[..16]);
        RunId::from_bytes(id)
    }

    /// `None` for a row that no build wrote; the checksum makes that unlikely.
    fn run_row(&self, at: usize) -> Option<RunRow> {
        let bytes = self.run_bytes(at);
        let share = self.head.summary.shares.get(word(bytes, 16) as usize)?;
        let place =
            Place { offset: word(bytes, 32), body_bytes: word(bytes, 36), tail_bytes: word(bytes, 40) };
        Some(RunRow {
            id: self.run_id(at),
            workflow: share.workflow,
            accepted_at: instant(&bytes[20..32])?,
            class: Class::from_code(bytes[44])?,
            place,
        })
    }

    fn posting(&self, at: usize) -> usize {
        let runs = self.head.summary.runs as usize;
        let number = word(&self.body, runs * RUN_ROW_BYTES + at * 4) as usize;
        number.min(runs.saturating_sub(1))
    }

    fn tick_row(&self, at: usize) -> Option<(Timestamp, Place)> {
        let first = self.head.summary.runs as usize * (RUN_ROW_BYTES + 4) + at * TICK_ROW_BYTES;
        let bytes = self.body.get(first..first + TICK_ROW_BYTES)?;
        let place = Place { offset: word(bytes, 12), body_bytes: word(bytes, 16), tail_bytes: 0 };
        Some((instant(bytes)?, place))
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The first index below `count` for which `is_before` is false.
fn partition_point(count: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Makes the checksums of an index right whatever it holds.
#[cfg(test)]
pub(super) fn fix_checksums(file: &mut [u8]) {
    let head_end = FIXED_BYTES + word(file, 28) as usize;
    let head = crc32c::crc32c_append(crc32c::crc32c(&file[..FIXED_BYTES - 8]), &file[FIXED_BYTES..head_end]);
    let body = crc32c::crc32c(&file[head_end..]);
    file[36..40].copy_from_slice(&head.to_le_bytes());
    file[40..44].copy_from_slice(&body.to_le_bytes());
}
