//! One exchange: from the guest's request to the response's head.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};
use wasmtime_wasi_http::WasiBody;

use super::Egress;
use super::body::{RequestBody, ResponseBody, ResponseLimits, Upload};
use super::connection::{Connection, Lease};
use super::error::{Code, Failure};
use super::ledger::Ongoing;
use super::pool::Key;
use super::resolver::Sources;
use super::sealed::{SealedSettings, check_readable};
use super::sealed_body;
use super::target::{Host, Target};
use crate::workflow::WorkflowId;

/// Headers of a response; hyper holds HTTP/1 to the same number.
const RESPONSE_HEADERS_MAX: usize = 100;
/// Pooled connections that may turn out to be closed before a new one is opened.
const STALE_MAX: u32 = 2;

/// Headers that are about a connection, not a request (RFC 9110, 7.6.1): the connection
/// is ours. `Host` is set from the URL.
const OURS: [HeaderName; 8] = [
    header::CONNECTION,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The times of one exchange: the guest's wishes within the host's limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From the name to the ready connection.
    pub(super) connect: Duration,
    /// From the last piece of the request to the response's head.
    pub(super) first_byte: Duration,
    /// Between two pieces of the response's body.
    pub(super) between: Duration,
    /// End of the exchange, whatever it does.
    pub(super) until: Instant,
}

/// Sends a request and waits for the response's head.
///
/// # Errors
/// The failure, which is in the run's ledger already.
pub(super) async fn exchange(
    egress: &Egress,
    ongoing: Ongoing,
    workflow: WorkflowId,
    sealed: Option<&SealedSettings>,
    request: Request<WasiBody>,
    times: Times,
) -> Result<Response<ResponseBody>, Failure> {
    let upload = Upload::new(ongoing.sent(), egress.limits.request_bytes_max);
    let prepared = prepare(egress, &ongoing, sealed, request, times).await;
    let Prepared { request, target, is_bound } = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return Err(ongoing.fail(failure)),
    };
    let (response, lease) = match answered(egress, workflow, &target, request, &upload, times).await {
        Ok(answered) => answered,
        Err(failure) => return Err(ongoing.fail(failure)),
    };
    ongoing.set_status(response.status());
    let readable = if is_bound { check_readable(&response) } else { Ok(()) };
    if let Err(failure) = readable.and_then(|()| check_head(egress, &response)) {
        lease.retire();
        return Err(ongoing.fail(failure));
    }
    let limits = ResponseLimits {
        bytes_max: egress.limits.response_bytes_max,
        between: times.between,
        until: times.until,
    };
    Ok(response.map(|body| ResponseBody::new(body, (ongoing, lease), upload, limits)))
}

/// A request that may be sent.
struct Prepared {
    request: Request<WasiBody>,
    target: Target,
    /// The host gets sealed settings.
    is_bound: bool,
}

/// Finds out where the request wants to go, and puts the sealed settings in that are for there.
async fn prepare(
    egress: &Egress,
    ongoing: &Ongoing,
    sealed: Option<&SealedSettings>,
    request: Request<WasiBody>,
    times: Times,
) -> Result<Prepared, Failure> {
    let target = Target::parse(request.uri(), &egress.policy.allowed)?;
    check_request(egress, &request)?;
    let Some(sealed) = sealed else { return Ok(Prepared { request, target, is_bound: false }) };
    let mut put_in = sealed.to(&target);
    let mut request = sealed_body::put_in(&mut put_in, request, times.until).await?;
    put_in.uri(request.uri_mut())?;
    put_in.headers(request.headers_mut());
    let is_bound = put_in.is_bound();
    ongoing.set_sealed(put_in.into_uses());
    Ok(Prepared { request, target, is_bound })
}

/// The response's head, and the connection that its body comes in on.
async fn answered(
    egress: &Egress,
    workflow: WorkflowId,
    target: &Target,
    mut request: Request<WasiBody>,
    upload: &Arc<Upload>,
    times: Times,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let declared = check_request(egress, &request)?;
    strip(request.headers_mut());
    let key = Key::new(workflow, target);
    let is_replayable = request.method().is_idempotent() && request.body().is_end_stream();
    let uri = request.uri().clone();
    let mut request = request.map(|body| RequestBody::new(body, declared, upload.clone()));
    let mut stale = 0;
    loop {
        let pooled = if stale < STALE_MAX { pooled(egress, target, &key).await } else { None };
        let is_pooled = pooled.is_some();
        let mut connection = match pooled {
            Some(connection) => connection,
            None => {
                // Whichever ends first says why.
                let connect = timeout(times.connect, connect(egress, target, &key));
                match timeout_at(times.until, connect).await {
                    Ok(Ok(connected)) => connected?,
                    Ok(Err(_)) => return Err(Code::ConnectionTimeout.into()),
                    Err(_) => return Err(Code::HttpResponseTimeout.into()),
                }
            }
        };
        address(&mut request, &uri, &connection)?;
        let copy = (is_pooled && is_replayable).then(|| head_of(&request));
        let answer = answer(&mut connection, request, upload, times).await;
        let lease = Lease { connection, pool: egress.pool.clone(), key: key.clone() };
        let unanswered = match answer {
            Ok(response) => return Ok((response, lease)),
            Err(unanswered) => unanswered,
        };
        lease.retire();
        // A server may close a connection just when it is used again. What it cannot have
        // acted upon is sent once more.
        request = match (unanswered.unsent, copy) {
            (Some(unsent), _) if is_pooled => *unsent,
            (_, Some(copy)) if unanswered.is_closed => copy.map(|()| {
                let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
                RequestBody::new(empty, None, upload.clone())
            }),
            _ => return Err(unanswered.failure),
        };
        stale += 1;
    }
}

/// A connection that waits, if its address is still one to connect to.
async fn pooled(egress: &Egress, target: &Target, key: &Key) -> Option<Connection> {
    let connection = egress.pool.take(key).await?;
    egress.policy.check_again(target, connection.address()).ok()?;
    super::counters::add(&egress.counters.connections_reused, 1);
    Some(connection)
}

/// A new connection to one of the host's addresses, all of which are checked first.
async fn connect(egress: &Egress, target: &Target, key: &Key) -> Result<Connection, Failure> {
    let addresses: Vec<SocketAddr> = match (&target.host, target.literal()) {
        (_, Some(address)) => vec![address],
        (Host::Name(name), None) => {
            let sources = if target.is_allowed { Sources::System } else { Sources::Dns };
            let found = timeout(egress.limits.dns_timeout, egress.resolver.resolve(name, sources)).await;
            let found = found.map_err(|_| Failure::from(Code::DnsTimeout))??;
            found.into_iter().map(|address| SocketAddr::new(address.to_canonical(), target.port)).collect()
        }
        (Host::Address(_), None) => Vec::new(),
    };
    for address in &addresses {
        egress.policy.check(target, *address)?;
    }
    let connection = egress.connector.connect(target, &addresses, &egress.pool, key).await?;
    super::counters::add(&egress.counters.connections_opened, 1);
    Ok(connection)
}

/// Why there is no response.
struct Unanswered {
    failure: Failure,
    /// The request, when nothing of it was sent.
    unsent: Option<Box<Request<RequestBody>>>,
    /// The connection was closed before anything came back.
    is_closed: bool,
}

impl From<Code> for Unanswered {
    fn from(code: Code) -> Self {
        Self { failure: code.into(), unsent: None, is_closed: false }
    }
}

/// Sends the request on a connection and waits for the response's head.
async fn answer(
    connection: &mut Connection,
    request: Request<RequestBody>,
    upload: &Upload,
    times: Times,
) -> Result<Response<Incoming>, Unanswered> {
    upload.move_on();
    let mut response = pin!(match connection {
        Connection::Http1(connection) => Either::Left(connection.sender.try_send_request(request)),
        Connection::Http2(stream) => {
            let mut sender = stream.connection().sender.clone();
            Either::Right(async move { sender.try_send_request(request).await })
        }
    });
    loop {
        // A long upload that goes on is not a silent server.
        let silent_until = upload.moved_at().checked_add(times.first_byte).unwrap_or(times.until);
        match timeout_at(silent_until.min(times.until), response.as_mut()).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(mut error)) => {
                let unsent = error.take_message().map(Box::new);
                let failure = Failure::of_hyper(error.error());
                let is_closed =
                    matches!(failure.code, Code::ConnectionTerminated | Code::HttpResponseIncomplete);
                let failure = upload.failure().unwrap_or(failure);
                return Err(Unanswered { failure, unsent, is_closed });
            }
            Err(_) if Instant::now() >= times.until => return Err(Code::HttpResponseTimeout.into()),
            Err(_) if upload.moved_at() + times.first_byte > Instant::now() => {}
            Err(_) => return Err(Code::ConnectionReadTimeout.into()),
        }
    }
}

/// The length that the request says its body has; refuses what is not let out whoever it
/// is for.
fn check_request(egress: &Egress, request: &Request<WasiBody>) -> Result<Option<u64>, Failure> {
    // A tunnel would carry what nobody checks.
    if request.method() == Method::CONNECT {
        return Err(Code::HttpRequestMethodInvalid.into());
    }
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let bytes = declared.into_iter().chain(request.body().size_hint().exact()).max();
    if bytes.is_some_and(|bytes| bytes > egress.limits.request_bytes_max) {
        return Err(Failure::cap(Code::HttpRequestBodySize, egress.limits.request_bytes_max));
    }
    Ok(declared)
}

fn strip(headers: &mut HeaderMap) {
    for name in OURS {
        headers.remove(name);
    }
}

/// Addresses the request as the connection's protocol wants it.
fn address(request: &mut Request<RequestBody>, uri: &Uri, connection: &Connection) -> Result<(), Failure> {
    match connection {
        Connection::Http1(_) => {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            let host =
                HeaderValue::from_str(authority).map_err(|_| Failure::from(Code::HttpRequestUriInvalid))?;
            let path = uri.path_and_query().cloned();
            *request.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
            *request.version_mut() = Version::HTTP_11;
            request.headers_mut().insert(header::HOST, host);
        }
        Connection::Http2(_) => {
            *request.uri_mut() = uri.clone();
            *request.version_mut() = Version::HTTP_2;
            request.headers_mut().remove(header::HOST);
        }
    }
    Ok(())
}

/// The request without its body, which is empty.
fn head_of(request: &Request<RequestBody>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// What of a response is known to be wrong before its body is read.
fn check_head(egress: &Egress, response: &Response<Incoming>) -> Result<(), Failure> {
    let limits = &egress.limits;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Code::HttpUpgradeFailed.into());
    }
    let headers = response.headers();
    // Colon, space and line end are counted as HTTP/1 sends them.
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > RESPONSE_HEADERS_MAX || bytes > limits.response_header_bytes_max {
        let cap = limits.response_header_bytes_max as u64;
        return Err(Failure::cap(Code::HttpResponseHeaderSectionSize, cap));
    }
    if response.body().size_hint().lower() > limits.response_bytes_max {
        return Err(Failure::cap(Code::HttpResponseBodySize, limits.response_bytes_max));
    }
    Ok(())
}
