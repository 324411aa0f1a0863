//! Signing in and out.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap};
use maud::{Markup, html};
use subtle::ConstantTimeEq;

use crate::server::console::form::{Asked, Fields};
use crate::server::console::session::{self, Viewer};
use crate::server::console::{Html, Shared, icons, shell};
use crate::workflow::Digest;

/// Where people arrive who were on their way nowhere else.
const HOME: &str = "/workflows";

/// The form.
pub(in super::super) async fn form(
    State(console): Shared,
    Asked(asked): Asked,
    headers: HeaderMap,
) -> Response {
    let next = local(asked.get("next"));
    let viewer = session::token(&headers).and_then(|token| console.sessions.viewer(token));
    if viewer.is_some() {
        return Redirect::to(next).into_response();
    }
    // The cookie that was just set did not come back.
    let lost = asked.is_on("kept").then_some(
        "This browser did not keep the session. It needs an encrypted connection (https), or http on this machine itself.",
    );
    Html(page(next, lost)).into_response()
}

/// Signs in with the operator's token.
pub(in super::super) async fn sign_in(State(console): Shared, fields: Fields) -> Response {
    let next = local(fields.get("next"));
    let sent = Digest::of(fields.get("token").as_bytes());
    if !bool::from(sent.as_bytes().ct_eq(console.api.app.token.as_bytes())) {
        let wrong = "This is not the token of this host.";
        return (StatusCode::FORBIDDEN, Html(page(next, Some(wrong)))).into_response();
    }
    let cookie = console.sessions.begin(Viewer { name: "operator".to_owned() });
    // By way of the form, which notices when the cookie was not kept.
    let query: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let target = format!("/sign-in?kept=1&next={query}");
    ([(header::SET_COOKIE, cookie)], Redirect::to(&target)).into_response()
}

/// Ends the session.
pub(in super::super) async fn sign_out(State(console): Shared, headers: HeaderMap) -> Response {
    let cookie = session::token(&headers).map(|token| console.sessions.end(token)).unwrap_or_default();
    ([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response()
}

/// A path of this host, from what a link said.
fn local(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n']);
    if is_path && !next.starts_with("/sign-in") { next } else { HOME }
}

fn page(next: &str, wrong: Option<&str>) -> Markup {
    let body = html! {
        main.alone #main {
            p.brand { (icons::mark()) span { "Tidegate" } }
            form.panel.pad method="post" action="/sign-in" {
                h1 { "Sign in" }
                div.field {
                    label for="token" { "Operator's token" }
                    input type="password" id="token" name="token" autocomplete="current-password" required
                        autofocus aria-describedby="token-about" aria-invalid=[wrong.map(|_| "true")];
                    div.about id="token-about" {
                        @if let Some(wrong) = wrong { p.wrong role="alert" { (wrong) } }
                        p { "The host wrote it to " code { "admin.token" } " in its data folder when it first started." }
                    }
                }
                input type="hidden" name="next" value=(next);
                button.primary type="submit" { "Sign in" }
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
            ("https://evil.example", HOME),
            ("/sign-in?next=/sign-in", HOME),
            ("/a\nb", HOME),
        ] {
            assert_eq!(local(next), target, "{next:?}");
        }
    }
}
