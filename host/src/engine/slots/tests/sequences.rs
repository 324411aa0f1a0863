//! Arbitrary sequences of what wasmtime does with memories and stacks, and of what the system
//! refuses meanwhile, beside a model that is plain bytes.

use wasmtime::{LinearMemory, MemoryCreator as _, MemoryType, StackCreator as _, StackMemory};

use super::super::fault::{Call, failing};
use super::witness::Lookout;
use super::*;
use crate::engine::drive::{Dice, drive};

/// Sequences of the usual run, and steps of one.
const SEQUENCES: u64 = 60;
const STEPS: usize = 120;
const PAGE: usize = 64 << 10;
const RESERVATION: usize = 32 << 20;
const GUARD: usize = 1 << 20;
const STACK_BYTES: usize = 1 << 20;

/// A memory that an instance would have, and what it must hold.
struct Live {
    memory: Box<dyn LinearMemory>,
    model: Vec<u8>,
    lookout: Lookout,
}

impl Live {
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: so many bytes are accessible from there on, and `self` is who has them.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.memory.byte_size()) }
    }

    fn check(&mut self, when: &str) {
        let model = std::mem::take(&mut self.model);
        // All at once: tests are not optimised.
        if self.bytes() != model.as_slice() {
            let at = self.bytes().iter().zip(&model).position(|(own, wanted)| own != wanted);
            panic!("{when}: {} bytes for {}, different at {at:?}", self.memory.byte_size(), model.len());
        }
        self.model = model;
    }
}

struct World {
    slots: Arc<Slots>,
    creator: Creator,
    images: Vec<(Arc<Image>, Vec<u8>)>,
    memories: Vec<Live>,
    stacks: Vec<Box<dyn StackMemory>>,
    prober: Prober,
}

/// Asks the system whether a byte can be read, without reading it.
struct Prober(std::io::PipeReader, std::io::PipeWriter);

impl Prober {
    fn can_read(&mut self, address: *const u8) -> bool {
        use std::io::Read as _;
        use std::os::fd::AsRawFd as _;
        // SAFETY: the kernel checks the address, and answers EFAULT.
        let written = unsafe { libc::write(self.1.as_raw_fd(), address.cast(), 1) };
        if written == 1 {
            self.0.read_exact(&mut [0]).unwrap();
        }
        written == 1
    }
}

/// What a step asks the system for may fail, one time in eight.
fn perhaps_failing<T>(dice: &mut Dice, calls: &[Call], what: impl FnOnce() -> T) -> (T, bool) {
    if dice.one_in(8) { (failing(*dice.pick(calls), what), true) } else { (what(), false) }
}

impl World {
    fn new() -> Self {
        let limits = SlotLimits { slots_max: 4, idle_bytes_max: 24 << 20, ..LIMITS };
        let slots = Slots::new(limits).unwrap();
        let images = [0, 4096, 3 * 4096, 20 * 4096, 40 * PAGE].map(|bytes| {
            let bytes = pattern(bytes);
            (Arc::new(image_of(&bytes)), bytes)
        });
        let (reader, writer) = std::io::pipe().unwrap();
        Self {
            creator: Creator(slots.clone()),
            slots,
            images: images.into(),
            memories: Vec::new(),
            stacks: Vec::new(),
            prober: Prober(reader, writer),
        }
    }

    fn allocate(&mut self, dice: &mut Dice) {
        let (image, shown) = dice.pick(&self.images);
        let pages = shown.len().div_ceil(PAGE) + *dice.pick(&[0, 0, 1, 7]);
        let ty = MemoryType::new(pages as u32, Some(RESERVATION as u32 / PAGE as u32));
        let occupant = Occupant(*dice.pick(&[0, 1, 2]));
        let creator = &self.creator;
        let make = || {
            OFFERED.replace(Some(Offer { image: image.clone(), occupant }));
            let made = creator.new_memory(ty, pages * PAGE, None, Some(RESERVATION), GUARD);
            OFFERED.take();
            made
        };
        let mut lookout = Lookout::new();
        let make = || lookout.during(make);
        let (made, failed) = perhaps_failing(dice, &[Call::Reserve, Call::Show, Call::Open], make);
        match made {
            Ok(memory) => {
                let mut model = shown.clone();
                model.resize(pages * PAGE, 0);
                let mut live = Live { memory, model, lookout };
                live.check("a fresh memory");
                self.memories.push(live);
            }
            Err(reason) => {
                assert!(failed || self.memories.len() >= 4, "without a reason: {reason}");
            }
        }
    }

    fn write(&mut self, dice: &mut Dice) {
        let Some(live) = pick(&mut self.memories, dice) else { return };
        let size = live.model.len();
        if size == 0 {
            return;
        }
        // Dots in many places, or one stretch, sometimes a large one.
        let (parts, most) = match dice.below(2) {
            0 => (dice.below(60), 1),
            _ => (1, *dice.pick(&[100, 10_000, 1 << 20, 10 << 20])),
        };
        let with = 1 + dice.below(255) as u8;
        for _ in 0..parts {
            let from = dice.below(size);
            let part = from..from + 1 + dice.below((size - from).min(most));
            let bytes = &raw mut live.bytes()[part.clone()];
            // SAFETY: as in `bytes`, whose borrow ends here.
            live.lookout.during(|| unsafe { &mut *bytes }.fill(with));
            live.model[part].fill(with);
        }
    }

    fn grow(&mut self, dice: &mut Dice) {
        let Some(live) = pick(&mut self.memories, dice) else { return };
        let before = live.model.len();
        let most = live.memory.byte_capacity();
        let wanted = match dice.below(8) {
            0 => most + PAGE,
            _ => (before + dice.below(40) * PAGE).min(most),
        };
        let (grown, failed) = perhaps_failing(dice, &[Call::Open], || live.memory.grow_to(wanted).is_ok());
        assert!(grown != (wanted > most) || failed, "from {before} to {wanted} of {most}");
        if grown {
            live.model.resize(wanted, 0);
        }
        live.check("after a growth");
    }

    fn end(&mut self, dice: &mut Dice) {
        if self.memories.is_empty() {
            return;
        }
        let mut live = self.memories.swap_remove(dice.below(self.memories.len()));
        live.check("at its end");
        if !dice.one_in(4) {
            live.lookout.end();
        }
        let by_panic = dice.one_in(4);
        let (_, _) = perhaps_failing(dice, &[Call::Scan, Call::Forget, Call::Close], || {
            let dropped = std::panic::catch_unwind(AssertUnwindSafe(move || {
                let _dropped = live;
                if by_panic {
                    // As a host function's that panics, without its message.
                    std::panic::resume_unwind(Box::new(()));
                }
            }));
            assert_eq!(dropped.is_err(), by_panic);
        });
    }

    /// Nothing around a memory can be read: below it, behind its size, behind all of it.
    fn probe(&mut self, dice: &mut Dice) {
        let Some(live) = pick(&mut self.memories, dice) else { return };
        let (base, size) = (live.memory.as_ptr(), live.memory.byte_size());
        let prober = &mut self.prober;
        if size > 0 {
            assert!(prober.can_read(base) && prober.can_read(base.wrapping_add(size - 1)));
        }
        let behind = size + dice.below(RESERVATION + GUARD - size);
        for outside in [base.wrapping_sub(1), base.wrapping_sub(GUARD), base.wrapping_add(size)] {
            assert!(!prober.can_read(outside), "{outside:?} of {base:?} and {size} bytes");
        }
        assert!(!prober.can_read(base.wrapping_add(behind)), "{behind} behind {size} bytes");
    }

    fn stack(&mut self, dice: &mut Dice) {
        if self.stacks.len() > 3 || dice.one_in(3) {
            let at = dice.below(self.stacks.len() + 1);
            if at < self.stacks.len() {
                let stack = self.stacks.swap_remove(at);
                perhaps_failing(dice, &[Call::Scan, Call::Forget], || drop(stack));
            }
            return;
        }
        let creator = &self.creator;
        let (made, failed) =
            perhaps_failing(dice, &[Call::Reserve, Call::Open], || creator.new_stack(STACK_BYTES, true));
        let Ok(stack) = made else {
            assert!(failed, "there is no stack");
            return;
        };
        // SAFETY: the range is that of the stack, which nobody runs on.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(stack.range().start as *mut u8, stack.range().len()) };
        assert!(bytes == vec![0; STACK_BYTES], "a fresh stack is not zero");
        assert!(!self.prober.can_read(stack.guard_range().start));
        assert!(!self.prober.can_read(stack.range().start.wrapping_sub(1) as *const u8));
        // From its top down, as calls use it.
        let depth = *dice.pick(&[64, 16 << 10, 200 << 10, STACK_BYTES]);
        bytes[STACK_BYTES - dice.below(depth + 1)..].fill(0x5a);
        self.stacks.push(stack);
    }

    fn step(&mut self, dice: &mut Dice) {
        match dice.below(16) {
            0..=3 => self.allocate(dice),
            4..=7 => self.write(dice),
            8 | 9 => self.grow(dice),
            10 | 11 => self.end(dice),
            12 => self.probe(dice),
            13 | 14 => self.stack(dice),
            _ => self.slots.step(),
        }
        assert!(self.memories.len() <= 4, "more than there may be");
    }
}

fn pick<'a>(memories: &'a mut [Live], dice: &mut Dice) -> Option<&'a mut Live> {
    let at = dice.below(memories.len() + 1);
    memories.get_mut(at)
}

#[test]
fn any_sequence_leaves_every_memory_what_it_must_be() {
    let mut figures = SlotFigures::default();
    drive("slots", SEQUENCES, |dice| {
        let mut world = World::new();
        for _ in 0..STEPS {
            world.step(dice);
        }
        world.memories.iter_mut().for_each(|live| live.check("at the end of all"));
        world.memories.clear();
        world.stacks.clear();
        // Each reset is looked at too, byte for byte.
        assert_eq!(*world.slots.watch.differences.lock().unwrap(), Vec::<String>::new());
        let all = world.slots.figures();
        assert_eq!(all.slots, all.idle, "what nobody has is idle");
        figures.resets += all.resets;
        figures.discarded += all.discarded;
    });
    // The control: slots were used again, and some could not be.
    assert!(figures.resets > SEQUENCES * 5 && figures.discarded > SEQUENCES / 10, "{figures:?}");
}
