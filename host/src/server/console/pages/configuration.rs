//! How a workflow is set up: what it is called by, who may use it, what its endpoint takes,
//! where its requests go, its limits, and what is tried again.

mod egress;
mod forms;
mod read;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use crate::account::Action;
use crate::api::{SettingSpec, WorkflowView};
use crate::registry::{Entry, RegistryError};
use crate::server::api::{Api, ApiError, view, workflows};
use crate::server::console::form::{Asked, Fields, Named};
use crate::server::console::parts::{self, Tab};
use crate::server::console::session::Viewer;
use crate::server::console::{Html, Shared, shell};
use crate::server::reply::Problem;
use crate::workflow::{Kind, Visibility};

/// What was typed into one of the forms, and what is wrong with it.
pub(super) struct Draft<'a> {
    part: &'a str,
    typed: &'a Fields,
    /// The field, as the API names it, and what is wrong with it.
    wrong: Option<(&'a str, String)>,
}

impl Draft<'_> {
    /// Whether a form is the one that was sent.
    fn is_of(&self, part: &str) -> bool {
        self.part == part
    }

    /// What is wrong with a field of the form that was sent.
    fn error(&self, field: &str) -> Option<&str> {
        let (wrong, reason) = self.wrong.as_ref()?;
        (*wrong == field).then_some(reason.as_str())
    }

    /// What was typed into a field, or what it has where another form was sent.
    fn value(&self, part: &str, field: &str, present: String) -> String {
        if self.is_of(part) { self.typed.raw(field).to_owned() } else { present }
    }

    /// Whether a box is ticked.
    fn is_on(&self, part: &str, field: &str, present: bool) -> bool {
        if self.is_of(part) { self.typed.is_on(field) } else { present }
    }
}

/// The page.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let entry = console.api.app.registry.find(&name)?;
    let saved = asked.get("saved");
    let none = Fields::default();
    let draft = Draft { part: "", typed: &none, wrong: None };
    Ok(page(&console.api, &viewer, &entry, &draft, forms::PARTS.iter().find(|(part, _)| *part == saved)))
}

fn page(api: &Api, viewer: &Viewer, entry: &Entry, draft: &Draft<'_>, saved: Option<&(&str, &str)>) -> Html {
    let workflow = view::workflow(entry, &api.app, &viewer.actor);
    let config = &api.app.config;
    let is_catch = workflow.kind == Kind::Catch;
    let sections: [Option<(&str, Markup)>; 7] = [
        Some(("details", forms::details(&workflow, draft))),
        viewer
            .may_with(Action::ShareWorkflow, &workflow)
            .then(|| ("access", forms::access(&workflow, draft))),
        is_catch.then(|| ("endpoint", forms::endpoint(&workflow, draft))),
        is_catch.then(|| ("signature", forms::signature(&workflow, draft))),
        Some(("egress", egress::form(&workflow, draft))),
        Some(("limits", forms::limits(&workflow, config, draft))),
        Some(("retry", forms::retry(&workflow, config.queue.attempts_max, draft))),
    ];
    let sections: Vec<_> = sections.into_iter().flatten().collect();
    let title =
        |part: &str| forms::PARTS.iter().find(|(own, _)| *own == part).map_or("", |(_, title)| *title);
    let content = html! {
        @if let Some((_, title)) = saved { div.alert.good role="status" { p { (title) ": saved." } } }
        @if let Some((field, reason)) = &draft.wrong {
            @if field.is_empty() { div.alert.bad role="alert" { p { strong { (shell::sentence(reason)) } } } }
            @else { div.alert.bad role="alert" { p { strong { (title(draft.part)) ": not saved." } " " (shell::sentence(reason)) } } }
        }
        h2.hidden { "Configuration" }
        div.with-contents {
            nav.contents aria-label="On this page" { @for (part, _) in &sections { a href={ "#" (part) } { (title(part)) } } }
            div { @for (part, form) in &sections { (section(&workflow, part, title(part), form)) } }
        }
    };
    Html(parts::workflow_page(viewer, &workflow, Tab::Configuration, &[], content))
}

fn section(workflow: &WorkflowView, part: &str, title: &str, fields: &Markup) -> Markup {
    html! {
        section id=(part) {
            h3.title { (title) }
            form.panel.pad method="post" action={ "/workflows/" (workflow.name) (if part == "access" { "/share" } else { "/configuration" }) } {
                (fields)
                button.primary type="submit" name="part" value=(part) aria-label={ "Save: " (title) } { "Save" }
            }
        }
    }
}

/// Saves one of the forms.
pub(in super::super) async fn change(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let api = &console.api;
    let entry = api.app.registry.find(&name)?;
    let workflow = view::workflow(&entry, &api.app, &viewer.actor);
    let part = fields.get("part").to_owned();
    let done = match read::patch(&part, &workflow, &fields) {
        Ok(patch) => workflows::apply(api, &viewer.actor, &name, patch).await,
        Err(error) => Err(error.into()),
    };
    let done = match done {
        Ok(_) if part == "signature" => keep_secret(api, &viewer, &workflow, &fields).await,
        other => other.map(drop),
    };
    answer(api, &viewer, &name, &part, &fields, done)
}

/// Says who may do what with it.
pub(in super::super) async fn share(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let api = &console.api;
    let entry = api.app.registry.find(&name)?;
    let done =
        workflows::apply(api, &viewer.actor, &name, read::access(entry.workflow.owner.as_deref(), &fields))
            .await;
    // Whoever gave it away may not see it any more.
    if done.as_ref().is_ok_and(|entry| !viewer.sees(&entry.workflow)) {
        return Ok(Redirect::to("/workflows").into_response());
    }
    if done.as_ref().is_ok_and(|entry| !viewer.may_change(&entry.workflow)) {
        return Ok(Redirect::to(&format!("/workflows/{name}?done=saved")).into_response());
    }
    answer(api, &viewer, &name, "access", &fields, done.map(drop))
}

/// The secret of a signature, which nobody sees again.
async fn keep_secret(
    api: &Api,
    viewer: &Viewer,
    workflow: &WorkflowView,
    fields: &Fields,
) -> Result<(), ApiError> {
    let secret = fields.get("signature.secret");
    let Some(setting) = fields.list("signature.secret_settings").into_iter().next() else { return Ok(()) };
    if secret.is_empty() || fields.get("signature.scheme").is_empty() {
        return Ok(());
    }
    if !viewer.may_with(Action::ChangeSettings, workflow) {
        return Err(ApiError::Forbidden);
    }
    let spec = SettingSpec { value: Some(secret.into()), visibility: Some(Visibility::Secret), seal: None };
    api.app.registry.put_setting(workflow.name.as_str(), &setting, spec, viewer.login()).await?;
    Ok(())
}

fn answer(
    api: &Api,
    viewer: &Viewer,
    name: &str,
    part: &str,
    fields: &Fields,
    done: Result<(), ApiError>,
) -> Result<Response, ApiError> {
    let error = match done {
        Ok(()) => {
            let path = format!("/workflows/{name}/configuration?saved={part}#{part}");
            return Ok(Redirect::to(&path).into_response());
        }
        Err(error) => error,
    };
    let problem = Problem::from(&error);
    if problem.status.is_server_error() || problem.status == hyper::StatusCode::NOT_FOUND {
        return Err(error);
    }
    let wrong = match &error {
        ApiError::Field { field, reason } => (*field, reason.clone()),
        ApiError::Registry(error) => match &**error {
            RegistryError::Invalid { field, reason } => (*field, reason.clone()),
            _ => ("", problem.message.clone()),
        },
        _ => ("", problem.message.clone()),
    };
    let entry = api.app.registry.find(name)?;
    let draft = Draft { part, typed: fields, wrong: Some(wrong) };
    Ok((problem.status, page(api, viewer, &entry, &draft, None)).into_response())
}
