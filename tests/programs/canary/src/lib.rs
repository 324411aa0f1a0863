//! Looks through all of its memory for a pattern that only other runs of it can have left
//! there, then writes the pattern over as much as it can. Replies with the number of places
//! where it found it: in a fresh memory there is none.

use std::hint::black_box;

use serde_json::{Value, json};
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

/// The pattern, inverted: its own bytes stand nowhere in the program.
const INVERTED: u64 = !0xca7a_5150_0dd5_eed5;
const HELD_BYTES: usize = 2 << 20;
/// On the stack, which lies in the same memory.
const STACKED: usize = 2048;

fn handler(_request: Request, _settings: &mut Settings) -> Result<Value> {
    let found = count();
    write();
    Ok(json!(found))
}

/// Places that hold the pattern.
fn count() -> usize {
    (8..memory_bytes()).step_by(8).filter(|at| read(*at) == !black_box(INVERTED)).count()
}

#[inline(never)]
fn write() {
    let pattern = !black_box(INVERTED);
    let stacked = [pattern; STACKED];
    let held = vec![pattern; HELD_BYTES / 8];
    black_box((&stacked, &held));
}

#[cfg(target_arch = "wasm32")]
fn memory_bytes() -> usize {
    core::arch::wasm32::memory_size(0) << 16
}

#[cfg(not(target_arch = "wasm32"))]
fn memory_bytes() -> usize {
    0
}

fn read(at: usize) -> u64 {
    // SAFETY: every address below the memory's size can be read, and nothing writes there
    // meanwhile: this is the only thread.
    unsafe { std::ptr::read_volatile(at as *const u64) }
}
