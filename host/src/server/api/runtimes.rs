//! Language runtimes: what runs workflows that are deployed as source.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;

use super::extract::{self, Segments};
use super::{ApiError, Shared};
use crate::api::{ErrorBody, RuntimeList, RuntimeView};

/// The installed runtimes with their packages.
#[utoipa::path(
    get, path = "/api/v1/runtimes", operation_id = "listRuntimes", tag = "runtimes",
    responses((status = 200, description = "The runtimes", body = RuntimeList)),
)]
pub(super) async fn list(State(api): Shared) -> Result<Json<RuntimeList>, ApiError> {
    Ok(Json(RuntimeList { runtimes: api.app.deployer.runtimes().await? }))
}

/// Installs a runtime, or replaces the one of that name. Versions that were deployed to
/// the old one keep it.
#[utoipa::path(
    put, path = "/api/v1/runtimes/{name}", operation_id = "installRuntime", tag = "runtimes",
    params(("name" = String, Path, description = "The runtime's name")),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "A component for the world `runtime`"),
    responses(
        (status = 201, description = "The runtime", body = RuntimeView),
        (status = 413, description = "The component is too large", body = ErrorBody),
        (status = 422, description = "The component is refused", body = ErrorBody),
    ),
)]
pub(super) async fn install(
    State(api): Shared,
    Segments(name): Segments<String>,
    request: Request,
) -> Result<(StatusCode, Json<RuntimeView>), ApiError> {
    const WANTED: &str = "application/wasm";
    let found = extract::content_type(&request);
    if found != WANTED {
        return Err(extract::wrong_type(&found, WANTED));
    }
    let wasm = extract::upload(request, &api, api.app.config.runtime.upload_bytes_max).await?;
    let runtime = api.app.deployer.install_runtime(&name, wasm).await?;
    Ok((StatusCode::CREATED, Json(runtime)))
}
