//! The segments of run records, as readers see them.
//!
//! Readers take the list, then search without any lock that the writer needs. A
//! segment's rows are in memory while it is written and until its index file is there;
//! afterwards only a summary is.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use lru::LruCache;

use super::disk::{self, Step};
use super::frame;
use super::hidden::Hidden;
use super::logfile::Purpose;
use super::records;
use super::rows::{Newest, Place, RunRow, Selection, TickKey};
use super::segment::{Rows, Segment, scan};
use super::sidecar::{self, Sidecar, SidecarError};
use super::status::{Status, lock, read, write};
use super::{Result, Retention, StoreError, Tick, TickPlace, background, indexing};
use crate::run::RunId;
use crate::workflow::WorkflowId;

/// Bytes of index files that are kept in memory.
const CACHE_BYTES_MAX: usize = 64 << 20;
/// Bytes of index files that are read before anybody asks: the lists of about two million
/// runs.
const WARM_BYTES_MAX: usize = 16 << 20;
/// Index files that are kept open.
const CACHE_INDEXES_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");

/// All segments.
pub(super) struct Segments {
    folder: PathBuf,
    list: RwLock<BTreeMap<u64, Arc<Segment>>>,
    hidden: RwLock<Arc<Hidden>>,
    /// Held by readers from the search for a row until its frame is read, and by whoever
    /// puts another file under a segment's name.
    files: RwLock<()>,
    /// Indexes that were looked into lately.
    cache: Mutex<LruCache<u64, Arc<Sidecar>>>,
    status: Arc<Status>,
}

impl Segments {
    pub(super) fn new(folder: PathBuf, status: Arc<Status>) -> Self {
        let cache = Mutex::new(LruCache::new(CACHE_INDEXES_MAX));
        Self {
            folder,
            list: RwLock::default(),
            hidden: RwLock::default(),
            files: RwLock::default(),
            cache,
            status,
        }
    }

    /// Adds a segment, or puts it in the place of the one with the same number.
    pub(super) fn put(&self, segment: Arc<Segment>) {
        write(&self.list).insert(segment.number, segment);
    }

    /// All segments, the newest first.
    pub(super) fn list(&self) -> Vec<Arc<Segment>> {
        read(&self.list).values().rev().cloned().collect()
    }

    /// Bytes of segments, and bytes of index files.
    pub(super) fn bytes(&self) -> (u64, u64) {
        read(&self.list).values().fold((0, 0), |(records, indexes), segment| {
            (records + segment.bytes(), indexes + segment.index_bytes)
        })
    }

    /// What is not shown.
    pub(super) fn hidden(&self) -> Arc<Hidden> {
        read(&self.hidden).clone()
    }

    /// Changes what is not shown.
    pub(super) fn hide(&self, change: impl FnOnce(&mut Hidden)) {
        change(Arc::make_mut(&mut write(&self.hidden)));
    }

    /// Places of rows are right as long as this is held. Not to be asked for twice by one
    /// thread.
    pub(super) fn reading(&self) -> RwLockReadGuard<'_, ()> {
        read(&self.files)
    }

    /// The lock for putting another file under a segment's name.
    pub(super) fn files(&self) -> &RwLock<()> {
        &self.files
    }

    /// Whether this is what is known of the segment.
    pub(super) fn is_current(&self, segment: &Arc<Segment>) -> bool {
        read(&self.list).get(&segment.number).is_some_and(|own| Arc::ptr_eq(own, segment))
    }

    /// Puts a segment that was written anew in the place of the old one.
    pub(super) fn replace(&self, segment: Arc<Segment>) {
        lock(&self.cache).pop(&segment.number);
        self.put(segment);
    }

    /// A workflow's rows in a complete segment, by id.
    pub(super) fn rows_of(&self, segment: &Segment, workflow: WorkflowId) -> Result<Vec<RunRow>> {
        Ok(self.ask_index(segment, |sidecar| sidecar.runs_of(workflow))?.unwrap_or_default())
    }

    /// Bytes of runs that are not shown any more.
    pub(super) fn dead_bytes(&self) -> u64 {
        let hidden = self.hidden();
        read(&self.list).values().map(|segment| segment.dead_bytes(&hidden)).sum()
    }

    /// The number of runs below the floors.
    pub(super) fn floored_runs(&self) -> u64 {
        let dead = self.list().into_iter().flat_map(|segment| segment.dead().into_values());
        dead.map(|portion| portion.runs).sum()
    }

    /// The number of runs that are shown.
    pub(super) fn count_runs(&self) -> u64 {
        let hidden = self.hidden();
        if hidden.is_empty() {
            return self.list().iter().map(|segment| segment.runs_len()).sum();
        }
        let portions = self.list().into_iter().flat_map(|segment| segment.shown(&hidden));
        portions.map(|(_, portion)| portion.runs).sum()
    }

    /// The newest rows that the selection takes, newest first, at most `limit`.
    pub(super) fn select(&self, selection: &Selection, limit: usize) -> Result<Vec<(Arc<Segment>, RunRow)>> {
        let mut newest = Newest::new(limit);
        let mut complete = Vec::new();
        for segment in self.list() {
            match &segment.rows {
                Rows::Live(live) => {
                    live.select(selection, |row| {
                        if newest.takes(row.id) {
                            newest.insert(row.id, (segment.clone(), row));
                        }
                    });
                }
                Rows::Complete(summary) if summary.may_have(selection) => {
                    complete.extend(summary.ids.map(|(_, largest)| (largest, segment)));
                }
                Rows::Complete(_) => {}
            }
        }
        complete.sort_by_key(|(largest, _)| std::cmp::Reverse(*largest));
        for (largest, segment) in complete {
            if !newest.takes(largest) {
                break;
            }
            self.ask_index(&segment, |sidecar| {
                sidecar.select(selection, |row| {
                    let is_taken = newest.takes(row.id);
                    if is_taken {
                        newest.insert(row.id, (segment.clone(), row));
                    }
                    is_taken
                })
            })?;
        }
        Ok(newest.into_rows().collect())
    }

    /// The last run of each workflow that is shown.
    pub(super) fn last_runs(&self) -> Result<HashMap<WorkflowId, RunId>> {
        let hidden = self.hidden();
        let mut last: HashMap<WorkflowId, RunId> = HashMap::new();
        let take = |last: &mut HashMap<WorkflowId, RunId>, row: &RunRow| {
            if !hidden.hides(row.workflow, row.id) {
                let own = last.entry(row.workflow).or_insert(row.id);
                *own = row.id.max(*own);
            }
        };
        let mut complete = Vec::new();
        for segment in self.list() {
            match &segment.rows {
                Rows::Live(live) => live.rows().0.iter().for_each(|row| take(&mut last, row)),
                Rows::Complete(summary) => {
                    complete.extend(summary.ids.map(|(_, largest)| (largest, segment)))
                }
            }
        }
        complete.sort_by_key(|(largest, _)| std::cmp::Reverse(*largest));
        for (largest, segment) in complete {
            let Rows::Complete(summary) = &segment.rows else { continue };
            // Most have run later than in an old segment: it is not opened for them.
            let shares = summary.shares.iter().filter(|share| share.runs > 0);
            let open: Vec<_> =
                shares.filter(|share| last.get(&share.workflow).is_none_or(|id| *id < largest)).collect();
            for share in open {
                self.rows_of(&segment, share.workflow)?.iter().for_each(|row| take(&mut last, row));
            }
        }
        Ok(last)
    }

    /// The row of a run, unless it is hidden.
    pub(super) fn run(&self, id: RunId) -> Result<Option<(Arc<Segment>, RunRow)>> {
        for segment in self.list() {
            let row = match &segment.rows {
                Rows::Live(live) => live.run(id),
                Rows::Complete(summary) => match summary.ids {
                    Some((smallest, largest)) if smallest <= id && id <= largest => {
                        self.ask_index(&segment, |sidecar| sidecar.run(id))?.flatten()
                    }
                    _ => None,
                },
            };
            if let Some(row) = row {
                return Ok((!self.hidden().hides(row.workflow, row.id)).then_some((segment, row)));
            }
        }
        Ok(None)
    }

    /// The newest ticks of a workflow, or of one of its schedules, by due instant, up to
    /// a place and with it.
    pub(super) fn ticks(
        &self,
        workflow: WorkflowId,
        schedule: Option<&str>,
        up_to: Option<&TickPlace>,
        limit: usize,
    ) -> Result<Vec<Tick>> {
        let _reading = self.reading();
        // What was written later says what became of an instant: newer segments first.
        let mut found: BTreeMap<(Timestamp, String), (Arc<Segment>, Place)> = BTreeMap::new();
        for segment in self.list() {
            let rows = match &segment.rows {
                Rows::Live(live) => live.ticks(workflow, schedule),
                Rows::Complete(summary) => {
                    let has_ticks = summary.share(workflow).is_some_and(|(_, share)| share.ticks > 0);
                    let is_late_enough = found.len() < limit
                        || found
                            .first_key_value()
                            .is_some_and(|((due, _), _)| summary.due_newest >= Some(*due));
                    if !has_ticks || !is_late_enough {
                        continue;
                    }
                    let until = up_to.map(|place| place.due);
                    self.ask_index(&segment, |sidecar| sidecar.ticks(workflow, schedule, until, limit))?
                        .unwrap_or_default()
                }
            };
            let wanted = rows.into_iter().filter(|(key, _)| {
                up_to.is_none_or(|up_to| (key.due, &key.schedule) <= (up_to.due, &up_to.schedule))
            });
            for (key, place) in wanted {
                found.entry((key.due, key.schedule)).or_insert_with(|| (segment.clone(), place));
            }
            while found.len() > limit {
                found.pop_first();
            }
        }
        found.values().rev().map(|(segment, place)| self.read_tick(segment, *place)).collect()
    }

    /// A tick as it was written last.
    pub(super) fn tick(&self, key: &TickKey) -> Result<Option<Tick>> {
        let _reading = self.reading();
        for segment in self.list() {
            let place = match &segment.rows {
                Rows::Live(live) => live.tick(key),
                Rows::Complete(summary) if summary.due_newest >= Some(key.due) => {
                    self.ask_index(&segment, |sidecar| sidecar.tick(key))?.flatten()
                }
                Rows::Complete(_) => None,
            };
            if let Some(place) = place {
                return self.read_tick(&segment, place).map(Some);
            }
        }
        Ok(None)
    }

    /// The tick in a frame.
    pub(super) fn read_tick(&self, segment: &Segment, place: Place) -> Result<Tick> {
        let frame = self.read_body(segment, place)?;
        let damaged = |reason| self.damaged(segment, place, reason);
        let body =
            frame::body(&frame, segment.salt).ok_or_else(|| damaged("its checksum differs".to_owned()))?;
        records::decode_tick(body).map_err(damaged)
    }

    /// Header and body of a frame, as they are.
    pub(super) fn read_body(&self, segment: &Segment, place: Place) -> Result<Vec<u8>> {
        let start = place.offset;
        self.read_range(segment, start..start + frame::HEADER_BYTES as u32 + place.body_bytes)
    }

    /// A whole frame, as it is.
    pub(super) fn read_frame(&self, segment: &Segment, place: Place) -> Result<Vec<u8>> {
        self.read_range(segment, place.range())
    }

    /// Bytes of a segment, as they are.
    pub(super) fn read_range(&self, segment: &Segment, range: Range<u32>) -> Result<Vec<u8>> {
        let path = Purpose::Runs.path(&self.folder, segment.number);
        let bytes = (range.end - range.start) as usize;
        std::fs::File::open(&path)
            .and_then(|file| frame::read_exactly(&file, range.start.into(), bytes))
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::UnexpectedEof => StoreError::Damaged {
                    what: format!("the record at {} of segment {}", range.start, segment.number),
                    reason: "the file ends before it".to_owned(),
                },
                _ => StoreError::Io { action: format!("read {}", path.display()), source },
            })
    }

    /// An error for a frame that is not as it was written.
    pub(super) fn damaged(&self, segment: &Segment, place: Place, reason: String) -> StoreError {
        let what = format!("the record at {} of segment {}", place.offset, segment.number);
        StoreError::Damaged { what, reason }
    }

    /// Looks into the index of a complete segment, which is made again if its file is
    /// damaged: `look` may be called twice. `None` when the segment was deleted meanwhile.
    fn ask_index<T>(
        &self,
        segment: &Segment,
        mut look: impl FnMut(&Sidecar) -> std::result::Result<T, SidecarError>,
    ) -> Result<Option<T>> {
        let known = lock(&self.cache).get(&segment.number).cloned();
        let opened = match known {
            Some(sidecar) => Ok(sidecar),
            None => Sidecar::open(&self.folder, segment.number, segment.bytes()).map(Arc::new),
        };
        let error = match opened.and_then(|sidecar| look(&sidecar).map(|found| (sidecar, found))) {
            Ok((sidecar, found)) => {
                self.keep(segment.number, sidecar);
                return Ok(Some(found));
            }
            Err(error) => error,
        };
        let Some(sidecar) = self.index_again(segment, &error)?.map(Arc::new) else { return Ok(None) };
        let found = look(&sidecar).map_err(|error| StoreError::Damaged {
            what: format!("the index of segment {}", segment.number),
            reason: error.to_string(),
        })?;
        self.keep(segment.number, sidecar);
        Ok(Some(found))
    }

    /// Keeps an index at hand, as long as it is one of those that were asked last.
    fn keep(&self, number: u64, sidecar: Arc<Sidecar>) {
        let mut cache = lock(&self.cache);
        cache.put(number, sidecar);
        // What is loaded of them grows while they are used.
        let mut bytes: usize = cache.iter().map(|(_, sidecar)| sidecar.bytes()).sum();
        while bytes > CACHE_BYTES_MAX
            && let Some((_, oldest)) = cache.pop_lru()
        {
            bytes = bytes.saturating_sub(oldest.bytes());
        }
    }

    /// Reads the lists of the newest indexes, so that the first page of a listing after a
    /// start need not wait for them; until it is to end.
    pub(super) fn warm(&self, is_over: impl Fn() -> bool) {
        let mut bytes = 0;
        for segment in self.list().into_iter().take(CACHE_INDEXES_MAX.get()) {
            if is_over() || bytes > WARM_BYTES_MAX {
                return;
            }
            // What is damaged is left to whoever needs it.
            bytes += self.warm_one(&segment).unwrap_or(0);
        }
    }

    fn warm_one(&self, segment: &Arc<Segment>) -> std::result::Result<usize, SidecarError> {
        // Nobody puts another file in its place meanwhile.
        let _reading = self.reading();
        let is_complete = matches!(segment.rows, Rows::Complete(_));
        if !is_complete || !self.is_current(segment) || lock(&self.cache).contains(&segment.number) {
            return Ok(0);
        }
        let sidecar = Sidecar::open(&self.folder, segment.number, segment.bytes())?;
        sidecar.load_lists()?;
        let bytes = sidecar.bytes();
        let mut cache = lock(&self.cache);
        if !cache.contains(&segment.number) {
            cache.put(segment.number, Arc::new(sidecar));
            // Newest first is the order in which they are given up last.
            cache.demote(&segment.number);
        }
        Ok(bytes)
    }

    /// Segments whose index is open.
    #[cfg(test)]
    pub(super) fn cached_numbers(&self) -> Vec<u64> {
        lock(&self.cache).iter().map(|(number, _)| *number).collect()
    }

    fn index_again(&self, segment: &Segment, error: &SidecarError) -> Result<Option<Sidecar>> {
        if !Purpose::Runs.path(&self.folder, segment.number).exists() {
            return Ok(None);
        }
        self.status.warn(format!("the index of segment {} is made again: {error}", segment.number));
        let scanned = scan(&self.folder, segment.number, segment.salt)?;
        let file = indexing::build(segment.number, segment.bytes(), &scanned.runs, &scanned.ticks);
        sidecar::write(&self.folder, segment.number, &file).map_err(|source| StoreError::Io {
            action: format!("write the index of segment {}", segment.number),
            source,
        })?;
        self.parse(&file, segment.number, segment.bytes()).map(Some)
    }

    /// Takes an index that was just built.
    pub(super) fn parse(&self, file: &[u8], number: u64, segment_bytes: u64) -> Result<Sidecar> {
        Sidecar::parse(file, number, segment_bytes).map_err(|error| StoreError::Damaged {
            what: format!("the index of segment {number}"),
            reason: error.to_string(),
        })
    }

    /// Writes the index file of a segment that is not written to any more, and forgets
    /// its rows. The segment itself must be on the disk.
    pub(super) fn complete(&self, segment: &Arc<Segment>) -> Result<()> {
        let Some(live) = segment.live_rows() else { return Ok(()) };
        let (runs, ticks) = live.rows();
        let file = indexing::build(segment.number, segment.bytes(), &runs, &ticks);
        sidecar::write(&self.folder, segment.number, &file).map_err(|source| StoreError::Io {
            action: format!("write the index of segment {}", segment.number),
            source,
        })?;
        let index_bytes = file.len() as u64;
        let summary = self.parse(&file, segment.number, segment.bytes())?.head.summary;
        let complete = Arc::new(segment.with_index(summary, index_bytes));
        match write(&self.list).get_mut(&segment.number) {
            Some(own) => *own = complete,
            // It was deleted in between.
            None => drop(std::fs::remove_file(sidecar::path(&self.folder, segment.number))),
        }
        Ok(())
    }

    /// The segments that a policy deletes: the oldest ones, without gaps, so that what
    /// became of an instant never goes before its claim. By size and number only as long as
    /// what stays is not less than the policy's. The newest segment comes last in the
    /// list if it is among them.
    pub(super) fn victims(&self, retention: &Retention) -> Vec<Arc<Segment>> {
        let list = self.list();
        let mut total: u64 = list.iter().map(|segment| segment.bytes()).sum();
        let mut runs: u64 = list.iter().map(|segment| segment.runs_len()).sum();
        let mut victims = Vec::new();
        for segment in list.into_iter().rev() {
            let is_old = retention
                .accepted_before
                .is_some_and(|before| segment.newest().is_none_or(|newest| newest < before));
            let is_too_much = retention
                .bytes_max
                .is_some_and(|bytes_max| total.saturating_sub(segment.bytes()) >= bytes_max);
            let are_too_many = retention
                .runs_max
                .is_some_and(|runs_max| runs.saturating_sub(segment.runs_len()) >= runs_max);
            if !is_old && !is_too_much && !are_too_many {
                break;
            }
            runs = runs.saturating_sub(segment.runs_len());
            total = total.saturating_sub(segment.bytes());
            victims.push(segment);
        }
        victims
    }

    /// Deletes segments and their index files.
    pub(super) fn delete(&self, victims: &[Arc<Segment>]) -> Result<()> {
        let mut list = write(&self.list);
        victims.iter().for_each(|segment| drop(list.remove(&segment.number)));
        drop(list);
        let mut cache = lock(&self.cache);
        victims.iter().for_each(|segment| drop(cache.pop(&segment.number)));
        drop(cache);
        for (number, segment) in victims.iter().enumerate() {
            if number > 0 {
                background::pause_between_deletions();
            }
            let index = sidecar::path(&self.folder, segment.number);
            for path in [Purpose::Runs.path(&self.folder, segment.number), index] {
                match disk::step(&self.folder, Step::Remove, || std::fs::remove_file(&path)) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        return Err(StoreError::Io { action: format!("delete {}", path.display()), source });
                    }
                    _ => {}
                }
            }
        }
        super::folder::sync_folder(&self.folder)
            .map_err(|source| StoreError::Io { action: "flush the folder of runs".to_owned(), source })
    }
}
