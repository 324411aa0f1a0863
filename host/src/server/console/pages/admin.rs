//! Administration: versions, runtimes, limits, backups.

use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};

use crate::api::RuntimeView;
use crate::config::Config;
use crate::server::api::{ApiError, probes};
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Html, Shared, parts, text, when};

/// Digits of a digest that are enough to tell two apart.
const DIGITS: usize = 12;

/// The page.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
) -> Result<Html, ApiError> {
    let api = &console.api;
    let about = probes::version(State(api.clone())).await.0;
    let runtimes = api.app.deployer.runtimes().await?;
    let content = html! {
        div.head { h1 { "Admin" } p.soft { "Tidegate " (about.version) " with wasmtime " (about.wasmtime) ", up since " (when::full(about.started_at)) "." } }
        section { h2 { "Users" } div.panel.pad { p { a.button href="/users" { "Users and their roles" } " " a.button href="/audit" { "Audit log" } } p.soft { "Tokens are each user's own, on " a href="/account" { "the account page" } "." } } }
        section { h2 { "Runtimes" } (installed(&runtimes)) }
        section { h2 { "Limits" }
            p.soft { "What the host was started with. Its configuration file, its environment and its flags set them." }
            (limits(&api.app.config))
        }
        section { h2 { "Backup" } div.panel.pad {
            p { "On the machine of the host, or anywhere with a token: " code { "tidegate backup DIR" } "." }
            p.soft { "It holds one moment: workflows, versions, settings, runs, statistics and the queue. " code { "tidegate restore DIR" } " makes a data folder of it." }
        } }
        section { h2 { "For programs" } div.panel.pad {
            p { "The management API is described in " a href="/api/v1/openapi.json" { "its OpenAPI document" } ", and " code { "/metrics" } " is for Prometheus." }
        } }
    };
    Ok(Html(Page { title: "Admin", place: Place::Admin, scripts: &[], content }.render(&viewer)))
}

fn installed(runtimes: &[RuntimeView]) -> Markup {
    if runtimes.is_empty() {
        return parts::empty(
            "No runtime is installed",
            html! {
                p { "Workflows in Python need one: " code { "tidegate runtime build --name python" } }
            },
        );
    }
    html! {
        @for runtime in runtimes {
            div.panel.pad {
                div.row { h3 { (runtime.name) } @if runtime.default { span.state.live { "Default" } } span.soft { (runtime.language) " " (runtime.version) } code.digest.end title=(runtime.digest) { (&runtime.digest.to_string()[..DIGITS]) } }
                details { summary { (text::counted(runtime.packages.len() as u64, "package")) }
                    ul.columns-list { @for package in &runtime.packages { li { code { (package.name) } " " span.soft { (package.version) } } } }
                }
            }
        }
    }
}

fn limits(config: &Config) -> Markup {
    let rows = [
        ("Time of a run", text::millis(config.engine.deadline_ms as f64), "engine.deadline_ms"),
        ("Memory of a run", text::bytes(config.engine.memory_bytes_max as u64), "engine.memory_bytes_max"),
        (
            "Runs of a workflow at a time",
            text::count(config.run.concurrency_max.into()),
            "run.concurrency_max",
        ),
        ("Body of a request", text::bytes(config.server.body_bytes_max as u64), "server.body_bytes_max"),
        ("Upload", text::bytes(config.server.upload_bytes_max as u64), "server.upload_bytes_max"),
        ("Connections", text::count(config.server.connections_max as u64), "server.connections_max"),
        (
            "Schedules of a workflow",
            text::count(config.schedule.schedules_max as u64),
            "schedule.schedules_max",
        ),
    ];
    html! {
        div.panel { table.pairs { tbody { @for (name, value, key) in rows {
            tr { th scope="row" { (name) } td.number { (value) } td { code.soft { (key) } } }
        } } } }
    }
}
