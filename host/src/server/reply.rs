//! The one table from errors to what a caller is told: status, stable code, message,
//! hint. Nothing else in the program knows status codes of errors, but for the ends of
//! runs, which are [`crate::answer`]'s.
//!
//! No match here has a wildcard arm, so that a new error cannot reach a caller before
//! somebody has thought about its status. Messages of the host's own errors stop at
//! the outermost layer; their causes are logged, once, by [`Problem::log`].

use std::error::Error;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::api::ApiError;
use super::body::{BodyError, ReplyBody};
use super::callers::RateError;
use super::catch::Refusal;
use super::framing::FramingError;
use super::head::HeadError;
use super::payload::PayloadError;
use super::queued::AskError;
use super::request_id::RequestId;
use super::signature::SignatureError;
use crate::accounts::AccountError;
use crate::answer::Answer;
use crate::api::{Diagnostic, ErrorBody, RunError};
use crate::app::RotateError;
use crate::deploy::DeployError;
use crate::engine::{CompileError, InstallError, ScanError};
use crate::keys::KeysError;
use crate::oidc::OidcError;
use crate::registry::RegistryError;
use crate::run::{Blame, RunId};
use crate::store::StoreError;

/// The content type of everything that the host itself answers.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The reply header that says who has to act on a failure.
pub(super) const FAULT: header::HeaderName = header::HeaderName::from_static("tidegate-fault");

/// What a caller is told about an error.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// A stable word.
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Header of its own: `Allow`, `WWW-Authenticate` or `Retry-After`.
    header: Option<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None, diagnostics: Vec::new(), header: None }
    }

    fn of(status: StatusCode, code: &'static str, error: &dyn Error) -> Self {
        // A caller's error is told with its causes, which say what and where.
        let message = if status.is_client_error() { chain(error) } else { error.to_string() };
        Self::new(status, code, message)
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    fn retry_later(self) -> Self {
        self.header(header::RETRY_AFTER, retry_after())
    }

    /// A panic of the host that was contained.
    pub(super) fn panicked() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the host failed on this request")
            .hint("the host's log has the cause under this request_id")
    }

    /// The answer to a request for something that is not there.
    pub(super) fn not_found() -> Self {
        Problem::from(&ApiError::NoRoute)
    }

    /// Logs an error of the host with all its causes; errors of callers are theirs.
    pub(super) fn log(&self, error: &dyn Error, request_id: &RequestId) {
        let request_id = request_id.as_str();
        match of_failure(self.status, self.code) {
            Some(Failed::ByAccident) => tracing::error!(request_id, error = chain(error), "request failed"),
            Some(Failed::AsMeant) => tracing::debug!(request_id, error = chain(error), "request refused"),
            None => {}
        }
    }

    /// The answer's headers, besides those that every answer has.
    fn headers(&self) -> Vec<(header::HeaderName, HeaderValue)> {
        let blame = if self.status.is_client_error() { Blame::Caller } else { Blame::Host };
        let mut headers = vec![(header::CONTENT_TYPE, JSON), (FAULT, HeaderValue::from_static(blame.word()))];
        headers.extend(self.header.clone());
        headers
    }

    /// The answer, for a request that no run was recorded for.
    pub(super) fn response(&self, request_id: &RequestId) -> Response<ReplyBody> {
        let body = ErrorBody {
            code: self.code.to_owned(),
            message: self.message.clone(),
            hint: self.hint.clone(),
            request_id: request_id.as_str().to_owned(),
            diagnostics: self.diagnostics.clone(),
        };
        let mut response = Response::new(ReplyBody::full(json(&body)));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers());
        response
    }

    /// The answer, for a request that is recorded as a run.
    pub(super) fn answer(&self, run: RunId) -> Answer {
        let body = RunError {
            run,
            code: self.code.to_owned(),
            message: self.message.clone(),
            hint: self.hint.clone(),
        };
        Answer { status: self.status.as_u16(), headers: self.headers(), body: json(&body) }
    }
}

/// The code of a store that writes nothing any more.
const STOPPED: &str = "store-stopped";

/// Why the host does not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// Something went wrong that somebody has to look at.
    ByAccident,
    /// There is no room now, on the disk or for one more, or the store has stopped: the host
    /// says so when that begins, and a flood of requests must not flood the log.
    AsMeant,
}

/// Whose failure a status is; `None` for the caller's.
fn of_failure(status: StatusCode, code: &str) -> Option<Failed> {
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => Some(Failed::AsMeant),
        _ if code == STOPPED => Some(Failed::AsMeant),
        status if status.is_server_error() => Some(Failed::ByAccident),
        _ => None,
    }
}

fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("texts and ids always serialise").into()
}

/// 1 to 5 seconds, so that callers who were refused together do not come back together.
fn retry_after() -> HeaderValue {
    HeaderValue::from(rand::random_range(1..=5_u16))
}

/// An error with its causes, outermost first.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let layer = error.to_string();
        // A transparent error says what its cause says.
        if !text.ends_with(&layer) {
            text.push_str(": ");
            text.push_str(&layer);
        }
        cause = error.source();
    }
    text
}

impl From<&FramingError> for Problem {
    fn from(error: &FramingError) -> Self {
        Self::of(StatusCode::BAD_REQUEST, "malformed-request", error)
    }
}

impl From<&HeadError> for Problem {
    fn from(error: &HeadError) -> Self {
        match error {
            HeadError::Malformed => Self::of(StatusCode::BAD_REQUEST, "malformed-request", error),
            HeadError::Framing(error) => Self::from(error),
            HeadError::TooLarge { .. } => {
                Self::of(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", error)
            }
            HeadError::Target => Self::of(StatusCode::URI_TOO_LONG, "target-too-long", error),
            HeadError::Connections => {
                Self::of(StatusCode::TOO_MANY_REQUESTS, "address-connections", error).retry_later()
            }
            HeadError::TimedOut(_) => Self::of(StatusCode::REQUEST_TIMEOUT, "head-timeout", error),
        }
    }
}

impl From<&BodyError> for Problem {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::of(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", error)
                .hint("send less; the operator sets the limits, in the configuration's section server"),
            BodyError::TimedOut { .. } => Self::of(StatusCode::REQUEST_TIMEOUT, "body-timeout", error),
            // The cause is hyper's, and says nothing that the client could act on.
            BodyError::Broken(_) => Self::new(StatusCode::BAD_REQUEST, "malformed-body", error.to_string()),
        }
    }
}

impl From<&PayloadError> for Problem {
    fn from(error: &PayloadError) -> Self {
        if error.is_type() {
            let hint = "send application/json, application/x-www-form-urlencoded or multipart/form-data";
            return Self::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.code(), error).hint(hint);
        }
        Self::of(StatusCode::BAD_REQUEST, error.code(), error)
    }
}

impl From<&Refusal> for Problem {
    fn from(error: &Refusal) -> Self {
        let unavailable = |code| Self::of(StatusCode::SERVICE_UNAVAILABLE, code, error).retry_later();
        match error {
            Refusal::NoEndpoint => Self::of(StatusCode::NOT_FOUND, "no-endpoint", error)
                .hint("check the URL: its last part is the key, and a rotated key stops working at once"),
            Refusal::Paused => unavailable("paused"),
            Refusal::NothingDeployed => unavailable("nothing-deployed"),
            Refusal::Rate(error) => Self::from(error),
            Refusal::Method { allow } => {
                let problem = Self::of(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", error);
                match HeaderValue::from_str(allow) {
                    Ok(value) => problem.header(header::ALLOW, value),
                    Err(_) => problem,
                }
            }
            Refusal::Payload(error) => Self::from(error),
            Refusal::Body(error) => Self::from(error),
            Refusal::Framing(error) => Self::from(error),
            Refusal::Signature(error) => Self::from(error),
            Refusal::Settings(error) => Self::from(error),
            Refusal::Asked(error) => Self::from(error),
        }
    }
}

impl From<&SignatureError> for Problem {
    fn from(error: &SignatureError) -> Self {
        let of = |code| {
            Self::of(StatusCode::UNAUTHORIZED, code, error)
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Webhook-Signature"))
        };
        match error {
            SignatureError::Missing(_) => of("signature-missing"),
            SignatureError::Malformed(_) => of("signature-malformed"),
            SignatureError::Expired { .. } => of("signature-expired"),
            SignatureError::Mismatch => of("signature-mismatch"),
            SignatureError::NoSecret { .. } => {
                Self::of(StatusCode::SERVICE_UNAVAILABLE, "signature-unset", error).retry_later()
            }
        }
    }
}

impl From<&RateError> for Problem {
    fn from(error: &RateError) -> Self {
        let (code, wait) = match error {
            RateError::Address { wait } => ("address-rate", wait),
            RateError::Owner { wait } => ("owner-rate", wait),
            RateError::Endpoint { wait } => ("endpoint-rate", wait),
        };
        // Rounded up: who comes back on time is let in.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::of(StatusCode::TOO_MANY_REQUESTS, code, error)
            .hint("wait for the seconds of Retry-After; the operator sets the rates, and a workflow's owner its own")
            .header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }
}

impl From<&AskError> for Problem {
    fn from(error: &AskError) -> Self {
        let of = |status, code| Self::of(status, code, error);
        match error {
            AskError::Key { .. } => of(StatusCode::BAD_REQUEST, "invalid-key"),
            AskError::Callback => of(StatusCode::BAD_REQUEST, "invalid-callback"),
            AskError::CallbackHost { .. } => of(StatusCode::FORBIDDEN, "callback-refused")
                .hint("the workflow's owner names the hosts in endpoint.callback_hosts"),
            AskError::CallbackAlone => of(StatusCode::BAD_REQUEST, "invalid-callback")
                .hint("send the header Prefer: respond-async with it"),
            AskError::KeyReused { .. } => of(StatusCode::UNPROCESSABLE_ENTITY, "key-reused")
                .hint("a key stands for one request: send another one with this request"),
            AskError::Running { .. } => of(StatusCode::CONFLICT, "still-running").retry_later(),
            AskError::Gone { .. } => of(StatusCode::GONE, "result-gone"),
            AskError::NoResult => of(StatusCode::NOT_FOUND, "no-result")
                .hint("check the URL; results are kept for queue.remember_hours"),
            AskError::ResultMethod => of(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed")
                .header(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS")),
            AskError::Store(error) => Self::from(error),
        }
    }
}

impl From<&ApiError> for Problem {
    fn from(error: &ApiError) -> Self {
        let of = |status, code| Self::of(status, code, error);
        match error {
            ApiError::NoRoute => {
                of(StatusCode::NOT_FOUND, "not-found").hint("GET /api/v1/openapi.json lists every route")
            }
            ApiError::Host => of(StatusCode::BAD_REQUEST, "malformed-request"),
            ApiError::Method => of(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
            ApiError::Unauthorized => of(StatusCode::UNAUTHORIZED, "unauthorized")
                .hint("send the header Authorization: Bearer TOKEN; `tidegate login` gets one, and the operator's is admin.token in the data folder")
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidegate\"")),
            ApiError::Forbidden => of(StatusCode::FORBIDDEN, "forbidden")
                .hint("a workflow's owner shares it; an admin gives the role admin"),
            ApiError::NeedsScope(_) => of(StatusCode::FORBIDDEN, "missing-scope")
                .hint("`tidegate token create --scope SCOPE` makes a token that has it"),
            ApiError::Proof => of(StatusCode::FORBIDDEN, "proof-needed")
                .hint("send the password to POST /api/v1/session/proof, or sign in again; then repeat this"),
            ApiError::NoSession => of(StatusCode::CONFLICT, "no-session")
                .hint("tokens need no proof: repeat what was refused with one"),
            ApiError::CrossOrigin => of(StatusCode::FORBIDDEN, "cross-origin")
                .hint("browsers send it from this host's own pages only"),
            ApiError::Query(_) => of(StatusCode::BAD_REQUEST, "invalid-query"),
            ApiError::Path(_) => of(StatusCode::BAD_REQUEST, "invalid-path"),
            ApiError::Json { is_data: false, .. } => of(StatusCode::BAD_REQUEST, "invalid-json"),
            ApiError::Json { is_data: true, .. } => of(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field"),
            ApiError::MediaType { .. } => of(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-content-type"),
            ApiError::Field { .. } => of(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field"),
            ApiError::Missing { .. } => of(StatusCode::NOT_FOUND, "missing"),
            ApiError::NothingDeployed { .. } => of(StatusCode::CONFLICT, "nothing-deployed")
                .hint("deploy a version first: POST its code to .../versions"),
            ApiError::NotReplayable { .. } => of(StatusCode::CONFLICT, "not-replayable")
                .hint("send the whole request as the body of the replay"),
            ApiError::Ended { .. } => of(StatusCode::CONFLICT, "ended"),
            ApiError::StreamsTaken { .. } => {
                of(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams").retry_later()
            }
            ApiError::Body(error) => Self::from(error),
            ApiError::Framing(error) => Self::from(error),
            ApiError::Registry(error) => Self::from(&**error),
            ApiError::Deploy(error) => Self::from(&**error),
            ApiError::Rotate(error) => Self::from(&**error),
            ApiError::Account(error) => Self::from(error),
            ApiError::Oidc(error) => Self::from(error),
            ApiError::Audit(_) => of(StatusCode::INTERNAL_SERVER_ERROR, "audit-log-failed"),
            ApiError::Store(error) => Self::from(error),
        }
    }
}

impl From<&AccountError> for Problem {
    fn from(error: &AccountError) -> Self {
        let of = |status, code| Self::of(status, code, error);
        match error {
            AccountError::WrongPassword => of(StatusCode::UNAUTHORIZED, "wrong-password"),
            AccountError::Link => of(StatusCode::UNAUTHORIZED, "link-unusable")
                .hint("an admin makes a new one: `tidegate user link LOGIN`"),
            AccountError::NoAccount(_) => of(StatusCode::FORBIDDEN, "no-account").hint(
                "an admin makes an account, or lets the provider's users make theirs with oidc.create_users",
            ),
            AccountError::LockedOut { retry_after } => of(StatusCode::TOO_MANY_REQUESTS, "locked-out")
                .header(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs())),
            AccountError::Busy => of(StatusCode::SERVICE_UNAVAILABLE, "busy").retry_later(),
            AccountError::Login(_) => of(StatusCode::UNPROCESSABLE_ENTITY, "invalid-login"),
            AccountError::Invalid { .. } => of(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field"),
            AccountError::Missing { .. } => of(StatusCode::NOT_FOUND, "missing"),
            AccountError::Disabled(_) => of(StatusCode::CONFLICT, "user-disabled")
                .hint("`tidegate user enable LOGIN` gives the user its rights back"),
            AccountError::Limit { .. } => of(StatusCode::UNPROCESSABLE_ENTITY, "over-limit"),
            AccountError::Hash(_) => of(StatusCode::INTERNAL_SERVER_ERROR, "password-not-hashed"),
            AccountError::Store(error) => Self::from(error),
        }
    }
}

impl From<&OidcError> for Problem {
    fn from(error: &OidcError) -> Self {
        let of = |status, code| Self::of(status, code, error);
        match error {
            OidcError::Provider { .. } => of(StatusCode::BAD_GATEWAY, "provider-failed").hint(
                "try again; the host's log has the cause, and `[oidc]` in the configuration the provider",
            ),
            OidcError::Busy => of(StatusCode::SERVICE_UNAVAILABLE, "busy").retry_later(),
            OidcError::State => of(StatusCode::BAD_REQUEST, "sign-in-lost")
                .hint("begin again at the sign-in page, by the address that the operator gave you"),
            OidcError::Refused(_) => of(StatusCode::FORBIDDEN, "provider-refused"),
            OidcError::Token(_) => of(StatusCode::FORBIDDEN, "provider-token")
                .hint("begin again at the sign-in page; when it stays so, the operator looks at `[oidc]`"),
            OidcError::NotAdmitted(_) => of(StatusCode::FORBIDDEN, "not-admitted")
                .hint("the operator says who is admitted, in the configuration's section oidc"),
        }
    }
}

impl From<&RegistryError> for Problem {
    fn from(error: &RegistryError) -> Self {
        let of = |status, code| Self::of(status, code, error);
        match error {
            RegistryError::Name(_) => of(StatusCode::UNPROCESSABLE_ENTITY, "invalid-name"),
            RegistryError::NameTaken(_) => of(StatusCode::CONFLICT, "name-taken")
                .hint("choose another name, or deploy a new version of the workflow that has it"),
            RegistryError::Missing { .. } => of(StatusCode::NOT_FOUND, "missing"),
            RegistryError::Schedule { source, .. } => {
                of(StatusCode::UNPROCESSABLE_ENTITY, "invalid-schedule").hint(source.hint())
            }
            RegistryError::Interval { .. } => of(StatusCode::UNPROCESSABLE_ENTITY, "invalid-schedule")
                .hint("write it like 90s, 15m, 1h30m or 2d"),
            RegistryError::Invalid { .. } => of(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field"),
            RegistryError::WrongKind { .. } => of(StatusCode::CONFLICT, "wrong-kind"),
            RegistryError::Conflict(_) => {
                of(StatusCode::CONFLICT, "conflict").hint("read it again and repeat the change")
            }
            RegistryError::Limit { .. } => of(StatusCode::UNPROCESSABLE_ENTITY, "over-limit"),
            RegistryError::Store(error) => Self::from(error),
        }
    }
}

impl From<&RotateError> for Problem {
    fn from(error: &RotateError) -> Self {
        match error {
            RotateError::Keys(cause @ KeysError::Foreign(_)) => {
                Self::of(StatusCode::CONFLICT, "key-elsewhere", error).hint(cause.hint())
            }
            RotateError::Keys(cause) => {
                Self::of(StatusCode::INTERNAL_SERVER_ERROR, "key-unusable", error).hint(cause.hint())
            }
            RotateError::Store(error) => Self::from(error),
        }
    }
}

impl From<&DeployError> for Problem {
    fn from(error: &DeployError) -> Self {
        let refused = |code| Self::of(StatusCode::UNPROCESSABLE_ENTITY, code, error);
        match error {
            DeployError::Registry(error) => Self::from(error),
            DeployError::Name(_) => refused("invalid-name"),
            DeployError::Scan(scan) => refused("component-refused").hint(scan.hint()),
            DeployError::Install(error) => Self::from(error),
            DeployError::World { .. } => refused("wrong-world")
                .hint("a workflow is deployed to a workflow, a language runtime is installed as a runtime"),
            DeployError::Source(diagnostics) => {
                let mut problem = refused("source-refused");
                problem.diagnostics.clone_from(diagnostics);
                problem
            }
            DeployError::SourceTooLarge => {
                Self::of(StatusCode::PAYLOAD_TOO_LARGE, "source-too-large", error)
                    .hint("keep data of that size behind an HTTP service, or deploy a folder with a requirements.txt")
            }
            DeployError::CheckTimeout { .. } => refused("source-check-timeout")
                .hint("the top level of a workflow only defines things: move what works or waits into the function"),
            DeployError::Check(_) => refused("source-check-failed"),
            DeployError::NoRuntime { known, .. } => refused("no-runtime").hint(match known.as_slice() {
                [] => "`tidegate runtime build --name python` makes the stock one and installs it".to_owned(),
                known => format!("installed are: {}", known.join(", ")),
            }),
            DeployError::Load(_) => Self::of(StatusCode::INTERNAL_SERVER_ERROR, "runtime-unusable", error),
            DeployError::Store(error) => Self::from(error),
        }
    }
}

impl From<&InstallError> for Problem {
    fn from(error: &InstallError) -> Self {
        let refused = |code| Self::of(StatusCode::UNPROCESSABLE_ENTITY, code, error);
        let failed = |code| Self::of(StatusCode::INTERNAL_SERVER_ERROR, code, error);
        match error {
            InstallError::Scan(scan) => refused("component-refused").hint(scan.hint()),
            InstallError::Link(_) => refused("component-refused").hint(ScanError::WORLD_HINT),
            InstallError::Compile(error) => Self::from(error),
            InstallError::Artefact(_) => failed("artefact-failed"),
        }
    }
}

impl From<&CompileError> for Problem {
    fn from(error: &CompileError) -> Self {
        let refused = |code| Self::of(StatusCode::UNPROCESSABLE_ENTITY, code, error);
        let limits = "build with optimisation for size; the operator sets the limits, in the configuration's section engine";
        match error {
            CompileError::Refused(_) | CompileError::Killed { .. } => refused("compile-failed"),
            CompileError::Timeout(_) => refused("compile-timeout").hint(limits),
            CompileError::Cpu { .. } => refused("compile-cpu").hint(limits),
            CompileError::Memory { .. } => refused("compile-memory").hint(limits),
            CompileError::TooLarge { .. } => refused("compile-too-large").hint(limits),
            CompileError::Busy { .. } => {
                Self::of(StatusCode::SERVICE_UNAVAILABLE, "compile-queue-full", error).retry_later()
            }
            CompileError::Run(_) => Self::of(StatusCode::INTERNAL_SERVER_ERROR, "compiler-unusable", error),
        }
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        let of = |status, code| Self::of(status, code, error);
        match error {
            StoreError::NameTaken(_) => of(StatusCode::CONFLICT, "name-taken"),
            StoreError::LoginTaken(_) => of(StatusCode::CONFLICT, "login-taken")
                .hint("logins are never used again: choose another one, or enable the user"),
            StoreError::Missing { .. } => of(StatusCode::NOT_FOUND, "missing"),
            StoreError::Conflict { .. } => of(StatusCode::CONFLICT, "conflict"),
            StoreError::Limit { .. } => of(StatusCode::UNPROCESSABLE_ENTITY, "over-limit"),
            StoreError::QueueFull { .. } => of(StatusCode::SERVICE_UNAVAILABLE, "queue-full").retry_later(),
            StoreError::Folder { .. }
            | StoreError::InUse { .. }
            | StoreError::Format { .. }
            | StoreError::Key { .. } => of(StatusCode::INTERNAL_SERVER_ERROR, "store-unusable"),
            StoreError::Damaged { .. } => of(StatusCode::INTERNAL_SERVER_ERROR, "store-damaged")
                .hint("`tidegate doctor` checks everything that is stored"),
            StoreError::Io { .. } => of(StatusCode::INTERNAL_SERVER_ERROR, "store-failed"),
            StoreError::Full { .. } => of(StatusCode::INSUFFICIENT_STORAGE, "disk-full")
                .hint("make room on the file system of the data folder; the host goes on by itself")
                .retry_later(),
            StoreError::Stopped(_) => of(StatusCode::INTERNAL_SERVER_ERROR, STOPPED)
                .hint("nothing is written any more: see the host's log, mend the disk, restart the host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_cause_is_no_error_of_the_log() {
        let of = |error: StoreError| {
            let problem = Problem::from(&error);
            of_failure(problem.status, problem.code)
        };
        assert_eq!(of(StoreError::Full { free_bytes: 1 }), Some(Failed::AsMeant));
        let full = StoreError::QueueFull { what: "1".to_owned(), limit: "1".to_owned() };
        assert_eq!(of(full), Some(Failed::AsMeant));
        assert_eq!(of(StoreError::Stopped("x".to_owned())), Some(Failed::AsMeant));
        assert_eq!(of(StoreError::Missing { what: "x".to_owned() }), None);
        let source = std::io::Error::other("x");
        assert_eq!(of(StoreError::Io { action: "x".to_owned(), source }), Some(Failed::ByAccident));
        let rate = Problem::new(StatusCode::TOO_MANY_REQUESTS, "owner-rate", String::new());
        assert_eq!(of_failure(rate.status, rate.code), None);
    }
}
