//! The index of one complete segment, in an immutable file beside it.
//!
//! ```text
//! "tidegidx" 8 | format 4 | segment number 8 | segment bytes 8 | head bytes 4
//! | body bytes 4 | CRC32C of the head and the above 4
//! | head: summary, shares of the workflows, schedules, open ticks, CRC32C of each block
//! | body: run rows by id | run numbers by workflow, class and id | run numbers by class
//! |   and id | tick rows by schedule and due
//! ```
//!
//! A class is a status and a trigger. Whatever a listing asks for of workflows and classes
//! is a few lists of run numbers, each by id: they are merged, and rows that nobody asked
//! for are not looked at. The body is read in [blocks](super::blocks).
//!
//! It can be made again from the segment at any time. Deleting runs is deleting two
//! files; nothing has to be taken out of a shared index, and no index grows in memory
//! with the number of runs.

use std::collections::{BTreeMap, BinaryHeap};
use std::path::{Path, PathBuf};

use bytes::Buf;
use jiff::Timestamp;

use super::blocks::{BLOCK_BYTES, Blocks};
use super::folder;
use super::records::instant;
use super::rows::{Class, Classes, Place, RunRow, Selection, TickKey};
use crate::run::RunId;
use crate::workflow::WorkflowId;

pub(super) const MAGIC: [u8; 8] = *b"tidegidx";
/// Since 2 a share has the bytes of its runs; since 3 there are lists by class, and a
/// checksum for each block. An index of another format is made again.
pub(super) const FORMAT: u32 = 3;
pub(super) const FIXED_BYTES: usize = 40;
pub(super) const RUN_ROW_BYTES: usize = 48;
pub(super) const TICK_ROW_BYTES: usize = 20;
const POSTING_BYTES: usize = 4;

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
    /// By share and class.
    lists: Vec<List>,
    /// CRC32C of each block of the body.
    sums: Vec<u32>,
}

/// Runs of a workflow with the same status and trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct List {
    share: u32,
    class: Class,
    postings: Postings,
}

/// Numbers of runs, by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Postings {
    first: usize,
    runs: usize,
}

/// A whole index.
pub(super) struct Sidecar {
    pub(super) head: Head,
    /// The runs of each class.
    by_class: Vec<(Class, Postings)>,
    body: Blocks,
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
    open(runs, number, segment_bytes).map(|(_, _, head)| head)
}

fn open(runs: &Path, number: u64, segment_bytes: u64) -> Result<(std::fs::File, Sizes, Head), SidecarError> {
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
    let head = parse_head(&head, sizes.body)?;
    Ok((file, sizes, head))
}

struct Sizes {
    head: usize,
    body: usize,
    head_sum: u32,
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
        })
    }

    fn check_head(&self, fixed: &[u8], head: &[u8]) -> Result<(), SidecarError> {
        if crc32c::crc32c_append(crc32c::crc32c(&fixed[..FIXED_BYTES - 4]), head) != self.head_sum {
            return Err(SidecarError::Mismatch("the checksum of its head"));
        }
        Ok(())
    }
}

fn parse_head(mut from: &[u8], body_bytes: usize) -> Result<Head, SidecarError> {
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
    let (mut lists, mut postings) = (Vec::new(), 0);
    for number in 0..from.try_get_u32_le()? {
        let share = Share {
            workflow: WorkflowId::from_bytes(take(from)?),
            runs: from.try_get_u32_le()?,
            ticks: from.try_get_u32_le()?,
            bytes: from.try_get_u64_le()?,
            classes: Classes(from.try_get_u32_le()?),
        };
        summary.shares.push(share);
        let first = postings;
        for class in Class::all().filter(|class| share.classes.contains(*class)) {
            let own = Postings { first: postings, runs: from.try_get_u32_le()? as usize };
            postings += own.runs;
            lists.push(List { share: number, class, postings: own });
        }
        if postings - first != share.runs as usize {
            return Err(SidecarError::Mismatch("its counts"));
        }
    }
    let (runs, ticks) = (summary.runs as usize, summary.ticks as usize);
    if postings != runs || body_bytes != runs * (RUN_ROW_BYTES + 2 * POSTING_BYTES) + ticks * TICK_ROW_BYTES {
        return Err(SidecarError::Mismatch("its counts"));
    }
    let mut head = Head { summary, schedules: Vec::new(), open_ticks: Vec::new(), lists, sums: Vec::new() };
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
    for _ in 0..body_bytes.div_ceil(BLOCK_BYTES) {
        head.sums.push(from.try_get_u32_le()?);
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
    /// Opens the index of a segment of `segment_bytes` bytes; its body is read when it is
    /// asked for.
    pub(super) fn open(runs: &Path, number: u64, segment_bytes: u64) -> Result<Self, SidecarError> {
        let (file, sizes, head) = open(runs, number, segment_bytes)?;
        let start = (FIXED_BYTES + sizes.head) as u64;
        let body = Blocks::of_file(file, start, sizes.body, head.sums.clone());
        Ok(Self::new(head, body))
    }

    /// Takes an index from the bytes of its file.
    pub(super) fn parse(file: &[u8], number: u64, segment_bytes: u64) -> Result<Self, SidecarError> {
        let sizes = Sizes::parse(file, number, segment_bytes)?;
        if file.len() != FIXED_BYTES + sizes.head + sizes.body {
            return Err(SidecarError::Mismatch("its size is not what it says"));
        }
        let (head, body) = file[FIXED_BYTES..].split_at(sizes.head);
        sizes.check_head(file, head)?;
        let head = parse_head(head, sizes.body)?;
        let body = Blocks::of_bytes(body, head.sums.clone())?;
        Ok(Self::new(head, body))
    }

    fn new(head: Head, body: Blocks) -> Self {
        let mut counts: BTreeMap<u8, (Class, usize)> = BTreeMap::new();
        for list in &head.lists {
            counts.entry(list.class.code()).or_insert((list.class, 0)).1 += list.postings.runs;
        }
        // The lists by class are behind those by workflow, which name every run once.
        let mut first = head.summary.runs as usize;
        let by_class = counts.into_values().map(|(class, runs)| {
            let own = Postings { first, runs };
            first += runs;
            (class, own)
        });
        Self { by_class: by_class.collect(), head, body }
    }

    /// Reads and checks all of it.
    pub(super) fn load(&self) -> Result<(), SidecarError> {
        self.body.load()
    }

    /// Reads what the first page of a listing looks at: the lists, and the newest rows.
    pub(super) fn load_lists(&self) -> Result<(), SidecarError> {
        let rows = self.head.summary.runs as usize * RUN_ROW_BYTES;
        let lists = self.head.summary.runs as usize * 2 * POSTING_BYTES;
        self.body.load_range(rows.saturating_sub(RUN_ROW_BYTES)..rows + lists)
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let head = &self.head;
        let lists = head.lists.len() * 32 + head.sums.len() * 32;
        self.body.loaded_bytes() + head.schedules.len() * 80 + head.summary.shares.len() * 40 + lists
    }

    /// Hands the rows that the selection takes to `each`, newest first, until it says no.
    pub(super) fn select(
        &self,
        selection: &Selection,
        mut each: impl FnMut(RunRow) -> bool,
    ) -> Result<(), SidecarError> {
        let runs = self.head.summary.runs as usize;
        let end = match selection.before {
            None => runs,
            Some(before) => partition_point(runs, |at| Ok(self.run_id(at)? < before))?,
        };
        let Some(lists) = self.lists(selection) else {
            for number in (0..end).rev() {
                if !self.offer(number, selection, &mut each)? {
                    break;
                }
            }
            return Ok(());
        };
        // The largest number that is left of each list.
        let mut heads = BinaryHeap::with_capacity(lists.len());
        for (index, list) in lists.iter().enumerate() {
            let left = match end == runs {
                true => list.runs,
                false => partition_point(list.runs, |at| Ok(self.posting(list.first + at)? < end))?,
            };
            if left > 0 {
                heads.push((self.posting(list.first + left - 1)?, index, left - 1));
            }
        }
        while let Some((number, index, left)) = heads.pop() {
            if !self.offer(number, selection, &mut each)? {
                break;
            }
            if left > 0 {
                heads.push((self.posting(lists[index].first + left - 1)?, index, left - 1));
            }
        }
        Ok(())
    }

    /// The lists that hold what the selection takes of workflows and classes; `None` when
    /// that is every row.
    fn lists(&self, selection: &Selection) -> Option<Vec<Postings>> {
        let wants = |list: &&List| selection.classes.contains(list.class);
        if let Some(workflow) = selection.workflow {
            let lists = self.head.lists_of(workflow).iter().filter(wants);
            return Some(lists.map(|list| list.postings).collect());
        }
        if let Some(among) = &selection.among {
            let shares = &self.head.summary.shares;
            let is_among = |list: &&List| {
                shares.get(list.share as usize).is_some_and(|share| among.contains(&share.workflow))
            };
            let lists = self.head.lists.iter().filter(wants).filter(is_among);
            return Some(lists.map(|list| list.postings).collect());
        }
        let is_wanted = |(class, _): &&(Class, Postings)| selection.classes.contains(*class);
        let lists: Vec<_> = self.by_class.iter().filter(is_wanted).map(|(_, own)| *own).collect();
        (lists.len() < self.by_class.len()).then_some(lists)
    }

    /// Hands a row on if the selection takes it; `false` when no more are wanted.
    fn offer(
        &self,
        number: usize,
        selection: &Selection,
        each: &mut impl FnMut(RunRow) -> bool,
    ) -> Result<bool, SidecarError> {
        let row = self.run_row(number)?;
        Ok(!selection.takes(&row) || each(row))
    }

    /// The row of a run.
    pub(super) fn run(&self, id: RunId) -> Result<Option<RunRow>, SidecarError> {
        let runs = self.head.summary.runs as usize;
        let at = partition_point(runs, |at| Ok(self.run_id(at)? < id))?;
        let row = (at < runs).then(|| self.run_row(at)).transpose()?;
        Ok(row.filter(|row| row.id == id))
    }

    /// A workflow's rows, by id.
    pub(super) fn runs_of(&self, workflow: WorkflowId) -> Result<Vec<RunRow>, SidecarError> {
        let lists = self.head.lists_of(workflow).iter();
        let postings = lists.flat_map(|list| list.postings.first..list.postings.first + list.postings.runs);
        let mut numbers = postings.map(|at| self.posting(at)).collect::<Result<Vec<_>, _>>()?;
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.run_row(number)).collect()
    }

    /// All rows of runs, by id.
    pub(super) fn runs(&self) -> impl Iterator<Item = Result<RunRow, SidecarError>> {
        (0..self.head.summary.runs as usize).map(|at| self.run_row(at))
    }

    /// The newest ticks of a workflow, or of one of its schedules, that were due at
    /// `until` at the latest; at most `limit`, and one more, of each schedule.
    pub(super) fn ticks(
        &self,
        workflow: WorkflowId,
        schedule: Option<&str>,
        until: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<(TickKey, Place)>, SidecarError> {
        let schedules = &self.head.schedules;
        let first = schedules.partition_point(|rows| rows.workflow < workflow);
        let own = schedules[first..].iter().take_while(|rows| rows.workflow == workflow);
        let mut found = Vec::new();
        for rows in own.filter(|rows| schedule.is_none_or(|name| rows.schedule == name)) {
            let (first, mut count) = (rows.first as usize, rows.ticks as usize);
            if until.is_some() {
                count = partition_point(count, |at| Ok(until >= Some(self.tick_row(first + at)?.0)))?;
            }
            // One more: the caller may not want the last one, whose name is behind.
            for at in (first..first + count).rev().take(limit.saturating_add(1)) {
                let (due, place) = self.tick_row(at)?;
                found.push((TickKey { workflow, schedule: rows.schedule.clone(), due }, place));
            }
        }
        Ok(found)
    }

    /// Where a tick stands.
    pub(super) fn tick(&self, key: &TickKey) -> Result<Option<Place>, SidecarError> {
        let schedules = &self.head.schedules;
        let wanted = (key.workflow, key.schedule.as_str());
        let Ok(index) =
            schedules.binary_search_by(|rows| (rows.workflow, rows.schedule.as_str()).cmp(&wanted))
        else {
            return Ok(None);
        };
        let (first, count) = (schedules[index].first as usize, schedules[index].ticks as usize);
        let at = partition_point(count, |at| Ok(self.tick_row(first + at)?.0 < key.due))?;
        let row = (at < count).then(|| self.tick_row(first + at)).transpose()?;
        Ok(row.filter(|(due, _)| *due == key.due).map(|(_, place)| place))
    }

    fn run_id(&self, at: usize) -> Result<RunId, SidecarError> {
        Ok(RunId::from_bytes(self.body.take(at * RUN_ROW_BYTES)?))
    }

    fn run_row(&self, at: usize) -> Result<RunRow, SidecarError> {
        let bytes: [u8; RUN_ROW_BYTES] = self.body.take(at * RUN_ROW_BYTES)?;
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        let share = self.head.summary.shares.get(word(&bytes, 16) as usize);
        let class = Class::from_code(bytes[44]);
        // The checksums make a row that no build wrote unlikely.
        let (Some(share), Some(class), Some(accepted_at)) = (share, class, instant(&bytes[20..32])) else {
            return Err(SidecarError::Mismatch("a row"));
        };
        let place =
            Place { offset: word(&bytes, 32), body_bytes: word(&bytes, 36), tail_bytes: word(&bytes, 40) };
        Ok(RunRow { id: RunId::from_bytes(id), workflow: share.workflow, accepted_at, class, place })
    }

    fn posting(&self, at: usize) -> Result<usize, SidecarError> {
        let runs = self.head.summary.runs as usize;
        let number = u32::from_le_bytes(self.body.take(runs * RUN_ROW_BYTES + at * POSTING_BYTES)?) as usize;
        if number < runs { Ok(number) } else { Err(SidecarError::Mismatch("a list of runs")) }
    }

    fn tick_row(&self, at: usize) -> Result<(Timestamp, Place), SidecarError> {
        let runs = self.head.summary.runs as usize;
        let first = runs * (RUN_ROW_BYTES + 2 * POSTING_BYTES) + at * TICK_ROW_BYTES;
        let bytes: [u8; TICK_ROW_BYTES] = self.body.take(first)?;
        let place = Place { offset: word(&bytes, 12), body_bytes: word(&bytes, 16), tail_bytes: 0 };
        Ok((instant(&bytes).ok_or(SidecarError::Mismatch("a row"))?, place))
    }
}

impl Head {
    fn lists_of(&self, workflow: WorkflowId) -> &[List] {
        let Some((share, _)) = self.summary.share(workflow) else { return &[] };
        let from = self.lists.partition_point(|list| (list.share as usize) < share);
        let to = self.lists.partition_point(|list| list.share as usize <= share);
        &self.lists[from..to]
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The first index below `count` for which `is_before` is false.
fn partition_point(
    count: usize,
    is_before: impl Fn(usize) -> Result<bool, SidecarError>,
) -> Result<usize, SidecarError> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Makes the checksums of an index right whatever it holds.
#[cfg(test)]
pub(super) fn fix_checksums(file: &mut [u8]) {
    let head_end = (FIXED_BYTES + word(file, 28) as usize).min(file.len());
    let sums = super::blocks::sums(&file[head_end..]);
    let first = head_end.saturating_sub(sums.len() * 4).max(FIXED_BYTES);
    for (place, sum) in file[first..head_end].chunks_exact_mut(4).zip(sums) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    let head = crc32c::crc32c_append(crc32c::crc32c(&file[..FIXED_BYTES - 4]), &file[FIXED_BYTES..head_end]);
    file[36..40].copy_from_slice(&head.to_le_bytes());
}
