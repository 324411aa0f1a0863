//! My workflows: what there is, how it is, what is due.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use tokio::sync::Mutex;

use crate::account::Action;
use crate::api::{RunView, StatisticsView, WorkflowView};
use crate::registry::Entry;
use crate::run::RunId;
use crate::server::api::{Api, ApiError, runs, statistics, view};
use crate::server::console::form::{Asked, Fields};
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Html, Shared, icons, parts, text, when};
use crate::workflow::{Kind, State as Taking, WorkflowId};

/// Rows of a page.
const ROWS: usize = 50;
/// How old the orders may be that are read from all runs.
const RANKING_AGE: Duration = Duration::from_secs(10);
/// Hours that the figures of a row cover.
const HOURS: i64 = 24;

/// The table.
pub(in super::super) async fn list(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let mut all = console.api.app.registry.list();
    all.retain(|entry| viewer.sees(&entry.workflow));
    let total = all.len();
    let mut found: Vec<Arc<Entry>> = all.into_iter().filter(|entry| passes(entry, &asked)).collect();
    match asked.get("sort") {
        by @ ("last" | "success") => console.ranking.sort(&console.api, &mut found, by).await?,
        by => sort(&mut found, by),
    }
    let pages = found.len().div_ceil(ROWS).max(1);
    let page = asked.get("page").parse().unwrap_or(1).clamp(1, pages);
    let shown: Vec<_> = found.iter().skip((page - 1) * ROWS).take(ROWS).collect();
    let among = shown.iter().map(|entry| entry.workflow.id).collect();
    let mut days = statistics::views(&console.api, Some(among), last_day(60)).await?;
    let mut rows = Vec::with_capacity(ROWS);
    for entry in shown {
        let day = days.remove(&entry.workflow.id);
        rows.push(Row::read(&console.api, entry, &viewer, day).await?);
    }
    let content = html! {
        div.head {
            div.row {
                h1 { "Workflows" }
                @if total > 0 { a.button.primary.end href="/create" { (icons::plus()) "Create" } }
            }
        }
        @if total == 0 {
            (parts::empty("Nothing here yet", html! {
                p { "A workflow is a small function that runs when a request arrives, or when it is due." }
                p { a.button.primary href="/create" { (icons::plus()) "Create the first one" } }
            }))
        } @else {
            (filter(&asked))
            div #list {
                (table(&rows, &asked))
                (pager(&asked, page, pages, found.len(), total))
            }
        }
    };
    let page = Page { title: "Workflows", place: Place::Workflows, scripts: &[], content };
    Ok(Html(page.render(&viewer)))
}

fn passes(entry: &Entry, asked: &Fields) -> bool {
    let workflow = &entry.workflow;
    let wanted = asked.get("q").to_lowercase();
    let of_kind = match asked.get("kind") {
        "catch" => workflow.kind == Kind::Catch,
        "pull" => workflow.kind == Kind::Pull,
        _ => true,
    };
    let in_state = match asked.get("state") {
        "live" => workflow.state == Taking::Active && workflow.active_version.is_some(),
        "paused" => workflow.state == Taking::Paused,
        "draft" => workflow.active_version.is_none(),
        _ => true,
    };
    of_kind
        && in_state
        && (wanted.is_empty()
            || workflow.name.as_str().contains(&wanted)
            || workflow.description.to_lowercase().contains(&wanted))
}

/// They come in the order of their names.
fn sort(found: &mut [Arc<Entry>], by: &str) {
    match by {
        "changed" => found.sort_by_key(|entry| Reverse(entry.workflow.updated_at)),
        "created" => found.sort_by_key(|entry| Reverse(entry.workflow.created_at)),
        "due" => found.sort_by_cached_key(|entry| view::next_due(&entry.workflow).unwrap_or(Timestamp::MAX)),
        _ => {}
    }
}

fn last_day(step_minutes: u32) -> statistics::StatisticsParams {
    let since = Timestamp::now() - SignedDuration::from_hours(HOURS);
    statistics::StatisticsParams { since: Some(since), until: None, step_minutes: Some(step_minutes) }
}

/// The orders that are read from all workflows' runs: they are made at most every few
/// seconds, however often the page is asked for.
#[derive(Default)]
pub(in super::super) struct Ranking(Mutex<Option<(Instant, Ranks)>>);

struct Ranks {
    last: HashMap<WorkflowId, RunId>,
    success: HashMap<WorkflowId, f64>,
}

impl Ranking {
    /// Sorts by the last run, latest first, or by the share of runs that succeeded in the last
    /// day, lowest first; those without runs come last.
    async fn sort(&self, api: &Api, found: &mut [Arc<Entry>], by: &str) -> Result<(), ApiError> {
        let mut kept = self.0.lock().await;
        let ranks = match kept.take() {
            Some((at, ranks)) if at.elapsed() < RANKING_AGE => (at, ranks),
            _ => (Instant::now(), Ranks::read(api).await?),
        };
        let (_, ranks) = kept.insert(ranks);
        match by {
            "last" => found.sort_by_key(|entry| Reverse(ranks.last.get(&entry.workflow.id).copied())),
            _ => {
                let share =
                    |entry: &Arc<Entry>| ranks.success.get(&entry.workflow.id).copied().unwrap_or(2.0);
                found.sort_by(|a, b| share(a).total_cmp(&share(b)));
            }
        }
        Ok(())
    }
}

impl Ranks {
    async fn read(api: &Api) -> Result<Self, ApiError> {
        let last = api.app.store.last_runs().await?;
        let minutes = u32::try_from(HOURS * 60 + 1).unwrap_or(u32::MAX);
        let days = statistics::views(api, None::<HashSet<_>>, last_day(minutes)).await?;
        let share = |(id, day): (WorkflowId, StatisticsView)| Some((id, parts::success(&day.total)?));
        Ok(Self { last, success: days.into_iter().filter_map(share).collect() })
    }
}

struct Row {
    workflow: WorkflowView,
    last: Option<RunView>,
    /// `None` when nothing ran.
    day: Option<StatisticsView>,
    due: Option<Timestamp>,
}

impl Row {
    async fn read(
        api: &Api,
        entry: &Entry,
        viewer: &Viewer,
        day: Option<StatisticsView>,
    ) -> Result<Self, ApiError> {
        let workflow = view::workflow(entry, &api.app, &viewer.actor);
        let id = Some(entry.workflow.id);
        let recent = runs::RunParams { limit: Some(1), ..Default::default() };
        let last = match viewer.may_with(Action::InspectWorkflow, &workflow) {
            true => runs::page(api, &viewer.actor, id, recent).await?.runs.into_iter().next(),
            false => None,
        };
        let due = view::next_due(&entry.workflow);
        Ok(Self { workflow, last, day, due })
    }

    /// Runs by the hour, oldest first.
    fn bars(&self) -> Vec<(u64, u64)> {
        let mut bars = vec![(0, 0); HOURS as usize + 1];
        if let Some(day) = &self.day {
            for point in &day.points {
                let hours = point.at.duration_since(day.since).as_secs() / 3600;
                if let Some(bar) = usize::try_from(hours).ok().and_then(|at| bars.get_mut(at)) {
                    *bar = parts::bar(point);
                }
            }
        }
        bars
    }
}

fn filter(asked: &Fields) -> Markup {
    let kinds = [("", "All kinds"), ("catch", "Catch"), ("pull", "Pull")];
    let states = [("", "Any state"), ("live", "Live"), ("paused", "Paused"), ("draft", "Not deployed")];
    let orders = [
        ("", "By name"),
        ("last", "Last run"),
        ("success", "Least successful"),
        ("due", "Next due"),
        ("changed", "Changed last"),
        ("created", "Newest first"),
    ];
    html! {
        form.filter role="search" action="/workflows" hx-get="/workflows" hx-target="#list" hx-select="#list"
            hx-swap="outerHTML" hx-push-url="true" hx-trigger="input delay:200ms from:#q, change, submit" {
            div.search { (icons::search())
                input type="search" id="q" name="q" value=(asked.get("q")) placeholder="Search by name or description"
                    aria-label="Search by name or description" autocomplete="off" data-key="/";
            }
            select name="kind" aria-label="Kind" { (parts::options(&kinds, asked.get("kind"))) }
            select name="state" aria-label="State" { (parts::options(&states, asked.get("state"))) }
            select name="sort" aria-label="Order" { (parts::options(&orders, asked.get("sort"))) }
            noscript { button type="submit" { "Search" } }
        }
    }
}

fn table(rows: &[Row], asked: &Fields) -> Markup {
    if rows.is_empty() {
        return parts::empty(
            "No workflow matches",
            html! {
                p { "Nothing has " q { (text::line(asked.get("q"))) } " in its name or description with these filters." }
                p { a.button href="/workflows" { "Show all" } }
            },
        );
    }
    html! {
        div.panel.scroll {
            table.rows.stack {
                thead { tr {
                    th scope="col" { "Workflow" } th scope="col" { "Kind" } th scope="col" { "State" } (heading(asked, "last", "Last run"))
                    (heading(asked, "success", "Succeeded")) th scope="col" { "Last day" } (heading(asked, "due", "Next due"))
                } }
                tbody { @for row in rows { (line(row)) } }
            }
        }
    }
}

/// The head of a column by which the rows can be sorted.
fn heading(asked: &Fields, by: &str, name: &str) -> Markup {
    let is_chosen = asked.get("sort") == by;
    let order = if by == "last" { "descending" } else { "ascending" };
    html! {
        th scope="col" aria-sort=[is_chosen.then_some(order)] {
            a.plain href={ "/workflows?" (asked.query_with(&[("sort", by), ("page", "")])) } title={ "Sort by: " (name) } {
                (name) @if is_chosen { span aria-hidden="true" { (if by == "last" { " ↓" } else { " ↑" }) } }
            }
        }
    }
}

fn line(row: &Row) -> Markup {
    let Row { workflow, last, day, due } = row;
    let name = workflow.name.as_str();
    let total = day.as_ref().map(|day| &day.total);
    let label = format!("{} in the last day", text::counted(total.map_or(0, |total| total.runs), "run"));
    html! {
        tr {
            th scope="row" {
                a.name href={ "/workflows/" (name) } { (name) }
                @if !workflow.description.is_empty() { div.sub { (text::line(&workflow.description)) } }
            }
            td data-name="Kind" { (parts::kind(workflow.kind)) }
            td data-name="State" { (parts::state(workflow)) }
            td data-name="Last run" {
                @match last {
                    Some(run) => a.plain href={ "/runs/" (run.id) } { (parts::status(run.status)) " " (when::relative(run.accepted_at)) },
                    None => span.soft { "never" },
                }
            }
            td data-name="Succeeded" { @match total.and_then(parts::success) {
                Some(share) => (parts::percent(share)),
                None => (parts::none()),
            } }
            td data-name="Last day" { (parts::sparkline(&row.bars(), &label)) }
            td data-name="Next due" { @match due {
                Some(due) => (when::relative(*due)),
                None => (parts::none()),
            } }
        }
    }
}

fn pager(asked: &Fields, page: usize, pages: usize, found: usize, total: usize) -> Markup {
    let to = |page: usize| format!("/workflows?{}", asked.query_with(&[("page", &page.to_string())]));
    let first = (page - 1) * ROWS + 1;
    html! {
        div.pager {
            span.soft {
                @if found > ROWS { (text::count(first as u64)) "–" (text::count((page * ROWS).min(found) as u64)) " of " }
                (text::counted(found as u64, "workflow"))
                @if found < total { ", of " (text::count(total as u64)) " in all" }
            }
            @if pages > 1 {
                nav aria-label="Pages" {
                    @if page > 1 { a.button href=(to(page - 1)) { "Previous" } }
                    @if page < pages { a.button href=(to(page + 1)) { "Next" } }
                }
            }
        }
    }
}
