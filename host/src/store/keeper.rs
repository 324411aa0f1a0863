//! The thread that tidies up behind the writer: index files of complete segments, the
//! checkpoint and the export of the metadata, and journals that they cover.
//!
//! Nothing that somebody waits for depends on it; when it fails, the store stops
//! writing, because then the disk is in trouble.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoint;
use super::export::Export;
use super::logfile::{LogFile, Purpose};
use super::segment::Segment;
use super::shared::Shared;
use super::status::{StopOnPanic, lock, read, write};
use super::writer::{Command, Writer};

/// The way to the thread.
pub(super) struct Keeper {
    state: Mutex<State>,
    wake: Condvar,
    interval: Duration,
}

#[derive(Default)]
struct State {
    complete: Vec<(Arc<Segment>, Arc<LogFile>)>,
    /// When the metadata changed first since the last checkpoint.
    changed_at: Option<Instant>,
    is_urgent: bool,
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
        loop {
            let due = self.next();
            let is_round = due.is_round || !due.comparisons.is_empty();
            let result = complete(shared, &due.complete).and_then(|()| {
                if is_round { round(shared, &checkpoint, commands, due.is_closing) } else { Ok(()) }
            });
            if let Err(reason) = result {
                shared.status.stop(reason);
            }
            for reply in due.comparisons {
                let _ = reply.send(compare(shared, &checkpoint));
            }
            if due.is_closing {
                return;
            }
        }
    }

    fn next(&self) -> Due {
        let mut state = lock(&self.state);
        loop {
            let wait = state.changed_at.map(|at| self.interval.saturating_sub(at.elapsed()));
            let is_round = state.changed_at.is_some()
                && (state.is_urgent || state.is_closing || wait.is_some_and(|wait| wait.is_zero()));
            if is_round || state.is_closing || !state.complete.is_empty() || !state.comparisons.is_empty() {
                if is_round || !state.comparisons.is_empty() {
                    (state.changed_at, state.is_urgent) = (None, false);
                }
                return Due {
                    complete: std::mem::take(&mut state.complete),
                    comparisons: std::mem::take(&mut state.comparisons),
                    is_round,
                    is_closing: state.is_closing,
                };
            }
            state = match wait {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// What is to be done now.
struct Due {
    complete: Vec<(Arc<Segment>, Arc<LogFile>)>,
    comparisons: Vec<oneshot::Sender<Vec<String>>>,
    is_round: bool,
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

/// Writes the index files of segments that are not written to any more.
fn complete(shared: &Shared, segments: &[(Arc<Segment>, Arc<LogFile>)]) -> Result<(), String> {
    for (segment, log) in segments {
        // The index must never be on the disk before what it points to.
        log.sync().map_err(|error| format!("flush of segment {} failed: {error}", segment.number))?;
        shared.segments.complete(segment).map_err(|error| with_source(&error))?;
    }
    Ok(())
}

/// A checkpoint, an export, and an end to the journals that both cover.
fn round(
    shared: &Shared,
    checkpoint: &Checkpoint,
    commands: &mpsc::WeakSender<Command>,
    is_closing: bool,
) -> Result<(), String> {
    if shared.status.stopped().is_some() {
        return Ok(());
    }
    // Journals hold what settings were: with a new one begun, the old one can go.
    if !is_closing {
        rotate_journal(commands);
    }
    let (values, position) = write(&shared.metadata).take_dirty();
    checkpoint.write(values, position).map_err(|error| with_source(&error))?;
    let snapshot = read(&shared.metadata).snapshot();
    let export = Export::of(&snapshot).map_err(|error| format!("export failed: {error}"))?;
    drop(snapshot);
    export.write(&shared.folder.export()).map_err(|error| format!("export failed: {error}"))?;
    // The checkpoint is the older of the two.
    delete_journals(shared, position.file).map_err(|error| with_source(&error))?;
    measure(shared);
    Ok(())
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
