//! Programs that write patterns over all they can reach, and look for those of others.

use std::collections::HashSet;

use rand::{RngExt as _, SeedableRng as _};
use wasmtime::{Ref, Val};

use super::*;

/// Runs of the canary test; `scripts/soak.d/canary` asks for 100,000.
const RUNS: usize = 2_000;
const THREADS: usize = 4;
/// What each table has.
const TABLE_ELEMENTS: u64 = 64;
static ZEROES: [u8; 1 << 16] = [0; 1 << 16];
/// What each global begins as.
const GLOBAL: i64 = 0x0101_0101;

/// A program with so many pages of memory.
fn text(pages: usize, pages_max: usize) -> String {
    format!(
        r#"(module
        (import "host" "wait" (func $wait))
        (import "host" "panic" (func $panic))
        (memory (export "memory") {pages} {pages_max})
        (global (export "global") (mut i64) (i64.const {GLOBAL}))
        (table (export "table") {TABLE_ELEMENTS} funcref)
        (elem declare func $scribble)
        (func $scribble (export "scribble") (param $with i32) (param $from i32) (param $bytes i32)
            (local $at i32)
            (memory.fill (local.get $from) (local.get $with) (local.get $bytes))
            (loop $more
                (i32.store8 (local.get $at) (local.get $with))
                (local.set $at (i32.add (local.get $at) (i32.const 12288)))
                (br_if $more (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
            (global.set 0 (i64.extend_i32_u (local.get $with)))
            (table.fill (i32.const 0) (ref.func $scribble) (table.size)))
        (func (export "return"))
        (func (export "trap") unreachable)
        (func $deep (export "overflow") (call $deep))
        (func (export "wait") (call $wait))
        (func (export "panic") (call $panic))
        (func (export "grow")
            (local $at i32)
            (local.set $at (i32.mul (memory.grow (i32.const 2)) (i32.const 65536)))
            (if (i32.gt_s (local.get $at) (i32.const 0))
                (then (memory.fill (local.get $at) (i32.const 0x77) (i32.const 131072))))))"#
    )
}

/// What a fresh instance shows that is not its own.
fn found(store: &mut Store<()>, instance: Instance, image: &[u8]) -> Option<String> {
    let memory = instance.get_memory(&mut *store, "memory").unwrap();
    let data = memory.data(&*store);
    let (shown, rest) = data.split_at(image.len());
    // Compared as a whole: byte by byte it takes a hundred times as long in a test.
    if shown != image || rest.chunks(ZEROES.len()).any(|part| part != &ZEROES[..part.len()]) {
        return Some("memory of another run".to_owned());
    }
    let global = instance.get_global(&mut *store, "global").unwrap().get(&mut *store);
    if global.unwrap_i64() != GLOBAL {
        return Some(format!("a global of another run: {global:?}"));
    }
    let Some(Extern::Table(table)) = instance.get_export(&mut *store, "table") else { unreachable!() };
    let is_null = |at| matches!(table.get(&mut *store, at), Some(Ref::Func(None)));
    (!(0..TABLE_ELEMENTS).all(is_null)).then(|| "a table of another run".to_owned())
}

/// Runs mixed programs on several threads, and collects what they found of each other.
fn look(rig: &Rig, runs: usize) -> Vec<String> {
    let shapes = [(1, 4, 0), (3, 9, 3), (17, 40, 40), (80, 120, 700)];
    let guests = shapes.map(|(pages, pages_max, image_pages)| {
        let image = pattern(image_pages * 4096);
        (rig.guest(&text(pages, pages_max), &image), image)
    });
    let in_use = Mutex::new(HashSet::new());
    let one_thread = |thread: usize| {
        let mut random = rand::rngs::StdRng::seed_from_u64(thread as u64);
        let mut all = Vec::new();
        for _ in 0..runs / THREADS {
            let (guest, image) = &guests[random.random_range(0..guests.len())];
            // As the host does it: what is watched ends before the instance is dropped.
            let watched = witnessed(async {
                let (mut store, instance) = rig.instantiate(guest).unwrap();
                let base = instance.get_memory(&mut store, "memory").unwrap().data_ptr(&store) as usize;
                assert!(in_use.lock().unwrap().insert(base), "a slot was handed out twice");
                all.extend(found(&mut store, instance, image));
                let bytes = instance.get_memory(&mut store, "memory").unwrap().data_size(&store) as i32;
                let from = random.random_range(0..bytes);
                let length = random.random_range(0..=(bytes - from).min(1 << 18));
                let with = random.random_range(1..256);
                let arguments = [Val::I32(with), Val::I32(from), Val::I32(length)];
                let scribble = instance.get_func(&mut store, "scribble").unwrap();
                scribble.call_async(&mut store, &arguments, &mut []).now_or_never().unwrap().unwrap();
                // A panic takes a thousand times as long.
                let ends = ["return", "grow", "trap", "overflow", "wait", "panic"];
                let kinds = if random.random_ratio(1, 50) { ends.len() } else { ends.len() - 1 };
                let end = ends[random.random_range(0..kinds)];
                let ended = std::panic::catch_unwind(AssertUnwindSafe(|| run(&mut store, instance, end)));
                assert_eq!(ended.is_err(), end == "panic");
                (store, base)
            });
            let (store, base) = watched.now_or_never().unwrap();
            // Another thread may have it as soon as it is given back.
            in_use.lock().unwrap().remove(&base);
            drop(store);
        }
        all
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || one_thread(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn no_run_sees_anything_of_another() {
    let runs = std::env::var("TIDEGATE_CANARY_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    // Fewer than programs times threads: some make room for others.
    let rig = Rig::new(SlotLimits { slots_max: 8, ..LIMITS });
    assert_eq!(look(&rig, runs), Vec::<String>::new());
    assert_eq!(rig.differences(), Vec::<String>::new());
    let figures = rig.slots.figures();
    assert_eq!((figures.resets, figures.discarded), ((runs / THREADS * THREADS) as u64, 0));
    assert!(figures.slots <= 8, "{figures:?}");
}

/// The test above would see a leak: without the reset it does.
#[test]
fn a_reset_that_does_nothing_is_noticed() {
    let rig = Rig::new(SlotLimits { slots_max: 8, ..LIMITS });
    rig.slots.watch.skip.store(true, Ordering::Relaxed);
    let found = look(&rig, RUNS / 10);
    assert!(found.len() > RUNS / 20, "{} of {}", found.len(), RUNS / 10);
}
