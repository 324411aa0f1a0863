//! The same run again: with what the recorded one was handed, or with an edited request.

use axum::Json;
use axum::extract::{Request as HttpRequest, State};
use jiff::Timestamp;

use super::extract::{OptionalJson, Segments};
use super::{ApiError, Shared, request, runs};
use crate::api::{ErrorBody, RunDetail, TestRequest};
use crate::engine::{Input, Request};
use crate::invoker::Invocation;
use crate::run::{Run, Trigger};

/// Runs a workflow's active version again with what a run of it was handed.
#[utoipa::path(
    post, path = "/api/v1/runs/{id}/replay", operation_id = "replayRun", tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    request_body(content = Option<TestRequest>, description = "Another request instead of the recorded one"),
    responses(
        (status = 200, description = "The new run, however it ended", body = RunDetail),
        (status = 404, description = "There is no such run, or its workflow was archived", body = ErrorBody),
        (status = 409, description = "The record does not hold the whole request, or nothing is deployed", body = ErrorBody),
        (status = 422, description = "The request is wrong; the message names the field", body = ErrorBody),
    ),
)]
pub(super) async fn replay(
    State(api): Shared,
    Segments(id): Segments<String>,
    request: HttpRequest,
) -> Result<Json<RunDetail>, ApiError> {
    let run = runs::find(&api, &id).await?;
    let entry = api.app.registry.by_name(run.workflow_name.as_str());
    // An archived workflow's name can be used again, by another workflow.
    let entry = entry.filter(|entry| entry.workflow.id == run.workflow);
    let entry = entry.ok_or_else(|| ApiError::Missing {
        what: format!("the workflow {} of this run", run.workflow_name),
    })?;
    let is_recorded = http_body::Body::is_end_stream(request.body());
    let OptionalJson(edited) =
        <OptionalJson<TestRequest> as axum::extract::FromRequest<_>>::from_request(request, &api).await?;
    let input = if is_recorded {
        recorded(&run)?
    } else {
        Input::Request(request::written(edited, api.app.config.server.body_bytes_max)?)
    };
    let invocation = Invocation::new(Trigger::Replay { of: run.id }, input);
    runs::run(&api, &entry, invocation).await.map(Json)
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
