//! Schedules: change, preview, and the ledger of what became of due instants.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{JsonBody, Params, Segments};
use super::{ApiError, Shared, runs, view};
use crate::api::{ErrorBody, ScheduleSpec, ScheduleView, StretchView, TickList, TickView, UpcomingList};
use crate::registry::RegistryError;
use crate::schedule::{Cadence, Schedule};
use crate::scheduler::history::{self, Cursor, Filter};
use crate::store::{Tick, TickPlace, TickState};

/// Due instants of a preview when the caller names no number.
const UPCOMING_DEFAULT: usize = 10;
/// Most due instants of a preview.
const UPCOMING_MAX: usize = 1_000;

/// Creates a schedule, or changes what is given of one that is there.
#[utoipa::path(
    patch, path = "/api/v1/workflows/{name}/schedules/{schedule}", operation_id = "changeSchedule", tag = "schedules",
    params(
        ("name" = String, Path, description = "The workflow's name"),
        ("schedule" = String, Path, description = "The schedule's name"),
    ),
    request_body = ScheduleSpec,
    responses(
        (status = 200, description = "The schedule as it is now", body = ScheduleView),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
        (status = 409, description = "It was changed at the same time, or the workflow is no pull", body = ErrorBody),
        (status = 422, description = "A field is wrong; the message names it", body = ErrorBody),
    ),
)]
pub(super) async fn change(
    State(api): Shared,
    Segments((name, schedule)): Segments<(String, String)>,
    JsonBody(spec): JsonBody<ScheduleSpec>,
) -> Result<Json<ScheduleView>, ApiError> {
    let entry = api.app.registry.set_schedule(&name, &schedule, spec).await?;
    let found = find(&entry.workflow.schedules, &name, &schedule)?;
    Ok(Json(view::schedule(found, &entry.workflow, Timestamp::now(), &api.app)))
}

/// Removes a schedule. Its ledger stays.
#[utoipa::path(
    delete, path = "/api/v1/workflows/{name}/schedules/{schedule}", operation_id = "removeSchedule", tag = "schedules",
    params(
        ("name" = String, Path, description = "The workflow's name"),
        ("schedule" = String, Path, description = "The schedule's name"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such workflow or schedule", body = ErrorBody),
    ),
)]
pub(super) async fn remove(
    State(api): Shared,
    Segments((name, schedule)): Segments<(String, String)>,
) -> Result<StatusCode, ApiError> {
    api.app.registry.remove_schedule(&name, &schedule).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How much of a schedule's future is shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UpcomingParams {
    /// Due instants, 1 to 1,000; 10 when it is left out.
    #[param(minimum = 1, maximum = 1_000)]
    n: Option<usize>,
    /// Those behind this instant (RFC 3339); now when it is left out.
    #[param(value_type = Option<String>, format = DateTime)]
    after: Option<Timestamp>,
}

/// The due instants to come of a schedule, with marks where the zone's clocks change. They
/// are the same while the workflow is paused, and are skipped then.
#[utoipa::path(
    get, path = "/api/v1/workflows/{name}/schedules/{schedule}/upcoming", operation_id = "listUpcoming", tag = "schedules",
    params(
        ("name" = String, Path, description = "The workflow's name"),
        ("schedule" = String, Path, description = "The schedule's name"),
        UpcomingParams,
    ),
    responses(
        (status = 200, description = "The due instants", body = UpcomingList),
        (status = 404, description = "There is no such workflow or schedule", body = ErrorBody),
    ),
)]
pub(super) async fn upcoming(
    State(api): Shared,
    Segments((name, schedule)): Segments<(String, String)>,
    Params(params): Params<UpcomingParams>,
) -> Result<Json<UpcomingList>, ApiError> {
    let entry = api.app.registry.find(&name)?;
    let mut found = find(&entry.workflow.schedules, &name, &schedule)?.clone();
    let after = params.after.unwrap_or_else(Timestamp::now);
    // What the expression names, also before the schedule was made; an interval's grid has
    // a beginning.
    if let Cadence::Cron { .. } = found.cadence {
        found.anchor = found.anchor.min(after);
    }
    list(&found, params.n, after).map(Json)
}

/// A schedule that is not kept, and how much of its future is shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PreviewParams {
    /// An interval, for example `90m`; its grid begins at `after`.
    every: Option<String>,
    /// A cron expression with five or six fields, instead.
    cron: Option<String>,
    /// The IANA zone of `cron`; `UTC` when it is left out.
    timezone: Option<String>,
    /// Due instants, 1 to 1,000; 10 when it is left out.
    #[param(minimum = 1, maximum = 1_000)]
    n: Option<usize>,
    /// Those behind this instant (RFC 3339); now when it is left out.
    #[param(value_type = Option<String>, format = DateTime)]
    after: Option<Timestamp>,
}

/// The due instants to come of a schedule that nobody has made yet.
#[utoipa::path(
    get, path = "/api/v1/schedules/upcoming", operation_id = "previewSchedule", tag = "schedules",
    params(PreviewParams),
    responses(
        (status = 200, description = "The due instants", body = UpcomingList),
        (status = 422, description = "The schedule is wrong; the message says what, and where", body = ErrorBody),
    ),
)]
pub(super) async fn preview(
    State(api): Shared,
    Params(params): Params<PreviewParams>,
) -> Result<Json<UpcomingList>, ApiError> {
    let PreviewParams { every, cron, timezone, n, after } = params;
    let after = after.unwrap_or_else(Timestamp::now);
    let spec = ScheduleSpec { every, cron, timezone, ..ScheduleSpec::default() };
    let draft = api.app.registry.draft_schedule(spec, after)?;
    list(&draft, n, after).map(Json)
}

fn find<'a>(schedules: &'a [Schedule], workflow: &str, name: &str) -> Result<&'a Schedule, ApiError> {
    let found = schedules.iter().find(|schedule| schedule.name == name);
    found.ok_or_else(|| RegistryError::missing_schedule(workflow, name).into())
}

fn list(schedule: &Schedule, n: Option<usize>, after: Timestamp) -> Result<UpcomingList, ApiError> {
    let n = n.unwrap_or(UPCOMING_DEFAULT);
    if !(1..=UPCOMING_MAX).contains(&n) {
        return Err(ApiError::Query(format!("n: must be 1 to {UPCOMING_MAX}, is {n}")));
    }
    Ok(UpcomingList::of(schedule, n, after))
}

/// Which ledger entries a listing shows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::server) struct TickParams {
    /// Instants of this schedule only.
    pub(in crate::server) schedule: Option<String>,
    /// What became of them, separated by commas; anything when it is left out.
    #[param(
        pattern = "^((claimed|ran|backfilled|interrupted|skipped-running|skipped-paused|missed|refused)(,(claimed|ran|backfilled|interrupted|skipped-running|skipped-paused|missed|refused))*)?$"
    )]
    pub(in crate::server) state: Option<String>,
    /// Instants of a page, 1 to 500; 50 when it is left out.
    #[param(minimum = 1, maximum = 500)]
    pub(in crate::server) limit: Option<usize>,
    /// `next` of the page before.
    pub(in crate::server) cursor: Option<String>,
}

/// What became of the due instants of a workflow's schedules: each of them once, newest
/// first.
#[utoipa::path(
    get, path = "/api/v1/workflows/{name}/ticks", operation_id = "listTicks", tag = "schedules",
    params(("name" = String, Path, description = "The workflow's name"), TickParams),
    responses(
        (status = 200, description = "The ledger", body = TickList),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
    ),
)]
pub(in crate::server) async fn ticks(
    State(api): Shared,
    Segments(name): Segments<String>,
    Params(params): Params<TickParams>,
) -> Result<Json<TickList>, ApiError> {
    let entry = api.app.registry.find(&name)?;
    let limit = runs::limit(params.limit)?;
    let filter =
        Filter { schedule: params.schedule, states: states(params.state.as_deref().unwrap_or_default())? };
    let cursor = params.cursor.as_deref().map(read_cursor).transpose()?;
    let (store, workflow) = (&api.app.store, entry.workflow.id);
    let page = history::page(store, workflow, &filter, cursor, limit, Timestamp::now()).await?;
    let next = page.next.map(|cursor| write_cursor(&cursor));
    Ok(Json(TickList { ticks: page.items.into_iter().map(tick).collect(), next }))
}

fn tick(tick: Tick) -> TickView {
    let lateness_ms = match tick.state {
        TickState::Claimed => tick.claimed_at.duration_since(tick.due).as_secs_f64() * 1e3,
        _ => tick.lateness_us as f64 / 1e3,
    };
    TickView {
        lateness_ms,
        schedule: tick.schedule,
        due: tick.due,
        state: tick.state,
        run: tick.run,
        stretch: tick.stretch.map(|stretch| StretchView { first: stretch.first, count: stretch.count }),
    }
}

fn states(list: &str) -> Result<Vec<TickState>, ApiError> {
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let known = TickState::ALL.into_iter().find(|state| state.word() == word);
            known.ok_or_else(|| {
                let known = TickState::ALL.map(TickState::word).join(", ");
                ApiError::Query(format!("state: {word:?} is none of {known}"))
            })
        })
        .collect()
}

fn write_cursor(cursor: &Cursor) -> String {
    let Cursor { seen, read_from } = cursor;
    let place = |place: &TickPlace| format!("{}~{}", place.due.as_nanosecond(), place.schedule);
    format!("{}~{}", place(seen), place(read_from))
}

fn read_cursor(text: &str) -> Result<Cursor, ApiError> {
    let parse = || {
        let mut parts = text.split('~');
        let mut place = || {
            let due = Timestamp::from_nanosecond(parts.next()?.parse().ok()?).ok()?;
            Some(TickPlace { due, schedule: parts.next()?.to_owned() })
        };
        let (seen, read_from) = (place()?, place()?);
        parts.next().is_none().then_some(Cursor { seen, read_from })
    };
    parse().ok_or_else(|| ApiError::Query(format!("cursor: {text:.80?} is not one of this host")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_others_are_refused() {
        let place = |second: i64, schedule: &str| TickPlace {
            due: Timestamp::new(second, 5).unwrap(),
            schedule: schedule.to_owned(),
        };
        let cursor = Cursor { seen: place(-7, "a-b_c"), read_from: place(1_800_000_000, "default") };
        assert_eq!(read_cursor(&write_cursor(&cursor)).unwrap(), cursor);
        for text in ["", "1~a", "1~a~2", "1~a~x~b", "1~a~2~b~3", "99999999999999999999999999999999999~a~1~b"]
        {
            assert!(read_cursor(text).is_err(), "{text}");
        }
    }

    #[test]
    fn states_are_words_that_exist() {
        assert_eq!(states("missed, ran").unwrap(), [TickState::Missed, TickState::Ran]);
        assert!(states("skipped").is_err());
        for state in TickState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
    }
}
