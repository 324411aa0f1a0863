//! Whether a run can have written to a page that no run of its slot wrote to before.
//!
//! A page of a slot becomes private when it is first written to, and that takes a page
//! fault of the thread that writes. Only who drives an instance writes to its memory and
//! its stack: threads that poll it. If none of those polls took a fault, then the private
//! pages are those that the last scan found, and the next scan would find the same: it
//! would take longer than the run of a small program.
//!
//! What else makes pages private without a fault of such a thread, huge pages that the
//! kernel puts together, is turned off for slots (`Space::advise`).

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::space::Space;

thread_local! {
    /// Of the instance that this thread polls.
    static POLLED: RefCell<Option<Witness>> = const { RefCell::new(None) };
}

/// Sees the page faults of one run.
#[derive(Clone)]
pub(super) struct Witness(Arc<AtomicBool>);

impl Witness {
    /// That of the instance that this thread polls.
    pub(super) fn current() -> Option<Self> {
        POLLED.with_borrow(Clone::clone)
    }

    /// Whether the run came to its end, and took no page fault on its way.
    pub(super) fn saw_none(&self) -> bool {
        // Whoever drops the instance was handed it by whoever polled it.
        self.0.load(Ordering::Relaxed)
    }
}

/// Drives an instance from before it is made until nothing runs in it any more, and
/// watches for page faults. An instance that is dropped before that counts as one that
/// faulted: what unwinds its stack is not seen.
pub(in crate::engine) async fn witnessed<F: Future>(run: F) -> F::Output {
    let mut run = pin!(run);
    let mut lookout = Lookout::new();
    poll_fn(|context| {
        let poll = lookout.during(|| run.as_mut().poll(context));
        if poll.is_ready() {
            lookout.end();
        }
        poll
    })
    .await
}

/// What tells a [`Witness`].
pub(super) struct Lookout {
    witness: Witness,
    is_clean: bool,
}

impl Lookout {
    pub(super) fn new() -> Self {
        Self { witness: Witness(Arc::new(AtomicBool::new(false))), is_clean: true }
    }

    /// Does a part of the run.
    pub(super) fn during<T>(&mut self, part: impl FnOnce() -> T) -> T {
        /// Takes the witness off the thread again, should the part panic too.
        struct Polled(Option<Witness>);
        impl Drop for Polled {
            fn drop(&mut self) {
                POLLED.replace(self.0.take());
            }
        }
        let _polled = Polled(POLLED.replace(Some(self.witness.clone())));
        let was_clean = std::mem::replace(&mut self.is_clean, false);
        let before = page_faults();
        let done = part();
        self.is_clean = was_clean && before.is_some() && before == page_faults();
        done
    }

    /// Says that there is no further part.
    pub(super) fn end(&self) {
        self.witness.0.store(self.is_clean, Ordering::Relaxed);
    }
}

/// Whether this kernel counts the faults that write to a slot.
pub(super) fn are_faults_counted() -> io::Result<bool> {
    let page = rustix::param::page_size();
    let mut space = Space::reserve(page)?;
    space.open(0..page)?;
    let before = page_faults();
    space.restore(0..page, &[1]);
    Ok(before.is_some() && before < page_faults())
}

/// Page faults of this thread so far; `None` if they are not told.
pub(super) fn page_faults() -> Option<i64> {
    // SAFETY: all bytes zero is a valid `rusage`, and the kernel writes one.
    let (code, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), usage)
    };
    // Pages that were swapped out count among the major ones.
    (code == 0).then(|| usage.ru_minflt.wrapping_add(usage.ru_majflt))
}
