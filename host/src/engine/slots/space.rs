//! Pieces of the process's address space, and files mapped to be read: every system call
//! that the slots need, behind owned values.
//!
//! No Rust reference ever points into a [`Space`]: guests write to it through the
//! pointers that wasmtime has. Whoever has a `&mut Space` must be the only one who uses
//! what is mapped there, which holds because wasmtime owns the memory or stack that
//! contains it for as long as a guest can run on it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::ptr::{NonNull, null_mut};

use super::fault::{self, Call};

/// A reserved range of addresses, given back when dropped. Nothing in it can be touched
/// until it is opened or a file is shown in it.
pub(super) struct Space {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a `Space` is an address range that belongs to the value alone, and no call on
// it depends on the thread that makes it.
unsafe impl Send for Space {}
// SAFETY: what can be done with a shared reference only reads the two fields.
unsafe impl Sync for Space {}

impl Space {
    /// Reserves addresses without memory; `bytes` is a multiple of the page size.
    pub(super) fn reserve(bytes: usize) -> io::Result<Self> {
        fault::check(Call::Reserve)?;
        // SAFETY: a new mapping at an address of the kernel's choice changes no other one.
        let start = unsafe {
            libc::mmap(
                null_mut(),
                bytes,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        Ok(Self { start: mapped(start)?, bytes })
    }

    /// Says of everything that is mapped here by now: one byte written must not cost 2 MiB,
    /// and only a write must make a page private, or another one of it. (Of its own accord
    /// the system would make many pages a huge one, and replace what a guest zeroed by the
    /// page of zeroes, which looks as if it had never been written.)
    pub(super) fn advise(&mut self) -> io::Result<()> {
        for advice in [libc::MADV_NOHUGEPAGE, libc::MADV_UNMERGEABLE] {
            // SAFETY: the range is our own mapping; neither advice changes what is in it.
            let advised = done(unsafe { libc::madvise(self.start.as_ptr().cast(), self.bytes, advice) });
            // A kernel that does neither refuses the advice, and does not need it.
            advised.or_else(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => Ok(()),
                _ => Err(error),
            })?;
        }
        Ok(())
    }

    /// The lowest address.
    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes of the whole range.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn at(&self, part: &Range<usize>) -> *mut libc::c_void {
        assert!(part.start <= part.end && part.end <= self.bytes, "{part:?} is not within {}", self.bytes);
        self.start.as_ptr().wrapping_add(part.start).cast()
    }

    /// Makes a part readable and writable.
    pub(super) fn open(&mut self, part: Range<usize>) -> io::Result<()> {
        fault::check(Call::Open)?;
        self.protect(part, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// Makes each access to a part fault. What is written there stays.
    pub(super) fn close(&mut self, part: Range<usize>) -> io::Result<()> {
        fault::check(Call::Close)?;
        self.protect(part, libc::PROT_NONE)
    }

    fn protect(&mut self, part: Range<usize>, protection: libc::c_int) -> io::Result<()> {
        if part.is_empty() {
            return Ok(());
        }
        // SAFETY: the part is within our mapping (`at` asserts it), which is made of private
        // mappings, and the exclusive reference says that nobody relies on its protection.
        done(unsafe { libc::mprotect(self.at(&part), part.len(), protection) })
    }

    /// Shows a file's first bytes, readable and writable, from an offset on: what is
    /// written there is private. Both numbers are multiples of the page size.
    pub(super) fn show(&mut self, file: &File, at: usize, bytes: usize) -> io::Result<()> {
        fault::check(Call::Show)?;
        if bytes == 0 {
            return Ok(());
        }
        let part = at..at + bytes;
        // SAFETY: `MAP_FIXED` replaces only what is within our own mapping (`at` asserts it),
        // and the exclusive reference says that nobody uses it.
        let shown = unsafe {
            libc::mmap(
                self.at(&part),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        mapped(shown).map(|_| ())
    }

    /// Drops what was written to a part: the file shows again, or zeroes.
    pub(super) fn forget(&mut self, part: Range<usize>) -> io::Result<()> {
        fault::check(Call::Forget)?;
        if part.is_empty() {
            return Ok(());
        }
        // SAFETY: the part is within our mapping (`at` asserts it), which is private: the
        // kernel drops our copies. The exclusive reference says that nobody needs them.
        done(unsafe { libc::madvise(self.at(&part), part.len(), libc::MADV_DONTNEED) })
    }

    /// Writes `source`, then zeroes up to the end of the part. The part must be open.
    pub(super) fn restore(&mut self, part: Range<usize>, source: &[u8]) {
        let to = self.at(&part).cast::<u8>();
        let copied = source.len().min(part.len());
        // SAFETY: the part is within our mapping (`at` asserts it), and `copied` and the rest
        // add up to it. `source` is somewhere else, as no reference points into a `Space`.
        // Should the part not be open, then the process faults; nothing else is written.
        unsafe {
            std::ptr::copy_nonoverlapping(source.as_ptr(), to, copied);
            if copied < part.len() {
                std::ptr::write_bytes(to.add(copied), 0, part.len() - copied);
            }
        }
    }

    /// The byte at an offset, which must be open.
    pub(super) fn byte(&self, at: usize) -> u8 {
        // SAFETY: the byte is within our mapping (`at` asserts it). Should it not be open, then
        // the process faults. Volatile: that it is read is the point.
        unsafe { self.at(&(at..at + 1)).cast::<u8>().read_volatile() }
    }

    /// A copy of a part, which must be open.
    #[cfg(test)]
    pub(super) fn read(&self, part: Range<usize>) -> Vec<u8> {
        let mut copy = vec![0; part.len()];
        // SAFETY: the part is within our mapping (`at` asserts it), and the copy is as long.
        unsafe { std::ptr::copy_nonoverlapping(self.at(&part).cast(), copy.as_mut_ptr(), part.len()) };
        copy
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: the whole range was mapped by `reserve` and is ours; whoever drops it says
        // that nobody uses it any more.
        let code = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
        // Nothing can be done about it but to lose the addresses.
        debug_assert_eq!(code, 0, "{}", io::Error::last_os_error());
    }
}

/// A file's first bytes, mapped to be read.
pub(super) struct View {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a read-only mapping that belongs to the value alone.
unsafe impl Send for View {}
// SAFETY: as above; it is only read.
unsafe impl Sync for View {}

impl View {
    /// Maps the file's first `bytes` bytes.
    ///
    /// # Safety
    /// Nobody may write to the file or cut it off while it is mapped: it is read through a
    /// Rust slice.
    pub(super) unsafe fn of(file: &File, bytes: usize) -> io::Result<Self> {
        fault::check(Call::View)?;
        if bytes == 0 {
            return Ok(Self { start: NonNull::dangling(), bytes });
        }
        // SAFETY: a new mapping at an address of the kernel's choice changes no other one.
        let start =
            unsafe { libc::mmap(null_mut(), bytes, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        Ok(Self { start: mapped(start)?, bytes })
    }

    /// The file's bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `of` mapped so many readable bytes there (or the pointer dangles for none,
        // as slices want), they live as long as `self`, and its caller promised that they do
        // not change.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: `of` mapped the range, and slices of it do not outlive `self`.
            let code = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
            debug_assert_eq!(code, 0, "{}", io::Error::last_os_error());
        }
    }
}

fn mapped(start: *mut libc::c_void) -> io::Result<NonNull<u8>> {
    match NonNull::new(start.cast::<u8>()) {
        Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(start),
        _ => Err(io::Error::last_os_error()),
    }
}

fn done(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
