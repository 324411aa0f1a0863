//! What the threads of an open store share.

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::blobs::Blobs;
use super::folder::Folder;
use super::ledger::Ledger;
use super::metadata::{Metadata, SettingLimits};
use super::queue::QueueLimits;
use super::segments::Segments;
use super::space::Space;
use super::statistics::Statistics;
use super::status::Status;
use crate::config::Config;
use crate::keys::KeyRing;

/// Largest segment: places in it are 32-bit numbers, and one batch may still follow.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// How an [`EmbeddedStore`](super::EmbeddedStore) works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// The longest time that a written record waits for its flush to the disk.
    pub flush: Duration,
    /// Size at which a segment is complete, in bytes; at most 1 GiB.
    pub segment_bytes: u64,
    /// Number of runs and ticks at which a segment is complete.
    pub segment_rows: usize,
    /// Settings of one workflow.
    pub settings_max: usize,
    /// Bytes of one setting's value.
    pub setting_bytes_max: usize,
    /// Time from a change of the metadata to its checkpoint and its export, at most one
    /// of each in such a time. What was changed is durable before.
    pub checkpoint: Duration,
    /// Age from which a blob that no version names is garbage.
    pub garbage: Duration,
    /// Commands that wait for the writer.
    pub queue_max: usize,
    /// Bytes of run records that wait for the writer, at least one record.
    pub queue_bytes_max: usize,
    /// Limits of the queue of events.
    pub events: QueueLimits,
    /// What encrypts settings. By default nothing does, and settings can be neither read nor
    /// written.
    pub keys: Arc<KeyRing>,
    /// Makes the index files and the checkpoint again from what they were made of.
    pub rebuild_index: bool,
    /// The folder was just made of a backup, which has no checkpoint: one is made from its
    /// export, and nothing is said to be lost.
    pub is_restored: bool,
    /// Free bytes below which deploys are refused; a tenth of the file system if that is
    /// less.
    pub space_low_bytes: u64,
    /// Free bytes below which records of runs are not kept; a twentieth of the file
    /// system if that is less.
    pub space_full_bytes: u64,
}

impl EmbeddedOptions {
    /// The options that a configuration gives, and keys for settings.
    pub fn from_config(config: &Config, keys: Arc<KeyRing>) -> Self {
        Self {
            flush: Duration::from_millis(config.store.flush_ms),
            segment_bytes: config.store.segment_bytes.min(SEGMENT_BYTES_MAX),
            settings_max: config.run.settings_max,
            setting_bytes_max: config.run.setting_bytes_max,
            events: QueueLimits::from_config(&config.queue),
            keys,
            space_low_bytes: config.store.space_low_bytes,
            space_full_bytes: config.store.space_full_bytes,
            ..Self::default()
        }
    }

    pub(super) fn setting_limits(&self) -> SettingLimits {
        SettingLimits { settings_max: self.settings_max, setting_bytes_max: self.setting_bytes_max }
    }
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            flush: Duration::from_millis(50),
            segment_bytes: 64 << 20,
            segment_rows: 1 << 16,
            settings_max: 256,
            setting_bytes_max: 1 << 16,
            checkpoint: Duration::from_secs(60),
            garbage: Duration::from_secs(3600),
            queue_max: 4096,
            queue_bytes_max: 64 << 20,
            events: QueueLimits::default(),
            // Tests need not care.
            keys: Arc::new(if cfg!(test) { KeyRing::local() } else { KeyRing::none() }),
            rebuild_index: false,
            is_restored: false,
            space_low_bytes: 1 << 30,
            space_full_bytes: 256 << 20,
        }
    }
}

/// The parts of an open store.
pub(super) struct Shared {
    pub(super) options: EmbeddedOptions,
    pub(super) status: Arc<Status>,
    /// What encrypts settings now.
    pub(super) keys: ArcSwap<KeyRing>,
    pub(super) space: Arc<Space>,
    pub(super) metadata: RwLock<Metadata>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) segments: Segments,
    pub(super) statistics: Statistics,
    pub(super) blobs: Blobs,
    /// Holds the lock of the data folder; last, so that it goes last.
    pub(super) folder: Folder,
}
