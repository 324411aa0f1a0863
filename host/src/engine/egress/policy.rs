//! Which addresses a request may be connected to.
//!
//! [`decide`] is the table of SECURITY.md as a pure function; [`Policy`] adds what the
//! operator opened and what this very host is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use arc_swap::ArcSwap;

use super::allow::AllowList;
use super::refusal::{Reason, Refusal};
use super::table::{IPV4_REFUSED, IPV6_GLOBAL, IPV6_REFUSED};
use super::target::Target;

/// Whether an address belongs to the public internet. IPv4-mapped IPv6 addresses are
/// judged as the IPv4 addresses that they are.
///
/// # Errors
/// The first range of the table that holds the address.
pub fn decide(address: IpAddr) -> Result<(), Refusal> {
    let address = address.to_canonical();
    let table = match address {
        IpAddr::V4(_) => IPV4_REFUSED,
        IpAddr::V6(_) => IPV6_REFUSED,
    };
    let range = table.iter().find(|range| range.contains(address)).or_else(|| {
        let is_stray = address.is_ipv6() && !IPV6_GLOBAL.contains(address);
        is_stray.then_some(&IPV6_GLOBAL)
    });
    match range {
        Some(range) => Err(Refusal { reason: range.reason, address: Some(address), source: range.source }),
        None => Ok(()),
    }
}

/// The rules of one host process.
#[derive(Debug)]
pub(super) struct Policy {
    /// What the operator opened.
    pub allowed: AllowList,
    listeners: ArcSwap<Vec<SocketAddr>>,
    probe: Probe,
}

impl Policy {
    /// The rules with these exceptions.
    pub(super) fn new(allowed: AllowList) -> Self {
        Self { allowed, listeners: ArcSwap::default(), probe: Probe::detect() }
    }

    /// The host's own listening addresses: refused unless an entry of `allow_private`
    /// writes the port out. An unspecified address stands for all of this machine's.
    pub(super) fn set_listeners(&self, listeners: Vec<SocketAddr>) {
        self.listeners.store(listeners.into());
    }

    /// Whether a new connection may be made to `address` on behalf of `target`, which
    /// resolved to it.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn check(&self, target: &Target, address: SocketAddr) -> Result<(), Refusal> {
        self.check_again(target, address)?;
        let is_open = target.is_allowed || self.allowed.holds(address);
        if !is_open && self.probe.is_own(address.ip()) {
            return Err(Refusal { reason: Reason::OwnAddress, address: Some(address.ip()), source: "" });
        }
        Ok(())
    }

    /// Whether a connection that was made earlier may still be used. Asks nothing of
    /// the system.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn check_again(&self, target: &Target, address: SocketAddr) -> Result<(), Refusal> {
        if self.is_listener(address) && !self.allowed.lists_port(&target.host, address) {
            return Err(Refusal { reason: Reason::OwnListener, address: Some(address.ip()), source: "" });
        }
        if target.is_allowed || self.allowed.holds(address) {
            return Ok(());
        }
        decide(address.ip())
    }

    fn is_listener(&self, address: SocketAddr) -> bool {
        self.listeners.load().iter().any(|listener| {
            let same_host = || match listener.ip() {
                ip if ip.is_unspecified() => self.probe.is_own(address.ip()),
                ip => ip.to_canonical() == address.ip(),
            };
            // The system takes the unspecified address for loopback.
            listener.port() == address.port() && (address.ip().is_unspecified() || same_host())
        })
    }
}

/// How to ask the system whether an address is one of this machine's. Interfaces come and
/// go, so it is asked at each new connection; no packet is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Only own addresses can be bound.
    Bind,
    /// Any address can be bound (`ip_nonlocal_bind`), but the way to an own address
    /// begins at that address.
    Route,
    /// A machine that has this address too.
    #[cfg(test)]
    Pretend(IpAddr),
}

impl Probe {
    fn detect() -> Self {
        // Reserved for documentation (RFC 5737, RFC 3849), so that hardly any machine has
        // both; one that has them is asked by the second way, which is right too.
        let v4 = UdpSocket::bind((Ipv4Addr::new(203, 0, 113, 254), 0)).is_ok();
        let v6 = UdpSocket::bind((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfffe), 0)).is_ok();
        if v4 || v6 { Probe::Route } else { Probe::Bind }
    }

    fn is_own(self, address: IpAddr) -> bool {
        match self {
            Probe::Bind => match UdpSocket::bind((address, 0)) {
                Ok(_) => true,
                Err(error) => !is_foreign(&error),
            },
            #[cfg(test)]
            Probe::Pretend(own) => address == own,
            Probe::Route => {
                let any: IpAddr = match address {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let from = UdpSocket::bind((any, 0)).and_then(|socket| {
                    socket.connect((address, 9))?;
                    socket.local_addr()
                });
                match from {
                    Ok(from) => from.ip() == address,
                    Err(error) => !is_foreign(&error),
                }
            }
        }
    }
}

/// Whether the error says that the address is not this machine's. Any other, such as
/// having no descriptor left, leaves it open, and then nothing is connected to.
fn is_foreign(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let by_kind =
        matches!(error.kind(), Kind::AddrNotAvailable | Kind::NetworkUnreachable | Kind::HostUnreachable);
    by_kind || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;
    use crate::engine::egress::table::Range;
    use crate::engine::egress::tests::NEIGHBOURS;

    fn target(url: &str, policy: &Policy) -> Target {
        Target::parse(&url.parse::<Uri>().unwrap(), &policy.allowed).unwrap()
    }

    fn policy(allowed: &[&str]) -> Policy {
        let entries: Vec<String> = allowed.iter().map(|entry| (*entry).to_owned()).collect();
        Policy::new(AllowList::parse(&entries).unwrap())
    }

    /// First, middle and last address of a block.
    fn samples(range: &Range) -> [IpAddr; 3] {
        match range.network {
            IpAddr::V4(network) => {
                let span = u32::MAX.checked_shr(range.prefix.into()).unwrap_or(0);
                [0, span / 2, span].map(|offset| Ipv4Addr::from_bits(network.to_bits() + offset).into())
            }
            IpAddr::V6(network) => {
                let span = u128::MAX.checked_shr(range.prefix.into()).unwrap_or(0);
                [0, span / 2, span].map(|offset| Ipv6Addr::from_bits(network.to_bits() + offset).into())
            }
        }
    }

    fn refused(address: IpAddr) -> Option<Reason> {
        decide(address).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn first_middle_and_last_address_of_every_range_are_refused() {
        for range in IPV4_REFUSED.iter().chain(IPV6_REFUSED) {
            for address in samples(range) {
                let refusal = decide(address).expect_err(&format!("{address} of {range:?}"));
                assert_eq!(refusal.address, Some(address));
            }
        }
    }

    #[test]
    fn refused_ipv4_is_refused_in_every_ipv6_form() {
        for address in IPV4_REFUSED.iter().flat_map(samples) {
            let IpAddr::V4(v4) = address else { panic!("{address}") };
            let [a, b, c, d] = v4.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let mapped = v4.to_ipv6_mapped().into();
            assert_eq!(refused(mapped), refused(address), "{mapped}");
            for segments in [
                [0, 0, 0, 0, 0, 0, high, low],                  // IPv4-compatible
                [0, 0, 0, 0, 0xffff, 0, high, low],             // SIIT
                [0x64, 0xff9b, 0, 0, 0, 0, high, low],          // NAT64
                [0x64, 0xff9b, 1, 0, 0, 0, high, low],          // local NAT64
                [0x2002, high, low, 0, 0, 0, 0, 1],             // 6to4
                [0x2001, 0, high, low, 0, 0, 0, 0],             // Teredo, as its server
                [0x2001, 0, 0x4136, 0xe378, 0, 0, !high, !low], // Teredo, as its client
                [0xfe80, 0, 0, 0, 0, 0x5efe, high, low],        // ISATAP
            ] {
                let address = Ipv6Addr::from(segments).into();
                assert!(refused(address).is_some(), "{address}");
            }
        }
    }

    #[test]
    fn reasons_name_the_narrowest_rule() {
        for (address, reason) in [
            ("169.254.169.254", Reason::Metadata),
            ("::ffff:169.254.169.254", Reason::Metadata),
            ("169.254.1.1", Reason::LinkLocal),
            ("100.100.100.200", Reason::Metadata),
            ("168.63.129.16", Reason::Metadata),
            ("fd00:ec2::254", Reason::Metadata),
            ("fd00::1", Reason::Private),
            ("255.255.255.255", Reason::Multicast),
            ("0.0.0.0", Reason::Unspecified),
            ("::", Reason::Unspecified),
            ("::1", Reason::Loopback),
            ("4000::1", Reason::Reserved),
            ("1::1", Reason::Reserved),
        ] {
            assert_eq!(refused(address.parse().unwrap()), Some(reason), "{address}");
        }
    }

    #[test]
    fn neighbours_of_refused_ranges_and_public_addresses_pass() {
        let others = [
            "1.0.0.0",
            "8.8.8.8",
            "1.1.1.1",
            "::ffff:8.8.8.8",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::1",
            "2001:db9::1",
            "2003::1",
            "2606:4700:4700::1111",
            "2620:4f:7fff::1",
            "2620:4f:8001::1",
            "3ffe:ffff::1",
            "3fff:1000::",
            "2a00:1450:4001::1",
        ];
        for address in NEIGHBOURS.iter().chain(&others) {
            assert_eq!(refused(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn an_allowed_name_opens_all_that_it_resolves_to_and_nothing_else() {
        let policy = policy(&["hr", "crm.example:8443", "localhost"]);
        let private: SocketAddr = "10.1.2.3:80".parse().unwrap();
        assert!(policy.check(&target("http://hr", &policy), private).is_ok());
        assert!(policy.check(&target("http://a.example", &policy), private).is_err());
        let private: SocketAddr = "10.1.2.3:8443".parse().unwrap();
        assert!(policy.check(&target("https://crm.example:8443", &policy), private).is_ok());
        let private: SocketAddr = "10.1.2.3:443".parse().unwrap();
        assert!(policy.check(&target("https://crm.example", &policy), private).is_err());
    }

    #[test]
    fn an_allowed_address_opens_for_every_name_that_resolves_to_it() {
        let policy = policy(&["127.0.0.1:9000"]);
        let other = target("http://a.example:9000", &policy);
        assert!(policy.check(&other, "127.0.0.1:9000".parse().unwrap()).is_ok());
        let refusal = policy.check(&other, "127.0.0.2:9000".parse().unwrap()).unwrap_err();
        assert_eq!(refusal.reason, Reason::Loopback);
    }

    #[test]
    fn own_listeners_need_an_entry_with_their_port() {
        let open = policy(&["localhost", "127.0.0.1"]);
        let listed = policy(&["localhost:8080"]);
        for listener in ["127.0.0.1:8080", "0.0.0.0:8080"] {
            for policy in [&open, &listed] {
                policy.set_listeners(vec![listener.parse().unwrap()]);
            }
            for address in ["127.0.0.1:8080", "0.0.0.0:8080"] {
                let address = address.parse().unwrap();
                let refusal = open.check(&target("http://localhost:8080", &open), address).unwrap_err();
                assert_eq!(refusal.reason, Reason::OwnListener, "{listener} {address}");
                assert!(listed.check(&target("http://localhost:8080", &listed), address).is_ok());
            }
        }
        assert!(open.check(&target("http://localhost:81", &open), "127.0.0.1:81".parse().unwrap()).is_ok());
    }

    #[test]
    fn public_addresses_of_this_machine_are_refused_unless_they_are_allowed() {
        let own: SocketAddr = "93.184.215.14:443".parse().unwrap();
        let mut policy = policy(&["93.184.215.14:8443", "here.example"]);
        let url = "https://a.example";
        assert_eq!(policy.check(&target(url, &policy), own), Ok(()));
        policy.probe = Probe::Pretend(own.ip());
        let refusal = policy.check(&target(url, &policy), own).unwrap_err();
        assert_eq!(refusal.reason, Reason::OwnAddress);
        assert_eq!(policy.check(&target(url, &policy), "93.184.215.14:8443".parse().unwrap()), Ok(()));
        assert_eq!(policy.check(&target("https://here.example", &policy), own), Ok(()));
        assert_eq!(policy.check(&target(url, &policy), "93.184.215.15:443".parse().unwrap()), Ok(()));
    }

    #[test]
    fn both_probes_know_this_machine() {
        for probe in [Probe::Bind, Probe::Route] {
            assert!(probe.is_own(Ipv4Addr::LOCALHOST.into()), "{probe:?}");
            assert!(!probe.is_own("203.0.113.7".parse().unwrap()), "{probe:?}");
            assert!(!probe.is_own("2001:db8::7".parse().unwrap()), "{probe:?}");
        }
    }
}
