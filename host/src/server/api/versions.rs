//! Versions: deploy, list, download, activate.

use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::Who;
use super::audit::Note;
use super::extract::{OptionalJson, Params, Segments};
use super::{ApiError, Shared, extract, view};
use crate::api::{Activate, Checked, Deployed, ErrorBody, VersionList, VersionView, WorkflowView};
use crate::deploy::{DeployError, SOURCE_BYTES_MAX};
use crate::server::body::BodyError;
use crate::workflow::{Code, Digest, Version, Workflow};

const WASM: &str = "application/wasm";
const PYTHON: &str = "text/x-python";
/// A source's name when the upload gives none.
const FILE: &str = "workflow.py";

/// What is said of an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadParams {
    /// What is new, for people; at most 2,000 bytes.
    #[serde(default)]
    message: String,
    /// The source file's name, as tracebacks show it; `workflow.py` when it is left out.
    file: Option<String>,
    /// The runtime that runs the source; the default one when it is left out.
    runtime: Option<String>,
    /// `true` only says whether the program would be accepted: there is no new version.
    #[serde(default)]
    check: bool,
}

/// The versions of a workflow, newest first.
#[utoipa::path(
    get, path = "/api/v1/workflows/{name}/versions", operation_id = "listVersions", tag = "versions",
    params(("name" = String, Path, description = "The workflow's name")),
    responses(
        (status = 200, description = "The versions", body = VersionList),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
    ),
)]
pub(super) async fn list(
    State(api): Shared,
    Segments(name): Segments<String>,
) -> Result<Json<VersionList>, ApiError> {
    let (entry, versions) = api.app.registry.versions(&name).await?;
    let active = entry.workflow.active_version;
    let versions = versions.iter().rev().map(|version| VersionView::new(version, active)).collect();
    Ok(Json(VersionList { versions }))
}

/// Deploys: uploads a component or a Python source file, which becomes the version that
/// runs.
#[utoipa::path(
    post, path = "/api/v1/workflows/{name}/versions", operation_id = "deployVersion", tag = "versions",
    params(("name" = String, Path, description = "The workflow's name"), UploadParams),
    request_body(content(
        (Vec<u8> = "application/wasm"),
        (String = "text/x-python"),
    ), description = "A component for the world `workflow`, or source"),
    responses(
        (status = 200, description = "`check` was asked for, and the program would be accepted", body = Checked),
        (status = 201, description = "The new version", body = Deployed),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
        (status = 409, description = "The workflow was archived meanwhile", body = ErrorBody),
        (status = 422, description = "The program is refused; `diagnostics` says what is wrong where", body = ErrorBody),
    ),
)]
pub(super) async fn upload(
    State(api): Shared,
    Who(actor): Who,
    note: Note,
    Segments(name): Segments<String>,
    Params(params): Params<UploadParams>,
    request: Request,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    let entry = api.app.registry.find(&name)?;
    let deployer = &api.app.deployer;
    let by = actor.login().map(ToString::to_string);
    let UploadParams { message, file, runtime, check } = params;
    let deployed = match extract::content_type(&request).as_str() {
        WASM => {
            need_no_source(&file, &runtime)?;
            let wasm = extract::upload(request, &api, api.app.config.server.upload_bytes_max).await?;
            match check {
                true => deployer.check_component(&name, wasm, &message).await.map(|()| None)?,
                false => deployer.component(&name, wasm, message, by).await.map(Some)?,
            }
        }
        PYTHON => {
            let source = extract::upload(request, &api, SOURCE_BYTES_MAX).await.map_err(source_too_large)?;
            let file = file.unwrap_or_else(|| FILE.to_owned());
            match check {
                true => deployer.check_source(&name, file, source, runtime, &message).await.map(|()| None)?,
                false => deployer.source(&name, file, source, runtime, message, by).await.map(Some)?,
            }
        }
        other => return Err(extract::wrong_type(other, "application/wasm or text/x-python")),
    };
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let Some(entry) = deployed else {
        note.add("check only");
        let Workflow { name, kind, .. } = &*entry.workflow;
        let checked = Checked { name: name.clone(), kind: *kind, check_ms: took_ms };
        return Ok(Json(checked).into_response());
    };
    let workflow = &entry.workflow;
    let version = entry.version.as_ref().map_or(0, |version| version.number);
    note.add(format!("version {version}"));
    let deployed = Deployed {
        name: workflow.name.clone(),
        kind: workflow.kind,
        version,
        url: view::url(workflow, &api.app.urls),
        next_due: view::next_due(workflow),
        deploy_ms: took_ms,
    };
    Ok((StatusCode::CREATED, Json(deployed)).into_response())
}

/// What is too large is the source, for whoever sends one.
fn source_too_large(error: ApiError) -> ApiError {
    match error {
        ApiError::Body(BodyError::TooLarge { .. }) => DeployError::SourceTooLarge.into(),
        other => other,
    }
}

fn need_no_source(file: &Option<String>, runtime: &Option<String>) -> Result<(), ApiError> {
    let reason = "is for source, and this is a component".to_owned();
    match (file, runtime) {
        (None, None) => Ok(()),
        (Some(_), _) => Err(ApiError::Field { field: "file", reason }),
        (None, Some(_)) => Err(ApiError::Field { field: "runtime", reason }),
    }
}

/// What was uploaded as a version: its source, or its component.
#[utoipa::path(
    get, path = "/api/v1/workflows/{name}/versions/{number}/source", operation_id = "downloadVersion", tag = "versions",
    params(
        ("name" = String, Path, description = "The workflow's name"),
        ("number" = u32, Path, description = "The version's number"),
    ),
    responses(
        (status = 200, description = "The file as it was uploaded", content(
            (String = "text/x-python"),
            (Vec<u8> = "application/wasm"),
        )),
        (status = 404, description = "There is no such workflow or version", body = ErrorBody),
    ),
)]
pub(super) async fn source(
    State(api): Shared,
    Segments((name, number)): Segments<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let (_, versions) = api.app.registry.versions(&name).await?;
    let missing = || ApiError::Missing { what: format!("version {number} of the workflow {name:?}") };
    let wanted: u32 = number.parse().map_err(|_| missing())?;
    let version = versions.into_iter().find(|version| version.number == wanted).ok_or_else(missing)?;
    let (digest, content_type, file) = download(&name, version);
    let bytes = api.app.store.blob(digest).await?;
    // Never shown by a browser, always saved: it is somebody's code.
    let disposition = format!("attachment; filename=\"{}\"", quoted(&file));
    Ok(([(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_DISPOSITION, disposition)], bytes))
}

fn download(name: &str, version: Version) -> (Digest, &'static str, String) {
    match version.code {
        Code::Component { component, .. } => (component, WASM, format!("{name}-{}.wasm", version.number)),
        Code::Source { source, file, .. } => (source, PYTHON, file),
    }
}

/// A file name for a quoted string: what has a meaning there, or is not ASCII, becomes
/// `_`.
fn quoted(file: &str) -> String {
    file.chars().map(|c| if c.is_ascii_graphic() && c != '"' && c != '\\' { c } else { '_' }).collect()
}

/// Makes another version the one that runs: by default the one before the active one.
#[utoipa::path(
    post, path = "/api/v1/workflows/{name}/activate", operation_id = "activateVersion", tag = "versions",
    params(("name" = String, Path, description = "The workflow's name")),
    request_body(content = Option<Activate>, description = "Which version"),
    responses(
        (status = 200, description = "The workflow as it is now", body = WorkflowView),
        (status = 404, description = "There is no such workflow or version", body = ErrorBody),
        (status = 409, description = "It was changed at the same time", body = ErrorBody),
        (status = 422, description = "A field is wrong; the message names it", body = ErrorBody),
    ),
)]
pub(super) async fn activate(
    State(api): Shared,
    Who(actor): Who,
    note: Note,
    Segments(name): Segments<String>,
    OptionalJson(request): OptionalJson<Activate>,
) -> Result<Json<WorkflowView>, ApiError> {
    let entry = api.app.registry.activate(&name, request).await?;
    note.add(format!("version {}", entry.workflow.active_version.unwrap_or(0)));
    Ok(Json(view::workflow(&entry, &api.app, &actor)))
}
