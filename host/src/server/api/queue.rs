//! The queue: dead letters, and runs that are cancelled.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::{self, Who};
use super::extract::{JsonBody, Params, Segments};
use super::{Api, ApiError, Shared, runs};
use crate::account::{Action, Actor};
use crate::api::{DeadList, DeadView, ErrorBody, RedriveRequest, Redriven, RunDetail};
use crate::run::RunId;
use crate::store::{PAGE_MAX, QueueEntry, Redrive};
use crate::workflow::{WorkflowId, WorkflowName};

/// Most events that one call names.
const EVENTS_MAX: usize = 1000;

/// Which dead letters a listing shows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::server) struct DeadParams {
    /// Dead letters of this workflow only.
    pub(in crate::server) workflow: Option<String>,
    /// Rows of a page, 1 to 500; 50 when it is left out.
    #[param(minimum = 1, maximum = 500)]
    pub(in crate::server) limit: Option<usize>,
    /// `next` of the page before.
    #[param(value_type = Option<RunId>)]
    pub(in crate::server) cursor: Option<String>,
}

/// Events that were given up: none of their attempts succeeded, and their policy allows no
/// other. Latest first.
#[utoipa::path(
    get, path = "/api/v1/dead", operation_id = "listDeadLetters", tag = "queue",
    params(DeadParams),
    responses(
        (status = 200, description = "The dead letters", body = DeadList),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
    ),
)]
pub(in crate::server) async fn list(
    State(api): Shared,
    Who(actor): Who,
    Params(params): Params<DeadParams>,
) -> Result<Json<DeadList>, ApiError> {
    let limit = runs::limit(params.limit)?;
    let cursor = params.cursor.as_deref().map(str::parse::<RunId>).transpose();
    let cursor = cursor.map_err(|error| ApiError::Query(format!("cursor: {error}")))?;
    let registry = &api.app.registry;
    let workflow = match &params.workflow {
        Some(name) => Some(access::find(&api, &actor, Action::InspectWorkflow, name)?.workflow.id),
        None => None,
    };
    let (dead, next) = dead_letters(&api, &actor, workflow, cursor, limit).await?;
    let mut names: HashMap<WorkflowId, Option<WorkflowName>> = HashMap::new();
    let views = dead.iter().filter_map(|entry| {
        let id = entry.event.workflow;
        let name = names.entry(id).or_insert_with(|| registry.by_id(id).map(|w| w.workflow.name.clone()));
        view(entry, name.clone()?)
    });
    Ok(Json(DeadList { dead: views.collect(), next }))
}

/// A page of the dead letters of which the actor may know.
async fn dead_letters(
    api: &Api,
    actor: &Actor,
    workflow: Option<WorkflowId>,
    mut cursor: Option<RunId>,
    limit: usize,
) -> Result<(Vec<QueueEntry>, Option<RunId>), ApiError> {
    let store = &api.app.store;
    if actor.is_admin() || workflow.is_some() {
        return Ok(store.dead_letters(workflow, cursor, limit).await?);
    }
    let mut page = Vec::new();
    // One more than is shown tells whether there is another page. They are in memory, and
    // `queue.dead_max` at most.
    while page.len() <= limit {
        let (dead, next) = store.dead_letters(None, cursor, PAGE_MAX).await?;
        let visible = dead.into_iter().filter(|entry| {
            let workflow = api.app.registry.by_id(entry.event.workflow);
            workflow.is_some_and(|workflow| access::may(actor, Action::InspectWorkflow, &workflow))
        });
        page.extend(visible);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    let has_more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| has_more).map(|entry| entry.event.id);
    Ok((page, next))
}

fn view(entry: &QueueEntry, workflow: WorkflowName) -> Option<DeadView> {
    let end = entry.end()?;
    Some(DeadView {
        event: entry.event.id,
        run: entry.run,
        workflow,
        trigger: entry.event.trigger.word().to_owned(),
        attempts: entry.attempt,
        status: end.status,
        fault: end.fault,
        accepted_at: entry.event.accepted_at,
        died_at: end.at,
    })
}

/// Makes dead letters wait for another attempt, with as many attempts as their policy
/// allows from there.
#[utoipa::path(
    post, path = "/api/v1/dead/redrive", operation_id = "redriveDeadLetters", tag = "queue",
    request_body = RedriveRequest,
    responses(
        (status = 200, description = "Those that wait now", body = Redriven),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
        (status = 422, description = "A field is wrong; the message names it", body = ErrorBody),
    ),
)]
pub(in crate::server) async fn redrive(
    State(api): Shared,
    Who(actor): Who,
    JsonBody(request): JsonBody<RedriveRequest>,
) -> Result<Json<Redriven>, ApiError> {
    let field = |field, reason: String| Err(ApiError::Field { field, reason });
    let app = &api.app;
    let which = match (request.events.len(), &request.workflow, request.all) {
        (0, None, true) if actor.is_admin() => vec![Redrive::Of(None)],
        (0, None, true) => {
            let entries = app.registry.list();
            let own = entries.iter().filter(|entry| access::may(&actor, Action::RunWorkflow, entry));
            own.map(|entry| Redrive::Of(Some(entry.workflow.id))).collect()
        }
        (0, Some(name), false) => {
            let entry = access::find(&api, &actor, Action::RunWorkflow, name)?;
            vec![Redrive::Of(Some(entry.workflow.id))]
        }
        (named, None, false) if named > EVENTS_MAX => {
            return field("events", format!("at most {EVENTS_MAX} can be named at a time"));
        }
        (1.., None, false) => vec![Redrive::Ids(allowed(&api, &actor, request.events).await?)],
        _ => return field("events", "give one of `events`, `workflow` and `all`".to_owned()),
    };
    let mut events = Vec::new();
    for which in which {
        events.extend(app.queue.redrive(which).await?);
    }
    Ok(Json(Redriven { events }))
}

/// The events of workflows that the actor may run. Others are left out, as events are that
/// are not there.
async fn allowed(api: &Api, actor: &Actor, events: Vec<RunId>) -> Result<Vec<RunId>, ApiError> {
    let mut allowed = Vec::with_capacity(events.len());
    for id in events {
        let Some(entry) = api.app.store.event(id).await? else { continue };
        let workflow = api.app.registry.by_id(entry.event.workflow);
        if workflow.is_some_and(|workflow| access::may(actor, Action::RunWorkflow, &workflow)) {
            allowed.push(id);
        }
    }
    Ok(allowed)
}

/// Stops a run, or takes it out of the queue: it ends as `cancelled`, with nothing saved
/// but what it had saved early. Answers when that is on record.
#[utoipa::path(
    post, path = "/api/v1/runs/{id}/cancel", operation_id = "cancelRun", tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "The run; it may have ended by itself at the last moment", body = RunDetail),
        (status = 404, description = "There is no such run", body = ErrorBody),
        (status = 409, description = "It has ended already", body = ErrorBody),
    ),
)]
pub(in crate::server) async fn cancel(
    State(api): Shared,
    Segments(id): Segments<String>,
) -> Result<Json<RunDetail>, ApiError> {
    if let Ok(run) = id.parse::<RunId>()
        && let Some(cancelled) = api.app.queue.cancel(run).await?
    {
        return runs::detail(&api, &cancelled.to_string()).await.map(Json);
    }
    let run = runs::find(&api, &id).await?;
    Err(ApiError::Ended { run: run.id.to_string() })
}
