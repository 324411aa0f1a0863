//! The settings of a workflow: names, what may be seen of them, and changing them.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::Value;

use crate::api::{SettingList, SettingSpec, SettingView};
use crate::registry::{Entry, RegistryError};
use crate::server::api::{Api, ApiError, view};
use crate::server::console::form::{Asked, Fields, Named};
use crate::server::console::parts::{self, Field, Tab};
use crate::server::console::session::Viewer;
use crate::server::console::{Html, Shared, text, when};
use crate::server::reply::Problem;
use crate::workflow::{Seal, SealHost, SealHostError, SettingWriter, Visibility};

/// The page.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let entry = console.api.app.registry.find(&name)?;
    page(&console.api, &viewer, &entry, &asked, None).await
}

async fn page(
    api: &Api,
    viewer: &Viewer,
    entry: &Entry,
    typed: &Fields,
    problem: Option<&Problem>,
) -> Result<Html, ApiError> {
    let workflow = view::workflow(entry, &api.app, &viewer.actor);
    let list = view::settings(&*api.app.registry.settings(workflow.name.as_str()).await?);
    let path = format!("/workflows/{}/settings", workflow.name);
    let done = match typed.get("done") {
        "saved" => Some("The setting is saved. The next run is handed it."),
        "removed" => Some("The setting is removed."),
        _ => None,
    };
    let content = html! {
        @if let Some(done) = done { div.alert.good role="status" { p { (done) } } }
        section {
            h2 { "Settings" }
            p.soft { "The function is handed them by name, and what it leaves in them is there at its next run." }
            (table(&path, &list))
        }
        section #set {
            h2 { "Set a value" }
            (form(&path, typed, problem))
        }
    };
    Ok(Html(parts::workflow_page(viewer, &workflow, Tab::Settings, &[], content)))
}

fn table(path: &str, list: &SettingList) -> Markup {
    if list.settings.is_empty() {
        return parts::empty(
            "No settings",
            html! { p { "Keys of other systems, addresses and switches belong here, not into the code." } },
        );
    }
    html! {
        div.panel.scroll { table.rows.stack {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Value" } th scope="col" { "Kept as" } th scope="col" { "Changed" } th scope="col" { span.hidden { "Actions" } } } }
            tbody { @for setting in &list.settings { (row(path, setting)) } }
        } }
    }
}

fn row(path: &str, setting: &SettingView) -> Markup {
    let name = text::line(&setting.name);
    html! {
        tr {
            th scope="row" { code { (name) } }
            td.wide data-name="Value" { @match &setting.value {
                Some(value) => code { (text::line(&shown(value))) },
                None => span.soft { "••••••••" },
            } }
            td data-name="Kept as" { (setting.visibility.word())
                @if let Some(seal) = &setting.seal { div.sub { "to " @for (at, host) in seal.hosts.iter().enumerate() { @if at > 0 { ", " } code { (host) } } } } }
            td data-name="Changed" {
                (when::relative(setting.updated_at))
                @match &setting.updated_by {
                    SettingWriter::Run(run) => { span.soft { " by run " a.mono href={ "/runs/" (run) } { (run.to_string()[18..]) } } },
                    SettingWriter::User(Some(user)) => { span.soft { " by " (text::line(user)) } },
                    SettingWriter::User(None) => { span.soft { " by the operator" } },
                }
            }
            td.end {
                a.button.small href={ (path) "?" (replacing(setting)) "#set" } { "Replace" }
                form method="post" action=(path) {
                    input type="hidden" name="name" value=(setting.name);
                    button.small type="submit" name="action" value="remove" aria-label={ "Remove " (name) }
                        data-ask={ "Remove the setting " (name) "?" } { "Remove" }
                }
            }
        }
    }
}

fn replacing(setting: &SettingView) -> String {
    let pairs = [("name", setting.name.as_str()), ("visibility", setting.visibility.word())];
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A value as people type it: texts as they are, others as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn form(path: &str, typed: &Fields, problem: Option<&Problem>) -> Markup {
    let kinds = [
        ("secret", "Secret: never shown again"),
        ("plain", "Plain: shown here"),
        ("sealed", "Sealed: only sent to these hosts"),
    ];
    let error = problem.map(|problem| problem.message.as_str());
    let name = Field { name: "name", label: "Name", hint: None, error };
    let value = Field {
        name: "value",
        label: "Value",
        hint: Some("Saved as a text, unless it is marked as JSON. A value that is there is replaced."),
        error: None,
    };
    html! {
        form.panel.pad method="post" action=(path) {
            (name.text(typed.raw("name"), "API_KEY"))
            (value.around(|id, about| html! { textarea.mono id=(id) name="value" rows="2" spellcheck="false" autocomplete="off" aria-describedby=[about] { (typed.raw("value")) } }))
            div.check { input type="checkbox" id="json" name="json" checked[typed.is_on("json")]; label for="json" { "It is JSON" } span.soft { "A number, a list, an object, true or false." } }
            (Field { name: "visibility", label: "Kept as", hint: None, error: None }.around(|id, _| html! {
                select id=(id) name="visibility" { (parts::options(&kinds, typed.get("visibility"))) }
            }))
            (Field { name: "hosts", label: "Hosts", hint: Some("Of a sealed value: the code never sees it, the host puts it into requests to these hosts, for example api.company.com."), error: None }
                .text(typed.raw("hosts"), ""))
            button.primary type="submit" name="action" value="set" { "Save" }
        }
    }
}

/// Sets or removes one.
pub(in super::super) async fn change(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(workflow): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let registry = &console.api.app.registry;
    let name = fields.get("name").to_owned();
    let is_removal = fields.get("action") == "remove";
    let changed = match is_removal {
        true => {
            registry.change_settings(&workflow, BTreeMap::from([(name, None)]), None, viewer.login()).await
        }
        false => match spec(&fields) {
            Ok(spec) => registry.put_setting(&workflow, &name, spec, viewer.login()).await,
            Err(error) => Err(error),
        },
    };
    match changed {
        Ok(_) => {
            let done = if is_removal { "removed" } else { "saved" };
            Ok(Redirect::to(&format!("/workflows/{workflow}/settings?done={done}")).into_response())
        }
        Err(error) => {
            let problem = Problem::from(&error);
            if problem.status.is_server_error() || matches!(error, RegistryError::Missing { .. }) {
                return Err(error.into());
            }
            let entry = registry.find(&workflow)?;
            let shown = page(&console.api, &viewer, &entry, &fields, Some(&problem)).await?;
            Ok((problem.status, shown).into_response())
        }
    }
}

fn spec(fields: &Fields) -> Result<SettingSpec, RegistryError> {
    let visibility = match fields.get("visibility") {
        "plain" => Visibility::Plain,
        "sealed" => Visibility::Sealed,
        _ => Visibility::Secret,
    };
    let named = fields.list("hosts");
    let hosts = named.iter().map(|host| {
        let wrong =
            |error: SealHostError| RegistryError::Invalid { field: "hosts", reason: error.to_string() };
        host.parse::<SealHost>().map_err(wrong)
    });
    let seal = match visibility {
        Visibility::Sealed => Some(Seal::to(hosts.collect::<Result<_, _>>()?)),
        Visibility::Plain | Visibility::Secret => None,
    };
    Ok(SettingSpec { value: Some(typed(fields)?), visibility: Some(visibility), seal })
}

fn typed(fields: &Fields) -> Result<Value, RegistryError> {
    let text = fields.raw("value").replace("\r\n", "\n");
    if !fields.is_on("json") {
        return Ok(Value::String(text));
    }
    serde_json::from_str(&text)
        .map_err(|error| RegistryError::Invalid { field: "value", reason: format!("is no JSON: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_texts_unless_they_are_marked_as_json() {
        let fields = |query: &str| Fields::parse(query.as_bytes());
        assert_eq!(typed(&fields("value=12")).unwrap(), Value::String("12".to_owned()));
        assert_eq!(typed(&fields("value=12&json=on")).unwrap(), Value::from(12));
        assert!(typed(&fields("value=x&json=on")).unwrap_err().to_string().contains("is no JSON"));
        assert_eq!(shown(&Value::from("a")), "a");
    }
}
