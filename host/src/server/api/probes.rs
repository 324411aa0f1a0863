//! How the host is: probes for machines, numbers for Prometheus, details for people.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use hyper::HeaderMap;

use super::{Api, ApiError, Shared};
use crate::api::{About, ErrorBody, HealthView, UsageView, WorkflowUsageView};
use crate::engine::WASMTIME_VERSION;
use crate::server::console;
use crate::telemetry::{self, Gauges};

/// What a browser or `curl` is shown at `/`.
const ROOT: &str = "This is Tidegate, a host for sandboxed workflows.\n\n\
    The management API is described at /api/v1/openapi.json.\n\
    `tidegate --help` lists the commands that use it.\n";

/// Whether the process answers at all.
#[utoipa::path(
    get, path = "/healthz", operation_id = "isAlive", tag = "host", security(()),
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")),
)]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the host takes work: not while it stops, and not when the store has stopped
/// writing.
#[utoipa::path(
    get, path = "/readyz", operation_id = "isReady", tag = "host", security(()),
    responses(
        (status = 200, description = "It takes work", body = String, content_type = "text/plain"),
        (status = 503, description = "It does not", body = String, content_type = "text/plain"),
    ),
)]
pub(super) async fn readyz(State(api): Shared) -> (StatusCode, &'static str) {
    match not_ready(&api) {
        None => (StatusCode::OK, "ready\n"),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

fn not_ready(api: &Api) -> Option<&'static str> {
    if api.draining.is_cancelled() {
        return Some("stopping\n");
    }
    // Asked on the thread that accepts: not by way of what others lock, or of the disk.
    api.app.store.has_stopped().then_some("the store stopped writing\n")
}

/// All counters, in the OpenMetrics text format. Programs on the host's own machine need
/// no token.
#[utoipa::path(
    get, path = "/metrics", operation_id = "readMetrics", tag = "host", security((), ("token" = [])),
    responses(
        (status = 200, description = "The counters", body = String, content_type = "application/openmetrics-text"),
        (status = 401, description = "A token is needed", body = ErrorBody),
    ),
)]
pub(super) async fn metrics(State(api): Shared) -> impl IntoResponse {
    let app = &api.app;
    let engine = app.engine.gauges();
    let text = app.telemetry.render(&Gauges {
        instances_in_use: engine.instances.into(),
        instances_max: engine.instances_max.into(),
        instances_memory_bytes: engine.memory_bytes,
        slots: engine.slots.unwrap_or_default(),
        runs_waiting: app.invoker.gauges().queued as u64,
        workflows: app.registry.list().len() as u64,
        schedules_overrun: app.scheduler.overruns() as u64,
        store: app.store.health(),
        queue: app.store.queue_figures(),
        egress_refused: app.egress.counters().refused().collect(),
    });
    ([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], text)
}

/// Versions.
#[utoipa::path(
    get, path = "/api/v1/version", operation_id = "showVersion", tag = "host",
    responses((status = 200, description = "The versions", body = About)),
)]
pub(in crate::server) async fn version(State(api): Shared) -> Json<About> {
    Json(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wasmtime: WASMTIME_VERSION.to_owned(),
        started_at: api.app.started_at,
    })
}

/// What the disk is used for.
#[utoipa::path(
    get, path = "/api/v1/usage", operation_id = "showUsage", tag = "host",
    responses((status = 200, description = "The bytes", body = UsageView)),
)]
pub(in crate::server) async fn usage(State(api): Shared) -> Result<Json<UsageView>, ApiError> {
    let app = &api.app;
    let kept = app.store.usage().await?;
    let mut workflows: Vec<_> = kept
        .into_iter()
        .filter_map(|own| {
            let name = app.registry.by_id(own.workflow)?.workflow.name.clone();
            Some(WorkflowUsageView { name, runs: own.runs, run_bytes: own.bytes })
        })
        .collect();
    workflows.sort_by(|a, b| a.name.cmp(&b.name));
    let health = app.store.health();
    Ok(Json(UsageView {
        workflows,
        run_bytes: health.run_bytes,
        dead_bytes: health.dead_bytes,
        index_bytes: health.index_bytes,
        statistics_bytes: health.statistics_bytes,
        queue_bytes: health.queue_bytes,
        blob_bytes: health.blob_bytes,
        free_bytes: health.free_bytes,
    }))
}

/// How the host is, in detail.
#[utoipa::path(
    get, path = "/api/v1/health", operation_id = "showHealth", tag = "host",
    responses((status = 200, description = "The host", body = HealthView)),
)]
pub(in crate::server) async fn health(State(api): Shared) -> Json<HealthView> {
    let app = &api.app;
    let (engine, invoker) = (app.engine.gauges(), app.invoker.gauges());
    Json(HealthView {
        ready: not_ready(&api).is_none(),
        started_at: app.started_at,
        workflows: app.registry.list().len() as u64,
        runs_running: invoker.running as u64,
        runs_waiting: invoker.queued as u64,
        instances_in_use: engine.instances.into(),
        instances_max: engine.instances_max.into(),
        instances_memory_bytes: engine.memory_bytes,
        slots: engine.slots,
        store: app.store.health(),
    })
}

/// A few words for people.
#[utoipa::path(
    get, path = "/", operation_id = "root", tag = "host", security(()),
    responses((status = 200, description = "The words", body = String, content_type = "text/plain")),
)]
pub(super) async fn root(headers: HeaderMap) -> Response {
    match console::wants_page(&headers) {
        true => Redirect::to("/workflows").into_response(),
        false => ROOT.into_response(),
    }
}
