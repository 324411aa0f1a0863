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

/// The rules: method, route, what is done, with what.
const RULES: &[(Method, &str, Action, About)] = &[
    (Method::POST, "/sign-out", Action::ListVisible, About::Host),
    (Method::GET, "/workflows", Action::ListVisible, About::Host),
    (Method::GET, "/create", Action::CreateWorkflow, About::Host),
    (Method::GET, "/create/{template}", Action::CreateWorkflow, About::Host),
    (Method::POST, "/create/{template}", Action::CreateWorkflow, About::Host),
    (Method::GET, "/schedule-preview", Action::UseHost, About::Host),
    (Method::GET, "/workflows/{name}", Action::ShowWorkflow, About::Workflow),
    (Method::POST, "/workflows/{name}/change", Action::ChangeWorkflow, About::Workflow),
    (Method::POST, "/workflows/{name}/share", Action::ShareWorkflow, About::Workflow),
    (Method::POST, "/workflows/{name}/run", Action::RunWorkflow, About::Workflow),
    (Method::POST, "/workflows/{name}/archive", Action::ArchiveWorkflow, About::Workflow),
    (Method::POST, "/workflows/{name}/schedules", Action::ChangeWorkflow, About::Workflow),
    (Method::GET, "/workflows/{name}/versions", Action::ShowWorkflow, About::Workflow),
    (Method::POST, "/workflows/{name}/versions", Action::ChangeWorkflow, About::Workflow),
    (Method::GET, "/workflows/{name}/versions/{number}", Action::InspectWorkflow, About::Workflow),
    (Method::GET, "/workflows/{name}/function", Action::InspectWorkflow, About::Workflow),
    (Method::POST, "/workflows/{name}/function/deploy", Action::ChangeWorkflow, About::Workflow),
    (Method::POST, "/workflows/{name}/function/upload", Action::ChangeWorkflow, About::Workflow),
    (Method::POST, "/workflows/{name}/function/test", Action::RunWorkflow, About::Workflow),
    (Method::GET, "/workflows/{name}/settings", Action::InspectWorkflow, About::Workflow),
    (Method::POST, "/workflows/{name}/settings", Action::ChangeSettings, About::Workflow),
    (Method::GET, "/workflows/{name}/runs", Action::InspectWorkflow, About::Workflow),
    (Method::GET, "/workflows/{name}/events", Action::InspectWorkflow, About::Workflow),
    (Method::GET, "/workflows/{name}/monitoring", Action::ShowWorkflow, About::Workflow),
    (Method::GET, "/runs", Action::ReadHost, About::Host),
    (Method::GET, "/events", Action::ReadHost, About::Host),
    (Method::GET, "/runs/{id}", Action::InspectWorkflow, About::Run),
    (Method::POST, "/runs/{id}/again", Action::RunWorkflow, About::Run),
    (Method::POST, "/runs/{id}/cancel", Action::RunWorkflow, About::Run),
    (Method::GET, "/dead", Action::ReadHost, About::Host),
    (Method::POST, "/dead", Action::OperateHost, About::Host),
    (Method::GET, "/monitoring", Action::ReadHost, About::Host),
    (Method::GET, "/host", Action::ReadHost, About::Host),
    (Method::GET, "/admin", Action::ReadHost, About::Host),
    (Method::GET, "/users", Action::ManageUsers, About::Host),
    (Method::POST, "/users", Action::ManageUsers, About::Host),
    (Method::GET, "/account", Action::ReadAccount, About::Own),
    (Method::POST, "/account", Action::ChangeAccount, About::Own),
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
) -> Result<(), ApiError> {
    // HEAD is GET without its body.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let rule = RULES.iter().find(|(of, pattern, ..)| of == method && *pattern == route);
    let Some((_, _, action, about)) = rule else { return Err(ApiError::Method) };
    let named = path.split('/').nth(2).unwrap_or_default();
    let registry = &console.api.app.registry;
    let decision = match about {
        About::Host => viewer.decide(*action, Object::Host),
        About::Own => viewer.decide(*action, Object::Own),
        About::Workflow => {
            let entry = registry.find(named)?;
            let decision = viewer.decide(*action, Object::from(&*entry.workflow));
            if decision == Decision::Hide {
                return Err(crate::registry::RegistryError::missing(named).into());
            }
            decision
        }
        About::Run => {
            let run = runs::find(&console.api, named).await?;
            let missing = || ApiError::Missing { what: format!("the run {named:.40?}") };
            let decision = match registry.by_id(run.workflow) {
                Some(entry) => viewer.decide(*action, Object::from(&*entry.workflow)),
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
        Decision::Allow => Ok(()),
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
            let rules = RULES.iter().filter(|(of, pattern, ..)| of == method && pattern == path).count();
            assert_eq!(rules, 1, "{method} {path}");
        }
        for (method, path, ..) in RULES {
            assert!(
                routes.iter().any(|(own, of)| own == path && method == of),
                "{method} {path} is no route"
            );
        }
    }

    #[test]
    fn what_changes_something_is_not_for_those_who_only_read() {
        for (method, path, action, _) in RULES {
            let reads = matches!(
                action,
                Action::UsePublic
                    | Action::ShowWorkflow
                    | Action::InspectWorkflow
                    | Action::ReadHost
                    | Action::ReadAccount
            );
            assert!(*method == Method::GET || !reads, "{method} {path}");
        }
    }
}
