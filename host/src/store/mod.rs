//! What the host keeps: metadata, blobs, runs, the schedule's claims and the queue.
//!
//! [`Store`] speaks in the domain's verbs, so that a distributed store can stand
//! beside the embedded one. The contract of each verb is tested for every
//! implementation by the contract suite.
//!
//! **Durability.** Every verb that changes something returns when the change survives
//! the end of the process *and* of the machine, with one exception that is asked for
//! by name: [`Durability::Written`].

mod accounts;
mod background;
mod blobs;
mod blocks;
mod checkpoint;
mod compaction;
mod desk;
mod disk;
mod embedded;
mod error;
mod export;
mod flusher;
mod folder;
mod frame;
mod hidden;
mod indexing;
mod keeper;
mod keys;
mod ledger;
mod live;
mod logfile;
mod metadata;
mod migration;
mod queue;
mod records;
mod recovery;
mod retention;
mod rows;
mod search;
mod segment;
mod segments;
mod settings;
mod shared;
mod sidecar;
#[cfg(test)]
mod sidecar_tests;
mod snapshot;
mod space;
mod statistics;
mod status;
mod tick;
mod verbs;
mod verify;
mod writer;

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod embedded_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
#[path = "../../../tests/it/support/mount.rs"]
mod mount;
#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod settings_tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use accounts::{AccountChange, Accounts};
pub use embedded::EmbeddedStore;
pub use error::StoreError;
use error::is_full;
pub use queue::{
    CallbackRecord, CallbackResult, DedupeKey, Enqueued, Event, EventEnd, EventInput, EventQueue, EventState,
    Leased, Leases, Notified, QueueEntry, QueueFigures, QueueLimits, Redrive, Room, Settlement, Wanted,
};
pub use shared::EmbeddedOptions;
pub use snapshot::{Snapshot, SnapshotFile};
pub use space::SpaceLevel;
pub use tick::{Claim, Stretch, Tick, TickPlace, TickState};
pub use verbs::PAGE_MAX;

use crate::account::User;
use crate::keys::{KeyId, KeyRing};
use crate::run::{LogLine, Run, RunId, Status};
use crate::statistics::{HostFigures, Rollup};
use crate::workflow::{
    Code, Digest, Runtime, SettingChange, SettingWriter, Settings, Version, Workflow, WorkflowId,
};

/// Whether there is a data folder here whose settings are encrypted.
pub fn is_encrypted(data: &Path) -> bool {
    folder::is_encrypted(data)
}

/// The result of a verb of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// When [`Store::append_run`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the operating system has the bytes: they survive `kill -9`, and reach the
    /// disk with the next group flush. For synchronous catch runs, whose caller waits.
    Written,
    /// When the bytes are on the disk.
    Durable,
}

/// Which runs a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Runs of this workflow only.
    pub workflow: Option<WorkflowId>,
    /// Runs of these workflows only.
    pub among: Option<Arc<HashSet<WorkflowId>>>,
    /// Runs with one of these statuses; all when empty.
    pub statuses: Vec<Status>,
    /// Runs with this trigger word (`catch`, `pull`, `test`, `replay`).
    pub trigger: Option<String>,
    /// Runs accepted at or after this instant.
    pub since: Option<Timestamp>,
    /// Runs accepted before this instant.
    pub until: Option<Timestamp>,
    /// Runs with this text in their log, their error or its trace; letters of ASCII
    /// match in either case. Runs are read for it, so that a page has a budget: see
    /// [`Store::runs`].
    pub text: Option<String>,
}

/// A page of runs, newest first.
#[derive(Debug, Clone, Default)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<Run>,
    /// Ask with this for the page behind it; `None` when there is none.
    pub next: Option<RunId>,
    /// How far the search for [`RunFilter::text`] came; `None` without one.
    pub searched: Option<Searched>,
}

/// How far the search of one page came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Searched {
    /// Runs that were read.
    pub runs: u64,
    /// When the oldest of them was accepted; `None` when there were none.
    pub back_to: Option<Timestamp>,
}

/// What is removed by [`Store::prune`]. What is `None` removes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Runs that were accepted before this instant.
    pub accepted_before: Option<Timestamp>,
    /// The oldest runs while records and logs take more than this many bytes. Never so
    /// many that less than that stays.
    pub bytes_max: Option<u64>,
    /// The oldest runs while there are more than this many. Never so many that fewer
    /// stay.
    pub runs_max: Option<u64>,
    /// Limits of single workflows.
    pub workflows: Vec<WorkflowRetention>,
    /// Statistics of days before this instant.
    pub statistics_before: Option<Timestamp>,
    /// The oldest statistics while all take more than this many bytes.
    pub statistics_bytes_max: Option<u64>,
}

/// What of one workflow's runs is kept at most. What is `None` is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkflowRetention {
    /// The workflow.
    pub workflow: WorkflowId,
    /// Runs that were accepted before this instant go.
    pub accepted_before: Option<Timestamp>,
    /// So many bytes of records and logs, the newest.
    pub bytes_max: Option<u64>,
    /// So many runs, the newest.
    pub runs_max: Option<u64>,
}

/// What [`Store::prune`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Runs that are not there any more.
    pub runs: u64,
    /// Bytes that the file system got back.
    pub bytes: u64,
}

/// The runs that are kept of one workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkflowUsage {
    /// The workflow.
    pub workflow: WorkflowId,
    /// Their number.
    pub runs: u64,
    /// Bytes of their records and logs.
    pub bytes: u64,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreHealth {
    /// Why the store stopped writing; `None` while it writes.
    pub stopped: Option<String>,
    /// What an operator should look at: damage that was found, an index or a checkpoint
    /// that was made again. One line each, at most 32.
    pub warnings: Vec<String>,
    /// Bytes of run records and logs.
    pub run_bytes: u64,
    /// Of these, bytes of runs that are not shown any more and whose space has not come
    /// back yet.
    #[serde(default)]
    pub dead_bytes: u64,
    /// Bytes of the index and the metadata.
    pub index_bytes: u64,
    /// Bytes of statistics.
    #[serde(default)]
    pub statistics_bytes: u64,
    /// Bytes of the queue's files.
    #[serde(default)]
    pub queue_bytes: u64,
    /// Bytes of blobs.
    pub blob_bytes: u64,
    /// Bytes free on the file system.
    pub free_bytes: u64,
    /// Whether that is enough.
    #[serde(default)]
    pub space: SpaceLevel,
    /// Runs that are indexed.
    pub runs: u64,
    /// Entries waiting for the writer.
    pub queued: u64,
    /// Microseconds that the last group flush took.
    pub flush_us: u64,
}

/// What [`Store::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verification {
    /// Run records whose checksum was checked.
    pub runs_checked: u64,
    /// Blobs whose digest was checked.
    pub blobs_checked: u64,
    /// One line for each thing that is wrong.
    pub problems: Vec<String>,
}

/// What the host keeps.
///
/// Reads see every change whose verb has returned.
#[async_trait]
pub trait Store: EventQueue + Send + Sync + 'static {
    // ---- workflows -----------------------------------------------------------------

    /// All workflows that are not archived, in the order of their names.
    async fn workflows(&self) -> Result<Vec<Workflow>>;

    /// Adds a workflow, as it is; it has no version yet.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`]; [`StoreError::Conflict`] when a workflow has its id;
    /// [`StoreError::Missing`] when it names an active version.
    async fn create_workflow(&self, workflow: Workflow) -> Result<()>;

    /// Replaces a workflow whose stored revision is `workflow.revision`, and returns it
    /// with its new revision and `updated_at`. Name, kind and `created_at` stay what
    /// they are, whatever `workflow` says.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]; [`StoreError::Missing`] for an unknown workflow or an
    /// active version that it does not have.
    async fn save_workflow(&self, workflow: Workflow) -> Result<Workflow>;

    /// Deletes a workflow with its versions, settings, claims and runs, for good, in one
    /// step. Its blobs go with the next [`Store::collect_garbage`], the bytes of its
    /// records with [`Store::prune`].
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    async fn archive_workflow(&self, id: WorkflowId) -> Result<()>;

    // ---- versions and blobs --------------------------------------------------------

    /// All versions of a workflow, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    async fn versions(&self, id: WorkflowId) -> Result<Vec<Version>>;

    /// Adds a version with the next number, makes it the active one, and returns it
    /// with the workflow as it is now.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for an unknown workflow or a blob that was not put.
    async fn add_version(
        &self,
        id: WorkflowId,
        code: Code,
        created_by: Option<String>,
        message: String,
    ) -> Result<(Version, Workflow)>;

    /// Keeps these bytes and returns their digest. Bytes that are there already are not
    /// written again, unless what is there is damaged.
    ///
    /// # Errors
    /// [`StoreError::Full`] while there is little room, and other verbs go on.
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest>;

    /// The bytes with this digest, checked against it.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Damaged`].
    async fn blob(&self, digest: Digest) -> Result<Bytes>;

    /// Deletes the blobs that no version and no runtime names and that are older than an hour (a
    /// deploy puts its blobs before its version), except those in `keep`. Returns the
    /// bytes that were freed.
    async fn collect_garbage(&self, keep: &[Digest]) -> Result<u64>;

    /// All language runtimes, in the order of their names.
    async fn runtimes(&self) -> Result<Vec<Runtime>>;

    /// Adds a runtime, or replaces the one of that name. Versions that were deployed to
    /// the old one keep its component.
    async fn put_runtime(&self, runtime: Runtime) -> Result<()>;

    // ---- settings ------------------------------------------------------------------

    /// The settings of a workflow; empty when none were ever set.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for an unknown workflow.
    async fn settings(&self, id: WorkflowId) -> Result<Settings>;

    /// Applies all changes to the settings, or none, and returns the settings as they
    /// are now. Settings that are not named stay as they are; a setting that is deleted
    /// need not be there.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Limit`] for the number of settings, the
    /// bytes of a name or of a value.
    async fn commit_settings(
        &self,
        id: WorkflowId,
        changes: Vec<SettingChange>,
        by: SettingWriter,
    ) -> Result<Settings>;

    /// Encrypts with these keys from now on, and wraps the data keys of all workflows with the
    /// first of them, all or none. Returns how many were not. Afterwards nothing that is kept
    /// needs another key than the first; backups that were made before do.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a data key that none of them unwraps; nothing is changed
    /// then.
    async fn rewrap(&self, keys: Arc<KeyRing>) -> Result<usize>;

    /// The master keys that data keys are wrapped with, and how many with each.
    fn key_ids(&self) -> BTreeMap<KeyId, usize>;
    // ---- accounts --------------------------------------------------------------------

    /// All users, tokens, sessions and one-time links.
    async fn accounts(&self) -> Result<Accounts>;

    /// Applies all changes of accounts, or none, and returns the users that were put, as
    /// they are now.
    ///
    /// # Errors
    /// [`StoreError::LoginTaken`] for a new user's; [`StoreError::Conflict`] for a user
    /// that somebody else changed; [`StoreError::Missing`] for a token, session or link of
    /// an unknown user, and for a session or link to delete that is not there.
    async fn change_accounts(&self, changes: Vec<AccountChange>) -> Result<Vec<User>>;

    // ---- runs ----------------------------------------------------------------------

    /// Keeps the record of a run that ended, with its log. A run is appended once.
    ///
    /// The change is made even when the caller does not wait for the answer.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when its workflow was archived meanwhile, or never was;
    /// [`StoreError::Limit`] when record and log are over 32 MiB; [`StoreError::Full`]
    /// while there is hardly any room: nothing is kept of the run then.
    async fn append_run(&self, run: Arc<Run>, log: Arc<[LogLine]>, durability: Durability) -> Result<()>;

    /// Counts a run in the statistics whose record is not to be kept. A crash may take it
    /// from there.
    fn count_run(&self, run: &Run);

    /// The record of a run; `None` when it is unknown, deleted, or of an archived
    /// workflow.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    async fn run(&self, id: RunId) -> Result<Option<Run>>;

    /// The log of a run; `None` as for [`Store::run`].
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    async fn run_log(&self, id: RunId) -> Result<Option<Vec<LogLine>>>;

    /// Runs that pass the filter, newest first by id, behind `cursor`, at most `limit`
    /// (1 to [`PAGE_MAX`]). A damaged record is left out, and reported by
    /// [`Store::health`].
    ///
    /// A search for a text reads about 8 MiB of records at most; then the page ends,
    /// full or not, and [`RunPage::next`] is where the next one goes on.
    async fn runs(&self, filter: RunFilter, cursor: Option<RunId>, limit: usize) -> Result<RunPage>;

    /// Deletes runs, and the ledger entries of the host's retention with them.
    ///
    /// By the host's limits whole segments go, so that runs may stay a while longer,
    /// never shorter, than they say. By a workflow's limits its runs are gone at once;
    /// their space comes back when at least half of their segment is gone.
    async fn prune(&self, retention: Retention) -> Result<Pruned>;

    /// What is kept of each workflow that has runs, in the order of their ids.
    async fn usage(&self) -> Result<Vec<WorkflowUsage>>;

    // ---- statistics ----------------------------------------------------------------

    /// The runs that ended from an instant on and before another, added up in steps of so
    /// many minutes (at least 1), each with its beginning: of a workflow, or of all, the
    /// archived ones among them. Steps without runs are left out. Statistics stay when
    /// their runs are deleted.
    async fn statistics(
        &self,
        workflow: Option<WorkflowId>,
        from: Timestamp,
        to: Timestamp,
        step_minutes: u32,
    ) -> Result<Vec<(Timestamp, Rollup)>>;

    /// The same by workflow, for some workflows or, without `among`, for all that had runs.
    async fn statistics_by_workflow(
        &self,
        among: Option<HashSet<WorkflowId>>,
        from: Timestamp,
        to: Timestamp,
        step_minutes: u32,
    ) -> Result<HashMap<WorkflowId, Vec<(Timestamp, Rollup)>>>;

    /// The last run of each workflow that has ended runs.
    async fn last_runs(&self) -> Result<HashMap<WorkflowId, RunId>>;

    /// Takes in what the host had in use at an instant. What is of the last minute is lost
    /// when the host dies.
    fn note_host(&self, at: Timestamp, figures: &HostFigures);

    /// What the host had in use from an instant on and before another, in steps of so many
    /// minutes, each with its beginning. Steps without figures are left out.
    async fn host_history(
        &self,
        from: Timestamp,
        to: Timestamp,
        step_minutes: u32,
    ) -> Result<Vec<(Timestamp, HostFigures)>>;

    // ---- the schedule's ledger -----------------------------------------------------

    /// Claims a due instant: of all callers that ever name the same workflow, schedule
    /// and instant exactly one gets [`Claim::Claimed`]. `tick.state` may already be
    /// final, for an instant that will not run.
    ///
    /// An instant that is not later than one whose entry was deleted by
    /// [`Store::prune`] is taken. Claims of one schedule are fastest in the order of
    /// their instants.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for an unknown workflow.
    async fn claim(&self, tick: Tick) -> Result<Claim>;

    /// Claims many instants, with one answer for each, in their order. What a scheduler
    /// does when many schedules are due at once: one wait for the disk instead of many.
    ///
    /// # Errors
    /// As [`Store::claim`], for the first tick that has one; others of the call may be
    /// claimed then.
    async fn claim_all(&self, ticks: Vec<Tick>) -> Result<Vec<Claim>> {
        futures::future::try_join_all(ticks.into_iter().map(|tick| self.claim(tick))).await
    }

    /// Records what became of a claimed instant, and how late that was; the last word
    /// counts.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for an unknown workflow or an instant that is not claimed.
    async fn settle(
        &self,
        workflow: WorkflowId,
        schedule: &str,
        due: Timestamp,
        state: TickState,
        lateness: Duration,
    ) -> Result<()>;

    /// Ledger entries of a workflow, newest due instant first, at most `limit`; of one
    /// schedule when it is named; beginning at `up_to`, itself included, when that is given.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for an unknown workflow.
    async fn ticks(
        &self,
        workflow: WorkflowId,
        schedule: Option<&str>,
        up_to: Option<&TickPlace>,
        limit: usize,
    ) -> Result<Vec<Tick>>;

    /// The entries that are still [`TickState::Claimed`], of all workflows: what an
    /// abrupt end of the host left behind, when it is asked at start.
    async fn unsettled_ticks(&self) -> Result<Vec<Tick>>;

    // ---- administration ------------------------------------------------------------

    /// How the store is. Cheap: no file is read.
    fn health(&self) -> StoreHealth;

    /// Reads everything back and checks checksums and references. At most 1,000
    /// problems are listed.
    async fn verify(&self) -> Result<Verification>;

    /// Everything that is kept at this moment, as the files of a data folder, while the
    /// store goes on. They stay until the snapshot is dropped.
    async fn snapshot(&self) -> Result<Snapshot>;

    /// Writes what is buffered, and stops. Verbs that change something fail afterwards.
    async fn close(&self) -> Result<()>;
}
