//! The audit log: what is written down of a request, and reading it.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::request::Parts;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::access::Rule;
use super::auth::{self, Credentials};
use super::extract::Params;
use super::{Api, ApiError, Shared, runs};
use crate::account::{Actor, Login, Via};
use crate::accounts::AccountError;
use crate::api::{AuditList, ErrorBody};
use crate::audit::{AuditVerification, Event};

/// What routes are called in the log; others change nothing.
#[rustfmt::skip]
const WORDS: &[(&str, &str, &str)] = &[
    ("POST",   "/api/v1/session",                               "session.begin"),
    ("DELETE", "/api/v1/session",                               "session.end"),
    ("POST",   "/api/v1/session/proof",                         "session.prove"),
    ("PUT",    "/api/v1/me/password",                           "user.password"),
    ("POST",   "/api/v1/tokens",                                "token.create"),
    ("DELETE", "/api/v1/tokens/{id}",                           "token.revoke"),
    ("POST",   "/api/v1/users",                                 "user.create"),
    ("PATCH",  "/api/v1/users/{login}",                         "user.change"),
    ("PUT",    "/api/v1/users/{login}/password",                "user.password"),
    ("POST",   "/api/v1/users/{login}/link",                    "user.link"),
    ("POST",   "/api/v1/workflows",                             "workflow.create"),
    ("PATCH",  "/api/v1/workflows/{name}",                      "workflow.change"),
    ("DELETE", "/api/v1/workflows/{name}",                      "workflow.archive"),
    ("POST",   "/api/v1/workflows/{name}/versions",             "workflow.deploy"),
    ("POST",   "/api/v1/workflows/{name}/activate",             "workflow.activate"),
    ("PATCH",  "/api/v1/workflows/{name}/settings",             "settings.change"),
    ("PUT",    "/api/v1/workflows/{name}/settings/{setting}",   "settings.change"),
    ("PUT",    "/api/v1/workflows/{name}/samples/{sample}",     "sample.change"),
    ("DELETE", "/api/v1/workflows/{name}/samples/{sample}",     "sample.remove"),
    ("POST",   "/api/v1/keys/rotate",                           "key.rotate"),
    ("POST",   "/api/v1/workflows/{name}/runs",                 "workflow.run"),
    ("POST",   "/api/v1/workflows/{name}/replay",               "workflow.replay"),
    ("PATCH",  "/api/v1/workflows/{name}/schedules/{schedule}", "schedule.change"),
    ("DELETE", "/api/v1/workflows/{name}/schedules/{schedule}", "schedule.remove"),
    ("POST",   "/api/v1/runs/{id}/replay",                      "run.replay"),
    ("POST",   "/api/v1/runs/{id}/cancel",                      "run.cancel"),
    ("POST",   "/api/v1/dead/redrive",                          "dead.redrive"),
    ("PUT",    "/api/v1/runtimes/{name}",                       "runtime.install"),
    ("GET",    "/api/v1/backup",                                "backup.take"),
];

/// What handlers add to the entry of their request: names and numbers, never values.
#[derive(Clone, Default)]
pub(super) struct Note(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    who: Option<Login>,
    object: Option<String>,
    details: Vec<String>,
    is_failed_sign_in: bool,
}

impl FromRequestParts<Arc<Api>> for Note {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, ApiError> {
        Ok(parts.extensions.get::<Note>().cloned().unwrap_or_default())
    }
}

impl Note {
    fn with(&self, change: impl FnOnce(&mut Noted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Adds a name or a number.
    pub(super) fn add(&self, detail: impl Display) {
        self.with(|noted| noted.details.push(detail.to_string()));
    }

    /// Says what it was done with, where the path does not.
    pub(super) fn object(&self, object: impl Display) {
        self.with(|noted| noted.object = Some(object.to_string()));
    }

    /// Adds the names of the fields that a request changes.
    pub(super) fn fields(&self, request: &impl Serialize) {
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(request) else { return };
        let changed = fields.into_iter().filter(|(_, value)| *value != serde_json::Value::Bool(false));
        changed.for_each(|(name, _)| self.add(name));
    }

    /// Says who signed in.
    pub(super) fn is(&self, login: &Login) {
        self.with(|noted| noted.who = Some(login.clone()));
    }

    /// Says whose login was tried. What is no user's is not written down: it may be a
    /// password that was typed into the wrong field.
    pub(super) fn tried(&self, api: &Api, login: &str) {
        let known = api.app.accounts.user(login).ok().map(|user| user.login.clone());
        self.with(|noted| {
            noted.who = known;
            noted.is_failed_sign_in = true;
        });
    }

    /// Says that a password was wrong before there was a handler.
    pub(super) fn failed_sign_in(&self, error: &ApiError, request: &Parts) {
        if !matches!(error, ApiError::Account(AccountError::WrongPassword)) {
            return;
        }
        let login = match auth::credentials(request) {
            Some(Credentials::Password { login, .. }) => login.parse().ok(),
            _ => None,
        };
        self.with(|noted| {
            noted.who = login;
            noted.is_failed_sign_in = true;
        });
    }
}

/// What is written down of a request that was answered; `None` for nothing: it changes
/// nothing, or nobody who is known sent it. A guess at a password is written down, until
/// there are too many of them.
pub(super) fn event(
    rule: &Rule,
    params: &RawPathParams,
    actor: &Actor,
    note: Note,
    address: IpAddr,
    response: &Response,
) -> Option<Event> {
    let word = WORDS.iter().find(|word| (word.0, word.1) == (rule.0, rule.1))?.2;
    let status = status(response);
    let noted = std::mem::take(&mut *note.0.lock().unwrap_or_else(PoisonError::into_inner));
    let signed_in = (word == "session.begin").then_some(noted.who.as_ref()).flatten();
    let is_guess = noted.is_failed_sign_in && status != StatusCode::TOO_MANY_REQUESTS;
    if actor.account().is_none() && signed_in.is_none() && !is_guess {
        return None;
    }
    if status == StatusCode::TOO_MANY_REQUESTS && actor.account().is_none() {
        return None;
    }
    let login = actor.login().or(noted.who.as_ref()).map_or("-".to_owned(), ToString::to_string);
    let via = match actor.account().map(|account| account.via) {
        None => "-".to_owned(),
        Some(Via::AdminToken) => "admin-token".to_owned(),
        Some(Via::Password) => "password".to_owned(),
        Some(Via::Token(id)) => format!("token {id}"),
        Some(Via::Session { .. }) => "session".to_owned(),
    };
    let named = params.iter().find(|(name, _)| matches!(*name, "name" | "id" | "login"));
    let object = noted.object.or_else(|| named.map(|(_, value)| value.to_owned())).unwrap_or_default();
    let mut details = noted.details;
    details.extend(
        params
            .iter()
            .filter(|(name, _)| matches!(*name, "schedule" | "setting"))
            .map(|(_, value)| value.to_owned()),
    );
    let address = Some(address);
    Some(Event { who: login, via, what: word, object, details, address, status: status.as_u16() })
}

/// The status that the client will be told: an error gets its own later.
fn status(response: &Response) -> StatusCode {
    match response.extensions().get::<Arc<ApiError>>() {
        Some(error) => crate::server::reply::Problem::from(&**error).status,
        None => response.status(),
    }
}

/// Which entries are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::server) struct AuditParams {
    /// Entries of a page, 1 to 500; 50 when it is left out.
    #[param(minimum = 1, maximum = 500)]
    pub(in crate::server) limit: Option<usize>,
    /// Only entries with a smaller `seq`: `next` of the page before.
    pub(in crate::server) before: Option<u64>,
}

/// Who changed what, newest first.
#[utoipa::path(
    get, path = "/api/v1/audit", operation_id = "listAudit", tag = "accounts",
    params(AuditParams),
    responses((status = 200, description = "The entries", body = AuditList)),
)]
pub(in crate::server) async fn list(
    State(api): Shared,
    Params(params): Params<AuditParams>,
) -> Result<Json<AuditList>, ApiError> {
    let limit = runs::limit(params.limit)?;
    let audit = api.app.audit.clone();
    let entries = blocking(move || audit.list(params.before, limit + 1)).await?;
    let has_more = entries.len() > limit;
    let entries: Vec<_> = entries.into_iter().take(limit).collect();
    let next = entries.last().map(|entry| entry.seq).filter(|_| has_more);
    Ok(Json(AuditList { entries, next }))
}

/// Checks that the audit log is as it was written: every entry, and none that is missing.
#[utoipa::path(
    get, path = "/api/v1/audit/verification", operation_id = "verifyAudit", tag = "accounts",
    responses(
        (status = 200, description = "What was found", body = AuditVerification),
        (status = 500, description = "The log cannot be read", body = ErrorBody),
    ),
)]
pub(super) async fn verify(State(api): Shared) -> Result<Json<AuditVerification>, ApiError> {
    let audit = api.app.audit.clone();
    let found = blocking(move || audit.verify()).await?;
    let key = match api.app.config.audit.key_file.as_str() {
        "" => "audit.key in the data folder, encrypted with the master key",
        _ => "the file that audit.key_file names",
    };
    Ok(Json(AuditVerification { key: key.to_owned(), ..found }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::audit::AuditError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        // The connection contains it, as it would one of its own.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::access::RULES;
    use super::*;

    #[test]
    fn every_route_that_changes_something_has_a_word() {
        for (method, path, _, _) in RULES.iter().filter(|rule| rule.0 != "GET") {
            let words = WORDS.iter().filter(|word| (word.0, word.1) == (*method, *path)).count();
            assert_eq!(words, 1, "{method} {path}");
        }
        for (method, path, word) in WORDS {
            assert!(RULES.iter().any(|rule| (rule.0, rule.1) == (*method, *path)), "{word} is for no route");
        }
    }
}
