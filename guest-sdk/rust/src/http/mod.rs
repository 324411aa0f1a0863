//! HTTP requests to the world outside, through the host.
//!
//! ```no_run
//! # use tidegate_guest::{http, serde_json::{json, Value}};
//! # fn example() -> tidegate_guest::Result<()> {
//! let page: Value = http::get("https://api.example.com/jobs?page=1")?.error_for_status()?.json()?;
//!
//! let answer = http::post("https://api.example.com/jobs")
//!     .header("x-api-key", "...")
//!     .json(&json!({"title": "Pilot"}))
//!     .send()?;
//! println!("{} {}", answer.status(), answer.header("location").unwrap_or("nowhere"));
//! # Ok(())
//! # }
//! ```
//!
//! A reply with a status of 400 or more is no error until
//! [`error_for_status`](Response::error_for_status) makes it one. Redirects are not
//! followed. The host decides which destinations may be reached, and records each
//! exchange in the run.

mod error;
mod request;
mod response;
mod url;

use std::time::Duration;

pub use error::Error;
pub use request::RequestBuilder;
pub use response::Response;
pub use url::UrlError;

/// How many bytes of a response's body are read unless a client says otherwise.
pub const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How requests are sent. The functions of this module use [`Client::new`].
///
/// The host sets an upper bound to every time-out, and cuts all of them at the run's
/// deadline.
#[derive(Debug, Clone)]
pub struct Client {
    limits: Limits,
}

#[derive(Debug, Clone)]
struct Limits {
    connect_timeout: Option<Duration>,
    first_byte_timeout: Option<Duration>,
    between_bytes_timeout: Option<Duration>,
    body_bytes_max: u64,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client with the host's time-outs, which reads bodies of up to
    /// [`BODY_BYTES_MAX`] bytes.
    pub fn new() -> Self {
        Self {
            limits: Limits {
                connect_timeout: None,
                first_byte_timeout: None,
                between_bytes_timeout: None,
                body_bytes_max: BODY_BYTES_MAX,
            },
        }
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

    /// How many bytes of a response's body are read before it is an error.
    pub fn body_bytes_max(mut self, bytes: u64) -> Self {
        self.limits.body_bytes_max = bytes;
        self
    }

    /// A request with any method. The URL is checked when it is sent.
    pub fn request(&self, method: impl Into<String>, url: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(self.limits.clone(), method.into(), url.into())
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// See [`RequestBuilder::send`].
    pub fn get(&self, url: impl Into<String>) -> Result<Response, Error> {
        self.request("GET", url).send()
    }

    /// A POST request, to be given a body and sent.
    pub fn post(&self, url: impl Into<String>) -> RequestBuilder {
        self.request("POST", url)
    }
}

/// Sends a GET request.
///
/// # Errors
/// See [`RequestBuilder::send`].
pub fn get(url: impl Into<String>) -> Result<Response, Error> {
    Client::new().get(url)
}

/// A POST request, to be given a body and sent.
pub fn post(url: impl Into<String>) -> RequestBuilder {
    Client::new().post(url)
}

/// A request with any method, to be given headers and a body and sent.
pub fn request(method: impl Into<String>, url: impl Into<String>) -> RequestBuilder {
    Client::new().request(method, url)
}
