//! One's own account: password and tokens.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::tokens;
use crate::account::{Scope, Scopes, Via};
use crate::accounts::{AccountError, NewToken, TokenSpec};
use crate::server::api::ApiError;
use crate::server::console::form::{Asked, Fields};
use crate::server::console::parts::{self, Field};
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Console, Html, Shared, icons};
use crate::server::reply::Problem;

/// Days that a token can be made for.
const DAYS: [(&str, &str); 4] = [("30", "30 days"), ("90", "90 days"), ("365", "A year"), ("", "For ever")];

/// What to do where there is no token.
const NONE: &str = "Make one for each program, so that each can be taken back alone.";

/// The page.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let done = match asked.get("done") {
        "link" => Some("You are signed in. Set a password, and you need no link the next time."),
        "password" => Some("The password is set. Other sessions of yours have ended."),
        "revoked" => Some("The token does not work any more."),
        _ => None,
    };
    Ok(Html(page(&console, &viewer, done, None, None)))
}

fn page(
    console: &Console,
    viewer: &Viewer,
    done: Option<&str>,
    problem: Option<&Problem>,
    made: Option<&NewToken>,
) -> Markup {
    let own = console.api.app.accounts.tokens(Some(viewer.account.user));
    let content = html! {
        div.head { h1 { "Your account" } p.soft { "Signed in as " strong { (viewer.name()) } "." } }
        @if let Some(done) = done { div.alert.good role="status" { p { (done) } } }
        @if let Some(problem) = problem { (super::super::shell::alert(problem)) }
        section {
            h2 { "Password" }
            form.panel.pad.narrow method="post" action="/account" {
                input type="text" name="login" value=(viewer.name()) autocomplete="username" hidden readonly;
                (Field { name: "password", label: "New password", hint: Some("Long is better than complicated."), error: None }.around(|id, about| html! {
                    input type="password" id=(id) name="password" autocomplete="new-password" required aria-describedby=[about];
                }))
                button.primary type="submit" name="action" value="password" { "Set the password" }
            }
        }
        section {
            h2 { "Tokens" }
            p.soft { "For programs and the command line: " code { "TIDEGATE_TOKEN" } "." }
            @if let Some(made) = made {
                div.alert.good role="status" {
                    p { strong { "The token is made." } " It is shown this once." }
                    div.copy { input.mono type="text" readonly id="made" value=(made.secret.expose()) aria-label="The new token"; button type="button" data-copy="#made" { (icons::copy()) "Copy" } }
                }
            }
            (tokens::table(&own, "/account", viewer.name(), NONE))
            details.panel.pad {
                summary { "Make a token" }
                form method="post" action="/account" {
                    (Field { name: "label", label: "What it is for", hint: None, error: None }.text("", "deploys from the build server"))
                    fieldset { legend { "What it may do" }
                        @for scope in Scope::ALL.into_iter().filter(|scope| *scope != Scope::Admin || viewer.account.is_admin()) {
                            div.check { input type="checkbox" name="scope" value=(scope.word()) id={ "scope-" (scope.word()) } checked[scope == Scope::Read];
                                label for={ "scope-" (scope.word()) } { (scope.word()) } }
                        }
                    }
                    (Field { name: "days", label: "How long", hint: None, error: None }.around(|id, _| html! { select id=(id) name="days" { (parts::options(&DAYS, "90")) } }))
                    button type="submit" name="action" value="token" { "Make the token" }
                }
            }
        }
    };
    Page { title: "Your account", place: Place::Account, scripts: &[], content }.render(viewer)
}

/// Sets the password, or makes or revokes a token.
pub(in super::super) async fn change(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    fields: Fields,
) -> Result<Response, ApiError> {
    let done = match fields.get("action") {
        "password" => set_password(&console, &viewer, &fields).await.map(|()| None),
        "revoke" => revoke(&console, &viewer, fields.get("token")).await.map(|()| None),
        _ => make(&console, &viewer, &fields).await.map(Some),
    };
    match done {
        Ok(None) => {
            let word = if fields.get("action") == "password" { "password" } else { "revoked" };
            Ok(Redirect::to(&format!("/account?done={word}")).into_response())
        }
        Ok(Some(made)) => Ok(Html(page(&console, &viewer, None, None, Some(&made))).into_response()),
        Err(error) => {
            let problem = Problem::from(&error);
            if problem.status.is_server_error() {
                return Err(error.into());
            }
            Ok((problem.status, Html(page(&console, &viewer, None, Some(&problem), None))).into_response())
        }
    }
}

async fn set_password(console: &Console, viewer: &Viewer, fields: &Fields) -> Result<(), AccountError> {
    let keep = match viewer.account.via {
        Via::Session { digest, .. } => Some(digest),
        Via::AdminToken | Via::Token(_) | Via::Password => None,
    };
    let accounts = &console.api.app.accounts;
    accounts.set_password(viewer.name(), Some(fields.raw("password")), keep).await.map(drop)
}

async fn revoke(console: &Console, viewer: &Viewer, id: &str) -> Result<(), AccountError> {
    let accounts = &console.api.app.accounts;
    // Somebody else's is as good as none.
    match accounts.token(id) {
        Ok((token, _)) if token.user == viewer.account.user => accounts.revoke_token(id).await.map(drop),
        Ok(_) => Err(AccountError::Missing { what: format!("the token {id:.40?}") }),
        Err(error) => Err(error),
    }
}

async fn make(console: &Console, viewer: &Viewer, fields: &Fields) -> Result<NewToken, AccountError> {
    let accounts = &console.api.app.accounts;
    let scopes = Scope::ALL.into_iter().filter(|scope| !fields.all("scope").any(|word| word == scope.word()));
    let mut scopes = scopes.fold(Scopes::ALL, Scopes::without);
    if !viewer.account.is_admin() {
        scopes = scopes.without(Scope::Admin);
    }
    let days: Option<i64> = fields.get("days").parse().ok();
    let expires_at = days.map(|days| Timestamp::now() + SignedDuration::from_hours(24 * days.clamp(1, 3650)));
    let user = accounts.user(viewer.name())?;
    accounts.add_token(&user, TokenSpec { label: fields.get("label").to_owned(), scopes, expires_at }).await
}
