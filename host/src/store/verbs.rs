//! The verbs of [`Store`] for the embedded store.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::embedded::{EmbeddedStore, NOW_BYTES_MAX};
use super::metadata::Metadata;
use super::retention::Survey;
use super::rows::{RunRow, Selection, TickKey};
use super::search::{self, Needle};
use super::segment::Segment;
use super::shared::Shared;
use super::snapshot::Taken;
use super::space::SpaceLevel;
use super::status::{lock, read};
use super::writer::{Command, answer};
use super::{
    AccountChange, Accounts, Claim, Durability, Pruned, Result, Retention, RunFilter, RunPage, Snapshot,
    Store, StoreError, StoreHealth, Tick, TickPlace, TickState, Verification, WorkflowUsage, compaction,
    frame, records, snapshot, statistics, verify,
};
use crate::account::User;
use crate::keys::{KeyId, KeyRing};
use crate::run::{LogLine, Run, RunId};
use crate::statistics::{HostFigures, Minute, Rollup, Sample};
use crate::workflow::{
    Code, Digest, Runtime, SettingChange, SettingWriter, Settings, Version, Workflow, WorkflowId,
};

thread_local! {
    /// The last frame that this thread wrote, for the next: in its cache still.
    static FRAME: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Largest page of a listing.
pub const PAGE_MAX: usize = 1000;

fn read_run(shared: &Shared, segment: &Segment, row: &RunRow) -> Result<Run> {
    let bytes = shared.segments.read_body(segment, row.place)?;
    let damaged = |reason| shared.segments.damaged(segment, row.place, reason);
    let body = frame::body(&bytes, segment.salt).ok_or_else(|| damaged("its checksum differs".to_owned()))?;
    records::decode_run(body).map_err(damaged)
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
                Err(error) => answer(reply, Err(error)),
                Ok(puts) => {
                    writer.commit(puts, (), reply);
                    if writer.shared.segments.hidden().is_archived(workflow.id) {
                        writer.shared.segments.hide(|hidden| hidden.unarchive(workflow.id));
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
        let archived: Result<()> = self
            .ask(move |writer, reply| {
                let planned = read(&writer.shared.metadata).plan_archive(id);
                match planned {
                    Err(error) => answer(reply, Err(error)),
                    Ok(puts) => {
                        writer.commit(puts, (), reply);
                        if !read(&writer.shared.metadata).contains(id) {
                            writer.shared.segments.hide(|hidden| hidden.archive(id));
                            lock(&writer.shared.ledger).forget(id);
                            writer.count_runs();
                        }
                    }
                }
            })
            .await;
        archived?;
        // What a crash leaves of these is forgotten when the store is opened.
        self.queue
            .ask(move |queue| {
                queue.forget_workflow(id);
                Ok(())
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
        self.blocking(move |shared| {
            shared.space.check(SpaceLevel::Low)?;
            shared
                .blobs
                .put(&bytes)
                .map_err(|error| if error.is_full() { shared.space.full() } else { error })
        })
        .await
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
                answer(reply, Ok(forgotten));
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
        kept.settings.open(id, &self.shared.keys.load())
    }

    async fn commit_settings(
        &self,
        id: WorkflowId,
        changes: Vec<SettingChange>,
        by: SettingWriter,
    ) -> Result<Settings> {
        let limits = self.shared.options.setting_limits();
        // The writer looks for the keys, so that no data key is wrapped with one that a
        // rotation has just replaced.
        let shared = self.shared.clone();
        let plan =
            move |metadata: &Metadata| metadata.plan_settings(id, changes, &by, &shared.keys.load(), limits);
        self.change(plan).await?.open(id, &self.shared.keys.load())
    }

    async fn rewrap(&self, keys: Arc<KeyRing>) -> Result<usize> {
        self.shared.keys.store(keys.clone());
        self.change(move |metadata| metadata.plan_rewrap(&keys)).await
    }

    fn key_ids(&self) -> BTreeMap<KeyId, usize> {
        read(&self.shared.metadata).key_ids()
    }

    async fn accounts(&self) -> Result<Accounts> {
        Ok(read(&self.shared.metadata).accounts())
    }

    async fn change_accounts(&self, changes: Vec<AccountChange>) -> Result<Vec<User>> {
        self.change(move |metadata| metadata.plan_accounts(changes)).await
    }

    async fn append_run(&self, run: Arc<Run>, log: Arc<[LogLine]>, durability: Durability) -> Result<()> {
        let salt = self.shared.folder.salt();
        let (frame, row) = records::encode_run_over(FRAME.take(), &run, &log, salt)?;
        let sample = Sample::from(&*run);
        if durability == Durability::Written && frame.len() <= NOW_BYTES_MAX {
            let appended = self.append_now(&frame, row, sample);
            FRAME.set(frame);
            let Some(receiver) = appended? else {
                // Nothing was awaited: who appends in a loop must let others have their turn.
                tokio::task::coop::consume_budget().await;
                return Ok(());
            };
            return receiver.await.unwrap_or_else(|_| Err(self.ended()));
        }
        let bytes = frame.len().min(self.shared.options.queue_bytes_max).max(1) as u32;
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| self.ended())?;
        let (reply, receiver) = oneshot::channel();
        self.send(Command::Append { frame, row, sample, durability, room, reply }, receiver).await
    }

    fn count_run(&self, run: &Run) {
        self.shared.statistics.count(&Sample::from(run));
    }

    async fn run(&self, id: RunId) -> Result<Option<Run>> {
        self.blocking(move |shared| {
            let _reading = shared.segments.reading();
            let Some((segment, row)) = shared.segments.run(id)? else { return Ok(None) };
            match read_run(shared, &segment, &row) {
                Err(error) if error.is_gone() => Ok(None),
                result => result.map(Some),
            }
        })
        .await
    }

    async fn run_log(&self, id: RunId) -> Result<Option<Vec<LogLine>>> {
        self.blocking(move |shared| {
            let _reading = shared.segments.reading();
            let Some((segment, row)) = shared.segments.run(id)? else { return Ok(None) };
            let bytes = match shared.segments.read_frame(&segment, row.place) {
                Err(error) if error.is_gone() => return Ok(None),
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
            let _reading = shared.segments.reading();
            let selection = Selection::new(&filter, cursor, shared.segments.hidden());
            if let Some(text) = &filter.text {
                return search::search(shared, selection, &Needle::new(text), limit);
            }
            let mut rows = shared.segments.select(&selection, limit + 1)?;
            let next = (rows.len() > limit).then(|| rows[limit - 1].1.id);
            rows.truncate(limit);
            let mut runs = Vec::with_capacity(rows.len());
            for (segment, row) in rows {
                match read_run(shared, &segment, &row) {
                    Ok(run) => runs.push(run),
                    Err(error) if error.is_gone() => {}
                    // One damaged record must not hide a page of others.
                    Err(error @ StoreError::Damaged { .. }) => shared.status.warn(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
            Ok(RunPage { runs, next, searched: None })
        })
        .await
    }

    async fn prune(&self, retention: Retention) -> Result<Pruned> {
        let _alone = self.pruning.lock().await;
        let mut pruned = Pruned { runs: self.raise_floors(retention.workflows.clone()).await?, bytes: 0 };
        let (carried, is_carried) = oneshot::channel();
        let (before, bytes_max) = (retention.statistics_before, retention.statistics_bytes_max);
        self.in_background(move |shared| {
            // What is about to go is counted first.
            match statistics::flush(shared) {
                Err(error) if !error.is_full() => return Err(error),
                _ => {}
            }
            statistics::prune(shared, before, bytes_max)
        })
        .await?;
        // Looking through the rows of the open segment takes a while: not on the writer.
        let ends_open = self
            .in_background(|shared| {
                let (hidden, bytes) = (shared.segments.hidden(), shared.options.segment_bytes);
                let open = shared.segments.list().into_iter().next();
                let ends = open.filter(|open| {
                    open.live_rows().is_some() && compaction::should_end(open, &hidden, bytes)
                });
                Ok(ends.map(|open| open.number))
            })
            .await?;
        let victims =
            self.ask(move |writer, reply| writer.prune(&retention, ends_open, carried, reply)).await?;
        is_carried.await.unwrap_or_else(|_| Err(self.ended()))?;
        let deleted = self
            .in_background(move |shared| {
                let hidden = shared.segments.hidden();
                let shown = victims.iter().flat_map(|segment| segment.shown(&hidden));
                let runs = shown.map(|(_, portion)| portion.runs).sum();
                let bytes = victims.iter().map(|segment| segment.bytes()).sum::<u64>();
                shared.segments.delete(&victims)?;
                shared.status.forget_runs(runs);
                let compacted = compaction::compact(shared);
                shared.status.dead_bytes.store(shared.segments.dead_bytes(), Ordering::Relaxed);
                Ok(Pruned { runs, bytes: bytes + compacted? })
            })
            .await?;
        pruned.runs += deleted.runs;
        pruned.bytes += deleted.bytes;
        Ok(pruned)
    }

    async fn usage(&self) -> Result<Vec<WorkflowUsage>> {
        self.blocking(|shared| {
            let _reading = shared.segments.reading();
            Ok(Survey::new(&shared.segments).usage(&shared.segments.hidden()))
        })
        .await
    }

    async fn statistics(
        &self,
        workflow: Option<WorkflowId>,
        from: Timestamp,
        to: Timestamp,
        step_minutes: u32,
    ) -> Result<Vec<(Timestamp, Rollup)>> {
        self.blocking(move |shared| {
            let (from, to) = (Minute::of(from), Minute::of(to));
            let points = statistics::query(shared, workflow, from, to, step_minutes)?;
            Ok(points.into_iter().map(|(minute, rollup)| (minute.start(), rollup)).collect())
        })
        .await
    }

    async fn statistics_by_workflow(
        &self,
        among: Option<HashSet<WorkflowId>>,
        from: Timestamp,
        to: Timestamp,
        step_minutes: u32,
    ) -> Result<HashMap<WorkflowId, Vec<(Timestamp, Rollup)>>> {
        self.blocking(move |shared| {
            let (from, to) = (Minute::of(from), Minute::of(to));
            let found = statistics::by_workflow(shared, among.as_ref(), from, to, step_minutes)?;
            let started = |points: BTreeMap<Minute, Rollup>| {
                points.into_iter().map(|(minute, rollup)| (minute.start(), rollup)).collect()
            };
            Ok(found.into_iter().map(|(id, points)| (id, started(points))).collect())
        })
        .await
    }

    async fn last_runs(&self) -> Result<HashMap<WorkflowId, RunId>> {
        self.blocking(|shared| {
            let _reading = shared.segments.reading();
            shared.segments.last_runs()
        })
        .await
    }

    fn note_host(&self, at: Timestamp, figures: &HostFigures) {
        self.shared.statistics.note_host(Minute::of(at), figures);
    }

    async fn host_history(
        &self,
        from: Timestamp,
        to: Timestamp,
        step_minutes: u32,
    ) -> Result<Vec<(Timestamp, HostFigures)>> {
        self.blocking(move |shared| {
            let (from, to) = (Minute::of(from), Minute::of(to));
            let points = statistics::host_history(shared, from, to, step_minutes)?;
            Ok(points.into_iter().map(|(minute, figures)| (minute.start(), figures)).collect())
        })
        .await
    }

    async fn claim(&self, tick: Tick) -> Result<Claim> {
        let (frame, place) = records::encode_tick(&tick, self.shared.folder.salt())?;
        let (reply, receiver) = oneshot::channel();
        self.send(Command::Claim { tick, frame, place, reply }, receiver).await
    }

    async fn claim_all(&self, ticks: Vec<Tick>) -> Result<Vec<Claim>> {
        let salt = self.shared.folder.salt();
        let encoded = ticks.into_iter().map(|tick| {
            let (frame, place) = records::encode_tick(&tick, salt)?;
            Ok((tick, frame, place))
        });
        let ticks = encoded.collect::<Result<Vec<_>>>()?;
        self.ask(move |writer, reply| writer.claim_all(ticks, reply)).await
    }

    async fn settle(
        &self,
        workflow: WorkflowId,
        schedule: &str,
        due: Timestamp,
        state: TickState,
        lateness: Duration,
    ) -> Result<()> {
        let key = TickKey { workflow, schedule: schedule.to_owned(), due };
        let lateness_us = u64::try_from(lateness.as_micros()).unwrap_or(u64::MAX);
        self.ask(move |writer, reply| writer.settle(&key, state, lateness_us, reply)).await
    }

    async fn ticks(
        &self,
        workflow: WorkflowId,
        schedule: Option<&str>,
        up_to: Option<&TickPlace>,
        limit: usize,
    ) -> Result<Vec<Tick>> {
        let (schedule, up_to) = (schedule.map(str::to_owned), up_to.cloned());
        let limit = limit.min(PAGE_MAX);
        self.blocking(move |shared| {
            read(&shared.metadata).get(workflow)?;
            shared.segments.ticks(workflow, schedule.as_deref(), up_to.as_ref(), limit)
        })
        .await
    }

    async fn unsettled_ticks(&self) -> Result<Vec<Tick>> {
        let unsettled = lock(&self.shared.ledger).all_unsettled();
        Ok(unsettled.iter().map(|tick| (**tick).clone()).collect())
    }

    fn health(&self) -> StoreHealth {
        let Shared { status, segments, statistics, blobs, space, .. } = &*self.shared;
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let (run_bytes, index_bytes) = segments.bytes();
        StoreHealth {
            stopped: status.stopped().map(str::to_owned),
            warnings: status.warnings(),
            run_bytes,
            dead_bytes: load(&status.dead_bytes),
            index_bytes: index_bytes + load(&status.metadata_bytes),
            statistics_bytes: statistics.bytes(),
            queue_bytes: self.queue.shared.file_bytes(),
            blob_bytes: blobs.bytes(),
            space: space.level(),
            free_bytes: space.free_bytes(),
            runs: load(&status.runs),
            queued: (self.commands.max_capacity() - self.commands.capacity()) as u64,
            flush_us: load(&status.flush_us),
        }
    }

    fn has_stopped(&self) -> bool {
        self.shared.status.stopped().is_some()
    }

    async fn verify(&self) -> Result<Verification> {
        let (sender, differences) = oneshot::channel();
        self.keeper.compare(sender);
        let mut found = self.blocking(verify::verify).await?;
        found.problems.extend(differences.await.unwrap_or_default());
        found.problems.truncate(verify::PROBLEMS_MAX);
        Ok(found)
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        // Nothing is deleted or written anew until the links are there.
        let _alone = self.pruning.lock().await;
        let statistics = self
            .blocking(|shared| {
                statistics::flush(shared)?;
                statistics::files(shared)
            })
            .await?;
        let (shared, desk) = (self.shared.clone(), self.desk.clone());
        let (taken, moment) = self
            .queue
            .ask(move |queue| {
                let taken = Taken::of_queue(&shared, &queue.files()?)?;
                // No event goes on before the records are taken too.
                let moment = desk.sit().moment()?;
                Ok((taken, moment))
            })
            .await?;
        self.blocking(move |shared| snapshot::link(shared, taken, &moment, &statistics)).await
    }

    async fn close(&self) -> Result<()> {
        self.shut_down().await
    }
}
