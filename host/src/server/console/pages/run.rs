//! One run: what it was handed, what it did, how it ended, and running it again.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::function::{Written, request_fields};
use crate::api::{CallbackState, CallbackView, RunDetail, RunLog, RunView};
use crate::run::{Body, Exchange, Level, LogLine, Stream};
use crate::server::api::extract::Segments;
use crate::server::api::{Api, ApiError, queue, replay, runs};
use crate::server::console::form::{Fields, Named};
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Html, Shared, icons, parts, shell, text, when};
use crate::server::reply::Problem;

/// Lines of code around one that a traceback names.
const AROUND: usize = 2;
/// Versions that a run can be run again on from its page, the latest.
const VERSIONS_MAX: usize = 20;
/// Lines of code that are shown for a traceback.
const PLACES_MAX: usize = 3;

/// The page.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(id): Named,
) -> Result<Html, ApiError> {
    let api = &console.api;
    let detail = runs::detail(api, &id).await?;
    let log = runs::log(State(api.clone()), Segments(id)).await?.0;
    let (code, versions) =
        (code_of(api, &detail).await, choice_of_version(api, detail.run.workflow.as_str(), None).await);
    Ok(Html(page(&viewer, &detail, &log, code.as_deref(), &versions, None)))
}

fn page(
    viewer: &Viewer,
    detail: &RunDetail,
    log: &RunLog,
    code: Option<&str>,
    versions: &Markup,
    problem: Option<&Problem>,
) -> Markup {
    let run = &detail.run;
    let name = run.workflow.as_str();
    let id = run.id.to_string();
    let is_over = run.status.is_terminal();
    let content = html! {
        div.head {
            p.crumbs { a href="/workflows" { "Workflows" } a href={ "/workflows/" (name) } { (name) } a href={ "/workflows/" (name) "/runs" } { "Debugger" } }
            div.row { h1 { "Run " span.mono { (id[id.len() - 8..]) } } (parts::status(run.status)) @if let Some(fault) = run.fault { span.fault { (fault.word()) } } }
            p.soft { "Accepted " (when::full(run.accepted_at)) ", " (about(run)) }
        }
        @if let Some(problem) = problem { (shell::alert(problem)) }
        @if is_over {
            div.toolbar {
                form.versioned method="post" action={ "/runs/" (id) "/again" } { (versions) button.primary type="submit" { (icons::play()) "Run again" } }
                @if detail.request.is_some() {
                    a.button href="#edit" { "Edit and run again" }
                    a.button href={ "/workflows/" (name) "/function?sample=" (id) "#test" } { "Take it over for a test" }
                }
            }
        } @else {
            div.toolbar data-poll="" hx-get={ "/runs/" (id) } hx-trigger="every 2s" hx-target="#main" hx-select="#main" hx-swap="outerHTML" {
                span.soft { "It has not ended yet." }
                form method="post" action={ "/runs/" (id) "/cancel" } { button type="submit" data-ask="Cancel this run?" { "Cancel" } }
            }
        }
        (result(detail, log, code))
        @if let (true, Some(request)) = (is_over, &detail.request) {
            section #edit {
                h2 { "Edit and run again" }
                form.panel.pad method="post" action={ "/runs/" (id) "/again" } {
                    (request_fields(&Written::of(request)))
                    div.versioned {
                        (versions)
                        button.primary type="submit" name="edited" value="1" { (icons::play()) "Run with this request" }
                    }
                }
            }
        }
    };
    let title = format!("Run {} · {name}", &id[id.len() - 8..]);
    Page { title: &title, place: Place::Runs, scripts: &["editor.js", "function.js"], content }.render(viewer)
}

fn about(run: &RunView) -> Markup {
    html! {
        @match run.version { Some(version) => { "version " (version) }, None => "no version" }
        @match run.trigger.as_str() {
            "pull" => { @if let Some(schedule) = &run.schedule { ", due by " (schedule) } @if let Some(due) = run.due { " at " (when::full(due)) } },
            "catch" => ", called at its URL",
            "test" => ", a test",
            _ => {},
        }
        @if let Some(of) = run.replay_of { ", again after " a.mono href={ "/runs/" (of) } { (of.to_string()[18..]) } }
        @if run.attempt > 1 { ", attempt " (run.attempt) }
        "."
    }
}

/// All that a run did, for its own page and for a test.
pub(super) fn result(detail: &RunDetail, log: &RunLog, code: Option<&str>) -> Markup {
    let run = &detail.run;
    html! {
        @if let Some(message) = &run.message {
            section {
                h2 { "What went wrong" }
                div.alert.bad { p { strong { (text::visible(message)) } } }
                @if let (Some(trace), Some(code)) = (&detail.trace, code) { (places(trace, code)) }
                @if let Some(trace) = &detail.trace { details open[code.is_none()] { summary { "Traceback" } pre.code tabindex="0" { (text::visible(trace)) } } }
            }
        }
        section { h2 { "Used" } (used(detail)) (timeline(detail)) }
        div.columns {
            @if let Some(request) = &detail.request {
                section { h2 { "Request" } div.panel {
                    p.line { code { (text::line(&request.method)) " " (text::line(&request.path_with_query)) } }
                    (headers(&request.headers)) (body(&request.body))
                } }
            }
            section { h2 { @if detail.reply.is_some() { "Reply" } @else { "Returned" } } div.panel {
                @match (&detail.reply, &detail.value) {
                    (Some(reply), _) => { p.line { code { "Status " (reply.status) } } (headers(&reply.headers)) (body(&reply.body)) },
                    (None, Some(value)) => pre.code tabindex="0" { (text::visible(&serde_json::to_string_pretty(value).unwrap_or_default())) },
                    (None, None) => p.line.soft { "Nothing." },
                }
            } }
        }
        section {
            h2 { "Log" }
            @if log.lines.is_empty() { p.soft { "It wrote nothing." } } @else { (lines(&log.lines)) }
            @if log.dropped_bytes > 0 { p.soft { (text::bytes(log.dropped_bytes)) " were over the limit and are not kept." } }
        }
        section { h2 { "Outbound calls" } (exchanges(&detail.exchanges)) }
        @if let Some(callback) = &detail.callback { section { h2 { "Callback" } (told(callback)) } }
        section {
            h2 { "Settings changed" }
            (names(&detail.settings_changed))
            h2 { "Settings handed over" }
            (names(&detail.settings_read))
        }
    }
}

fn names(list: &[String]) -> Markup {
    html! { @if list.is_empty() { p.soft { "None." } } @else { p { @for name in list { code { (text::line(name)) } " " } } } }
}

fn used(detail: &RunDetail) -> Markup {
    let usage = &detail.usage;
    let run = &detail.run;
    // In the queue, between attempts, for a permit.
    let waited = run.started_at.map(|started| started.duration_since(run.accepted_at).as_secs_f64() * 1e3);
    let ms = |us: u64| text::millis(us as f64 / 1e3);
    html! {
        dl.figures {
            (parts::figure("Time", html! { @match detail.run.duration_ms { Some(ms) => (text::millis(ms)), None => "–" } }, ""))
            (parts::figure("Processor", html! { (ms(usage.cpu_us)) }, ""))
            (parts::figure("Memory", html! { (text::bytes(usage.memory_peak_bytes)) }, ""))
            (parts::figure("Log", html! { (text::counted(detail.log.lines.into(), "line")) }, ""))
            @if let Some(waited) = waited.filter(|ms| *ms >= 1.0) { (parts::figure("Waited", html! { (text::millis(waited)) }, "")) }
            @if let Some(late) = detail.run.lateness_ms { (parts::figure("Late by", html! { (text::millis(late)) }, "")) }
        }
    }
}

/// What happened when, drawn to scale; the same is in words in the table.
fn timeline(detail: &RunDetail) -> Markup {
    let usage = &detail.usage;
    let all = (usage.queue_us + usage.wall_us).max(1) as f64;
    let mut steps = vec![
        ("Queued".to_owned(), 0, usage.queue_us, "wait"),
        ("Instantiated".to_owned(), usage.queue_us, usage.instantiate_us, "start"),
        (
            "Ran".to_owned(),
            usage.queue_us + usage.instantiate_us,
            usage.wall_us.saturating_sub(usage.instantiate_us),
            "run",
        ),
    ];
    for exchange in &detail.exchanges {
        let name = format!("{} {}", exchange.method, host_of(&exchange.url));
        steps.push((name, usage.queue_us + exchange.at_us, exchange.duration_us, "call"));
    }
    html! {
        table.timeline {
            caption.hidden { "Timeline" }
            tbody { @for (name, at, took, class) in &steps {
                @let x = (*at as f64 / all * 1000.0).min(998.0);
                @let width = (*took as f64 / all * 1000.0).clamp(2.0, 1000.0 - x);
                tr {
                    th scope="row" { (text::line(name)) }
                    td.scale { svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                        rect.(class) x=(format!("{x:.1}")) y="0" width=(format!("{width:.1}")) height="10" rx="2" {}
                    } }
                    td.end { (text::millis(*took as f64 / 1e3)) }
                }
            } }
        }
    }
}

fn host_of(url: &str) -> &str {
    url.split("://").nth(1).unwrap_or(url).split(['/', '?']).next().unwrap_or(url)
}

fn headers(list: &[(String, String)]) -> Markup {
    html! {
        @if !list.is_empty() {
            details { summary { (text::counted(list.len() as u64, "header")) }
                table.pairs { tbody { @for (name, value) in list { tr { th scope="row" { (text::line(name)) } td { (text::line(value)) } } } } }
            }
        }
    }
}

fn body(body: &Body) -> Markup {
    html! {
        @if body.bytes.is_empty() { p.line.soft { "No body." } } @else {
            @match std::str::from_utf8(&body.bytes) {
                Ok(shown) => pre.code tabindex="0" { (text::visible(&text::pretty(shown))) },
                Err(_) => p.line { (text::bytes(body.full_bytes)) " that are no text." },
            }
        }
        @if body.is_cut() { p.line.soft { "Cut: it had " (text::bytes(body.full_bytes)) "." } }
    }
}

fn lines(list: &[LogLine]) -> Markup {
    html! {
        div.log tabindex="0" role="region" aria-label="Log" { @for line in list {
            div class={ "entry " (level(line)) } {
                span.at { (text::millis(line.at_us as f64 / 1e3)) }
                span.level { (level(line)) }
                span.said { (text::visible(&line.text)) @for (name, value) in &line.fields { " " span.soft { (text::line(name)) "=" (text::line(value)) } } }
            }
        } }
    }
}

fn level(line: &LogLine) -> &'static str {
    match (line.stream, line.level) {
        (Stream::Host, _) => "host",
        (_, Level::Debug) => "debug",
        (_, Level::Info) => "info",
        (_, Level::Warning) => "warning",
        (_, Level::Error) => "error",
    }
}

fn exchanges(list: &[Exchange]) -> Markup {
    if list.is_empty() {
        return html! { p.soft { "None." } };
    }
    html! {
        div.panel.scroll { table.rows.stack {
            thead { tr { th scope="col" { "Call" } th scope="col" { "Answer" } th scope="col" { "Sent" } th scope="col" { "Received" } th scope="col" { "Took" } } }
            tbody { @for call in list { tr {
                th scope="row" { code { (text::line(&call.method)) " " (text::line(&call.url)) } }
                td.wide data-name="Answer" {
                    @if let Some(status) = call.status { (status) }
                    @if let Some(error) = &call.error { span.fault { (text::line(error)) } }
                    @if let Some(reason) = &call.reason { div.sub { (text::line(reason)) } }
                }
                td data-name="Sent" { (text::bytes(call.request_bytes)) }
                td data-name="Received" { (text::bytes(call.response_bytes)) }
                td data-name="Took" { (text::millis(call.duration_us as f64 / 1e3)) }
            } } }
        } }
    }
}

/// What became of telling the callback.
fn told(callback: &CallbackView) -> Markup {
    let tries = match callback.tries {
        1 => "1 try".to_owned(),
        tries => format!("{tries} tries"),
    };
    let last = html! { @if let Some(at) = callback.tried_at { ", the last one at " (when::full(at)) } };
    html! {
        p {
            @match callback.state {
                CallbackState::Waiting => "It is told when the last attempt has ended.",
                CallbackState::Pending if callback.tries == 0 => "It is about to be told.",
                CallbackState::Pending => { "Not told yet: " (tries) (last) "." @if let Some(at) = callback.next_at { " Tried again at " (when::full(at)) "." } },
                CallbackState::Told => { "Told" @if let Some(at) = callback.tried_at { " at " (when::full(at)) } ", after " (tries) "." },
                CallbackState::Gone => { "The receiver does not want to be told (410)" @if let Some(at) = callback.tried_at { ", it said at " (when::full(at)) } "." },
                CallbackState::GivenUp => { span.fault { "given up" } " after " (tries) (last) "." },
            }
        }
        @if let Some(error) = &callback.error { p.soft { "The last try failed: " (text::line(error)) "." } }
    }
}

/// The source that a run ran, when its trace can name lines of it.
pub(super) async fn code_of(api: &Api, detail: &RunDetail) -> Option<String> {
    detail.trace.as_ref()?;
    let version = detail.run.version?;
    let (_, versions) = api.app.registry.versions(detail.run.workflow.as_str()).await.ok()?;
    let version = versions.iter().find(|own| own.number == version)?;
    super::versions::source(api, version).await.ok()?
}

/// Which version of a workflow runs something again; nothing where there is only one. In a list
/// that is fetched anew, what was `chosen` before stays so.
pub(super) async fn choice_of_version(api: &Api, workflow: &str, chosen: Option<&str>) -> Markup {
    let found = api.app.registry.versions(workflow).await;
    let versions = found.map(|(_, versions)| versions).unwrap_or_default();
    if versions.len() < 2 {
        return Markup::default();
    }
    html! {
        select id=[chosen.map(|_| "version")] hx-preserve=[chosen.map(|_| "true")] name="version" aria-label="Version" {
            option value="" { "On the active version" }
            @for version in versions.iter().rev().take(VERSIONS_MAX) {
                option value=(version.number) selected[chosen.is_some_and(|chosen| version.number.to_string() == chosen)] { "On version " (version.number) }
            }
        }
    }
}

/// The lines of code that a traceback names, innermost first.
fn places(trace: &str, code: &str) -> Markup {
    let code: Vec<&str> = code.lines().collect();
    html! {
        @for (file, line) in named_lines(trace).into_iter().filter(|(_, line)| *line >= 1 && *line <= code.len()).rev().take(PLACES_MAX) {
            p.soft { (text::line(file)) ", line " (line) }
            pre.code.place tabindex="0" {
                @for at in line.saturating_sub(AROUND).max(1)..=(line + AROUND).min(code.len()) {
                    span class=(if at == line { "here" } else { "near" }) { (format!("{at:>4}  ")) (text::visible(code[at - 1])) }
                }
            }
        }
    }
}

/// Files and lines of the workflow that a traceback names, as Python writes them.
fn named_lines(trace: &str) -> Vec<(&str, usize)> {
    let named = trace.lines().filter_map(|line| {
        let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once("\", line ")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        // Files of packages have a folder; the workflow's own has none.
        (!file.contains('/')).then_some((file, digits.parse().ok()?))
    });
    named.collect()
}

/// Runs it again, as it was or with another request, and shows the new run.
pub(in super::super) async fn again(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(id): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let api = &console.api;
    let edited = match fields.is_on("edited") {
        true => Written::read(&fields).request(),
        false => Ok(None),
    };
    let done = match edited.and_then(|edited| Ok((edited, super::runs::version(&fields)?))) {
        Ok((edited, version)) => replay::again(api, &id, edited, version).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(detail) => Ok(Redirect::to(&format!("/runs/{}", detail.run.id)).into_response()),
        Err(error) => {
            let problem = Problem::from(&error);
            if problem.status.is_server_error() {
                return Err(error);
            }
            let detail = runs::detail(api, &id).await?;
            let log = runs::log(State(api.clone()), Segments(id)).await?.0;
            let (code, versions) = (
                code_of(api, &detail).await,
                choice_of_version(api, detail.run.workflow.as_str(), None).await,
            );
            let shown = page(&viewer, &detail, &log, code.as_deref(), &versions, Some(&problem));
            Ok((problem.status, Html(shown)).into_response())
        }
    }
}

/// Stops it.
pub(in super::super) async fn cancel(State(console): Shared, Named(id): Named) -> Result<Response, ApiError> {
    match queue::cancel(State(console.api.clone()), Segments(id.clone())).await {
        // Whoever was too late sees how it ended.
        Ok(_) | Err(ApiError::Ended { .. }) => Ok(Redirect::to(&format!("/runs/{id}")).into_response()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_that_was_given_up_says_why_as_text() {
        let at = Some("2025-06-01T14:00:09Z".parse().unwrap());
        let error = Some("<b> is a private address".to_owned());
        let view =
            CallbackView { state: CallbackState::GivenUp, tries: 8, tried_at: at, next_at: None, error };
        let shown = told(&view).into_string();
        for part in ["given up", "after 8 tries", "14:00:09", "&lt;b&gt; is a private address"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let view = CallbackView { state: CallbackState::Pending, tries: 1, next_at: at, ..view };
        let shown = told(&view).into_string();
        assert!(shown.contains("1 try") && shown.contains("Tried again at"), "{shown}");
    }

    #[test]
    fn a_traceback_names_lines_of_the_workflow() {
        let trace = "Traceback (most recent call last):\n  File \"workflow.py\", line 12, in workflow\n    a()\n  File \"/lib/json/__init__.py\", line 3, in x\n  File \"workflow.py\", line 4\nValueError: x";
        assert_eq!(named_lines(trace), [("workflow.py", 12), ("workflow.py", 4)]);
        let shown = places(trace, "1\n2\n3\n<b>\n5").into_string();
        assert!(
            shown.contains("line 4") && shown.contains("&lt;b&gt;") && !shown.contains("line 12"),
            "{shown}"
        );
    }
}
