//! Native stacks that are used again and again.

use std::io;
use std::ops::Range;

use super::pagemap::PageMap;
use super::space::Space;

/// Below a stack. A frame that skips it would have to be larger, and Rust probes each page.
const GUARD_BYTES: usize = 64 << 10;

/// What is zeroed by hand; what a run used beyond it goes back to the system. A Rust
/// guest's calls use 16 KiB, Python's up to 100.
const ZEROED_BYTES_MAX: usize = 128 << 10;

/// A stack above its guard region.
pub(super) struct Stack {
    space: Space,
    /// What is private of it and stays so, if that is known.
    written: Option<Vec<Range<usize>>>,
}

impl Stack {
    /// A stack of so many bytes, a multiple of the page size, all zero.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let mut space = Space::reserve(GUARD_BYTES + bytes)?;
        space.open(GUARD_BYTES..GUARD_BYTES + bytes)?;
        space.advise()?;
        Ok(Self { space, written: None })
    }

    /// Its size.
    pub(super) fn bytes(&self) -> usize {
        self.space.bytes() - GUARD_BYTES
    }

    /// Its addresses, without the guard region.
    pub(super) fn range(&self) -> Range<usize> {
        let start = self.space.start() as usize;
        start + GUARD_BYTES..start + self.space.bytes()
    }

    /// The addresses below it that fault.
    pub(super) fn guard(&self) -> Range<*mut u8> {
        self.space.start()..self.space.start().wrapping_add(GUARD_BYTES)
    }

    /// Makes it all zero; returns what it keeps of memory. With `is_settled`, the run took
    /// no page fault. After an error it must not be used again.
    pub(super) fn reset(&mut self, pagemap: &PageMap, is_settled: bool) -> io::Result<usize> {
        if is_settled && let Some(written) = &self.written {
            written.iter().for_each(|part| self.space.restore(part.clone(), &[]));
            return Ok(written.iter().map(Range::len).sum());
        }
        let end = self.space.bytes();
        let zeroed_from = end.saturating_sub(ZEROED_BYTES_MAX).max(GUARD_BYTES);
        let (mut all, mut is_deep) = (self.written.take().unwrap_or_default(), false);
        all.clear();
        pagemap.written(&mut self.space, GUARD_BYTES..end, usize::MAX, |space, part| {
            is_deep |= part.start < zeroed_from;
            let zeroed = part.start.max(zeroed_from)..part.end.max(zeroed_from);
            space.restore(zeroed.clone(), &[]);
            all.push(zeroed);
        })?;
        if is_deep {
            self.space.forget(GUARD_BYTES..zeroed_from)?;
        }
        let kept_bytes = all.iter().map(Range::len).sum();
        self.written = Some(all);
        Ok(kept_bytes)
    }

    /// Whether every byte is zero.
    #[cfg(test)]
    pub(super) fn is_zero(&self) -> bool {
        self.space.read(GUARD_BYTES..self.space.bytes()) == vec![0; self.bytes()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_zero_again_however_deep_it_was_used() {
        let (pagemap, page) = (PageMap::open().unwrap(), rustix::param::page_size());
        let bytes = 1 << 20;
        let mut stack = Stack::new(bytes).unwrap();
        let end = GUARD_BYTES + bytes;
        for depth in [page, ZEROED_BYTES_MAX, ZEROED_BYTES_MAX + page, bytes / 2, bytes] {
            stack.space.restore(end - depth..end, &vec![0x5a; depth]);
            assert!(!stack.is_zero());
            stack.reset(&pagemap, false).unwrap();
            assert!(stack.is_zero(), "{depth} bytes of it were used");
        }
        // What is private stays so: the next one that is as deep needs no look.
        stack.space.restore(end - page..end, &vec![0x5a; page]);
        assert_eq!(stack.reset(&pagemap, true).unwrap(), ZEROED_BYTES_MAX);
        assert!(stack.is_zero());
    }
}
