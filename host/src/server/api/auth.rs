//! Who may use the management API: whoever has the operator's token.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::header::{self, HeaderMap};

use super::{Api, ApiError, Peer};

/// Routes that anybody may ask: they tell nothing about workflows.
pub(super) const OPEN: [&str; 4] = ["/", "/healthz", "/readyz", "/api/v1/openapi.json"];
/// The route that programs on this machine may ask.
pub(super) const METRICS: &str = "/metrics";

/// Headers by which a proxy tells that a request is not its own. A request with one
/// comes from elsewhere, wherever its connection comes from.
const PROXY_HEADERS: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// Lets a request through that has the token, or needs none.
pub(super) async fn authorise(
    State(api): State<Arc<Api>>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let is_open = OPEN.contains(&path.as_str()) || path.as_str() == METRICS && is_local(&request);
    if is_open || bearer(request.headers()).and_then(|token| api.app.accounts.bearer(token)).is_some() {
        return next.run(request).await;
    }
    ApiError::Unauthorized.into_response()
}

fn is_local(request: &Request) -> bool {
    let peer = request.extensions().get::<Peer>();
    peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback())
        && !PROXY_HEADERS.iter().any(|name| request.headers().contains_key(*name))
}

/// The bearer token, if there is exactly one `Authorization` (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (sent.next(), sent.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn only_the_whole_token_in_one_header_is_accepted() {
        for (sent, accepted) in [
            (&["Bearer tdg_secret"] as &[&str], true),
            (&["bearer  tdg_secret "], true),
            (&["Bearer tdg_secre"], false),
            (&["Bearer tdg_secrets"], false),
            (&["Bearer"], false),
            (&["Bearer "], false),
            (&["tdg_secret"], false),
            (&["Basic tdg_secret"], false),
            (&["Bearer x", "Bearer tdg_secret"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in sent {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(bearer(&headers) == Some("tdg_secret"), accepted, "{sent:?}");
        }
    }

    #[test]
    fn only_this_machine_itself_is_local() {
        for (peer, header, local) in [
            ("127.0.0.1:1", None, true),
            ("127.8.8.8:1", None, true),
            ("[::1]:1", None, true),
            ("[::ffff:127.0.0.1]:1", None, true),
            ("192.168.0.1:1", None, false),
            ("[fe80::1]:1", None, false),
            ("127.0.0.1:1", Some("x-forwarded-for"), false),
            ("127.0.0.1:1", Some("forwarded"), false),
            ("127.0.0.1:1", Some("via"), false),
        ] {
            let mut request = Request::new(Body::empty());
            request.extensions_mut().insert(Peer(peer.parse().unwrap()));
            if let Some(name) = header {
                request.headers_mut().insert(name, HeaderValue::from_static("x"));
            }
            assert_eq!(is_local(&request), local, "{peer} {header:?}");
        }
    }
}
