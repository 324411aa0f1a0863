//! What the host had in use over time.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use super::extract::Params;
use super::statistics::{StatisticsParams, range};
use super::{Api, ApiError, Shared};
use crate::api::{HistoryPoint, HistoryView};

/// What the host had in use over time: its pool, its queue, its disk, and what it refused.
/// Kept as long as statistics of runs are.
#[utoipa::path(
    get, path = "/api/v1/history", operation_id = "showHistory", tag = "host",
    params(StatisticsParams),
    responses((status = 200, description = "The history", body = HistoryView)),
)]
pub(super) async fn show(
    State(api): Shared,
    Params(params): Params<StatisticsParams>,
) -> Result<Json<HistoryView>, ApiError> {
    view(&api, &params).await.map(Json)
}

/// The history of some time.
///
/// # Errors
/// The range is wrong, or the store fails.
pub(in crate::server) async fn view(api: &Api, params: &StatisticsParams) -> Result<HistoryView, ApiError> {
    let (since, until, step_minutes) = range(params, Timestamp::now())?;
    let points = api.app.store.host_history(since, until, step_minutes).await?;
    let points = points.iter().map(|(at, figures)| HistoryPoint::new(*at, figures)).collect();
    Ok(HistoryView { since, until, step_minutes, points })
}
