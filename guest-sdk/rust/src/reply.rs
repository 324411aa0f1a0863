//! What a catch workflow answers.

use serde::Serialize;
use serde_json::Value;

use crate::Headers;
use crate::bindings::tidegate::workflow::types as host;

/// The HTTP response of a catch workflow.
///
/// ```
/// # use tidegate_guest::{Reply, serde_json::json};
/// Reply::new(201).header("location", "/orders/7").json(&json!({"id": 7}));
/// Reply::ok().text("hello");
/// Reply::new(204).bytes("text/plain", []);
/// ```
///
/// Without a body the host sends its default one, `{"run": "<id>", "status": "succeeded"}`.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    headers: Headers,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    /// Sent unless a header of the reply says it.
    content_type: String,
    bytes: Result<Vec<u8>, serde_json::Error>,
}

impl Reply {
    /// A reply with this status, without headers and body. The host accepts 200 to 599.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Headers::default(), body: None }
    }

    /// A reply with status 200.
    pub fn ok() -> Self {
        Self::new(200)
    }

    /// Adds a header; a repeated name is sent repeatedly. The host drops names that
    /// belong to the connection or to the framing, `content-length` for example.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Makes this value the body, as JSON.
    ///
    /// A value that JSON cannot hold, such as a map whose keys are no text, fails the
    /// run once the handler has returned the reply.
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Self {
        self.body("application/json", serde_json::to_vec(value))
    }

    /// Makes this text the body, as `text/plain; charset=utf-8`.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.body("text/plain; charset=utf-8", Ok(text.into().into_bytes()))
    }

    /// Makes these bytes the body, of this content type unless a header names another.
    pub fn bytes(self, content_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.body(content_type, Ok(bytes.into()))
    }

    fn body(mut self, content_type: impl Into<String>, bytes: Result<Vec<u8>, serde_json::Error>) -> Self {
        self.body = Some(Body { content_type: content_type.into(), bytes });
        self
    }

    /// The status, for tests of a handler.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The headers that were set, for tests of a handler. The content type is among them
    /// only if [`header`](Self::header) set it.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body, for tests of a handler. None if there is none or it could not be
    /// serialised.
    pub fn body_bytes(&self) -> Option<&[u8]> {
        self.body.as_ref().and_then(|body| body.bytes.as_deref().ok())
    }

    pub(crate) fn into_host(self) -> Result<host::Reply, serde_json::Error> {
        let Self { status, mut headers, body } = self;
        let body = match body {
            Some(Body { content_type, bytes }) => {
                if headers.get("content-type").is_none() {
                    headers.append("content-type", content_type);
                }
                Some(bytes?)
            }
            None => None,
        };
        Ok(host::Reply { status, headers: headers.into_pairs(), body })
    }
}

/// What a handler of requests may return.
pub trait IntoReply {
    /// The reply; none asks for the host's default one.
    fn into_reply(self) -> Option<Reply>;
}

impl IntoReply for Reply {
    fn into_reply(self) -> Option<Reply> {
        Some(self)
    }
}

/// The host's default reply.
impl IntoReply for () {
    fn into_reply(self) -> Option<Reply> {
        None
    }
}

/// The host's default reply for `None`.
impl<R: IntoReply> IntoReply for Option<R> {
    fn into_reply(self) -> Option<Reply> {
        self.and_then(IntoReply::into_reply)
    }
}

/// Status 200 and this value as JSON.
impl IntoReply for Value {
    fn into_reply(self) -> Option<Reply> {
        Some(Reply::ok().json(&self))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn body_sets_its_content_type_unless_a_header_does() {
        let reply = Reply::ok().json(&json!({"a": 1})).into_host().expect("it is JSON");
        assert_eq!(reply.headers, [("content-type".to_owned(), "application/json".to_owned())]);
        assert_eq!(reply.body.as_deref(), Some(br#"{"a":1}"#.as_slice()));

        let reply = Reply::new(422).json(&[1]).header("Content-Type", "application/problem+json");
        let reply = reply.into_host().expect("it is JSON");
        assert_eq!(reply.status, 422);
        assert_eq!(reply.headers, [("Content-Type".to_owned(), "application/problem+json".to_owned())]);
    }

    #[test]
    fn empty_body_is_not_the_default_body() {
        assert_eq!(Reply::ok().text("").into_host().expect("it is text").body, Some(Vec::new()));
        let reply = Reply::new(204).into_host().expect("there is nothing to serialise");
        assert_eq!((reply.body, reply.headers.len()), (None, 0));
    }

    #[test]
    fn value_that_json_cannot_hold_is_an_error_at_the_end() {
        let reply = Reply::ok().json(&HashMap::from([((1, 2), 3)]));
        assert_eq!(reply.body_bytes(), None);
        assert!(reply.into_host().is_err());
    }

    #[test]
    fn other_values_become_replies() {
        assert!(().into_reply().is_none());
        assert!(None::<Reply>.into_reply().is_none());
        let reply = json!([true]).into_reply().expect("a value is a body");
        assert_eq!((reply.status(), reply.body_bytes()), (200, Some(b"[true]".as_slice())));
    }
}
