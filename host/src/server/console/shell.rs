//! What all pages have around them: the head, the navigation, the place of messages.

use maud::{DOCTYPE, Markup, html};

use super::session::Viewer;
use super::{assets, icons, text};
use crate::account::Action;
use crate::server::reply::Problem;

/// htmx evaluates nothing and writes no style; errors are shown where they belong.
const HTMX: &str = r#"{"allowEval":false,"includeIndicatorStyles":false,"historyCacheSize":0,"refreshOnHistoryMiss":true,"selfRequestsOnly":true,"scrollIntoViewOnBoost":false,"responseHandling":[{"code":"204","swap":false},{"code":"[23]..","swap":true},{"code":"401","swap":false},{"code":"[45]..","swap":true,"error":false}]}"#;

/// The entries of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Workflows,
    Runs,
    Dead,
    Monitoring,
    Host,
    Admin,
    Account,
}

/// A page.
pub(super) struct Page<'a> {
    /// Its name, in the window's title.
    pub(super) title: &'a str,
    /// Where it stands in the navigation.
    pub(super) place: Place,
    /// Scripts that it needs beside the console's own.
    pub(super) scripts: &'a [&'a str],
    /// What it shows.
    pub(super) content: Markup,
}

impl Page<'_> {
    /// The whole document.
    pub(super) fn render(self, viewer: &Viewer) -> Markup {
        let body = html! {
            a.skip href="#main" { "Skip to the content" }
            header.bar {
                a.brand href="/workflows" { (icons::mark()) span { "Tidegate" } }
                nav aria-label="Console" { (entries(self.place, viewer)) }
                form.who method="post" action="/sign-out" {
                    a.name href="/account" title="Your account" aria-current=[(self.place == Place::Account).then_some("page")] { (viewer.name()) }
                    button.quiet type="submit" { (icons::out()) span { "Sign out" } }
                }
            }
            main #main tabindex="-1" { (self.content) }
            div #notices role="status" aria-live="polite" {}
        };
        document(self.title, self.scripts, body)
    }
}

fn entries(current: Place, viewer: &Viewer) -> Markup {
    let entry = |place: Place, path: &str, icon: Markup, name: &str| {
        html! { a href=(path) aria-current=[(place == current).then_some("page")] { (icon) span { (name) } } }
    };
    html! {
        (entry(Place::Workflows, "/workflows", icons::workflows(), "Workflows"))
        (entry(Place::Runs, "/runs", icons::runs(), "Runs"))
        (entry(Place::Dead, "/dead", icons::letter(), "Dead letters"))
        @if viewer.may(Action::ReadHost) {
            (entry(Place::Monitoring, "/monitoring", icons::chart(), "Monitoring"))
            (entry(Place::Host, "/host", icons::host(), "Host"))
            (entry(Place::Admin, "/admin", icons::gear(), "Admin"))
        }
    }
}

/// A document without navigation.
pub(super) fn document(title: &str, scripts: &[&str], body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="htmx-config" content=(HTMX);
                title { (text::line(title)) " · Tidegate" }
                link rel="icon" href=(assets::path("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(assets::path("console.css"));
                @for script in scripts.iter().filter(|script| script.ends_with(".css")) {
                    link rel="stylesheet" href=(assets::path(script));
                }
                script src=(assets::path("htmx.js")) defer {}
                script src=(assets::path("console.js")) defer {}
                @for script in scripts.iter().filter(|script| script.ends_with(".js")) {
                    script src=(assets::path(script)) defer {}
                }
            }
            body { (body) }
        }
    }
}

/// What went wrong, in a page.
pub(super) fn alert(problem: &Problem) -> Markup {
    html! {
        div.alert.bad role="alert" {
            p { strong { (sentence(&problem.message)) } }
            @if let Some(hint) = &problem.hint { p { (sentence(hint)) } }
        }
    }
}

/// What went wrong, as a page of its own.
pub(super) fn problem(problem: &Problem) -> Markup {
    let title =
        if problem.status == hyper::StatusCode::NOT_FOUND { "Not found" } else { "That did not work" };
    let body = html! {
        main.alone #main {
            a.brand href="/workflows" { (icons::mark()) span { "Tidegate" } }
            section.panel.pad {
                h1 { (title) }
                p { (sentence(&problem.message)) }
                @if problem.status != hyper::StatusCode::NOT_FOUND {
                    @if let Some(hint) = &problem.hint { p.soft { (sentence(hint)) } }
                }
                p { a.button href="/workflows" { "Back to the workflows" } }
            }
        }
    };
    document(title, &[], body)
}

/// A message of the API as a sentence: with a capital and a full stop.
pub(super) fn sentence(message: &str) -> String {
    let shown = text::visible(message);
    let mut chars = shown.chars();
    let Some(first) = chars.next() else { return shown };
    let rest = chars.as_str();
    let end = if rest.ends_with(['.', '!', '?', ':']) { "" } else { "." };
    format!("{}{rest}{end}", first.to_uppercase())
}
