//! Runs: listings, records, logs, test runs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::{self, Who};
use super::extract::{OptionalJson, Params, Segments};
use super::{Api, ApiError, Shared, request};
use crate::account::Actor;
use crate::api::{
    self, CallbackState, CallbackView, ErrorBody, RunDetail, RunList, RunLog, RunView, TestRequest,
};
use crate::engine::Input;
use crate::invoker::Invocation;
use crate::registry::Entry;
use crate::run::{Fault, FaultKind, Run, RunId, Status, Trigger};
use crate::server::catch;
use crate::server::reply::Problem;
use crate::store::{CallbackResult, EventState, QueueEntry, RunFilter, Searched};
use crate::workflow::{Kind, WorkflowId};

/// Rows of a page when the caller names no number.
const LIMIT_DEFAULT: usize = 50;
/// Most rows of a page.
const LIMIT_MAX: usize = 500;
/// Longest text that is searched for.
const TEXT_BYTES_MAX: usize = 256;
/// The schedule's name that a test run of a pull is given.
const TEST_SCHEDULE: &str = "test";

/// Which runs a listing shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::server) struct RunParams {
    /// Statuses, separated by commas; all when it is left out or empty.
    #[param(
        pattern = "^((queued|running|succeeded|failed|interrupted|cancelled)(,(queued|running|succeeded|failed|interrupted|cancelled))*)?$"
    )]
    pub(in crate::server) status: Option<String>,
    /// `catch`, `pull`, `test` or `replay`.
    #[param(pattern = "^(catch|pull|test|replay)$")]
    pub(in crate::server) trigger: Option<String>,
    /// Runs accepted at or after this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    pub(in crate::server) since: Option<Timestamp>,
    /// Runs accepted before this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    pub(in crate::server) until: Option<Timestamp>,
    /// Runs with this text in their log, their error or its trace, unless it is empty; ASCII letters match in
    /// either case. A page reads about 8 MiB of records at most: it may not be full, or be
    /// empty, and have a `next` all the same; `searched` says how far it came.
    #[param(max_length = 256)]
    pub(in crate::server) text: Option<String>,
    /// Runs of a page, 1 to 500; 50 when it is left out. Runs that have not ended come on
    /// top of it: all that run, and at most as many that wait in the queue.
    #[param(minimum = 1, maximum = 500)]
    pub(in crate::server) limit: Option<usize>,
    /// `next` of the page before.
    #[param(value_type = Option<RunId>)]
    pub(in crate::server) cursor: Option<String>,
}

/// The runs of all workflows that one may look into, newest first.
#[utoipa::path(
    get, path = "/api/v1/runs", operation_id = "listRuns", tag = "runs",
    params(RunParams),
    responses((status = 200, description = "The runs", body = RunList)),
)]
pub(super) async fn list(
    State(api): Shared,
    Who(actor): Who,
    Params(params): Params<RunParams>,
) -> Result<Json<RunList>, ApiError> {
    page(&api, &actor, None, params).await.map(Json)
}

/// The runs of a workflow, newest first.
#[utoipa::path(
    get, path = "/api/v1/workflows/{name}/runs", operation_id = "listRunsOfWorkflow", tag = "runs",
    params(("name" = String, Path, description = "The workflow's name"), RunParams),
    responses(
        (status = 200, description = "The runs", body = RunList),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
    ),
)]
pub(super) async fn list_of_workflow(
    State(api): Shared,
    Who(actor): Who,
    Segments(name): Segments<String>,
    Params(params): Params<RunParams>,
) -> Result<Json<RunList>, ApiError> {
    let entry = api.app.registry.find(&name)?;
    page(&api, &actor, Some(entry.workflow.id), params).await.map(Json)
}

/// A page of runs, of a workflow or of all that the actor may look into: those that wait and
/// run first.
///
/// # Errors
/// A parameter is wrong, or the store fails.
pub(in crate::server) async fn page(
    api: &Api,
    actor: &Actor,
    workflow: Option<WorkflowId>,
    params: RunParams,
) -> Result<RunList, ApiError> {
    let limit = limit(params.limit)?;
    let cursor = params.cursor.as_deref().map(str::parse::<RunId>).transpose();
    let cursor = cursor.map_err(|error| ApiError::Query(format!("cursor: {error}")))?;
    let text = params.text.map(needle).transpose()?.flatten();
    let filter = RunFilter {
        workflow,
        among: None,
        statuses: statuses(params.status.as_deref().unwrap_or_default())?,
        trigger: params.trigger.map(trigger).transpose()?,
        since: params.since,
        until: params.until,
        text,
    };
    let filter = access::narrow(api, actor, filter);
    // First those that wait, then those that run, then those that have ended: one that
    // moves on in between is seen twice, and not never.
    let mut runs: Vec<RunView> = Vec::new();
    if cursor.is_none() && filter.text.is_none() {
        let mut waiting = api.app.queue.unended(workflow, limit).await?;
        let running = api.app.invoker.running(workflow);
        waiting.retain(|run| !running.iter().any(|other| other.id == run.id));
        let unended = waiting.iter().chain(running.iter().rev());
        runs.extend(unended.filter(|run| passes(run, &filter)).map(RunView::from));
    }
    let ended = api.app.store.runs(filter, cursor, limit).await?;
    runs.retain(|run| !ended.runs.iter().any(|other| other.id == run.id));
    runs.extend(ended.runs.iter().map(RunView::from));
    let searched = ended.searched.map(|Searched { runs, back_to }| api::Searched { runs, back_to });
    Ok(RunList { runs, next: ended.next, searched })
}

/// How many rows a page has.
///
/// # Errors
/// The number is out of range.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, ApiError> {
    let limit = asked.unwrap_or(LIMIT_DEFAULT);
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(ApiError::Query(format!("limit: must be 1 to {LIMIT_MAX}, is {limit}")))
}

/// A text that is searched for; `None` for an empty one.
///
/// # Errors
/// It is too long.
pub(super) fn needle(text: String) -> Result<Option<String>, ApiError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ApiError::Query(format!("text: must be at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

pub(in crate::server) fn statuses(list: &str) -> Result<Vec<Status>, ApiError> {
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let known = Status::ALL.into_iter().find(|status| status.word() == word);
            known.ok_or_else(|| {
                let known = Status::ALL.map(Status::word).join(", ");
                ApiError::Query(format!("status: {word:?} is none of {known}"))
            })
        })
        .collect()
}

pub(super) fn trigger(word: String) -> Result<String, ApiError> {
    if Trigger::WORDS.contains(&word.as_str()) {
        return Ok(word);
    }
    let known = Trigger::WORDS.join(", ");
    Err(ApiError::Query(format!("trigger: {word:?} is none of {known}")))
}

/// Whether a run that has not ended passes; the store filters the others.
fn passes(run: &Run, filter: &RunFilter) -> bool {
    filter.among.as_ref().is_none_or(|among| among.contains(&run.workflow))
        && (filter.statuses.is_empty() || filter.statuses.contains(&run.status))
        && filter.trigger.as_deref().is_none_or(|word| run.trigger.word() == word)
        && filter.since.is_none_or(|since| run.accepted_at >= since)
        && filter.until.is_none_or(|until| run.accepted_at < until)
}

/// A run: its request, reply, fault, exchanges, timings.
#[utoipa::path(
    get, path = "/api/v1/runs/{id}", operation_id = "showRun", tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "The run", body = RunDetail),
        (status = 404, description = "There is no such run", body = ErrorBody),
    ),
)]
pub(super) async fn show(
    State(api): Shared,
    Segments(id): Segments<String>,
) -> Result<Json<RunDetail>, ApiError> {
    detail(&api, &id).await.map(Json)
}

/// All about the run with this id, ended or not.
pub(in crate::server) async fn detail(api: &Api, id: &str) -> Result<RunDetail, ApiError> {
    let run = find(api, id).await?;
    let event = api.app.store.event(run.event.unwrap_or(run.id)).await?;
    let callback = event.as_ref().and_then(callback);
    Ok(RunDetail { callback, ..RunDetail::from(&run) })
}

/// What became of an event's callback; `None` when it has none.
fn callback(entry: &QueueEntry) -> Option<CallbackView> {
    entry.event.callback.as_ref()?;
    let told = entry.told.as_ref();
    let (state, next_at) = match (&entry.state, told.map(|told| told.result)) {
        (EventState::Waiting { .. } | EventState::Leased { .. }, _) => (CallbackState::Waiting, None),
        (EventState::Notifying { not_before, .. }, _) => (CallbackState::Pending, Some(*not_before)),
        (EventState::Ended { .. }, Some(CallbackResult::Told)) => (CallbackState::Told, None),
        (EventState::Ended { .. }, Some(CallbackResult::Gone)) => (CallbackState::Gone, None),
        (EventState::Ended { .. }, Some(CallbackResult::GivenUp)) => (CallbackState::GivenUp, None),
        // An older build told it, and did not note how that went.
        (EventState::Ended { .. }, Some(CallbackResult::Again) | None) => return None,
    };
    let error = told.and_then(|told| told.reason.clone());
    let tries = told.map_or(0, |told| told.tries);
    Some(CallbackView { state, tries, tried_at: told.map(|told| told.at), next_at, error })
}

/// The log of a run. It is kept when the run ends; until then it is empty.
#[utoipa::path(
    get, path = "/api/v1/runs/{id}/log", operation_id = "showRunLog", tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "The log", body = RunLog),
        (status = 404, description = "There is no such run", body = ErrorBody),
    ),
)]
pub(in crate::server) async fn log(
    State(api): Shared,
    Segments(id): Segments<String>,
) -> Result<Json<RunLog>, ApiError> {
    let run = find(&api, &id).await?;
    let lines = api.app.store.run_log(run.id).await?.unwrap_or_default();
    Ok(Json(RunLog { lines, dropped_bytes: run.log.dropped_bytes }))
}

/// The run with this id, ended or not.
pub(in crate::server) async fn find(api: &Api, id: &str) -> Result<Run, ApiError> {
    let missing = || ApiError::Missing { what: format!("the run {id:.40?}") };
    let id: RunId = id.parse().map_err(|_| missing())?;
    let running = api.app.invoker.running(None).into_iter().find(|run| run.id == id);
    if let Some(run) = running {
        return Ok(run);
    }
    if let Some(run) = api.app.store.run(id).await? {
        return Ok(run);
    }
    if let Some(run) = api.app.queue.find_unended(id).await? {
        return Ok(run);
    }
    // It may have waited when the first were asked, and have ended when the queue was.
    api.app.store.run(id).await?.ok_or_else(missing)
}

/// Runs the active version once, now, and answers with the run's record.
#[utoipa::path(
    post, path = "/api/v1/workflows/{name}/runs", operation_id = "testWorkflow", tag = "runs",
    params(("name" = String, Path, description = "The workflow's name")),
    request_body(content = Option<TestRequest>, description = "The request to try a catch workflow with; nothing for a pull"),
    responses(
        (status = 200, description = "The run, however it ended", body = RunDetail),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
        (status = 409, description = "Nothing is deployed", body = ErrorBody),
        (status = 422, description = "The request is wrong; the message names the field", body = ErrorBody),
    ),
)]
pub(in crate::server) async fn test(
    State(api): Shared,
    Segments(name): Segments<String>,
    OptionalJson(test): OptionalJson<TestRequest>,
) -> Result<Json<RunDetail>, ApiError> {
    let entry = api.app.registry.find(&name)?;
    let input = match entry.workflow.kind {
        Kind::Catch => Input::Request(request::written(test, api.app.config.server.body_bytes_max)?),
        Kind::Pull if test != TestRequest::default() => {
            let reason = "a pull is handed no request: send an empty object".to_owned();
            return Err(ApiError::Field { field: "body", reason });
        }
        Kind::Pull => Input::Tick { schedule: TEST_SCHEDULE.to_owned(), due: Timestamp::now() },
    };
    run(&api, &entry, Invocation::new(Trigger::Test, input)).await.map(Json)
}

/// Runs what a person asked for, as the endpoint would: what it refuses is recorded as
/// refused.
pub(super) async fn run(
    api: &Api,
    entry: &Arc<Entry>,
    invocation: Invocation,
) -> Result<RunDetail, ApiError> {
    if entry.version.is_none() {
        return Err(ApiError::NothingDeployed { name: entry.workflow.name.to_string() });
    }
    let invoker = &api.app.invoker;
    if let Input::Request(request) = &invocation.input
        && let Err(refusal) = catch::check(&entry.workflow.endpoint, request)
    {
        let answer = Problem::from(&refusal).answer(invocation.id);
        let fault = Fault::new(FaultKind::Refused, refusal.to_string());
        let run = invoker.refuse(entry, &invocation, fault, &answer).await;
        return Ok(RunDetail::from(&*run));
    }
    Ok(RunDetail::from(&*invoker.invoke(entry, invocation).await.run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_triggers_are_words_that_exist() {
        assert_eq!(statuses("failed, running,").unwrap(), [Status::Failed, Status::Running]);
        assert_eq!(statuses("").unwrap(), []);
        assert_eq!(
            statuses("faild").unwrap_err().to_string(),
            "the query is wrong: status: \"faild\" is none of queued, running, succeeded, failed, interrupted, cancelled"
        );
        assert_eq!(trigger("pull".to_owned()).unwrap(), "pull");
        assert!(trigger("push".to_owned()).is_err());
    }

    #[test]
    fn a_page_has_a_largest_size() {
        assert_eq!((limit(None).unwrap(), limit(Some(1)).unwrap(), limit(Some(500)).unwrap()), (50, 1, 500));
        assert!(limit(Some(0)).is_err() && limit(Some(501)).is_err());
    }
}
