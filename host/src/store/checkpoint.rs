//! The metadata in sled: what opening the store starts from, before it reads the
//! journal on.
//!
//! One thread owns the database: it is not `Sync`, and dropping a handle or an iterator
//! of it flushes. It also panics on damaged files, so every call is caught; whatever is
//! lost here is made again from the export and the journal.
//!
//! Runs are not indexed in here, on purpose: leaves that were written to stay in memory
//! (measured: 255 MB for a million runs with two index entries each), and a range scan
//! reads on to the end of the tree.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use super::disk::{self, Step};
use super::folder::sync_folder;
use super::keys::{POSITION, Position};

/// Entries of a leaf, the unit that is written; a database cannot change it.
const LEAF_ENTRIES: usize = 64;
const CACHE_BYTES: usize = 16 << 20;
/// The folder of a database until it is complete.
const UNFINISHED: &str = "sled.new";

// sled locks its folder too, and unlocks it by closing a file. A child process that is
// just being started keeps that file open until it becomes another program. Nobody else
// can hold this lock: the data folder is ours.
const LOCK_TRIES_MAX: u32 = 200;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// The open database.
pub(super) struct Checkpoint {
    db: sled::Db<LEAF_ENTRIES>,
}

/// What a checkpoint holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// The journal is covered up to here.
    pub(super) position: Position,
    /// Encoded keys and values, in the order of the keys.
    pub(super) values: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointError {
    /// The files are not what a database should be.
    #[error("the checkpoint is damaged: {0}")]
    Damaged(String),
    /// The system refused, for example for want of space.
    #[error("the checkpoint cannot be used")]
    Io(#[from] io::Error),
}

impl CheckpointError {
    /// sled reports damage as several kinds of error; what the system refuses may work
    /// the next time and is no reason to give the files up.
    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Unsupported
            | io::ErrorKind::NotFound
            | io::ErrorKind::InvalidInput => Self::Damaged(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

fn caught<T>(call: impl FnOnce() -> io::Result<T>) -> Result<T, CheckpointError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(CheckpointError::of),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(CheckpointError::Damaged(text.unwrap_or_else(|| "it panicked".to_owned())))
        }
    }
}

impl Checkpoint {
    /// Opens or creates the database, and reads all of it.
    pub(super) fn open(path: &Path) -> Result<(Self, Contents), CheckpointError> {
        if !path.exists() {
            Self::create(path)?;
        }
        let checkpoint = Self { db: Self::open_files(path)? };
        let contents = checkpoint.read()?;
        Ok((checkpoint, contents))
    }

    /// Creates an empty database. sled does not flush the file by which it knows its own
    /// databases again: a power cut would leave it empty, and the database unusable
    /// (measured). So it gets its name when all of it is on the disk.
    fn create(path: &Path) -> Result<(), CheckpointError> {
        let parent = path.parent().ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
        let unfinished = parent.join(UNFINISHED);
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => drop(Self::open_files(&unfinished)?),
        }
        sync_below(&unfinished)?;
        disk::step(parent, Step::Rename, || fs::rename(&unfinished, path))?;
        Ok(sync_folder(parent)?)
    }

    fn open_files(path: &Path) -> Result<sled::Db<LEAF_ENTRIES>, CheckpointError> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity_bytes(CACHE_BYTES)
            .flush_every_ms(None)
            .zstd_compression_level(1);
        let mut tries = 0;
        loop {
            match caught(|| config.open()) {
                Err(CheckpointError::Io(error))
                    if error.kind() == io::ErrorKind::WouldBlock && tries < LOCK_TRIES_MAX =>
                {
                    tries += 1;
                    std::thread::sleep(LOCK_WAIT);
                }
                result => return result,
            }
        }
    }

    /// Leaves the database alone after it failed: dropping it flushes, and that waits for
    /// ever when an earlier flush failed (measured on a full file system). Its memory and
    /// its files stay until the process ends.
    pub(super) fn give_up(self) {
        std::mem::forget(self);
    }

    /// Reads everything.
    pub(super) fn read(&self) -> Result<Contents, CheckpointError> {
        let mut contents = Contents::default();
        let pairs: Vec<_> = caught(|| self.db.iter().collect())?;
        for (key, value) in pairs {
            if *key == *POSITION {
                contents.position = Position::decode(&value)
                    .ok_or_else(|| CheckpointError::Damaged("its position is no position".to_owned()))?;
            } else {
                contents.values.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok(contents)
    }

    /// Puts values, in one step, and flushes them to the disk.
    pub(super) fn write(
        &self,
        values: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        position: Position,
    ) -> Result<(), CheckpointError> {
        let mut batch = sled::Batch::default();
        for (key, value) in values {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch.insert(POSITION, position.encode().as_slice());
        caught(|| {
            self.db.apply_batch(batch)?;
            self.db.flush().map(drop)
        })
    }
}

/// Brings all files below a folder, and their names, to the disk.
fn sync_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_below(&path)?;
        } else {
            disk::step(folder, Step::Sync, || fs::File::open(&path)?.sync_all())?;
        }
    }
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> (Vec<u8>, Option<Vec<u8>>) {
        (vec![1, text.len() as u8], Some(text.as_bytes().to_vec()))
    }

    #[test]
    fn values_and_position_come_back() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("sled");
        let position = Position { file: 3, offset: 99 };
        {
            let (checkpoint, contents) = Checkpoint::open(&path).unwrap();
            assert_eq!(contents, Contents::default());
            let many = (0..500u32).map(|n| (n.to_be_bytes().to_vec(), Some(vec![7; 100])));
            checkpoint.write(many.collect(), Position::default()).unwrap();
            let gone = (1..500u32).map(|n| (n.to_be_bytes().to_vec(), None));
            checkpoint.write(gone.chain([value("abc")]).collect(), position).unwrap();
        }
        let (_, contents) = Checkpoint::open(&path).unwrap();
        assert_eq!(contents.position, position);
        assert_eq!(contents.values, [(vec![0; 4], vec![7; 100]), (vec![1, 3], b"abc".to_vec())]);
    }

    #[test]
    fn damaged_files_are_an_error_not_a_panic() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("sled");
        {
            let (checkpoint, _) = Checkpoint::open(&path).unwrap();
            let many = (0..500u32).map(|n| (n.to_be_bytes().to_vec(), Some(vec![n as u8; 300])));
            checkpoint.write(many.collect(), Position::default()).unwrap();
        }
        for file in std::fs::read_dir(path.join("slabs")).unwrap() {
            let file = file.unwrap().path();
            let mut bytes = std::fs::read(&file).unwrap();
            bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
            std::fs::write(&file, bytes).unwrap();
        }
        assert!(matches!(Checkpoint::open(&path).err(), Some(CheckpointError::Damaged(_))));
        std::fs::write(path.join("durability_cookie"), b"short").unwrap();
        assert!(matches!(Checkpoint::open(&path).err(), Some(CheckpointError::Damaged(_))));
    }
}
