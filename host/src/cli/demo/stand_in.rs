//! What stands in for other people's systems in the demo: one that has candidates to
//! fetch, and one that takes them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::error::{self, Explain};

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

/// Two systems at one address.
pub(super) struct StandIn {
    /// Where they are.
    pub(super) address: SocketAddr,
    imported: Arc<Mutex<Vec<Value>>>,
}

#[derive(Clone)]
struct Systems {
    /// When it was first asked.
    began: Arc<OnceLock<Instant>>,
    imported: Arc<Mutex<Vec<Value>>>,
}

impl StandIn {
    /// Starts both on a free port of this machine.
    ///
    /// # Errors
    /// No port is free.
    pub(super) async fn start() -> error::Result<Self> {
        let listener =
            tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("start the stand-ins")?;
        let address = listener.local_addr()?;
        let imported = Arc::default();
        let systems = Systems { began: Arc::default(), imported: Arc::clone(&imported) };
        let router = Router::new()
            .route("/candidates", get(candidates))
            .route("/import", post(import))
            .with_state(systems);
        // Ends with the process, as the demo does.
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, imported })
    }

    /// What arrived at the system that takes candidates.
    pub(super) fn imported(&self) -> Vec<Value> {
        self.imported.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Deserialize)]
struct After {
    after: Option<usize>,
}

async fn candidates(
    State(systems): State<Systems>,
    Query(After { after }): Query<After>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    check(&headers)?;
    let began = systems.began.get_or_init(Instant::now);
    let arrived = FIRST as u64 + began.elapsed().as_secs() / SECONDS_PER_CANDIDATE;
    let there = CANDIDATES.len().min(usize::try_from(arrived).unwrap_or(usize::MAX));
    let first = after.unwrap_or(0).min(there);
    let last = there.min(first + PAGE);
    let page: Vec<Value> = CANDIDATES[first..last]
        .iter()
        .zip(first..)
        .map(|(name, id)| json!({"id": id, "name": name}))
        .collect();
    let cursor = (last > first).then(|| last.to_string());
    Ok(Json(json!({"candidates": page, "cursor": cursor, "more": last < there})))
}

async fn import(
    State(systems): State<Systems>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<StatusCode, StatusCode> {
    check(&headers)?;
    let arrived = body["candidates"].as_array().ok_or(StatusCode::UNPROCESSABLE_ENTITY)?;
    systems.imported.lock().unwrap_or_else(PoisonError::into_inner).extend(arrived.iter().cloned());
    Ok(StatusCode::CREATED)
}

fn check(headers: &HeaderMap) -> Result<(), StatusCode> {
    let key = headers.get("x-api-key").map(|key| key.as_bytes());
    if key == Some(API_KEY.as_bytes()) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}
