//! Whether a workflow's own list lets a request out.

use http::{Method, Uri};

use super::refusal::{Reason, Refusal};
use super::target::{Host, Target};
use crate::workflow::Destination;

/// How often a path is decoded until it has to stay the same: servers and the proxies in
/// front of them may each do it once.
const DECODINGS_MAX: usize = 4;

/// Whether one of these destinations is the request's.
///
/// # Errors
/// None is.
pub(super) fn check(
    list: &[Destination],
    target: &Target,
    method: &Method,
    uri: &Uri,
) -> Result<(), Refusal> {
    if list.iter().any(|one| is_host(one, target) && is_use(one, method, uri.path())) {
        return Ok(());
    }
    Err(Refusal::new(Reason::NotListed))
}

fn is_host(one: &Destination, target: &Target) -> bool {
    let port = one.port.unwrap_or(if target.is_tls { 443 } else { 80 });
    let is_host = match &target.host {
        Host::Address(address) => {
            one.host.parse::<std::net::IpAddr>().is_ok_and(|listed| listed.to_canonical() == *address)
        }
        Host::Name(name) => match one.host.strip_prefix('*') {
            // What is left begins with the dot.
            Some(suffix) => name.strip_suffix(suffix).is_some_and(|labels| !labels.is_empty()),
            None => one.host == **name,
        },
    };
    is_host && port == target.port
}

fn is_use(one: &Destination, method: &Method, path: &str) -> bool {
    let is_method = one.methods.is_empty() || one.methods.iter().any(|listed| listed == method.as_str());
    is_method && one.path_prefix.as_deref().is_none_or(|prefix| prefix == "/" || is_below(path, prefix))
}

/// Whether a path is at or below a prefix, however its server reads it.
fn is_below(path: &str, prefix: &str) -> bool {
    let begins = match path.strip_prefix(prefix) {
        Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
        None => false,
    };
    begins && !climbs(path)
}

/// Whether a path has a segment `..` in any reading of it: encoded, encoded twice, with a
/// parameter behind it, with the other slash. One that never stops changing counts as one.
fn climbs(path: &str) -> bool {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..DECODINGS_MAX {
        let mut segments = bytes.split(|byte| matches!(byte, b'/' | b'\\'));
        if segments.any(|segment| segment.split(|byte| *byte == b';').next() == Some(&b".."[..])) {
            return true;
        }
        let decoded = decoded(&bytes);
        if decoded == bytes {
            return false;
        }
        bytes = decoded;
    }
    true
}

/// The bytes with each `%XX` as the byte that it stands for.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).filter(|_| *first == b'%');
        let pair = pair.and_then(|pair| data_encoding::HEXLOWER_PERMISSIVE.decode(pair).ok());
        match pair.as_deref() {
            Some([byte]) => {
                out.push(*byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::egress::allow::AllowList;

    fn one(host: &str) -> Destination {
        let host = host.to_owned();
        Destination { host, port: None, methods: Vec::new(), path_prefix: None }.checked().unwrap()
    }

    fn is_let_out(list: &[Destination], method: &str, url: &str) -> bool {
        let uri: Uri = url.parse().unwrap();
        let target = Target::parse(&uri, &AllowList::default()).unwrap();
        check(list, &target, &method.parse().unwrap(), &uri).is_ok()
    }

    #[test]
    fn hosts_and_ports_are_those_that_are_listed() {
        let list = [one("api.example.com"), one("*.hrflow.ai"), one("93.184.215.14"), one("2606:4700::1")];
        for url in [
            "https://api.example.com/x",
            "http://API.example.com.",
            "https://a.hrflow.ai",
            "https://a.b.HRFLOW.ai/",
            "https://93.184.215.14",
            "https://[2606:4700::1]",
        ] {
            assert!(is_let_out(&list, "GET", url), "{url}");
        }
        for url in [
            "https://api.example.com:8443",
            "http://api.example.com:443",
            "https://api.example.com:80",
            "https://hrflow.ai",
            "https://evilhrflow.ai",
            "https://hrflow.ai.evil.example",
            "https://x.api.example.com",
            "https://example.com",
            "https://93.184.215.15",
        ] {
            assert!(!is_let_out(&list, "GET", url), "{url}");
        }
        let port = [Destination { port: Some(8443), ..one("api.example.com") }];
        assert!(is_let_out(&port, "GET", "https://api.example.com:8443"));
        assert!(is_let_out(&port, "GET", "http://api.example.com:8443"));
        assert!(!is_let_out(&port, "GET", "https://api.example.com"));
        assert!(!is_let_out(&[], "GET", "https://api.example.com"), "an empty list lets nothing out");
    }

    #[test]
    fn methods_are_those_that_are_listed() {
        let list = [Destination { methods: vec!["GET".to_owned(), "HEAD".to_owned()], ..one("a.example") }];
        assert!(
            is_let_out(&list, "GET", "https://a.example") && is_let_out(&list, "HEAD", "https://a.example")
        );
        for method in ["POST", "get", "GETX"] {
            assert!(!is_let_out(&list, method, "https://a.example"), "{method}");
        }
    }

    #[test]
    fn prefix_holds_by_segment_however_the_path_is_written() {
        let below = |prefix: &str, path: &str| {
            let list = [Destination { path_prefix: Some(prefix.to_owned()), ..one("a.example") }];
            is_let_out(&list, "GET", &format!("https://a.example{path}"))
        };
        for path in ["/v1", "/v1/", "/v1/x?y=/../z", "/v1?x", "/v1/..x/y", "/v1/x..", "/v1/%2f", "/v1/..."] {
            assert!(below("/v1", path), "{path}");
        }
        assert!(below("/v1/", "/v1/x") && !below("/v1/", "/v1"));
        assert!(below("/", "/a/../b"), "all is below the root");
        for path in [
            "/",
            "/v10",
            "/V1",
            "/v2",
            "/x/v1",
            "//v1",
            "/v1/../admin",
            "/v1/..",
            "/v1/x/../../admin",
            "/v1/%2e%2e/admin",
            "/v1/%2E./admin",
            "/v1/..%2fadmin",
            "/v1/%252e%252e/admin",
            "/v1/..%5cadmin",
            "/v1/%2e%2e%2fadmin",
            "/v1/..;/admin",
            "/v1/..;a=b/admin",
            "/v1/%25252e%25252e/admin",
            "/v1/%2525252525252e./admin",
        ] {
            assert!(!below("/v1", path), "{path}");
        }
    }
}
