//! The headers of a request as its guest sees them.

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

/// The headers that a guest sees: lower-case names, the caller's order, without those of
/// the connection. A value that is not UTF-8 is read as Latin-1, byte by byte.
pub(super) fn for_guest(headers: &HeaderMap) -> Vec<(String, String)> {
    let has_connection = headers.contains_key(header::CONNECTION);
    let mut list = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        if is_of_connection(name) || has_connection && is_named_by_connection(headers, name) {
            continue;
        }
        list.push((name.as_str().to_owned(), text(value)));
    }
    list
}

/// Headers that belong to one connection (RFC 9110 section 7.6.1, RFC 9112), and
/// `expect`, which the host has acted upon.
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "expect"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn is_named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut values = headers.get_all(header::CONNECTION).iter();
    values.any(|value| {
        let mut names = value.as_bytes().split(|byte| *byte == b',');
        names.any(|named| named.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
    })
}

fn text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_sees_the_callers_headers_without_the_connections() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("Host", "a"),
            ("X-One", "1"),
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "gone"),
            ("Keep-Alive", "1"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Transfer-Encoding", "chunked"),
            ("Proxy-Authorization", "x"),
            ("Expect", "100-continue"),
            ("X-Two", "a"),
            ("X-Two", "b"),
            ("Content-Type", "application/json"),
        ] {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_static(value));
        }
        headers.append("x-utf8", HeaderValue::from_bytes("é".as_bytes()).unwrap());
        headers.append("x-latin", HeaderValue::from_bytes(b"\xe9").unwrap());
        let seen = for_guest(&headers);
        let seen: Vec<(&str, &str)> = seen.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("host", "a"),
                ("x-one", "1"),
                ("x-two", "a"),
                ("x-two", "b"),
                ("content-type", "application/json"),
                ("x-utf8", "é"),
                ("x-latin", "é"),
            ]
        );
    }
}
