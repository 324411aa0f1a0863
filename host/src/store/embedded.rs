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
//! The writer checks and appends, the flushers tell callers that their bytes are on the
//! disk, the keeper tidies up. A change is durable when the journal or the segment is:
//! one `fdatasync`, shared by all who wait. Everything else, the checkpoint included,
//! can be made again from those two.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::blobs::Blobs;
use super::flusher::Flusher;
use super::folder::Folder;
use super::keeper::{self, Keeper};
use super::keys::Put;
use super::metadata::Metadata;
use super::rows::{RunRow, Selection, TickKey};
use super::segment::Segment;
use super::shared::{EmbeddedOptions, Shared};
use super::status::{CLOSED, Status, StopOnPanic, lock, read};
use super::writer::{Batch, Command, Reply, Writer};
use super::{
    Claim, Durability, Result, Retention, RunFilter, RunPage, Store, StoreError, StoreHealth, Tick,
    TickState, Verification, frame, records, recovery, verify,
};
use crate::run::{LogLine, Run, RunId};
use crate::workflow::{
    Code, Digest, Runtime, SettingChange, SettingWriter, Settings, Version, Workflow, WorkflowId,
};

/// Largest page of a listing.
pub const PAGE_MAX: usize = 1000;

/// The store of a single host: metadata in sled, runs in segment files, blobs in files.
///
/// Whatever changes something goes to one thread that writes. Reads take what is in
/// memory, and go to the files on the runtime's blocking threads.
pub struct EmbeddedStore {
    pub(super) shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    /// Bytes of run records that may wait for the writer.
    room: Arc<Semaphore>,
    flushers: [Arc<Flusher>; 2],
    keeper: Arc<Keeper>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the data folder, laying it out if it is new or empty. Blocks: it reads the
    /// metadata and the last segment of runs.
    ///
    /// # Errors
    /// [`StoreError::Folder`], [`StoreError::InUse`], [`StoreError::Format`],
    /// [`StoreError::Damaged`] when metadata cannot be made sense of,
    /// [`StoreError::Io`].
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Arc<Self>> {
        let folder = Folder::open(path)?;
        let status = Arc::new(Status::default());
        // Opening the checkpoint takes a while, most of it waiting.
        let (metadata, runs) = std::thread::scope(|scope| {
            let metadata = scope.spawn(|| recovery::metadata(&folder, &status));
            let runs = recovery::runs(&folder, &status);
            let metadata = metadata.join().unwrap_or_else(|_| {
                let (what, reason) = ("the metadata".to_owned(), "reading it panicked".to_owned());
                Err(StoreError::Damaged { what, reason })
            });
            (metadata, runs)
        });
        let (metadata, runs) = (metadata?, runs?);
        let ledger = recovery::ledger(&runs, &metadata.metadata)?;
        let blobs = Blobs::open(folder.components())?;
        let shared = Arc::new(Shared {
            options,
            status,
            metadata: metadata.metadata.into(),
            ledger: ledger.into(),
            segments: runs.segments,
            blobs,
            folder,
        });
        shared.status.runs.store(shared.segments.count_runs(), std::sync::atomic::Ordering::Relaxed);
        keeper::measure(&shared);

        let start = |source| StoreError::Io { action: "start a thread".to_owned(), source };
        let (flush, status) = (shared.options.flush, &shared.status);
        let (log_flusher, first) = Flusher::start("flush", flush, status.clone()).map_err(start)?;
        let (journal_flusher, second) = Flusher::start("journal", flush, status.clone()).map_err(start)?;
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
        };
        let run = move || {
            let status = writer.shared.status.clone();
            let _guard = StopOnPanic { status: &status, thread: "writer" };
            writer.run(receiver);
        };
        let writer =
            std::thread::Builder::new().name("tidegate-writer".to_owned()).spawn(run).map_err(start)?;
        let room = Arc::new(Semaphore::new(shared.options.queue_bytes_max.min(Semaphore::MAX_PERMITS)));
        let threads = Mutex::new(Some(Threads { writer, others: vec![first, second, third] }));
        Ok(Arc::new(Self { shared, commands: sender, room, flushers, keeper, threads }))
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

    async fn send<T>(&self, command: Command, receiver: oneshot::Receiver<Result<T>>) -> Result<T> {
        self.commands.send(command).await.map_err(|_| self.ended())?;
        receiver.await.unwrap_or_else(|_| Err(self.ended()))
    }

    fn ended(&self) -> StoreError {
        StoreError::Stopped(self.shared.status.stopped().unwrap_or(CLOSED).to_owned())
    }

    /// Plans a change of the metadata and commits it, in one step.
    async fn change<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&Metadata) -> Result<(Vec<Put>, T)> + Send + 'static,
    ) -> Result<T> {
        self.ask(move |writer, reply| {
            let planned = plan(&read(&writer.shared.metadata));
            match planned {
                Ok((puts, value)) => writer.commit(puts, value, reply),
                Err(error) => super::writer::answer(reply, Err(error)),
            }
        })
        .await
    }

    /// Does something that reads or writes files.
    async fn blocking<T: Send + 'static>(
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
}

fn read_run(shared: &Shared, segment: &Segment, row: &RunRow) -> Result<Run> {
    let bytes = shared.segments.read_body(segment, row.place)?;
    let damaged = |reason| shared.segments.damaged(segment, row.place, reason);
    let body = frame::body(&bytes, segment.salt).ok_or_else(|| damaged("its checksum differs".to_owned()))?;
    records::decode_run(body).map_err(damaged)
}

/// A segment that was deleted since its row was found.
fn is_deleted(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn workflows(&self) -> Result<Vec<Workflow>> {
        let kept = read(&self.shared.metadata).workflows();
        Ok(kept.iter().map(|kept| kept.workflow.clone()).collect())
    }

    async fn create_workflow(&self, workflow: Workflow) -> Result<()> {
        self.ask(move |writer, reply| {
            let planned = read(&writer.shared.metadata).plan_create(&workflow);
            match planned {
                Err(error) => super::writer::answer(reply, Err(error)),
                Ok(puts) => {
                    writer.commit(puts, (), reply);
                    if writer.shared.segments.hidden().contains(&workflow.id) {
                        writer.shared.segments.hide(workflow.id, false);
                        writer.count_runs();
                    }
                }
            }
        })
        .await
    }

    async fn save_workflow(&self, workflow: Workflow) -> Result<Workflow> {
        self.change(move |metadata| metadata.plan_save(workflow)).await
    }

    async fn archive_workflow(&self, id: WorkflowId) -> Result<()> {
        self.ask(move |writer, reply| {
            let planned = read(&writer.shared.metadata).plan_archive(id);
            match planned {
                Err(error) => super::writer::answer(reply, Err(error)),
                Ok(puts) => {
                    writer.commit(puts, (), reply);
                    if !read(&writer.shared.metadata).contains(id) {
                        writer.shared.segments.hide(id, true);
                        lock(&writer.shared.ledger).forget(id);
                        writer.count_runs();
                    }
                }
            }
        })
        .await
    }

    async fn versions(&self, id: WorkflowId) -> Result<Vec<Version>> {
        let kept = read(&self.shared.metadata).get(id)?.clone();
        Ok(kept.versions.values().cloned().collect())
    }

    async fn add_version(
        &self,
        id: WorkflowId,
        code: Code,
        created_by: Option<String>,
        message: String,
    ) -> Result<(Version, Workflow)> {
        let shared = self.shared.clone();
        self.change(move |metadata| {
            let missing = code.blobs().into_iter().find(|digest| !shared.blobs.contains(digest));
            if let Some(digest) = missing {
                return Err(StoreError::Missing { what: format!("blob {digest}") });
            }
            metadata.plan_version(id, code, created_by, message)
        })
        .await
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<Digest> {
        self.shared.status.check()?;
        self.blocking(move |shared| shared.blobs.put(&bytes)).await
    }

    async fn blob(&self, digest: Digest) -> Result<Bytes> {
        self.blocking(move |shared| shared.blobs.get(digest).map(Bytes::from)).await
    }

    async fn collect_garbage(&self, keep: &[Digest]) -> Result<u64> {
        let keep = keep.to_vec();
        let age = self.shared.options.garbage;
        let candidates = self.shared.blobs.older_than(age);
        let forgotten = self
            .ask(move |writer, reply| {
                let mut used = read(&writer.shared.metadata).blobs();
                used.extend(keep);
                let forgotten = writer.shared.blobs.forget(&candidates, &used, age);
                super::writer::answer(reply, Ok(forgotten));
            })
            .await?;
        self.blocking(move |shared| shared.blobs.delete(&forgotten)).await
    }

    async fn runtimes(&self) -> Result<Vec<Runtime>> {
        Ok(read(&self.shared.metadata).runtimes())
    }

    async fn put_runtime(&self, runtime: Runtime) -> Result<()> {
        self.change(move |metadata| Ok((metadata.plan_runtime(&runtime)?, ()))).await
    }

    async fn settings(&self, id: WorkflowId) -> Result<Settings> {
        let kept = read(&self.shared.metadata).get(id)?.clone();
        Ok(kept.settings.clone())
    }

    async fn commit_settings(
        &self,
        id: WorkflowId,
        changes: Vec<SettingChange>,
        by: SettingWriter,
    ) -> Result<Settings> {
        let limits = self.shared.options.setting_limits();
        self.change(move |metadata| metadata.plan_settings(id, changes, &by, limits)).await
    }

    async fn append_run(&self, run: Arc<Run>, log: Arc<[LogLine]>, durability: Durability) -> Result<()> {
        let (frame, row) = records::encode_run(&run, &log, self.shared.folder.salt())?;
        let bytes = frame.len().min(self.shared.options.queue_bytes_max).max(1) as u32;
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| self.ended())?;
        let (reply, receiver) = oneshot::channel();
        self.send(Command::Append { frame, row, durability, room, reply }, receiver).await
    }

    async fn run(&self, id: RunId) -> Result<Option<Run>> {
        self.blocking(move |shared| {
            let Some((segment, row)) = shared.segments.run(id)? else { return Ok(None) };
            match read_run(shared, &segment, &row) {
                Err(error) if is_deleted(&error) => Ok(None),
                result => result.map(Some),
            }
        })
        .await
    }

    async fn run_log(&self, id: RunId) -> Result<Option<Vec<LogLine>>> {
        self.blocking(move |shared| {
            let Some((segment, row)) = shared.segments.run(id)? else { return Ok(None) };
            let bytes = match shared.segments.read_frame(&segment, row.place) {
                Err(error) if is_deleted(&error) => return Ok(None),
                result => result?,
            };
            let damaged = |reason| shared.segments.damaged(&segment, row.place, reason);
            let log = frame::tail(&bytes, segment.salt)
                .ok_or_else(|| damaged("the checksum of its log differs".to_owned()))?;
            records::decode_log(log).map(Some).map_err(damaged)
        })
        .await
    }

    async fn runs(&self, filter: RunFilter, cursor: Option<RunId>, limit: usize) -> Result<RunPage> {
        let limit = limit.clamp(1, PAGE_MAX);
        self.blocking(move |shared| {
            let selection = Selection::new(&filter, cursor, shared.segments.hidden());
            let mut rows = shared.segments.select(&selection, limit + 1)?;
            let next = (rows.len() > limit).then(|| rows[limit - 1].1.id);
            rows.truncate(limit);
            let mut runs = Vec::with_capacity(rows.len());
            for (segment, row) in rows {
                match read_run(shared, &segment, &row) {
                    Ok(run) => runs.push(run),
                    Err(error) if is_deleted(&error) => {}
                    // One damaged record must not hide a page of others.
                    Err(error @ StoreError::Damaged { .. }) => shared.status.warn(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
            Ok(RunPage { runs, next })
        })
        .await
    }

    async fn prune(&self, retention: Retention) -> Result<u64> {
        let (carried, is_carried) = oneshot::channel();
        let victims = self.ask(move |writer, reply| writer.prune(&retention, carried, reply)).await?;
        is_carried.await.unwrap_or_else(|_| Err(self.ended()))?;
        let deleted = self
            .blocking(move |shared| {
                let hidden = shared.segments.hidden();
                let counts = victims.iter().flat_map(|segment| segment.runs_by_workflow());
                let shown = counts.filter(|(workflow, _)| !hidden.contains(workflow));
                let deleted = shown.map(|(_, runs)| runs).sum();
                shared.segments.delete(&victims)?;
                Ok(deleted)
            })
            .await?;
        self.ask(move |writer, reply| {
            writer.count_runs();
            super::writer::answer(reply, Ok(deleted));
        })
        .await
    }

    async fn claim(&self, tick: Tick) -> Result<Claim> {
        let (frame, place) = records::encode_tick(&tick, self.shared.folder.salt())?;
        let (reply, receiver) = oneshot::channel();
        self.send(Command::Claim { tick, frame, place, reply }, receiver).await
    }

    async fn settle(
        &self,
        workflow: WorkflowId,
        schedule: &str,
        due: Timestamp,
        state: TickState,
    ) -> Result<()> {
        let key = TickKey { workflow, schedule: schedule.to_owned(), due };
        self.ask(move |writer, reply| writer.settle(&key, state, reply)).await
    }

    async fn ticks(&self, workflow: WorkflowId, schedule: Option<&str>, limit: usize) -> Result<Vec<Tick>> {
        let schedule = schedule.map(str::to_owned);
        let limit = limit.min(PAGE_MAX);
        self.blocking(move |shared| {
            read(&shared.metadata).get(workflow)?;
            shared.segments.ticks(workflow, schedule.as_deref(), limit)
        })
        .await
    }

    async fn unsettled_ticks(&self) -> Result<Vec<Tick>> {
        let unsettled = lock(&self.shared.ledger).all_unsettled();
        Ok(unsettled.iter().map(|tick| (**tick).clone()).collect())
    }

    fn health(&self) -> StoreHealth {
        let Shared { status, segments, blobs, folder, .. } = &*self.shared;
        let load = |figure: &std::sync::atomic::AtomicU64| figure.load(std::sync::atomic::Ordering::Relaxed);
        let (run_bytes, index_bytes) = segments.bytes();
        StoreHealth {
            stopped: status.stopped().map(str::to_owned),
            warnings: status.warnings(),
            run_bytes,
            index_bytes: index_bytes + load(&status.metadata_bytes),
            blob_bytes: blobs.bytes(),
            free_bytes: folder.free_bytes(),
            runs: load(&status.runs),
            queued: (self.commands.max_capacity() - self.commands.capacity()) as u64,
            flush_us: load(&status.flush_us),
        }
    }

    async fn verify(&self) -> Result<Verification> {
        let (sender, differences) = oneshot::channel();
        self.keeper.compare(sender);
        let mut found = self.blocking(verify::verify).await?;
        found.problems.extend(differences.await.unwrap_or_default());
        found.problems.truncate(verify::PROBLEMS_MAX);
        Ok(found)
    }

    async fn close(&self) -> Result<()> {
        // Fails when the writer has ended already.
        let _ = self.commands.send(Command::Close).await;
        let threads = lock(&self.threads).take();
        let Some(threads) = threads else { return Ok(()) };
        let (flushers, keeper) = (self.flushers.clone(), self.keeper.clone());
        self.blocking(move |shared| {
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
