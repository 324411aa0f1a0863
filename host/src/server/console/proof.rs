//! What an old session may not do alone: the form that asks for the password, and goes on
//! with what was asked for.

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use hyper::Method;
use maud::{Markup, html};

use super::form::Fields;
use super::session::Viewer;
use super::{Console, Html, icons, shell};
use crate::account::Via;
use crate::accounts::{AccountError, OIDC_PATH};
use crate::audit::Event;
use crate::server::api::{ApiError, auth, upload};
use crate::server::reply::Problem;

/// The field that the password is in.
const FIELD: &str = "_proof";
/// Largest form that is looked at, in bytes: those that need a proof are small.
const FORM_BYTES_MAX: usize = 256 << 10;

/// Where a backup is downloaded from.
const BACKUP: &str = "/backup";
/// The page that begins to download one.
const BACKUP_BEGINS: &str = "/admin?backup=1";

/// Whether what is asked for at this route is among what may need a proof.
pub(super) fn is_guarded(method: &Method, route: &str) -> bool {
    let is_form =
        method == Method::POST && matches!(route, "/users" | "/account" | "/workflows/{name}/settings");
    is_form || route == BACKUP
}

/// Whether what a form does needs one.
fn needs(route: &str, fields: &Fields) -> bool {
    match route {
        BACKUP => true,
        // To take a token back is never wrong.
        "/users" | "/account" => fields.get("action") != "revoke",
        "/workflows/{name}/settings" => fields.get("action") == "set" && fields.get("visibility") == "plain",
        _ => false,
    }
}

/// Lets a request through that needs no proof, or whose form brings one; else what the browser
/// is shown instead.
///
/// # Errors
/// The form cannot be read, or the store failed.
pub(super) async fn check(
    console: &Console,
    viewer: &Viewer,
    route: &str,
    request: Request,
) -> Result<Result<Request, Response>, ApiError> {
    let accounts = &console.api.app.accounts;
    if accounts.is_proven(&viewer.actor) {
        return Ok(Ok(request));
    }
    let (parts, body) = request.into_parts();
    let whole = upload(Request::from_parts(parts.clone(), body), &console.api, FORM_BYTES_MAX).await?;
    let fields = Fields::parse(&whole);
    let again = || Request::from_parts(parts.clone(), Body::from(whole.clone()));
    let Via::Session { digest, .. } = viewer.account.via else { return Ok(Ok(again())) };
    if !needs(route, &fields) {
        return Ok(Ok(again()));
    }
    if !fields.is_on(FIELD) {
        return Ok(Err(Html(page(console, viewer, &parts, &fields, None)).into_response()));
    }
    let address = auth::address(&parts);
    match accounts.check_password(viewer.name(), fields.raw(FIELD), address).await {
        Ok(_) => {
            accounts.prove(digest).await?;
            note(console, viewer, &parts, 200).await;
            // A browser shows no other page for a download: the form would stay.
            if route == BACKUP {
                return Ok(Err(Redirect::to(BACKUP_BEGINS).into_response()));
            }
            Ok(Ok(again()))
        }
        Err(error) => {
            let problem = Problem::from(&error);
            if problem.status.is_server_error() {
                return Err(error.into());
            }
            if matches!(error, AccountError::WrongPassword) {
                note(console, viewer, &parts, problem.status.as_u16()).await;
            }
            let shown = Html(page(console, viewer, &parts, &fields, Some(&problem)));
            Ok(Err((problem.status, shown).into_response()))
        }
    }
}

async fn note(console: &Console, viewer: &Viewer, request: &Parts, status: u16) {
    let event = Event {
        who: viewer.name().to_owned(),
        via: "session".to_owned(),
        what: "session.prove",
        object: String::new(),
        details: Vec::new(),
        address: Some(auth::address(request)),
        status,
    };
    console.api.app.audit.record(event).await;
}

fn page(
    console: &Console,
    viewer: &Viewer,
    request: &Parts,
    fields: &Fields,
    problem: Option<&Problem>,
) -> Markup {
    let app = &console.api.app;
    let user = app.accounts.user(viewer.name()).ok();
    let has_password = user.as_ref().is_some_and(|user| user.password.is_some());
    let has_identity = user.as_ref().is_some_and(|user| user.identity.is_some());
    let path = request.uri.path();
    let (back, next) = if path == BACKUP { ("/admin", BACKUP_BEGINS) } else { (path, path) };
    let query: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let body = html! {
        main.alone #main {
            p.brand { (icons::mark()) span { "Tidegate" } }
            form.panel.pad method="post" action=(path) {
                h1 { "Is it you?" }
                p { "You signed in as " strong { (viewer.name()) } " some time ago. This is done only for somebody who has just proved it." }
                @if let Some(problem) = problem { p.wrong role="alert" { (shell::sentence(&problem.message)) } }
                @for (name, value) in fields.pairs().filter(|(name, _)| *name != FIELD) {
                    input type="hidden" name=(name) value=(value);
                }
                @if has_password {
                    input type="text" value=(viewer.name()) autocomplete="username" hidden readonly;
                    div.field {
                        label for="proof" { "Your password" }
                        input type="password" id="proof" name=(FIELD) autocomplete="current-password" required autofocus aria-invalid=[problem.map(|_| "true")];
                    }
                    button.primary type="submit" { "Go on" }
                    " " a.button href=(back) { "Not now" }
                }
                @if let Some(provider) = app.oidc.as_ref().filter(|_| has_identity) {
                    p { a.button href={ (OIDC_PATH) "?again=1&next=" (query) } { "Sign in again with " (provider.name()) } }
                    @if next == path { p.soft { "Do it once more when you are back." } }
                } @else if !has_password {
                    p { "You have no password: sign out, and in again by a new link." }
                }
            }
        }
    };
    shell::document("Is it you?", &[], body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_rights_away_from_nobody_but_a_token_needs_no_proof() {
        for (route, form, needed) in [
            ("/users", "action=disable&login=ada", true),
            ("/users", "action=revoke&login=ada&token=x", false),
            ("/backup", "", true),
            ("/account", "action=token", true),
            ("/account", "action=password&password=x", true),
            ("/account", "", true),
            ("/account", "action=revoke", false),
            ("/workflows/{name}/settings", "action=set&visibility=plain", true),
            ("/workflows/{name}/settings", "action=set&visibility=secret", false),
            ("/workflows/{name}/settings", "action=remove", false),
        ] {
            assert_eq!(needs(route, &Fields::parse(form.as_bytes())), needed, "{route} {form}");
            assert!(is_guarded(&Method::POST, route));
        }
        assert!(is_guarded(&Method::GET, BACKUP) && is_guarded(&Method::HEAD, BACKUP));
        assert!(!is_guarded(&Method::GET, "/users"));
        assert!(!is_guarded(&Method::POST, "/workflows/{name}/run") && !needs("/runs", &Fields::default()));
    }
}
