//! Which action each route is, and on what: the one table, and the layer that asks
//! [`authorize`] by it before any handler runs.
//!
//! A route that is not in the table is refused; a test compares it with the OpenAPI
//! document. Routes whose answer depends on more than their path (`On::Listed`) ask again
//! with [`Who`], object by object.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::Method;
use hyper::header::{self, HeaderValue};

use super::audit::{self, Note};
use super::{Api, ApiError, auth, runs};
use crate::account::{Action, Actor, Decision, Object, authorize};
use crate::registry::{Entry, RegistryError};
use crate::store::RunFilter;
use crate::workflow::WorkflowId;

/// What a route's action is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// The host.
    Host,
    /// Things of which the handler takes those that the actor may have.
    Listed,
    /// What belongs to the actor.
    Own,
    /// The workflow that the path's `name` names.
    Workflow,
    /// The workflow of the run that the path's `id` names.
    Run,
}

/// A route's method, path, action and object.
pub(super) type Rule = (&'static str, &'static str, Action, On);

/// Every route of the management API.
#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    ("GET",    "/",                                                         Action::UsePublic,       On::Host),
    ("GET",    "/healthz",                                                  Action::UsePublic,       On::Host),
    ("GET",    "/readyz",                                                   Action::UsePublic,       On::Host),
    ("GET",    "/api/v1/openapi.json",                                      Action::UsePublic,       On::Host),
    ("GET",    "/metrics",                                                  Action::ReadHost,        On::Host),
    ("GET",    "/api/v1/version",                                           Action::UseHost,         On::Host),
    ("GET",    "/api/v1/health",                                            Action::ReadHost,        On::Host),
    ("GET",    "/api/v1/usage",                                             Action::ReadHost,        On::Host),
    ("GET",    "/api/v1/history",                                           Action::ReadHost,        On::Host),
    ("GET",    "/api/v1/statistics",                                        Action::ReadHost,        On::Host),
    ("GET",    "/api/v1/backup",                                            Action::OperateHost,     On::Host),
    ("GET",    "/api/v1/keys",                                              Action::ReadHost,        On::Host),
    ("POST",   "/api/v1/keys/rotate",                                       Action::OperateHost,     On::Host),
    ("GET",    "/api/v1/runtimes",                                          Action::UseHost,         On::Host),
    ("PUT",    "/api/v1/runtimes/{name}",                                   Action::OperateHost,     On::Host),
    ("GET",    "/api/v1/schedules/upcoming",                                Action::UseHost,         On::Host),
    // Who has no session yet signs in by it: the handler looks at the credentials.
    ("POST",   "/api/v1/session",                                           Action::UsePublic,       On::Host),
    ("GET",    "/api/v1/sign-in",                                           Action::UsePublic,       On::Host),
    ("DELETE", "/api/v1/session",                                           Action::UseHost,         On::Own),
    ("POST",   "/api/v1/session/proof",                                     Action::UseHost,         On::Own),
    ("GET",    "/api/v1/me",                                                Action::UseHost,         On::Own),
    ("PUT",    "/api/v1/me/password",                                       Action::ChangeAccount,   On::Own),
    ("GET",    "/api/v1/tokens",                                            Action::ReadAccount,     On::Listed),
    ("POST",   "/api/v1/tokens",                                            Action::ChangeAccount,   On::Own),
    ("DELETE", "/api/v1/tokens/{id}",                                       Action::ChangeAccount,   On::Listed),
    ("GET",    "/api/v1/users",                                             Action::ManageUsers,     On::Host),
    ("POST",   "/api/v1/users",                                             Action::ManageUsers,     On::Host),
    ("GET",    "/api/v1/users/{login}",                                     Action::ManageUsers,     On::Host),
    ("PATCH",  "/api/v1/users/{login}",                                     Action::ManageUsers,     On::Host),
    ("PUT",    "/api/v1/users/{login}/password",                            Action::ManageUsers,     On::Host),
    ("POST",   "/api/v1/users/{login}/link",                                Action::ManageUsers,     On::Host),
    ("GET",    "/api/v1/audit",                                             Action::ReadAudit,       On::Host),
    ("GET",    "/api/v1/audit/verification",                                Action::ReadAudit,       On::Host),
    ("GET",    "/api/v1/workflows",                                         Action::ListVisible,     On::Listed),
    ("POST",   "/api/v1/workflows",                                         Action::CreateWorkflow,  On::Host),
    ("GET",    "/api/v1/workflows/{name}",                                  Action::ShowWorkflow,    On::Workflow),
    ("PATCH",  "/api/v1/workflows/{name}",                                  Action::ChangeWorkflow,  On::Workflow),
    ("DELETE", "/api/v1/workflows/{name}",                                  Action::ArchiveWorkflow, On::Workflow),
    ("GET",    "/api/v1/workflows/{name}/versions",                         Action::ShowWorkflow,    On::Workflow),
    ("POST",   "/api/v1/workflows/{name}/versions",                         Action::ChangeWorkflow,  On::Workflow),
    ("GET",    "/api/v1/workflows/{name}/versions/{number}/source",         Action::InspectWorkflow, On::Workflow),
    ("POST",   "/api/v1/workflows/{name}/activate",                         Action::ChangeWorkflow,  On::Workflow),
    ("GET",    "/api/v1/workflows/{name}/settings",                         Action::InspectWorkflow, On::Workflow),
    ("PATCH",  "/api/v1/workflows/{name}/settings",                         Action::ChangeSettings,  On::Workflow),
    ("PUT",    "/api/v1/workflows/{name}/settings/{setting}",               Action::ChangeSettings,  On::Workflow),
    ("GET",    "/api/v1/workflows/{name}/samples",                          Action::InspectWorkflow, On::Workflow),
    ("PUT",    "/api/v1/workflows/{name}/samples/{sample}",                 Action::ChangeWorkflow,  On::Workflow),
    ("DELETE", "/api/v1/workflows/{name}/samples/{sample}",                 Action::ChangeWorkflow,  On::Workflow),
    ("GET",    "/api/v1/workflows/{name}/runs",                             Action::InspectWorkflow, On::Workflow),
    ("POST",   "/api/v1/workflows/{name}/runs",                             Action::RunWorkflow,     On::Workflow),
    ("POST",   "/api/v1/workflows/{name}/replay",                           Action::RunWorkflow,     On::Workflow),
    ("PATCH",  "/api/v1/workflows/{name}/schedules/{schedule}",             Action::ChangeWorkflow,  On::Workflow),
    ("DELETE", "/api/v1/workflows/{name}/schedules/{schedule}",             Action::ChangeWorkflow,  On::Workflow),
    ("GET",    "/api/v1/workflows/{name}/schedules/{schedule}/upcoming",    Action::ShowWorkflow,    On::Workflow),
    ("GET",    "/api/v1/workflows/{name}/ticks",                            Action::ShowWorkflow,    On::Workflow),
    ("GET",    "/api/v1/workflows/{name}/statistics",                       Action::ShowWorkflow,    On::Workflow),
    ("GET",    "/api/v1/runs",                                              Action::ListVisible,     On::Listed),
    ("GET",    "/api/v1/runs/{id}",                                         Action::InspectWorkflow, On::Run),
    ("GET",    "/api/v1/runs/{id}/log",                                     Action::InspectWorkflow, On::Run),
    ("POST",   "/api/v1/runs/{id}/replay",                                  Action::RunWorkflow,     On::Run),
    ("POST",   "/api/v1/runs/{id}/cancel",                                  Action::RunWorkflow,     On::Run),
    ("GET",    "/api/v1/dead",                                              Action::ListVisible,     On::Listed),
    ("POST",   "/api/v1/dead/redrive",                                      Action::RedriveVisible,  On::Listed),
    ("GET",    "/api/v1/events",                                            Action::ListVisible,     On::Listed),
];

/// What an old session may not do alone: see [`need_proof`]. Handlers ask for the rest, where
/// it depends on the body.
const PROVEN: &[(&str, &str)] = &[
    ("GET", "/api/v1/backup"),
    ("POST", "/api/v1/keys/rotate"),
    ("POST", "/api/v1/tokens"),
    ("POST", "/api/v1/users"),
    ("PATCH", "/api/v1/users/{login}"),
    ("PUT", "/api/v1/users/{login}/password"),
    ("POST", "/api/v1/users/{login}/link"),
];

/// Refuses a session whose user proved too long ago to be who it is: somebody else may sit
/// before the browser now, or have its cookie.
///
/// # Errors
/// [`ApiError::Proof`].
pub(super) fn need_proof(api: &Api, actor: &Actor) -> Result<(), ApiError> {
    if api.app.accounts.is_proven(actor) { Ok(()) } else { Err(ApiError::Proof) }
}

/// Whoever asks, for handlers.
#[derive(Debug, Clone)]
pub(in crate::server) struct Who(pub(in crate::server) Actor);

impl FromRequestParts<Arc<Api>> for Who {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, ApiError> {
        parts.extensions.get::<Who>().cloned().ok_or(ApiError::Unauthorized)
    }
}

/// Finds out who asks, and lets a request through that the rule of its route allows.
pub(super) async fn guard(
    State(api): State<Arc<Api>>,
    path: MatchedPath,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let rule = match rule(&parts.method, path.as_str()) {
        Ok(rule) => rule,
        Err(allow) => return not_allowed(&allow),
    };
    let note = Note::default();
    let address = auth::address(&parts);
    // Known also where it is refused: that is written down.
    let mut actor = Actor::Anonymous;
    let admitted = admit(&api, rule, &params, &parts, &mut actor).await;
    let response = match admitted {
        Err(error) => {
            note.failed_sign_in(&error, &parts);
            error.into_response()
        }
        Ok(()) => {
            parts.extensions.insert(Who(actor.clone()));
            parts.extensions.insert(note.clone());
            next.run(Request::from_parts(parts, body)).await
        }
    };
    if let Some(event) = audit::event(rule, &params, &actor, note, address, &response) {
        api.app.audit.record(event).await;
    }
    response
}

/// The rule of a route, or the methods that its path has.
fn rule(method: &Method, path: &str) -> Result<&'static Rule, Vec<&'static str>> {
    // axum answers HEAD by the handler of GET.
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let of_path = || RULES.iter().filter(|rule| rule.1 == path);
    if let Some(rule) = of_path().find(|rule| rule.0 == method) {
        return Ok(rule);
    }
    let mut allow: Vec<&str> = of_path().map(|rule| rule.0).collect();
    if allow.contains(&"GET") {
        allow.push("HEAD");
    }
    Err(allow)
}

fn not_allowed(allow: &[&str]) -> Response {
    let mut refusal = ApiError::Method.into_response();
    if let Ok(allow) = HeaderValue::from_str(&allow.join(",")) {
        refusal.headers_mut().insert(header::ALLOW, allow);
    }
    refusal
}

async fn admit(
    api: &Arc<Api>,
    rule: &Rule,
    params: &RawPathParams,
    request: &Parts,
    actor: &mut Actor,
) -> Result<(), ApiError> {
    let (method, path, action, on) = *rule;
    let is_sign_in = auth::SIGN_IN == (method, path);
    if !is_sign_in {
        *actor = auth::actor(api, rule, request).await?;
    }
    if path == auth::METRICS && auth::is_local(request) {
        return Ok(());
    }
    // Nobody who is not known learns what exists.
    if action != Action::UsePublic && actor.account().is_none() {
        return Err(ApiError::Unauthorized);
    }
    let param = |wanted: &str| params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    match on {
        On::Host => permit(actor, action, Object::Host, || ApiError::NoRoute)?,
        On::Own | On::Listed => permit(actor, action, Object::Own, || ApiError::NoRoute)?,
        On::Workflow => drop(find(api, actor, action, param("name").unwrap_or_default())?),
        On::Run => {
            let id = param("id").unwrap_or_default();
            let missing = || ApiError::Missing { what: format!("the run {id:.40?}") };
            let run = runs::find(api, id).await?;
            let entry = api.app.registry.by_id(run.workflow).ok_or_else(missing)?;
            permit(actor, action, Object::from(&*entry.workflow), missing)?;
        }
    }
    if PROVEN.contains(&(method, path)) {
        need_proof(api, actor)?;
    }
    Ok(())
}

/// Nothing, when the actor may; else why not. `missing` is how the object would not be
/// there: what is hidden looks the same.
fn permit(
    actor: &Actor,
    action: Action,
    object: Object<'_>,
    missing: impl FnOnce() -> ApiError,
) -> Result<(), ApiError> {
    match authorize(actor, action, object) {
        Decision::Allow => Ok(()),
        Decision::SignIn => Err(ApiError::Unauthorized),
        Decision::Hide => Err(missing()),
        Decision::Forbid => Err(ApiError::Forbidden),
        Decision::NeedsScope(scope) => Err(ApiError::NeedsScope(scope)),
    }
}

/// The workflow with this name, if the actor may do this with it.
///
/// # Errors
/// It is not there, or hidden, or the actor may not.
pub(super) fn find(api: &Api, actor: &Actor, action: Action, name: &str) -> Result<Arc<Entry>, ApiError> {
    let entry = api.app.registry.find(name)?;
    let missing = || RegistryError::missing(name).into();
    permit(actor, action, Object::from(&*entry.workflow), missing)?;
    Ok(entry)
}

/// Whether the actor may do this with a workflow.
pub(super) fn may(actor: &Actor, action: Action, entry: &Entry) -> bool {
    authorize(actor, action, Object::from(&*entry.workflow)).is_allowed()
}

/// Narrows a filter to the runs that the actor may look into.
pub(super) fn narrow(api: &Api, actor: &Actor, filter: RunFilter) -> RunFilter {
    // An admin sees all, also those of workflows that are just being archived.
    if actor.is_admin() || filter.workflow.is_some() {
        return filter;
    }
    let entries = api.app.registry.list();
    let among = entries.iter().filter(|entry| may(actor, Action::InspectWorkflow, entry));
    let among: HashSet<WorkflowId> = among.map(|entry| entry.workflow.id).collect();
    RunFilter { among: Some(Arc::new(among)), ..filter }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_of_the_document_has_a_rule_and_every_rule_a_route() {
        let (_, document) = super::super::routes().split_for_parts();
        let mut routes = BTreeSet::new();
        for (path, item) in &document.paths.paths {
            let operations = [
                ("GET", &item.get),
                ("POST", &item.post),
                ("PUT", &item.put),
                ("PATCH", &item.patch),
                ("DELETE", &item.delete),
                ("HEAD", &item.head),
                ("OPTIONS", &item.options),
                ("TRACE", &item.trace),
            ];
            let present = operations.iter().filter(|(_, operation)| operation.is_some());
            routes.extend(present.map(|(method, _)| (method.to_string(), path.clone())));
        }
        let rules: Vec<_> = RULES.iter().map(|rule| (rule.0.to_owned(), rule.1.to_owned())).collect();
        let unique: BTreeSet<_> = rules.iter().cloned().collect();
        assert_eq!(rules.len(), unique.len(), "a route has two rules");
        assert_eq!(unique, routes);
    }

    #[test]
    fn what_needs_a_proof_is_a_route() {
        for (method, path) in PROVEN {
            assert!(RULES.iter().any(|rule| (rule.0, rule.1) == (*method, *path)), "{method} {path}");
        }
    }

    #[test]
    fn rules_fit_their_paths() {
        for (method, path, action, on) in RULES {
            match on {
                On::Workflow => assert!(path.starts_with("/api/v1/workflows/{name}"), "{path}"),
                On::Run => assert!(path.starts_with("/api/v1/runs/{id}"), "{path}"),
                On::Host | On::Own | On::Listed => {
                    assert!(!path.contains("/workflows/{") && !path.contains("/runs/{"), "{path}");
                }
            }
            // What is safe by its method changes nothing, and the other way round.
            let changes = !matches!(
                action,
                Action::UsePublic
                    | Action::UseHost
                    | Action::ListVisible
                    | Action::ReadHost
                    | Action::ReadAudit
                    | Action::ReadAccount
                    | Action::ShowWorkflow
                    | Action::InspectWorkflow
            );
            if !matches!(
                action,
                Action::UsePublic | Action::UseHost | Action::ManageUsers | Action::OperateHost
            ) {
                assert_eq!(changes, *method != "GET", "{method} {path}");
            }
        }
    }
}
