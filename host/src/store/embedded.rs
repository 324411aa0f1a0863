//! The embedded store: one process, one data folder.
//!
//! ```text
//! verbs ──commands──> writer ──appends──> segment of runs      <── log flusher
//!   │                    └─────appends──> journal of metadata  <── journal flusher
//!   │                                         │ replayed on
//!   └──reads── memory, segments, blobs        v
//!              keeper: index files, checkpoint (sled), export (JSON)
//! ```
//!
//! The queue of events has a thread and files of its own ([`super::queue`]).
//!
//! The writer checks and appends, the flushers tell callers that their bytes are on the
//! disk, the keeper tidies up. A change is durable when the journal or the segment is:
//! one `fdatasync`, shared by all who wait. Everything else, the checkpoint included,
//! can be made again from those two.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::blobs::Blobs;
use super::desk::{Desk, Left};
use super::flusher::Flusher;
use super::folder::Folder;
use super::keeper::{self, Keeper};
use super::keys::Put;
use super::metadata::Metadata;
use super::queue::writer::QueueHandle;
use super::retention::Survey;
use super::rows::RunRow;
use super::shared::{EmbeddedOptions, Shared};
use super::space::Space;
use super::statistics::Statistics;
use super::status::{CLOSED, Status, StopOnPanic, lock, read};
use super::writer::{self, Batch, Command, Reply, Writer};
use super::{Result, StoreError, WorkflowRetention, background, migration, recovery, statistics};
use crate::keys::{CipherError, KeyRing};
use crate::statistics::Sample;

/// Largest frame that a caller writes itself, in bytes.
pub(super) const NOW_BYTES_MAX: usize = 64 << 10;
/// How often a caller looks whether the writer is idle.
const SPINS_MAX: usize = 20;

/// The store of a single host: metadata in sled, runs in segment files, blobs in files.
///
/// Whatever changes something goes to the one writer. Reads take what is in
/// memory, and go to the files on the runtime's blocking threads.
pub struct EmbeddedStore {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) desk: Arc<Desk>,
    /// Bytes of run records that may wait for the writer.
    pub(super) room: Arc<Semaphore>,
    flushers: [Arc<Flusher>; 2],
    pub(super) keeper: Arc<Keeper>,
    pub(super) queue: QueueHandle,
    threads: Mutex<Option<Threads>>,
    /// Held while runs are deleted.
    pub(super) pruning: tokio::sync::Mutex<()>,
}

struct Threads {
    writer: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// The version of the data folder's layout that this build reads and writes.
    pub const FORMAT: u32 = super::folder::FORMAT;

    /// Opens the data folder, laying it out if it is new or empty. Blocks: it reads the
    /// metadata and the last segment of runs.
    ///
    /// # Errors
    /// [`StoreError::Folder`], [`StoreError::InUse`], [`StoreError::Format`],
    /// [`StoreError::Key`], [`StoreError::Damaged`] when metadata cannot be made sense of,
    /// [`StoreError::Io`].
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Arc<Self>> {
        let folder = Folder::open(path)?;
        let status = Arc::new(Status::default());
        let is_forgotten = options.is_restored || options.rebuild_index && recovery::forget_indexes(&folder)?;
        // Opening the checkpoint takes a while, most of it waiting.
        let (metadata, runs) = std::thread::scope(|scope| {
            let metadata = scope.spawn(|| recovery::metadata(&folder, is_forgotten, &status));
            let runs = recovery::runs(&folder, &status);
            let metadata = metadata.join().unwrap_or_else(|_| {
                let (what, reason) = ("the metadata".to_owned(), "reading it panicked".to_owned());
                Err(StoreError::Damaged { what, reason })
            });
            (metadata, runs)
        });
        let (mut metadata, runs) = (metadata?, runs?);
        check_keys(path, &metadata.metadata, &options.keys)?;
        if folder.is_older() {
            metadata = migration::encrypt_settings(&folder, metadata, &options.keys)?;
            folder.taken_over(&status)?;
        }
        let ledger = recovery::ledger(&runs, &metadata.metadata)?;
        let blobs = Blobs::open(folder.components())?;
        let space = Arc::new(Space::new(path.to_owned(), options.space_low_bytes, options.space_full_bytes));
        let shared = Arc::new(Shared {
            keys: options.keys.clone().into(),
            options,
            space,
            status,
            metadata: metadata.metadata.into(),
            ledger: ledger.into(),
            segments: runs.segments,
            statistics: Statistics::default(),
            blobs,
            folder,
        });
        shared.status.runs.store(shared.segments.count_runs(), std::sync::atomic::Ordering::Relaxed);
        keeper::measure(&shared);

        let is_known = |id| read(&shared.metadata).contains(id);
        let queue = QueueHandle::open(&shared, is_known)?;
        let start = |source| StoreError::Io { action: "start a thread".to_owned(), source };
        let (flush, status) = (shared.options.flush, &shared.status);
        let (log_flusher, first) = Flusher::start("flush", flush, status.clone()).map_err(start)?;
        let (journal_flusher, second) = Flusher::start("journal", flush, status.clone()).map_err(start)?;
        let ends: Vec<_> =
            shared.segments.list().iter().map(|segment| (segment.number, segment.bytes())).collect();
        let fourth = {
            let shared = shared.clone();
            let count = move || {
                shared.segments.warm(|| shared.statistics.is_closing());
                statistics::catch_up(&shared, &ends);
            };
            std::thread::Builder::new().name("tidegate-statistics".to_owned()).spawn(count).map_err(start)?
        };
        let keeper = Keeper::new(shared.options.checkpoint);
        let (sender, receiver) = mpsc::channel(shared.options.queue_max.max(1));
        if read(&shared.metadata).is_dirty() {
            keeper.changed();
        }
        let third = {
            let (keeper, shared, commands) = (keeper.clone(), shared.clone(), sender.downgrade());
            let run = move || keeper.run(&shared, metadata.checkpoint, &commands);
            std::thread::Builder::new().name("tidegate-keeper".to_owned()).spawn(run).map_err(start)?
        };
        let flushers = [log_flusher.clone(), journal_flusher.clone()];
        let writer = Writer {
            shared: shared.clone(),
            log: Arc::new(runs.log),
            segment: runs.segment,
            journal: Arc::new(metadata.journal),
            log_flusher,
            journal_flusher,
            keeper: keeper.clone(),
            batch: Batch::default(),
            has_ended: false,
        };
        let desk = Arc::new(Desk::new(writer));
        let (own, status) = (desk.clone(), shared.status.clone());
        let run = move || {
            let _guard = StopOnPanic { status: &status, thread: "writer" };
            writer::run(&own, receiver);
        };
        let thread =
            std::thread::Builder::new().name("tidegate-writer".to_owned()).spawn(run).map_err(start)?;
        let room = Arc::new(Semaphore::new(shared.options.queue_bytes_max.min(Semaphore::MAX_PERMITS)));
        let threads =
            Mutex::new(Some(Threads { writer: thread, others: vec![first, second, third, fourth] }));
        Ok(Arc::new(Self {
            shared,
            commands: sender,
            desk,
            room,
            flushers,
            keeper,
            queue,
            threads,
            pruning: tokio::sync::Mutex::default(),
        }))
    }

    /// Writes the small frame of a run at once, or has it written by whoever is writing:
    /// then its result comes over the returned channel. The caller's thread waits until the
    /// operating system has taken it.
    ///
    /// # Errors
    /// That of the write.
    pub(super) fn append_now(
        &self,
        frame: &[u8],
        row: RunRow,
        sample: Sample,
    ) -> Result<Option<oneshot::Receiver<Result<()>>>> {
        for _ in 0..SPINS_MAX {
            if let Some(mut seat) = self.desk.try_sit() {
                let _guard = StopOnPanic { status: &self.shared.status, thread: "writing" };
                return seat.append_now(frame, row, sample).map(|()| None);
            }
            std::hint::spin_loop();
        }
        let (reply, receiver) = oneshot::channel();
        self.desk.leave(Left { frame: frame.to_vec(), row, sample, reply });
        Ok(Some(receiver))
    }

    /// Asks the writer for something that answers.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        action: impl FnOnce(&mut Writer, Reply<T>) + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let command = Command::Do(Box::new(move |writer| action(writer, sender)));
        self.send(command, receiver).await
    }

    pub(super) async fn send<T>(
        &self,
        command: Command,
        receiver: oneshot::Receiver<Result<T>>,
    ) -> Result<T> {
        self.commands.send(command).await.map_err(|_| self.ended())?;
        receiver.await.unwrap_or_else(|_| Err(self.ended()))
    }

    pub(super) fn ended(&self) -> StoreError {
        StoreError::Stopped(self.shared.status.stopped().unwrap_or(CLOSED).to_owned())
    }

    /// Plans a change of the metadata and commits it, in one step.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&Metadata) -> Result<(Vec<Put>, T)> + Send + 'static,
    ) -> Result<T> {
        self.ask(move |writer, reply| {
            let planned = plan(&read(&writer.shared.metadata));
            match planned {
                Ok((puts, value)) => writer.commit(puts, value, reply),
                Err(error) => writer::answer(reply, Err(error)),
            }
        })
        .await
    }

    /// Hides what workflows' own limits do not spare any more, durably, and returns the
    /// number of runs.
    pub(super) async fn raise_floors(&self, limits: Vec<WorkflowRetention>) -> Result<u64> {
        if limits.is_empty() {
            return Ok(0);
        }
        let floors = self
            .in_background(move |shared| {
                let _reading = shared.segments.reading();
                let survey = Survey::new(&shared.segments);
                let floors =
                    limits.iter().map(|own| Ok(survey.floor(own)?.map(|floor| (own.workflow, floor))));
                Ok(floors.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect::<Vec<_>>())
            })
            .await?;
        let floors = self.change(move |metadata| Ok((metadata.plan_run_floors(&floors)?, floors))).await?;
        self.in_background(move |shared| {
            let before = shared.segments.floored_runs();
            shared.segments.hide(|hidden| {
                floors.iter().for_each(|(workflow, floor)| hidden.raise(*workflow, *floor));
            });
            let _reading = shared.segments.reading();
            let survey = Survey::new(&shared.segments);
            survey.count_dead(&shared.segments.hidden())?;
            let gone = shared.segments.floored_runs().saturating_sub(before);
            shared.status.forget_runs(gone);
            Ok(gone)
        })
        .await
    }

    /// Does something for which nobody waits, at a pace that leaves room for others.
    pub(super) async fn in_background<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.shared.clone();
        background::run(move || action(&shared)).await
    }

    /// Does something that reads or writes files.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || action(&shared)).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Io {
                action: "finish a read".to_owned(),
                source: std::io::Error::other(error),
            }),
        }
    }

    /// Lets all threads finish, and others open the folder.
    pub(super) async fn shut_down(&self) -> Result<()> {
        self.shared.statistics.close();
        // Fails when the writer has ended already.
        let _ = self.commands.send(Command::Close).await;
        let threads = lock(&self.threads).take();
        let Some(threads) = threads else { return Ok(()) };
        let (flushers, keeper) = (self.flushers.clone(), self.keeper.clone());
        let queue = self.queue.take_thread();
        self.blocking(move |shared| {
            queue.into_iter().for_each(|thread| drop(thread.join()));
            let _ = threads.writer.join();
            // The writer does this too, unless it panicked.
            flushers.iter().for_each(|flusher| flusher.close());
            keeper.close();
            threads.others.into_iter().for_each(|thread| drop(thread.join()));
            let stopped = shared.status.check();
            shared.status.close();
            shared.folder.unlock();
            stopped
        })
        .await
    }
}

/// Refuses to go on without the key: the host would serve, and every run would fail.
fn check_keys(path: &Path, metadata: &Metadata, keys: &KeyRing) -> Result<()> {
    metadata.check_keys(keys).map_err(|(id, error)| match error {
        CipherError::UnknownKey(wanted) => StoreError::Key {
            path: path.to_owned(),
            wanted,
            origin: keys.origin.clone(),
            found: keys.ids().collect(),
        },
        CipherError::NoKey | CipherError::NotAuthentic => StoreError::Damaged {
            what: format!("the data key of the workflow {id}"),
            reason: error.to_string(),
        },
    })
}
