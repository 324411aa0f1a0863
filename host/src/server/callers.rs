//! Who calls, and how much of it: rates and connections per caller's address.
//!
//! A caller is an IPv4 address, or the /56 of an IPv6 one: what one customer of a provider
//! has. (A /24 of IPv4 addresses is strangers.) Behind a proxy that the operator trusts,
//! the caller is who the proxy says it is: the rightmost address of `X-Forwarded-For`
//! that is no trusted proxy's, since all that stands left of it is the caller's word. A
//! trusted proxy that names nobody has no limit of its own.
//!
//! The table of callers is bounded and in shards, each with a lock that is held for one
//! look-up. When it is full the callers that were quiet for longest are forgotten: they
//! have their burst again.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::HeaderName;
use ipnet::IpNet;
use lru::LruCache;

use crate::config;
use crate::rate::{self, Rate};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const SHARDS: usize = 16;
/// Callers whose rate is remembered.
const CALLERS_MAX: usize = 100_000;

/// Why a request is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RateError {
    /// The caller asks too often.
    #[error("there are too many requests from this address")]
    Address {
        /// When it may ask again.
        wait: Duration,
    },
    /// The owner's workflows are asked too often.
    #[error("there are too many requests to the workflows of this owner")]
    Owner {
        /// When they may be asked again.
        wait: Duration,
    },
    /// The endpoint is asked too often.
    #[error("there are too many requests to this endpoint")]
    Endpoint {
        /// When it may be asked again.
        wait: Duration,
    },
}

/// The callers of this host.
pub(super) struct Callers {
    trusted: Vec<IpNet>,
    rate: Option<Rate>,
    /// Their states, as [`Rate::after`] has them.
    shards: Vec<Mutex<LruCache<IpAddr, u64>>>,
    hasher: std::hash::RandomState,
    connections_max: u32,
    connections: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

/// Counts a connection of a caller until it is dropped.
pub(super) struct Place {
    connections: Arc<Mutex<HashMap<IpAddr, u32>>>,
    caller: IpAddr,
}

impl Callers {
    pub(super) fn new(config: &config::Server) -> Self {
        let per_shard = NonZeroUsize::new(CALLERS_MAX / SHARDS).expect("there are more callers than shards");
        Self {
            trusted: config.trusted_proxies(),
            rate: Rate::new(config.address_rate_per_s_max, config.address_burst_max),
            shards: (0..SHARDS).map(|_| Mutex::new(LruCache::new(per_shard))).collect(),
            hasher: std::hash::RandomState::new(),
            connections_max: config.address_connections_max,
            connections: Arc::default(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// Its caller asks too often.
    pub(super) fn admit(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), RateError> {
        let Some(rate) = self.rate else { return Ok(()) };
        let Some(caller) = self.caller(peer.ip(), headers) else { return Ok(()) };
        self.admit_at(rate, caller, rate::now()).map_err(|wait| RateError::Address { wait })
    }

    fn admit_at(&self, rate: Rate, caller: IpAddr, now: u64) -> Result<(), Duration> {
        let shard = &self.shards[self.hasher.hash_one(caller) as usize % SHARDS];
        let mut states = lock(shard);
        let state = states.get_or_insert_mut(caller, || 0);
        *state = rate.after(*state, now)?;
        Ok(())
    }

    /// Counts a connection until what is returned is dropped; `None` when its address
    /// has as many as it may have. Those of trusted proxies are not counted.
    pub(super) fn connect(&self, peer: SocketAddr) -> Option<Option<Place>> {
        let peer = peer.ip().to_canonical();
        if self.connections_max == 0 || self.is_trusted(peer) {
            return Some(None);
        }
        let caller = group(peer);
        let mut connections = lock(&self.connections);
        let open = connections.entry(caller).or_insert(0);
        if *open >= self.connections_max {
            return None;
        }
        *open += 1;
        Some(Some(Place { connections: self.connections.clone(), caller }))
    }

    /// The address that a request comes from: the connection's other end, or who trusted
    /// proxies say that it is.
    pub(super) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        self.behind_proxies(peer.ip(), headers).unwrap_or_else(|| peer.ip().to_canonical())
    }

    /// Who calls; `None` for a trusted proxy that names nobody else.
    fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        self.behind_proxies(peer, headers).map(group)
    }

    /// The address of who calls; `None` for a trusted proxy that names nobody else.
    fn behind_proxies(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut caller = peer.to_canonical();
        if !self.is_trusted(caller) {
            return Some(caller);
        }
        let values: Vec<&str> =
            headers.get_all(FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or_default()).collect();
        for hop in values.iter().rev().flat_map(|value| value.rsplit(',')) {
            // What cannot be read was not written by a proxy to be trusted: the last one
            // that was is who calls.
            caller = address(hop.trim())?.to_canonical();
            if !self.is_trusted(caller) {
                return Some(caller);
            }
        }
        None
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = lock(&self.connections);
        if let Some(open) = connections.get_mut(&self.caller) {
            *open -= 1;
            if *open == 0 {
                connections.remove(&self.caller);
            }
        }
    }
}

/// An address, as proxies write it: some with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The addresses that count as one caller's, by their first.
fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !0 << 72).into(),
    }
}

// A panic under these locks leaves whole values behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::config::Config;

    fn callers(change: impl Fn(&mut config::Server)) -> Callers {
        let mut config = Config::defaults().server;
        change(&mut config);
        Callers::new(&config)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn caller(callers: &Callers, peer: &str, forwarded: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        callers.caller(ip(peer), &headers).map(|caller| caller.to_string())
    }

    #[test]
    fn caller_is_the_rightmost_address_that_is_no_trusted_proxys() {
        let callers = callers(|config| {
            config.trusted_proxies = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"].map(str::to_owned).to_vec();
        });
        for (peer, forwarded, expected) in [
            // Nobody's word counts but a trusted proxy's.
            ("203.0.113.9", &["198.51.100.1"][..], Some("203.0.113.9")),
            ("::ffff:203.0.113.9", &[], Some("203.0.113.9")),
            ("10.0.0.1", &["198.51.100.1"], Some("198.51.100.1")),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1"], Some("198.51.100.1")),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.2,10.9.9.9"], Some("198.51.100.1")),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.1", "fd00::1"], Some("198.51.100.1")),
            ("fd00::2", &["2001:db8:1:2ff:3::4"], Some("2001:db8:1:200::")),
            ("10.0.0.1", &["198.51.100.1:4711"], Some("198.51.100.1")),
            ("10.0.0.1", &["[2001:db8::1]:4711"], Some("2001:db8::")),
            ("10.0.0.1", &["::ffff:198.51.100.1"], Some("198.51.100.1")),
            ("10.0.0.1", &[], None),
            ("127.0.0.1", &["10.0.0.5"], None),
            ("10.0.0.1", &["198.51.100.1, unknown"], None),
            ("10.0.0.1", &["\u{e9}"], None),
            ("127.0.0.2", &["198.51.100.1"], Some("127.0.0.2")),
        ] {
            assert_eq!(caller(&callers, peer, forwarded).as_deref(), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn each_caller_has_a_rate_of_its_own() {
        let callers = callers(|config| (config.address_rate_per_s_max, config.address_burst_max) = (10, 2));
        let rate = callers.rate.unwrap();
        for caller in ["198.51.100.1", "198.51.100.2", "2001:db8::"] {
            assert!(callers.admit_at(rate, ip(caller), 1).is_ok());
            assert!(callers.admit_at(rate, ip(caller), 1).is_ok());
            assert_eq!(callers.admit_at(rate, ip(caller), 1), Err(Duration::from_millis(100)));
        }
    }

    #[test]
    fn callers_that_are_remembered_are_bounded() {
        let callers = callers(|config| config.address_rate_per_s_max = 1);
        let rate = callers.rate.unwrap();
        for number in 0..2 * CALLERS_MAX as u32 {
            callers.admit_at(rate, std::net::Ipv4Addr::from_bits(number).into(), 1).unwrap();
        }
        let remembered: usize = callers.shards.iter().map(|shard| lock(shard).len()).sum();
        assert_eq!(remembered, CALLERS_MAX / SHARDS * SHARDS);
    }

    #[test]
    fn connections_of_an_address_are_counted_until_they_end() {
        let callers = callers(|config| config.address_connections_max = 2);
        let peer: SocketAddr = "198.51.100.1:1".parse().unwrap();
        let first = callers.connect(peer).unwrap();
        let _second = callers.connect(peer).unwrap();
        assert!(callers.connect(peer).is_none());
        assert!(callers.connect("198.51.100.2:1".parse().unwrap()).is_some());
        assert!(callers.connect("127.0.0.1:1".parse().unwrap()).unwrap().is_none(), "a proxy's do not count");
        drop(first);
        let third = callers.connect(peer);
        assert!(third.is_some());
        drop((third, _second));
        assert!(lock(&callers.connections).is_empty());
    }
}
