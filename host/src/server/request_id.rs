//! The name of one request, for a caller's report and the host's log.

use hyper::HeaderMap;
use hyper::header::HeaderValue;

/// The header that carries it, in both directions.
pub(super) const HEADER: &str = "x-request-id";
/// Longest id that is taken over from a caller.
const BYTES_MAX: usize = 64;

/// 1 to 64 letters, digits, `-`, `_`, `.`, `:` or `/`.
#[derive(Debug, Clone)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's id when it sent a usable one, else a new one: 64 random bits in
    /// hexadecimal.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(HEADER) {
            Some(value) if is_usable(value.as_bytes()) => Self(value.clone()),
            _ => Self::random(),
        }
    }

    /// A new id, for a request that cannot be read.
    pub(super) fn random() -> Self {
        let mut text = [0; 16];
        data_encoding::HEXLOWER.encode_mut(&rand::random::<[u8; 8]>(), &mut text);
        Self(HeaderValue::from_bytes(&text).expect("hexadecimal digits are a header value"))
    }

    /// The id as text.
    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().expect("an id is ASCII: it was checked or made here")
    }

    /// The id as the value of [`HEADER`].
    pub(super) fn into_header(self) -> HeaderValue {
        self.0
    }
}

fn is_usable(id: &[u8]) -> bool {
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(byte);
    !id.is_empty() && id.len() <= BYTES_MAX && id.iter().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sent: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(sent).unwrap());
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_is_replaced() {
        let longest = "a".repeat(64);
        for sane in ["a", "req_1.2:3/4-5", longest.as_str()] {
            assert_eq!(of(sane.as_bytes()), sane);
        }
        let too_long = "a".repeat(65);
        for odd in [b"" as &[u8], b"a b", b"<x>", b"\"", b"\xe9", too_long.as_bytes()] {
            let made = of(odd);
            assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()).as_str(), RequestId::of(&HeaderMap::new()).as_str());
    }
}
