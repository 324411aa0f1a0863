//! The catch endpoints: one request in, one run, one reply out.
//!
//! This is the path that is measured against a bare HTTP server: it routes by key in
//! memory, allocates what the guest and the reply need, and takes no lock of its own.
//! Everything that happens inside the sandbox is [`crate::invoker`]'s.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use jiff::Timestamp;

use super::body::{self, BodyError, Patience, ReplyBody, RequestBody};
use super::callers::RateError;
use super::framing::{FramingError, Verdict};
use super::payload::{Payload, PayloadError};
use super::queued::AskError;
use super::reply::Problem;
use super::request_id::RequestId;
use super::signature::{self, SignatureError};
use super::{Front, cors, headers, queued};
use crate::answer::Answer;
use crate::engine::{self, Input, Remains};
use crate::invoker::Invocation;
use crate::registry::Entry;
use crate::run::{Fault, FaultKind, RunId, Trigger};
use crate::store::StoreError;
use crate::workflow::{Endpoint, State};

/// The prefix of the path of every endpoint; the key follows, and nothing else.
pub(super) const PREFIX: &str = "/catch/";

/// The reply header that names the run.
pub(super) const RUN: header::HeaderName = header::HeaderName::from_static("tidegate-run");

/// Why a request did not become a run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// No workflow has this key.
    #[error("there is no such endpoint")]
    NoEndpoint,
    /// It is called too often.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// The workflow takes no new work.
    #[error("the workflow is paused")]
    Paused,
    /// The workflow has no version yet.
    #[error("nothing is deployed to this workflow yet")]
    NothingDeployed,
    /// The endpoint does not accept this method.
    #[error("the endpoint accepts {allow}")]
    Method {
        /// What it accepts, as in `Allow`.
        allow: String,
    },
    /// The content type or the body is nothing for a workflow.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The body was not read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body's chunks are malformed.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// It is not signed as the workflow wants it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The secrets that it would be checked with cannot be read.
    #[error("the workflow's settings cannot be read")]
    Settings(#[source] StoreError),
    /// What it asks of the queue is wrong.
    #[error(transparent)]
    Asked(#[from] AskError),
}

impl Refusal {
    /// Whether the workflow's author should see it among the runs: what the caller did
    /// wrong with the request itself.
    fn is_recorded(&self) -> bool {
        match self {
            Refusal::Method { .. } | Refusal::Payload(_) | Refusal::Signature(_) | Refusal::Asked(_) => true,
            Refusal::Body(BodyError::TooLarge { .. } | BodyError::TimedOut { .. }) => true,
            Refusal::Body(BodyError::Broken(_)) | Refusal::Framing(_) => false,
            Refusal::NoEndpoint
            | Refusal::Rate(_)
            | Refusal::Paused
            | Refusal::NothingDeployed
            | Refusal::Settings(_) => false,
        }
    }

    /// The refusal as the workflow's people see it in the record.
    fn remark(&self) -> String {
        match self {
            Refusal::Signature(error) => error.remark(),
            other => other.to_string(),
        }
    }
}

/// The instance of a connection's last run, which is taken down when its reply is out.
#[derive(Default)]
pub(super) struct Leftover(Mutex<Option<Remains>>);

impl Leftover {
    fn keep(&self, remains: Option<Remains>) {
        drop(self.swap(remains));
    }

    /// Takes it down.
    pub(super) fn clear(&self) {
        drop(self.swap(None));
    }

    fn swap(&self, remains: Option<Remains>) -> Option<Remains> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), remains)
    }
}

/// Answers a request whose path begins with [`PREFIX`].
pub(super) async fn answer(
    front: &Front,
    verdict: &Verdict,
    request: Request<RequestBody>,
    request_id: &RequestId,
    leftover: &Leftover,
) -> Response<ReplyBody> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let (key, result_of) = queued::split(path);
    let Some(entry) = front.app.registry.by_key(key) else {
        return turn_away(front, &Refusal::NoEndpoint, request_id);
    };
    let endpoint = &entry.workflow.endpoint;
    let mut response = if head.method == Method::OPTIONS {
        cors::preflight(endpoint, &head.headers)
    } else if let Err(error) = take_rates(front, &entry) {
        turn_away(front, &error.into(), request_id)
    } else if let Some(id) = result_of {
        queued::result(front, &entry, &head, id, request_id).await
    } else {
        run(front, verdict, &entry, &head, body, request_id, leftover).await
    };
    cors::expose(endpoint, &head.headers, response.headers_mut());
    response
}

/// Counts a request to a workflow, and to its owner's.
fn take_rates(front: &Front, entry: &Entry) -> Result<(), RateError> {
    if let Some(rate) = entry.workflow.limits.rate().or(front.endpoint_rate) {
        entry.meter().take(rate).map_err(|wait| RateError::Endpoint { wait })?;
    }
    let owner = front.app.invoker.take_rate(&entry.workflow.owner_id());
    owner.map_err(|wait| RateError::Owner { wait })
}

/// Answers a request that leaves no record: the workflow's people are not told of it.
fn turn_away(front: &Front, refusal: &Refusal, request_id: &RequestId) -> Response<ReplyBody> {
    let problem = Problem::from(refusal);
    front.app.telemetry.refusals.refused(problem.code);
    problem.log(refusal, request_id);
    problem.response(request_id)
}

async fn run(
    front: &Front,
    verdict: &Verdict,
    entry: &Arc<Entry>,
    head: &Parts,
    body: RequestBody,
    request_id: &RequestId,
    leftover: &Leftover,
) -> Response<ReplyBody> {
    let (id, accepted_at) = (RunId::new(), Timestamp::now());
    let mut bytes = Bytes::new();
    let accepted = accept(front, verdict, entry, head, body, &mut bytes).await;
    let asked = accepted.and_then(|delivery| {
        queued::asked(&entry.workflow.endpoint, &head.headers, delivery).map_err(Refusal::from)
    });
    if let Err(refusal) = &asked
        && !refusal.is_recorded()
    {
        return turn_away(front, refusal, request_id);
    }
    let input = Input::Request(engine::Request {
        method: head.method.as_str().to_owned(),
        path_with_query: path_with_query(&head.uri),
        headers: headers::for_guest(&head.headers),
        body: bytes,
    });
    let trigger = Trigger::Catch;
    let ready_at = accepted_at;
    let invocation =
        Invocation { id, trigger, input, attempt: 1, accepted_at, ready_at, place: None, queued: None };
    let answer = match asked {
        Ok(Some(asked)) => return queued::answer(front, entry, invocation, asked, request_id).await,
        Ok(None) => {
            let (finished, remains) = front.app.invoker.invoke_first(entry, invocation).await;
            leftover.keep(remains);
            finished.answer
        }
        Err(refusal) => {
            let problem = Problem::from(&refusal);
            front.app.telemetry.refusals.refused(problem.code);
            let answer = problem.answer(id);
            let fault = Fault::new(FaultKind::Refused, refusal.remark());
            front.app.invoker.refuse(entry, &invocation, fault, &answer).await;
            answer
        }
    };
    send_of(id, answer, front.shares_origin)
}

/// The response with this answer, which is of this run.
pub(super) fn send_of(id: RunId, answer: Answer, shares_origin: bool) -> Response<ReplyBody> {
    let mut response = send(answer, shares_origin);
    let id = id.with_text(HeaderValue::from_str).expect("an id is letters and digits");
    response.headers_mut().insert(RUN, id);
    response
}

/// Reads the body into `bytes` if the endpoint accepts the request: cheapest checks
/// first. Returns what a signed delivery is known by, when it is to run once.
async fn accept(
    front: &Front,
    verdict: &Verdict,
    entry: &Entry,
    head: &Parts,
    body: RequestBody,
    bytes: &mut Bytes,
) -> Result<Option<String>, Refusal> {
    let endpoint = &entry.workflow.endpoint;
    if entry.workflow.state == State::Paused {
        return Err(Refusal::Paused);
    }
    if entry.version.is_none() {
        return Err(Refusal::NothingDeployed);
    }
    check_method(endpoint, &head.method)?;
    let has_body = !http_body::Body::is_end_stream(&body);
    let content_type = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let payload = announced(endpoint, &head.method, content_type, has_body)?;
    let own = entry.workflow.limits.body_bytes_max.and_then(|bytes| usize::try_from(bytes).ok());
    let body_bytes_max = own.unwrap_or(usize::MAX).min(front.body_bytes_max);
    *bytes = body::read(body, body_bytes_max, Patience::Whole(front.body_timeout)).await?;
    verdict.check()?;
    let delivery = match &entry.workflow.signature {
        Some(signature) => {
            let settings = front.app.registry.settings_of(entry).await.map_err(Refusal::Settings)?;
            signature::check(signature, &settings, &head.headers, bytes, Timestamp::now())?
        }
        None => None,
    };
    payload.check(bytes)?;
    Ok(delivery)
}

/// The path below the endpoint, which is `/`, with the query. The key is left out: whoever
/// reads a run's record need not know it.
fn path_with_query(uri: &Uri) -> String {
    uri.query().map_or_else(|| "/".to_owned(), |query| format!("/?{query}"))
}

/// # Errors
/// The endpoint does not accept this method.
fn check_method(endpoint: &Endpoint, method: &Method) -> Result<(), Refusal> {
    if cors::accepts(endpoint, method) {
        return Ok(());
    }
    Err(Refusal::Method { allow: cors::allow(endpoint) })
}

fn announced(
    endpoint: &Endpoint,
    method: &Method,
    content_type: Option<&[u8]>,
    has_body: bool,
) -> Result<Payload, PayloadError> {
    let bodyless = matches!(*method, Method::GET | Method::HEAD | Method::DELETE) && !has_body;
    if endpoint.raw_bodies || bodyless {
        return Ok(Payload::None);
    }
    let text = content_type.map(String::from_utf8_lossy);
    Payload::announced(text.as_deref(), has_body)
}

/// What [`accept`] checks, for a request that is whole already: a test run or a replay,
/// whose sender has a right to it and signs nothing.
///
/// # Errors
/// What the endpoint would have refused.
pub(super) fn check(endpoint: &Endpoint, request: &engine::Request) -> Result<(), Refusal> {
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| Refusal::Method { allow: cors::allow(endpoint) })?;
    check_method(endpoint, &method)?;
    let content_type = request.headers.iter().find(|(name, _)| name == "content-type");
    let content_type = content_type.map(|(_, value)| value.as_bytes());
    announced(endpoint, &method, content_type, !request.body.is_empty())?.check(&request.body)?;
    Ok(())
}

/// The response with this answer.
fn send(answer: Answer, shares_origin: bool) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::full(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).expect("an answer's status is 200 to 599");
    let headers = response.headers_mut();
    headers.reserve(answer.headers.len() + 4);
    for (name, value) in answer.headers {
        headers.append(name, value);
    }
    if shares_origin && !is_inert(headers.get(header::CONTENT_TYPE)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    response
}

/// Whether browsers show the type without running anything in it. Other replies lose
/// their origin where it is the console's too.
fn is_inert(content_type: Option<&HeaderValue>) -> bool {
    let Some(value) = content_type else { return true };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json") || essence.eq_ignore_ascii_case(b"text/plain")
}
