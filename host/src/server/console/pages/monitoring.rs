//! Charts: rate, failures, times, memory, lateness; of a workflow or of all.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde_json::json;

use crate::api::{Percentiles, StatisticsPoint, StatisticsView};
use crate::server::api::extract::{Params, Segments};
use crate::server::api::{Api, ApiError, schedules, statistics, view};
use crate::server::console::form::{Asked, Fields, Named};
use crate::server::console::parts::{self, Tab};
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Html, Shared, text, when};
use crate::workflow::{Kind, WorkflowId};

/// Ranges: the value, the name, its minutes, the minutes of one point.
const RANGES: [(&str, &str, i64, u32); 7] = [
    ("15m", "15 min", 15, 1),
    ("1h", "1 hour", 60, 1),
    ("6h", "6 hours", 360, 5),
    ("24h", "1 day", 1440, 15),
    ("7d", "7 days", 10_080, 120),
    ("30d", "30 days", 43_200, 480),
    ("90d", "90 days", 129_600, 1440),
];
/// The range that is shown first.
const RANGE: usize = 3;
/// Due instants that the ledger shows.
const TICKS: usize = 20;
/// Scripts of the charts.
const SCRIPTS: [&str; 3] = ["uplot.css", "uplot.js", "charts.js"];

/// Of all workflows.
pub(in super::super) async fn of_host(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let charts = charts(&console.api, None, "/monitoring", &asked, true).await?;
    let used = super::history::charts(&console.api, range(&asked)).await?;
    let content = html! {
        div.head { h1 { "Monitoring" } p.soft { "The runs of all workflows, and what the host had in use." } }
        (charts)
        section.gap { h2 { "The host" } (used) }
    };
    Ok(Html(
        Page { title: "Monitoring", place: Place::Monitoring, scripts: &SCRIPTS, content }.render(&viewer),
    ))
}

/// Of one workflow.
pub(in super::super) async fn of_workflow(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let entry = console.api.app.registry.find(&name)?;
    let workflow = view::workflow(&entry, &console.api.app, &viewer.actor);
    let path = format!("/workflows/{name}/monitoring");
    let is_pull = workflow.kind == Kind::Pull;
    let charts = charts(&console.api, Some(entry.workflow.id), &path, &asked, is_pull).await?;
    let content = html! {
        h2.hidden { "Monitoring" }
        (charts)
        @if is_pull { section.gap { h2 { "Ledger of due instants" } (ledger(&console.api, &name).await?) } }
    };
    Ok(Html(parts::workflow_page(&viewer, &workflow, Tab::Monitoring, &SCRIPTS, content)))
}

async fn charts(
    api: &Api,
    workflow: Option<WorkflowId>,
    path: &str,
    asked: &Fields,
    is_late: bool,
) -> Result<Markup, ApiError> {
    let range = chosen(asked).0;
    let seen = statistics::view(api, workflow, self::range(asked)).await?;
    Ok(html! {
        nav.segments aria-label="Range" {
            @for (value, name, ..) in RANGES {
                a href={ (path) "?range=" (value) } aria-current=[(value == range).then_some("true")] { (name) }
            }
        }
        (totals(&seen.total))
        @if seen.total.runs == 0 {
            (parts::empty("No runs in this time", html! { p { "Choose a longer range, or run something." } }))
        } @else {
            div.charts {
                (chart("Runs", "Runs in each step, by their end", &runs(&seen)))
                @if seen.total.faults.is_empty() {
                    figure.chart { figcaption { strong { "Failures" } } (parts::empty("No failures", html! { p { "Every run in this time went well." } })) }
                } @else {
                    (chart("Failures", "Failed runs in each step, by kind of fault", &faults(&seen)))
                }
                (chart("Time", "Milliseconds from start to end", &times(&seen, "ms", |point| point.duration_ms.as_ref())))
                (chart("Memory", "Bytes at most in a run", &times(&seen, "bytes", |point| point.memory_bytes.as_ref())))
                @if is_late && seen.total.lateness_ms.is_some() {
                    (chart("Lateness", "Milliseconds from the due instant to the start", &times(&seen, "ms", |point| point.lateness_ms.as_ref())))
                }
            }
            (table(&seen))
        }
    })
}

fn chosen(asked: &Fields) -> &'static (&'static str, &'static str, i64, u32) {
    RANGES.iter().find(|(value, ..)| *value == asked.get("range")).unwrap_or(&RANGES[RANGE])
}

/// The time that is asked for.
fn range(asked: &Fields) -> statistics::StatisticsParams {
    let (_, _, minutes, step) = *chosen(asked);
    let since = Timestamp::now() - SignedDuration::from_mins(minutes);
    statistics::StatisticsParams { since: Some(since), until: None, step_minutes: Some(step) }
}

/// What became of the latest due instants: each of them once.
async fn ledger(api: &Arc<Api>, name: &str) -> Result<Markup, ApiError> {
    let params = schedules::TickParams { schedule: None, state: None, limit: Some(TICKS), cursor: None };
    let list = schedules::ticks(State(api.clone()), Segments(name.to_owned()), Params(params)).await?.0;
    if list.ticks.is_empty() {
        return Ok(parts::empty(
            "Nothing was due yet",
            html! { p { "Each instant is listed here once, whether it ran or not." } },
        ));
    }
    Ok(html! {
        div.panel.scroll { table.rows.stack {
            thead { tr { th scope="col" { "Due" } th scope="col" { "Schedule" } th scope="col" { "What became of it" } th scope="col" { "Late by" } th scope="col" { "Run" } } }
            tbody { @for tick in &list.ticks {
                @let run = tick.run.to_string();
                tr {
                    th scope="row" { (when::full(tick.due)) }
                    td data-name="Schedule" { (tick.schedule) }
                    td data-name="Became" { (tick.state.word()) @if let Some(stretch) = &tick.stretch { span.soft { ", one of " (text::count(stretch.count)) } } }
                    td data-name="Late by" { (text::millis(tick.lateness_ms)) }
                    td data-name="Run" { a.mono href={ "/runs/" (run) } { (run[run.len() - 8..]) } }
                }
            } }
        } }
    })
}

fn totals(total: &StatisticsPoint) -> Markup {
    let time = |pick: fn(&Percentiles) -> f64| match &total.duration_ms {
        Some(times) => text::millis(pick(times)),
        None => "–".to_owned(),
    };
    html! {
        dl.figures {
            (parts::figure("Runs", html! { (text::count(total.runs)) }, ""))
            (parts::figure("Failed", html! { (text::count(parts::bar(total).1)) }, ""))
            (parts::figure("Succeeded", html! { @match parts::success(total) { Some(share) => (parts::percent(share)), None => "–" } }, ""))
            (parts::figure("p50", html! { (time(|times| times.p50)) }, ""))
            (parts::figure("p95", html! { (time(|times| times.p95)) }, ""))
            (parts::figure("p99", html! { (time(|times| times.p99)) }, ""))
            (parts::figure("Memory at most", html! { @match &total.memory_bytes { Some(memory) => (text::bytes(memory.max as u64)), None => "–" } }, ""))
            @if let Some(late) = &total.lateness_ms { (parts::figure("Late, p99", html! { (text::millis(late.p99)) }, "")) }
        }
    }
}

/// A chart: its data is an attribute, which the console's script draws.
pub(super) fn chart(title: &str, about: &str, data: &serde_json::Value) -> Markup {
    html! {
        figure.chart {
            figcaption { strong { (title) } span.soft { (about) } }
            div.plot role="img" aria-label={ (title) ": " (about) ". The figures are in the table below." } data-chart=(data) {}
        }
    }
}

/// The beginnings of all steps, those without runs included, in seconds.
fn steps(seen: &StatisticsView) -> Vec<i64> {
    steps_of(seen.since, seen.until, seen.step_minutes)
}

/// The beginnings of the steps of some time, in seconds.
pub(super) fn steps_of(from: Timestamp, to: Timestamp, step_minutes: u32) -> Vec<i64> {
    let step = i64::from(step_minutes) * 60;
    let (from, to) = (from.as_second(), to.as_second());
    (0..=(to - 1 - from) / step).map(|at| from + at * step).collect()
}

/// One value for each step.
fn series<T>(seen: &StatisticsView, none: T, pick: impl Fn(&StatisticsPoint) -> T) -> Vec<T>
where
    T: Clone,
{
    let step = i64::from(seen.step_minutes) * 60;
    let mut values = vec![none; steps(seen).len()];
    for point in &seen.points {
        let at = (point.at.as_second() - seen.since.as_second()) / step;
        if let Some(value) = usize::try_from(at).ok().and_then(|at| values.get_mut(at)) {
            *value = pick(point);
        }
    }
    values
}

fn counts(
    seen: &StatisticsView,
    words: &[&str],
    pick: impl Fn(&StatisticsPoint, &str) -> u64,
) -> serde_json::Value {
    let series: Vec<_> = words
        .iter()
        .map(|word| json!({ "name": word, "values": series(seen, 0, |point| pick(point, word)) }))
        .collect();
    json!({ "kind": "bars", "unit": "count", "at": steps(seen), "series": series })
}

fn runs(seen: &StatisticsView) -> serde_json::Value {
    let words: Vec<&str> = ["succeeded", "failed", "interrupted", "cancelled"]
        .into_iter()
        .filter(|word| *word == "succeeded" || seen.total.statuses.contains_key(*word))
        .collect();
    counts(seen, &words, |point, word| point.statuses.get(word).copied().unwrap_or(0))
}

fn faults(seen: &StatisticsView) -> serde_json::Value {
    let words: Vec<&str> = seen.total.faults.keys().map(String::as_str).collect();
    counts(seen, &words, |point, word| point.faults.get(word).copied().unwrap_or(0))
}

fn times(
    seen: &StatisticsView,
    unit: &str,
    pick: impl Fn(&StatisticsPoint) -> Option<&Percentiles>,
) -> serde_json::Value {
    type Of = fn(&Percentiles) -> f64;
    let lines: [(&str, Of); 3] = [("p50", |p| p.p50), ("p95", |p| p.p95), ("p99", |p| p.p99)];
    let series: Vec<_> = lines
        .iter()
        .map(|(name, of)| json!({ "name": name, "values": series(seen, None, |point| pick(point).map(of)) }))
        .collect();
    json!({ "kind": "lines", "unit": unit, "at": steps(seen), "series": series })
}

/// The same figures for those who do not see the charts.
fn table(seen: &StatisticsView) -> Markup {
    html! {
        details.figures-table { summary { "The figures as a table" }
            div.panel.scroll { table.rows {
                thead { tr { th scope="col" { "From" } th scope="col" { "Runs" } th scope="col" { "Failed" } th scope="col" { "p50" } th scope="col" { "p95" } th scope="col" { "p99" } th scope="col" { "Memory" } } }
                tbody { @for point in seen.points.iter().rev() { tr {
                    th scope="row" { (when::full(point.at)) }
                    td { (text::count(point.runs)) }
                    td { (text::count(parts::bar(point).1)) }
                    @for pick in [(|p: &Percentiles| p.p50) as fn(&Percentiles) -> f64, |p| p.p95, |p| p.p99] {
                        td { @match &point.duration_ms { Some(times) => (text::millis(pick(times))), None => "–" } }
                    }
                    td { @match &point.memory_bytes { Some(memory) => (text::bytes(memory.max as u64)), None => "–" } }
                } } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_without_runs_are_drawn_as_none() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let point = |when: &str, runs: u64| StatisticsPoint {
            at: at(when),
            runs,
            statuses: [("succeeded".to_owned(), runs)].into(),
            faults: Default::default(),
            duration_ms: None,
            memory_bytes: None,
            lateness_ms: None,
        };
        let seen = StatisticsView {
            since: at("2026-03-01T12:00:00Z"),
            until: at("2026-03-01T12:04:00Z"),
            step_minutes: 1,
            total: point("2026-03-01T12:00:00Z", 5),
            points: vec![point("2026-03-01T12:01:00Z", 2), point("2026-03-01T12:03:00Z", 3)],
        };
        let drawn = runs(&seen);
        assert_eq!(drawn["series"][0]["values"], json!([0, 2, 0, 3]));
        assert_eq!(drawn["at"].as_array().unwrap().len(), 4);
        assert_eq!(drawn["series"].as_array().unwrap().len(), 1);
        assert_eq!(
            times(&seen, "ms", |point| point.duration_ms.as_ref())["series"][0]["values"][1],
            json!(null)
        );
    }
}
