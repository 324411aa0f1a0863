//! One connection: hyper's limits, and what is the same for each of its requests.

use std::any::Any;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::Version;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::accept::Stay;
use super::api::{ApiError, Client, Peer, Route};
use super::body::{ReplyBody, RequestBody};
use super::framing::{Scanner, Verdict};
use super::head::{self, HeadError};
use super::reply::Problem;
use super::request_id::{self, RequestId};
use super::wire::{Refuse, Timeouts, Wire};
use super::{Answered, Front, Serves, catch, unsent};
use crate::config;
use crate::telemetry::CATCH_ROUTE;

/// hyper's own number of headers; asking for another costs an allocation per request.
const HYPER_HEADERS_MAX: usize = 100;
/// hyper reads with a buffer of at least this size, and heads fit into it.
const READ_BUFFER_BYTES_MIN: usize = 64 << 10;

/// How long a client that has just connected may take to send its first request while the
/// host drains: it does not know whether it may send it again.
const FIRST_REQUEST_TIME_MAX: Duration = Duration::from_secs(1);
/// What part of the drain a connection that is open may take to send one more request: its
/// client does not know yet that it should not, and may not send it twice.
const LAST_REQUEST_PART: u32 = 100;

/// What a client may make the host hold and wait for.
pub(super) struct Limits {
    http: http1::Builder,
    head_bytes_max: usize,
    timeouts: Timeouts,
}

impl Limits {
    pub(super) fn new(config: &config::Server) -> Self {
        let mut http = http1::Builder::new();
        // Heads are timed by the wire, which tells a slow head from an idle connection.
        http.header_read_timeout(None)
            .max_header_size(config.header_bytes_max)
            .max_buf_size(config.header_bytes_max.max(READ_BUFFER_BYTES_MIN))
            // A client that is done sending still gets its answer.
            .half_close(true);
        if config.headers_max != HYPER_HEADERS_MAX {
            http.max_headers(config.headers_max);
        }
        let timeouts = Timeouts {
            head: Duration::from_millis(config.header_timeout_ms),
            idle: Duration::from_millis(config.idle_timeout_ms),
            write: Duration::from_millis(config.body_timeout_ms),
        };
        Self { http, head_bytes_max: config.header_bytes_max, timeouts }
    }

    /// How long the first byte may take.
    pub(super) fn head_time(&self) -> Duration {
        self.timeouts.head
    }
}

struct Session {
    front: Arc<Front>,
    serves: Serves,
    peer: SocketAddr,
    verdict: Arc<Verdict>,
    /// Told when the first request is there.
    first: CancellationToken,
    leftover: catch::Leftover,
    /// Set for a connection that began with a probe.
    stay: Option<Arc<Stay>>,
}

/// Serves one connection to its end. One that has a `stay` is driven by the thread that
/// accepts, until a request is no probe.
pub(super) async fn serve(
    front: Arc<Front>,
    socket: TcpStream,
    peer: SocketAddr,
    serves: Serves,
    connected_at: Instant,
    stay: Option<Arc<Stay>>,
) {
    // Without the first a reply can wait for the client's acknowledgement of the one before.
    // A socket that refuses them is closed already.
    let _ = socket.set_nodelay(true);
    let _ = unsent::bound(&socket);
    let verdict = Arc::new(Verdict::default());
    let limits = &front.limits;
    let scanner = Scanner::new(limits.head_bytes_max);
    let refuse = refuse(front.clone(), verdict.clone());
    let wire = Wire::new(socket, scanner, verdict.clone(), limits.timeouts, connected_at, refuse);
    let wire = TokioIo::new(wire);
    let first = CancellationToken::new();
    let leftover = catch::Leftover::default();
    let session = Arc::new(Session {
        front: front.clone(),
        serves,
        peer,
        verdict,
        first: first.clone(),
        leftover,
        stay,
    });
    let own = session.clone();
    let service = service_fn(move |request| own.clone().answer(request));
    let mut connection = pin!(limits.http.serve_connection(wire, service));
    let ended = tokio::select! {
        biased;
        ended = driven(connection.as_mut(), &session) => ended,
        () = front.draining.cancelled() => {
            // What is under way is answered, the first request of who has just connected, and one
            // that is on its way meanwhile: its reply says that it is the last.
            let began = async {
                let _ = tokio::time::timeout(FIRST_REQUEST_TIME_MAX, first.cancelled()).await;
                let drain = Duration::from_millis(front.app.config.server.drain_ms);
                tokio::time::sleep(drain / LAST_REQUEST_PART).await;
            };
            tokio::select! {
                biased;
                ended = driven(connection.as_mut(), &session) => ended,
                () = began => {
                    connection.as_mut().graceful_shutdown();
                    driven(connection, &session).await
                }
            }
        }
    };
    if let Err(error) = ended {
        front.app.telemetry.connection_failed(reason(&error));
        tracing::debug!(%error, "connection ended early");
    }
}

/// Drives a connection. hyper runs a request and writes its reply in one poll: behind that,
/// nobody waits for the run's instance to go.
async fn driven<C: Future>(mut connection: Pin<&mut C>, session: &Session) -> C::Output {
    poll_fn(|context| {
        let polled = connection.as_mut().poll(context);
        session.leftover.clear();
        polled
    })
    .await
}

/// What a client is answered whose address has too many connections.
pub(super) fn too_many(front: &Front) -> Vec<u8> {
    let (status, answer) = head::answer(&HeadError::Connections);
    front.app.telemetry.connection_failed("address-connections");
    front.app.telemetry.request_answered(Route::NONE.pattern(), status.as_u16());
    answer
}

/// What a client is answered whose request's head cannot be read.
fn refuse(front: Arc<Front>, verdict: Arc<Verdict>) -> Refuse {
    Box::new(move |status| {
        let config = &front.app.config.server;
        let error = match status {
            None => HeadError::TimedOut(front.limits.timeouts.head),
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => {
                HeadError::TooLarge { bytes_max: config.header_bytes_max, headers_max: config.headers_max }
            }
            Some(StatusCode::URI_TOO_LONG) => HeadError::Target,
            Some(_) => verdict.check().map_or_else(HeadError::Framing, |()| HeadError::Malformed),
        };
        let (status, answer) = head::answer(&error);
        front.app.telemetry.request_answered(Route::NONE.pattern(), status.as_u16());
        answer
    })
}

/// One word for why a connection ended early.
fn reason(error: &hyper::Error) -> &'static str {
    if error.is_timeout() || is_timed_out(error) {
        "timeout"
    } else if error.is_parse() {
        "malformed"
    } else if error.is_incomplete_message() {
        "incomplete"
    } else {
        "reset"
    }
}

fn is_timed_out(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::TimedOut)
}

impl Session {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answered<ReplyBody> {
        self.first.cancel();
        if let Some(stay) = &self.stay
            && !is_probe(request.uri().path())
        {
            stay.end().await;
        }
        let request_id = RequestId::of(request.headers());
        let answering = AssertUnwindSafe(self.dispatch(request, &request_id)).catch_unwind();
        let (mut response, route) = match answering.await {
            Ok(answered) => answered,
            Err(panic) => (self.contain(&panic, &request_id), Route::NONE),
        };
        let headers = response.headers_mut();
        headers.insert(request_id::HEADER, request_id.into_header());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // What follows a malformed request cannot be told from it. A host that stops takes no more.
        if self.verdict.check().is_err() || self.front.draining.is_cancelled() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.front.app.telemetry.request_answered(route.pattern(), response.status().as_u16());
        Ok(response)
    }

    async fn dispatch(
        &self,
        request: Request<Incoming>,
        request_id: &RequestId,
    ) -> (Response<ReplyBody>, Route) {
        let front = &*self.front;
        let is_catch = self.serves != Serves::Api && request.uri().path().starts_with(catch::PREFIX);
        let route = if is_catch { Route::Fixed(CATCH_ROUTE) } else { Route::NONE };
        if let Err(error) = self.verdict.check() {
            return (Problem::from(&error).response(request_id), route);
        }
        if !has_one_host(&request) {
            let mut response = Problem::from(&ApiError::Host).response(request_id);
            // Whoever stands in front may have sent it elsewhere: what follows may not be ours.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return (response, route);
        }
        if !is_probe(request.uri().path())
            && let Err(error) = front.callers.admit(self.peer, request.headers())
        {
            let problem = Problem::from(&error);
            front.app.telemetry.refusals.refused(problem.code);
            return (problem.response(request_id), route);
        }
        let held_back = expects_continue(request.headers());
        let request = request.map(|incoming| RequestBody::new(incoming, held_back, &front.linger));
        if is_catch {
            let answered = catch::answer(front, &self.verdict, request, request_id, &self.leftover);
            return (answered.await, route);
        }
        if self.serves == Serves::Catch && !is_probe(request.uri().path()) {
            return (Problem::not_found().response(request_id), route);
        }
        self.api(request, request_id).await
    }

    async fn api(
        &self,
        request: Request<RequestBody>,
        request_id: &RequestId,
    ) -> (Response<ReplyBody>, Route) {
        let mut request = request.map(axum::body::Body::new);
        let client = self.front.callers.client(self.peer, request.headers());
        request.extensions_mut().insert(Peer(self.peer));
        request.extensions_mut().insert(Client(client));
        request.extensions_mut().insert(self.verdict.clone());
        request.extensions_mut().insert(request_id.clone());
        let answered = self.front.router.clone().oneshot(request).await;
        let mut response = match answered {
            Ok(response) => response,
            Err(impossible) => match impossible {},
        };
        let route = response.extensions_mut().remove::<Route>().unwrap_or(Route::NONE);
        let mut response = match response.extensions_mut().remove::<Arc<ApiError>>() {
            Some(error) => {
                let problem = Problem::from(&*error);
                problem.log(&*error, request_id);
                let mut told = problem.response(request_id);
                // axum knows what a route allows.
                if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
                    told.headers_mut().insert(header::ALLOW, allow);
                }
                told
            }
            None => response.map(ReplyBody::Api),
        };
        protect(response.headers_mut());
        (response, route)
    }

    fn contain(&self, panic: &(dyn Any + Send), request_id: &RequestId) -> Response<ReplyBody> {
        let message = panic.downcast_ref::<&str>().copied();
        let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(request_id = request_id.as_str(), panic = message, "a request panicked");
        self.front.app.telemetry.panicked();
        Problem::panicked().response(request_id)
    }
}

/// Answers of the API are data for programs: no browser shall keep, frame, run or refer
/// from one. Pages say otherwise for themselves.
fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// RFC 9112 section 3.2: HTTP/1.1 requests have exactly one `Host`.
fn has_one_host<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    hosts == 1 || hosts == 0 && request.version() < Version::HTTP_11
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Probes are answered on every listener.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}
