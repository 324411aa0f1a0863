//! Dead letters: work that was given up, and driving it again.

use std::collections::BTreeSet;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

use crate::account::{Action, Object};
use crate::api::RedriveRequest;
use crate::registry::Entry;
use crate::run::RunId;
use crate::server::api::access::Who;
use crate::server::api::extract::{JsonBody, Params};
use crate::server::api::{ApiError, queue};
use crate::server::console::form::{Asked, Fields};
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Html, Shared, parts, text, when};

/// The page.
pub(in super::super) async fn list(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let params =
        queue::DeadParams { workflow: asked.some("workflow"), limit: None, cursor: asked.some("cursor") };
    let page = queue::list(State(console.api.clone()), Who(viewer.actor.clone()), Params(params)).await?.0;
    let only = asked.some("workflow");
    let may =
        |entry: &Entry| viewer.decide(Action::InspectWorkflow, Object::from(&*entry.workflow)).is_allowed();
    let registry = &console.api.app.registry;
    // Those that can have dead letters and are shown: the ones of this page, and the chosen.
    let mut names: BTreeSet<String> = page.dead.iter().map(|letter| letter.workflow.to_string()).collect();
    names.extend(only.clone().filter(|name| registry.by_name(name).is_some_and(|entry| may(&entry))));
    let redriven: Option<u64> = asked.get("redriven").parse().ok();
    let content = html! {
        div.head {
            h1 { "Dead letters" }
            p.soft { "Work of the queue that failed for good: asynchronous requests and retried ticks whose attempts are spent." }
        }
        @if let Some(count) = redriven { div.alert.good role="status" { p { (text::counted(count, "dead letter")) " will be tried again." } } }
        @if !names.is_empty() && (!page.dead.is_empty() || only.is_some()) {
            form.filter action="/dead" hx-get="/dead" hx-target="#main" hx-select="#main" hx-swap="outerHTML" hx-push-url="true" hx-trigger="change" {
                select name="workflow" aria-label="Workflow" {
                    option value="" { "All workflows" }
                    @for name in &names { option value=(name) selected[only.as_deref() == Some(name)] { (name) } }
                }
                noscript { button type="submit" { "Show" } }
            }
        }
        @if page.dead.is_empty() {
            (parts::empty("Nothing was given up", html! { p { "When all attempts at a piece of work have failed, it waits here until somebody drives it again." } }))
        } @else {
            form method="post" action="/dead" {
                div.toolbar {
                    button.primary type="submit" name="which" value="chosen" data-needs="input[name=event]:checked" { "Try the chosen ones again" }
                    @match &only {
                        Some(name) => {
                            input type="hidden" name="workflow" value=(name);
                            button type="submit" name="which" value="workflow" data-ask={ "Try all dead letters of " (name) " again?" } { "Try all of " (name) " again" }
                        },
                        None => button type="submit" name="which" value="all" data-ask="Try all dead letters again?" { "Try all again" },
                    }
                }
                div.panel.scroll { table.rows.stack {
                    thead { tr { th scope="col" { span.hidden { "Choose" } } th scope="col" { "Last run" } th scope="col" { "Workflow" } th scope="col" { "Fault" } th scope="col" { "Attempts" } th scope="col" { "Accepted" } th scope="col" { "Given up" } } }
                    tbody { @for letter in &page.dead {
                        @let id = letter.run.to_string();
                        tr {
                            td { input type="checkbox" name="event" value=(letter.event) aria-label={ "Choose " (id[id.len() - 8..]) }; }
                            th scope="row" { a.mono href={ "/runs/" (id) } { (id[id.len() - 8..]) } }
                            td data-name="Workflow" { a.plain href={ "/workflows/" (letter.workflow) } { (letter.workflow) } }
                            td data-name="Fault" { (parts::status(letter.status)) @if let Some(fault) = letter.fault { " " span.fault { (fault.word()) } } }
                            td data-name="Attempts" { (letter.attempts) }
                            td data-name="Accepted" { (when::relative(letter.accepted_at)) }
                            td data-name="Given up" { (when::relative(letter.died_at)) }
                        }
                    } }
                } }
            }
            @if let Some(next) = &page.next {
                div.pager { span {} nav aria-label="Pages" { a.button href={ "/dead?" (asked.query_with(&[("cursor", &next.to_string()), ("redriven", "")])) } { "Older" } } }
            }
        }
    };
    Ok(Html(Page { title: "Dead letters", place: Place::Dead, scripts: &[], content }.render(&viewer)))
}

/// Drives some or all again.
pub(in super::super) async fn redrive(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    fields: Fields,
) -> Result<Response, ApiError> {
    let request = match fields.get("which") {
        "all" => RedriveRequest { all: true, ..Default::default() },
        "workflow" => RedriveRequest { workflow: fields.some("workflow"), ..Default::default() },
        _ => {
            let events: Result<Vec<RunId>, _> = fields.all("event").map(str::parse).collect();
            let events =
                events.map_err(|error| ApiError::Field { field: "event", reason: error.to_string() })?;
            RedriveRequest { events, ..Default::default() }
        }
    };
    let redriven = queue::redrive(State(console.api.clone()), Who(viewer.actor), JsonBody(request))
        .await?
        .0
        .events
        .len();
    Ok(Redirect::to(&format!("/dead?redriven={redriven}")).into_response())
}
