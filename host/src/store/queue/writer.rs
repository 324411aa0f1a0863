//! The one thread that writes the queue's files, and the way to it.
//!
//! What is in the channel is taken together: checked and applied in order, written in one
//! go, flushed once, and only then acknowledged. So the number of flushes does not grow
//! with the number of callers, and a check and what follows from it are one step.
//!
//! Files are deleted from the oldest on: before that, the events that still need one are
//! written once more. A file that is gone can then never have said something about an
//! event that an older one would bring back.
//!
//! What was applied in memory cannot be taken back. While the disk is full, the thread and
//! all who asked it for something wait; new events are refused before it comes to that.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::book::{Book, InputPlace};
use super::log::{self, OldFile};
use super::{EventInput, EventState, Leased, QueueEntry, QueueFigures, QueueLimits, sealing};
use crate::run::RunId;
use crate::store::disk::{self, Step};
use crate::store::folder::sync_folder;
use crate::store::frame::Salt;
use crate::store::logfile::{LogFile, Purpose};
use crate::store::shared::Shared;
use crate::store::space::{Space, SpaceLevel};
use crate::store::status::{Status, StopOnPanic, lock};
use crate::store::{Result, StoreError, is_full};
use crate::workflow::WorkflowId;

/// Commands that are taken together.
const BATCH_MAX: usize = 1024;
/// Commands that wait for the thread.
const COMMANDS_MAX: usize = 4096;
/// Bytes that are written together.
const WRITE_BYTES_MAX: usize = 4 << 20;
/// Size at which a new file is begun.
pub(super) const FILE_BYTES: u64 = 4 << 20;
/// Files beside those that living events fill.
const SPARE_FILES_MAX: u64 = 8;
/// Files that are freed in one go.
const FREED_MAX: usize = 4;
/// What an event takes in a file without its input, roughly.
const ENTRY_BYTES: u64 = 512;
/// Time until a write that found no room is tried again.
const RETRY: Duration = Duration::from_millis(200);

type Command = Box<dyn FnOnce(&mut QueueWriter) + Send>;
type Ack = Box<dyn FnOnce(Result<()>) + Send>;

/// What the thread and the readers share.
pub(in crate::store) struct QueueShared {
    pub(super) book: Mutex<Book>,
    pub(super) limits: QueueLimits,
    /// What encrypts requests, and the workflows' keys.
    pub(super) store: Arc<Shared>,
    folder: PathBuf,
    salt: Salt,
    status: Arc<Status>,
    space: Arc<Space>,
    /// Nobody waits for room any more.
    is_closing: AtomicBool,
    file_bytes: AtomicU64,
    dead_dropped: AtomicU64,
}

impl QueueShared {
    pub(in crate::store) fn figures(&self) -> QueueFigures {
        QueueFigures {
            file_bytes: self.file_bytes(),
            dead_dropped: self.dead_dropped.load(Ordering::Relaxed),
            ..lock(&self.book).figures()
        }
    }

    /// Bytes of the files.
    pub(in crate::store) fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    fn bytes_at(&self, place: InputPlace) -> Result<Vec<u8>> {
        log::read_bytes(&self.folder, place, self.salt)
    }
}

/// The open queue.
pub(in crate::store) struct QueueHandle {
    pub(in crate::store) shared: Arc<QueueShared>,
    /// Workflows whose key of events is on the disk.
    pub(super) keyed: Mutex<HashSet<WorkflowId>>,
    commands: Mutex<Option<mpsc::Sender<Command>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl QueueHandle {
    /// Reads the files and starts the thread. Events of workflows that `is_known` does
    /// not know are forgotten.
    pub(in crate::store) fn open(store: &Arc<Shared>, is_known: impl Fn(WorkflowId) -> bool) -> Result<Self> {
        let (path, salt) = (store.folder.queue(), store.folder.salt());
        let status = store.status.clone();
        let (book, old) = log::read_all(&path, salt, &status)?;
        let number = old.last().map_or(0, |file| file.number) + 1;
        let file = LogFile::create(&path, Purpose::Queue, number, salt)?;
        let unknown: Vec<_> = book.workflows().into_iter().filter(|id| !is_known(*id)).collect();
        let shared = Arc::new(QueueShared {
            book: Mutex::new(book),
            limits: store.options.events,
            store: store.clone(),
            folder: path,
            salt,
            status,
            space: store.space.clone(),
            is_closing: AtomicBool::new(false),
            file_bytes: AtomicU64::default(),
            dead_dropped: AtomicU64::default(),
        });
        let mut writer =
            QueueWriter { shared: shared.clone(), file, old, buffer: Vec::new(), acks: Vec::new() };
        let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
        let run = move || {
            let status = writer.shared.status.clone();
            let _guard = StopOnPanic { status: &status, thread: "queue" };
            unknown.into_iter().for_each(|id| writer.forget_workflow(id));
            writer.run(receiver);
        };
        let thread = std::thread::Builder::new().name("tidegate-queue".to_owned()).spawn(run);
        let thread =
            thread.map_err(|source| StoreError::Io { action: "start a thread".to_owned(), source })?;
        let (commands, thread) = (Mutex::new(Some(sender)), Mutex::new(Some(thread)));
        Ok(Self { shared, keyed: Mutex::default(), commands, thread })
    }

    /// Has the thread do something; its answer comes when all it changed is on the disk.
    pub(in crate::store) async fn ask<T: Send + 'static>(
        &self,
        action: impl FnOnce(&mut QueueWriter) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |writer| {
            let result = writer.shared.status.check().and_then(|()| action(writer));
            // Nobody waits any more when the caller went away; what it asked for was done.
            writer.acks.push(Box::new(move |flushed| drop(reply.send(flushed.and(result)))));
        });
        let commands = lock(&self.commands).clone();
        let commands = commands.ok_or_else(|| self.ended())?;
        commands.send(command).await.map_err(|_| self.ended())?;
        drop(commands);
        answer.await.unwrap_or_else(|_| Err(self.ended()))
    }

    fn ended(&self) -> StoreError {
        let reason = self.shared.status.stopped().unwrap_or(crate::store::status::CLOSED);
        StoreError::Stopped(reason.to_owned())
    }

    /// Lets the thread finish what was asked for, and end.
    pub(in crate::store) fn take_thread(&self) -> Option<JoinHandle<()>> {
        lock(&self.commands).take();
        self.shared.is_closing.store(true, Ordering::Release);
        let thread = lock(&self.thread).take();
        if let Some(thread) = &thread {
            thread.thread().unpark();
        }
        thread
    }

    /// The file that is written to, and how much of it is on the disk.
    #[cfg(test)]
    pub(in crate::store) async fn flushed(&self) -> (u64, u64) {
        self.ask(|writer| Ok((writer.file.number, writer.file.synced()))).await.unwrap()
    }
}

/// The thread's own state.
pub(in crate::store) struct QueueWriter {
    pub(super) shared: Arc<QueueShared>,
    file: LogFile,
    /// Oldest first.
    old: Vec<OldFile>,
    /// Frames that the system does not have yet.
    buffer: Vec<u8>,
    acks: Vec<Ack>,
}

impl QueueWriter {
    fn run(&mut self, mut commands: mpsc::Receiver<Command>) {
        self.finish();
        let mut taken = Vec::with_capacity(BATCH_MAX);
        while commands.blocking_recv_many(&mut taken, BATCH_MAX) > 0 {
            for command in taken.drain(..) {
                command(self);
            }
            self.finish();
        }
    }

    // ---- what commands do ----------------------------------------------------------------

    pub(super) fn book<T>(&self, read: impl FnOnce(&mut Book) -> T) -> T {
        read(&mut lock(&self.shared.book))
    }

    /// Writes an entry; its input when it is new.
    pub(super) fn put(&mut self, entry: QueueEntry, input: Option<&[u8]>) -> Result<()> {
        let frame = log::encode(&entry, input, self.shared.salt)?;
        let place = input.map(|input| InputPlace {
            file: self.file.number,
            offset: self.file.written() + self.buffer.len() as u64,
            frame_bytes: frame.len() as u32,
            input_bytes: input.len() as u32,
        });
        let number = self.file.number;
        self.book(|book| book.put(entry, number, place));
        self.push(&frame);
        Ok(())
    }

    /// Puts an entry with the bytes that stand for another's input.
    #[cfg(test)]
    pub(super) fn copy_input(&mut self, from: RunId, to: QueueEntry) -> Result<()> {
        self.write_out()?;
        let place = self.book(|book| book.input(from));
        let bytes = place.map(|place| self.shared.bytes_at(place)).transpose()?;
        self.put(to, bytes.as_deref())
    }

    /// Forgets an event.
    pub(super) fn remove(&mut self, id: RunId) {
        self.book(|book| book.remove(id));
        let frame = log::encode_gone(id, self.shared.salt);
        self.push(&frame);
    }

    pub(in crate::store) fn forget_workflow(&mut self, workflow: WorkflowId) {
        let ids = self.book(|book| book.of_workflow(workflow));
        ids.into_iter().for_each(|id| self.remove(id));
    }

    /// An entry with its input.
    pub(super) fn with_input(&mut self, entry: QueueEntry) -> Result<Leased> {
        // It may be among what is about to be written.
        self.write_out()?;
        let place = self.book(|book| book.input(entry.event.id));
        let input = match place {
            None => EventInput::Nothing,
            Some(place) => {
                let bytes = self.shared.bytes_at(place)?;
                let bytes = sealing::open_input(&self.shared.store, &entry.event, bytes)?;
                log::parse_input(&bytes, place)?
            }
        };
        Ok(Leased { entry, input })
    }

    /// Forgets what is too old or too much.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        let (gone, dead) = self.book(|book| book.overdue(now, &self.shared.limits));
        gone.into_iter().for_each(|id| self.remove(id));
        if dead > 0 {
            self.shared.dead_dropped.fetch_add(dead, Ordering::Relaxed);
            tracing::warn!(events = dead, "dead letters were dropped: too old, or too many");
        }
    }

    fn push(&mut self, frame: &[u8]) {
        self.buffer.extend_from_slice(frame);
        if self.buffer.len() >= WRITE_BYTES_MAX {
            // Who waits is told by the flush that follows.
            let _ = self.write_out();
        }
    }

    // ---- files ---------------------------------------------------------------------------

    /// Fails when there is too little room for an event like this. An event by which a tick
    /// is tried again is always taken, and one whose caller waits while runs are recorded.
    pub(super) fn check_space(&self, entry: &QueueEntry, input: &EventInput) -> Result<()> {
        let level = match input {
            EventInput::Tick { .. } => return Ok(()),
            _ if matches!(entry.state, EventState::Leased { .. }) => SpaceLevel::Full,
            EventInput::Request(_) | EventInput::Nothing => SpaceLevel::Low,
        };
        self.shared.space.check(level)
    }

    /// Hands what was collected to the system, and waits while there is no room for it.
    ///
    /// # Errors
    /// [`StoreError::Full`] when the store closes before there is room: it is kept for a
    /// later try. [`StoreError::Stopped`].
    fn write_out(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.shared.status.check()?;
        let written = loop {
            match self.file.append(&self.buffer) {
                Err(error) if is_full(&error) => {
                    if self.shared.is_closing.load(Ordering::Acquire) {
                        return Err(self.shared.space.full());
                    }
                    self.shared.space.free_bytes_now();
                    std::thread::park_timeout(RETRY);
                }
                written => break written,
            }
        };
        self.buffer.clear();
        written.map(drop).map_err(|error| {
            let reason = format!("write to queue file {} failed: {error}", self.file.number);
            self.shared.status.stop(reason.clone());
            StoreError::Stopped(reason)
        })
    }

    /// Brings everything to the disk, and tells those who wait.
    fn finish(&mut self) {
        let is_over = self.book(|book| book.is_over(&self.shared.limits));
        if is_over {
            self.tidy(Timestamp::now());
        }
        let flushed = self.flush();
        for ack in std::mem::take(&mut self.acks) {
            ack(match &flushed {
                Ok(()) => Ok(()),
                Err(StoreError::Full { free_bytes }) => Err(StoreError::Full { free_bytes: *free_bytes }),
                Err(error) => Err(StoreError::Stopped(error.to_string())),
            });
        }
        // For want of room the files grow on until there is some.
        if flushed.is_ok()
            && let Err(error) = self.make_room()
            && !error.is_full()
        {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            self.shared.status.stop(format!("{error}{}", cause.unwrap_or_default()));
        }
        self.measure();
    }

    fn flush(&mut self) -> Result<()> {
        self.write_out()?;
        self.shared.status.check()?;
        self.file.sync().map_err(|error| {
            let reason = format!("flush of queue file {} failed: {error}", self.file.number);
            self.shared.status.stop(reason.clone());
            StoreError::Stopped(reason)
        })
    }

    /// Begins a new file when this one is full, and frees old ones.
    fn make_room(&mut self) -> Result<()> {
        if self.file.written() >= FILE_BYTES {
            let next =
                LogFile::create(&self.shared.folder, Purpose::Queue, self.file.number + 1, self.shared.salt)?;
            let full = std::mem::replace(&mut self.file, next);
            let bytes = full.written();
            self.old.push(OldFile { number: full.number, bytes, has_plain: false });
        }
        while self.old.iter().any(|file| file.has_plain) {
            self.free_oldest()?;
        }
        // A few at a time: those who wait for the next flush wait for this too.
        for _ in 0..FREED_MAX.min(self.old.len()) {
            if !self.is_wasteful() {
                break;
            }
            self.free_oldest()?;
        }
        Ok(())
    }

    fn is_wasteful(&self) -> bool {
        let living = self.book(|book| book.living_bytes(ENTRY_BYTES));
        let files = self.old.len() as u64;
        files > SPARE_FILES_MAX + 2 * living / FILE_BYTES || self.bytes() > 2 * living + 4 * FILE_BYTES
    }

    /// Writes what lives in the oldest file once more, and deletes it.
    fn free_oldest(&mut self) -> Result<()> {
        let Some(oldest) = self.old.first().copied() else { return Ok(()) };
        for entry in self.book(|book| book.living_in(oldest.number)) {
            let place = self.book(|book| book.input(entry.event.id));
            let mut input = match place.map(|place| self.shared.bytes_at(place)).transpose() {
                Ok(input) => input,
                // Its input is lost whatever we do; the event is not.
                Err(error @ StoreError::Damaged { .. }) => {
                    self.shared.status.warn(error.to_string());
                    None
                }
                Err(error) => return Err(error),
            };
            let mut entry = (*entry).clone();
            match sealing::seal(&self.shared.store, &mut entry, input.as_mut()) {
                // Of an older build, and without a key there are no settings that it could
                // hold; or its workflow is gone, and it is about to be forgotten.
                Ok(()) | Err(StoreError::Damaged { .. } | StoreError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
            self.put(entry, input.as_deref())?;
        }
        self.flush()?;
        let path = Purpose::Queue.path(&self.shared.folder, oldest.number);
        let delete = || {
            disk::step(&self.shared.folder, Step::Remove, || std::fs::remove_file(&path))?;
            // In this order for ever: see above.
            sync_folder(&self.shared.folder)
        };
        delete().map_err(|source| StoreError::Io { action: format!("delete {}", path.display()), source })?;
        self.old.remove(0);
        Ok(())
    }

    /// Brings everything to the disk and says what the files are: their numbers, and their
    /// bytes so far.
    pub(in crate::store) fn files(&mut self) -> Result<Vec<(u64, u64)>> {
        self.flush()?;
        let old = self.old.iter().map(|file| (file.number, file.bytes));
        Ok(old.chain([(self.file.number, self.file.written())]).collect())
    }

    fn bytes(&self) -> u64 {
        self.file.written() + self.old.iter().map(|file| file.bytes).sum::<u64>()
    }

    fn measure(&self) {
        self.shared.file_bytes.store(self.bytes(), Ordering::Relaxed);
    }
}
