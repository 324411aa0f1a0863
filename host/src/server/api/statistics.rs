//! Statistics: rates, failures and percentiles over time, of a workflow or of the host.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{Params, Segments};
use super::{Api, ApiError, Shared};
use crate::api::{ErrorBody, Percentiles, StatisticsPoint, StatisticsView};
use crate::statistics::{Rollup, Sketch};
use crate::workflow::WorkflowId;

/// Most points of an answer.
const POINTS_MAX: i64 = 2000;
/// Points of an answer when the caller names no step.
const POINTS: i64 = 120;
/// Longest step: a leap year, in minutes. The document says so too.
const STEP_MINUTES_MAX: u32 = 527_040;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Which time, in which steps.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::server) struct StatisticsParams {
    /// From this instant on (RFC 3339), its minute included; about a day before `until` when
    /// it is left out.
    #[param(value_type = Option<String>, format = DateTime)]
    pub(in crate::server) since: Option<Timestamp>,
    /// Before this instant (RFC 3339), its minute excluded; now and its minute when it is
    /// left out.
    #[param(value_type = Option<String>, format = DateTime)]
    pub(in crate::server) until: Option<Timestamp>,
    /// Minutes of one point; left out, so many that there are about 120 points. At most
    /// 2,000 points.
    #[param(minimum = 1, maximum = 527040)]
    pub(in crate::server) step_minutes: Option<u32>,
}

/// The runs of all workflows over time, by the minute in which they ended.
#[utoipa::path(
    get, path = "/api/v1/statistics", operation_id = "showStatistics", tag = "runs",
    params(StatisticsParams),
    responses((status = 200, description = "The statistics", body = StatisticsView)),
)]
pub(super) async fn of_all(
    State(api): Shared,
    Params(params): Params<StatisticsParams>,
) -> Result<Json<StatisticsView>, ApiError> {
    view(&api, None, params).await.map(Json)
}

/// The runs of a workflow over time, by the minute in which they ended.
#[utoipa::path(
    get, path = "/api/v1/workflows/{name}/statistics", operation_id = "showStatisticsOfWorkflow", tag = "runs",
    params(("name" = String, Path, description = "The workflow's name"), StatisticsParams),
    responses(
        (status = 200, description = "The statistics", body = StatisticsView),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
    ),
)]
pub(super) async fn of_workflow(
    State(api): Shared,
    Segments(name): Segments<String>,
    Params(params): Params<StatisticsParams>,
) -> Result<Json<StatisticsView>, ApiError> {
    let entry = api.app.registry.find(&name)?;
    view(&api, Some(entry.workflow.id), params).await.map(Json)
}

/// The statistics of a workflow or of all.
///
/// # Errors
/// The range is wrong, or the store fails.
pub(in crate::server) async fn view(
    api: &Api,
    workflow: Option<WorkflowId>,
    params: StatisticsParams,
) -> Result<StatisticsView, ApiError> {
    let (since, until, step_minutes) = range(&params, Timestamp::now())?;
    let points = api.app.store.statistics(workflow, since, until, step_minutes).await?;
    Ok(seen(since, until, step_minutes, &points))
}

/// The statistics of each of some workflows, or of all without `among`; those without runs are
/// left out.
///
/// # Errors
/// The range is wrong, or the store fails.
pub(in crate::server) async fn views(
    api: &Api,
    among: Option<HashSet<WorkflowId>>,
    params: StatisticsParams,
) -> Result<HashMap<WorkflowId, StatisticsView>, ApiError> {
    let (since, until, step_minutes) = range(&params, Timestamp::now())?;
    let found = api.app.store.statistics_by_workflow(among, since, until, step_minutes).await?;
    Ok(found.into_iter().map(|(id, points)| (id, seen(since, until, step_minutes, &points))).collect())
}

fn seen(
    since: Timestamp,
    until: Timestamp,
    step_minutes: u32,
    points: &[(Timestamp, Rollup)],
) -> StatisticsView {
    let mut total = Rollup::default();
    points.iter().for_each(|(_, rollup)| total.merge(rollup));
    StatisticsView {
        since,
        until,
        step_minutes,
        total: point(since, &total),
        points: points.iter().map(|(at, rollup)| point(*at, rollup)).collect(),
    }
}

/// The minutes that are asked for, and those of a point.
///
/// # Errors
/// The range is wrong, or has too many points.
pub(super) fn range(
    params: &StatisticsParams,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp, u32), ApiError> {
    let wrong = |text: String| Err(ApiError::Query(text));
    let minute = |at: Timestamp| at.as_second().div_euclid(60);
    // The current minute belongs to it.
    let last = params.until.map_or(minute(now) + 1, minute);
    let first = match params.since {
        Some(since) => minute(since),
        None => last - DAY.as_mins(),
    };
    if first >= last {
        return wrong("since: must be at least a minute before until".to_owned());
    }
    let step = match params.step_minutes {
        Some(0) => return wrong("step_minutes: must be at least 1".to_owned()),
        Some(step) if step > STEP_MINUTES_MAX => {
            return wrong(format!("step_minutes: must be at most {STEP_MINUTES_MAX}"));
        }
        None => ((last - first) / POINTS).max(1),
        Some(step) => i64::from(step),
    };
    // Hours begin at full hours, unless the caller says when.
    let first = if params.since.is_some() { first } else { first - first.rem_euclid(step) };
    let points = (last - first).div_euclid(step) + 1;
    if points > POINTS_MAX {
        return wrong(format!("step_minutes: {points} points are over the limit of {POINTS_MAX}"));
    }
    let at = |minute: i64| {
        Timestamp::from_second(minute * 60).map_err(|error| ApiError::Query(format!("since: {error}")))
    };
    let step = u32::try_from(step).map_err(|_| ApiError::Query("step_minutes: is too large".to_owned()))?;
    Ok((at(first)?, at(last)?, step))
}

fn point(at: Timestamp, rollup: &Rollup) -> StatisticsPoint {
    let owned = |counts: &BTreeMap<&'static str, u64>| {
        counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    };
    StatisticsPoint {
        at,
        runs: rollup.runs(),
        statuses: owned(&rollup.statuses),
        faults: owned(&rollup.faults),
        duration_ms: percentiles(&rollup.duration_us, 1e3),
        memory_bytes: percentiles(&rollup.memory_bytes, 1.0),
        lateness_ms: percentiles(&rollup.lateness_us, 1e3),
    }
}

fn percentiles(sketch: &Sketch, per_unit: f64) -> Option<Percentiles> {
    let of = |share: f64| sketch.quantile(share).map(|value| value as f64 / per_unit);
    Some(Percentiles {
        p50: of(0.5)?,
        p95: of(0.95)?,
        p99: of(0.99)?,
        max: sketch.max() as f64 / per_unit,
        mean: sketch.sum() as f64 / per_unit / sketch.count() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_minutes_with_bounded_points() {
        let now: Timestamp = "2026-03-01T12:00:30Z".parse().unwrap();
        let of = |since: Option<&str>, until: Option<&str>, step_minutes| {
            let at = |text: Option<&str>| text.map(|text| text.parse().unwrap());
            let params = StatisticsParams { since: at(since), until: at(until), step_minutes };
            range(&params, now)
                .map(|(since, until, step)| format!("{since} {until} {step}"))
                .map_err(|e| e.to_string())
        };
        assert_eq!(of(None, None, None).unwrap(), "2026-02-28T12:00:00Z 2026-03-01T12:01:00Z 12");
        assert_eq!(
            of(Some("2026-03-01T11:58:59Z"), None, Some(1)).unwrap(),
            "2026-03-01T11:58:00Z 2026-03-01T12:01:00Z 1"
        );
        assert!(of(Some("2026-03-01T13:00:00Z"), None, None).unwrap_err().contains("at least a minute"));
        assert!(
            of(Some("2025-03-01T13:00:00Z"), None, Some(1)).unwrap_err().contains("over the limit of 2000")
        );
        assert!(of(None, None, Some(0)).unwrap_err().contains("at least 1"));
        assert!(of(None, None, Some(STEP_MINUTES_MAX)).is_ok());
        assert!(of(None, None, Some(STEP_MINUTES_MAX + 1)).unwrap_err().contains("at most 527040"));
    }
}
