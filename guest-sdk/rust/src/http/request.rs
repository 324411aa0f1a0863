//! A request on its way out.

use std::time::Duration;

use serde::Serialize;

use super::url::Url;
use super::{Error, Limits, Response};
use crate::Headers;
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{
    Fields, HeaderError, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};

/// A request that is being put together.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    limits: Limits,
    method: String,
    url: String,
    query: String,
    headers: Headers,
    body: Option<Vec<u8>>,
    failed: Option<serde_json::Error>,
}

impl RequestBuilder {
    pub(super) fn new(limits: Limits, method: String, url: String) -> Self {
        let (query, headers) = (String::new(), Headers::default());
        Self { limits, method, url, query, headers, body: None, failed: None }
    }

    /// Adds a header; a repeated name is sent repeatedly.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Adds a name and a value to the URL's query, escaped.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let mut pairs = form_urlencoded::Serializer::new(std::mem::take(&mut self.query));
        pairs.append_pair(name, value);
        self.query = pairs.finish();
        self
    }

    /// Makes this value the body, as JSON, and says so in the content type unless a
    /// header has set it.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => self.body_of_type("application/json", json),
            Err(error) => {
                self.failed = Some(error);
                self
            }
        }
    }

    /// Makes these names and values the body, as a form, and says so in the content
    /// type unless a header has set it.
    pub fn form<'pair>(self, pairs: impl IntoIterator<Item = (&'pair str, &'pair str)>) -> Self {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.body_of_type("application/x-www-form-urlencoded", form.into_bytes())
    }

    /// Makes these bytes the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// How long connecting may take.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.limits.connect_timeout = Some(timeout);
        self
    }

    /// How long the first byte of the response may take, once the request is sent.
    pub fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.limits.first_byte_timeout = Some(timeout);
        self
    }

    /// How long each further piece of the response's body may take.
    pub fn between_bytes_timeout(mut self, timeout: Duration) -> Self {
        self.limits.between_bytes_timeout = Some(timeout);
        self
    }

    /// Sends the request and waits for the response's status and headers. Its body is
    /// read from the response, as far as it is wanted.
    ///
    /// # Errors
    /// Everything that [`Error`] has for requests; [`Error::Exchange`] when the host
    /// refuses the destination, cannot reach it, or runs out of time.
    pub fn send(self) -> Result<Response, Error> {
        if let Some(error) = self.failed {
            return Err(Error::RequestJson(error));
        }
        let url = Url::parse(&self.url)?;
        let authority = url.authority;
        let options = options(&self.limits, authority)?;
        let length = self.body.as_ref().map(Vec::len);
        let request = OutgoingRequest::new(fields(&self.headers, length)?);
        request.set_method(&method(&self.method)).map_err(|()| Error::Method(self.method))?;
        let scheme = if url.https { Scheme::Https } else { Scheme::Http };
        request.set_scheme(Some(&scheme)).map_err(|()| Error::protocol(authority, "scheme"))?;
        let malformed = |()| Error::protocol(authority, "the URL is malformed");
        request.set_authority(Some(authority)).map_err(malformed)?;
        let target = with_query(url.path_with_query, &self.query);
        request.set_path_with_query(Some(&target)).map_err(malformed)?;

        let body = match self.body {
            Some(bytes) => {
                let body = request.body().map_err(|()| Error::protocol(authority, "the body is taken"))?;
                Some((body, bytes))
            }
            None => None,
        };
        let exchange =
            outgoing_handler::handle(request, options).map_err(|code| Error::exchange(authority, code))?;
        if let Some((body, bytes)) = body {
            send_body(body, &bytes, authority)?;
        }
        exchange.subscribe().block();
        let response = match exchange.get() {
            Some(Ok(response)) => response.map_err(|code| Error::exchange(authority, code))?,
            Some(Err(())) | None => return Err(Error::protocol(authority, "there is no response")),
        };
        Response::new(response, authority, self.limits.body_bytes_max)
    }

    fn body_of_type(mut self, content_type: &str, body: Vec<u8>) -> Self {
        if self.headers.get("content-type").is_none() {
            self.headers.append("content-type", content_type);
        }
        self.body(body)
    }
}

fn with_query(mut target: String, query: &str) -> String {
    if !query.is_empty() {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(query);
    }
    target
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn fields(headers: &Headers, length: Option<usize>) -> Result<Fields, Error> {
    let fields = Fields::new();
    let append = |name: &str, value: &str| {
        fields.append(name, value.as_bytes()).map_err(|error| {
            let problem = match error {
                HeaderError::InvalidSyntax => "invalid-syntax",
                HeaderError::Forbidden => "forbidden",
                HeaderError::Immutable => "immutable",
            };
            Error::Header { name: name.to_owned(), problem }
        })
    };
    for (name, value) in headers.iter() {
        append(name, value)?;
    }
    if let Some(length) = content_length(headers, length)? {
        append("content-length", &length)?;
    }
    Ok(fields)
}

/// The header to add for a body of this many bytes. Without one the host sends chunks,
/// which many a small server does not read; with a wrong one it cuts the body.
fn content_length(headers: &Headers, length: Option<usize>) -> Result<Option<String>, Error> {
    let Some(bytes) = length else { return Ok(None) };
    match headers.get("content-length") {
        None => Ok(Some(bytes.to_string())),
        Some(header) if header == bytes.to_string() => Ok(None),
        Some(header) => Err(Error::ContentLength { header: header.to_owned(), bytes }),
    }
}

fn options(limits: &Limits, authority: &str) -> Result<Option<RequestOptions>, Error> {
    let nanoseconds =
        |timeout: Option<Duration>| timeout.map(|t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
    let connect = nanoseconds(limits.connect_timeout);
    let first_byte = nanoseconds(limits.first_byte_timeout);
    let between_bytes = nanoseconds(limits.between_bytes_timeout);
    if connect.or(first_byte).or(between_bytes).is_none() {
        return Ok(None);
    }
    let options = RequestOptions::new();
    options
        .set_connect_timeout(connect)
        .and_then(|()| options.set_first_byte_timeout(first_byte))
        .and_then(|()| options.set_between_bytes_timeout(between_bytes))
        .map_err(|()| Error::protocol(authority, "the host does not take time-outs"))?;
    Ok(Some(options))
}

fn send_body(body: OutgoingBody, bytes: &[u8], authority: &str) -> Result<(), Error> {
    let stream = body.write().map_err(|()| Error::protocol(authority, "the body's stream is taken"))?;
    let written = write_all(&stream, bytes);
    // A child of the body: it must be gone before the body is.
    drop(stream);
    match written {
        Ok(()) => OutgoingBody::finish(body, None).map_err(|code| Error::exchange(authority, code)),
        // The server has heard enough: why is in its response, or in what became of it.
        Err(_) => Ok(()),
    }
}

fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let permitted = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if permitted == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = bytes.split_at(bytes.len().min(permitted));
        stream.write(now)?;
        bytes = later;
    }
    match stream.blocking_flush() {
        // All of it was taken before.
        Err(StreamError::Closed) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http;

    #[test]
    fn query_is_escaped_and_joins_the_urls_own() {
        let request = http::request("GET", "http://a.example").query("q", "a b&c").query("page", "2");
        assert_eq!(with_query("/".to_owned(), &request.query), "/?q=a+b%26c&page=2");
        assert_eq!(with_query("/?x=1".to_owned(), &request.query), "/?x=1&q=a+b%26c&page=2");
        assert_eq!(with_query("/?x=1".to_owned(), ""), "/?x=1");
    }

    #[test]
    fn bodies_say_their_type_unless_a_header_does() {
        let request = http::post("http://a.example").json(&json!({"a": 1}));
        assert_eq!(request.headers.get("content-type"), Some("application/json"));
        assert_eq!(request.body.as_deref(), Some(br#"{"a":1}"#.as_slice()));
        let request = http::post("http://a.example").header("Content-Type", "text/json").json(&1);
        assert_eq!(request.headers.get_all("content-type").collect::<Vec<_>>(), ["text/json"]);
        let request = http::post("http://a.example").form([("From", "+33 1"), ("To", "x")]);
        assert_eq!(request.body.as_deref(), Some(b"From=%2B33+1&To=x".as_slice()));
    }

    #[test]
    fn content_length_is_added_and_never_wrong() {
        let headers = |pairs: &[(&str, &str)]| {
            Headers::from(pairs.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect::<Vec<_>>())
        };
        assert_eq!(content_length(&headers(&[]), None).ok(), Some(None));
        assert_eq!(content_length(&headers(&[]), Some(5)).ok(), Some(Some("5".to_owned())));
        assert_eq!(content_length(&headers(&[("Content-Length", "5")]), Some(5)).ok(), Some(None));
        let error = content_length(&headers(&[("content-length", "3")]), Some(5)).expect_err("it is wrong");
        assert_eq!(error.to_string(), "the header content-length is \"3\", and the body has 5 bytes");
    }

    #[test]
    fn what_cannot_be_sent_is_known_before_the_host_is_asked() {
        let map = std::collections::HashMap::from([((1, 2), 3)]);
        let error = http::post("http://a.example").json(&map).send().err();
        assert!(matches!(error, Some(Error::RequestJson(_))), "{error:?}");
        let error = http::get("localhost:8080").err();
        assert!(matches!(error, Some(Error::Url(_))), "{error:?}");
    }
}
