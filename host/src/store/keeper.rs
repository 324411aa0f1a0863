//! The thread that tidies up behind the writer: index files of complete segments, the
//! checkpoint and the export of the metadata, and journals that they cover.
//!
//! Nothing that somebody waits for depends on it; when it fails, the store stops
//! writing, because then the disk is in trouble. For want of space it tries again later:
//! the journal and the rows in memory wait.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::checkpoint::{Checkpoint, CheckpointError};
use super::export::Export;
use super::keys::Position;
use super::logfile::{LogFile, Purpose};
use super::segment::Segment;
use super::shared::Shared;
use super::space::SpaceLevel;
use super::statistics;
use super::status::{StopOnPanic, lock, read, write};
use super::writer::{Command, Writer};

/// A segment that is not written to any more, and its file.
type Completed = (Arc<Segment>, Arc<LogFile>);

/// The way to the thread.
pub(super) struct Keeper {
    state: Mutex<State>,
    wake: Condvar,
    interval: Duration,
}

#[derive(Default)]
struct State {
    complete: Vec<Completed>,
    /// When the metadata changed first since the last checkpoint.
    changed_at: Option<Instant>,
    is_urgent: bool,
    /// Not before this: the last try found no room.
    retry_at: Option<Instant>,
    /// When statistics are written next.
    count_at: Option<Instant>,
    comparisons: Vec<oneshot::Sender<Vec<String>>>,
    is_closing: bool,
    has_ended: bool,
}

impl Keeper {
    /// `interval` is the time from a change to its checkpoint.
    pub(super) fn new(interval: Duration) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), wake: Condvar::new(), interval })
    }

    /// A segment is not written to any more.
    pub(super) fn complete(&self, segment: Arc<Segment>, log: Arc<LogFile>) {
        lock(&self.state).complete.push((segment, log));
        self.wake.notify_one();
    }

    /// The metadata changed.
    pub(super) fn changed(&self) {
        let mut state = lock(&self.state);
        if state.changed_at.is_none() {
            state.changed_at = Some(Instant::now());
            self.wake.notify_one();
        }
    }

    /// The journal is large: a checkpoint should not wait.
    pub(super) fn hurry(&self) {
        lock(&self.state).is_urgent = true;
        self.wake.notify_one();
    }

    /// Asks for the differences between the checkpoint and the memory, one line each.
    pub(super) fn compare(&self, reply: oneshot::Sender<Vec<String>>) {
        let mut state = lock(&self.state);
        if !state.has_ended {
            state.comparisons.push(reply);
            self.wake.notify_one();
        }
    }

    /// Does what is left and ends the thread.
    pub(super) fn close(&self) {
        lock(&self.state).is_closing = true;
        self.wake.notify_one();
    }

    /// Works until it is closed. Owns the checkpoint: nobody else may touch it.
    pub(super) fn run(&self, shared: &Shared, checkpoint: Checkpoint, commands: &mpsc::WeakSender<Command>) {
        let _guard = StopOnPanic { status: &shared.status, thread: "keeper" };
        let _ended = Ended(self);
        let mut checkpoint = Some(checkpoint);
        lock(&self.state).count_at = Some(Instant::now() + statistics::INTERVAL);
        loop {
            let due = self.next();
            let is_round = due.is_round || !due.comparisons.is_empty();
            let left = complete(shared, due.complete);
            let result = left.and_then(|left| {
                self.put_off(left);
                if is_round { round(shared, &mut checkpoint, commands, due.is_closing) } else { Ok(()) }
            });
            let result = result.and_then(|()| match due.is_count_due {
                true => statistics::flush(shared).map_err(|error| Trouble::of(&error)),
                false => Ok(()),
            });
            match result {
                Ok(()) => {}
                Err(Trouble::Full) => self.changed(),
                Err(Trouble::Broken(reason)) => shared.status.stop(reason),
            }
            for reply in due.comparisons {
                let differences = checkpoint.as_ref().map(|checkpoint| compare(shared, checkpoint));
                let _ = reply.send(differences.unwrap_or_default());
            }
            if due.is_closing {
                return;
            }
        }
    }

    /// Segments whose index has to wait for space.
    fn put_off(&self, left: Vec<Completed>) {
        if !left.is_empty() {
            let mut state = lock(&self.state);
            state.complete.splice(0..0, left);
            state.retry_at = Some(Instant::now() + RETRY);
        }
    }

    fn next(&self) -> Due {
        let mut state = lock(&self.state);
        loop {
            let until = |at: Instant| at.saturating_duration_since(Instant::now());
            let wait = state.changed_at.map(|at| self.interval.saturating_sub(at.elapsed()));
            let retry = state.retry_at.map(until);
            let is_round = state.changed_at.is_some()
                && (state.is_urgent || state.is_closing || wait.is_some_and(|wait| wait.is_zero()));
            let can_complete = !state.complete.is_empty() && retry.is_none_or(|wait| wait.is_zero());
            let count = state.count_at.map(until);
            let is_count_due = state.is_closing || count.is_some_and(|wait| wait.is_zero());
            if is_round || is_count_due || can_complete || !state.comparisons.is_empty() {
                if is_round || !state.comparisons.is_empty() {
                    (state.changed_at, state.is_urgent) = (None, false);
                }
                if is_count_due {
                    state.count_at = Some(Instant::now() + statistics::INTERVAL);
                }
                state.retry_at = None;
                return Due {
                    is_count_due,
                    complete: std::mem::take(&mut state.complete),
                    comparisons: std::mem::take(&mut state.comparisons),
                    is_round,
                    is_closing: state.is_closing,
                };
            }
            state = match wait.into_iter().chain(retry).chain(count).min() {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// Time until what failed for want of space is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Free bytes without which the checkpoint waits, besides those for its values.
const CHECKPOINT_FREE_BYTES_MIN: u64 = 2 << 20;

/// Why something was not done.
enum Trouble {
    /// There is no room now.
    Full,
    Broken(String),
}

impl Trouble {
    fn of(error: &StoreError) -> Self {
        if error.is_full() { Trouble::Full } else { Trouble::Broken(with_source(error)) }
    }
}

/// What is to be done now.
struct Due {
    complete: Vec<Completed>,
    comparisons: Vec<oneshot::Sender<Vec<String>>>,
    is_round: bool,
    is_count_due: bool,
    is_closing: bool,
}

/// Nobody waits for a thread that is gone.
struct Ended<'a>(&'a Keeper);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.has_ended = true;
        state.comparisons.clear();
    }
}

/// Writes the index files of segments that are not written to any more, and returns
/// those for which there was no room.
fn complete(shared: &Shared, segments: Vec<Completed>) -> Result<Vec<Completed>, Trouble> {
    let mut segments = segments.into_iter();
    while let Some((segment, log)) = segments.next() {
        // The index must never be on the disk before what it points to.
        log.sync().map_err(|error| {
            Trouble::Broken(format!("flush of segment {} failed: {error}", segment.number))
        })?;
        match shared.segments.complete(&segment).map_err(|error| Trouble::of(&error)) {
            Ok(()) => {}
            Err(Trouble::Full) => return Ok(std::iter::once((segment, log)).chain(segments).collect()),
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(Vec::new())
}

/// A checkpoint, an export, and an end to the journals that both cover.
fn round(
    shared: &Shared,
    checkpoint: &mut Option<Checkpoint>,
    commands: &mpsc::WeakSender<Command>,
    is_closing: bool,
) -> Result<(), Trouble> {
    if shared.status.stopped().is_some() {
        return Ok(());
    }
    // Journals hold what settings were: with a new one begun, the old one can go.
    if !is_closing {
        rotate_journal(commands);
    }
    let position = write_checkpoint(shared, checkpoint)?;
    let snapshot = read(&shared.metadata).snapshot();
    let failed = |source: std::io::Error| {
        Trouble::of(&StoreError::Io { action: "write the export".to_owned(), source })
    };
    let export = Export::of(&snapshot).map_err(failed)?;
    drop(snapshot);
    export.write(&shared.folder.export()).map_err(failed)?;
    // The checkpoint is the older of the two.
    delete_journals(shared, position.file).map_err(|error| Trouble::of(&error))?;
    measure(shared);
    Ok(())
}

/// Brings the checkpoint up to date, and returns what it covers. A database that failed
/// for want of space is given up and made again: it does not say what it holds.
fn write_checkpoint(shared: &Shared, checkpoint: &mut Option<Checkpoint>) -> Result<Position, Trouble> {
    let made_dirty = |shared: &Shared| {
        let result = write(&shared.metadata).make_dirty();
        result.map_err(|error| Trouble::of(&error))
    };
    // sled never comes back from a write that found no room: it must not happen.
    let wanted = CHECKPOINT_FREE_BYTES_MIN + 4 * read(&shared.metadata).dirty_bytes();
    if shared.space.free_bytes_now() < wanted {
        return Err(Trouble::Full);
    }
    let own = match checkpoint {
        Some(own) => own,
        None => {
            let opened = Checkpoint::open(&shared.folder.sled()).map_err(|error| trouble(shared, &error))?;
            made_dirty(shared)?;
            checkpoint.insert(opened.0)
        }
    };
    let (values, position) = write(&shared.metadata).take_dirty();
    if let Err(error) = own.write(values, position) {
        let trouble = trouble(shared, &error);
        if let Some(broken) = checkpoint.take() {
            broken.give_up();
            // The export and the journal have everything; a new one is made of it.
            let _ = std::fs::remove_dir_all(shared.folder.sled());
        }
        made_dirty(shared)?;
        return Err(trouble);
    }
    Ok(position)
}

/// sled panics or reports other errors where the disk is full.
fn trouble(shared: &Shared, error: &CheckpointError) -> Trouble {
    let is_full = matches!(error, CheckpointError::Io(source) if super::is_full(source));
    if is_full || shared.space.level() != SpaceLevel::Enough {
        return Trouble::Full;
    }
    Trouble::Broken(with_source(error))
}

fn rotate_journal(commands: &mpsc::WeakSender<Command>) {
    let Some(commands) = commands.upgrade() else { return };
    let (sender, receiver) = oneshot::channel();
    let rotate = move |writer: &mut Writer| {
        writer.rotate_journal();
        let _ = sender.send(());
    };
    if commands.blocking_send(Command::Do(Box::new(rotate))).is_ok() {
        // The sender is gone too when the writer ends before it comes to this.
        drop(commands);
        let _ = receiver.blocking_recv();
    }
}

fn delete_journals(shared: &Shared, before: u64) -> super::Result<()> {
    let folder = shared.folder.journal();
    for number in Purpose::Journal.numbers(&folder)?.into_iter().filter(|number| *number < before) {
        let path = Purpose::Journal.path(&folder, number);
        std::fs::remove_file(&path).map_err(|source| super::StoreError::Io {
            action: format!("delete {}", path.display()),
            source,
        })?;
    }
    Ok(())
}

/// Measures the folder of the metadata.
pub(super) fn measure(shared: &Shared) {
    let bytes = bytes_below(&shared.folder.metadata());
    shared.status.metadata_bytes.store(bytes, Ordering::Relaxed);
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// What differs between the checkpoint, just written, and the memory.
fn compare(shared: &Shared, checkpoint: &Checkpoint) -> Vec<String> {
    let contents = match checkpoint.read() {
        Ok(contents) => contents,
        Err(error) => return vec![with_source(&error)],
    };
    let (puts, is_behind) = {
        let metadata = read(&shared.metadata);
        (metadata.snapshot().puts(), metadata.position() != contents.position)
    };
    if is_behind {
        return Vec::new(); // Something changed since; the journal has it.
    }
    let expected = match puts {
        Ok(puts) => puts,
        Err(error) => return vec![with_source(&error)],
    };
    let mut expected: Vec<_> =
        expected.into_iter().map(|(key, value)| (key.encode(), value.unwrap_or_default())).collect();
    expected.sort();
    if expected == contents.values {
        return Vec::new();
    }
    vec![format!(
        "the checkpoint has {} values that differ from the {} in memory",
        contents.values.len(),
        expected.len()
    )]
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
