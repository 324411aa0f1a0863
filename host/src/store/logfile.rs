//! Append-only files of frames: segments of runs, the journal of the metadata, and the
//! queue's log.
//!
//! ```text
//! "tidegate" 8 | purpose 4 | format 4 | number 8 | salt 8 | CRC32C of all that 4 | zero 4
//! | frames
//! ```
//!
//! Integers are little-endian. One thread appends; any thread may flush.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::disk::{self, Step};
use super::folder::{create_file, sync_folder};
use super::frame::{Salt, read_exactly};
use super::{Result, StoreError};

/// Bytes in front of the first frame.
pub(super) const HEADER_BYTES: u64 = 40;

/// The version of the files' format.
const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"tidegate";

/// What a file's frames are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Runs,
    Journal,
    Queue,
    Statistics,
}

impl Purpose {
    fn word(self) -> [u8; 4] {
        match self {
            Purpose::Runs => *b"runs",
            Purpose::Journal => *b"jrnl",
            Purpose::Queue => *b"queu",
            Purpose::Statistics => *b"stat",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Purpose::Runs => "seg",
            Purpose::Journal | Purpose::Queue | Purpose::Statistics => "log",
        }
    }

    /// The path of the file with this number.
    pub(super) fn path(self, folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("{number:08}.{}", self.extension()))
    }

    /// The numbers of the files in a folder, ascending.
    pub(super) fn numbers(self, folder: &Path) -> Result<Vec<u64>> {
        let action = || format!("list {}", folder.display());
        let failed = |source| StoreError::Io { action: action(), source };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(number), Some(extension)) = (stem, path.extension())
                && extension == self.extension()
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// A file that is being appended to.
pub(super) struct LogFile {
    pub(super) number: u64,
    folder: PathBuf,
    file: File,
    written: AtomicU64,
    synced: AtomicU64,
    /// Whether the file's name survives a power cut.
    is_named: AtomicBool,
    /// The folder, kept open: a flush must not fail because a crowd of clients has all
    /// descriptors. `None` when there was none to be had.
    directory: Option<File>,
}

impl LogFile {
    /// Creates the file with this number. Its name is not on the disk before the first
    /// [`LogFile::sync`].
    pub(super) fn create(folder: &Path, purpose: Purpose, number: u64, salt: Salt) -> Result<Self> {
        let path = purpose.path(folder, number);
        let failed = |source| StoreError::Io { action: format!("create {}", path.display()), source };
        let file = create_file(&path).map_err(failed)?;
        disk::write_at(folder, &file, &header(purpose, number, salt), 0).map_err(|source| {
            // Else its name would be taken when there is room again.
            let _ = disk::step(folder, Step::Remove, || fs::remove_file(&path));
            failed(source)
        })?;
        Ok(Self::new(folder, number, file, HEADER_BYTES))
    }

    /// Goes on with a file whose last whole frame ends at `end`; what is behind it is
    /// cut off.
    pub(super) fn resume(folder: &Path, purpose: Purpose, number: u64, end: u64) -> Result<Self> {
        let path = purpose.path(folder, number);
        let failed = |source| StoreError::Io { action: format!("resume {}", path.display()), source };
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        disk::step(folder, Step::Truncate, || file.set_len(end))
            .and_then(|()| disk::step(folder, Step::Sync, || file.sync_all()))
            .map_err(failed)?;
        Ok(Self::new(folder, number, file, end))
    }

    /// The same file for everybody who asks, but another one underneath.
    #[cfg(test)]
    pub(super) fn over(&self, file: File) -> Self {
        Self::new(&self.folder, self.number, file, self.written())
    }

    fn new(folder: &Path, number: u64, file: File, end: u64) -> Self {
        Self {
            number,
            folder: folder.to_owned(),
            file,
            written: AtomicU64::new(end),
            synced: AtomicU64::new(0),
            is_named: AtomicBool::new(false),
            directory: File::open(folder).ok(),
        }
    }

    /// Hands bytes to the operating system and returns the place of the first. Only
    /// one thread may call this.
    ///
    /// # Errors
    /// When it says that there is no room ([`super::is_full`]), the file is as it was;
    /// after any other error what it holds behind its end is unknown.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.written.load(Ordering::Relaxed);
        if let Err(error) = disk::write_at(&self.folder, &self.file, bytes, at) {
            if super::is_full(&error) {
                // What was written of it could be taken for whole frames later.
                disk::step(&self.folder, Step::Truncate, || self.file.set_len(at))
                    .map_err(|error| io::Error::other(format!("cut off half a write: {error}")))?;
            }
            return Err(error);
        }
        self.written.store(at + bytes.len() as u64, Ordering::Release);
        Ok(at)
    }

    /// Brings what was appended so far, and the file's name, to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        let written = self.written();
        if self.synced() >= written {
            return Ok(());
        }
        disk::step(&self.folder, Step::Sync, || self.file.sync_data())?;
        if !self.is_named.load(Ordering::Acquire) {
            self.directory.as_ref().map_or_else(|| sync_folder(&self.folder), File::sync_all)?;
            self.is_named.store(true, Ordering::Release);
        }
        self.synced.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }

    /// Bytes that the operating system has.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Bytes that the disk has.
    pub(super) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }
}

/// The bytes in front of the first frame.
pub(super) fn header(purpose: Purpose, number: u64, salt: Salt) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&purpose.word());
    bytes[12..16].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    bytes[24..32].copy_from_slice(&salt.number().to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..32]);
    bytes[32..36].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// A file of frames that is only read.
pub(super) struct ReadFile {
    pub(super) file: File,
    /// The salt of its frames: its own, or that of the folder when its header is gone.
    pub(super) salt: Salt,
    /// Its size in bytes.
    pub(super) bytes: u64,
    /// Whether the header is there and right.
    pub(super) has_header: bool,
}

/// Opens a file of frames for reading. A damaged header is reported, not refused: the
/// frames say themselves whether they are whole.
///
/// # Errors
/// [`StoreError::Format`] for a file of a newer build, [`StoreError::Io`].
pub(super) fn open(folder: &Path, purpose: Purpose, number: u64, salt: Salt) -> Result<ReadFile> {
    let path = purpose.path(folder, number);
    let failed = |source| StoreError::Io { action: format!("open {}", path.display()), source };
    let file = File::open(&path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let mut found = ReadFile { file, salt, bytes, has_header: false };
    if bytes < HEADER_BYTES {
        return Ok(found);
    }
    let head = read_exactly(&found.file, 0, HEADER_BYTES as usize).map_err(failed)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..8] != MAGIC || word(32) != crc32c::crc32c(&head[..32]) {
        return Ok(found);
    }
    if word(12) > FORMAT {
        return Err(StoreError::Format { path, found: word(12).to_string(), supported: FORMAT });
    }
    let own = Salt::new(u64::from(word(24)) | u64::from(word(28)) << 32);
    found.has_header = head[8..12] == purpose.word();
    found.salt = own;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt::new(0xabcd_ef01_2345_6789);

    #[test]
    fn header_carries_number_and_salt_and_damage_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let log = LogFile::create(temp.path(), Purpose::Runs, 7, SALT).unwrap();
        assert_eq!(log.append(b"abc").unwrap(), HEADER_BYTES);
        log.sync().unwrap();
        assert_eq!((log.written(), log.synced()), (HEADER_BYTES + 3, HEADER_BYTES + 3));
        let other = Salt::new(1);
        let read = open(temp.path(), Purpose::Runs, 7, other).unwrap();
        assert!(read.has_header);
        assert_eq!((read.salt, read.bytes), (SALT, HEADER_BYTES + 3));
        assert_eq!(Purpose::Runs.numbers(temp.path()).unwrap(), [7]);
        assert_eq!(Purpose::Journal.numbers(temp.path()).unwrap(), [0; 0]);

        let path = Purpose::Runs.path(temp.path(), 7);
        let mut bytes = fs::read(&path).unwrap();
        bytes[25] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let read = open(temp.path(), Purpose::Runs, 7, other).unwrap();
        assert!(!read.has_header);
        assert_eq!(read.salt, other);
    }

    #[test]
    fn file_of_a_newer_build_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let mut bytes = header(Purpose::Runs, 1, SALT);
        bytes[12..16].copy_from_slice(&9u32.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..32]);
        bytes[32..36].copy_from_slice(&sum.to_le_bytes());
        fs::write(Purpose::Runs.path(temp.path(), 1), bytes).unwrap();
        match open(temp.path(), Purpose::Runs, 1, SALT).err() {
            Some(StoreError::Format { found, .. }) => assert_eq!(found, "9"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn resumed_file_loses_what_is_behind_its_last_frame() {
        let temp = tempfile::tempdir().unwrap();
        LogFile::create(temp.path(), Purpose::Runs, 1, SALT).unwrap().append(b"abcdef").unwrap();
        let log = LogFile::resume(temp.path(), Purpose::Runs, 1, HEADER_BYTES + 2).unwrap();
        log.append(b"X").unwrap();
        let bytes = fs::read(Purpose::Runs.path(temp.path(), 1)).unwrap();
        assert_eq!(&bytes[HEADER_BYTES as usize..], b"abX");
    }
}
