//! Signing in and out.

use std::net::IpAddr;

use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use hyper::{StatusCode, header};
use maud::{Markup, html};

use crate::accounts::{AccountError, NewSession, OIDC_PATH};
use crate::audit::Event;
use crate::server::api::{ApiError, auth};
use crate::server::console::form::Fields;
use crate::server::console::session::{self, Viewer};
use crate::server::console::{Console, Html, Shared, icons, shell};
use crate::server::reply::Problem;

/// Where people arrive who were on their way nowhere else.
const HOME: &str = "/workflows";

/// The form; with a one-time link, a button that uses it. A link that is only looked at,
/// as mail programs do, is not used up.
pub(in super::super) async fn form(State(console): Shared, request: Request) -> Response {
    let (request, _) = request.into_parts();
    let asked = Fields::parse(request.uri.query().unwrap_or_default().as_bytes());
    let next = local(asked.get("next"));
    if Viewer::of(&console.api.app.accounts, &request).is_some() && asked.get("link").is_empty() {
        return Redirect::to(next).into_response();
    }
    // The cookie that was just set did not come back.
    let lost = asked.is_on("kept").then_some(
        "This browser did not keep the session. It needs an encrypted connection (https), or http on this machine itself.",
    );
    let link = asked.some("link");
    Html(page(&console, next, "", link.as_deref(), lost)).into_response()
}

/// Signs in, with login and password or with a one-time link.
pub(in super::super) async fn sign_in(
    State(console): Shared,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let (is_local, peer) = (auth::is_local(&parts), auth::address(&parts));
    let previous = auth::session_cookie(&parts).map(str::to_owned);
    let fields = Fields::from_request(Request::from_parts(parts, body), &console).await?;
    let next = local(fields.get("next"));
    let (login, link) = (fields.get("login"), fields.some("link"));
    let accounts = &console.api.app.accounts;
    let began = match &link {
        Some(link) => accounts.one_time(link, previous.as_deref()).await,
        None => accounts.sign_in(login, fields.raw("password"), peer, previous.as_deref()).await,
    };
    let outcome = began.as_ref().map_or_else(AccountError::sign_in_outcome, |_| "begun");
    let means = if link.is_some() { "link" } else { "password" };
    console.api.app.telemetry.sign_ins.count(means, outcome);
    note(&console, login, link.is_some(), peer, &began).await;
    match began {
        Ok(session) => {
            // By way of the form, which notices when the cookie was not kept.
            let next = if link.is_some() { "/account?done=link" } else { next };
            let query: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
            let target = format!("/sign-in?kept=1&next={query}");
            Ok(([(header::SET_COOKIE, session::begin(&session, is_local))], Redirect::to(&target))
                .into_response())
        }
        Err(error) => {
            let problem = Problem::from(&error);
            if problem.status.is_server_error() {
                return Err(error.into());
            }
            let wrong = match &problem.hint {
                Some(hint) => format!("{} {}", shell::sentence(&problem.message), shell::sentence(hint)),
                None => shell::sentence(&problem.message),
            };
            Ok((problem.status, Html(page(&console, next, login, None, Some(&wrong)))).into_response())
        }
    }
}

/// Writes down who signed in, or whose password was guessed at. What is no user's login may
/// be a password that was typed into the wrong field.
async fn note(
    console: &Console,
    login: &str,
    is_link: bool,
    peer: IpAddr,
    began: &Result<NewSession, AccountError>,
) {
    let app = &console.api.app;
    let (who, status) = match began {
        Ok(session) => (session.actor.login().map(ToString::to_string), StatusCode::SEE_OTHER),
        Err(error @ (AccountError::WrongPassword | AccountError::Link)) => {
            (app.accounts.user(login).ok().map(|user| user.login.to_string()), Problem::from(error).status)
        }
        Err(_) => return,
    };
    let via = if is_link { "link" } else { "password" };
    let event = Event {
        who: who.unwrap_or_else(|| "-".to_owned()),
        via: via.to_owned(),
        what: "session.begin",
        object: String::new(),
        details: Vec::new(),
        address: Some(peer),
        status: status.as_u16(),
    };
    app.audit.record(event).await;
}

/// Ends the session.
pub(in super::super) async fn sign_out(
    State(console): Shared,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    if let Some(token) = auth::session_cookie(&request) {
        console.api.app.accounts.sign_out(token).await?;
    }
    let cookie = session::end(auth::is_local(&request));
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response())
}

/// A path of this host, from what a link said.
pub(super) fn local(next: &str) -> &str {
    let is_path =
        next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n', '\t']);
    if is_path && !next.starts_with("/sign-in") { next } else { HOME }
}

fn page(console: &Console, next: &str, login: &str, link: Option<&str>, wrong: Option<&str>) -> Markup {
    let provider = console.api.app.oidc.as_ref().filter(|_| link.is_none());
    let query: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let invalid = wrong.map(|_| "true");
    let body = html! {
        main.alone #main {
            p.brand { (icons::mark()) span { "Tidegate" } }
            form.panel.pad method="post" action="/sign-in" {
                h1 { "Sign in" }
                @if let Some(wrong) = wrong { p.wrong role="alert" { (wrong) } }
                @if let Some(link) = link {
                    p { "This link signs you in once." }
                    input type="hidden" name="link" value=(link);
                } @else {
                    div.field {
                        label for="login" { "Login" }
                        input type="text" id="login" name="login" value=(login) autocomplete="username" autocapitalize="none"
                            spellcheck="false" required autofocus aria-invalid=[invalid];
                    }
                    div.field {
                        label for="password" { "Password" }
                        input type="password" id="password" name="password" autocomplete="current-password" required aria-invalid=[invalid];
                    }
                }
                input type="hidden" name="next" value=(next);
                button.primary type="submit" { "Sign in" }
                @if let Some(provider) = provider {
                    a.button href=(format!("{OIDC_PATH}?next={query}")) { "Sign in with " (provider.name()) }
                }
                @if link.is_none() {
                    p.soft.foot { "No password yet? An admin makes a link for you; for the first admin the host printed one when it first started." }
                }
            }
        }
    };
    shell::document("Sign in", &[], body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_go_on_only_within_the_console() {
        for (next, target) in [
            ("/workflows/a?b=c", "/workflows/a?b=c"),
            ("", HOME),
            ("//evil.example", HOME),
            ("/\\evil.example", HOME),
            ("/\t/evil.example", HOME),
            ("https://evil.example", HOME),
            ("/sign-in?next=/sign-in", HOME),
            ("/a\nb", HOME),
        ] {
            assert_eq!(local(next), target, "{next:?}");
        }
    }
}
