//! What the slots promise.

mod canary;
mod faults;
mod sequences;

use std::io::{Seek as _, Write as _};
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use wasmtime::{Engine, Extern, Instance, InstancePre, Linker, Module, Store, Trap};

use super::fault::{Call, failing};
use super::*;
use crate::engine::tuning;

/// What a test sees of the slots, and can do to them.
#[derive(Default)]
pub(super) struct Watch {
    skip: AtomicBool,
    /// Set where looking at every byte would take long and is not the point.
    blind: AtomicBool,
    differences: Mutex<Vec<String>>,
}

impl Watch {
    pub(super) fn skips_reset(&self) -> bool {
        self.skip.load(Ordering::Relaxed)
    }

    pub(super) fn see(&self, difference: impl FnOnce() -> Option<String>) {
        if !self.blind.load(Ordering::Relaxed) {
            self.differences.lock().unwrap().extend(difference());
        }
    }
}

const LIMITS: SlotLimits = SlotLimits {
    slots_max: 4,
    memory_bytes_max: 16 << 20,
    idle_bytes_max: 64 << 20,
    idle_max: Duration::from_secs(60),
};

/// Pages of wasm that [`GUEST`] begins with: with a write to every other page of the
/// system's, more regions than one scan reports.
const GUEST_PAGES: usize = 80;

/// Writes to every other page, then ends in many ways.
const GUEST: &str = r#"(module
    (import "host" "wait" (func $wait))
    (import "host" "panic" (func $panic))
    (import "host" "tick" (func $tick))
    (memory (export "memory") 80 200)
    (func $scribble
        (local $at i32)
        (loop $more
            (i32.store (local.get $at) (i32.const 0x5a5a5a5a))
            (local.set $at (i32.add (local.get $at) (i32.const 8192)))
            (br_if $more (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536))))))
    (func (export "return") (call $scribble))
    (func (export "nothing"))
    (func (export "trap") (call $scribble) unreachable)
    (func (export "grow") (result i32)
        (local $before i32)
        (local.set $before (memory.grow (i32.const 3)))
        (call $scribble)
        (local.get $before))
    (func (export "much")
        (drop (memory.grow (i32.const 110)))
        (memory.fill (i32.const 0) (i32.const 0x5a) (i32.mul (memory.size) (i32.const 65536))))
    (func (export "too-much") (result i32) (call $scribble) (memory.grow (i32.const 121)))
    (func (export "behind") (result i32)
        (call $scribble) (i32.load (i32.mul (memory.size) (i32.const 65536))))
    (func (export "far-behind") (result i32) (call $scribble) (i32.load offset=0xfffffff0 (i32.const -16)))
    (func (export "grown-behind") (result i32) (i32.load (i32.const 5242880)))
    (func $deep (export "overflow") (call $scribble) (call $deep))
    (func (export "wait") (call $scribble) (call $wait))
    (func (export "panic") (call $scribble) (call $panic))
    (func (export "deadline") (call $scribble) (call $tick) (loop $on (br $on))))"#;

/// Slots, the engine that uses them, and what guests import.
struct Rig {
    slots: Arc<Slots>,
    engine: Engine,
    linker: Linker<()>,
}

/// A module and its image.
struct Guest {
    pre: InstancePre<()>,
    image: Arc<Image>,
    occupant: Occupant,
}

impl Rig {
    fn new(limits: SlotLimits) -> Self {
        let slots = Slots::new(limits).unwrap();
        let engine = Engine::new(&tuning::in_place(&slots)).unwrap();
        let mut linker = Linker::new(&engine);
        linker.func_wrap_async("host", "wait", |_, ()| Box::new(std::future::pending::<()>())).unwrap();
        linker.func_wrap("host", "panic", || -> () { panic!("a host function panics on purpose") }).unwrap();
        let ticked = engine.clone();
        linker.func_wrap("host", "tick", move || ticked.increment_epoch()).unwrap();
        linker.func_wrap("host", "overflow", || i32::from(sink(&[1; 4096], u32::MAX))).unwrap();
        Self { slots, engine, linker }
    }

    fn guest(&self, text: &str, image: &[u8]) -> Guest {
        let module = Module::new(&self.engine, wat::parse_str(text).unwrap()).unwrap();
        Guest {
            pre: self.linker.instantiate_pre(&module).unwrap(),
            image: Arc::new(image_of(image)),
            occupant: Occupant(0),
        }
    }

    fn store(&self) -> Store<()> {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Err(wasmtime::Error::msg("the deadline passed")));
        store
    }

    fn instantiate(&self, guest: &Guest) -> wasmtime::Result<(Store<()>, Instance)> {
        let mut store = self.store();
        let made =
            instantiating(guest.image.clone(), guest.occupant, guest.pre.instantiate_async(&mut store));
        let instance = made.now_or_never().expect("it does not wait")?;
        Ok((store, instance))
    }

    /// Calls one export; `None` when it waits for ever.
    fn call(&self, guest: &Guest, name: &str) -> Option<wasmtime::Result<i32>> {
        let whole = witnessed(async {
            let (mut store, instance) = self.instantiate(guest).unwrap();
            let ended = run(&mut store, instance, name);
            (store, ended)
        });
        let (store, ended) = whole.now_or_never()?;
        drop(store);
        ended
    }

    fn differences(&self) -> Vec<String> {
        std::mem::take(&mut *self.slots.watch.differences.lock().unwrap())
    }
}

/// Calls an export; `None` when it waits for ever.
fn run(store: &mut Store<()>, instance: Instance, name: &str) -> Option<wasmtime::Result<i32>> {
    let function = instance.get_func(&mut *store, name).unwrap();
    let mut results = vec![wasmtime::Val::I32(0); function.ty(&*store).results().len()];
    let ended = function.call_async(&mut *store, &[], &mut results).now_or_never();
    ended.map(|ended| ended.map(|()| results.first().map_or(0, |value| value.unwrap_i32())))
}

fn image_of(bytes: &[u8]) -> Image {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    // SAFETY: an unnamed file that nobody else has.
    unsafe { Image::of(file).unwrap() }
}

/// As many bytes, none of them zero.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 4096 + at % 4096) as u8 | 1).collect()
}

/// Uses up the native stack.
fn sink(below: &[u8; 4096], frames: u32) -> u8 {
    let mut frame = *below;
    frame[7] = frame[7].wrapping_add(1);
    match frames {
        0 => frame[7],
        _ => sink(std::hint::black_box(&frame), frames - 1) ^ std::hint::black_box(&frame)[7],
    }
}

fn trap_of(ended: Option<wasmtime::Result<i32>>) -> Option<Trap> {
    ended.unwrap().unwrap_err().downcast_ref::<Trap>().copied()
}

#[test]
fn a_slot_equals_its_image_after_every_kind_of_end() {
    let rig = Rig::new(LIMITS);
    let image = pattern(GUEST_PAGES / 2 * 65536 + 3 * 4096);
    let guest = rig.guest(GUEST, &image);
    type End = fn(&Rig, &Guest);
    let ends: [(&str, End); 11] = [
        ("return", |rig, guest| assert_eq!(rig.call(guest, "return").unwrap().unwrap(), 0)),
        ("trap", |rig, guest| {
            assert_eq!(trap_of(rig.call(guest, "trap")), Some(Trap::UnreachableCodeReached));
        }),
        ("growth", |rig, guest| assert_eq!(rig.call(guest, "grow").unwrap().unwrap(), 80)),
        ("more than is copied", |rig, guest| assert_eq!(rig.call(guest, "much").unwrap().unwrap(), 0)),
        ("out of memory", |rig, guest| assert_eq!(rig.call(guest, "too-much").unwrap().unwrap(), -1)),
        ("right behind the end", |rig, guest| {
            assert_eq!(trap_of(rig.call(guest, "behind")), Some(Trap::MemoryOutOfBounds));
        }),
        ("far behind the end", |rig, guest| {
            assert_eq!(trap_of(rig.call(guest, "far-behind")), Some(Trap::MemoryOutOfBounds));
        }),
        ("stack overflow", |rig, guest| {
            assert_eq!(trap_of(rig.call(guest, "overflow")), Some(Trap::StackOverflow));
        }),
        ("deadline", |rig, guest| {
            let error = rig.call(guest, "deadline").unwrap().unwrap_err();
            assert_eq!(error.root_cause().to_string(), "the deadline passed");
        }),
        ("dropped in a host call", |rig, guest| assert!(rig.call(guest, "wait").is_none())),
        ("panic in a host call", |rig, guest| {
            let called = std::panic::catch_unwind(AssertUnwindSafe(|| rig.call(guest, "panic")));
            called.unwrap_err();
        }),
    ];
    let mut resets = 0;
    for round in 0..3 {
        for (name, end) in ends {
            end(&rig, &guest);
            resets += 1;
            assert_eq!(rig.differences(), Vec::<String>::new(), "{name} in round {round}");
            let figures = rig.slots.figures();
            assert_eq!((figures.slots, figures.idle, figures.discarded), (1, 1, 0), "{name}");
            assert_eq!(figures.resets, resets, "{name}");
            // What was grown is out of reach again.
            let trap = trap_of(rig.call(&guest, "grown-behind"));
            assert_eq!(trap, Some(Trap::MemoryOutOfBounds), "after {name}");
            resets += 1;
        }
    }
}

#[test]
fn a_steady_run_faults_on_nothing() {
    let rig = Rig::new(LIMITS);
    let guest = rig.guest(GUEST, &pattern(GUEST_PAGES * 65536));
    for name in ["return", "grow"] {
        rig.call(&guest, name).unwrap().unwrap();
        rig.call(&guest, name).unwrap().unwrap();
        let before = page_faults();
        let (mut store, instance) = rig.instantiate(&guest).unwrap();
        run(&mut store, instance, name).unwrap().unwrap();
        let during = page_faults() - before;
        assert!(during < 20, "{during} page faults for {} regions: {name}", GUEST_PAGES * 8);
    }
}

/// Page faults of this thread so far.
fn page_faults() -> i64 {
    witness::page_faults().unwrap()
}

#[test]
fn a_run_that_faults_on_nothing_needs_no_scan() {
    let rig = Rig::new(LIMITS);
    let guest = rig.guest(GUEST, &pattern(GUEST_PAGES * 65536));
    // A slot that cannot be scanned is not used again.
    let scans = |name| {
        rig.call(&guest, "return").unwrap().unwrap();
        rig.call(&guest, "return").unwrap().unwrap();
        let before = rig.slots.figures().discarded;
        failing(Call::Scan, || rig.call(&guest, name).unwrap().unwrap());
        rig.slots.figures().discarded > before
    };
    // The test's own thread may fault for reasons of its own.
    assert!((0..50).any(|_| !scans("return")), "what was written is known");
    // A page fault of the guest's, and a growth into what may be private already.
    assert!(!(0..10).any(|_| !scans("much")));
    assert!(!(0..10).any(|_| !scans("grow")));
    assert_eq!(rig.differences(), Vec::<String>::new());
}

#[test]
fn a_run_that_is_given_up_or_that_nobody_watches_needs_a_scan() {
    let rig = Rig::new(LIMITS);
    let guest = rig.guest(GUEST, &pattern(4096));
    let scans = |what: &dyn Fn()| {
        (0..3).for_each(|_| drop(rig.call(&guest, "return")));
        let before = rig.slots.figures().discarded;
        failing(Call::Scan, what);
        rig.slots.figures().discarded > before
    };
    for _ in 0..10 {
        assert!(scans(&|| drop(rig.instantiate(&guest).unwrap())), "nobody watches");
        assert!(scans(&|| {
            let mut kept = None;
            let endless = witnessed(async {
                kept = Some(rig.instantiate(&guest).unwrap());
                std::future::pending::<()>().await;
            });
            assert!(endless.now_or_never().is_none());
            assert!(kept.is_some());
        }));
    }
}

#[test]
fn what_one_run_wrote_much_is_not_restored_for_ever() {
    let rig = Rig::new(LIMITS);
    let guest = rig.guest(GUEST, &pattern(4096));
    let restored = |name| {
        let before = rig.slots.figures().restored_bytes;
        rig.call(&guest, name).unwrap().unwrap();
        rig.slots.figures().restored_bytes - before
    };
    rig.slots.watch.blind.store(true, Ordering::Relaxed);
    // A program that always writes as much keeps what it wrote: nothing faults.
    let steady = rig.guest(GUEST, &pattern(8192));
    for _ in 0..300 {
        rig.call(&steady, "return").unwrap().unwrap();
        assert!(rig.slots.figures().idle_bytes > 2 << 20);
    }
    // One that seldom does starts over.
    assert_eq!(restored("nothing"), 0);
    assert!(restored("return") > 2 << 20);
    let quiet: Vec<u64> = (0..300).map(|_| restored("nothing")).collect();
    assert!(quiet[0] > 2 << 20, "at first the slot restores it each time");
    assert_eq!(quiet[299], 0);
    assert_eq!(rig.slots.figures().slots, 2);
}

#[test]
fn programs_that_share_an_image_get_their_own_slots_again() {
    let rig = Rig::new(LIMITS);
    let small = rig.guest(GUEST, &pattern(4096));
    let large = Guest { pre: small.pre.clone(), image: small.image.clone(), occupant: Occupant(1) };
    let restored = |guest, name| {
        let before = rig.slots.figures().restored_bytes;
        rig.call(guest, name).unwrap().unwrap();
        rig.slots.figures().restored_bytes - before
    };
    for _ in 0..3 {
        assert!(restored(&large, "return") > 2 << 20);
        assert_eq!(restored(&small, "nothing"), 0, "what the other one wrote costs it nothing");
    }
    assert_eq!((rig.slots.figures().slots, rig.differences()), (2, Vec::new()));
}

#[test]
fn a_slot_that_held_much_is_handed_over_empty() {
    let rig = Rig::new(SlotLimits { slots_max: 1, ..LIMITS });
    let large = rig.guest(GUEST, &pattern(4096));
    let small = Guest { pre: large.pre.clone(), image: large.image.clone(), occupant: Occupant(1) };
    for _ in 0..3 {
        rig.call(&large, "return").unwrap().unwrap();
        let before = rig.slots.figures().restored_bytes;
        rig.call(&small, "nothing").unwrap().unwrap();
        assert_eq!(rig.slots.figures().restored_bytes, before, "nothing is left to restore");
    }
    assert_eq!((rig.slots.figures().slots, rig.differences()), (1, Vec::new()));
}

#[test]
fn slots_are_limited_and_those_of_other_programs_make_room() {
    let rig = Rig::new(SlotLimits { slots_max: 2, ..LIMITS });
    let guests = [pattern(4096), pattern(8192), pattern(12288)].map(|image| rig.guest(GUEST, &image));
    for guest in &guests {
        rig.call(guest, "return").unwrap().unwrap();
    }
    assert_eq!(rig.slots.figures().slots, 2);
    let held = [rig.instantiate(&guests[0]).unwrap(), rig.instantiate(&guests[1]).unwrap()];
    let error = rig.instantiate(&guests[2]).err().unwrap();
    assert!(format!("{error:#}").contains("all memories are in use"), "{error:#}");
    drop(held);
    rig.call(&guests[2], "return").unwrap().unwrap();
    assert_eq!(rig.differences(), Vec::<String>::new());
}

#[test]
fn idle_memory_is_given_back_after_a_time() {
    let rig = Rig::new(LIMITS);
    let guests = [pattern(4096), pattern(8192)].map(|image| rig.guest(GUEST, &image));
    rig.call(&guests[0], "return").unwrap().unwrap();
    (0..3).for_each(|_| rig.slots.step());
    rig.call(&guests[1], "return").unwrap().unwrap();
    assert!(rig.slots.figures().idle_bytes > 4 << 20);
    (0..2).for_each(|_| rig.slots.step());
    let figures = rig.slots.figures();
    assert_eq!((figures.slots, figures.idle), (1, 1), "the younger one stays");
    (0..3).for_each(|_| rig.slots.step());
    let figures = rig.slots.figures();
    assert_eq!((figures.slots, figures.idle, figures.idle_bytes), (0, 0, 0));
}

#[test]
fn idle_memory_is_limited() {
    let rig = Rig::new(SlotLimits { idle_bytes_max: 1 << 20, ..LIMITS });
    let guest = rig.guest(GUEST, &pattern(4096));
    rig.call(&guest, "return").unwrap().unwrap();
    let figures = rig.slots.figures();
    assert_eq!((figures.slots, figures.discarded), (0, 0), "it wrote more than may wait");
    let small = rig.guest(r#"(module (memory 1) (func (export "return")))"#, b"");
    rig.call(&small, "return").unwrap().unwrap();
    assert_eq!(rig.slots.figures().slots, 1);
}

#[test]
fn a_memory_without_an_announced_program_is_refused() {
    let rig = Rig::new(LIMITS);
    let guest = rig.guest(GUEST, b"");
    let mut store = rig.store();
    let error = guest.pre.instantiate_async(&mut store).now_or_never().unwrap().unwrap_err();
    assert!(format!("{error:#}").contains("no program was announced"), "{error:#}");
    // One announcement is one memory.
    let mut store = rig.store();
    let twice = instantiating(guest.image.clone(), guest.occupant, async {
        guest.pre.instantiate_async(&mut store).await.unwrap();
        guest.pre.instantiate_async(&mut store).await.map(|_| ())
    });
    let error = twice.now_or_never().unwrap().unwrap_err();
    assert!(format!("{error:#}").contains("no program was announced"), "{error:#}");
    // Nor is an image taken that is larger than the memory.
    let large = rig.guest("(module (memory 1))", &pattern(65536 + 4096));
    let error = rig.instantiate(&large).err().unwrap();
    assert!(format!("{error:#}").contains("does not fit"), "{error:#}");
    drop(store);
    let figures = rig.slots.figures();
    assert_eq!((figures.slots, figures.idle), (1, 1), "only the one that was announced");
}

#[test]
fn an_announcement_ends_with_the_poll_even_when_it_panics() {
    let image = Arc::new(image_of(b""));
    let polled = std::panic::catch_unwind(AssertUnwindSafe(|| {
        instantiating(image.clone(), Occupant(0), async { panic!("on purpose") }).now_or_never()
    }));
    polled.unwrap_err();
    assert!(OFFERED.take().is_none());
    assert_eq!(Arc::strong_count(&image), 1);
    // An instantiation that waits takes it along.
    let mut waiting = Box::pin(instantiating(image.clone(), Occupant(0), futures::future::pending::<()>()));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(OFFERED.take().is_none());
    assert_eq!(Arc::strong_count(&image), 2);
}

#[test]
fn an_image_is_a_whole_number_of_pages() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[1; 5000]).unwrap();
    // SAFETY: an unnamed file that nobody else has.
    assert!(unsafe { Image::of(file) }.is_err());
}

/// A host function that uses up the native stack ends the process with a message, as it
/// does without these stacks. The test runs itself as the process that ends.
#[test]
fn native_stack_overflow_hits_the_guard() {
    use std::os::unix::process::ExitStatusExt as _;
    const CHILD: &str = "TIDEGATE_TEST_OVERFLOW";
    if std::env::var_os(CHILD).is_some() {
        let rig = Rig::new(LIMITS);
        let text = r#"(module (import "host" "overflow" (func $f (result i32))) (memory 1)
            (func (export "return") (drop (call $f))))"#;
        rig.call(&rig.guest(text, b""), "return").unwrap().unwrap();
        return;
    }
    let name = "engine::slots::tests::native_stack_overflow_hits_the_guard";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{child:?}");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(said.contains("has overflowed its stack"), "{said}");
}

/// The page map shows the memory of the process that opened it, so no child may have it.
#[test]
fn no_child_gets_the_page_map() {
    let rig = Rig::new(LIMITS);
    let own: Vec<_> = std::fs::read_dir("/proc/self/fd").unwrap().flatten().collect();
    let is_pagemap = |link: &std::path::Path| link.to_string_lossy().ends_with("/pagemap");
    assert!(own.iter().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| is_pagemap(&to))));
    let child = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let seen = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && seen.contains("->"), "{seen}");
    assert!(!seen.contains("pagemap"), "{seen}");
    drop(rig);
}
