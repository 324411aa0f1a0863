//! A new workflow: choosing what it begins with, then its name and when it runs.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::schedules::{self, Rule};
use super::templates::{TEMPLATES, Template};
use crate::api::CreateWorkflow;
use crate::registry::RegistryError;
use crate::server::api::ApiError;
use crate::server::console::form::{Fields, Named};
use crate::server::console::parts::Field;
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Html, Shared, parts, shell};
use crate::server::reply::Problem;
use crate::workflow::{Kind, LimitOverrides, RetryPolicy};

/// The beginnings.
pub(in super::super) async fn catalogue(Extension(viewer): Extension<Viewer>) -> Html {
    let content = html! {
        div.head {
            p.crumbs { a href="/workflows" { "Workflows" } }
            h1 { "Create a workflow" }
            p.soft { "Choose what it begins with. Its code can be changed afterwards; its kind cannot." }
        }
        @for (title, blank) in [("Start from nothing", true), ("Start from an example", false)] {
            h2 { (title) }
            div.cards {
                @for template in TEMPLATES.iter().filter(|template| template.id.starts_with("blank") == blank) {
                    (card(template))
                }
            }
        }
    };
    Html(Page { title: "Create a workflow", place: Place::Workflows, scripts: &[], content }.render(&viewer))
}

fn card(template: &Template) -> Markup {
    let needs = template.setting_names();
    html! {
        a.card href={ "/create/" (template.id) } {
            (parts::kind(template.kind))
            strong { (template.title) }
            span { (template.about) }
            @if !needs.is_empty() {
                span.needs { "Needs " @for name in &needs { code { (name) } " " } }
            }
        }
    }
}

/// What was typed, and what is wrong with it.
struct Draft<'a> {
    fields: &'a Fields,
    problem: Option<Problem>,
    /// The field that the problem is about.
    wrong: &'static str,
}

impl Draft<'_> {
    fn error(&self, field: &str) -> Option<&str> {
        let problem = self.problem.as_ref().filter(|_| self.wrong == field)?;
        Some(&problem.message)
    }
}

/// The form for a beginning.
pub(in super::super) async fn form(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(id): Named,
) -> Result<Html, ApiError> {
    let template = find(&id)?;
    let fields = Fields::default();
    let draft = Draft { fields: &fields, problem: None, wrong: "" };
    let rule = Rule::interval(template.every).with_policy_of(&console.api.app);
    let preview = schedules::coming(&console.api.app, &rule);
    Ok(Html(page(&viewer, template, &draft, &rule, preview)))
}

/// Creates it.
pub(in super::super) async fn create(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(id): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let template = find(&id)?;
    let rule = Rule::read(&fields);
    let request = CreateWorkflow {
        name: fields.get("name").to_owned(),
        kind: template.kind,
        description: fields.get("description").to_owned(),
        managers: fields.list("managers"),
        viewers: fields.list("viewers"),
        private: fields.is_on("private"),
        schedules: if template.kind == Kind::Pull { vec![rule.spec()] } else { Vec::new() },
        endpoint: None,
        signature: None,
        egress: None,
        limits: LimitOverrides::default(),
        retry: RetryPolicy::default(),
    };
    match console.api.app.registry.create(request, viewer.login()).await {
        Ok(entry) => {
            let path = format!("/workflows/{}/function?template={}", entry.workflow.name, template.id);
            Ok(Redirect::to(&path).into_response())
        }
        Err(error) => {
            let wrong = field_of(&error);
            let problem = Problem::from(&error);
            let status = problem.status;
            if status.is_server_error() {
                return Err(error.into());
            }
            let draft = Draft { fields: &fields, problem: Some(problem), wrong };
            let preview = schedules::coming(&console.api.app, &rule);
            Ok((status, Html(page(&viewer, template, &draft, &rule, preview))).into_response())
        }
    }
}

fn find(id: &str) -> Result<&'static Template, ApiError> {
    Template::find(id).ok_or_else(|| ApiError::Missing { what: format!("the template {id:.40?}") })
}

/// The field of the form that an error is about; empty when it is about none.
fn field_of(error: &RegistryError) -> &'static str {
    match error {
        RegistryError::Name(_) | RegistryError::NameTaken(_) => "name",
        RegistryError::Schedule { .. } | RegistryError::Interval { .. } => "schedule",
        RegistryError::Invalid { field, .. } => match *field {
            "description" => "description",
            "managers" => "managers",
            "every" | "cron" | "timezone" | "schedules" => "schedule",
            _ => "",
        },
        RegistryError::Missing { .. }
        | RegistryError::WrongKind { .. }
        | RegistryError::Conflict(_)
        | RegistryError::Limit { .. }
        | RegistryError::Store(_) => "",
    }
}

fn page(viewer: &Viewer, template: &Template, draft: &Draft<'_>, rule: &Rule, preview: Markup) -> Markup {
    let fields = draft.fields;
    let name = Field {
        name: "name",
        label: "Name",
        hint: Some("Lower-case letters, digits and hyphens. It cannot be changed later."),
        error: draft.error("name"),
    };
    let description = Field {
        name: "description",
        label: "Description",
        hint: Some("What it is for, in a sentence."),
        error: draft.error("description"),
    };
    let managers = Field {
        name: "managers",
        label: "Managers",
        hint: Some("Accounts that may change it beside its owner, separated by commas."),
        error: draft.error("managers"),
    };
    let content = html! {
        div.head {
            p.crumbs { a href="/workflows" { "Workflows" } a href="/create" { "Create" } }
            div.row { h1 { (template.title) } (parts::kind(template.kind)) }
            p.soft { (template.about) }
        }
        form.panel.pad.narrow method="post" action={ "/create/" (template.id) } {
            @if let Some(problem) = draft.problem.as_ref().filter(|_| draft.wrong.is_empty()) { (shell::alert(problem)) }
            (name.text(fields.raw("name"), if template.kind == Kind::Catch { "new-applications" } else { "nightly-sync" }))
            (description.text(fields.raw("description"), ""))
            (managers.text(fields.raw("managers"), ""))
            div.check {
                input type="checkbox" id="private" name="private" checked[fields.is_on("private")];
                label for="private" { "Private" }
                span.soft { "Only its owner, its managers and admins see it." }
            }
            @match template.kind {
                Kind::Pull => (schedules::fields(rule, draft.error("schedule"), preview)),
                Kind::Catch => p.soft.note { "It gets a URL of its own that nobody can guess. The URL can be replaced at any time." },
            }
            div.actions {
                button.primary type="submit" { "Create" }
                a.button href="/create" { "Back" }
            }
        }
    };
    Page { title: template.title, place: Place::Workflows, scripts: &[], content }.render(viewer)
}
