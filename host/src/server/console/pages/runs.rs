//! The debugger: runs, newest first, as they happen.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::Event;
use futures::Stream;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use crate::api::{RunList, RunView};
use crate::run::{Status, Trigger};
use crate::server::api::access::Who;
use crate::server::api::extract::Params;
use crate::server::api::{Api, ApiError, events, runs, view};
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

/// The runs of all workflows.
pub(in super::super) async fn all(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let list = read(&console.api, &viewer, None, &asked).await?;
    let content = html! {
        div.head { h1 { "Runs" } p.soft { "What the workflows that you may look into did, newest first." } }
        (listing("/runs", "/events", &asked, &list, true))
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
    let content = html! {
        h2.hidden { "Debugger" }
        (listing(&path, &events, &asked, &list, false))
    };
    Ok(Html(parts::workflow_page(&viewer, &workflow, Tab::Runs, &["live.js"], content)))
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
    let minutes = TIMES.iter().find(|(value, ..)| *value == asked.get("time")).map(|(.., minutes)| *minutes);
    let params = runs::RunParams {
        status: asked.some("status"),
        trigger: asked.some("trigger"),
        since: minutes.map(|minutes| Timestamp::now() - SignedDuration::from_mins(minutes)),
        until: None,
        text: asked.some("text"),
        limit: Some(ROWS),
        cursor: asked.some("cursor"),
    };
    runs::page(api, &viewer.actor, workflow, params).await
}

fn listing(path: &str, events: &str, asked: &Fields, list: &RunList, names: bool) -> Markup {
    let query = asked.query_with(&[]);
    let here = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let is_first = asked.get("cursor").is_empty();
    let is_filtered = !asked.query_with(&[("cursor", "")]).is_empty();
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
