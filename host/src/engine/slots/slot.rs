//! One linear memory that shows an image, again and again.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::image::Image;
use super::pagemap::PageMap;
use super::space::Space;

/// What is restored by copying. What a run wrote beyond it goes back to the system. A
/// Python hello writes 0.7 MB, one with two HTTP calls 6.5 MB.
const RESTORED_BYTES_MAX: usize = 8 << 20;

/// A page that was ever written is restored after each run. So that one run that wrote
/// much does not cost all later ones, a slot starts over after so many runs if it restores
/// this much more than twice what its first run wrote, ...
const SHED_BYTES: usize = 1 << 20;
const SHED_RUNS: u32 = 256;
/// ... and after so many if it restores that much at all: its first run may have been the
/// one.
const SHED_RUNS_MAX: u32 = 16_384;

/// The shape of a slot, which compiled code relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// What is accessible at first.
    pub(super) minimum: usize,
    /// What can become accessible,
    pub(super) capacity: usize,
    /// the addresses that compiled code can form without a check, and
    pub(super) reservation: usize,
    /// those that it can reach beyond them. As much is kept free below the memory.
    pub(super) guard: usize,
}

/// Whose runs a slot is used for: of two programs that share an image, each gets the slots
/// again that it had, because another one's are private in other pages, and those would all
/// be restored. A number that nobody else has meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Occupant(pub(in crate::engine) usize);

/// A memory, between guard regions: [guard | image, zeroes up to the size | nothing up to
/// the reservation | guard].
pub(super) struct Slot {
    space: Space,
    image: Arc<Image>,
    shape: Shape,
    /// What is accessible.
    size: usize,
    /// What was accessible at most, since the slot started over.
    reached: usize,
    /// Bytes above `minimum` that are written and not accessible now.
    closed_bytes: usize,
    /// Since it started over.
    runs: u32,
    /// What the first of them wrote.
    first_bytes: usize,
    /// What is private of the first `minimum` bytes and stays so, if that is known.
    written: Option<Vec<Range<usize>>>,
    /// What it holds of memory of its own.
    kept_bytes: usize,
    occupant: Occupant,
    _one: One,
}

/// What a reset did.
pub(super) struct Restored {
    /// What was restored.
    pub(super) bytes: usize,
    /// What the slot holds of memory of its own.
    pub(super) kept_bytes: usize,
}

/// One of a limited number of slots.
pub(super) struct One(Arc<AtomicUsize>);

impl One {
    /// Another one, if there are fewer than `max`.
    pub(super) fn of(count: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let another = |count: usize| (count < max).then_some(count + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, another).ok()?;
        Some(Self(count.clone()))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    /// Reserves the addresses and shows the image.
    pub(super) fn new(image: Arc<Image>, shape: Shape, occupant: Occupant, one: One) -> io::Result<Self> {
        let Shape { minimum, capacity, reservation, guard } = shape;
        let shown = image.bytes().len();
        if shown > minimum || minimum > capacity || capacity > reservation {
            return Err(io::Error::other("the image does not fit the memory, or the memory its limit"));
        }
        let mut space = Space::reserve(guard + reservation + guard)?;
        space.show(image.file(), guard, shown)?;
        space.open(guard + shown..guard + minimum)?;
        space.advise()?;
        let slot = Self {
            space,
            image,
            shape,
            size: minimum,
            reached: minimum,
            closed_bytes: 0,
            runs: 0,
            first_bytes: 0,
            written: None,
            kept_bytes: 0,
            occupant,
            _one: one,
        };
        Ok(slot)
    }

    /// Whether it shows this very image, in this shape.
    pub(super) fn is_for(&self, image: &Arc<Image>, shape: Shape) -> bool {
        Arc::ptr_eq(&self.image, image) && self.shape == shape
    }

    /// Who had it last.
    pub(super) fn occupant(&self) -> Occupant {
        self.occupant
    }

    /// Has somebody else in it. What much its last occupants wrote is not restored after each
    /// run of this one. After an error it must not be used again.
    pub(super) fn hand_over(&mut self, occupant: Occupant) -> io::Result<()> {
        self.occupant = occupant;
        if self.kept_bytes > SHED_BYTES { self.start_over() } else { Ok(()) }
    }

    /// The memory's address 0.
    pub(super) fn base(&self) -> *mut u8 {
        self.space.start().wrapping_add(self.shape.guard)
    }

    /// What is accessible, in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// What can become accessible, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.shape.capacity
    }

    /// Makes more accessible; the size stays as it is when that fails.
    pub(super) fn grow_to(&mut self, size: usize) -> io::Result<()> {
        if size < self.size || size > self.shape.capacity {
            return Err(io::Error::other("a memory grows within its limit only"));
        }
        self.space.open(self.shape.guard + self.size..self.shape.guard + size)?;
        self.size = size;
        self.reached = self.reached.max(size);
        Ok(())
    }

    /// Makes the memory what it was: the image, and zeroes up to its first size. With
    /// `is_settled`, the run took no page fault. After an error it must not be used again.
    pub(super) fn reset(&mut self, pagemap: &PageMap, is_settled: bool) -> io::Result<Restored> {
        // What was grown into may have been written before and be closed since: such a page
        // does not fault again, and is not among those that are known.
        let is_known = is_settled && self.size == self.shape.minimum;
        let (bytes, grown) = match self.written.take() {
            Some(written) if is_known => self.restore_known(written),
            written => self.restore_found(written.unwrap_or_default(), pagemap)?,
        };
        self.runs += 1;
        if self.runs == 1 {
            self.first_bytes = bytes;
        }
        let kept_bytes = bytes - grown + self.closed_bytes;
        let is_much = kept_bytes > SHED_BYTES + 2 * self.first_bytes;
        self.kept_bytes = kept_bytes;
        if self.runs >= SHED_RUNS && is_much || self.runs >= SHED_RUNS_MAX && kept_bytes > SHED_BYTES {
            self.start_over()?;
        }
        Ok(Restored { bytes, kept_bytes: self.kept_bytes })
    }

    /// Gives back all that it holds.
    fn start_over(&mut self) -> io::Result<()> {
        let guard = self.shape.guard;
        self.space.forget(guard..guard + self.reached)?;
        (self.reached, self.closed_bytes, self.runs) = (self.shape.minimum, 0, 0);
        (self.written, self.kept_bytes) = (None, 0);
        Ok(())
    }

    /// Restores what earlier runs are known to have written. Returns the bytes, and how many
    /// of them were grown into: none.
    fn restore_known(&mut self, written: Vec<Range<usize>>) -> (usize, usize) {
        for part in &written {
            restore(&mut self.space, &self.image, self.shape, part.clone());
        }
        let bytes = written.iter().map(Range::len).sum();
        self.written = Some(written);
        (bytes, 0)
    }

    /// Restores what the kernel says was written, and makes what was grown into inaccessible
    /// again. Returns the bytes, and how many of them were grown into.
    fn restore_found(
        &mut self,
        mut written: Vec<Range<usize>>,
        pagemap: &PageMap,
    ) -> io::Result<(usize, usize)> {
        let guard = self.shape.guard;
        let (end, minimum_end) = (guard + self.size, guard + self.shape.minimum);
        let (mut bytes, mut grown) = (0, 0);
        written.clear();
        let reached = pagemap.written(&mut self.space, guard..end, RESTORED_BYTES_MAX, |space, part| {
            bytes += part.len();
            grown += part.end.saturating_sub(part.start.max(minimum_end));
            if part.start < minimum_end {
                written.push(part.start..part.end.min(minimum_end));
            }
            restore(space, &self.image, self.shape, part);
        })?;
        self.space.forget(reached..end)?;
        if self.size > self.shape.minimum {
            self.space.close(minimum_end..end)?;
            self.size = self.shape.minimum;
            // Those pages stay for the next growth: zero, and out of reach.
            self.closed_bytes = self.closed_bytes.max(grown);
        }
        self.written = Some(written);
        Ok((bytes, grown))
    }

    /// The first difference to the image, if there is one, or what can be accessed beyond.
    #[cfg(test)]
    pub(super) fn differs(&self) -> Option<String> {
        let guard = self.shape.guard;
        let memory = self.space.read(guard..guard + self.shape.minimum);
        let mut expected = self.image.bytes().to_vec();
        expected.resize(memory.len(), 0);
        // All at once: tests are not optimised.
        if memory != expected {
            let at = (0..memory.len()).find(|&at| memory[at] != expected[at]).unwrap_or_default();
            return Some(format!("{at:#x}: {:#x} is not {:#x}", memory[at], expected[at]));
        }
        (self.size != self.shape.minimum).then(|| format!("its size is still {}", self.size))
    }
}

/// Makes a part of a slot what its image has there.
fn restore(space: &mut Space, image: &Image, shape: Shape, part: Range<usize>) {
    let source = image.bytes().get(part.start - shape.guard..).unwrap_or_default();
    space.restore(part, source);
}
