//! Many calls of the management API at once: one after the other, each would wait for a
//! flush to the disk of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Calls that are on their way at the same time.
pub const AT_ONCE: usize = 64;

/// Calls `work` for every number below `count`, some dozens at a time.
///
/// # Errors
/// The first error; what was on its way then is finished.
pub fn for_each(count: usize, work: impl Fn(usize) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let one = || -> anyhow::Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            if let Err(error) = work(index) {
                next.store(count, Ordering::Relaxed);
                return Err(error);
            }
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..AT_ONCE.min(count)).map(|_| scope.spawn(one)).collect();
        let mut result = Ok(());
        for thread in running {
            let ended = thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")));
            result = result.and(ended);
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn each_number_has_its_turn_once() {
        let seen = Mutex::new(Vec::new());
        for_each(200, |index| {
            seen.lock().unwrap().push(index);
            Ok(())
        })
        .unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_ends_it() {
        let error = for_each(10_000, |index| {
            anyhow::ensure!(index != 5, "five");
            Ok(())
        });
        assert_eq!(error.unwrap_err().to_string(), "five");
    }
}
