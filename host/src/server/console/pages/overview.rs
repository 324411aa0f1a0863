//! A workflow at a glance: how to call it or when it is due, its versions, its last runs.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::schedules::{self, Rule};
use super::versions;
use crate::account::Action;
use crate::api::{PatchWorkflow, StatisticsPoint, TestRequest, UpcomingList, WorkflowView};
use crate::registry::Entry;
use crate::server::api::extract::{OptionalJson, Segments};
use crate::server::api::{Api, ApiError, runs, statistics, view};
use crate::server::console::form::{Asked, Fields, Named};
use crate::server::console::parts::{self, Field, Tab};
use crate::server::console::session::Viewer;
use crate::server::console::{Html, Shared, icons, text};
use crate::server::reply::Problem;
use crate::workflow::{Kind, State as Taking};

/// Runs that the overview shows.
const RUNS: usize = 5;
/// Due instants of each schedule that it shows.
const COMING: usize = 3;

/// What was just done, for the page that is shown afterwards.
const DONE: [(&str, &str); 8] = [
    ("paused", "The workflow is paused: it takes no new work."),
    ("resumed", "The workflow takes work again."),
    ("rotated", "The workflow has a new URL. The old one stopped working."),
    ("saved", "The changes are saved."),
    ("activated", "The version that you chose runs from now on."),
    ("schedule-saved", "The schedule is saved."),
    ("schedule-removed", "The schedule is removed."),
    ("created", "The workflow is created."),
];

/// The page.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    page(&console.api, &viewer, &name, &asked, None).await
}

/// The page, with the form of a schedule as it was sent when something is wrong with it.
pub(super) async fn page(
    api: &Arc<Api>,
    viewer: &Viewer,
    name: &str,
    asked: &Fields,
    problem: Option<&Problem>,
) -> Result<Html, ApiError> {
    let (entry, all) = api.app.registry.versions(name).await?;
    let workflow = view::workflow(&entry, &api.app, &viewer.actor);
    let may = |action| viewer.may_with(action, &workflow);
    let id = Some(entry.workflow.id);
    let recent = runs::RunParams { limit: Some(RUNS), ..Default::default() };
    let recent = runs::page(api, &viewer.actor, id, recent).await?;
    let since = Timestamp::now() - SignedDuration::from_hours(24);
    let day = statistics::StatisticsParams { since: Some(since), until: None, step_minutes: Some(60) };
    let day = statistics::view(api, id, day).await?.total;
    let done = DONE.iter().find(|(word, _)| *word == asked.get("done"));
    let content = html! {
        @if let Some((_, said)) = done { div.alert.good role="status" { p { (said) } } }
        (actions(viewer, &workflow))
        @match workflow.kind {
            Kind::Catch => (endpoint(viewer, &workflow)),
            Kind::Pull => (due(api, viewer, &entry, &workflow, asked, problem)),
        }
        section { h2 { "Last day" } (figures(&day)) }
        @if may(Action::InspectWorkflow) { section {
            div.row { h2 { "Last runs" } a.end href={ "/workflows/" (name) "/runs" } { "Open the debugger" } }
            (super::runs::table(&recent.runs, false, "Nothing has run yet."))
        } }
        section { h2 { "Versions" } (versions::table(viewer, &workflow, &all, versions::RECENT)) }
        @if may(Action::ArchiveWorkflow) { (archiving(&workflow)) }
    };
    Ok(Html(parts::workflow_page(viewer, &workflow, Tab::Overview, &[], content)))
}

fn actions(viewer: &Viewer, workflow: &WorkflowView) -> Markup {
    if !viewer.may_with(Action::ChangeWorkflow, workflow) {
        return Markup::default();
    }
    let name = workflow.name.as_str();
    let is_paused = workflow.state == Taking::Paused;
    html! {
        div.toolbar {
            @if workflow.active_version.is_none() {
                a.button.primary href={ "/workflows/" (name) "/function" } { "Write the function" }
            } @else if workflow.kind == Kind::Pull {
                form method="post" action={ "/workflows/" (name) "/run" } { button.primary type="submit" { (icons::play()) "Run now" } }
            } @else {
                a.button.primary href={ "/workflows/" (name) "/function#test" } { (icons::play()) "Test" }
            }
            form method="post" action={ "/workflows/" (name) "/change" } {
                @if is_paused {
                    button type="submit" name="action" value="resume" { (icons::play()) "Resume" }
                } @else {
                    button type="submit" name="action" value="pause" { (icons::pause()) "Pause" }
                }
            }
        }
    }
}

fn endpoint(viewer: &Viewer, workflow: &WorkflowView) -> Markup {
    let url = workflow.url.as_ref().filter(|_| viewer.may_with(Action::ReadUrl, workflow));
    let Some(url) = url else { return Markup::default() };
    let method = workflow.endpoint.methods.first().map_or("POST", String::as_str);
    let curl = format!(
        "curl -X {method} '{url}' \\\n  -H 'content-type: application/json' \\\n  -d '{{\"name\": \"Ada\"}}'"
    );
    html! {
        section {
            h2 { "Endpoint" }
            div.panel.pad {
                div.copy {
                    input.mono type="text" readonly value=(url) aria-label="URL of the endpoint" id="url";
                    button type="button" data-copy="#url" { (icons::copy()) "Copy" }
                }
                p.soft { "Whoever knows this URL can call the workflow. It takes "
                    (workflow.endpoint.methods.join(", ")) " with "
                    @if workflow.endpoint.raw_bodies { "any content type." } @else { "JSON or form data." } }
                details {
                    summary { "Call it with curl" }
                    div.copy { pre.code tabindex="0" id="curl" { code { (curl) } } button type="button" data-copy="#curl" { (icons::copy()) "Copy" } }
                }
                form method="post" action={ "/workflows/" (workflow.name) "/change" } {
                    button.small type="submit" name="action" value="rotate"
                        data-ask="Replace the URL? The present one stops working at once." { "Replace the URL" }
                }
            }
        }
    }
}

fn due(
    api: &Api,
    viewer: &Viewer,
    entry: &Entry,
    workflow: &WorkflowView,
    asked: &Fields,
    problem: Option<&Problem>,
) -> Markup {
    // What was typed, the schedule that is to be changed, or a new one.
    let edited = workflow.schedules.iter().find(|own| own.name == asked.get("edit"));
    let rule = match (problem, edited) {
        (Some(_), _) => Rule::read(asked),
        (None, Some(schedule)) => Rule::of(schedule),
        (None, None) => Rule::new(&api.app),
    };
    let named = match (problem, edited) {
        (Some(_), _) => asked.get("schedule"),
        (None, Some(schedule)) => schedule.name.as_str(),
        (None, None) if workflow.schedules.is_empty() => "default",
        (None, None) => "",
    };
    let is_open = problem.is_some() || edited.is_some() || workflow.schedules.is_empty();
    let path = format!("/workflows/{}/schedules", workflow.name);
    let changes = viewer.may_with(Action::ChangeWorkflow, workflow);
    let now = Timestamp::now();
    html! {
        section {
            h2 { "Schedules" }
            @if workflow.schedules.is_empty() {
                (parts::empty("It is never due", html! { p { "Add a schedule, and it runs by itself." } }))
            }
            @for (schedule, shown) in entry.workflow.schedules.iter().zip(&workflow.schedules) {
                div.panel.pad {
                    div.row {
                        h3 { (shown.name) }
                        @if let Some(cron) = &shown.rule.cron { code { (cron) } }
                        @if changes {
                        a.button.small.end href={ "/workflows/" (workflow.name) "?edit=" (shown.name) "#schedule" } aria-label={ "Change the schedule " (shown.name) } { "Change" }
                        form method="post" action=(path) {
                            input type="hidden" name="schedule" value=(shown.name);
                            button.small type="submit" name="action" value="remove"
                                data-ask={ "Remove the schedule " (shown.name) "?" } { "Remove" }
                        } }
                    }
                    @if workflow.state == Taking::Paused {
                        p.soft { (super::super::shell::sentence(&shown.description)) " Its instants are skipped while the workflow is paused." }
                    } @else { (schedules::instants(&UpcomingList::of(schedule, COMING, now))) }
                    (schedules::policy(&shown.policy))
                    @if let Some(overrun) = &shown.overrun {
                        p.wrong { "Its runs last longer than the time between two instants, " (text::millis(overrun.distance_ms)) "." }
                    }
                }
            }
            @if changes { details.panel.pad #schedule open[is_open] {
                summary { @if edited.is_some() { "Change the schedule " (named) } @else { "Add a schedule" } }
                form method="post" action=(path) {
                    (Field { name: "schedule", label: "Name of the schedule", hint: Some("A schedule that has this name is replaced."), error: None }
                        .text(named, "nightly"))
                    (schedules::fields(&rule, problem.map(|problem| problem.message.as_str()), schedules::coming(&api.app, &rule)))
                    button type="submit" name="action" value="set" { "Save the schedule" }
                }
            } }
        }
    }
}

fn figures(day: &StatisticsPoint) -> Markup {
    let failed = parts::bar(day).1;
    html! {
        dl.figures {
            (parts::figure("Runs", html! { (text::count(day.runs)) }, ""))
            (parts::figure("Failed", html! { (text::count(failed)) }, ""))
            (parts::figure("Succeeded", html! { @match parts::success(day) { Some(share) => (parts::percent(share)), None => "–" } }, ""))
            (parts::figure("p50", html! { @match &day.duration_ms { Some(times) => (text::millis(times.p50)), None => "–" } }, ""))
            (parts::figure("p99", html! { @match &day.duration_ms { Some(times) => (text::millis(times.p99)), None => "–" } }, ""))
        }
    }
}

fn archiving(workflow: &WorkflowView) -> Markup {
    let name = workflow.name.as_str();
    html! {
        section {
            h2 { "Archive" }
            form.panel.pad.danger method="post" action={ "/workflows/" (name) "/archive" } {
                p { "Deletes the workflow with its versions, settings and runs, for good. Nobody can take this back." }
                (Field { name: "confirm", label: &format!("Type {name} to confirm"), hint: None, error: None }.text("", ""))
                button.danger type="submit" data-needs="#confirm" data-value=(name) { "Archive this workflow" }
            }
        }
    }
}

/// Pauses, resumes or rotates the URL.
pub(in super::super) async fn change(
    State(console): Shared,
    Named(name): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let patch = PatchWorkflow::default();
    let (patch, done) = match fields.get("action") {
        "pause" => (PatchWorkflow { state: Some(Taking::Paused), ..patch }, "paused"),
        "resume" => (PatchWorkflow { state: Some(Taking::Active), ..patch }, "resumed"),
        "rotate" => (PatchWorkflow { rotate_url: true, ..patch }, "rotated"),
        other => {
            let reason = format!("{other:.40?} is nothing that can be done");
            return Err(ApiError::Field { field: "action", reason });
        }
    };
    console.api.app.registry.change(&name, patch).await?;
    Ok(Redirect::to(&format!("/workflows/{name}?done={done}")).into_response())
}

/// Runs a pull once, now, and shows the run.
pub(in super::super) async fn run_now(
    State(console): Shared,
    Named(name): Named,
) -> Result<Response, ApiError> {
    let asked = OptionalJson(TestRequest::default());
    let run = runs::test(State(console.api.clone()), Segments(name), asked).await?.0.run;
    Ok(Redirect::to(&format!("/runs/{}", run.id)).into_response())
}

/// Deletes a workflow whose name was typed.
pub(in super::super) async fn archive(
    State(console): Shared,
    Named(name): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    if fields.get("confirm") != name {
        let reason = "is not the workflow's name: nothing was archived".to_owned();
        return Err(ApiError::Field { field: "confirm", reason });
    }
    console.api.app.registry.archive(&name).await?;
    Ok(Redirect::to("/workflows").into_response())
}
