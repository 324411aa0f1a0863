//! The management API, as the commands call it.
//!
//! Every call has a time limit and every answer a size limit. What the host refuses
//! becomes a [`Failure`] with the host's own words, its findings and its hint.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::{Agent, AsSendBody, Body};

use super::address::{Address, FoundIn, is_alive};
use super::env::Environment;
use super::error::{Failure, Result};
use crate::api::ErrorBody;

/// Time for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Time for a call that only reads or changes metadata.
const CALL_MAX: Duration = Duration::from_secs(30);
/// Time for a call that compiles or runs something; the host's own limits end it first.
const WORK_MAX: Duration = Duration::from_secs(15 * 60);
/// Silence on the event stream after which it counts as broken.
const EVENT_SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Uploads over this size ask first whether they will be taken.
const ASK_FIRST_BYTES: usize = 1 << 20;

/// A call that the host refused.
#[derive(Debug, thiserror::Error)]
#[error("{}", body.message)]
pub(crate) struct Refused {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// What the host said.
    pub(crate) body: ErrorBody,
}

impl Failure {
    /// The host's refusal, when that is what this failure is.
    pub(crate) fn refused(&self) -> Option<&Refused> {
        self.error.downcast_ref()
    }

    /// Whether the host said that there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        self.refused().is_some_and(|refused| refused.status == StatusCode::NOT_FOUND)
    }
}

/// One host.
pub(crate) struct Client {
    /// Where it is, and by which right it is used.
    pub(crate) address: Address,
    agent: Agent,
    call_max: Duration,
}

impl Client {
    /// The host that the environment means. Connects to nothing yet.
    ///
    /// # Errors
    /// As [`Address::find`].
    pub(crate) fn find(env: &Environment) -> Result<Self> {
        Ok(Self::new(Address::find(env)?))
    }

    /// This host.
    pub(crate) fn new(address: Address) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A host does not redirect, and a token must not wander.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_await_100(Some(Duration::from_secs(2)));
        if is_loopback(&address.url) {
            config = config.proxy(None);
        }
        Self { address, agent: config.build().new_agent(), call_max: CALL_MAX }
    }

    /// The same with another limit for short calls.
    #[cfg(test)]
    pub(crate) fn with_call_max(self, call_max: Duration) -> Self {
        Self { call_max, ..self }
    }

    /// `GET`.
    ///
    /// # Errors
    /// The host cannot be reached, refuses, or answers something else.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.answer(self.call(self.request(Method::GET, path), (), self.call_max)?)
    }

    /// `POST` of a JSON document.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(Method::POST, path, body, self.call_max)
    }

    /// `POST` of a JSON document that makes the host run something.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn post_work<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(Method::POST, path, body, WORK_MAX)
    }

    /// `POST` without a body that makes the host run something.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn post_empty<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.answer(self.call(self.request(Method::POST, path), Vec::new(), WORK_MAX)?)
    }

    /// `PATCH` of a JSON document.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(Method::PATCH, path, body, self.call_max)
    }

    /// `PUT` of a JSON document.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(Method::PUT, path, body, self.call_max)
    }

    /// `POST` of a JSON document by login and password instead of a token (RFC 7617).
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn post_as<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        login: &str,
        password: &str,
    ) -> Result<T> {
        let pair = data_encoding::BASE64.encode(format!("{login}:{password}").as_bytes());
        let request = self.request(Method::POST, path);
        let request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        self.answer(self.call(request, serde_json::to_vec(body)?, self.call_max)?)
    }

    /// `DELETE`; what it answers is of no interest.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn delete(&self, path: &str) -> Result<()> {
        let response = self.call(self.request(Method::DELETE, path), (), self.call_max)?;
        self.accepted(response).map(drop)
    }

    /// `POST` of a program, or `PUT` of a runtime.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn upload<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<T> {
        let mut request = self.request(method, path).header(header::CONTENT_TYPE, content_type);
        if body.len() > ASK_FIRST_BYTES {
            // Else a host that refuses the size hangs up on us before we hear why.
            request = request.header(header::EXPECT, "100-continue");
        }
        self.answer(self.call(request, body, WORK_MAX)?)
    }

    /// A stream of server-sent events, read line by line.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn events(&self, path: &str) -> Result<impl BufRead + use<>> {
        let request = self.request(Method::GET, path).header(header::ACCEPT, "text/event-stream");
        let request = self.agent.configure_request(request.body(()).map_err(|error| self.unsendable(error))?);
        let request = request.timeout_per_read(Some(EVENT_SILENCE_MAX)).build();
        let response = self.agent.run(request).map_err(|error| self.unreachable(error))?;
        Ok(BufReader::new(self.accepted(response)?.into_body().into_reader()))
    }

    /// The bytes of an answer of any size, as they come.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn download(&self, path: &str) -> Result<impl Read + use<>> {
        let request = self.request(Method::GET, path);
        let request = self.agent.configure_request(request.body(()).map_err(|error| self.unsendable(error))?);
        let request = request.timeout_per_read(Some(EVENT_SILENCE_MAX)).build();
        let response = self.agent.run(request).map_err(|error| self.unreachable(error))?;
        Ok(self.accepted(response)?.into_body().into_reader())
    }

    fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        time_max: Duration,
    ) -> Result<T> {
        let body = serde_json::to_vec(body)?;
        let request = self.request(method, path).header(header::CONTENT_TYPE, "application/json");
        self.answer(self.call(request, body, time_max)?)
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.address.url));
        if let Some(token) = &self.address.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        request
    }

    fn call(
        &self,
        request: http::request::Builder,
        body: impl AsSendBody,
        time_max: Duration,
    ) -> Result<Response<Body>> {
        let request = request.body(body).map_err(|error| self.unsendable(error))?;
        let request = self.agent.configure_request(request).timeout_global(Some(time_max)).build();
        self.agent.run(request).map_err(|error| self.unreachable(error))
    }

    /// The document of a successful answer.
    fn answer<T: DeserializeOwned>(&self, response: Response<Body>) -> Result<T> {
        let response = self.accepted(response)?;
        let bytes = self.bytes(response)?;
        serde_json::from_slice(&bytes).map_err(|error| self.foreign(Failure::from(error)))
    }

    fn bytes(&self, response: Response<Body>) -> Result<Vec<u8>> {
        let body = response.into_body().into_with_config().limit(ANSWER_BYTES_MAX);
        body.read_to_vec().map_err(|error| self.unreachable(error))
    }

    /// The answer, if it is a success.
    fn accepted(&self, response: Response<Body>) -> Result<Response<Body>> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.bytes(response)?;
        let Ok(body) = serde_json::from_slice::<ErrorBody>(&bytes) else {
            return Err(self.foreign(Failure::new(format!("it answered {status}"))));
        };
        let (hint, diagnostics, request_id) =
            (body.hint.clone(), body.diagnostics.clone(), body.request_id.clone());
        let mut failure = Failure::from(Refused { status, body }).diagnostics(diagnostics);
        if let Some(hint) = hint {
            failure = failure.hint(hint);
        }
        let is_about_token = failure.refused().is_some_and(|told| told.body.code == "unauthorized");
        if status == StatusCode::UNAUTHORIZED && is_about_token {
            failure = failure.context(format!("the host at {} wants a token", self.address.url));
            failure = failure.hint(match (&self.address.token, &self.address.found_in) {
                (None, _) => {
                    "set TIDEGATE_TOKEN, or TIDEGATE_DATA to the host's data folder, or use `tidegate login`"
                }
                (Some(_), FoundIn::Profile(_)) => {
                    "`tidegate login` with a new token replaces the one that was refused"
                }
                (Some(_), _) => "the token that was sent is not one of this host",
            });
        }
        if status == StatusCode::NOT_FOUND
            && failure.refused().is_some_and(|told| told.body.code == "missing")
        {
            failure = failure.hint("`tidegate list`, `versions NAME` and `runs NAME` show what there is");
        }
        if status.is_server_error() {
            failure = failure.hint(format!("the host's own log has more about request {request_id}"));
        }
        Err(failure)
    }

    fn unsendable(&self, error: http::Error) -> Failure {
        Failure::from(error).context(format!("a request to {} cannot be made", self.address.url))
    }

    /// What answered is no Tidegate host, or not one that this program understands.
    fn foreign(&self, failure: Failure) -> Failure {
        let url = &self.address.url;
        failure.context(format!("{url} does not answer like a Tidegate host")).hint(format!(
            "check {} and what stands between you and the host",
            match &self.address.found_in {
                FoundIn::Variable => "TIDEGATE_URL",
                FoundIn::Data(..) | FoundIn::Profile(_) | FoundIn::Argument | FoundIn::Default =>
                    "the address",
            }
        ))
    }

    fn unreachable(&self, error: ureq::Error) -> Failure {
        let url = &self.address.url;
        let timeout = match &error {
            ureq::Error::Timeout(_) => true,
            ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::TimedOut,
            _ => false,
        };
        if timeout {
            return Failure::from(error)
                .context(format!("the host at {url} did not answer in time"))
                .hint("it may be overloaded: `tidegate doctor` and its log say more");
        }
        let failure = Failure::from(error).context(format!("the host at {url} cannot be reached"));
        match &self.address.found_in {
            FoundIn::Data(folder, file) if !is_alive(file) => failure.hint(format!(
                "the host of {0} is not running: `tidegate serve --data {0}` starts it",
                folder.display()
            )),
            FoundIn::Data(..) => failure,
            FoundIn::Argument => failure.hint("is the address right, and is the host running?"),
            FoundIn::Default => failure
                .hint("`tidegate serve` starts a host on this machine")
                .hint("TIDEGATE_URL names another one, TIDEGATE_DATA the data folder of one on this machine"),
            FoundIn::Variable => {
                failure.hint("TIDEGATE_URL says where the host is: is it right, and is the host running?")
            }
            FoundIn::Profile(path) => {
                failure.hint(format!("the address is from {}: `tidegate login` replaces it", path.display()))
            }
        }
    }
}

/// Whether a proxy would be in the way.
pub(super) fn is_loopback(url: &str) -> bool {
    let host = url.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_owned));
    host.is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// `text` as a part of a query: everything but letters, digits and `-._~` is escaped
/// (RFC 3986 section 2.3).
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Path and query, without the parameters that have no value.
pub(crate) fn with_query(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let mut out = path.to_owned();
    let mut separator = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            out.push(separator);
            out.push_str(&format!("{name}={}", escaped(value)));
            separator = '&';
        }
    }
    out
}
