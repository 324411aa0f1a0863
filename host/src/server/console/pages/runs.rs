//! The debugger: runs, newest first, as they happen.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Redirect, Response, Sse};
use futures::Stream;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::run;
use crate::account::Action;
use crate::api::{ReplayMany, RunList, RunView};
use crate::run::{Status, Trigger};
use crate::server::api::access::Who;
use crate::server::api::extract::Params;
use crate::server::api::{Api, ApiError, events, replay, runs, view};
use crate::server::console::form::{Asked, Fields, Named};
use crate::server::console::parts::{self, Tab};
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Html, Shared, icons, text, when};
use crate::workflow::WorkflowId;

/// Rows of a page.
const ROWS: usize = 50;
/// Times that can be chosen: the value, the name, minutes.
const TIMES: [(&str, &str, i64); 5] = [
    ("15m", "Last 15 minutes", 15),
    ("1h", "Last hour", 60),
    ("24h", "Last day", 1440),
    ("7d", "Last 7 days", 10_080),
    ("30d", "Last 30 days", 43_200),
];

/// What a redirect says of what was done: it filters nothing.
const SAID: [&str; 4] = ["queued", "skipped", "from", "version"];

/// The runs of all workflows.
pub(in super::super) async fn all(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let list = read(&console.api, &viewer, None, &asked).await?;
    let content = html! {
        div.head { h1 { "Runs" } p.soft { "What the workflows that you may look into did, newest first." } }
        (listing("/runs", "/events", &asked, &list, true, Markup::default()))
    };
    let page = Page { title: "Runs", place: Place::Runs, scripts: &["live.js"], content };
    Ok(Html(page.render(&viewer)))
}

/// The runs of a workflow.
pub(in super::super) async fn of_workflow(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let entry = console.api.app.registry.find(&name)?;
    let workflow = view::workflow(&entry, &console.api.app, &viewer.actor);
    let list = read(&console.api, &viewer, Some(entry.workflow.id), &asked).await?;
    let (path, events) = (format!("/workflows/{name}/runs"), format!("/workflows/{name}/events"));
    let again = match viewer.may_with(Action::RunWorkflow, &workflow) {
        true => {
            let versions = run::choice_of_version(&console.api, &name, Some(asked.get("version"))).await;
            again(&path, &asked, &list, &versions)
        }
        false => Markup::default(),
    };
    let content = html! {
        h2.hidden { "Debugger" }
        (queued(&asked))
        (listing(&path, &events, &asked, &list, false, again))
    };
    Ok(Html(parts::workflow_page(&viewer, &workflow, Tab::Runs, &["live.js"], content)))
}

/// Queues the runs that pass the filters to be run again.
pub(in super::super) async fn replay(
    State(console): Shared,
    Named(name): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let statuses = runs::statuses(fields.get("status"))?;
    let asked = ReplayMany {
        // Those that have not ended cannot be run again.
        statuses: statuses.into_iter().filter(|status| status.is_terminal()).collect(),
        trigger: fields.some("trigger"),
        since: since(&fields)?,
        until: instant(&fields, "until")?,
        text: fields.some("text"),
        version: version(&fields)?,
        cursor: fields
            .some("from")
            .map(|id| id.parse())
            .transpose()
            .map_err(|_| ApiError::Field { field: "from", reason: "is no run".to_owned() })?,
        ..Default::default()
    };
    let done = replay::many(&console.api, &name, asked).await?;
    let (queued, skipped) = (done.queued.len().to_string(), done.skipped.len().to_string());
    let next = done.next.map(|next| next.to_string()).unwrap_or_default();
    let query = fields.query_with(&[("from", &next), ("queued", &queued), ("skipped", &skipped)]);
    Ok(Redirect::to(&format!("/workflows/{name}/runs?{query}")).into_response())
}

/// The version that runs something again; `None` for the active one.
pub(super) fn version(fields: &Fields) -> Result<Option<u32>, ApiError> {
    let wrong = |_| ApiError::Field { field: "version", reason: "is no number".to_owned() };
    fields.some("version").map(|text| text.parse()).transpose().map_err(wrong)
}

/// What became of runs that were to be run again.
fn queued(asked: &Fields) -> Markup {
    let number = |field: &str| asked.get(field).parse::<u64>().ok();
    let Some(queued) = number("queued") else { return Markup::default() };
    let skipped = number("skipped").unwrap_or_default();
    html! {
        div.alert.good role="status" { p {
            (text::counted(queued, "run")) @if queued == 1 { " is" } @else { " are" } " queued to be run again."
            @if skipped > 0 { " " (text::counted(skipped, "run")) " cannot be: the record does not hold the whole request, or the endpoint does not take it any more." }
            @if !asked.get("from").is_empty() { " There are older ones: press the button again." }
        } }
    }
}

/// The button that runs again what passes the filters.
fn again(path: &str, asked: &Fields, list: &RunList, versions: &Markup) -> Markup {
    let status = asked.get("status");
    let passes = |run: &&RunView| match status {
        "" => matches!(run.status, Status::Failed | Status::Interrupted),
        word => run.status.is_terminal() && run.status.word() == word,
    };
    if list.runs.iter().filter(passes).count() == 0 {
        return Markup::default();
    }
    let which = if status.is_empty() { "failed" } else { status };
    let kept = ["status", "trigger", "time", "since", "until", "text", "from"];
    html! {
        form.versioned method="post" action={ (path) "/replay" } {
            @for name in kept { @if let Some(value) = asked.some(name) { input type="hidden" name=(name) value=(value); } }
            (versions)
            button.small type="submit" data-ask={ "Run all " (which) " runs that pass these filters again, 500 at most? Each is queued with the request that it had." } {
                (icons::play()) "Run all " (which) " ones again"
            }
        }
    }
}

/// Runs as they start and end.
pub(in super::super) async fn events(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    events::events(
        State(console.api.clone()),
        Who(viewer.actor),
        Params(events::EventParams { workflow: None }),
    )
    .await
}

/// Runs of a workflow as they start and end.
pub(in super::super) async fn events_of_workflow(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let params = events::EventParams { workflow: Some(name) };
    events::events(State(console.api.clone()), Who(viewer.actor), Params(params)).await
}

async fn read(
    api: &Api,
    viewer: &Viewer,
    workflow: Option<WorkflowId>,
    asked: &Fields,
) -> Result<RunList, ApiError> {
    let params = runs::RunParams {
        status: asked.some("status"),
        trigger: asked.some("trigger"),
        since: since(asked)?,
        until: instant(asked, "until")?,
        text: asked.some("text"),
        limit: Some(ROWS),
        cursor: asked.some("cursor"),
    };
    runs::page(api, &viewer.actor, workflow, params).await
}

/// The beginning of the time that is asked for: a span up to now, or an instant.
fn since(asked: &Fields) -> Result<Option<Timestamp>, ApiError> {
    let span = TIMES.iter().find(|(value, ..)| *value == asked.get("time"));
    match span {
        Some((.., minutes)) => Ok(Some(Timestamp::now() - SignedDuration::from_mins(*minutes))),
        None => instant(asked, "since"),
    }
}

/// An instant in a query.
fn instant(asked: &Fields, field: &'static str) -> Result<Option<Timestamp>, ApiError> {
    let wrong = |_| ApiError::Query(format!("{field}: is no instant such as 2026-03-01T12:00:00Z"));
    asked.some(field).map(|text| text.parse().map_err(wrong)).transpose()
}

fn listing(path: &str, events: &str, asked: &Fields, list: &RunList, names: bool, again: Markup) -> Markup {
    let query = asked.query_with(&SAID.map(|name| (name, "")));
    let here = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let is_first = asked.get("cursor").is_empty();
    let is_filtered =
        !asked.query_with(&["cursor", SAID[0], SAID[1], SAID[2], SAID[3]].map(|name| (name, ""))).is_empty();
    let nothing = if is_filtered {
        "No run passes these filters."
    } else {
        "Nothing has run yet. Runs show up here as they happen."
    };
    html! {
        (filter(path, asked))
        // Only the first page changes by itself: others are being read.
        div #list data-events=[is_first.then_some(events)] hx-get=[is_first.then_some(&here)] hx-trigger="runs-changed"
            hx-select="#list" hx-target="#list" hx-swap="outerHTML" {
            (table(&list.runs, names, nothing))
            div.pager {
                span.soft {
                    @if let Some(searched) = &list.searched {
                        "Searched " (text::counted(searched.runs, "run")) @if let Some(back) = searched.back_to { ", back to " (when::full(back)) } ". "
                    }
                    @if is_first { span.live-mark data-live="" { "Live" } }
                }
                (again)
                nav aria-label="Pages" {
                    @if !is_first { a.button href=(format!("{path}?{}", asked.query_with(&[("cursor", "")]))) { "Newest" } }
                    @if let Some(next) = &list.next {
                        a.button href=(format!("{path}?{}", asked.query_with(&[("cursor", &next.to_string())]))) { "Older" }
                    }
                }
            }
        }
    }
}

fn filter(path: &str, asked: &Fields) -> Markup {
    let statuses: Vec<_> = Status::ALL.iter().map(|status| (status.word(), status.word())).collect();
    let triggers: Vec<_> = Trigger::WORDS.iter().map(|word| (*word, *word)).collect();
    let times: Vec<_> = TIMES.iter().map(|(value, name, _)| (*value, *name)).collect();
    let with = |first: (&'static str, &'static str), rest: Vec<(&'static str, &'static str)>| {
        let mut all = vec![first];
        all.extend(rest);
        all
    };
    html! {
        form.filter role="search" action=(path) hx-get=(path) hx-target="#list" hx-select="#list" hx-swap="outerHTML"
            hx-push-url="true" hx-trigger="input delay:300ms from:#text, change, submit" {
            div.search { (icons::search())
                input type="search" id="text" name="text" value=(asked.get("text")) maxlength="256" autocomplete="off"
                    placeholder="Search logs and errors" aria-label="Search logs and errors" data-key="/";
            }
            select name="status" aria-label="Status" { (parts::options(&with(("", "Any status"), statuses), asked.get("status"))) }
            select name="trigger" aria-label="Trigger" { (parts::options(&with(("", "Any trigger"), triggers), asked.get("trigger"))) }
            select name="time" aria-label="Time" { (parts::options(&with(("", "Any time"), times), asked.get("time"))) }
            details.between open[!asked.get("since").is_empty() || !asked.get("until").is_empty()] {
                summary { "Between two instants" }
                div.actions {
                    label { "From " input type="datetime-local" data-instant="since" step="1"; }
                    label { "until " input type="datetime-local" data-instant="until" step="1"; }
                    input type="hidden" name="since" value=(asked.get("since"));
                    input type="hidden" name="until" value=(asked.get("until"));
                    span.soft { "in your own time zone" }
                }
            }
            noscript { button type="submit" { "Search" } }
        }
    }
}

/// A table of runs, or what stands in its place.
pub(super) fn table(runs: &[RunView], names: bool, nothing: &str) -> Markup {
    if runs.is_empty() {
        return parts::empty("No runs", html! { p { (nothing) } });
    }
    html! {
        div.panel.scroll {
            table.rows.stack {
                thead { tr {
                    th scope="col" { "Run" } @if names { th scope="col" { "Workflow" } }
                    th scope="col" { "Status" } th scope="col" { "Trigger" } th scope="col" { "Reply" } th scope="col" { "Took" } th scope="col" { "Memory" } th scope="col" { "When" }
                } }
                tbody { @for run in runs { (line(run, names)) } }
            }
        }
    }
}

fn line(run: &RunView, names: bool) -> Markup {
    html! {
        tr data-run=(run.id) {
            th scope="row" { (parts::run_link(run)) }
            @if names { td data-name="Workflow" { a.plain href={ "/workflows/" (run.workflow) } { (run.workflow) } } }
            td.wide data-name="Status" {
                (parts::status(run.status))
                @if let Some(fault) = run.fault { " " span.fault { (fault.word()) } }
                @if let Some(message) = &run.message { div.sub.bad { (text::line(message)) } }
            }
            td data-name="Trigger" { (run.trigger) @if let Some(schedule) = &run.schedule { span.soft { " " (schedule) } } @if run.attempt > 1 { span.soft { " attempt " (run.attempt) } } }
            td data-name="Reply" { @match run.reply_status { Some(status) => (status), None => (parts::none()) } }
            td data-name="Took" { @match run.duration_ms { Some(ms) => (text::millis(ms)), None => (parts::none()) } }
            td data-name="Memory" { @if run.memory_peak_bytes > 0 { (text::bytes(run.memory_peak_bytes)) } @else { (parts::none()) } }
            td data-name="When" { (when::relative(run.accepted_at)) }
        }
    }
}
