//! Cross-origin requests from browsers to catch endpoints (the Fetch standard, section
//! 3.3), as the workflow's endpoint configures them.

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::body::ReplyBody;
use crate::workflow::Endpoint;

/// How long a browser may remember the answer to a preflight, in seconds: two hours is
/// the most that any browser honours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// The host's reply headers that scripts may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "tidegate-run, tidegate-fault, tidegate-repeated, x-request-id, retry-after, location, preference-applied",
);

/// The methods that an endpoint answers, for `Allow`.
pub(super) fn allow(endpoint: &Endpoint) -> String {
    let mut list = endpoint.methods.join(", ");
    if !endpoint.methods.iter().any(|method| method == "OPTIONS") {
        list.push_str(if list.is_empty() { "OPTIONS" } else { ", OPTIONS" });
    }
    list
}

/// The answer to `OPTIONS`: what the endpoint accepts, and from where.
pub(super) fn preflight(endpoint: &Endpoint, request: &HeaderMap) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let methods = HeaderValue::try_from(allow(endpoint)).unwrap_or_else(|_| HeaderValue::from_static("POST"));
    headers.insert(header::ALLOW, methods.clone());
    if let Some(origin) = allowed_origin(endpoint, request) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        // Any header may be sent: `*` would leave out Authorization.
        if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
    }
    const VARY: HeaderValue =
        HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
    headers.insert(header::VARY, VARY);
    response
}

/// Lets a script at the request's origin read the reply. What the workflow says itself
/// stands.
pub(super) fn expose(endpoint: &Endpoint, request: &HeaderMap, reply: &mut HeaderMap) {
    if !request.contains_key(header::ORIGIN) || reply.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    let Some(origin) = allowed_origin(endpoint, request) else { return };
    if origin != "*" {
        reply.append(header::VARY, HeaderValue::from_static("origin"));
    }
    reply.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    reply.entry(header::ACCESS_CONTROL_EXPOSE_HEADERS).or_insert(EXPOSED);
}

/// `*`, the request's own origin, or `None` when it may not read the reply.
fn allowed_origin(endpoint: &Endpoint, request: &HeaderMap) -> Option<HeaderValue> {
    let origin = request.get(header::ORIGIN)?;
    let origins = &endpoint.cors_origins;
    if origins.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    origins.iter().any(|allowed| origin == allowed.as_str()).then(|| origin.clone())
}

/// Whether an endpoint accepts this method.
pub(super) fn accepts(endpoint: &Endpoint, method: &Method) -> bool {
    endpoint.methods.iter().any(|accepted| accepted == method.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        headers.insert(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_static("content-type, authorization"),
        );
        headers
    }

    fn only_a() -> Endpoint {
        let origins = vec!["https://a.example".to_owned()];
        Endpoint {
            methods: vec!["POST".to_owned(), "PUT".to_owned()],
            cors_origins: origins,
            ..Endpoint::default()
        }
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_preflight_allows_what_the_endpoint_does() {
        let response = preflight(&only_a(), &from("https://a.example"));
        assert_eq!(response.status(), 204);
        let headers = response.headers();
        assert_eq!(text(headers, "access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(text(headers, "access-control-allow-methods"), Some("POST, PUT, OPTIONS"));
        assert_eq!(text(headers, "access-control-allow-headers"), Some("content-type, authorization"));
        assert_eq!(text(headers, "allow"), Some("POST, PUT, OPTIONS"));
        assert!(text(headers, "vary").unwrap().starts_with("origin"));

        let response = preflight(&Endpoint::default(), &from("https://b.example"));
        assert_eq!(text(response.headers(), "access-control-allow-origin"), Some("*"));
    }

    #[test]
    fn another_origin_gets_no_permission() {
        for (endpoint, request) in [
            (only_a(), from("https://b.example")),
            (only_a(), from("https://a.example.evil")),
            (only_a(), from("null")),
            (only_a(), HeaderMap::new()),
            (Endpoint { cors_origins: vec![], ..Endpoint::default() }, from("https://a.example")),
        ] {
            let response = preflight(&endpoint, &request);
            assert_eq!(text(response.headers(), "access-control-allow-origin"), None);
            assert_eq!(text(response.headers(), "access-control-allow-headers"), None);
            let mut reply = HeaderMap::new();
            expose(&endpoint, &request, &mut reply);
            assert!(reply.is_empty(), "{reply:?}");
        }
    }

    #[test]
    fn a_reply_can_be_read_by_an_allowed_origin_unless_the_workflow_says_otherwise() {
        let mut reply = HeaderMap::new();
        expose(&only_a(), &from("https://a.example"), &mut reply);
        assert_eq!(text(&reply, "access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(text(&reply, "vary"), Some("origin"));
        assert!(text(&reply, "access-control-expose-headers").unwrap().contains("tidegate-run"));

        let mut own = HeaderMap::new();
        own.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://c.example"));
        expose(&Endpoint::default(), &from("https://a.example"), &mut own);
        assert_eq!(own.len(), 1);
        assert_eq!(text(&own, "access-control-allow-origin"), Some("https://c.example"));
    }
}
