//! The one place that writes: checks, appends, and says so.
//!
//! All changes are made under one lock, so that a check and what follows from it are one
//! step. They come through one channel to a thread of its own; what is in the channel is
//! taken together: run records and ticks go to the segment in one write. Only a record
//! that need not be on the disk is written by who has it, or by who is writing at that
//! moment ([`Desk`]): waking a thread and being woken by it cost several times what the
//! write does.
//! Nothing here waits for the disk; the flush threads tell those who asked for durability.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::desk::{Desk, Left};
use super::flusher::{Ack, Flusher};
use super::frame::{Builder, Kind};
use super::keeper::Keeper;
use super::keys::{self, Position, Put};
use super::ledger::{Answer, Before};
use super::logfile::{LogFile, Purpose};
use super::records;
use super::rows::{Place, RunRow, TickKey, TickRow};
use super::segment::Segment;
use super::shared::Shared;
use super::snapshot::Moment;
use super::space::SpaceLevel;
use super::status::{CLOSED, lock, read, write};
use super::{Claim, Durability, Result, Retention, StoreError, Tick, TickState, is_full};
use crate::statistics::Sample;
use crate::workflow::WorkflowId;

/// Commands that are taken together.
const BATCH_MAX: usize = 1024;
/// Bytes that are written together.
const WRITE_BYTES_MAX: usize = 1 << 20;
/// Size at which a new journal is begun without waiting for a checkpoint.
const JOURNAL_BYTES_MAX: u64 = 16 << 20;

/// Where the answer to a command goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// What the writer can be asked for.
pub(super) enum Command {
    /// Keep the frame of a run.
    Append {
        frame: Vec<u8>,
        row: RunRow,
        /// What statistics take of it.
        sample: Sample,
        durability: Durability,
        /// Its part of the queue's bytes, given back when it is written.
        room: OwnedSemaphorePermit,
        reply: Reply<()>,
    },
    /// Claim an instant.
    Claim { tick: Tick, frame: Vec<u8>, place: Place, reply: Reply<Claim> },
    /// Anything else.
    Do(Box<dyn FnOnce(&mut Writer) + Send>),
    /// Take what is in the channel, and end.
    Close,
}

/// The writer's own state.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) log: Arc<LogFile>,
    pub(super) segment: Arc<Segment>,
    pub(super) journal: Arc<LogFile>,
    pub(super) log_flusher: Arc<Flusher>,
    pub(super) journal_flusher: Arc<Flusher>,
    pub(super) keeper: Arc<Keeper>,
    /// Empty whenever the lock is free.
    pub(super) batch: Batch,
    /// Whether the thread has ended: nothing is flushed any more.
    pub(super) has_ended: bool,
}

/// What is about to be written to the segment.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    runs: Vec<RunRow>,
    samples: Vec<Sample>,
    ticks: Vec<TickRow>,
    written: Vec<Reply<()>>,
    flushed: Vec<Ack>,
    rooms: Vec<OwnedSemaphorePermit>,
    /// What the ledger knew before the ticks of this batch.
    undo: Vec<Before>,
}

/// The thread: works until the channel is closed, then lets the other threads end.
pub(super) fn run(desk: &Desk, mut commands: mpsc::Receiver<Command>) {
    let mut taken = Vec::with_capacity(BATCH_MAX);
    while commands.blocking_recv_many(&mut taken, BATCH_MAX) > 0 {
        let mut writer = desk.sit();
        for command in taken.drain(..) {
            match command {
                Command::Append { frame, row, sample, durability, room, reply } => {
                    writer.append(&frame, (row, sample), durability, room, reply);
                }
                Command::Claim { tick, frame, place, reply } => writer.claim(tick, &frame, place, reply),
                Command::Do(action) => action(&mut writer),
                Command::Close => commands.close(),
            }
            if writer.batch.bytes.len() >= WRITE_BYTES_MAX {
                writer.write_out();
            }
        }
        writer.write_out();
    }
    let mut writer = desk.sit();
    writer.has_ended = true;
    writer.log_flusher.close();
    writer.journal_flusher.close();
    writer.keeper.close();
}

impl Writer {
    /// Writes the frame of a run at once: on return the operating system has it.
    pub(super) fn append_now(&mut self, frame: &[u8], row: RunRow, sample: Sample) -> Result<()> {
        self.check(row.workflow)?;
        let place = self.place(row.place);
        self.batch.runs.push(RunRow { place, ..row });
        self.batch.samples.push(sample);
        // As it is: copied into the batch it would go through two threads' caches.
        self.write(frame)
    }

    /// Writes what others left while this thread held the desk, and tells them.
    pub(super) fn append_left(&mut self, left: Vec<Left>) {
        for Left { frame, row, sample, reply } in left {
            match self.admit(&frame, row, sample) {
                Ok(()) => self.batch.written.push(reply),
                Err(error) => answer(reply, Err(error)),
            }
        }
        self.write_out();
    }

    /// Takes a run's frame into the batch.
    fn admit(&mut self, frame: &[u8], row: RunRow, sample: Sample) -> Result<()> {
        self.check(row.workflow)?;
        let place = self.push(frame, row.place);
        self.batch.runs.push(RunRow { place, ..row });
        self.batch.samples.push(sample);
        Ok(())
    }

    /// Whether a run of this workflow is kept now.
    fn check(&self, id: WorkflowId) -> Result<()> {
        if self.has_ended {
            return Err(StoreError::Stopped(CLOSED.to_owned()));
        }
        self.check_workflow(id)?;
        self.shared.space.check(SpaceLevel::Full)
    }

    fn check_workflow(&self, id: WorkflowId) -> Result<()> {
        self.shared.status.check()?;
        read(&self.shared.metadata).get(id).map(drop)
    }

    fn append(
        &mut self,
        frame: &[u8],
        (row, sample): (RunRow, Sample),
        durability: Durability,
        room: OwnedSemaphorePermit,
        reply: Reply<()>,
    ) {
        if let Err(error) = self.admit(frame, row, sample) {
            return answer(reply, Err(error));
        }
        self.batch.rooms.push(room);
        match durability {
            Durability::Written => self.batch.written.push(reply),
            Durability::Durable => self.batch.flushed.push(acknowledge(reply, ())),
        }
    }

    fn claim(&mut self, tick: Tick, frame: &[u8], place: Place, reply: Reply<Claim>) {
        match self.is_free(&tick) {
            Err(error) => answer(reply, Err(error)),
            Ok(false) => answer(reply, Ok(Claim::Taken)),
            Ok(true) => {
                let acks = acknowledge(reply, Claim::Claimed);
                self.push_tick(Arc::new(tick), frame, place);
                self.batch.flushed.push(acks);
            }
        }
    }

    /// Claims many instants, with one flush and one answer for all.
    pub(super) fn claim_all(&mut self, ticks: Vec<(Tick, Vec<u8>, Place)>, reply: Reply<Vec<Claim>>) {
        let mut claims = Vec::with_capacity(ticks.len());
        for (tick, frame, place) in ticks {
            match self.is_free(&tick) {
                Err(error) => return answer(reply, Err(error)),
                Ok(false) => claims.push(Claim::Taken),
                Ok(true) => {
                    self.push_tick(Arc::new(tick), &frame, place);
                    claims.push(Claim::Claimed);
                }
            }
            if self.batch.bytes.len() >= WRITE_BYTES_MAX {
                self.write_out();
            }
        }
        if claims.contains(&Claim::Claimed) {
            self.batch.flushed.push(acknowledge(reply, claims));
        } else {
            answer(reply, Ok(claims));
        }
    }

    fn is_free(&mut self, tick: &Tick) -> Result<bool> {
        self.check_workflow(tick.workflow)?;
        let floor = read(&self.shared.metadata).ledger_floor();
        let answer = lock(&self.shared.ledger).ask(tick, floor);
        match answer {
            Answer::Free => Ok(true),
            Answer::Taken => Ok(false),
            Answer::Unknown => {
                self.write_out();
                match self.shared.segments.tick(&TickKey::of(tick)) {
                    Ok(found) => Ok(found.is_none()),
                    // Its entry is there, though it cannot be read any more.
                    Err(StoreError::Damaged { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Records what became of a claimed instant.
    pub(super) fn settle(&mut self, key: &TickKey, state: TickState, lateness_us: u64, reply: Reply<()>) {
        match self.plan_settle(key, state, lateness_us) {
            Err(error) => answer(reply, Err(error)),
            Ok((tick, frame, place)) => {
                self.push_tick(tick, &frame, place);
                self.batch.flushed.push(acknowledge(reply, ()));
            }
        }
    }

    fn plan_settle(
        &mut self,
        key: &TickKey,
        state: TickState,
        lateness_us: u64,
    ) -> Result<(Arc<Tick>, Vec<u8>, Place)> {
        self.check_workflow(key.workflow)?;
        let unsettled = lock(&self.shared.ledger).unsettled(key);
        let before = match unsettled {
            Some(tick) => tick,
            None => {
                self.write_out();
                let found = self.shared.segments.tick(key)?;
                let what = || format!("the claim of {} of schedule {}", key.due, key.schedule);
                Arc::new(found.ok_or_else(|| StoreError::Missing { what: what() })?)
            }
        };
        let tick = Tick { state, lateness_us, ..(*before).clone() };
        let (frame, place) = records::encode_tick(&tick, self.shared.folder.salt())?;
        Ok((Arc::new(tick), frame, place))
    }

    fn push_tick(&mut self, tick: Arc<Tick>, frame: &[u8], place: Place) {
        let place = self.push(frame, place);
        let mut ledger = lock(&self.shared.ledger);
        self.batch.undo.push(ledger.before(&tick));
        ledger.put(&tick);
        drop(ledger);
        self.batch.ticks.push(TickRow { tick, place });
    }

    /// Adds a frame to what will be written next, and says where it will stand.
    fn push(&mut self, frame: &[u8], place: Place) -> Place {
        let place = self.place(place);
        self.batch.bytes.extend_from_slice(frame);
        place
    }

    /// Where the next frame will stand.
    fn place(&self, place: Place) -> Place {
        let offset = self.log.written() + self.batch.bytes.len() as u64;
        let offset = u32::try_from(offset).expect("a segment has at most 1 GiB and one batch");
        Place { offset, ..place }
    }

    /// Writes what was collected, shows it to readers, and tells those who wait.
    pub(super) fn write_out(&mut self) {
        // Whoever waits for it is told.
        let _ = self.try_write_out();
    }

    fn try_write_out(&mut self) -> Result<()> {
        if self.batch.bytes.is_empty() {
            // Who still waits does so for what an earlier write handed over.
            if !self.batch.flushed.is_empty() {
                self.log_flusher.written(&self.log, self.batch.flushed.drain(..));
            }
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.batch.bytes);
        let result = self.write(&bytes);
        bytes.clear();
        self.batch.bytes = bytes;
        result
    }

    /// Writes `bytes`, the frames of the batch.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let result = self.shared.status.check().and_then(|()| {
            self.log.append(bytes).map(drop).map_err(|error| {
                if is_full(&error) {
                    return self.shared.space.full();
                }
                let reason = format!("write to segment {} failed: {error}", self.log.number);
                self.shared.status.stop(reason.clone());
                StoreError::Stopped(reason)
            })
        });
        let batch = &mut self.batch;
        batch.rooms.clear();
        if let Err(error) = result {
            let mut ledger = lock(&self.shared.ledger);
            batch.undo.drain(..).rev().for_each(|before| ledger.restore(before));
            drop(ledger);
            let again = || match &error {
                StoreError::Full { free_bytes } => StoreError::Full { free_bytes: *free_bytes },
                other => StoreError::Stopped(other.to_string()),
            };
            batch.runs.clear();
            batch.samples.clear();
            batch.ticks.clear();
            batch.written.drain(..).for_each(|reply| answer(reply, Err(again())));
            batch.flushed.drain(..).for_each(|ack| ack(Err(again())));
            return Err(error);
        }
        batch.undo.clear();
        self.segment.bytes.store(self.log.written(), Ordering::Relaxed);
        self.shared.status.runs.fetch_add(batch.runs.len() as u64, Ordering::Relaxed);
        let rows = self
            .segment
            .live_rows()
            .map_or(0, |live| live.extend(batch.runs.drain(..), batch.ticks.drain(..)));
        batch.written.drain(..).for_each(|reply| answer(reply, Ok(())));
        self.log_flusher.written(&self.log, batch.flushed.drain(..));
        // Last: those who wait for the thread are told already.
        let position = Position { file: self.log.number, offset: self.log.written() };
        self.shared.statistics.add(batch.samples.drain(..), position);
        let options = &self.shared.options;
        if self.log.written() >= options.segment_bytes || rows >= options.segment_rows {
            self.rotate();
        }
        Ok(())
    }

    /// Begins a new segment.
    fn rotate(&mut self) {
        let (folder, salt) = (self.shared.folder.runs(), self.shared.folder.salt());
        let number = self.log.number + 1;
        match LogFile::create(&folder, Purpose::Runs, number, salt) {
            // The segment grows on until there is room.
            Err(error) if error.is_full() => {}
            Err(error) => self.shared.status.stop(with_source(&error)),
            Ok(log) => {
                let log = std::mem::replace(&mut self.log, Arc::new(log));
                let segment = Arc::new(Segment::live(number, salt, self.log.written()));
                self.shared.segments.put(segment.clone());
                let segment = std::mem::replace(&mut self.segment, segment);
                self.keeper.complete(segment, log);
            }
        }
    }

    /// Chooses the segments that a policy deletes, and makes sure that the ledger does
    /// not need them. `ends_open` is the segment to go on behind, if it is written to
    /// still. `victims` is told when that is durable, `carried` when the ticks
    /// that nothing settled yet are in another segment.
    pub(super) fn prune(
        &mut self,
        retention: &Retention,
        ends_open: Option<u64>,
        carried: Reply<()>,
        victims: Reply<Vec<Arc<Segment>>>,
    ) {
        self.write_out();
        if ends_open == Some(self.segment.number) {
            self.rotate();
        }
        let mut chosen = self.shared.segments.victims(retention);
        if chosen.last().is_some_and(|last| last.number == self.segment.number) {
            if self.segment.live_rows().is_none_or(|live| live.len() == 0) {
                chosen.pop();
            } else {
                self.rotate();
            }
        }
        if let Err(error) = self.shared.status.check() {
            return answer(victims, Err(error));
        }
        if chosen.is_empty() {
            answer(carried, Ok(()));
            return answer(victims, Ok(chosen));
        }
        if let Err(error) = self.carry(carried) {
            return answer(victims, Err(error));
        }
        let floor = chosen.iter().filter_map(|segment| segment.due_newest()).max();
        let puts = match floor {
            None => Ok(Vec::new()),
            Some(floor) => read(&self.shared.metadata).plan_floor(floor),
        };
        match puts {
            Err(error) => answer(victims, Err(error)),
            Ok(puts) => self.commit(puts, chosen, victims),
        }
    }

    /// Writes every tick that nothing settled once more.
    fn carry(&mut self, reply: Reply<()>) -> Result<()> {
        let unsettled = lock(&self.shared.ledger).all_unsettled();
        if unsettled.is_empty() {
            answer(reply, Ok(()));
            return Ok(());
        }
        for tick in unsettled {
            let (frame, place) = records::encode_tick(&tick, self.shared.folder.salt())?;
            self.push_tick(tick, &frame, place);
        }
        self.batch.flushed.push(acknowledge(reply, ()));
        self.write_out();
        Ok(())
    }

    /// Puts values of the metadata into the journal and takes them over; `reply` gets
    /// `value` when they are on the disk.
    pub(super) fn commit<T: Send + 'static>(&mut self, puts: Vec<Put>, value: T, reply: Reply<T>) {
        if puts.is_empty() {
            return answer(reply, Ok(value));
        }
        if let Err(error) = self.journal(puts) {
            return answer(reply, Err(error));
        }
        self.journal_flusher.written(&self.journal, [acknowledge(reply, value)]);
        self.keeper.changed();
        if self.journal.written() >= JOURNAL_BYTES_MAX {
            self.rotate_journal();
            self.keeper.hurry();
        }
    }

    /// Answers when all changes of the metadata so far are on the disk.
    pub(super) fn answer_when_flushed<T: Send + 'static>(&self, value: T, reply: Reply<T>) {
        self.journal_flusher.written(&self.journal, [acknowledge(reply, value)]);
    }

    fn journal(&mut self, puts: Vec<Put>) -> Result<()> {
        self.shared.status.check()?;
        let mut builder = Builder::new(Kind::Change, 1024);
        keys::encode_puts(builder.buffer(), &puts);
        let frame = builder.finish(self.shared.folder.salt()).map_err(|error| StoreError::Limit {
            what: format!("a change of {} bytes", error.bytes),
            limit: format!("{} bytes", super::frame::FRAME_BYTES_MAX),
        })?;
        let stop = |reason: String| {
            self.shared.status.stop(reason.clone());
            StoreError::Stopped(reason)
        };
        let at = self.journal.append(&frame).map_err(|error| {
            if is_full(&error) {
                return self.shared.space.full();
            }
            stop(format!("write to the journal failed: {error}"))
        })?;
        let position = Position { file: self.journal.number, offset: at + frame.len() as u64 };
        // These values were made from what they are now parsed to.
        write(&self.shared.metadata).apply(puts, position).map_err(|error| stop(error.to_string()))
    }

    /// Begins a new journal, so that the one before can be deleted after a checkpoint.
    pub(super) fn rotate_journal(&mut self) {
        let (folder, salt) = (self.shared.folder.journal(), self.shared.folder.salt());
        let number = self.journal.number + 1;
        match LogFile::create(&folder, Purpose::Journal, number, salt) {
            // The journal grows on until there is room.
            Err(error) if error.is_full() => {}
            Err(error) => self.shared.status.stop(with_source(&error)),
            Ok(journal) => {
                let position = Position { file: number, offset: journal.written() };
                self.journal = Arc::new(journal);
                write(&self.shared.metadata).move_to(position);
            }
        }
    }

    /// What there is, in one step.
    pub(super) fn moment(&mut self) -> Result<Moment> {
        self.write_out();
        self.shared.status.check()?;
        let segments = self.shared.segments.list();
        Ok(Moment {
            taken_at: Timestamp::now(),
            metadata: read(&self.shared.metadata).snapshot(),
            segments: segments.into_iter().map(|segment| (segment.clone(), segment.bytes())).collect(),
            runs: self.shared.segments.count_runs(),
        })
    }

    /// Counts the runs that are shown again, after many went or came at once.
    pub(super) fn count_runs(&mut self) {
        self.write_out();
        let (status, segments) = (&self.shared.status, &self.shared.segments);
        status.runs.store(segments.count_runs(), Ordering::Relaxed);
        status.dead_bytes.store(segments.dead_bytes(), Ordering::Relaxed);
    }
}

/// Nobody waits any more when the caller went away; what it asked for was done.
pub(super) fn answer<T>(reply: Reply<T>, result: Result<T>) {
    let _ = reply.send(result);
}

/// Answers with `value` when a flush went well.
fn acknowledge<T: Send + 'static>(reply: Reply<T>, value: T) -> Ack {
    Box::new(move |result| answer(reply, result.map(|()| value)))
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
