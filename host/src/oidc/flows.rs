//! Sign-ins that are on their way to the provider and back.
//!
//! Each is found once, by its state, and only with what its browser was given: a code that
//! somebody else got, or that was used already, leads nowhere (RFC 9700, section 4.7).

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use lru::LruCache;
use subtle::ConstantTimeEq as _;

use super::Purpose;
use crate::workflow::Digest;

/// Sign-ins that are under way; the oldest go first.
const FLOWS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not 0");
/// How long somebody may take at the provider.
pub(super) const FLOW_TIME_MAX: Duration = Duration::from_secs(600);
/// Random bytes of each secret.
const BYTES: usize = 32;

/// A sign-in that was begun.
#[derive(Clone)]
pub(super) struct Flow {
    /// What the ID token has to carry.
    pub(super) nonce: String,
    /// What proves to the provider that the code is exchanged by who asked for it (RFC
    /// 7636).
    pub(super) verifier: String,
    /// Where its user was going.
    pub(super) next: String,
    /// What it is for.
    pub(super) purpose: Purpose,
    /// When it began, by the wall clock, in seconds.
    pub(super) began_at_s: i64,
    browser: Digest,
    ends: Instant,
}

/// The table of them, by the digest of their state.
pub(super) struct Flows(Mutex<LruCache<Digest, Flow>>);

impl Flows {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(FLOWS_MAX)))
    }

    /// Begins one, and says its state.
    pub(super) fn begin(&self, browser: &str, next: &str, purpose: Purpose, now: Instant) -> (String, Flow) {
        let state = random();
        let flow = Flow {
            nonce: random(),
            verifier: random(),
            next: next.to_owned(),
            purpose,
            began_at_s: jiff::Timestamp::now().as_second(),
            browser: Digest::of(browser.as_bytes()),
            ends: now + FLOW_TIME_MAX,
        };
        self.lock().put(Digest::of(state.as_bytes()), flow.clone());
        (state, flow)
    }

    /// Ends the one with this state, if it is this browser's. It is gone either way.
    pub(super) fn take(&self, state: &str, browser: &str, now: Instant) -> Option<Flow> {
        let flow = self.lock().pop(&Digest::of(state.as_bytes()))?;
        let browser = Digest::of(browser.as_bytes());
        let is_same: bool = flow.browser.as_bytes().as_slice().ct_eq(browser.as_bytes().as_slice()).into();
        (is_same && now < flow.ends).then_some(flow)
    }

    // A panic under this lock leaves whole values behind.
    fn lock(&self) -> MutexGuard<'_, LruCache<Digest, Flow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 256 random bits, in characters that URLs, cookies and RFC 7636 (section 4.1) allow.
pub(super) fn random() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; BYTES]>())
}

/// Whether a text is one that [`random`] may have made.
pub(super) fn is_random(text: &str) -> bool {
    BASE64URL_NOPAD.decode(text.as_bytes()).is_ok_and(|bytes| bytes.len() == BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_ends_once_in_its_browser_and_in_time() {
        let (flows, now) = (Flows::new(), Instant::now());
        let begin = || flows.begin("browser", "/next", Purpose::SignIn, now).0;
        let state = begin();
        assert_eq!(flows.take(&state, "browser", now).unwrap().next, "/next");
        assert!(flows.take(&state, "browser", now).is_none(), "used twice");
        let state = begin();
        assert!(flows.take(&state, "other", now).is_none());
        assert!(flows.take(&state, "browser", now).is_none(), "it is gone after a wrong browser");
        let state = begin();
        assert!(flows.take(&state, "browser", now + FLOW_TIME_MAX).is_none());
        let state = begin();
        assert!(flows.take(&state, "browser", now + FLOW_TIME_MAX - Duration::from_millis(1)).is_some());
        assert!(flows.take("", "browser", now).is_none());
    }

    #[test]
    fn the_table_is_bounded() {
        let (flows, now) = (Flows::new(), Instant::now());
        let first = flows.begin("b", "/", Purpose::SignIn, now).0;
        (0..FLOWS_MAX.get()).for_each(|_| drop(flows.begin("b", "/", Purpose::SignIn, now)));
        assert_eq!(flows.lock().len(), FLOWS_MAX.get());
        assert!(flows.take(&first, "b", now).is_none());
        assert!(is_random(&random()) && !is_random("x") && !is_random(""));
    }
}
