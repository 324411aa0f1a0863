//! What holds for every page: who may see it, where its forms may come from, which
//! headers it leaves with, and how its errors look.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use flate2::Compression;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};

use super::session::Viewer;
use super::{Console, Html, access, assets, proof, shell};
use crate::audit::Event;
use crate::server::api::{ApiError, auth};
use crate::server::reply::Problem;
use crate::server::request_id::RequestId;

/// No inline script or style, nothing from elsewhere, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// htmx marks its requests with it: they are answered with a part of a page.
const HTMX: HeaderName = HeaderName::from_static("hx-request");

/// Lets a request through whose session may do what it asks for, and sends those without a
/// session to the sign-in page.
pub(super) async fn need_session(
    State(console): State<Arc<Console>>,
    route: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(viewer) = Viewer::of(&console.api.app.accounts, &parts) else { return sign_in_first(&parts) };
    let path = parts.uri.path();
    let rule = match access::check(&console, &viewer, &parts.method, route.as_str(), path).await {
        Ok(rule) => rule,
        Err(error) => return error.into_response(),
    };
    let (notes, address) = (Notes::default(), auth::address(&parts));
    let named = path.split('/').nth(2).unwrap_or_default().to_owned();
    let who = viewer.name().to_owned();
    parts.extensions.insert(notes.clone());
    let mut request = Request::from_parts(parts, body);
    if proof::is_guarded(request.method(), route.as_str()) {
        request = match proof::check(&console, &viewer, route.as_str(), request).await {
            Ok(Ok(request)) => request,
            Ok(Err(asked)) => return asked,
            Err(error) => return error.into_response(),
        };
    }
    request.extensions_mut().insert::<Viewer>(viewer);
    let response = next.run(request).await;
    if let Some(what) = rule.word {
        let status = status(&response);
        let (via, address) = ("session".to_owned(), Some(address));
        let event = Event { who, via, what, object: named, details: notes.take(), address, status };
        console.api.app.audit.record(event).await;
    }
    response
}

fn sign_in_first(request: &Parts) -> Response {
    let target = match request.method {
        Method::GET => format!("/sign-in?next={}", encoded(&request.uri)),
        _ => "/sign-in".to_owned(),
    };
    if request.headers.contains_key(HTMX) {
        // Without it the sign-in page would be put into the middle of another page.
        let mut response = hyper::StatusCode::UNAUTHORIZED.into_response();
        response.headers_mut().insert("hx-redirect", HeaderValue::from_static("/sign-in"));
        return response;
    }
    Redirect::to(&target).into_response()
}

fn encoded(uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    form_urlencoded::byte_serialize(path.as_bytes()).collect()
}

/// What the audit log says of a form: which of the things that it can do, and with what;
/// names, never values.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    /// Adds a name.
    pub(super) fn add(&self, name: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The status that the browser will be told: an error gets its own later.
fn status(response: &Response) -> u16 {
    let error = response.extensions().get::<Arc<ApiError>>();
    error.map_or(response.status(), |error| Problem::from(&**error).status).as_u16()
}

/// Refuses what another site's page sends, and gives every answer its headers.
pub(super) async fn protect(request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = match is_own(request.method(), &headers) {
        true => next.run(request).await,
        false => ApiError::CrossOrigin.into_response(),
    };
    if let Some(error) = response.extensions_mut().remove::<Arc<ApiError>>() {
        if let Some(id) = &id {
            Problem::from(&*error).log(&*error, id);
        }
        response = error_page(&error, &headers);
    }
    response = packed(response, &headers).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A page, compressed for a browser that takes it so. What is secret in a page cannot be
/// guessed from its size by others: their requests come without the session's cookie.
async fn packed(response: Response, headers: &HeaderMap) -> Response {
    let is_page = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().starts_with(b"text/html")
            && !response.headers().contains_key(header::CONTENT_ENCODING)
    });
    if !is_page || !assets::takes_gzip(headers) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Pages are made in memory, and are as large as they are.
    let Ok(page) = axum::body::to_bytes(body, usize::MAX).await else {
        return hyper::StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let packed = assets::pack(&page, Compression::fast());
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(parts, packed.into())
}

/// Whether a request may change something: it comes from one of the console's own pages.
/// Browsers say so in `Sec-Fetch-Site`, or in `Origin` where the connection is not
/// encrypted.
fn is_own(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD) {
        return true;
    }
    if let Some(site) = headers.get(FETCH_SITE) {
        return site == "same-origin";
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Whether a request is a browser's for a page.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// An error as a page, or as a part of one for htmx.
pub(super) fn error_page(error: &ApiError, headers: &HeaderMap) -> Response {
    let problem = Problem::from(error);
    let shown = match headers.contains_key(HTMX) {
        true => shell::alert(&problem),
        false => shell::problem(&problem),
    };
    let mut response = Html(shown).into_response();
    *response.status_mut() = problem.status;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_consoles_own_pages_may_change_something() {
        for (method, sent, own) in [
            (Method::GET, &[] as &[(&str, &str)], true),
            (Method::POST, &[], false),
            (Method::POST, &[("sec-fetch-site", "same-origin")], true),
            (Method::POST, &[("sec-fetch-site", "same-site")], false),
            (Method::POST, &[("sec-fetch-site", "cross-site"), ("origin", "http://a:1")], false),
            (Method::POST, &[("sec-fetch-site", "none")], false),
            (Method::POST, &[("origin", "http://a:1")], true),
            (Method::POST, &[("origin", "https://A:1")], true),
            (Method::POST, &[("origin", "http://a")], false),
            (Method::POST, &[("origin", "http://a:1.evil")], false),
            (Method::POST, &[("origin", "null")], false),
            (Method::DELETE, &[("origin", "http://b:1")], false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("a:1"));
            for (name, value) in sent {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            assert_eq!(is_own(&method, &headers), own, "{method} {sent:?}");
        }
    }
}
