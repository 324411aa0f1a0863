//! Linear memories and native stacks that are reset in place.
//!
//! When an instance ends, only the pages that it wrote are restored, from the image of its
//! program's memory, so that the next run on the slot faults on nothing. wasmtime's own
//! pool does the same for at most 32 regions; Python writes hundreds. Which pages those are
//! says the kernel, and as long as no run faults they stay the same ([`witness`]).
//!
//! wasmtime asks for a memory by its type alone. Which program it is for says
//! [`instantiating`], on the thread that instantiates.
//!
//! A slot belongs to one instance or lies on a [`shelf`], never both: it is moved. What
//! cannot be reset is not used again.

mod fault;
mod image;
mod pagemap;
mod shelf;
mod slot;
mod space;
mod stack;
#[cfg(test)]
mod tests;
mod witness;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::{LinearMemory, MemoryCreator, MemoryType, StackCreator, StackMemory};

pub(super) use self::image::Image;
use self::pagemap::PageMap;
use self::shelf::Shelf;
pub(super) use self::slot::Occupant;
use self::slot::{One, Restored, Shape, Slot};
use self::stack::Stack;
use self::witness::Witness;
pub(super) use self::witness::witnessed;
use crate::api::SlotFigures;

/// How finely the time of idle slots is told.
const IDLE_STEPS: u32 = 4;

/// How often it is tried to get a slot when there are as many as there may be.
const TRIES_MAX: usize = 1000;

/// While fewer wait, a program gets a slot of its own instead of one that another program had.
const OWNED_SLOTS: usize = 32;

/// The limits of all slots together.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotLimits {
    /// Memories, idle ones included; and as many idle stacks.
    pub(super) slots_max: usize,
    /// What one memory may grow to, at most.
    pub(super) memory_bytes_max: usize,
    /// Memory that idle slots and stacks may keep.
    pub(super) idle_bytes_max: u64,
    /// How long one of them may be idle.
    pub(super) idle_max: Duration,
}

/// The memories and stacks of one engine.
pub(super) struct Slots {
    pagemap: PageMap,
    /// Whether a run that faults on nothing can be told from one that does.
    counts_faults: bool,
    limits: SlotLimits,
    memories: Shelf<Slot>,
    stacks: Shelf<Stack>,
    /// Memories that exist.
    count: Arc<AtomicUsize>,
    /// In steps of `idle_max / IDLE_STEPS`.
    clock: AtomicU64,
    resets: AtomicU64,
    restored_bytes: AtomicU64,
    discarded: AtomicU64,
    #[cfg(test)]
    watch: tests::Watch,
}

impl Slots {
    /// Slots, if this kernel can tell which pages were written.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) fn new(limits: SlotLimits) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            pagemap: PageMap::open()?,
            counts_faults: witness::are_faults_counted()?,
            limits,
            memories: Shelf::new(),
            stacks: Shelf::new(),
            count: Arc::default(),
            clock: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            restored_bytes: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            #[cfg(test)]
            watch: tests::Watch::default(),
        }))
    }

    /// Starts the thread that gives the memory of idle slots back. It ends with them.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let (slots, step) = (Arc::downgrade(self), self.limits.idle_max / IDLE_STEPS);
        std::thread::Builder::new().name("idle-slots".to_owned()).spawn(move || {
            while let Some(slots) = slots.upgrade() {
                slots.step();
                drop(slots);
                std::thread::sleep(step);
            }
        })?;
        Ok(())
    }

    /// Says that a step of time is over.
    fn step(&self) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        let since = now.saturating_sub(u64::from(IDLE_STEPS));
        drop((self.memories.take_older(since), self.stacks.take_older(since)));
    }

    /// The setting of an engine that uses these slots.
    pub(super) fn serve(self: &Arc<Self>, config: &mut wasmtime::Config) {
        let creator = Arc::new(Creator(self.clone()));
        config.with_host_memory(creator.clone()).with_host_stack(creator);
    }

    /// What the slots are doing.
    pub(super) fn figures(&self) -> SlotFigures {
        SlotFigures {
            slots: self.count.load(Ordering::Relaxed) as u64,
            idle: self.memories.things() as u64,
            idle_bytes: self.memories.bytes() + self.stacks.bytes(),
            resets: self.resets.load(Ordering::Relaxed),
            restored_bytes: self.restored_bytes.load(Ordering::Relaxed),
            discarded: self.discarded.load(Ordering::Relaxed),
        }
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn slot(&self, Offer { image, occupant }: &Offer, shape: Shape) -> io::Result<Slot> {
        let fits = |slot: &Slot| slot.is_for(image, shape);
        if let Some(slot) = self.memories.take(|slot| slot.occupant() == *occupant && fits(slot)) {
            return Ok(slot);
        }
        let has_few = self.memories.things() < OWNED_SLOTS;
        let may_be_more = self.count.load(Ordering::Relaxed) < self.limits.slots_max;
        if !(has_few && may_be_more)
            && let Some(mut slot) = self.memories.take_longest(fits)
        {
            slot.hand_over(*occupant)?;
            return Ok(slot);
        }
        for _ in 0..TRIES_MAX {
            if let Some(one) = One::of(&self.count, self.limits.slots_max) {
                return Slot::new(image.clone(), shape, *occupant, one);
            }
            // There is a permit for each slot in use, so one of another program is idle, or
            // just being given back.
            match self.memories.take_oldest() {
                Some(idle) => drop(idle),
                None => std::thread::yield_now(),
            }
        }
        Err(io::Error::other("all memories are in use"))
    }

    fn is_settled(&self, witness: Option<&Witness>) -> bool {
        self.counts_faults && witness.is_some_and(Witness::saw_none)
    }

    fn give_back(&self, mut slot: Slot, is_settled: bool) {
        #[cfg(test)]
        if self.watch.skips_reset() {
            return self.memories.put(slot, 0, self.now());
        }
        match slot.reset(&self.pagemap, is_settled) {
            Ok(Restored { bytes, kept_bytes }) => {
                #[cfg(test)]
                self.watch.see(|| slot.differs());
                self.resets.fetch_add(1, Ordering::Relaxed);
                self.restored_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                if self.has_room(&self.memories, kept_bytes) {
                    self.memories.put(slot, kept_bytes as u64, self.now());
                }
            }
            Err(error) => self.discard("memory", &error),
        }
    }

    fn stack(&self, bytes: usize) -> io::Result<Stack> {
        match self.stacks.take(|stack| stack.bytes() == bytes) {
            Some(stack) => Ok(stack),
            None => Stack::new(bytes),
        }
    }

    fn give_stack_back(&self, mut stack: Stack, is_settled: bool) {
        match stack.reset(&self.pagemap, is_settled) {
            Ok(kept_bytes) => {
                #[cfg(test)]
                self.watch.see(|| (!stack.is_zero()).then(|| "a stack is not zero".to_owned()));
                if self.has_room(&self.stacks, kept_bytes) {
                    self.stacks.put(stack, kept_bytes as u64, self.now());
                }
            }
            Err(error) => self.discard("stack", &error),
        }
    }

    fn has_room<T>(&self, shelf: &Shelf<T>, bytes: usize) -> bool {
        let idle_bytes = self.memories.bytes() + self.stacks.bytes() + bytes as u64;
        shelf.things() < self.limits.slots_max && idle_bytes <= self.limits.idle_bytes_max
    }

    /// The caller drops what cannot be reset.
    fn discard(&self, what: &'static str, error: &io::Error) {
        if self.discarded.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(what, %error, "could not be reset after a run and is not used again; further ones are counted only");
        }
    }
}

thread_local! {
    /// Of the program that this thread instantiates.
    static OFFERED: RefCell<Option<Offer>> = const { RefCell::new(None) };
}

/// What the memory of an instance is to show, and whose it is.
struct Offer {
    image: Arc<Image>,
    occupant: Occupant,
}

/// Instantiates a program of `occupant`: the one memory that it makes meanwhile shows `image`.
pub(super) async fn instantiating<F: Future>(
    image: Arc<Image>,
    occupant: Occupant,
    instantiation: F,
) -> F::Output {
    /// Takes the offer off the thread again, should the poll panic too.
    struct Offering<'a> {
        offer: &'a mut Option<Offer>,
        outer: Option<Offer>,
    }
    impl Drop for Offering<'_> {
        fn drop(&mut self) {
            *self.offer = OFFERED.replace(self.outer.take());
        }
    }
    let mut instantiation = pin!(instantiation);
    let mut offer = Some(Offer { image, occupant });
    // Another poll may be on another thread.
    poll_fn(|context| {
        let outer = OFFERED.replace(offer.take());
        let _offering = Offering { offer: &mut offer, outer };
        instantiation.as_mut().poll(context)
    })
    .await
}

/// What wasmtime asks for memories and stacks.
struct Creator(Arc<Slots>);

// SAFETY: a memory that is handed out is a slot that nobody else has (it is moved from the
// shelf or new), accessible and equal to the image and zeroes up to its size, inaccessible
// from there to the end of the reservation and the guard behind it. That an image is there
// instead of zeroes is what the program's data segments, which were taken out of it, would
// have made of them.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if ty.is_shared() || ty.is_64() {
            return Err("a memory must be neither shared nor of 64 bits".to_owned());
        }
        let Some(reservation) = reserved_size_in_bytes else {
            return Err("a memory needs a reservation".to_owned());
        };
        // Taken: a second memory of the same program has none.
        let Some(offer) = OFFERED.take() else {
            return Err("a memory was asked for that no program was announced for".to_owned());
        };
        let capacity = self.0.limits.memory_bytes_max.min(reservation);
        let shape = Shape { minimum, capacity, reservation, guard: guard_size_in_bytes };
        let slot = self.0.slot(&offer, shape).map_err(|error| format!("there is no memory: {error}"))?;
        Ok(Box::new(Lent { slot: Some(slot), slots: self.0.clone(), witness: Witness::current() }))
    }
}

// SAFETY: a stack that is handed out is one that nobody else has, zero, page-aligned at
// both ends, and with a guard region below it.
unsafe impl StackCreator for Creator {
    fn new_stack(&self, size: usize, _zeroed: bool) -> wasmtime::Result<Box<dyn StackMemory>> {
        let bytes = size.max(1).next_multiple_of(rustix::param::page_size());
        let stack = self.0.stack(bytes)?;
        Ok(Box::new(LentStack { stack: Some(stack), slots: self.0.clone(), witness: Witness::current() }))
    }
}

/// A memory while an instance has it. Given back when wasmtime drops it, which it does
/// behind the last use of the instance, however that ended.
struct Lent {
    slot: Option<Slot>,
    slots: Arc<Slots>,
    /// None where nobody looks out for page faults.
    witness: Option<Witness>,
}

impl Lent {
    fn slot(&self) -> &Slot {
        self.slot.as_ref().expect("it is there until the drop")
    }
}

// SAFETY: the slot stays where it is, `base` does not move, the first `byte_size` bytes of
// it are accessible, and growth within the capacity makes more so.
unsafe impl LinearMemory for Lent {
    fn byte_size(&self) -> usize {
        self.slot().size()
    }

    fn byte_capacity(&self) -> usize {
        self.slot().capacity()
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        let slot = self.slot.as_mut().expect("it is there until the drop");
        Ok(slot.grow_to(new_size)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.slot().base()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.slots.give_back(slot, self.slots.is_settled(self.witness.as_ref()));
        }
    }
}

/// A stack while an instance has it.
struct LentStack {
    stack: Option<Stack>,
    slots: Arc<Slots>,
    witness: Option<Witness>,
}

impl LentStack {
    fn stack(&self) -> &Stack {
        self.stack.as_ref().expect("it is there until the drop")
    }
}

// SAFETY: the three ranges are of one mapping that stays where it is: the guard region
// right below the stack, the top at its end.
unsafe impl StackMemory for LentStack {
    fn top(&self) -> *mut u8 {
        self.stack().range().end as *mut u8
    }

    fn range(&self) -> Range<usize> {
        self.stack().range()
    }

    fn guard_range(&self) -> Range<*mut u8> {
        self.stack().guard()
    }
}

impl Drop for LentStack {
    fn drop(&mut self) {
        if let Some(stack) = self.stack.take() {
            self.slots.give_stack_back(stack, self.slots.is_settled(self.witness.as_ref()));
        }
    }
}
