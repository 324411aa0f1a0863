//! The writer's desk: who holds it writes, for everybody who came meanwhile.
//!
//! A caller with a small record takes the desk when it is free. When it is not, the record
//! is left on it, and whoever holds the desk writes it before they go: nobody sleeps on the
//! lock, and records that come together are written together.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use super::rows::RunRow;
use super::status::{Status, StopOnPanic, lock};
use super::writer::{Reply, Writer};
use crate::statistics::Sample;

/// A record that was left on the desk.
pub(super) struct Left {
    pub(super) frame: Vec<u8>,
    pub(super) row: RunRow,
    pub(super) sample: Sample,
    pub(super) reply: Reply<()>,
}

/// The writer, and what was left for it.
pub(super) struct Desk {
    writer: Mutex<Writer>,
    left: Mutex<Vec<Left>>,
    has_left: AtomicBool,
    status: Arc<Status>,
}

impl Desk {
    pub(super) fn new(writer: Writer) -> Self {
        let status = writer.shared.status.clone();
        Self { writer: Mutex::new(writer), left: Mutex::default(), has_left: AtomicBool::new(false), status }
    }

    /// Waits for the desk.
    pub(super) fn sit(&self) -> Seat<'_> {
        Seat { desk: self, writer: Some(lock(&self.writer)) }
    }

    /// The desk, if it is free.
    pub(super) fn try_sit(&self) -> Option<Seat<'_>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(Seat { desk: self, writer: Some(writer) }),
            Err(TryLockError::WouldBlock) => None,
            // The store has stopped, and says so to whoever asks.
            Err(TryLockError::Poisoned(poisoned)) => {
                Some(Seat { desk: self, writer: Some(poisoned.into_inner()) })
            }
        }
    }

    /// Leaves a record for whoever holds the desk.
    pub(super) fn leave(&self, record: Left) {
        lock(&self.left).push(record);
        self.has_left.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // Who held it may have gone before they saw it.
        drop(self.try_sit());
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        lock(&self.left).len()
    }

    fn take_left(&self) -> Vec<Left> {
        if !self.has_left.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        std::mem::take(&mut *lock(&self.left))
    }
}

/// The writer, while nobody else writes.
pub(super) struct Seat<'a> {
    desk: &'a Desk,
    /// `None` only while it is given up.
    writer: Option<MutexGuard<'a, Writer>>,
}

impl Deref for Seat<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        self.writer.as_ref().expect("a seat has the writer until it is dropped")
    }
}

impl DerefMut for Seat<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("a seat has the writer until it is dropped")
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        while let Some(mut writer) = self.writer.take() {
            let left = self.desk.take_left();
            // After a panic the store has stopped: who left a record is told by its loss.
            if !left.is_empty() && !std::thread::panicking() {
                let _guard = StopOnPanic { status: &self.desk.status, thread: "writing" };
                writer.append_left(left);
            }
            drop(writer);
            fence(Ordering::SeqCst);
            // What was left since the last look has nobody else, unless the desk is taken.
            if self.desk.has_left.load(Ordering::SeqCst) {
                self.writer = match self.desk.writer.try_lock() {
                    Ok(writer) => Some(writer),
                    Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                    Err(TryLockError::WouldBlock) => None,
                };
            }
        }
    }
}
