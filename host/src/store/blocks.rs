//! The body of an index file, read and checked block by block as it is asked for: a page
//! of a listing looks at a few rows, and should not wait for a file of some megabytes.

use std::fs::File;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::frame;
use super::sidecar::SidecarError;

/// Bytes of a block that is not the last; 1,024 rows of runs.
pub(super) const BLOCK_BYTES: usize = 48 << 10;

/// A body of an index.
pub(super) struct Blocks {
    /// `None` when all blocks are there.
    file: Option<File>,
    /// Where the body begins in the file.
    start: u64,
    bytes: usize,
    /// CRC32C of each block.
    sums: Vec<u32>,
    blocks: Vec<OnceLock<Box<[u8]>>>,
    loaded_bytes: AtomicUsize,
}

/// The checksums of a body's blocks.
pub(super) fn sums(body: &[u8]) -> Vec<u32> {
    body.chunks(BLOCK_BYTES).map(crc32c::crc32c).collect()
}

impl Blocks {
    /// A body of `bytes` bytes that begins at `start` in a file; nothing is read yet.
    pub(super) fn of_file(file: File, start: u64, bytes: usize, sums: Vec<u32>) -> Self {
        let blocks = sums.iter().map(|_| OnceLock::new()).collect();
        Self { file: Some(file), start, bytes, sums, blocks, loaded_bytes: AtomicUsize::new(0) }
    }

    /// A body that is in memory.
    ///
    /// # Errors
    /// When a checksum differs.
    pub(super) fn of_bytes(body: &[u8], sums: Vec<u32>) -> Result<Self, SidecarError> {
        if self::sums(body) != sums {
            return Err(SidecarError::Mismatch("the checksum of its body"));
        }
        let blocks = body.chunks(BLOCK_BYTES).map(|block| OnceLock::from(Box::from(block))).collect();
        let loaded_bytes = AtomicUsize::new(body.len());
        Ok(Self { file: None, start: 0, bytes: body.len(), sums, blocks, loaded_bytes })
    }

    /// Bytes in memory.
    pub(super) fn loaded_bytes(&self) -> usize {
        self.loaded_bytes.load(Ordering::Relaxed)
    }

    /// Reads whatever is not in memory yet.
    ///
    /// # Errors
    /// When a block cannot be read, or its checksum differs.
    pub(super) fn load(&self) -> Result<(), SidecarError> {
        self.load_range(0..self.bytes)
    }

    /// Reads whatever of these bytes is not in memory yet.
    ///
    /// # Errors
    /// As [`Blocks::load`].
    pub(super) fn load_range(&self, bytes: Range<usize>) -> Result<(), SidecarError> {
        let blocks = bytes.start / BLOCK_BYTES..bytes.end.div_ceil(BLOCK_BYTES);
        blocks.into_iter().try_for_each(|index| self.block(index).map(drop))
    }

    /// Bytes of the body.
    ///
    /// # Errors
    /// When their block cannot be read, its checksum differs, or the body is shorter.
    pub(super) fn take<const N: usize>(&self, at: usize) -> Result<[u8; N], SidecarError> {
        let mut bytes = [0; N];
        let (mut from, mut filled) = (at, 0);
        while filled < N {
            let block = self.block(from / BLOCK_BYTES)?;
            let rest = block.get(from % BLOCK_BYTES..).unwrap_or_default();
            let count = rest.len().min(N - filled);
            if count == 0 {
                return Err(SidecarError::Mismatch("it is too short"));
            }
            bytes[filled..filled + count].copy_from_slice(&rest[..count]);
            (from, filled) = (from + count, filled + count);
        }
        Ok(bytes)
    }

    fn block(&self, index: usize) -> Result<&[u8], SidecarError> {
        let block = self.blocks.get(index).ok_or(SidecarError::Mismatch("it is too short"))?;
        if let Some(bytes) = block.get() {
            return Ok(bytes);
        }
        let file = self.file.as_ref().ok_or(SidecarError::Mismatch("it is too short"))?;
        let from = index * BLOCK_BYTES;
        let length = BLOCK_BYTES.min(self.bytes.saturating_sub(from));
        let bytes = frame::read_exactly(file, self.start + from as u64, length)?;
        if crc32c::crc32c(&bytes) != self.sums[index] {
            return Err(SidecarError::Mismatch("the checksum of its body"));
        }
        let mut is_first = false;
        let bytes = block.get_or_init(|| {
            is_first = true;
            bytes.into()
        });
        if is_first {
            self.loaded_bytes.fetch_add(length, Ordering::Relaxed);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_blocks_that_are_asked_for_are_read_and_checked() {
        let body: Vec<u8> = (0..3 * BLOCK_BYTES + 100).map(|at| (at % 251) as u8).collect();
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("index");
        let mut file = b"head".to_vec();
        file.extend_from_slice(&body);
        *file.last_mut().unwrap() ^= 1;
        fs::write(&path, &file).unwrap();
        let blocks = Blocks::of_file(File::open(&path).unwrap(), 4, body.len(), sums(&body));
        assert_eq!(blocks.loaded_bytes(), 0);
        assert_eq!(blocks.take::<4>(10).unwrap(), body[10..14]);
        assert_eq!(blocks.loaded_bytes(), BLOCK_BYTES);
        let across = 2 * BLOCK_BYTES - 3;
        assert_eq!(blocks.take::<48>(across).unwrap(), body[across..across + 48]);
        assert_eq!(blocks.loaded_bytes(), 3 * BLOCK_BYTES);
        let damaged = blocks.take::<4>(3 * BLOCK_BYTES).unwrap_err();
        assert!(matches!(damaged, SidecarError::Mismatch("the checksum of its body")), "{damaged}");
        assert!(blocks.load().is_err());
    }

    #[test]
    fn bytes_behind_the_end_are_an_error() {
        let blocks = Blocks::of_bytes(&[7; 10], sums(&[7; 10])).unwrap();
        assert_eq!(blocks.take::<4>(6).unwrap(), [7; 4]);
        assert!(blocks.take::<4>(7).is_err());
        assert!(blocks.take::<4>(BLOCK_BYTES).is_err());
        assert!(Blocks::of_bytes(&[7; 10], sums(&[8; 10])).is_err());
    }
}
