//! Requests that ask something of the queue: to run later (`Prefer: respond-async`, RFC
//! 7240 section 4.1), or to run once however often they are sent (`Idempotency-Key`, or
//! the delivery id of a webhook); and the results of those that ran later.
//!
//! A result is for whoever knows its URL: the endpoint's key and the event's id, which has
//! 74 random bits that no other reply shows.

use std::sync::Arc;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Uri};

use super::body::ReplyBody;
use super::reply::{JSON, Problem};
use super::request_id::RequestId;
use super::{Front, catch};
use crate::api::AsyncAccepted;
use crate::engine::Input;
use crate::invoker::Invocation;
use crate::queue::{Acceptance, Called, EventResult, VERIFIED_PREFIX, Work, print_of};
use crate::registry::Entry;
use crate::run::{RunId, Status};
use crate::store::{DedupeKey, StoreError};
use crate::workflow::Endpoint;

/// Longest key or delivery id, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// Longest URL of a callback, in bytes.
const CALLBACK_BYTES_MAX: usize = 2000;
/// What stands between an endpoint's key and an event's id.
const RESULTS: &str = "/runs/";

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Where the result is to be sent.
const CALLBACK: HeaderName = HeaderName::from_static("tidegate-callback");
/// The reply is that to an earlier request with the same key.
const REPEATED: HeaderName = HeaderName::from_static("tidegate-repeated");

/// Why the queue does not do what a request asks for.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The key is no key.
    #[error("the header {name} must have 1 to {KEY_BYTES_MAX} visible ASCII characters")]
    Key {
        /// The header.
        name: String,
    },
    /// The callback is no URL.
    #[error(
        "the header tidegate-callback must be one http or https URL of at most {CALLBACK_BYTES_MAX} bytes"
    )]
    Callback,
    /// The workflow does not call this host back.
    #[error("the workflow does not call back {host}")]
    CallbackHost {
        /// The URL's host.
        host: String,
    },
    /// Who waits for the answer is not called back.
    #[error("a callback is for a request that is answered before it ran")]
    CallbackAlone,
    /// The key was used for something else.
    #[error("the key was used before, for another request, whose run is {run}")]
    KeyReused {
        /// The other request's run.
        run: RunId,
    },
    /// The first request with the key is still running.
    #[error("a request with this key is running: {run}")]
    Running {
        /// Its run.
        run: RunId,
    },
    /// The record is deleted, or too old to have the whole reply.
    #[error("the reply of {run} is not kept any more")]
    Gone {
        /// The run.
        run: RunId,
    },
    /// There is no such event.
    #[error("there is no such result")]
    NoResult,
    /// Results are only read.
    #[error("a result accepts GET, HEAD, OPTIONS")]
    ResultMethod,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a request asks of the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    is_async: bool,
    /// The name of the key, as the queue keeps it.
    key: Option<String>,
    callback: Option<String>,
}

/// An endpoint's key, and the event whose result is asked for.
pub(super) fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once(RESULTS) {
        Some((key, id)) => (key, Some(id)),
        None => (path, None),
    }
}

/// What a request asks of the queue; `None` for the usual one, which asks nothing.
///
/// `delivery` names a signed delivery that is to run once. It is the key then, whatever
/// the headers say: they are not signed, so whoever sends a captured delivery again could
/// make another one of it with them.
///
/// # Errors
/// What it asks is wrong, or not allowed.
pub(super) fn asked(
    endpoint: &Endpoint,
    headers: &HeaderMap,
    delivery: Option<String>,
) -> Result<Option<Asked>, AskError> {
    let is_async = headers.get_all(PREFER).iter().any(prefers_async);
    let key = match (delivery, headers.get(IDEMPOTENCY_KEY)) {
        (Some(delivery), _) => Some(format!("{VERIFIED_PREFIX}{delivery}")),
        (None, Some(value)) => Some(key_of(IDEMPOTENCY_KEY.as_str(), "key", value)?),
        (None, None) => match endpoint.delivery_id_header.as_deref() {
            Some(name) => headers.get(name).map(|value| key_of(name, "delivery", value)).transpose()?,
            None => None,
        },
    };
    let callback = match headers.get(CALLBACK) {
        None => None,
        Some(_) if !is_async => return Err(AskError::CallbackAlone),
        Some(value) => Some(callback_of(endpoint, value)?),
    };
    Ok((is_async || key.is_some()).then_some(Asked { is_async, key, callback }))
}

/// Whether a `Prefer` header names `respond-async` among its preferences.
fn prefers_async(value: &HeaderValue) -> bool {
    let preferences = value.as_bytes().split(|byte| *byte == b',');
    preferences.map(<[u8]>::trim_ascii).any(|preference| preference.eq_ignore_ascii_case(b"respond-async"))
}

fn key_of(header: &str, kind: &str, value: &HeaderValue) -> Result<String, AskError> {
    let text = value.to_str().ok().map(|text| text.trim_matches(' '));
    let is_key = |text: &&str| {
        (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    };
    let text = text.filter(is_key).ok_or_else(|| AskError::Key { name: header.to_owned() })?;
    Ok(format!("{kind}:{text}"))
}

fn callback_of(endpoint: &Endpoint, value: &HeaderValue) -> Result<String, AskError> {
    let text = value.to_str().map_err(|_| AskError::Callback)?.trim();
    let url: Uri = text.parse().map_err(|_| AskError::Callback)?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let host = url.host().filter(|host| is_http && !host.is_empty() && text.len() <= CALLBACK_BYTES_MAX);
    let host = host.ok_or(AskError::Callback)?;
    let allowed = &endpoint.callback_hosts;
    if allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(host)) {
        return Ok(text.to_owned());
    }
    Err(AskError::CallbackHost { host: host.to_owned() })
}

/// Answers a request that asks something of the queue.
pub(super) async fn answer(
    front: &Front,
    entry: &Arc<Entry>,
    invocation: Invocation,
    asked: Asked,
    request_id: &RequestId,
) -> Response<ReplyBody> {
    let print = match &invocation.input {
        Input::Request(request) if asked.key.is_some() => print_of(request),
        Input::Request(_) | Input::Tick { .. } => String::new(),
    };
    let key = asked.key.map(|name| DedupeKey { name, print });
    let answered = match key {
        Some(key) if !asked.is_async => call(front, entry, invocation, key).await,
        key => accept(front, entry, invocation, key, asked.callback).await,
    };
    answered.unwrap_or_else(|error| refuse(&error, request_id))
}

fn refuse(error: &AskError, request_id: &RequestId) -> Response<ReplyBody> {
    let problem = Problem::from(error);
    problem.log(error, request_id);
    problem.response(request_id)
}

async fn accept(
    front: &Front,
    entry: &Arc<Entry>,
    invocation: Invocation,
    key: Option<DedupeKey>,
    callback: Option<String>,
) -> Result<Response<ReplyBody>, AskError> {
    let Invocation { trigger, input, .. } = invocation;
    let work = Work { trigger, input, key, callback, version: None };
    let (id, is_repeated) = match front.app.queue.accept(entry, work).await? {
        Acceptance::New(id) => (id, false),
        Acceptance::Known(id) => (id, true),
        Acceptance::KeyReused(run) => return Err(AskError::KeyReused { run }),
    };
    let mut response = pending(front, entry, id, Status::Queued);
    let headers = response.headers_mut();
    headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("respond-async"));
    if is_repeated {
        headers.insert(REPEATED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn call(
    front: &Front,
    entry: &Arc<Entry>,
    invocation: Invocation,
    key: DedupeKey,
) -> Result<Response<ReplyBody>, AskError> {
    let id = invocation.id;
    match front.app.queue.call(entry, invocation, key).await? {
        Called::Answered(answer) => Ok(catch::send_of(id, answer, front.shares_origin)),
        Called::Repeated { answer, run } => {
            let mut response = catch::send_of(run, answer, front.shares_origin);
            response.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Called::Running(run) => Err(AskError::Running { run }),
        Called::KeyReused(run) => Err(AskError::KeyReused { run }),
        Called::Gone(run) => Err(AskError::Gone { run }),
    }
}

/// Answers who asks for the result of an event.
pub(super) async fn result(
    front: &Front,
    entry: &Arc<Entry>,
    head: &Parts,
    id: &str,
    request_id: &RequestId,
) -> Response<ReplyBody> {
    let found = find(front, entry, head, id).await;
    let mut response = found.unwrap_or_else(|error| refuse(&error, request_id));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn find(
    front: &Front,
    entry: &Arc<Entry>,
    head: &Parts,
    id: &str,
) -> Result<Response<ReplyBody>, AskError> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(AskError::ResultMethod);
    }
    let id: RunId = id.parse().map_err(|_| AskError::NoResult)?;
    match front.app.queue.result(entry.workflow.id, id).await? {
        EventResult::Pending { status, .. } => Ok(pending(front, entry, id, status)),
        EventResult::Ended { answer, run } => Ok(catch::send_of(run, answer, front.shares_origin)),
        EventResult::Gone => Err(AskError::Gone { run: id }),
        EventResult::Unknown => Err(AskError::NoResult),
    }
}

/// 202: the result is there later.
fn pending(front: &Front, entry: &Entry, id: RunId, status: Status) -> Response<ReplyBody> {
    let key = entry.workflow.catch_key.as_ref().map_or("", |key| key.expose());
    // Relative to the host that the caller knows, which may not be the one we know.
    let url: Option<Uri> = front.app.urls.catch_url.parse().ok();
    let base = url.as_ref().map_or("", |url| url.path().trim_end_matches('/'));
    let result = format!("{base}{}{key}{RESULTS}{id}", catch::PREFIX);
    let body = AsyncAccepted { run: id, status, result: result.clone() };
    let body = serde_json::to_vec(&body).expect("texts and ids always serialise");
    let mut response = Response::new(ReplyBody::full(body));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    let text = |text: String| HeaderValue::try_from(text).expect("a URL's path is a header's value");
    headers.insert(header::LOCATION, text(result));
    headers.insert(catch::RUN, text(id.to_string()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(endpoint: &Endpoint, headers: &[(&'static str, &str)]) -> Result<Option<Asked>, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        asked(endpoint, &map, None).map_err(|error| error.to_string())
    }

    #[test]
    fn preferences_are_read_as_the_rfc_writes_them() {
        let endpoint = Endpoint::default();
        for value in
            ["respond-async", "Respond-Async", "wait=5, respond-async", "return=minimal ,respond-async"]
        {
            let asked = ask(&endpoint, &[("prefer", value)]).unwrap().unwrap();
            assert!(asked.is_async && asked.key.is_none(), "{value}");
        }
        assert!(ask(&endpoint, &[("prefer", "wait=1"), ("prefer", "respond-async")]).unwrap().is_some());
        for value in ["respond-asynchronously", "wait=5", "x-respond-async"] {
            assert_eq!(ask(&endpoint, &[("prefer", value)]).unwrap(), None, "{value}");
        }
    }

    #[test]
    fn key_is_the_callers_before_the_webhooks() {
        let endpoint = Endpoint { delivery_id_header: Some("X-Delivery".to_owned()), ..Endpoint::default() };
        let key =
            |headers: &[(&'static str, &str)]| ask(&endpoint, headers).unwrap().and_then(|asked| asked.key);
        assert_eq!(key(&[("idempotency-key", "a"), ("x-delivery", "b")]).as_deref(), Some("key:a"));
        assert_eq!(key(&[("x-delivery", "b c")]).as_deref(), Some("delivery:b c"));
        assert_eq!(key(&[]), None);
        let none = ask(&Endpoint::default(), &[("x-delivery", "b")]);
        assert_eq!(none, Ok(None), "nobody said that this header is a delivery's id");
        for wrong in ["", "é", &"x".repeat(256)] {
            let refused = ask(&endpoint, &[("idempotency-key", wrong)]).unwrap_err();
            assert!(refused.starts_with("the header idempotency-key must have"), "{refused}");
        }
    }

    #[test]
    fn signed_delivery_is_itself_whatever_key_is_sent_with_it() {
        let endpoint = Endpoint { delivery_id_header: Some("X-Delivery".to_owned()), ..Endpoint::default() };
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_static("new"));
        headers.insert("x-delivery", HeaderValue::from_static("new"));
        let asked = asked(&endpoint, &headers, Some("github:1".to_owned())).unwrap().unwrap();
        assert_eq!(asked.key.as_deref(), Some("webhook:github:1"));
    }

    #[test]
    fn callback_goes_only_where_the_workflow_lets_it() {
        let endpoint = |hosts: &[&str]| {
            let callback_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            Endpoint { callback_hosts, ..Endpoint::default() }
        };
        let call = |hosts: &[&str], url: &str| {
            let headers = [("prefer", "respond-async"), ("tidegate-callback", url)];
            ask(&endpoint(hosts), &headers).map(|asked| asked.unwrap().callback)
        };
        let url = "https://Hooks.example:8443/a?b=c";
        assert_eq!(call(&["hooks.example"], url), Ok(Some(url.to_owned())));
        assert_eq!(call(&["*"], url), Ok(Some(url.to_owned())));
        assert_eq!(call(&[], url).unwrap_err(), "the workflow does not call back Hooks.example");
        assert!(call(&["example"], url).is_err());
        for wrong in ["ftp://a.example", "/path", "", "a b"] {
            assert!(call(&["*"], wrong).unwrap_err().contains("must be one http or https URL"), "{wrong}");
        }
        let alone = ask(&endpoint(&["*"]), &[("tidegate-callback", url)]).unwrap_err();
        assert_eq!(alone, "a callback is for a request that is answered before it ran");
    }

    #[test]
    fn path_of_a_result_names_endpoint_and_event() {
        assert_eq!(split("key"), ("key", None));
        assert_eq!(split("key/runs/id"), ("key", Some("id")));
        assert_eq!(split("key/other"), ("key/other", None));
    }
}
