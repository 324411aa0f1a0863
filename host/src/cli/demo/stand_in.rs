//! What stands in for other people's systems in the demo: one that has candidates to
//! fetch, and one that takes them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::services::{Asked, Services, Told};
use crate::cli::error::{Explain, Result};

/// The key that both systems want.
pub(super) const API_KEY: &str = "demo-key";

const CANDIDATES: [&str; 12] = [
    "Ada",
    "Grace",
    "Barbara",
    "Radia",
    "Frances",
    "Margaret",
    "Katherine",
    "Hedy",
    "Joan",
    "Karen",
    "Evelyn",
    "Annie",
];
/// Candidates that are there from the beginning; then one more comes every so often.
const FIRST: usize = 3;
const SECONDS_PER_CANDIDATE: u64 = 15;
/// Candidates of one page.
const PAGE: usize = 2;
/// Bytes of an import.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Two systems, and the services of the case studies, at one address.
pub(super) struct StandIn {
    /// Where they are.
    pub(super) address: SocketAddr,
    /// The services of the case studies.
    pub(super) services: Arc<Services>,
    imported: Arc<Mutex<Vec<Value>>>,
}

#[derive(Clone)]
struct Systems {
    /// When it was first asked.
    began: Arc<OnceLock<Instant>>,
    imported: Arc<Mutex<Vec<Value>>>,
    services: Arc<Services>,
}

impl StandIn {
    /// Starts both on a free port of this machine.
    ///
    /// # Errors
    /// No port is free.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("start the stand-ins")?;
        let address = listener.local_addr()?;
        let (imported, services): (_, Arc<Services>) = Default::default();
        let systems =
            Systems { began: Arc::default(), imported: Arc::clone(&imported), services: services.clone() };
        // Ends with the process, as the demo does.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let systems = systems.clone();
                let service = service_fn(move |request| answer(systems.clone(), request));
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A caller that hangs up is no matter.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { address, services, imported })
    }

    /// What arrived at the system that takes candidates.
    pub(super) fn imported(&self) -> Vec<Value> {
        self.imported.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the stand-in hangs up on demand")]
struct HangUp;

async fn answer(
    systems: Systems,
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, HangUp> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let asked = Asked {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        key: header("x-api-key"),
        batch: header("idempotency-key"),
        body: &bytes,
    };
    match systems.services.answer(&asked) {
        Some(Told::Answer(status, document)) => return Ok(json_response(status, &document)),
        Some(Told::Nonsense) => return Ok(Response::new("<html>down for maintenance</html>".into())),
        Some(Told::HangUp) => return Err(HangUp),
        Some(Told::Slow(how)) => {
            tokio::time::sleep(how).await;
            return Err(HangUp);
        }
        None => {}
    }
    let key = header("x-api-key");
    let (status, document) = match (&head.method, head.uri.path()) {
        _ if key != Some(API_KEY) => (StatusCode::UNAUTHORIZED, Value::Null),
        (&Method::GET, "/candidates") => (StatusCode::OK, systems.page(head.uri.query().unwrap_or_default())),
        (&Method::POST, "/import") => (systems.import(&bytes), Value::Null),
        _ => (StatusCode::NOT_FOUND, Value::Null),
    };
    Ok(json_response(status, &document))
}

fn json_response(status: StatusCode, document: &Value) -> Response<Full<Bytes>> {
    let body = if document.is_null() { Bytes::new() } else { document.to_string().into() };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    // HrFlow.ai's SDK looks for this very text.
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

impl Systems {
    fn page(&self, query: &str) -> Value {
        let seconds = self.began.get_or_init(Instant::now).elapsed().as_secs();
        let arrived = FIRST as u64 + seconds / SECONDS_PER_CANDIDATE;
        let there = CANDIDATES.len().min(usize::try_from(arrived).unwrap_or(usize::MAX));
        let after = query.strip_prefix("after=").and_then(|after| after.parse().ok()).unwrap_or(0);
        let first = there.min(after);
        let last = there.min(first + PAGE);
        let page: Vec<Value> = CANDIDATES[first..last]
            .iter()
            .zip(first..)
            .map(|(name, id)| json!({"id": id, "name": name}))
            .collect();
        let cursor = (last > first).then(|| last.to_string());
        json!({"candidates": page, "cursor": cursor, "more": last < there})
    }

    fn import(&self, body: &[u8]) -> StatusCode {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(arrived) = document["candidates"].as_array() else {
            return StatusCode::UNPROCESSABLE_ENTITY;
        };
        self.imported.lock().unwrap_or_else(PoisonError::into_inner).extend(arrived.iter().cloned());
        StatusCode::CREATED
    }
}
