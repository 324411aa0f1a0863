//! Requests that are kept with a workflow, for tests of it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::audit::Note;
use super::extract::{JsonBody, Segments};
use super::{Api, ApiError, Shared, request};
use crate::api::{ErrorBody, SampleList, SampleView, TestRequest};
use crate::registry::Entry;

/// The requests that are kept with a workflow. They are for people and programs that try it;
/// the host itself does nothing with them.
#[utoipa::path(
    get, path = "/api/v1/workflows/{name}/samples", operation_id = "listSamples", tag = "workflows",
    params(("name" = String, Path, description = "The workflow's name")),
    responses(
        (status = 200, description = "The kept requests", body = SampleList),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
    ),
)]
pub(super) async fn list(
    State(api): Shared,
    Segments(name): Segments<String>,
) -> Result<Json<SampleList>, ApiError> {
    Ok(Json(view(&*api.app.registry.find(&name)?)))
}

fn view(entry: &Entry) -> SampleList {
    SampleList { samples: entry.workflow.samples.iter().map(SampleView::from).collect() }
}

/// Keeps a request with a catch workflow, under a name; one that has the name is replaced. A
/// workflow keeps at most 20, of 64 KiB together.
#[utoipa::path(
    put, path = "/api/v1/workflows/{name}/samples/{sample}", operation_id = "putSample", tag = "workflows",
    params(
        ("name" = String, Path, description = "The workflow's name"),
        ("sample" = String, Path, description = "The request's name"),
    ),
    request_body = TestRequest,
    responses(
        (status = 200, description = "The kept requests as they are now", body = SampleList),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
        (status = 409, description = "The workflow is no catch, or was changed at the same time", body = ErrorBody),
        (status = 422, description = "The request is wrong, or there is no room for it; the message says what", body = ErrorBody),
    ),
)]
pub(super) async fn put(
    State(api): Shared,
    note: Note,
    Segments((name, sample)): Segments<(String, String)>,
    JsonBody(asked): JsonBody<TestRequest>,
) -> Result<Json<SampleList>, ApiError> {
    note.add(&sample);
    keep(&api, &name, sample, asked).await.map(|entry| Json(view(&entry)))
}

/// Keeps a request, when it is one.
///
/// # Errors
/// The field that is wrong.
pub(in crate::server) async fn keep(
    api: &Api,
    name: &str,
    sample: String,
    asked: TestRequest,
) -> Result<std::sync::Arc<Entry>, ApiError> {
    request::written(asked.clone(), api.app.config.server.body_bytes_max)?;
    Ok(api.app.registry.keep_sample(name, SampleView::kept(sample, asked)).await?)
}

/// Removes a kept request.
#[utoipa::path(
    delete, path = "/api/v1/workflows/{name}/samples/{sample}", operation_id = "removeSample", tag = "workflows",
    params(
        ("name" = String, Path, description = "The workflow's name"),
        ("sample" = String, Path, description = "The request's name"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such workflow or request", body = ErrorBody),
    ),
)]
pub(super) async fn remove(
    State(api): Shared,
    note: Note,
    Segments((name, sample)): Segments<(String, String)>,
) -> Result<StatusCode, ApiError> {
    note.add(&sample);
    api.app.registry.remove_sample(&name, &sample).await?;
    Ok(StatusCode::NO_CONTENT)
}
