//! The private destinations that the operator opened: `egress.allow_private`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::target::Host;

/// The entries of `egress.allow_private`. Each opens exactly what it says.
#[derive(Debug, Clone, Default)]
pub(super) struct AllowList {
    names: HashMap<Box<str>, Ports>,
    addresses: HashMap<IpAddr, Ports>,
}

/// The ports that an entry opens.
#[derive(Debug, Clone, Default)]
struct Ports {
    /// An entry without a port.
    all: bool,
    /// Ports that were written out.
    listed: Vec<u16>,
}

impl Ports {
    fn hold(&self, port: u16) -> bool {
        self.all || self.listed.contains(&port)
    }
}

impl AllowList {
    /// Reads the entries: `host`, `host:port`, `address`, `address:port`; an IPv6
    /// address with a port stands in brackets.
    ///
    /// # Errors
    /// The first entry that is none of these, and what is wrong with it.
    pub(super) fn parse(entries: &[String]) -> Result<Self, (String, &'static str)> {
        let mut list = Self::default();
        for entry in entries {
            let (host, port) = parse_entry(entry).map_err(|reason| (entry.clone(), reason))?;
            let ports = match host {
                Host::Name(name) => list.names.entry(name).or_default(),
                Host::Address(address) => list.addresses.entry(address).or_default(),
            };
            match port {
                Some(port) => ports.listed.push(port),
                None => ports.all = true,
            }
        }
        Ok(list)
    }

    /// Whether this name, in canonical form, was opened for this port.
    pub(super) fn names(&self, name: &str, port: u16) -> bool {
        self.names.get(name).is_some_and(|ports| ports.hold(port))
    }

    /// Whether this address was opened for its port.
    pub(super) fn holds(&self, address: SocketAddr) -> bool {
        self.addresses.get(&address.ip()).is_some_and(|ports| ports.hold(address.port()))
    }

    /// Whether an entry for the host or the address writes this very port out.
    pub(super) fn lists_port(&self, host: &Host, address: SocketAddr) -> bool {
        let of_name = match host {
            Host::Name(name) => self.names.get(name),
            Host::Address(_) => None,
        };
        let of_address = self.addresses.get(&address.ip());
        of_name.into_iter().chain(of_address).any(|ports| ports.listed.contains(&address.port()))
    }
}

fn parse_entry(entry: &str) -> Result<(Host, Option<u16>), &'static str> {
    const FORMS: &str = "must be a host name or an address, with or without a port";
    if entry.contains("://") {
        return Err("must be a host, not a URL");
    }
    if entry.contains('/') {
        return Err("must be one address, ranges are not accepted");
    }
    if let Ok(address) = entry.parse::<Ipv6Addr>() {
        return Ok((Host::Address(address.to_canonical()), None));
    }
    let (host, port) = match entry.rsplit_once(':') {
        // A colon inside of brackets is not in front of a port.
        Some((host, port)) if !port.ends_with(']') => {
            let port = match port.parse() {
                Ok(0) | Err(_) => return Err("must have a port from 1 to 65535 behind the colon"),
                Ok(port) => port,
            };
            (host, Some(port))
        }
        _ => (entry, None),
    };
    let host = Host::parse(host).map_err(|_| FORMS)?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> AllowList {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        AllowList::parse(&entries).unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn each_entry_opens_exactly_what_it_says() {
        let allowed = list(&["CRM", "hr.internal:8443", "10.0.0.5", "127.0.0.1:9000", "[fd00::1]:80", "::1"]);
        assert!(allowed.names("crm", 1) && allowed.names("crm", 65535));
        assert!(!allowed.names("crm.example", 1));
        assert!(allowed.names("hr.internal", 8443) && !allowed.names("hr.internal", 443));
        assert!(allowed.holds(at("10.0.0.5:1")) && !allowed.holds(at("10.0.0.6:1")));
        assert!(allowed.holds(at("127.0.0.1:9000")) && !allowed.holds(at("127.0.0.1:9001")));
        assert!(allowed.holds(at("[fd00::1]:80")) && !allowed.holds(at("[fd00::1]:81")));
        assert!(allowed.holds(at("[::1]:5")));
    }

    #[test]
    fn only_an_entry_with_a_port_lists_it() {
        let allowed = list(&["localhost", "localhost:80", "10.0.0.5", "10.0.0.6:81"]);
        let localhost = Host::Name("localhost".into());
        let other = Host::Name("a.example".into());
        assert!(allowed.lists_port(&localhost, at("127.0.0.1:80")));
        assert!(!allowed.lists_port(&localhost, at("127.0.0.1:81")));
        assert!(!allowed.lists_port(&other, at("10.0.0.5:80")));
        assert!(allowed.lists_port(&other, at("10.0.0.6:81")));
    }

    #[test]
    fn malformed_entries_are_named_with_their_fault() {
        for (entry, reason) in [
            ("http://crm", "must be a host, not a URL"),
            ("10.0.0.0/8", "must be one address, ranges are not accepted"),
            ("crm:0", "must have a port from 1 to 65535 behind the colon"),
            ("crm:http", "must have a port from 1 to 65535 behind the colon"),
            ("crm:70000", "must have a port from 1 to 65535 behind the colon"),
            ("crm:", "must have a port from 1 to 65535 behind the colon"),
            ("", "must be a host name or an address, with or without a port"),
            ("*.example.com", "must be a host name or an address, with or without a port"),
            ("[fe80::1%eth0]:80", "must be a host name or an address, with or without a port"),
            ("[::1", "must be a host name or an address, with or without a port"),
            ("user@crm", "must be a host name or an address, with or without a port"),
        ] {
            let error = AllowList::parse(&["fine".to_owned(), entry.to_owned()]).unwrap_err();
            assert_eq!(error, (entry.to_owned(), reason));
        }
    }
}
