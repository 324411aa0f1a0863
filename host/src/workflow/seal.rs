//! What a sealed setting is bound to: the hosts that may see its value, and where in a
//! request it may stand.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most hosts that one setting is sealed to.
pub const SEAL_HOSTS_MAX: usize = 16;
/// A name's length (RFC 1035, 2.3.4, as text).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Where in a request the host puts a sealed value.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The value of any header but `Host` and those of a connection; of `Authorization` with any scheme
    /// but `Basic`.
    Header,
    /// `Authorization: Bearer`.
    Bearer,
    /// User name or password of `Authorization: Basic`.
    Basic,
    /// A value in the URL's query.
    Query,
    /// A string in a body of type `application/json` or `…+json`.
    Json,
    /// A value in a body of type `application/x-www-form-urlencoded`.
    Form,
    /// What a part of a body of type `multipart/form-data` holds, for values without ends of
    /// lines that do not begin with a dash.
    Multipart,
    /// The URL's path, as `/bot{value}/send`. Only where it is asked for: paths stand in more
    /// logs than anything else of a request.
    Path,
}

impl Place {
    /// All of them.
    pub const ALL: [Place; 8] = [
        Place::Header,
        Place::Bearer,
        Place::Basic,
        Place::Query,
        Place::Json,
        Place::Form,
        Place::Multipart,
        Place::Path,
    ];

    /// Those of a seal that names none: all but the path.
    pub const USUAL: [Place; 7] = [
        Place::Header,
        Place::Bearer,
        Place::Basic,
        Place::Query,
        Place::Json,
        Place::Form,
        Place::Multipart,
    ];

    /// The word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Place::Header => "header",
            Place::Bearer => "bearer",
            Place::Basic => "basic",
            Place::Query => "query",
            Place::Json => "json",
            Place::Form => "form",
            Place::Multipart => "multipart",
            Place::Path => "path",
        }
    }
}

/// What a sealed setting is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The hosts whose requests get the value, 1 to 16.
    #[schema(value_type = Vec<String>, example = json!(["api.company.com"]))]
    pub hosts: Vec<SealHost>,
    /// Where in a request it may stand; everywhere but in the path when it is left out.
    #[serde(default = "usual")]
    pub places: Vec<Place>,
    /// Whether it may also go out without TLS, readable by all between here and there.
    #[serde(default)]
    pub allow_http: bool,
}

fn usual() -> Vec<Place> {
    Place::USUAL.to_vec()
}

impl Seal {
    /// A seal to these hosts, at the usual places, over TLS only.
    pub fn to(hosts: Vec<SealHost>) -> Self {
        Self { hosts, places: usual(), allow_http: false }
    }

    /// Whether it lets the value go nowhere that `other` does not: then it may replace
    /// `other` without the value being given again.
    pub fn is_within(&self, other: &Seal) -> bool {
        self.hosts.iter().all(|host| other.hosts.contains(host))
            && self.places.iter().all(|place| other.places.contains(place))
            && (other.allow_http || !self.allow_http)
    }

    /// What is wrong with it; `None` when it can be kept.
    pub fn fault(&self) -> Option<String> {
        if self.hosts.is_empty() || self.hosts.len() > SEAL_HOSTS_MAX {
            return Some(format!("a sealed setting needs 1 to {SEAL_HOSTS_MAX} hosts"));
        }
        self.places.is_empty().then(|| {
            let known = Place::ALL.map(Place::word).join(", ");
            format!("a sealed setting needs a place where its value may stand; known are {known}")
        })
    }
}

/// A host that a setting is sealed to, as `HOST` or `HOST:PORT`.
///
/// In canonical form: lower case, without a final dot, addresses as they are written
/// shortest. Without a port it stands for the one of the scheme: 443, or 80 without TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SealHost {
    host: String,
    port: Option<u16>,
}

/// Why a text names no host to seal to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a host to seal to: {reason}")]
pub struct SealHostError {
    text: String,
    reason: &'static str,
}

impl SealHost {
    /// Whether this is the host and port of a request. `host` is in canonical form.
    pub fn is(&self, host: &str, port: u16, is_tls: bool) -> bool {
        let own = self.port.unwrap_or(if is_tls { 443 } else { 80 });
        self.host == host && own == port
    }
}

impl FromStr for SealHost {
    type Err = SealHostError;

    fn from_str(text: &str) -> Result<Self, SealHostError> {
        let wrong = |reason| SealHostError { text: text.chars().take(NAME_BYTES_MAX).collect(), reason };
        if text.contains("://") || text.contains('/') {
            return Err(wrong("give the host alone, without a scheme and a path"));
        }
        if text.contains('*') {
            return Err(wrong("name each host, a pattern would let its other hosts have the value"));
        }
        if text.contains('@') {
            return Err(wrong("a user name does not belong here"));
        }
        if !text.is_ascii() {
            return Err(wrong("write an international name in its xn-- form"));
        }
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((inner, rest)) => {
                let address: Ipv6Addr =
                    inner.parse().map_err(|_| wrong("in the brackets is no IPv6 address"))?;
                (IpAddr::from(address).to_canonical().to_string(), rest)
            }
            None => {
                let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                if rest[rest.len().min(1)..].contains(':') {
                    return Err(wrong("an IPv6 address needs brackets"));
                }
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                let is_label = |label: &str| {
                    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                    (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(known)
                };
                if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
                    return Err(wrong("it is neither a name nor an address"));
                }
                (name, rest)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let port = digits.parse().ok().filter(|port: &u16| *port != 0);
                Some(port.ok_or_else(|| wrong("a port is a number from 1 to 65535"))?)
            }
            _ => return Err(wrong("a port is a number from 1 to 65535")),
        };
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for SealHost {
    type Error = SealHostError;

    fn try_from(text: String) -> Result<Self, SealHostError> {
        text.parse()
    }
}

impl From<SealHost> for String {
    fn from(host: SealHost) -> Self {
        host.to_string()
    }
}

impl fmt::Display for SealHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> SealHost {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn hosts_are_kept_in_canonical_form() {
        for (text, shown) in [
            ("API.Company.com", "api.company.com"),
            ("api.company.com.", "api.company.com"),
            ("api.company.com:8443", "api.company.com:8443"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[2606:4700:0:0::1111]:443", "[2606:4700::1111]:443"),
            ("[::ffff:10.0.0.1]", "10.0.0.1"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(host(text).to_string(), shown);
            assert_eq!(host(shown), host(text));
        }
    }

    #[test]
    fn what_names_no_single_host_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "https://a.example",
            "a.example/x",
            "*.a.example",
            "me@a.example",
            "bücher.example",
            "a.example:",
            "a.example:0",
            "a.example:65536",
            "a.example:+1",
            "a.example:8x",
            "::1",
            "[::1",
            "[::1]x",
            "[10.0.0.1]",
            "a b.example",
            "a.example\n",
        ] {
            assert!(text.parse::<SealHost>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn without_a_port_it_is_the_schemes_own() {
        let plain = host("api.example");
        assert!(plain.is("api.example", 443, true) && plain.is("api.example", 80, false));
        assert!(!plain.is("api.example", 8443, true) && !plain.is("api.example", 443, false));
        assert!(!plain.is("www.api.example", 443, true));
        let own = host("api.example:8443");
        assert!(own.is("api.example", 8443, true) && !own.is("api.example", 443, true));
    }

    #[test]
    fn a_seal_is_within_another_when_it_opens_nothing() {
        let wide = Seal { allow_http: true, ..Seal::to(vec![host("a.example"), host("b.example")]) };
        let narrow = Seal { places: vec![Place::Bearer], ..Seal::to(vec![host("a.example")]) };
        assert!(narrow.is_within(&wide) && wide.is_within(&wide));
        assert!(!wide.is_within(&narrow));
        let other_place = Seal { places: vec![Place::Query], ..narrow.clone() };
        let open = Seal { allow_http: true, ..narrow.clone() };
        let other_host = Seal { hosts: vec![host("c.example")], ..narrow.clone() };
        assert!([other_place, open, other_host].iter().all(|seal| !seal.is_within(&narrow)));
    }
}
