//! Requests whose head cannot be read, and what they are answered.
//!
//! There is no request to hand to a service then: hyper writes an answer of its own,
//! without a body, and knows nothing of a head that takes too long. The [`super::wire`]
//! puts ours in their place, so that every refusal has the same form and is counted.

use std::time::Duration;

use http_body::Body as _;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::body::ReplyBody;
use super::framing::FramingError;
use super::reply::Problem;
use super::request_id::{self, RequestId};

/// Why a head was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    /// hyper could not parse it.
    #[error("the request's head is not HTTP/1.1")]
    Malformed,
    /// It has another fault than hyper looks for.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// Too many bytes or headers.
    #[error("the request's head is over the limit of {bytes_max} bytes or of {headers_max} headers")]
    TooLarge {
        /// The limit of its bytes.
        bytes_max: usize,
        /// The limit of its headers.
        headers_max: usize,
    },
    /// The path with its query is too long.
    #[error("the request's target is too long")]
    Target,
    /// It is not read: its address has as many connections as it may have.
    #[error("there are too many connections from this address")]
    Connections,
    /// It did not come in time.
    #[error("the request's head did not come within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// The status of hyper's own answer, if these bytes are one: a head with these headers
/// and no others. Every answer of a service has [`request_id::HEADER`].
pub(super) fn status_of_own_answer(bytes: &[u8]) -> Option<StatusCode> {
    const BYTES_MAX: usize = 256;
    let rest = bytes.strip_prefix(b"HTTP/1.1 4").filter(|_| bytes.len() <= BYTES_MAX)?;
    let head = std::str::from_utf8(rest.strip_suffix(b"\r\n\r\n")?).ok()?;
    let mut lines = head.split("\r\n");
    let status = StatusCode::from_bytes(format!("4{}", lines.next()?.get(..2)?).as_bytes()).ok()?;
    let mut is_empty = false;
    for line in lines {
        match line.split_once(": ")? {
            ("content-length", "0") => is_empty = true,
            ("connection", "close") | ("date", _) => {}
            _ => return None,
        }
    }
    is_empty.then_some(status)
}

/// The whole answer, after which the connection is closed: where the next request would
/// begin is not known.
pub(super) fn answer(error: &HeadError) -> (StatusCode, Vec<u8>) {
    let request_id = RequestId::random();
    let response = Problem::from(error).response(&request_id);
    let status = response.status();
    (status, bytes(response, request_id))
}

fn bytes(mut response: Response<ReplyBody>, request_id: RequestId) -> Vec<u8> {
    let status = response.status();
    let length = response.body().size_hint().exact().unwrap_or(0);
    let headers = response.headers_mut();
    headers.insert(request_id::HEADER, request_id.into_header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    if let Some(date) = date.ok().and_then(|date| HeaderValue::try_from(date).ok()) {
        headers.insert(header::DATE, date);
    }
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    if let ReplyBody::Bytes(Some(body)) = response.into_body() {
        bytes.extend_from_slice(&body);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypers_answer_is_known_and_nothing_else_is_taken_for_it() {
        let date = "date: Sun, 22 Nov 2026 09:00:00 GMT";
        let own = format!(
            "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n{date}\r\n\r\n"
        );
        assert_eq!(status_of_own_answer(own.as_bytes()).map(|status| status.as_u16()), Some(431));
        for other in [
            own.replace("431", "200"),
            own.replace("content-length: 0", "content-length: 1"),
            own.replace("content-length: 0\r\n", ""),
            own.replace("connection: close", "x-request-id: 1"),
            format!("{own}HTTP/1.1 400 Bad Request\r\n\r\n"),
            format!("x{own}"),
            own.replace("\r\n\r\n", "\r\n"),
            "HTTP/1.1 4".to_owned(),
            String::new(),
        ] {
            assert_eq!(status_of_own_answer(other.as_bytes()), None, "{other:?}");
        }
        let ours = answer(&HeadError::Malformed).1;
        assert_eq!(status_of_own_answer(&ours), None);
    }

    #[test]
    fn an_answer_is_one_whole_response() {
        let (status, bytes) = answer(&HeadError::TimedOut(Duration::from_secs(10)));
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!((status.as_u16(), head.lines().next()), (408, Some("HTTP/1.1 408 Request Timeout")));
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        assert_eq!(value("content-length: "), body.len().to_string());
        assert_eq!((value("connection: "), value("tidegate-fault: ")), ("close", "caller"));
        assert!(value("date: ").ends_with(" GMT"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["message"], "the request's head did not come within 10000 ms");
        assert_eq!(body["request_id"], value("x-request-id: "));
    }
}
