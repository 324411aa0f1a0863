//! Things that wait for their next use, nearest first.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Threads share a list when there are more of them than this.
const LISTS: usize = 16;

thread_local! {
    /// This thread's list.
    static OWN: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % LISTS
    };
}

/// Idle things, in a list for each thread: what a thread used last, it gets again, and
/// its memory is in that core's cache.
pub(super) struct Shelf<T> {
    lists: [List<T>; LISTS],
    things: AtomicUsize,
    bytes: AtomicU64,
}

/// On a cache line of its own.
#[repr(align(64))]
struct List<T>(Mutex<Vec<Idle<T>>>);

struct Idle<T> {
    thing: T,
    bytes: u64,
    since: u64,
}

impl<T> List<T> {
    fn lock(&self) -> MutexGuard<'_, Vec<Idle<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Shelf<T> {
    pub(super) fn new() -> Self {
        Self {
            lists: [const { List(Mutex::new(Vec::new())) }; LISTS],
            things: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// How many things are here.
    pub(super) fn things(&self) -> usize {
        self.things.load(Ordering::Relaxed)
    }

    /// The bytes of all of them together.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Puts a thing that holds `bytes` of memory into this thread's list, at the time `now`.
    pub(super) fn put(&self, thing: T, bytes: u64, now: u64) {
        self.things.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.lists[OWN.with(|own| *own)].lock().push(Idle { thing, bytes, since: now });
    }

    /// Takes the thing that was put last into this thread's list and fits, or one of
    /// another list.
    pub(super) fn take(&self, fits: impl Fn(&T) -> bool) -> Option<T> {
        self.take_at(|list| list.iter().rposition(|idle| fits(&idle.thing)))
    }

    /// Takes the thing that has waited longest of those in this thread's list that fit, or
    /// one of another list.
    pub(super) fn take_longest(&self, fits: impl Fn(&T) -> bool) -> Option<T> {
        self.take_at(|list| list.iter().position(|idle| fits(&idle.thing)))
    }

    fn take_at(&self, at: impl Fn(&[Idle<T>]) -> Option<usize>) -> Option<T> {
        if self.things() == 0 {
            return None;
        }
        let own = OWN.with(|own| *own);
        (0..LISTS).find_map(|step| {
            let mut list = self.lists[(own + step) % LISTS].lock();
            let at = at(&list)?;
            let idle = list.remove(at);
            drop(list);
            Some(self.gone(idle))
        })
    }

    /// Takes the thing that has waited longest in some list, this thread's own last.
    pub(super) fn take_oldest(&self) -> Option<T> {
        let own = OWN.with(|own| *own);
        (1..=LISTS).find_map(|step| {
            let mut list = self.lists[(own + step) % LISTS].lock();
            let idle = (!list.is_empty()).then(|| list.remove(0))?;
            drop(list);
            Some(self.gone(idle))
        })
    }

    /// Takes everything that was put before the time `since`.
    pub(super) fn take_older(&self, since: u64) -> Vec<T> {
        let mut old = Vec::new();
        for list in &self.lists {
            // Each list is in the order of time.
            let mut list = list.lock();
            let count = list.partition_point(|idle| idle.since < since);
            old.extend(list.drain(..count));
        }
        old.into_iter().map(|idle| self.gone(idle)).collect()
    }

    fn gone(&self, idle: Idle<T>) -> T {
        self.things.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(idle.bytes, Ordering::Relaxed);
        idle.thing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_what_it_used_last_and_others_share() {
        let shelf = Shelf::new();
        std::thread::scope(|scope| {
            scope.spawn(|| shelf.put("other", 1, 0)).join().unwrap();
        });
        shelf.put("old", 10, 1);
        shelf.put("new", 100, 2);
        assert_eq!((shelf.things(), shelf.bytes()), (3, 111));
        assert_eq!(shelf.take(|_| true), Some("new"));
        assert_eq!(shelf.take(|one| *one != "other"), Some("old"));
        assert_eq!(shelf.take(|one| *one == "none"), None);
        shelf.put("older", 2, 3);
        shelf.put("newer", 3, 4);
        assert_eq!(shelf.take_longest(|_| true), Some("older"));
        assert_eq!(shelf.take_longest(|_| true), Some("newer"));
        assert_eq!(shelf.take(|_| true), Some("other"));
        assert_eq!((shelf.take(|_| true), shelf.things(), shelf.bytes()), (None, 0, 0));
    }

    #[test]
    fn what_waited_long_is_taken_away() {
        let shelf = Shelf::new();
        for since in [3, 4, 5] {
            shelf.put(since, since, since);
        }
        assert_eq!(shelf.take_older(5), vec![3, 4]);
        assert_eq!((shelf.take_oldest(), shelf.take_oldest(), shelf.bytes()), (Some(5), None, 0));
    }
}
