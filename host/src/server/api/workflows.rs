//! Workflows: list, create, show, change, archive.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::access::{self, Who};
use super::audit::Note;
use super::extract::{JsonBody, Segments};
use super::{Api, ApiError, Shared, view};
use crate::account::{Action, Actor};
use crate::api::{CreateWorkflow, ErrorBody, PatchWorkflow, WorkflowList, WorkflowView};
use crate::registry::Entry;

/// The workflows that one may see, by name.
#[utoipa::path(
    get, path = "/api/v1/workflows", operation_id = "listWorkflows", tag = "workflows",
    responses((status = 200, description = "The workflows", body = WorkflowList)),
)]
pub(super) async fn list(State(api): Shared, Who(actor): Who) -> Json<WorkflowList> {
    let entries = api.app.registry.list();
    let visible = entries.iter().filter(|entry| access::may(&actor, Action::ShowWorkflow, entry));
    let workflows = visible.map(|entry| view::workflow(entry, &api.app, &actor)).collect();
    Json(WorkflowList { workflows })
}

/// Creates a workflow, of which one is the owner. It runs nothing until a version is deployed to it.
#[utoipa::path(
    post, path = "/api/v1/workflows", operation_id = "createWorkflow", tag = "workflows",
    request_body = CreateWorkflow,
    responses(
        (status = 201, description = "The workflow", body = WorkflowView,
            headers(("location" = String, description = "Its path"))),
        (status = 409, description = "The name is taken, or something is not for this kind", body = ErrorBody),
        (status = 422, description = "A field is wrong; the message names it", body = ErrorBody),
    ),
)]
pub(super) async fn create(
    State(api): Shared,
    Who(actor): Who,
    note: Note,
    JsonBody(request): JsonBody<CreateWorkflow>,
) -> Result<impl IntoResponse, ApiError> {
    let owner = actor.login().map(ToString::to_string);
    let entry = api.app.registry.create(request, owner).await?;
    note.object(&entry.workflow.name);
    let location = format!("/api/v1/workflows/{}", entry.workflow.name);
    let view = view::workflow(&entry, &api.app, &actor);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)))
}

/// A workflow.
#[utoipa::path(
    get, path = "/api/v1/workflows/{name}", operation_id = "showWorkflow", tag = "workflows",
    params(("name" = String, Path, description = "The workflow's name")),
    responses(
        (status = 200, description = "The workflow", body = WorkflowView),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
    ),
)]
pub(super) async fn show(
    State(api): Shared,
    Who(actor): Who,
    Segments(name): Segments<String>,
) -> Result<Json<WorkflowView>, ApiError> {
    let entry = access::find(&api, &actor, Action::ShowWorkflow, &name)?;
    let mut shown = view::workflow(&entry, &api.app, &actor);
    if let Some(version) = &entry.version {
        shown.fusion = api.app.deployer.fusion(version.code.component()).await?;
    }
    Ok(Json(shown))
}

/// Changes a workflow: pause, resume, schedules, endpoint, limits, a new URL. Who may do
/// what with it is its owner's to change: `owner`, `managers`, `viewers`, `private`.
#[utoipa::path(
    patch, path = "/api/v1/workflows/{name}", operation_id = "changeWorkflow", tag = "workflows",
    params(("name" = String, Path, description = "The workflow's name")),
    request_body = PatchWorkflow,
    responses(
        (status = 200, description = "The workflow as it is now", body = WorkflowView),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
        (status = 409, description = "It was changed at the same time, or something is not for its kind", body = ErrorBody),
        (status = 422, description = "A field is wrong; the message names it", body = ErrorBody),
    ),
)]
pub(super) async fn change(
    State(api): Shared,
    Who(actor): Who,
    note: Note,
    Segments(name): Segments<String>,
    JsonBody(patch): JsonBody<PatchWorkflow>,
) -> Result<Json<WorkflowView>, ApiError> {
    note.fields(&patch);
    let entry = apply(&api, &actor, &name, patch).await?;
    Ok(Json(view::workflow(&entry, &api.app, &actor)))
}

/// Changes a workflow, for whoever may change it: whether they may share it is asked here.
///
/// # Errors
/// They may not, or the field that is wrong.
pub(in crate::server) async fn apply(
    api: &Api,
    actor: &Actor,
    name: &str,
    patch: PatchWorkflow,
) -> Result<Arc<Entry>, ApiError> {
    if patch.shares() {
        access::find(api, actor, Action::ShareWorkflow, name)?;
    }
    if let Some(owner) = &patch.owner {
        let user = api.app.accounts.user(owner);
        let reason = match user {
            Ok(user) if !user.disabled => None,
            Ok(user) => Some(format!("the user {} is disabled", user.login)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = reason {
            return Err(ApiError::Field { field: "owner", reason });
        }
    }
    Ok(api.app.registry.change(name, patch).await?)
}

/// Deletes a workflow with its versions, settings and runs, for good.
#[utoipa::path(
    delete, path = "/api/v1/workflows/{name}", operation_id = "archiveWorkflow", tag = "workflows",
    params(("name" = String, Path, description = "The workflow's name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
    ),
)]
pub(super) async fn archive(
    State(api): Shared,
    Segments(name): Segments<String>,
) -> Result<StatusCode, ApiError> {
    api.app.registry.archive(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
