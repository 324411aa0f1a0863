//! The audit log: who changed what.

use axum::Extension;
use axum::extract::State;
use maud::html;

use crate::server::api::audit::AuditParams;
use crate::server::api::extract::Params;
use crate::server::api::{ApiError, audit};
use crate::server::console::form::Asked;
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Html, Shared, parts, text, when};

/// The page.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let params = AuditParams { limit: None, before: asked.get("before").parse().ok() };
    let list = audit::list(State(console.api.clone()), Params(params)).await?.0;
    let content = html! {
        div.head { p.crumbs { a href="/admin" { "Admin" } } h1 { "Audit log" } p.soft { "Who changed what, newest first: names, never values." } }
        @if list.entries.is_empty() {
            (parts::empty("Nothing is written down yet", html! { p { "Changes show up here with who made them." } }))
        } @else {
            div.panel.scroll tabindex="0" role="region" aria-label="Entries" { table.rows.stack {
                thead { tr { th scope="col" { "What" } th scope="col" { "Who" } th scope="col" { "With" } th scope="col" { "Details" } th scope="col" { "From" } th scope="col" { "Answer" } th scope="col" { "When" } } }
                tbody { @for entry in &list.entries {
                    tr {
                        th.verb scope="row" { code { (text::line(&entry.what)) } }
                        td data-name="Who" { (text::line(&entry.who)) span.soft { " by " (text::line(&entry.via)) } }
                        td data-name="With" { @if entry.object.is_empty() { (parts::none()) } @else { (text::line(&entry.object)) } }
                        td.wide data-name="Details" { @if entry.details.is_empty() { (parts::none()) } @for detail in &entry.details { code { (text::line(detail)) } " " } }
                        td data-name="From" { @match entry.address { Some(address) => (address.to_string()), None => (parts::none()) } }
                        td data-name="Answer" { @if entry.status == 0 { (parts::none()) } @else { (entry.status) } }
                        td data-name="When" { (when::full(entry.at)) }
                    }
                } }
            } }
            @if let Some(next) = list.next { div.pager { span {} nav aria-label="Pages" { a.button href={ "/audit?before=" (next) } { "Older" } } } }
        }
    };
    Ok(Html(Page { title: "Audit log", place: Place::Admin, scripts: &[], content }.render(&viewer)))
}
