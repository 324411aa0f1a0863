//! The request that a catch workflow answers.

use std::borrow::Cow;

use serde::Deserialize;

use crate::Headers;
use crate::bindings::tidegate::workflow::types as host;

/// The HTTP request that a catch workflow answers.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Headers,
    body: Vec<u8>,
}

/// Why a body is not what was asked for.
///
/// Returned with `?` it fails the run; to tell the caller instead, answer with a reply
/// of status 400.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body is not UTF-8.
    #[error("the body is not valid UTF-8")]
    Text(#[from] std::str::Utf8Error),
    /// The body is not JSON, or not of the wanted form.
    #[error("the body is not the JSON that was expected")]
    Json(#[from] serde_json::Error),
}

impl Request {
    /// A request without headers and body, for tests of a handler. `target` is the path
    /// and, behind `?`, the query.
    ///
    /// ```
    /// # use tidegate_guest::Request;
    /// let request = Request::new("POST", "/orders?dry-run=1")
    ///     .with_header("content-type", "application/json")
    ///     .with_body(r#"{"id": 7}"#);
    /// assert_eq!(request.path(), "/orders");
    /// ```
    pub fn new(method: impl Into<String>, target: impl Into<String>) -> Self {
        let (method, target) = (method.into(), target.into());
        Self { method, target, headers: Headers::default(), body: Vec::new() }
    }

    /// The same request with one header more, for tests of a handler.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The same request with this body, for tests of a handler.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn from_host(request: host::Request) -> Self {
        let host::Request { method, path_with_query: target, headers, body } = request;
        Self { method, target, headers: headers.into(), body }
    }

    /// The method in upper case, for example `POST`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path without the query, as the caller sent it: escapes are not decoded.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&*self.target, |(path, _)| path)
    }

    /// The query as the caller sent it, without the `?`. None if there was no `?`.
    pub fn query_text(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The query's names and values, decoded, in order.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query_text().unwrap_or_default().as_bytes())
    }

    /// The first value of this name in the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    }

    /// The headers, in the caller's order. The host removed those that concern the
    /// connection alone.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The value of the first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The untouched body: what a signature was computed over.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The untouched body, moved out.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// The body as text.
    ///
    /// # Errors
    /// [`BodyError::Text`] if it is not UTF-8.
    pub fn text(&self) -> Result<&str, BodyError> {
        Ok(std::str::from_utf8(&self.body)?)
    }

    /// The body read as JSON, whatever its content type says.
    ///
    /// # Errors
    /// [`BodyError::Json`] if it is not JSON or does not have the form of `T`; its
    /// source names line and column.
    pub fn json<'body, T: Deserialize<'body>>(&'body self) -> Result<T, BodyError> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The fields of a body of the type `application/x-www-form-urlencoded`, decoded,
    /// in order. Any other body gives nonsense.
    pub fn form(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_splits_into_path_and_decoded_query() {
        let request = Request::new("GET", "/a%20b?name=J%C3%BCrgen+M&tag=1&tag=2&empty=");
        assert_eq!(request.path(), "/a%20b");
        assert_eq!(request.query_value("name").as_deref(), Some("Jürgen M"));
        assert_eq!(request.query_value("tag").as_deref(), Some("1"));
        assert_eq!(request.query_value("empty").as_deref(), Some(""));
        assert_eq!(request.query_value("none"), None);
        assert_eq!(request.query().count(), 4);
        assert_eq!(Request::new("GET", "/").query_text(), None);
    }

    #[test]
    fn body_reads_as_text_json_and_form() {
        let request = Request::new("POST", "/").with_header("X-One", "1").with_body("[1, 2]");
        assert_eq!(request.header("x-one"), Some("1"));
        assert_eq!(request.text().ok(), Some("[1, 2]"));
        assert_eq!(request.json::<Vec<u8>>().ok(), Some(vec![1, 2]));
        assert!(matches!(request.json::<String>(), Err(BodyError::Json(_))));
        let request = request.with_body("a=1&b=%26");
        let form: Vec<_> = request.form().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(form, ["a:1", "b:&"]);
        assert!(matches!(request.with_body(vec![0xff]).text(), Err(BodyError::Text(_))));
    }
}
