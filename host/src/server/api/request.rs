//! A request that is written down, for a test run or a replay, as its guest gets it.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use serde_json::Value;

use super::ApiError;
use crate::api::TestRequest;
use crate::engine::Request;
use crate::server::headers;

/// The request that is described.
///
/// # Errors
/// The field that is wrong.
pub(in crate::server) fn written(test: TestRequest, body_bytes_max: usize) -> Result<Request, ApiError> {
    let TestRequest { method, path, headers, body, body_base64 } = test;
    let method = method.unwrap_or_else(|| "POST".to_owned()).to_uppercase();
    if hyper::Method::from_bytes(method.as_bytes()).is_err() {
        return Err(field("method", format!("{method:?} is not a method")));
    }
    let mut headers = header_map(&headers)?;
    let body = match (body, body_base64) {
        (None, None) => Bytes::new(),
        (Some(Value::String(text)), None) => Bytes::from(text),
        (Some(json), None) => {
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            Bytes::from(json.to_string())
        }
        (None, Some(base64)) => {
            let bytes = data_encoding::BASE64.decode(base64.as_bytes());
            bytes.map_err(|error| field("body_base64", format!("is not base64: {error}")))?.into()
        }
        (Some(_), Some(_)) => return Err(field("body_base64", "give this or `body`, not both".to_owned())),
    };
    if body.len() > body_bytes_max {
        let reason =
            format!("has {} bytes, more than the limit of {body_bytes_max} for requests", body.len());
        return Err(field("body", reason));
    }
    let path_with_query = path_with_query(path)?;
    Ok(Request { method, path_with_query, headers: headers::for_guest(&headers), body })
}

fn field(field: &'static str, reason: String) -> ApiError {
    ApiError::Field { field, reason }
}

fn header_map(list: &BTreeMap<String, String>) -> Result<HeaderMap, ApiError> {
    let mut map = HeaderMap::with_capacity(list.len());
    for (name, value) in list {
        let wrong = |what: &str| field("headers", format!("{name:?} {what}"));
        let name = HeaderName::try_from(name).map_err(|_| wrong("is not a header's name"))?;
        let value = HeaderValue::try_from(value).map_err(|_| wrong("has a value with control characters"))?;
        map.append(name, value);
    }
    Ok(map)
}

fn path_with_query(path: Option<String>) -> Result<String, ApiError> {
    let Some(path) = path else { return Ok("/".to_owned()) };
    let valid = path.starts_with('/') && path.parse::<PathAndQuery>().is_ok();
    valid
        .then(|| path.clone())
        .ok_or_else(|| field("path", format!("{path:?} is not a path that begins with /")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(json: &str) -> Result<Request, String> {
        written(serde_json::from_str(json).unwrap(), 100).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let request = from("{}").unwrap();
        assert_eq!((request.method.as_str(), request.path_with_query.as_str()), ("POST", "/"));
        assert!(request.headers.is_empty() && request.body.is_empty());
    }

    #[test]
    fn a_body_is_json_unless_it_is_a_text() {
        let request =
            from(r#"{"body": {"b": 1.50, "a": [null]}, "headers": {"X-A": "1", "Connection": "close"}}"#);
        let request = request.unwrap();
        assert_eq!(request.body, r#"{"b":1.5,"a":[null]}"#);
        let headers = [("x-a", "1"), ("content-type", "application/json")];
        assert_eq!(request.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));

        let request = from(
            r#"{"body": "a=b", "headers": {"Content-Type": "text/x"}, "path": "/p?q=1", "method": "put"}"#,
        );
        let request = request.unwrap();
        assert_eq!((&request.body[..], request.method.as_str()), (&b"a=b"[..], "PUT"));
        assert_eq!(request.headers, [("content-type".to_owned(), "text/x".to_owned())]);
        assert_eq!(request.path_with_query, "/p?q=1");

        assert_eq!(from(r#"{"body_base64": "/wA="}"#).unwrap().body, &b"\xff\0"[..]);
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        for (json, message) in [
            (r#"{"method": "a b"}"#, "method: \"A B\" is not a method"),
            (r#"{"path": "x"}"#, "path: \"x\" is not a path that begins with /"),
            (r#"{"path": "/a b"}"#, "path: \"/a b\" is not a path that begins with /"),
            (r#"{"headers": {"a b": "c"}}"#, "headers: \"a b\" is not a header's name"),
            (r#"{"headers": {"a": "b\r\nc: d"}}"#, "headers: \"a\" has a value with control characters"),
            (r#"{"body_base64": "%"}"#, "body_base64: is not base64: invalid length at 0"),
            (r#"{"body": 1, "body_base64": ""}"#, "body_base64: give this or `body`, not both"),
        ] {
            assert_eq!(from(json).err().as_deref(), Some(message), "{json}");
        }
        let body = |bytes: usize| from(&format!(r#"{{"body": "{}"}}"#, "x".repeat(bytes)));
        assert!(body(100).is_ok());
        assert_eq!(body(101).err().unwrap(), "body: has 101 bytes, more than the limit of 100 for requests");
    }
}
