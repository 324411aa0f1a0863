//! Pieces that several pages show: badges, fields, tabs, empty states, a sparkline.

use maud::{Markup, html};

use super::session::Viewer;
use super::shell::{Page, Place};
use super::{icons, text};
use crate::account::Action;
use crate::api::{RunView, StatisticsPoint, WorkflowView};
use crate::run::Status;
use crate::workflow::{Kind, State};

/// How a run ended, or how far it is.
pub(super) fn status(status: Status) -> Markup {
    html! { span class={ "status " (status.word()) } { (status.word()) } }
}

/// What started a workflow.
pub(super) fn kind(kind: Kind) -> Markup {
    html! {
        span.kind {
            @match kind {
                Kind::Catch => { (icons::hook()) "Catch" },
                Kind::Pull => { (icons::clock()) "Pull" },
            }
        }
    }
}

/// Whether a workflow takes work.
pub(super) fn state(workflow: &WorkflowView) -> Markup {
    let (class, word) = match (workflow.state, workflow.active_version) {
        (State::Paused, _) => ("paused", "Paused"),
        (State::Active, None) => ("draft", "Not deployed"),
        (State::Active, Some(_)) => ("live", "Live"),
    };
    html! { span class={ "state " (class) } { (word) } }
}

/// One labelled field of a form: its hint below it, and what is wrong with it.
pub(super) struct Field<'a> {
    /// The name in the form, and the element's id.
    pub(super) name: &'a str,
    /// Its label.
    pub(super) label: &'a str,
    /// What to know before typing.
    pub(super) hint: Option<&'a str>,
    /// What is wrong with what was typed.
    pub(super) error: Option<&'a str>,
}

impl Field<'_> {
    /// The field around the control that `control` makes of its attributes.
    pub(super) fn around(&self, control: impl FnOnce(&str, Option<&str>) -> Markup) -> Markup {
        let described = format!("{}-about", self.name);
        let about = (self.hint.is_some() || self.error.is_some()).then_some(described.as_str());
        html! {
            div.field {
                label for=(self.name) { (self.label) }
                (control(self.name, about))
                @if about.is_some() {
                    div.about #(described) {
                        @if let Some(error) = self.error { p.wrong { (super::shell::sentence(error)) } }
                        @if let Some(hint) = self.hint { p { (hint) } }
                    }
                }
            }
        }
    }

    /// A line of text.
    pub(super) fn text(&self, value: &str, placeholder: &str) -> Markup {
        let wrong = self.error.map(|_| "true");
        self.around(|name, about| {
            html! {
                input type="text" id=(name) name=(name) value=(value) placeholder=(placeholder) autocomplete="off"
                    spellcheck="false" aria-describedby=[about] aria-invalid=[wrong];
            }
        })
    }
}

/// Options of a `select`.
pub(super) fn options(choices: &[(&str, &str)], chosen: &str) -> Markup {
    html! {
        @for (value, name) in choices { option value=(value) selected[*value == chosen] { (name) } }
    }
}

/// What stands in a cell that has no value.
pub(super) fn none() -> Markup {
    html! { span.none { span aria-hidden="true" { "–" } span.hidden { "none" } } }
}

/// What stands where there is nothing yet.
pub(super) fn empty(title: &str, content: Markup) -> Markup {
    html! { div.empty { p.title { (title) } (content) } }
}

/// A figure with its name.
pub(super) fn figure(name: &str, value: Markup, about: &str) -> Markup {
    html! {
        div.figure {
            dt { (name) }
            dd { (value) @if !about.is_empty() { small { (about) } } }
        }
    }
}

/// Bars of runs over time: failed ones in their own colour, at the bottom.
pub(super) fn sparkline(bars: &[(u64, u64)], label: &str) -> Markup {
    const HEIGHT: f64 = 24.0;
    let most = bars.iter().map(|(all, _)| *all).max().unwrap_or(0).max(1) as f64;
    let (mut good, mut bad) = (String::new(), String::new());
    for (at, (all, failed)) in bars.iter().enumerate() {
        let x = at * 4;
        let size = |count: u64| if count == 0 { 0.0 } else { (count as f64 / most * HEIGHT).max(2.0) };
        let (whole, low) = (size(*all), size(*failed));
        if *all > *failed {
            good.push_str(&format!(
                "M{x} {:.1}v-{:.1}h3v{:.1}z",
                HEIGHT - low,
                (whole - low).max(1.0),
                (whole - low).max(1.0)
            ));
        }
        if *failed > 0 {
            bad.push_str(&format!("M{x} {HEIGHT}v-{low:.1}h3v{low:.1}z"));
        }
    }
    let width = bars.len() * 4;
    html! {
        svg.spark viewBox={ "0 0 " (width) " 24" } width=(width) height="24" role="img" aria-label=(label) {
            path.base d={ "M0 23.5h" (width) } {}
            path.good d=(good) {}
            path.bad d=(bad) {}
        }
    }
}

/// All runs and the failed ones of a point.
pub(super) fn bar(point: &StatisticsPoint) -> (u64, u64) {
    let of = |word: &str| point.statuses.get(word).copied().unwrap_or(0);
    (point.runs, of("failed") + of("interrupted"))
}

/// The share of runs that succeeded, of those that ran; `None` when none did.
pub(super) fn success(point: &StatisticsPoint) -> Option<f64> {
    let of = |word: &str| point.statuses.get(word).copied().unwrap_or(0);
    let ran = of("succeeded") + of("failed") + of("interrupted");
    (ran > 0).then(|| of("succeeded") as f64 / ran as f64)
}

/// A share in percent; never `100%` when something failed.
pub(super) fn percent(share: f64) -> String {
    match share {
        share if share >= 1.0 => "100%".to_owned(),
        share if share > 0.999 => ">99.9%".to_owned(),
        share if share <= 0.0 => "0%".to_owned(),
        share => format!("{:.1}%", share * 100.0),
    }
}

/// A run's id, short, as a link to it.
pub(super) fn run_link(run: &RunView) -> Markup {
    let id = run.id.to_string();
    html! { a.mono href={ "/runs/" (id) } title=(id) { (id[id.len() - 8..]) } }
}

/// The tabs of a workflow's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Function,
    Settings,
    Configuration,
    Runs,
    Monitoring,
}

/// A page of a workflow: its head, its tabs, and the content of one.
pub(super) fn workflow_page(
    viewer: &Viewer,
    workflow: &WorkflowView,
    tab: Tab,
    scripts: &[&str],
    content: Markup,
) -> Markup {
    let name = workflow.name.as_str();
    let base = format!("/workflows/{name}");
    let inspects = viewer.may_with(Action::InspectWorkflow, workflow);
    let tabs = [
        (Tab::Overview, "", "Overview"),
        (Tab::Function, "/function", "Function"),
        (Tab::Settings, "/settings", "Settings"),
        (Tab::Runs, "/runs", "Debugger"),
        (Tab::Monitoring, "/monitoring", "Monitoring"),
        (Tab::Configuration, "/configuration", "Configuration"),
    ];
    let changes = viewer.may_with(Action::ChangeWorkflow, workflow);
    let is_shown = |own: Tab| match own {
        Tab::Overview | Tab::Monitoring => true,
        Tab::Configuration => changes,
        Tab::Function | Tab::Settings | Tab::Runs => inspects,
    };
    let shown = html! {
        div.head {
            p.crumbs { a href="/workflows" { "Workflows" } }
            div.row {
                h1 { (name) }
                (kind(workflow.kind))
                (state(workflow))
                @if workflow.private { span.state.draft { (icons::lock()) "Private" } }
            }
            @if !workflow.description.is_empty() { p.soft { (text::line(&workflow.description)) } }
        }
        nav.tabs aria-label="Workflow" {
            @for (own, path, title) in tabs.into_iter().filter(|(own, ..)| is_shown(*own)) {
                a href={ (base) (path) } aria-current=[(own == tab).then_some("page")] { (title) }
            }
        }
        (content)
    };
    let title = match tab {
        Tab::Overview => name.to_owned(),
        other => format!(
            "{} · {name}",
            tabs.iter().find(|(own, ..)| *own == other).map_or("", |(.., title)| title)
        ),
    };
    Page { title: &title, place: Place::Workflows, scripts, content: shown }.render(viewer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_whole_only_when_nothing_failed() {
        assert_eq!([1.0, 0.99999, 0.5, 0.0].map(percent), ["100%", ">99.9%", "50.0%", "0%"]);
    }

    #[test]
    fn bars_are_as_high_as_their_share() {
        let drawn = sparkline(&[(0, 0), (2, 0), (4, 4)], "runs").into_string();
        assert!(drawn.contains("M4 24.0v-12.0h3v12.0z"), "{drawn}");
        assert!(drawn.contains("M8 24v-24.0h3v24.0z"), "{drawn}");
    }
}
