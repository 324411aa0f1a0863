//! The versions of a workflow: what each changed, and going back to one.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use crate::account::Action;
use crate::api::{Activate, VersionView, WorkflowView};
use crate::server::api::{Api, ApiError, view};
use crate::server::console::form::{Fields, Named};
use crate::server::console::session::Viewer;
use crate::server::console::{Html, Shared, parts, text, when};
use crate::workflow::{Code, Version};

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;
/// Versions that the overview shows.
pub(super) const RECENT: usize = 5;

/// All versions.
pub(in super::super) async fn list(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
) -> Result<Html, ApiError> {
    let (entry, versions) = console.api.app.registry.versions(&name).await?;
    let workflow = view::workflow(&entry, &console.api.app, &viewer.actor);
    let content = html! {
        section {
            h2 { "Versions" }
            (table(&viewer, &workflow, &versions, usize::MAX))
        }
    };
    Ok(Html(parts::workflow_page(&viewer, &workflow, parts::Tab::Overview, &[], content)))
}

/// A table of versions, newest first.
pub(super) fn table(viewer: &Viewer, workflow: &WorkflowView, versions: &[Version], most: usize) -> Markup {
    let name = workflow.name.as_str();
    let changes = viewer.may_with(Action::ChangeWorkflow, workflow);
    if versions.is_empty() {
        return parts::empty(
            "No version yet",
            html! {
                p { "The first deploy makes it live." }
                p { a.button.primary href={ "/workflows/" (name) "/function" } { "Write the function" } }
            },
        );
    }
    html! {
        div.panel.scroll {
            table.rows.stack {
                thead { tr { th scope="col" { "Version" } th scope="col" { "What" } th scope="col" { "Message" } th scope="col" { "Deployed" } th scope="col" { span.hidden { "Actions" } } } }
                tbody {
                    @for version in versions.iter().rev().take(most) {
                        @let shown = VersionView::new(version, workflow.active_version);
                        tr {
                            th scope="row" { a href={ "/workflows/" (name) "/versions/" (shown.number) } { "Version " (shown.number) }
                                @if shown.active { " " span.state.live { "Active" } } }
                            td data-name="What" { @match &shown.file {
                                Some(file) => { (text::line(file)) @if let Some(runtime) = &shown.runtime { span.soft { " on " (text::line(runtime)) } } },
                                None => "component",
                            } }
                            td data-name="Message" { @if shown.message.is_empty() { (parts::none()) } @else { (text::line(&shown.message)) } }
                            td data-name="Deployed" { (when::relative(shown.created_at)) @if let Some(by) = &shown.created_by { span.soft { " by " (text::line(by)) } } }
                            td.end { @if changes && !shown.active {
                                form method="post" action={ "/workflows/" (name) "/versions" } {
                                    button.small type="submit" name="version" value=(shown.number) data-ask={ "Make version " (shown.number) " the one that runs?" } { "Roll back to it" }
                                }
                            } }
                        }
                    }
                }
            }
        }
        @if versions.len() > most { p { a href={ "/workflows/" (name) "/versions" } { "All " (versions.len()) " versions" } } }
    }
}

/// Makes a version the one that runs.
pub(in super::super) async fn activate(
    State(console): Shared,
    Named(name): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let version = fields.get("version").parse();
    let version =
        version.map_err(|_| ApiError::Field { field: "version", reason: "is no number".to_owned() })?;
    console.api.app.registry.activate(&name, Activate { version: Some(version) }).await?;
    Ok(Redirect::to(&format!("/workflows/{name}?done=activated")).into_response())
}

/// What a version changed.
pub(in super::super) async fn diff(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Path((name, number)): Path<(String, String)>,
) -> Result<Html, ApiError> {
    let (entry, versions) = console.api.app.registry.versions(&name).await?;
    let workflow = view::workflow(&entry, &console.api.app, &viewer.actor);
    let missing = || ApiError::Missing { what: format!("version {number:.20} of the workflow {name:.80?}") };
    let wanted: u32 = number.parse().map_err(|_| missing())?;
    let at = versions.iter().position(|version| version.number == wanted).ok_or_else(missing)?;
    let now = source(&console.api, &versions[at]).await?;
    let before = match at.checked_sub(1) {
        Some(before) => source(&console.api, &versions[before]).await?,
        None => None,
    };
    let shown = VersionView::new(&versions[at], workflow.active_version);
    let content = html! {
        section {
            div.row {
                h2 { "Version " (wanted) }
                @if shown.active { span.state.live { "Active" } }
            }
            p.soft { "Deployed " (when::full(shown.created_at)) @if !shown.message.is_empty() { ": " (text::line(&shown.message)) } }
            @match now {
                None => p { "It is a component of its own: " code.digest { (shown.digest) } },
                Some(now) => {
                    @if let Some(before) = before { h3 { "Changes since version " (wanted - 1) } (changes(&before, &now)) }
                    h3 { "Source" }
                    pre.code tabindex="0" { code { (text::visible(&now)) } }
                },
            }
            p { a.button href={ "/workflows/" (name) "/versions" } { "All versions" } }
        }
    };
    Ok(Html(parts::workflow_page(&viewer, &workflow, parts::Tab::Overview, &[], content)))
}

/// The source of a version; `None` for a component.
pub(super) async fn source(api: &Api, version: &Version) -> Result<Option<String>, ApiError> {
    match &version.code {
        Code::Component { .. } => Ok(None),
        Code::Source { source, .. } => {
            let bytes = api.app.store.blob(*source).await?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
    }
}

fn changes(before: &str, now: &str) -> Markup {
    let diff = TextDiff::from_lines(before, now);
    let groups = diff.grouped_ops(CONTEXT);
    html! {
        @if groups.is_empty() { p { "The source is the same." } }
        @for group in &groups {
            pre.code.diff tabindex="0" {
                @for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                    @let (class, sign) = match change.tag() {
                        ChangeTag::Delete => ("gone", "-"),
                        ChangeTag::Insert => ("new", "+"),
                        ChangeTag::Equal => ("same", " "),
                    };
                    span class=(class) { (sign) " " (text::visible(change.value().trim_end_matches('\n'))) }
                }
            }
        }
    }
}
