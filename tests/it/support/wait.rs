//! Waiting for a state, with a bound: a test that fails says what did not come about.

use std::time::{Duration, Instant};

/// The longest that anything is waited for. Far above what it takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);
const STEP: Duration = Duration::from_millis(5);

/// The first `Some` that `probe` gives.
pub(crate) fn for_some<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: did not happen within {LIMIT:?}");
        std::thread::sleep(STEP);
    }
}

/// Returns when `probe` is true.
pub(crate) fn until(what: &str, mut probe: impl FnMut() -> bool) {
    for_some(what, || probe().then_some(()));
}
