//! The function: its code in an editor, deploying it, and testing it.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use maud::{Markup, html};
use serde_json::Value;

use super::templates::Template;
use super::{run, samples, versions};
use crate::api::{Diagnostic, RunDetail, RuntimeView, TestRequest, WorkflowView};
use crate::deploy::DeployError;
use crate::registry::Entry;
use crate::run::RequestRecord;
use crate::server::api::extract::{OptionalJson, Segments};
use crate::server::api::{Api, ApiError, runs, upload as read_upload, view};
use crate::server::console::form::{Asked, Fields, Named};
use crate::server::console::parts::{self, Field, Tab};
use crate::server::console::session::Viewer;
use crate::server::console::{Html, Shared, icons, shell, text, when};
use crate::server::reply::Problem;
use crate::workflow::{Code, Kind, Version};

/// The file's name when no version says another.
const FILE: &str = "workflow.py";

/// A request as people write it.
#[derive(Debug, Default)]
pub(super) struct Written {
    method: String,
    path: String,
    headers: String,
    body: String,
}

impl Written {
    /// What was typed.
    pub(super) fn read(fields: &Fields) -> Self {
        let text = |name: &str| fields.raw(name).replace("\r\n", "\n");
        Self { method: text("method"), path: text("path"), headers: text("headers"), body: text("body") }
    }

    /// What a run was handed.
    pub(super) fn of(record: &RequestRecord) -> Self {
        let body = String::from_utf8_lossy(&record.body.bytes).into_owned();
        // What a browser would send again by itself, and what says nothing.
        let kept =
            record.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "host" | "content-length"));
        let headers: Vec<_> = kept.map(|(name, value)| format!("{name}: {value}")).collect();
        Self {
            method: record.method.clone(),
            path: record.path_with_query.clone(),
            headers: headers.join("\n"),
            body: text::pretty(&body),
        }
    }

    /// What a file `request.json` says.
    fn sample(json: &str) -> Self {
        Self::of_test(serde_json::from_str(json).unwrap_or_default())
    }

    /// What a test run takes.
    pub(super) fn of_test(test: TestRequest) -> Self {
        let headers: Vec<_> = test.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let body = match test.body {
            Some(Value::String(text)) => text,
            Some(value) => serde_json::to_string_pretty(&value).unwrap_or_default(),
            None => String::new(),
        };
        Self {
            method: test.method.unwrap_or_else(|| "POST".to_owned()),
            path: test.path.unwrap_or_else(|| "/".to_owned()),
            headers: headers.join("\n"),
            body,
        }
    }

    /// As the API takes it; the body is sent as it was typed.
    pub(super) fn request(&self) -> Result<Option<TestRequest>, ApiError> {
        let mut headers = BTreeMap::new();
        for line in self.headers.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(|| ApiError::Field {
                field: "headers",
                reason: format!("{line:.80?} has no colon: write one header a line, as name: value"),
            })?;
            headers.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let body = (!self.body.is_empty()).then(|| Value::String(self.body.clone()));
        Ok(Some(TestRequest {
            method: some(&self.method),
            path: some(&self.path),
            headers,
            body,
            body_base64: None,
        }))
    }
}

/// The page.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let api = &console.api;
    let (entry, all) = api.app.registry.versions(&name).await?;
    let workflow = view::workflow(&entry, &api.app, &viewer.actor);
    let active = all.iter().find(|version| Some(version.number) == workflow.active_version);
    let template = Template::find(asked.get("template")).filter(|template| template.kind == workflow.kind);
    let template = template.unwrap_or_else(|| Template::blank(workflow.kind));
    let source = match active {
        Some(version) => versions::source(api, version).await?,
        None => Some(template.source.to_owned()),
    };
    let runtimes = api.app.deployer.runtimes().await?;
    let chosen = asked.get("sample");
    let written = samples::chosen(api, &entry, chosen).await?;
    let written = written.unwrap_or_else(|| Written::sample(template.request));
    let choice = match workflow.kind {
        Kind::Catch => samples::choice(api, &viewer, &entry, chosen, None).await?,
        Kind::Pull => Markup::default(),
    };
    let content = html! {
        (editor(&workflow, active, source.as_deref(), &runtimes, template))
        (testing(&workflow, &written, &choice))
    };
    let scripts = ["editor.js", "function.js"];
    Ok(Html(parts::workflow_page(&viewer, &workflow, Tab::Function, &scripts, content)))
}

fn editor(
    workflow: &WorkflowView,
    active: Option<&Version>,
    source: Option<&str>,
    runtimes: &[RuntimeView],
    template: &Template,
) -> Markup {
    let name = workflow.name.as_str();
    let (file, used) = match active.map(|version| &version.code) {
        Some(Code::Source { file, runtime_name, .. }) => (file.as_str(), Some(runtime_name.as_str())),
        _ => (FILE, None),
    };
    let chosen =
        used.or_else(|| runtimes.iter().find(|runtime| runtime.default).map(|runtime| runtime.name.as_str()));
    let needs = template.setting_names();
    html! {
        @if source.is_none() {
            div.alert role="status" { p { strong { "The active version is a component." } " It has no source here. Deploying source replaces it." } }
        }
        @if active.is_none() && !needs.is_empty() {
            div.alert role="status" { p { "It needs the settings " @for need in &needs { code { (need) } " " } ": "
                a href={ "/workflows/" (name) "/settings" } { "set them" } " before it runs." } }
        }
        section {
            h2.hidden { "Code" }
            form #deploy hx-post={ "/workflows/" (name) "/function/deploy" } hx-target="#deployed" hx-disabled-elt="find button[type=submit]" {
                div.panel.editor {
                    div.editor-bar {
                        span.mono { (text::line(file)) }
                        input type="hidden" name="file" value=(file);
                        @if !runtimes.is_empty() {
                            label for="runtime" { "Runtime" }
                            select id="runtime" name="runtime" { @for runtime in runtimes {
                                option value=(runtime.name) selected[Some(runtime.name.as_str()) == chosen] { (runtime.name) " · " (runtime.language) " " (runtime.version) }
                            } }
                        }
                        span.soft data-dirty="" hidden { "Not deployed yet" }
                        span.end.soft.keys { kbd { "Ctrl" } " " kbd { "Enter" } " deploys" }
                    }
                    textarea.code-area name="source" id="source" rows="24" spellcheck="false" aria-label="Code" data-editor="python" { (source.unwrap_or(template.source)) }
                }
                div.actions {
                    input type="text" name="message" placeholder="What is new, for the list of versions" aria-label="Message of the version" maxlength="500" autocomplete="off";
                    button.primary type="submit" disabled[runtimes.is_empty()] { "Deploy" }
                    span.busy aria-hidden="true" {}
                }
                @if runtimes.is_empty() {
                    div.alert.bad role="alert" { p { strong { "No Python runtime is installed." } " Run " code { "tidegate runtime build --name python" } " on the host, and load this page again." } }
                }
            }
            div #deployed aria-live="polite" {}
            @for runtime in runtimes {
                details.packages { summary { "Packages of " (runtime.name) " (" (runtime.packages.len()) ")" }
                    ul { @for package in &runtime.packages { li { code { (package.name) } " " span.soft { (package.version) } } } }
                }
            }
            details.packages { summary { "Upload a component instead" }
                p.soft { "A WebAssembly component for the world " code { "workflow" } ", for example of " code { "tidegate build" } "." }
                div.actions {
                    input type="file" id="component" accept=".wasm,application/wasm" aria-label="Component file";
                    button type="button" data-upload={ "/workflows/" (name) "/function/upload" } { "Upload and deploy" }
                }
            }
        }
    }
}

fn testing(workflow: &WorkflowView, written: &Written, choice: &Markup) -> Markup {
    let name = workflow.name.as_str();
    let path = format!("/workflows/{name}/function");
    html! {
        section #test {
            div.row { h2 { "Test" } @if let Some(version) = workflow.active_version { span.soft { "Runs version " (version) ", which is deployed" } } }
            form.panel.pad hx-post={ (path) "/test" } hx-target="#tested" hx-disabled-elt="find button[type=submit]" {
                @match workflow.kind {
                    Kind::Pull => p.soft { "A pull is handed its settings and nothing else." },
                    Kind::Catch => {
                        (choice)
                        (request_fields(written))
                    },
                }
                button.primary type="submit" disabled[workflow.active_version.is_none()] { (icons::play()) "Run the test" }
                @if workflow.active_version.is_none() { span.soft { " Deploy first." } }
            }
            div #tested aria-live="polite" {}
        }
    }
}

/// The fields of a request.
pub(super) fn request_fields(written: &Written) -> Markup {
    let Written { method, path, headers, body } = written;
    html! {
        div #request {
            div.pair {
                (Field { name: "method", label: "Method", hint: None, error: None }.text(method, "POST"))
                (Field { name: "path", label: "Path and query", hint: None, error: None }.text(path, "/"))
            }
            (Field { name: "headers", label: "Headers", hint: None, error: None }.around(|id, _| html! {
                textarea.mono id=(id) name="headers" rows="3" spellcheck="false" { (headers) }
            }))
            (Field { name: "body", label: "Body", hint: None, error: None }.around(|id, _| html! {
                textarea.mono id=(id) name="body" rows="9" spellcheck="false" { (body) }
            }))
        }
    }
}

/// Deploys the code that was typed.
pub(in super::super) async fn deploy(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let file = fields.some("file").unwrap_or_else(|| FILE.to_owned());
    // Forms send lines with CR LF (HTML standard, section 4.10.21.8).
    let source = Bytes::from(fields.raw("source").replace("\r\n", "\n"));
    let message = fields.get("message").to_owned();
    let deployed = console
        .api
        .app
        .deployer
        .source(&name, file, source, fields.some("runtime"), message, viewer.login())
        .await;
    deployed_or_not(&console.api, &viewer, deployed)
}

/// Deploys a component.
pub(in super::super) async fn upload(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    request: Request,
) -> Result<Response, ApiError> {
    let wasm = read_upload(request, &console.api, console.api.app.config.server.upload_bytes_max).await?;
    let deployed = console.api.app.deployer.component(&name, wasm, String::new(), viewer.login()).await;
    deployed_or_not(&console.api, &viewer, deployed)
}

fn deployed_or_not(
    api: &Api,
    viewer: &Viewer,
    deployed: Result<std::sync::Arc<Entry>, DeployError>,
) -> Result<Response, ApiError> {
    match deployed {
        Ok(entry) => Ok(Html(live(&view::workflow(&entry, &api.app, &viewer.actor))).into_response()),
        Err(error) => {
            let problem = Problem::from(&error);
            if problem.status.is_server_error() {
                return Err(error.into());
            }
            Ok((problem.status, Html(refused(&problem))).into_response())
        }
    }
}

fn live(workflow: &WorkflowView) -> Markup {
    let name = workflow.name.as_str();
    let due = workflow.schedules.iter().filter_map(|schedule| schedule.next_due).min();
    html! {
        div.alert.good role="status" data-deployed="" {
            p { strong { "Version " (workflow.active_version.unwrap_or_default()) " is live." }
                @if let Some(due) = due { " It runs next at " (when::full(due)) "." } }
            @if let Some(url) = &workflow.url {
                div.copy { input.mono type="text" readonly id="deployed-url" value=(url) aria-label="URL of the endpoint"; button type="button" data-copy="#deployed-url" { (icons::copy()) "Copy" } }
            }
            p { a href={ "/workflows/" (name) } { "Overview" } " · " a href={ "/workflows/" (name) "/runs" } { "Watch its runs" } }
        }
        div hx-get={ "/workflows/" (name) "/function" } hx-trigger="load" hx-target="#test" hx-select="#test" hx-swap="outerHTML" {}
    }
}

fn refused(problem: &Problem) -> Markup {
    html! {
        div.alert.bad role="alert" {
            p { strong { (shell::sentence(&problem.message)) } " The version that ran before still runs." }
            @if let Some(hint) = &problem.hint { p { (shell::sentence(hint)) } }
            @if !problem.diagnostics.is_empty() { ul.findings { @for finding in &problem.diagnostics { (found(finding)) } } }
        }
    }
}

fn found(finding: &Diagnostic) -> Markup {
    let Diagnostic { file, line, column, message, text: code, hint } = finding;
    html! {
        li data-line=(line) data-column=(column) data-message=(text::line(message)) {
            strong { (text::line(file)) @if *line > 0 { ":" (line) @if *column > 0 { ":" (column) } } } " " (text::visible(message))
            @if let Some(code) = code { pre.code tabindex="0" { (text::visible(code)) } }
            @if let Some(hint) = hint { p.soft { (shell::sentence(hint)) } }
        }
    }
}

/// Runs the active version once.
pub(in super::super) async fn test(
    State(console): Shared,
    Named(name): Named,
    fields: Fields,
) -> Result<Html, ApiError> {
    let api = &console.api;
    let entry = api.app.registry.find(&name)?;
    let asked = match entry.workflow.kind {
        Kind::Pull => TestRequest::default(),
        Kind::Catch => Written::read(&fields).request()?.unwrap_or_default(),
    };
    let detail: RunDetail = runs::test(State(api.clone()), Segments(name), OptionalJson(asked)).await?.0;
    let id = detail.run.id.to_string();
    let log = runs::log(State(api.clone()), Segments(id.clone())).await?.0;
    let code = run::code_of(api, &detail).await;
    Ok(Html(html! {
        div.tested {
            div.row { h3 { "Run " a.mono href={ "/runs/" (id) } { (id[id.len() - 8..]) } } (parts::status(detail.run.status)) @if let Some(fault) = detail.run.fault { span.fault { (fault.word()) } } }
            (run::result(&detail, &log, code.as_deref()))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_is_written() {
        let written = Written {
            method: " put ".to_owned(),
            path: String::new(),
            headers: "X-A: b:c\n\n content-type:application/json ".to_owned(),
            body: "{\"n\": 1.50}".to_owned(),
        };
        let request = written.request().unwrap().unwrap();
        assert_eq!((request.method.as_deref(), request.path), (Some("put"), None));
        assert_eq!(request.headers["X-A"], "b:c");
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.body, Some(Value::String("{\"n\": 1.50}".to_owned())));
        let wrong = Written { headers: "nothing".to_owned(), ..Written::default() };
        assert!(wrong.request().unwrap_err().to_string().contains("has no colon"));
    }

    #[test]
    fn samples_of_templates_are_requests() {
        let sample = Written::sample(Template::find("signed-webhook").unwrap().request);
        assert!(sample.headers.contains("http-hrflow-signature: ") && sample.body.starts_with("{\"type\""));
    }
}
