//! The same run again: with what the recorded one was handed, or with an edited request.

use axum::Json;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use jiff::Timestamp;

use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{OptionalJson, Params, Segments};
use super::{Api, ApiError, Shared, request, runs};
use crate::api::{ErrorBody, ReplayMany, Replayed, ReplayedMany, RunDetail, SkippedReplay, TestRequest};
use crate::engine::{Input, Request};
use crate::invoker::Invocation;
use crate::queue::{Acceptance, Work};
use crate::registry::Entry;
use crate::run::{Run, RunId, Status, Trigger};
use crate::server::catch;
use crate::store::{RunFilter, StoreError};

/// Runs that one call queues to be run again.
const REPLAYS_MAX: usize = 500;

/// How a run is run again.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReplayParams {
    /// The version that runs; the active one when it is left out.
    version: Option<u32>,
}

/// Runs a workflow's active version again, or another one, with what a run of it was
/// handed.
#[utoipa::path(
    post, path = "/api/v1/runs/{id}/replay", operation_id = "replayRun", tag = "runs",
    params(("id" = String, Path, description = "The run's id"), ReplayParams),
    request_body(content = Option<TestRequest>, description = "Another request instead of the recorded one"),
    responses(
        (status = 200, description = "The new run, however it ended", body = RunDetail),
        (status = 404, description = "There is no such run or version, or its workflow was archived", body = ErrorBody),
        (status = 409, description = "The record does not hold the whole request, or nothing is deployed", body = ErrorBody),
        (status = 422, description = "The request is wrong; the message names the field", body = ErrorBody),
    ),
)]
pub(super) async fn replay(
    State(api): Shared,
    Segments(id): Segments<String>,
    Params(params): Params<ReplayParams>,
    request: HttpRequest,
) -> Result<Json<RunDetail>, ApiError> {
    let is_recorded = http_body::Body::is_end_stream(request.body());
    let OptionalJson(edited) =
        <OptionalJson<TestRequest> as axum::extract::FromRequest<_>>::from_request(request, &api).await?;
    again(&api, &id, (!is_recorded).then_some(edited), params.version).await.map(Json)
}

/// Runs a workflow again, with what a run of it was handed or with another request.
///
/// # Errors
/// There is no such run or version, or it cannot be run again.
pub(in crate::server) async fn again(
    api: &Api,
    id: &str,
    edited: Option<TestRequest>,
    version: Option<u32>,
) -> Result<RunDetail, ApiError> {
    let run = runs::find(api, id).await?;
    let entry = api.app.registry.by_name(run.workflow_name.as_str());
    // An archived workflow's name can be used again, by another workflow.
    let entry = entry.filter(|entry| entry.workflow.id == run.workflow);
    let entry = entry.ok_or_else(|| ApiError::Missing {
        what: format!("the workflow {} of this run", run.workflow_name),
    })?;
    let entry = match version {
        None => entry,
        Some(number) => api.app.registry.at_version(&entry, number).await?,
    };
    let input = match edited {
        None => recorded(&run)?,
        Some(edited) => Input::Request(request::written(edited, api.app.config.server.body_bytes_max)?),
    };
    let invocation = Invocation::new(Trigger::Replay { of: run.id }, input);
    runs::run(api, &entry, invocation).await
}

/// Queues runs of a workflow to be run again with what they were handed: those that failed
/// or were interrupted, unless it is said otherwise.
#[utoipa::path(
    post, path = "/api/v1/workflows/{name}/replay", operation_id = "replayRuns", tag = "runs",
    params(("name" = String, Path, description = "The workflow's name")),
    request_body(content = Option<ReplayMany>, description = "Which runs"),
    responses(
        (status = 202, description = "What is queued, and what is not", body = ReplayedMany),
        (status = 404, description = "There is no such workflow or version", body = ErrorBody),
        (status = 409, description = "Nothing is deployed", body = ErrorBody),
        (status = 422, description = "A field is wrong; the message names it", body = ErrorBody),
        (status = 503, description = "The queue is full", body = ErrorBody),
        (status = 507, description = "The disk is nearly full", body = ErrorBody),
    ),
)]
pub(super) async fn replay_many(
    State(api): Shared,
    Segments(name): Segments<String>,
    OptionalJson(asked): OptionalJson<ReplayMany>,
) -> Result<(StatusCode, Json<ReplayedMany>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(many(&api, &name, asked).await?)))
}

/// Queues runs of a workflow to be run again.
///
/// # Errors
/// Nothing is deployed, a field is wrong, or there is no room for the first of them.
pub(in crate::server) async fn many(
    api: &Api,
    name: &str,
    asked: ReplayMany,
) -> Result<ReplayedMany, ApiError> {
    let entry = api.app.registry.find(name)?;
    if entry.version.is_none() {
        return Err(ApiError::NothingDeployed { name: name.to_owned() });
    }
    if let Some(number) = asked.version {
        api.app.registry.at_version(&entry, number).await?;
    }
    let statuses = match asked.statuses.is_empty() {
        true => vec![Status::Failed, Status::Interrupted],
        false => asked.statuses,
    };
    let filter = RunFilter {
        workflow: Some(entry.workflow.id),
        among: None,
        statuses,
        trigger: asked.trigger.map(runs::trigger).transpose()?,
        since: asked.since,
        until: asked.until,
        text: asked.text.map(runs::needle).transpose()?.flatten(),
    };
    let limit = runs::limit(Some(asked.limit.unwrap_or(REPLAYS_MAX)))?;
    let page = api.app.store.runs(filter, asked.cursor, limit).await?;
    let mut replayed = ReplayedMany { queued: Vec::new(), skipped: Vec::new(), next: page.next };
    let mut last: Option<RunId> = None;
    for run in &page.runs {
        match queue_again(api, &entry, run, asked.version).await {
            Ok(new) => replayed.queued.push(Replayed { run: new, replay_of: run.id }),
            Err(ApiError::Store(error @ (StoreError::QueueFull { .. } | StoreError::Full { .. })))
                if last.is_none() =>
            {
                return Err(error.into());
            }
            // The caller goes on from here when there is room again.
            Err(ApiError::Store(StoreError::QueueFull { .. } | StoreError::Full { .. })) => {
                replayed.next = last;
                break;
            }
            Err(ApiError::Store(error)) => return Err(error.into()),
            Err(error) => {
                replayed.skipped.push(SkippedReplay { run: run.id, reason: error.to_string() });
            }
        }
        last = Some(run.id);
    }
    Ok(replayed)
}

async fn queue_again(api: &Api, entry: &Entry, run: &Run, version: Option<u32>) -> Result<RunId, ApiError> {
    let input = recorded(run)?;
    if let Input::Request(request) = &input {
        let refused = catch::check(&entry.workflow.endpoint, request).err();
        if let Some(refusal) = refused {
            return Err(ApiError::Field { field: "request", reason: refusal.to_string() });
        }
    }
    let trigger = Trigger::Replay { of: run.id };
    let work = Work { trigger, input, key: None, callback: None, version };
    match api.app.queue.accept(entry, work).await? {
        Acceptance::New(id) | Acceptance::Known(id) | Acceptance::KeyReused(id) => Ok(id),
    }
}

/// What the run was handed.
fn recorded(run: &Run) -> Result<Input, ApiError> {
    if let Trigger::Pull { schedule, due } = &run.trigger {
        return Ok(Input::Tick { schedule: schedule.clone(), due: *due });
    }
    let Some(request) = &run.request else {
        // A test run of a pull, or its replay.
        return Ok(Input::Tick { schedule: run.trigger.word().to_owned(), due: Timestamp::now() });
    };
    if request.body.is_cut() {
        let reason = "its record holds a part of the body only";
        return Err(ApiError::NotReplayable { run: run.id.to_string(), reason });
    }
    Ok(Input::Request(Request {
        method: request.method.clone(),
        path_with_query: request.path_with_query.clone(),
        headers: request.headers.clone(),
        body: request.body.bytes.clone(),
    }))
}
