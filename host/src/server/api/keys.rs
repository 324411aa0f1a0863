//! The master key: which it is, and its change.

use axum::Json;
use axum::extract::State;

use super::{ApiError, Shared};
use crate::api::{ErrorBody, KeyView};

/// The ids of the master keys, and what needs them.
#[utoipa::path(
    get, path = "/api/v1/keys", operation_id = "listKeys", tag = "host",
    responses((status = 200, description = "The keys, never themselves", body = KeyView)),
)]
pub(super) async fn list(State(api): Shared) -> Json<KeyView> {
    Json(api.app.keys.view(&*api.app.store).await)
}

/// Makes a new master key the current one, and encrypts the data keys of all workflows with it.
#[utoipa::path(
    post, path = "/api/v1/keys/rotate", operation_id = "rotateKey", tag = "host",
    responses(
        (status = 200, description = "The keys as they are now", body = KeyView),
        (status = 409, description = "The key comes from where the host cannot write it", body = ErrorBody),
    ),
)]
pub(super) async fn rotate(State(api): Shared) -> Result<Json<KeyView>, ApiError> {
    Ok(Json(api.app.keys.rotate(&*api.app.store).await?))
}
