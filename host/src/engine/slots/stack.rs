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

/// Below what is zeroed by hand, what is looked at first: when nothing of it was written,
/// nothing below it was either, for the same reason as that of the guard region.
const MARGIN_BYTES: usize = 64 << 10;

/// A stack above its guard region.
pub(super) struct Stack {
    space: Space,
}

impl Stack {
    /// A stack of so many bytes, a multiple of the page size, all zero.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let mut space = Space::reserve(GUARD_BYTES + bytes)?;
        space.open(GUARD_BYTES..GUARD_BYTES + bytes)?;
        space.advise();
        Ok(Self { space })
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

    /// Makes it all zero; returns what it keeps of memory. After an error it must not be
    /// used again.
    pub(super) fn reset(&mut self, pagemap: &PageMap) -> io::Result<usize> {
        let end = self.space.bytes();
        let zeroed_from = end.saturating_sub(ZEROED_BYTES_MAX).max(GUARD_BYTES);
        let looked_from = zeroed_from.saturating_sub(MARGIN_BYTES).max(GUARD_BYTES);
        let (mut kept_bytes, mut is_deep) = (0, false);
        pagemap.written(&mut self.space, looked_from..end, usize::MAX, |space, part| {
            is_deep |= part.start < zeroed_from;
            let zeroed = part.start.max(zeroed_from)..part.end.max(zeroed_from);
            kept_bytes += zeroed.len();
            space.restore(zeroed, &[]);
        })?;
        if is_deep {
            self.space.forget(GUARD_BYTES..zeroed_from)?;
        }
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
        // Each page down to there, as calls do; then one that skips less than the margin.
        for depth in [page, ZEROED_BYTES_MAX, ZEROED_BYTES_MAX + page, bytes / 2, bytes] {
            stack.space.restore(end - depth..end, &vec![0x5a; depth]);
            assert!(!stack.is_zero());
            stack.reset(&pagemap).unwrap();
            assert!(stack.is_zero(), "{depth} bytes of it were used");
        }
        let skipping = end - ZEROED_BYTES_MAX - MARGIN_BYTES;
        stack.space.restore(skipping..skipping + page, &vec![0x5a; page]);
        stack.space.restore(GUARD_BYTES..GUARD_BYTES + page, &vec![0x5a; page]);
        stack.reset(&pagemap).unwrap();
        assert!(stack.is_zero());
    }
}
