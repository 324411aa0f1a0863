//! How often sign-ins failed: what stops somebody who guesses.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use super::AccountError;
use crate::workflow::Digest;

/// Logins and addresses that are remembered; those that were idle longest go first.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not 0");
/// One address may fail so many times as often, over all logins, as with one of them.
const ADDRESS_FACTOR: u32 = 10;

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    /// A login from an address. By its digest: what is typed there may be a password.
    Login(Digest, IpAddr),
    /// An address, whatever login it tries.
    Address(IpAddr),
}

struct Count {
    attempts: u32,
    since: Instant,
}

/// Attempts by login and address, in windows that begin with the first one.
pub(super) struct Attempts {
    max: u32,
    window: Duration,
    counts: Mutex<LruCache<Who, Count>>,
}

impl Attempts {
    pub(super) fn new(max: u32, window_minutes: u32) -> Self {
        let window = Duration::from_secs(60 * u64::from(window_minutes));
        Self { max, window, counts: Mutex::new(LruCache::new(REMEMBERED_MAX)) }
    }

    /// Counts an attempt that is about to be made.
    ///
    /// # Errors
    /// [`AccountError::LockedOut`]: there were too many, and this one is not made.
    pub(super) fn begin(&self, login: &str, from: IpAddr, now: Instant) -> Result<(), AccountError> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let [login, address] = keys(login, from);
        let limits = [(login, self.max), (address, self.max.saturating_mul(ADDRESS_FACTOR))];
        for (who, max) in &limits {
            let Some(count) = counts.get(who) else { continue };
            let ends = count.since + self.window;
            if count.attempts >= *max && now < ends {
                // Whole seconds, and never 0.
                let retry_after = Duration::from_secs(ends.duration_since(now).as_secs() + 1);
                return Err(AccountError::LockedOut { retry_after });
            }
        }
        for (who, _) in limits {
            let count = counts.get_or_insert_mut(who, || Count { attempts: 0, since: now });
            if now >= count.since + self.window {
                *count = Count { attempts: 0, since: now };
            }
            count.attempts += 1;
        }
        Ok(())
    }

    /// Takes back what [`Attempts::begin`] counted, and the failures of this login from
    /// there.
    pub(super) fn succeeded(&self, login: &str, from: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let [login, address] = keys(login, from);
        counts.pop(&login);
        if let Some(count) = counts.get_mut(&address) {
            count.attempts = count.attempts.saturating_sub(1);
        }
    }
}

fn keys(login: &str, from: IpAddr) -> [Who; 2] {
    let network = network(from);
    [Who::Login(Digest::of(login.as_bytes()), network), Who::Address(network)]
}

/// What one client may have at will: a whole /64 of IPv6 (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_locked(result: &Result<(), AccountError>) -> bool {
        matches!(result, Err(AccountError::LockedOut { .. }))
    }

    #[test]
    fn login_is_locked_for_one_address_and_for_a_while() {
        let attempts = Attempts::new(3, 15);
        let (here, there): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let start = Instant::now();
        for _ in 0..3 {
            attempts.begin("ada", here, start).unwrap();
        }
        match attempts.begin("ada", here, start + Duration::from_secs(60)) {
            Err(AccountError::LockedOut { retry_after }) => assert_eq!(retry_after.as_secs(), 14 * 60 + 1),
            other => panic!("{other:?}"),
        }
        attempts.begin("ada", there, start).unwrap();
        attempts.begin("eve", here, start).unwrap();
        attempts.begin("ada", here, start + Duration::from_secs(15 * 60)).unwrap();
    }

    #[test]
    fn success_forgets_the_failures_of_its_login() {
        let attempts = Attempts::new(2, 15);
        let (here, now) = ("::1".parse().unwrap(), Instant::now());
        for _ in 0..50 {
            attempts.begin("ada", here, now).unwrap();
            attempts.succeeded("ada", here);
        }
    }

    #[test]
    fn address_that_tries_many_logins_is_locked_with_its_whole_network() {
        let attempts = Attempts::new(3, 15);
        let now = Instant::now();
        for number in 0..30_u16 {
            let from = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, number, 0, 0, 1));
            attempts.begin(&format!("user{number}"), from, now).unwrap();
        }
        let neighbour = "2001:db8::ffff".parse().unwrap();
        assert!(is_locked(&attempts.begin("another", neighbour, now)));
        let other = "2001:db8:0:1::1".parse().unwrap();
        assert!(!is_locked(&attempts.begin("another", other, now)));
    }
}
