//! Where the chain begins and ends: what shows that entries at either end are gone.
//!
//! Two slots are written in turn, so that a write that is cut off leaves the one before.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::chain::{Key, Mac};

/// A slot: four numbers, two tags, and a tag over them. Slots are a disk's smallest sector
/// apart.
const BYTES: usize = 4 * 8 + 3 * 32;
const SLOT_BYTES: u64 = 512;

/// The ends of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Counts the writes of this; the higher slot counts.
    pub(super) writes: u64,
    /// The first file that is kept.
    pub(super) first_file: u64,
    /// The entry before the first one that is kept; 0 for none.
    pub(super) before_first_seq: u64,
    /// Its tag.
    pub(super) before_first: Mac,
    /// The last entry.
    pub(super) last_seq: u64,
    /// Its tag.
    pub(super) last: Mac,
}

impl Default for Head {
    fn default() -> Self {
        let none = [0; 32];
        Self { writes: 0, first_file: 1, before_first_seq: 0, before_first: none, last_seq: 0, last: none }
    }
}

impl Head {
    fn encode(&self, key: &Key) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let numbers = [self.writes, self.first_file, self.before_first_seq, self.last_seq];
        for (index, number) in numbers.into_iter().enumerate() {
            bytes[index * 8..index * 8 + 8].copy_from_slice(&number.to_be_bytes());
        }
        bytes[32..64].copy_from_slice(&self.before_first);
        bytes[64..96].copy_from_slice(&self.last);
        let tag = key.head(&bytes[..96]);
        bytes[96..].copy_from_slice(&tag);
        bytes
    }

    fn decode(bytes: &[u8; BYTES], key: &Key) -> Option<Self> {
        let number = |index: usize| {
            let bytes: [u8; 8] = bytes[index * 8..index * 8 + 8].try_into().ok()?;
            Some(u64::from_be_bytes(bytes))
        };
        let head = Self {
            writes: number(0)?,
            first_file: number(1)?,
            before_first_seq: number(2)?,
            before_first: bytes[32..64].try_into().ok()?,
            last_seq: number(3)?,
            last: bytes[64..96].try_into().ok()?,
        };
        (head.encode(key) == *bytes).then_some(head)
    }
}

/// The open file.
pub(super) struct HeadFile {
    file: File,
    writes: u64,
}

impl HeadFile {
    /// Opens the file, and reads the later of its slots that is as it was written.
    pub(super) fn open(path: &Path, key: &Key) -> io::Result<(Self, Option<Head>)> {
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = options?;
        let (head, _) = Self::read(path, key);
        Ok((Self { file, writes: head.map_or(0, |head| head.writes) }, head))
    }

    /// The later slot, and the other one.
    pub(super) fn read(path: &Path, key: &Key) -> (Option<Head>, Option<Head>) {
        let slot = |number: u64| {
            let mut bytes = [0; BYTES];
            let read = File::open(path).and_then(|file| file.read_exact_at(&mut bytes, number * SLOT_BYTES));
            read.ok().and_then(|()| Head::decode(&bytes, key))
        };
        match (slot(0), slot(1)) {
            (Some(a), Some(b)) if b.writes > a.writes => (Some(b), Some(a)),
            (None, b) => (b, None),
            other => other,
        }
    }

    #[cfg(test)]
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// Writes the ends, and flushes them to the disk.
    pub(super) fn write(&mut self, head: &Head, key: &Key) -> io::Result<()> {
        let writes = self.writes + 1;
        let bytes = Head { writes, ..*head }.encode(key);
        self.file.write_all_at(&bytes, writes % 2 * SLOT_BYTES)?;
        self.file.sync_data()?;
        self.writes = writes;
        Ok(())
    }
}
