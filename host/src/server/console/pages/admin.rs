//! Administration: versions, runtimes, limits, backups.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{self, HeaderValue};
use jiff::Timestamp;
use maud::{Markup, html};

use crate::account::Action;
use crate::api::RuntimeView;
use crate::config::Config;
use crate::server::api::{self, ApiError, probes};
use crate::server::console::form::Asked;
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Html, Shared, parts, text, when};

/// Digits of a digest that are enough to tell two apart.
const DIGITS: usize = 12;

/// The page.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Asked(asked): Asked,
) -> Result<Response, ApiError> {
    let api = &console.api;
    let about = probes::version(State(api.clone())).await.0;
    let runtimes = api.app.deployer.runtimes().await?;
    let downloads = asked.is_on("backup") && viewer.may(Action::OperateHost);
    let content = html! {
        div.head { h1 { "Admin" } p.soft { "Tidegate " (about.version) " with wasmtime " (about.wasmtime) ", up since " (when::full(about.started_at)) "." } }
        @if downloads { div.alert.good role="status" { p { "The download of the backup begins." } } }
        section { h2 { "Users" } div.panel.pad { p { a.button href="/users" { "Users and their roles" } " " a.button href="/audit" { "Audit log" } " " a.button href="/host" { "Health" } } p.soft { "Everybody makes tokens on " a href="/account" { "the account page" } "; those of others are shown and revoked with the users." } } }
        section { h2 { "Runtimes" } (installed(&runtimes)) }
        section { h2 { "Limits" }
            p.soft { "What the host was started with. Its configuration file, its environment and its flags set them." }
            (limits(&api.app.config))
        }
        section { h2 { "Backup" } div.panel.pad {
            @if viewer.may(Action::OperateHost) {
                p { a.button href="/backup" { "Download a backup" } }
                p { "It has secrets in it, so keep it safe; the master key is not in it, so keep that too, elsewhere." }
            }
            p.soft { "From the command line, on the machine of the host or anywhere with a token: " code { "tidegate backup DIR" } "." }
            p.soft { "It holds one moment: workflows, versions, settings, runs, statistics and the queue. " code { "tidegate restore DIR" } " makes a data folder of it." }
        } }
        section { h2 { "For programs" } div.panel.pad {
            p { "The management API is described in " a href="/api/v1/openapi.json" { "its OpenAPI document" } ", and " code { "/metrics" } " is for Prometheus." }
        } }
    };
    let page = Page { title: "Admin", place: Place::Admin, scripts: &[], content }.render(&viewer);
    let mut response = Html(page).into_response();
    if downloads {
        response.headers_mut().insert(header::REFRESH, HeaderValue::from_static("0; url=/backup"));
    }
    Ok(response)
}

/// A backup, as a file to keep.
pub(in super::super) async fn backup(State(console): Shared) -> Result<Response, ApiError> {
    let archive = api::backup::backup(State(console.api.clone())).await?;
    let name = Timestamp::now().strftime("tidegate-%Y%m%d-%H%M%S.tar");
    let disposition = format!("attachment; filename=\"{name}\"");
    Ok(([(header::CONTENT_DISPOSITION, disposition)], archive).into_response())
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

/// What a limit is called, its value, and its key.
type Row = (&'static str, String, &'static str);

fn limits(config: &Config) -> Markup {
    let time = |ms: u64| text::millis(ms as f64);
    let size = |bytes: u64| text::bytes(bytes);
    let count = |number: u64| text::count(number);
    // 0 is no limit.
    let rate = |number: u32| if number == 0 { "any".to_owned() } else { count(number.into()) };
    let Config { engine, run, server, egress, schedule, queue, store, .. } = config;
    let groups: [(&str, Vec<Row>); 5] = [
        (
            "A run",
            vec![
                ("Time", time(engine.deadline_ms), "engine.deadline_ms"),
                ("Processor time", time(engine.cpu_ms_max), "engine.cpu_ms_max"),
                ("Memory", size(engine.memory_bytes_max as u64), "engine.memory_bytes_max"),
                ("Log", size(run.log_bytes_max as u64), "run.log_bytes_max"),
                ("Reply", size(run.reply_bytes_max as u64), "run.reply_bytes_max"),
                ("Outbound requests", count(egress.requests_max.into()), "egress.requests_max"),
                ("Outbound bytes", size(egress.run_bytes_max), "egress.run_bytes_max"),
            ],
        ),
        (
            "A workflow",
            vec![
                ("Runs at a time", count(run.concurrency_max.into()), "run.concurrency_max"),
                ("Settings", count(run.settings_max as u64), "run.settings_max"),
                ("Value of a setting", size(run.setting_bytes_max as u64), "run.setting_bytes_max"),
                ("Schedules", count(schedule.schedules_max as u64), "schedule.schedules_max"),
                ("Shortest interval", time(schedule.interval_ms_min), "schedule.interval_ms_min"),
                ("Attempts", count(queue.attempts_max.into()), "queue.attempts_max"),
            ],
        ),
        (
            "The host",
            vec![
                ("Instances", count(engine.instances_max.into()), "engine.instances_max"),
                ("Connections", count(server.connections_max as u64), "server.connections_max"),
                ("Events in the queue", count(queue.events_max as u64), "queue.events_max"),
                ("Dead letters", count(queue.dead_max as u64), "queue.dead_max"),
            ],
        ),
        (
            "A request",
            vec![
                ("Body", size(server.body_bytes_max as u64), "server.body_bytes_max"),
                ("Headers", count(server.headers_max as u64), "server.headers_max"),
                ("Upload", size(server.upload_bytes_max as u64), "server.upload_bytes_max"),
                (
                    "Requests of an address in a second",
                    rate(server.address_rate_per_s_max),
                    "server.address_rate_per_s_max",
                ),
                (
                    "Requests to an endpoint in a second",
                    rate(server.endpoint_rate_per_s_max),
                    "server.endpoint_rate_per_s_max",
                ),
            ],
        ),
        (
            "What is kept",
            vec![
                ("Days of runs", count(store.retention_days.into()), "store.retention_days"),
                ("Runs", count(store.retention_runs_max), "store.retention_runs_max"),
                ("Space of runs", size(store.retention_bytes_max), "store.retention_bytes_max"),
                ("Days of statistics", count(store.statistics_days.into()), "store.statistics_days"),
                ("Days of the audit log", count(config.audit.days.into()), "audit.days"),
            ],
        ),
    ];
    html! {
        div.panel { table.pairs.limits {
            @for (title, rows) in &groups { tbody {
                tr.group { th scope="rowgroup" colspan="3" { (title) } }
                @for (name, value, key) in rows {
                    tr { th scope="row" { (name) } td.number { (value) } td { code.soft { (key) } } }
                }
            } }
        } }
    }
}
