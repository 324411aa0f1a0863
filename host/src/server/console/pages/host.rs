//! The host: whether it is well, what it has in use, what its disk holds.

use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};

use crate::api::{HealthView, UsageView};
use crate::server::api::{ApiError, probes};
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Html, Shared, parts, text, when};

/// Workflows whose space is listed: those that take most.
const WORKFLOWS: usize = 20;

/// The page.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
) -> Result<Html, ApiError> {
    let api = &console.api;
    let health = probes::health(State(api.clone())).await.0;
    let usage = probes::usage(State(api.clone())).await?.0;
    let queue = api.app.store.queue_figures();
    let overruns = api.app.scheduler.overruns();
    let content = html! {
        div.head { div.row { h1 { "Host" } (ready(&health)) } p.soft { "Up since " (when::full(health.started_at)) ", " (when::relative(health.started_at)) "." } }
        @if let Some(reason) = &health.store.stopped {
            div.alert.bad role="alert" { p { strong { "The store stopped writing." } " " (text::visible(reason)) } p { "See the host's log, mend the disk, restart the host." } }
        }
        @for warning in &health.store.warnings { div.alert role="status" { p { (text::visible(warning)) } } }
        div #now hx-get="/host" hx-trigger="every 5s" hx-select="#now" hx-swap="outerHTML" {
            section { h2 { "Now" }
                dl.figures {
                    (parts::figure("Running", html! { (text::count(health.runs_running)) }, ""))
                    (parts::figure("Waiting for room", html! { (text::count(health.runs_waiting)) }, ""))
                    (parts::figure("Pool", html! { (text::count(health.instances_in_use)) " / " (text::count(health.instances_max)) }, ""))
                    (parts::figure("Memory of instances", html! { (text::bytes(health.instances_memory_bytes)) }, ""))
                    (parts::figure("Workflows", html! { (text::count(health.workflows)) }, ""))
                    (parts::figure("Schedules too slow", html! { (text::count(overruns as u64)) }, ""))
                }
            }
            section { h2 { "Queue" }
                dl.figures {
                    (parts::figure("Events waiting", html! { (text::count(queue.waiting)) }, ""))
                    (parts::figure("Being tried", html! { (text::count(queue.leased)) }, ""))
                    (parts::figure("Dead letters", html! { a href="/dead" { (text::count(queue.dead)) } }, ""))
                }
            }
        }
        section { h2 { "Disk" } (disk(&usage, &health)) }
        section { h2 { "Runs kept" } (kept(&usage)) }
    };
    Ok(Html(Page { title: "Host", place: Place::Host, scripts: &[], content }.render(&viewer)))
}

fn ready(health: &HealthView) -> Markup {
    html! { @if health.ready { span.state.live { "Ready" } } @else { span.state.paused { "Takes no work" } } }
}

fn disk(usage: &UsageView, health: &HealthView) -> Markup {
    let rows = [
        ("Run records and logs", usage.run_bytes),
        ("of these, deleted runs", usage.dead_bytes),
        ("Index and metadata", usage.index_bytes),
        ("Statistics", usage.statistics_bytes),
        ("Queue", usage.queue_bytes),
        ("Components, sources and runtimes", usage.blob_bytes),
        ("Free on the file system", usage.free_bytes),
    ];
    html! {
        div.panel { table.pairs { tbody {
            @for (name, bytes) in rows { tr { th scope="row" { (name) } td.number { (text::bytes(bytes)) } } }
            tr { th scope="row" { "The last flush took" } td.number { (text::millis(health.store.flush_us as f64 / 1e3)) } }
        } } }
    }
}

fn kept(usage: &UsageView) -> Markup {
    let mut largest: Vec<_> = usage.workflows.iter().collect();
    largest.sort_by_key(|own| std::cmp::Reverse(own.run_bytes));
    if largest.is_empty() {
        return parts::empty(
            "No runs are kept",
            html! { p { "Their records take space here once something has run." } },
        );
    }
    html! {
        div.panel.scroll { table.rows {
            thead { tr { th scope="col" { "Workflow" } th scope="col" { "Runs" } th scope="col" { "Space" } } }
            tbody { @for own in largest.iter().take(WORKFLOWS) { tr {
                th scope="row" { a href={ "/workflows/" (own.name) } { (own.name) } }
                td { (text::count(own.runs)) } td { (text::bytes(own.run_bytes)) }
            } } }
        } }
        @if largest.len() > WORKFLOWS { p.soft { "The " (WORKFLOWS) " largest of " (largest.len()) "." } }
    }
}
