//! Requests for tests: those that are kept with the workflow, and those of past runs.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::function::Written;
use crate::account::Action;
use crate::api::{SampleView, WorkflowView};
use crate::registry::Entry;
use crate::server::api::{Api, ApiError, runs, samples, view};
use crate::server::console::form::{Fields, Named};
use crate::server::console::parts::Field;
use crate::server::console::session::Viewer;
use crate::server::console::{Html, Shared, shell, text};
use crate::server::reply::Problem;

/// Runs whose request is offered.
const RUNS: usize = 10;
/// Stands before the name of a kept request, where others are runs.
const KEPT: &str = "kept:";

/// The request that a choice names; `None` when it names none.
///
/// # Errors
/// The run that it names is not there, or of another workflow.
pub(super) async fn chosen(api: &Api, entry: &Entry, choice: &str) -> Result<Option<Written>, ApiError> {
    if let Some(name) = choice.strip_prefix(KEPT) {
        let kept = entry.workflow.samples.iter().find(|sample| sample.name == name);
        return Ok(kept.map(|sample| Written::of_test(SampleView::from(sample).request)));
    }
    if choice.is_empty() {
        return Ok(None);
    }
    let run = runs::find(api, choice).await?;
    // Whoever may see this workflow may not see the runs of every other one.
    if run.workflow != entry.workflow.id {
        let what = format!("the run {choice:.40?} of the workflow {}", entry.workflow.name);
        return Err(ApiError::Missing { what });
    }
    Ok(run.request.as_deref().map(Written::of))
}

/// The choice of a request, and keeping the one that is typed.
pub(super) async fn choice(
    api: &Api,
    viewer: &Viewer,
    entry: &Entry,
    choice: &str,
    said: Option<Markup>,
) -> Result<Markup, ApiError> {
    let workflow = view::workflow(entry, &api.app, &viewer.actor);
    let recent = runs::RunParams { limit: Some(RUNS), ..Default::default() };
    let recent = runs::page(api, &viewer.actor, Some(entry.workflow.id), recent).await?.runs;
    let past: Vec<_> = recent
        .iter()
        .filter(|run| run.status.is_terminal())
        .take(RUNS)
        .map(|run| {
            let id = run.id.to_string();
            let at = run.accepted_at.strftime("%Y-%m-%d %H:%M:%S UTC");
            (id.clone(), format!("{} · {} · {at}", &id[id.len() - 8..], run.status))
        })
        .collect();
    // One that is older than those that are offered.
    let is_other =
        !choice.is_empty() && !choice.starts_with(KEPT) && !past.iter().any(|(id, _)| id == choice);
    Ok(render(viewer, &workflow, entry, choice, is_other, &past, said))
}

fn render(
    viewer: &Viewer,
    workflow: &WorkflowView,
    entry: &Entry,
    choice: &str,
    is_other: bool,
    past: &[(String, String)],
    said: Option<Markup>,
) -> Markup {
    let path = format!("/workflows/{}/function", workflow.name);
    let kept = &entry.workflow.samples;
    let name = choice.strip_prefix(KEPT).unwrap_or_default();
    html! {
        div #kept {
            (Field { name: "sample", label: "Request", hint: None, error: None }.around(|id, _| html! {
                select id=(id) name="sample" hx-get=(path) hx-target="#request" hx-select="#request" hx-swap="outerHTML" hx-trigger="change"
                    hx-select-oob="#keep" hx-disabled-elt="this" {
                    option value="" { "A sample" }
                    @if !kept.is_empty() { optgroup label="Kept" { @for sample in kept {
                        @let value = format!("{KEPT}{}", sample.name);
                        option value=(value) selected[value == choice] { (text::line(&sample.name)) }
                    } } }
                    @if is_other { optgroup label="Chosen run" { option value=(choice) selected { "Of run " (choice) } } }
                    @if !past.is_empty() { optgroup label="Past runs" { @for (run, label) in past {
                        option value=(run) selected[run == choice] { (label) }
                    } } }
                }
            }))
            @if viewer.may_with(Action::ChangeWorkflow, workflow) { (keeping(&path, name)) }
            @if let Some(said) = said { (said) }
        }
    }
}

fn keeping(path: &str, name: &str) -> Markup {
    html! {
        div.actions.keep #keep {
            input type="text" name="keep" value=(name) maxlength="100" placeholder="Name to keep this request under" aria-label="Name to keep this request under" autocomplete="off";
            button type="button" hx-post={ (path) "/samples" } hx-disabled-elt="this" hx-include="closest form" hx-target="#kept" hx-swap="outerHTML" name="action" value="keep" { "Keep" }
            @if !name.is_empty() {
                button type="button" hx-post={ (path) "/samples" } hx-disabled-elt="this" hx-include="closest form" hx-target="#kept" hx-swap="outerHTML" name="action" value="forget" aria-label={ "Forget " (text::line(name)) } { "Forget" }
            }
        }
    }
}

/// Keeps the request that is typed, or forgets the one that is chosen.
pub(in super::super) async fn change(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let api = &console.api;
    let sample = fields.get("keep").to_owned();
    let done = match fields.get("action") {
        "forget" => {
            let chosen = fields.get("sample").strip_prefix(KEPT).unwrap_or(&sample).to_owned();
            let entry = api.app.registry.remove_sample(&name, &chosen).await.map_err(ApiError::from);
            entry.map(|entry| (entry, String::new(), format!("{chosen} is forgotten.")))
        }
        _ => match Written::read(&fields).request() {
            Ok(request) => {
                let entry = samples::keep(api, &name, sample.clone(), request.unwrap_or_default()).await;
                entry.map(|entry| (entry, format!("{KEPT}{sample}"), format!("{sample} is kept.")))
            }
            Err(error) => Err(error),
        },
    };
    match done {
        Ok((entry, chosen, said)) => {
            let said = html! { p.note.good role="status" { (text::line(&said)) } };
            Ok(Html(choice(api, &viewer, &entry, &chosen, Some(said)).await?).into_response())
        }
        Err(error) => {
            let problem = Problem::from(&error);
            if problem.status.is_server_error() {
                return Err(error);
            }
            let entry = api.app.registry.find(&name)?;
            let said = html! { p.wrong role="alert" { (shell::sentence(&problem.message)) } };
            let shown = choice(api, &viewer, &entry, fields.get("sample"), Some(said)).await?;
            Ok((problem.status, Html(shown)).into_response())
        }
    }
}
