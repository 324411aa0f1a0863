//! Where a request wants to go: the parsed and checked authority of its URL.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::Uri;
use http::uri::{Authority, Scheme};

use super::allow::AllowList;
use super::refusal::{Reason, Refusal};

/// A name's length without its final dot (RFC 1035, 2.3.4, as text).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host in canonical form, so that two spellings of it are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// Lower case, no final dot, no more than 253 characters.
    Name(Box<str>),
    /// IPv4-mapped IPv6 addresses are the IPv4 addresses that they stand for.
    Address(IpAddr),
}

impl Host {
    /// The host that `text` spells, IPv6 addresses in brackets. Says nothing about
    /// whether it may be reached.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            if inner.contains('%') {
                return Err(Refusal::new(Reason::ScopeId));
            }
            let address: std::net::Ipv6Addr = inner.parse().map_err(|_| Refusal::new(Reason::InvalidName))?;
            return Ok(Host::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = name.parse::<std::net::Ipv4Addr>() {
            return Ok(Host::Address(address.into()));
        }
        let is_label = |label: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(known)
        };
        if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
            return Err(Refusal::new(Reason::InvalidName));
        }
        Ok(Host::Name(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(address) => address.fmt(f),
        }
    }
}

/// The destination of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Whether the connection is encrypted.
    pub is_tls: bool,
    /// The host.
    pub host: Host,
    /// Never 0.
    pub port: u16,
    /// The operator named this host, and so whatever it resolves to may be reached.
    pub is_allowed: bool,
}

impl Target {
    /// The target of `uri`, which is a request's absolute URL.
    ///
    /// # Errors
    /// The URL is refused whatever its host resolves to. A name that the operator
    /// allowed need not keep to the rules for names.
    pub(super) fn parse(uri: &Uri, allowed: &AllowList) -> Result<Self, Refusal> {
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(Refusal::new(Reason::Scheme)),
        };
        let authority = uri.authority().ok_or(Refusal::new(Reason::InvalidName))?;
        if authority.as_str().contains('@') {
            return Err(Refusal::new(Reason::UserInfo));
        }
        let port = port_of(authority)?.unwrap_or(if is_tls { 443 } else { 80 });
        let host = Host::parse(authority.host())?;
        let is_allowed = match &host {
            Host::Name(name) => {
                let is_allowed = allowed.names(name, port);
                if !is_allowed {
                    check_name(name)?;
                }
                is_allowed
            }
            Host::Address(_) => false,
        };
        Ok(Self { is_tls, host, port, is_allowed })
    }

    /// The addresses to connect to when the host is a literal address.
    pub(super) fn literal(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Address(address) => Some(SocketAddr::new(address, self.port)),
            Host::Name(_) => None,
        }
    }
}

/// The port that is written in `authority`, if one is.
fn port_of(authority: &Authority) -> Result<Option<u16>, Refusal> {
    // `Authority::port_u16` is `None` for a port that is there but too large.
    let text = authority.as_str();
    let behind_host = text.strip_prefix(authority.host()).unwrap_or_default();
    let Some(port) = behind_host.strip_prefix(':') else { return Ok(None) };
    if port.is_empty() {
        return Ok(None);
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::new(Reason::InvalidName));
    }
    match port.parse() {
        Ok(0) => Err(Refusal::new(Reason::Port)),
        Ok(port) => Ok(Some(port)),
        Err(_) => Err(Refusal::new(Reason::InvalidName)),
    }
}

/// The rules for a name that the operator did not allow.
fn check_name(name: &str) -> Result<(), Refusal> {
    let last = name.rsplit('.').next().unwrap_or(name);
    // As the URL standard tells whether a host "ends in a number": parsers that know
    // octal, hexadecimal and short forms read an IPv4 address here.
    let is_hexadecimal =
        last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::new(Reason::NumericName));
    }
    if matches!(last, "localhost" | "local" | "internal") {
        return Err(Refusal::new(Reason::LocalName));
    }
    if last.len() == name.len() {
        return Err(Refusal::new(Reason::SingleLabel));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, Reason> {
        let uri: Uri = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        Target::parse(&uri, &AllowList::default()).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn names_and_addresses_are_read_in_canonical_form() {
        for (url, host, port, is_tls) in [
            ("https://api.Example.com", "api.example.com", 443, true),
            ("http://api.example.com./x", "api.example.com", 80, false),
            ("http://api.example.com:8080", "api.example.com", 8080, false),
            ("http://api.example.com:", "api.example.com", 80, false),
            ("http://_dmarc.xn--bcher-kva.example", "_dmarc.xn--bcher-kva.example", 80, false),
            ("http://93.184.215.14", "93.184.215.14", 80, false),
            ("http://93.184.215.14./", "93.184.215.14", 80, false),
            ("https://[2606:4700::1111]:8443", "2606:4700::1111", 8443, true),
            ("https://[::FFFF:10.0.0.1]", "10.0.0.1", 443, true),
            ("https://1.example", "1.example", 443, true),
        ] {
            let target = parse(url).unwrap_or_else(|reason| panic!("{url}: {reason:?}"));
            assert_eq!(
                (&*target.host.to_string(), target.port, target.is_tls),
                (host, port, is_tls),
                "{url}"
            );
        }
    }

    #[test]
    fn urls_that_no_answer_of_dns_could_save_are_refused() {
        let long_label = format!("http://{}.example", "a".repeat(64));
        let long_name = format!("http://{}example", "abcdefg.".repeat(31));
        for (url, reason) in [
            ("ftp://example.com", Reason::Scheme),
            ("http://user:secret@example.com", Reason::UserInfo),
            ("http://user@example.com", Reason::UserInfo),
            ("http://example.com:0", Reason::Port),
            ("http://example.com:00000", Reason::Port),
            ("http://example.com:65536", Reason::InvalidName),
            ("http://localhost", Reason::LocalName),
            ("http://LOCALHOST.:8080", Reason::LocalName),
            ("http://a.localhost", Reason::LocalName),
            ("http://printer.local", Reason::LocalName),
            ("http://metadata.google.internal", Reason::LocalName),
            ("http://internal", Reason::LocalName),
            ("http://redis", Reason::SingleLabel),
            ("http://127.1", Reason::NumericName),
            ("http://2130706433", Reason::NumericName),
            ("http://0x7f000001", Reason::NumericName),
            ("http://0x", Reason::NumericName),
            ("http://127.0.0.0x1", Reason::NumericName),
            ("http://0177.0.0.1", Reason::NumericName),
            ("http://127.0.0.01", Reason::NumericName),
            ("http://127.0.0.1.1", Reason::NumericName),
            ("http://1.2.3.256", Reason::NumericName),
            ("http://a..example", Reason::InvalidName),
            ("http://.example", Reason::InvalidName),
            ("http://example..", Reason::InvalidName),
            ("http://exa~mple.com", Reason::InvalidName),
            ("http://[v1.a]", Reason::InvalidName),
            ("http://[10.0.0.1]", Reason::InvalidName),
            (&long_label, Reason::InvalidName),
            (&long_name, Reason::InvalidName),
        ] {
            assert_eq!(parse(url), Err(reason), "{url}");
        }
    }

    #[test]
    fn zones_are_refused_whoever_parses_them() {
        // The URL type refuses some spellings itself; what it lets through is refused here.
        for url in ["http://[fe80::1%25eth0]", "http://[fe80::1%eth0]", "http://[2606:4700::1%251]:80"] {
            if let Ok(uri) = url.parse::<Uri>() {
                let refused = Target::parse(&uri, &AllowList::default()).map_err(|refusal| refusal.reason);
                assert_eq!(refused, Err(Reason::ScopeId), "{url}");
            }
        }
        assert_eq!(Host::parse("[fe80::1%25eth0]"), Err(Refusal::new(Reason::ScopeId)));
    }
}
