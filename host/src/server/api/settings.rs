//! Settings: write-only, unless they are marked plain.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::{Who, need_proof};
use super::audit::Note;
use super::extract::{JsonBody, Params, Segments};
use super::{ApiError, Shared, view};
use crate::api::{ErrorBody, PatchSettings, SettingList, SettingSpec};
use crate::workflow::Visibility;

/// How settings are written.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChangeParams {
    /// Marks the settings that are set as `secret` or `plain`; left out, they keep what they
    /// have, and new ones are secret.
    visibility: Option<Visibility>,
}

/// The names of the settings, and the values of those that are plain.
#[utoipa::path(
    get, path = "/api/v1/workflows/{name}/settings", operation_id = "listSettings", tag = "settings",
    params(("name" = String, Path, description = "The workflow's name")),
    responses(
        (status = 200, description = "The settings", body = SettingList),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
    ),
)]
pub(super) async fn list(
    State(api): Shared,
    Segments(name): Segments<String>,
) -> Result<Json<SettingList>, ApiError> {
    Ok(Json(view::settings(&*api.app.registry.settings(&name).await?)))
}

/// Sets and deletes settings, all or none: a JSON merge patch over their names, in which
/// `null` deletes.
#[utoipa::path(
    patch, path = "/api/v1/workflows/{name}/settings", operation_id = "changeSettings", tag = "settings",
    params(("name" = String, Path, description = "The workflow's name"), ChangeParams),
    request_body(content = std::collections::BTreeMap<String, Option<serde_json::Value>>, description = "Names and new values"),
    responses(
        (status = 200, description = "The settings as they are now", body = SettingList),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
        (status = 422, description = "A name or a value is not allowed", body = ErrorBody),
    ),
)]
pub(super) async fn change(
    State(api): Shared,
    Who(actor): Who,
    note: Note,
    Segments(name): Segments<String>,
    Params(params): Params<ChangeParams>,
    JsonBody(patch): JsonBody<PatchSettings>,
) -> Result<Json<SettingList>, ApiError> {
    patch.keys().for_each(|name| note.add(name));
    if params.visibility == Some(Visibility::Plain) {
        need_proof(&api, &actor)?;
    }
    let by = actor.login().map(ToString::to_string);
    let settings = api.app.registry.change_settings(&name, patch, params.visibility, by).await?;
    Ok(Json(view::settings(&settings)))
}

/// Sets one setting, or changes how its value is treated. Others stay as they are.
#[utoipa::path(
    put, path = "/api/v1/workflows/{name}/settings/{setting}", operation_id = "putSetting", tag = "settings",
    params(
        ("name" = String, Path, description = "The workflow's name"),
        ("setting" = String, Path, description = "The setting's name"),
    ),
    request_body = SettingSpec,
    responses(
        (status = 200, description = "The settings as they are now", body = SettingList),
        (status = 404, description = "There is no such workflow, or no setting whose value could be kept", body = ErrorBody),
        (status = 422, description = "The name, the value or the seal is not allowed", body = ErrorBody),
    ),
)]
pub(super) async fn put(
    State(api): Shared,
    Who(actor): Who,
    note: Note,
    Segments((name, setting)): Segments<(String, String)>,
    JsonBody(spec): JsonBody<SettingSpec>,
) -> Result<Json<SettingList>, ApiError> {
    note.add(&setting);
    if spec.visibility == Some(Visibility::Plain) {
        need_proof(&api, &actor)?;
    }
    let by = actor.login().map(ToString::to_string);
    let settings = api.app.registry.put_setting(&name, &setting, spec, by).await?;
    Ok(Json(view::settings(&settings)))
}
