//! Who may see which page: a rule for each route, asked before its handler. A route without
//! a rule is nobody's.

use hyper::Method;

use super::Console;
use super::session::Viewer;
use crate::account::{Action, Decision, Object};
use crate::server::api::{ApiError, runs};

/// What a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Host,
    Own,
    /// The workflow that the path names behind `/workflows/`.
    Workflow,
    /// The workflow of the run that the path names behind `/runs/`.
    Run,
}

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    method: Method,
    route: &'static str,
    action: Action,
    about: About,
    /// What the audit log calls it, of what changes something.
    pub(super) word: Option<&'static str>,
}

const fn rule(method: Method, route: &'static str, action: Action, about: About, word: &'static str) -> Rule {
    Rule { method, route, action, about, word: if word.is_empty() { None } else { Some(word) } }
}

#[rustfmt::skip]
static RULES: &[Rule] = &[
    rule(Method::POST, "/sign-out", Action::ListVisible, About::Host, "session.end"),
    rule(Method::GET, "/workflows", Action::ListVisible, About::Host, ""),
    rule(Method::GET, "/create", Action::CreateWorkflow, About::Host, ""),
    rule(Method::GET, "/create/{template}", Action::CreateWorkflow, About::Host, ""),
    rule(Method::POST, "/create/{template}", Action::CreateWorkflow, About::Host, "workflow.create"),
    rule(Method::GET, "/schedule-preview", Action::UseHost, About::Host, ""),
    rule(Method::GET, "/workflows/{name}", Action::ShowWorkflow, About::Workflow, ""),
    rule(Method::POST, "/workflows/{name}/change", Action::ChangeWorkflow, About::Workflow, "workflow.change"),
    rule(Method::GET, "/workflows/{name}/configuration", Action::ChangeWorkflow, About::Workflow, ""),
    rule(Method::POST, "/workflows/{name}/configuration", Action::ChangeWorkflow, About::Workflow, "workflow.change"),
    rule(Method::POST, "/workflows/{name}/share", Action::ShareWorkflow, About::Workflow, "workflow.change"),
    rule(Method::POST, "/workflows/{name}/run", Action::RunWorkflow, About::Workflow, "workflow.run"),
    rule(Method::POST, "/workflows/{name}/archive", Action::ArchiveWorkflow, About::Workflow, "workflow.archive"),
    rule(Method::POST, "/workflows/{name}/schedules", Action::ChangeWorkflow, About::Workflow, "schedule.change"),
    rule(Method::GET, "/workflows/{name}/versions", Action::ShowWorkflow, About::Workflow, ""),
    rule(Method::POST, "/workflows/{name}/versions", Action::ChangeWorkflow, About::Workflow, "workflow.activate"),
    rule(Method::GET, "/workflows/{name}/versions/{number}", Action::InspectWorkflow, About::Workflow, ""),
    rule(Method::GET, "/workflows/{name}/function", Action::InspectWorkflow, About::Workflow, ""),
    rule(Method::POST, "/workflows/{name}/function/deploy", Action::ChangeWorkflow, About::Workflow, "workflow.deploy"),
    rule(Method::POST, "/workflows/{name}/function/upload", Action::ChangeWorkflow, About::Workflow, "workflow.deploy"),
    rule(Method::POST, "/workflows/{name}/function/test", Action::RunWorkflow, About::Workflow, "workflow.run"),
    rule(Method::POST, "/workflows/{name}/function/samples", Action::ChangeWorkflow, About::Workflow, "sample.change"),
    rule(Method::GET, "/workflows/{name}/settings", Action::InspectWorkflow, About::Workflow, ""),
    rule(Method::POST, "/workflows/{name}/settings", Action::ChangeSettings, About::Workflow, "settings.change"),
    rule(Method::GET, "/workflows/{name}/runs", Action::InspectWorkflow, About::Workflow, ""),
    rule(Method::POST, "/workflows/{name}/runs/replay", Action::RunWorkflow, About::Workflow, "run.replay"),
    rule(Method::GET, "/workflows/{name}/events", Action::InspectWorkflow, About::Workflow, ""),
    rule(Method::GET, "/workflows/{name}/monitoring", Action::ShowWorkflow, About::Workflow, ""),
    rule(Method::GET, "/runs", Action::ListVisible, About::Own, ""),
    rule(Method::GET, "/events", Action::ListVisible, About::Own, ""),
    rule(Method::GET, "/runs/{id}", Action::InspectWorkflow, About::Run, ""),
    rule(Method::POST, "/runs/{id}/again", Action::RunWorkflow, About::Run, "run.replay"),
    rule(Method::POST, "/runs/{id}/cancel", Action::RunWorkflow, About::Run, "run.cancel"),
    rule(Method::GET, "/dead", Action::ListVisible, About::Own, ""),
    rule(Method::POST, "/dead", Action::RedriveVisible, About::Own, "dead.redrive"),
    rule(Method::GET, "/monitoring", Action::ReadHost, About::Host, ""),
    rule(Method::GET, "/host", Action::ReadHost, About::Host, ""),
    rule(Method::GET, "/admin", Action::ReadHost, About::Host, ""),
    rule(Method::GET, "/backup", Action::OperateHost, About::Host, "backup.take"),
    rule(Method::POST, "/backup", Action::OperateHost, About::Host, "backup.take"),
    rule(Method::GET, "/users", Action::ManageUsers, About::Host, ""),
    rule(Method::POST, "/users", Action::ManageUsers, About::Host, "user.change"),
    rule(Method::GET, "/audit", Action::ReadAudit, About::Host, ""),
    rule(Method::GET, "/account", Action::ReadAccount, About::Own, ""),
    rule(Method::POST, "/account", Action::ChangeAccount, About::Own, "account.change"),
];

/// Lets a viewer through to a route.
///
/// # Errors
/// The viewer may not, or what the path names is not there as far as the viewer may know.
pub(super) async fn check(
    console: &Console,
    viewer: &Viewer,
    method: &Method,
    route: &str,
    path: &str,
) -> Result<&'static Rule, ApiError> {
    // HEAD is GET without its body.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let rule = RULES.iter().find(|rule| rule.method == method && rule.route == route);
    let rule = rule.ok_or(ApiError::Method)?;
    let action = rule.action;
    let named = path.split('/').nth(2).unwrap_or_default();
    let registry = &console.api.app.registry;
    let decision = match rule.about {
        About::Host => viewer.decide(action, Object::Host),
        About::Own => viewer.decide(action, Object::Own),
        About::Workflow => {
            let entry = registry.find(named)?;
            let decision = viewer.decide(action, Object::from(&*entry.workflow));
            if decision == Decision::Hide {
                return Err(crate::registry::RegistryError::missing(named).into());
            }
            decision
        }
        About::Run => {
            let run = runs::find(&console.api, named).await?;
            let missing = || ApiError::Missing { what: format!("the run {named:.40?}") };
            let decision = match registry.by_id(run.workflow) {
                Some(entry) => viewer.decide(action, Object::from(&*entry.workflow)),
                // Of an archived workflow: nobody owns it any more.
                None => viewer.decide(Action::ReadHost, Object::Host),
            };
            if matches!(decision, Decision::Hide) {
                return Err(missing());
            }
            decision
        }
    };
    match decision {
        Decision::Allow => Ok(rule),
        Decision::SignIn => Err(ApiError::Unauthorized),
        Decision::Hide => Err(ApiError::NoRoute),
        Decision::Forbid | Decision::NeedsScope(_) => Err(ApiError::Forbidden),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The routes that `mod.rs` makes.
    fn routes() -> BTreeSet<(String, &'static str)> {
        let source = include_str!("mod.rs");
        let part = source.split("let signed_in").nth(1).unwrap().split(".route_layer").next().unwrap();
        let mut found = BTreeSet::new();
        for route in part.split(".route(").skip(1) {
            let path = route.split('"').nth(1).unwrap();
            for (word, method) in [("get(", "GET"), ("post(", "POST")] {
                if route.contains(word) {
                    found.insert((path.to_owned(), method));
                }
            }
        }
        found
    }

    #[test]
    fn every_route_has_one_rule_and_every_rule_a_route() {
        let routes = routes();
        assert!(routes.len() > 30, "{}", routes.len());
        for (path, method) in &routes {
            let rules = RULES.iter().filter(|rule| rule.method == *method && rule.route == path).count();
            assert_eq!(rules, 1, "{method} {path}");
        }
        for Rule { method, route, .. } in RULES {
            assert!(
                routes.iter().any(|(path, of)| path == route && method == of),
                "{method} {route} is no route"
            );
        }
    }

    #[test]
    fn what_changes_something_is_written_down_and_not_for_those_who_only_read() {
        for Rule { method, route, action, word, .. } in RULES {
            let reads = matches!(
                action,
                Action::UsePublic
                    | Action::ShowWorkflow
                    | Action::InspectWorkflow
                    | Action::ReadHost
                    | Action::ReadAccount
            );
            assert!(*method == Method::GET || !reads, "{method} {route}");
            // Whoever takes a backup takes all with it.
            assert_eq!(word.is_some(), *method != Method::GET || *route == "/backup", "{method} {route}");
        }
    }
}
