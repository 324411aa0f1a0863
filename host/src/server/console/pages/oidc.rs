//! Signing in by the provider: where the browser is sent, and what it comes back with.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use maud::html;

use super::sign_in::local;
use crate::account::Via;
use crate::accounts::{Admitted, COOKIE_OIDC, COOKIE_OIDC_LOOPBACK};
use crate::audit::Event;
use crate::oidc::{Finished, Oidc, OidcError, Purpose};
use crate::server::api::{ApiError, auth};
use crate::server::console::form::Fields;
use crate::server::console::session::{self, Viewer};
use crate::server::console::{Console, Html, Shared, shell};
use crate::server::reply::Problem;

/// How long the browser keeps what ties a sign-in to it, in seconds.
const COOKIE_S: u64 = 600;

/// Sends the browser to the provider. With `again`, to prove once more who has the session.
pub(in super::super) async fn begin(State(console): Shared, request: Request) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let oidc = configured(&console)?;
    let asked = Fields::parse(request.uri.query().unwrap_or_default().as_bytes());
    let next = local(asked.get("next"));
    let via = Viewer::of(&console.api.app.accounts, &request).map(|viewer| viewer.account.via);
    let purpose = match via {
        Some(Via::Session { digest, .. }) if asked.is_on("again") => Purpose::Again { session: digest },
        _ => Purpose::SignIn,
    };
    let is_local = auth::is_local(&request);
    let (name, attributes) = cookie(is_local);
    let begun = oidc.begin(next, purpose, auth::cookie(&request.headers, name)).await?;
    // Lax: the provider's page sends the browser back, and it has to come along.
    let kept =
        format!("{name}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_S}{attributes}", begun.browser);
    Ok(([(header::SET_COOKIE, kept)], Redirect::to(&begun.url)).into_response())
}

/// Takes what the browser comes back with.
pub(in super::super) async fn finish(State(console): Shared, request: Request) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let oidc = configured(&console)?;
    let asked = Fields::parse(request.uri.query().unwrap_or_default().as_bytes());
    let (name, _) = cookie(auth::is_local(&request));
    let browser = auth::cookie(&request.headers, name);
    let finished = match oidc.finish(|field| asked.some(field), browser).await {
        Ok(finished) => finished,
        Err(error) => {
            console.api.app.telemetry.sign_ins.count("oidc", error.sign_in_outcome());
            // Anybody can send a state that is none: that is not worth an entry.
            if !matches!(error, OidcError::State) {
                let error = ApiError::Oidc(error);
                note(&console, &request, "session.begin", "-", Vec::new(), Problem::from(&error).status)
                    .await;
                return Err(error);
            }
            return Err(error.into());
        }
    };
    match finished.purpose {
        Purpose::SignIn => sign_in(&console, &request, &finished).await,
        Purpose::Again { session } => {
            let accounts = &console.api.app.accounts;
            if !accounts.is_session_of(session, &finished.external) {
                return Err(OidcError::NotAdmitted("it is not the one of this session's user").into());
            }
            let login = accounts.prove(session).await?;
            note(&console, &request, "session.prove", login.as_str(), Vec::new(), StatusCode::OK).await;
            Ok(go_on(&finished.next, HeaderMap::new()))
        }
    }
}

async fn sign_in(console: &Console, request: &Parts, finished: &Finished) -> Result<Response, ApiError> {
    let accounts = &console.api.app.accounts;
    let admitted = match accounts.admit(&finished.external).await {
        Ok(admitted) => admitted,
        Err(error) => {
            console.api.app.telemetry.sign_ins.count("oidc", error.sign_in_outcome());
            let error = ApiError::Account(error);
            note(console, request, "session.begin", "-", Vec::new(), Problem::from(&error).status).await;
            return Err(error);
        }
    };
    let Admitted { user, is_new, is_linked } = &admitted;
    let login = user.login.as_str();
    if *is_new {
        note(console, request, "user.create", login, vec![user.role.to_string()], StatusCode::CREATED).await;
    }
    if *is_linked {
        note(console, request, "user.link", login, Vec::new(), StatusCode::OK).await;
    }
    let began = accounts.sign_in_admitted(user, auth::session_cookie(request)).await?;
    console.api.app.telemetry.sign_ins.count("oidc", "begun");
    note(console, request, "session.begin", login, Vec::new(), StatusCode::OK).await;
    let query: String = form_urlencoded::byte_serialize(finished.next.as_bytes()).collect();
    let mut headers = HeaderMap::new();
    if let Ok(cookie) = HeaderValue::from_str(&session::begin(&began, auth::is_local(request))) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    Ok(go_on(&format!("/sign-in?kept=1&next={query}"), headers))
}

/// A page that leads on. A redirect would still be the provider's navigation, with which
/// browsers do not send the session's cookie.
fn go_on(target: &str, headers: HeaderMap) -> Response {
    let body = html! {
        main.alone #main {
            section.panel.pad {
                h1 { "Signed in" }
                p { a.button.primary href=(target) { "Go on" } }
            }
        }
    };
    let mut page = Html(shell::document("Signed in", &[], body)).into_response();
    page.headers_mut().extend(headers);
    // What the header says is what `meta http-equiv` would; both are the page's own navigation.
    if let Ok(refresh) = HeaderValue::from_str(&format!("0; url={target}")) {
        page.headers_mut().insert(header::REFRESH, refresh);
    }
    page
}

fn configured(console: &Console) -> Result<&Oidc, ApiError> {
    console.api.app.oidc.as_ref().ok_or(ApiError::NoRoute)
}

/// The name of the cookie that ties a sign-in to its browser, and what it needs beside.
fn cookie(is_local: bool) -> (&'static str, &'static str) {
    match is_local {
        true => (COOKIE_OIDC_LOOPBACK, ""),
        false => (COOKIE_OIDC, "; Secure"),
    }
}

async fn note(
    console: &Console,
    request: &Parts,
    what: &'static str,
    who: &str,
    details: Vec<String>,
    status: StatusCode,
) {
    let event = Event {
        who: who.to_owned(),
        via: "oidc".to_owned(),
        what,
        object: if what.starts_with("user.") { who.to_owned() } else { String::new() },
        details,
        address: Some(auth::address(request)),
        status: status.as_u16(),
    };
    console.api.app.audit.record(event).await;
}
