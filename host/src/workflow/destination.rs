//! Where a workflow's requests may go.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most destinations of one workflow.
pub const DESTINATIONS_MAX: usize = 64;
/// Longest path prefix, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// Longest name of a host, in bytes (RFC 1035, 2.3.4, as text).
const HOST_BYTES_MAX: usize = 253;

/// A destination that a workflow's requests may go to. What none of its destinations
/// allows is refused; what one allows is still held to the host's rules for addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// A host name or an address (IPv6 without brackets); `*.` in front stands for one or
    /// more further labels: `*.example.com` is not `example.com`.
    pub host: String,
    /// The port; left out, 443 for `https` and 80 for `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Methods in upper case; left out or empty, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What the path begins with, by whole segments: `/v1` is `/v1` and `/v1/x`, not
    /// `/v10`. Paths with `..` in them, however encoded, go nowhere then. Left out, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
}

/// Why a destination is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// The host is none.
    #[error("is not a host name or an address, with or without *. in front")]
    Host,
    /// Port 0.
    #[error("has port 0, which does not exist")]
    Port,
    /// A method is none.
    #[error("has a method that is none, in upper case")]
    Method,
    /// The prefix is none.
    #[error("has a path_prefix that does not begin with / or has ?, #, %, \\ or .. in it")]
    Path,
}

impl Destination {
    /// The destination in canonical form: the host in lower case, without a final dot.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checked(mut self) -> Result<Self, DestinationError> {
        let host = self.host.strip_suffix('.').unwrap_or(&self.host).to_ascii_lowercase();
        let name = host.strip_prefix("*.").unwrap_or(&host);
        let is_label = |label: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(known)
        };
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        let is_name = name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label);
        if !is_address && !is_name {
            return Err(DestinationError::Host);
        }
        if self.port == Some(0) {
            return Err(DestinationError::Port);
        }
        let is_method = |text: &String| {
            text.parse::<http::Method>().is_ok() && !text.bytes().any(|byte| byte.is_ascii_lowercase())
        };
        if !self.methods.iter().all(is_method) {
            return Err(DestinationError::Method);
        }
        if let Some(prefix) = &self.path_prefix
            && (!prefix.starts_with('/')
                || prefix.len() > PATH_BYTES_MAX
                || prefix.contains("..")
                || prefix.contains(['?', '#', '%', '\\'])
                || prefix.bytes().any(|byte| !byte.is_ascii_graphic()))
        {
            return Err(DestinationError::Path);
        }
        self.host = host;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(change: impl FnOnce(&mut Destination)) -> Result<Destination, DestinationError> {
        let mut destination = Destination {
            host: "api.example".to_owned(),
            port: None,
            methods: Vec::new(),
            path_prefix: None,
        };
        change(&mut destination);
        destination.checked()
    }

    #[test]
    fn hosts_are_names_patterns_and_addresses() {
        for (host, canonical) in [
            ("API.Example.", "api.example"),
            ("*.Example.com", "*.example.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("fd00::1", "fd00::1"),
            ("crm", "crm"),
        ] {
            assert_eq!(checked(|one| one.host = host.to_owned()).unwrap().host, canonical);
        }
        let long = "a".repeat(64);
        for host in [
            "",
            "*",
            "*.",
            "a.*.b",
            "*a.b",
            "https://a.b",
            "a.b:80",
            "a b",
            "a/b",
            "[::1]",
            "é.example",
            &long,
        ] {
            assert_eq!(checked(|one| one.host = host.to_owned()), Err(DestinationError::Host), "{host}");
        }
    }

    #[test]
    fn ports_methods_and_prefixes_are_what_requests_have() {
        assert_eq!(checked(|one| one.port = Some(0)), Err(DestinationError::Port));
        assert!(checked(|one| one.methods = vec!["GET".to_owned(), "M-SEARCH".to_owned()]).is_ok());
        for method in ["get", "", "A B"] {
            assert_eq!(checked(|one| one.methods = vec![method.to_owned()]), Err(DestinationError::Method));
        }
        for prefix in ["/", "/v1", "/v1/", "/a.b/~c"] {
            assert!(checked(|one| one.path_prefix = Some(prefix.to_owned())).is_ok(), "{prefix}");
        }
        for prefix in ["", "v1", "/a?b", "/a#b", "/%2e", "/a/../b", "/a b", "/\\a"] {
            let wrong = checked(|one| one.path_prefix = Some(prefix.to_owned()));
            assert_eq!(wrong, Err(DestinationError::Path), "{prefix}");
        }
    }
}
