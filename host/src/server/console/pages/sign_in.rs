//! Signing in and out.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use hyper::header;
use maud::{Markup, html};

use crate::server::api::{ApiError, Peer, auth};
use crate::server::console::form::Fields;
use crate::server::console::session::{self, Viewer};
use crate::server::console::{Html, Shared, icons, shell};
use crate::server::reply::Problem;

/// Where people arrive who were on their way nowhere else.
const HOME: &str = "/workflows";

/// The form; with a one-time link, a button that uses it. A link that is only looked at,
/// as mail programs do, is not used up.
pub(in super::super) async fn form(State(console): Shared, request: Request) -> Response {
    let asked = Fields::parse(request.uri().query().unwrap_or_default().as_bytes());
    let next = local(asked.get("next"));
    if Viewer::of(&console.api.app.accounts, &request).is_some() && asked.get("link").is_empty() {
        return Redirect::to(next).into_response();
    }
    // The cookie that was just set did not come back.
    let lost = asked.is_on("kept").then_some(
        "This browser did not keep the session. It needs an encrypted connection (https), or http on this machine itself.",
    );
    let link = asked.some("link");
    Html(page(next, "", link.as_deref(), lost)).into_response()
}

/// Signs in, with login and password or with a one-time link.
pub(in super::super) async fn sign_in(
    State(console): Shared,
    request: Request,
) -> Result<Response, ApiError> {
    let is_local = auth::is_local(&request);
    let peer =
        request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let previous = session::token(&request).map(str::to_owned);
    let fields = Fields::from_request(request, &console).await?;
    let next = local(fields.get("next"));
    let (login, link) = (fields.get("login"), fields.some("link"));
    let accounts = &console.api.app.accounts;
    let began = match &link {
        Some(link) => accounts.one_time(link, previous.as_deref()).await,
        None => accounts.sign_in(login, fields.raw("password"), peer, previous.as_deref()).await,
    };
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
            Ok((problem.status, Html(page(next, login, None, Some(&wrong)))).into_response())
        }
    }
}

/// Ends the session.
pub(in super::super) async fn sign_out(
    State(console): Shared,
    request: Request,
) -> Result<Response, ApiError> {
    if let Some(token) = session::token(&request) {
        console.api.app.accounts.sign_out(token).await?;
    }
    let cookie = session::end(auth::is_local(&request));
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response())
}

/// A path of this host, from what a link said.
fn local(next: &str) -> &str {
    let is_path =
        next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n', '\t']);
    if is_path && !next.starts_with("/sign-in") { next } else { HOME }
}

fn page(next: &str, login: &str, link: Option<&str>, wrong: Option<&str>) -> Markup {
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
