//! Who asks: by a bearer token, a session's cookie, or a password where one signs in.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::request::Parts;
use hyper::header::{self, HeaderMap};

use super::access::Rule;
use super::{Api, ApiError, Client, Peer};
use crate::account::{Account, Actor, Scopes, Via};
use crate::accounts::{COOKIE, COOKIE_LOOPBACK};

/// Routes that anybody may ask: they tell nothing about workflows.
pub(super) const OPEN: [&str; 5] = ["/", "/healthz", "/readyz", "/api/v1/openapi.json", "/api/v1/sign-in"];
/// The route that programs on this machine may ask.
pub(super) const METRICS: &str = "/metrics";
/// The route by which one signs in. Its handler reads the credentials.
pub(super) const SIGN_IN: (&str, &str) = ("POST", "/api/v1/session");
/// The route that makes a token; a password is enough for it.
const NEW_TOKEN: (&str, &str) = ("POST", "/api/v1/tokens");

/// Headers by which a proxy tells that a request is not its own. A request with one
/// comes from elsewhere, wherever its connection comes from.
const PROXY_HEADERS: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// What a request says of who sent it.
pub(super) enum Credentials<'a> {
    /// `Authorization: Bearer` (RFC 6750).
    Bearer(&'a str),
    /// `Authorization: Basic` (RFC 7617).
    Password { login: String, password: String },
    /// The cookie of a session.
    Cookie(&'a str),
}

/// Who sent a request; nobody when it says nothing of that, or nothing that is true.
///
/// # Errors
/// A cookie on a request that another site may have made a browser send; a password that is
/// wrong, where one is taken.
pub(super) async fn actor(api: &Arc<Api>, rule: &Rule, request: &Parts) -> Result<Actor, ApiError> {
    let accounts = &api.app.accounts;
    let found = match credentials(request) {
        None => None,
        Some(Credentials::Bearer(token)) => accounts.bearer(token),
        Some(Credentials::Cookie(cookie)) => {
            let actor = accounts.session(cookie);
            if actor.is_some() && !request.method.is_safe() && !is_same_origin(&request.headers) {
                return Err(ApiError::CrossOrigin);
            }
            actor
        }
        Some(Credentials::Password { login, password }) if (rule.0, rule.1) == NEW_TOKEN => {
            let user = accounts.check_password(&login, &password, address(request)).await?;
            let (login, role, scopes) = (user.login.clone(), user.role, Scopes::ALL);
            Some(Actor::Account(Account { user: user.id, login, role, scopes, via: Via::Password }))
        }
        Some(Credentials::Password { .. }) => None,
    };
    Ok(found.unwrap_or(Actor::Anonymous))
}

/// What a request says of who sent it. A header wins over a cookie; several headers are
/// none.
pub(super) fn credentials(request: &Parts) -> Option<Credentials<'_>> {
    let headers = &request.headers;
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = sent.next() else { return session_cookie(request).map(Credentials::Cookie) };
    if sent.next().is_some() {
        return None;
    }
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    let text = text.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Bearer(text));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(data_encoding::BASE64.decode(text.as_bytes()).ok()?).ok()?;
    let (login, password) = pair.split_once(':')?;
    Some(Credentials::Password { login: login.to_owned(), password: password.to_owned() })
}

/// The value of the session's cookie.
pub(in crate::server) fn session_cookie(request: &Parts) -> Option<&str> {
    let names = if is_local(request) { &[COOKIE, COOKIE_LOOPBACK][..] } else { &[COOKIE] };
    names.iter().find_map(|name| cookie(&request.headers, name))
}

/// The value of the cookie of this name, if there is exactly one.
pub(in crate::server) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Whether no other site made a browser send this (Fetch metadata, RFC 6454). A request
/// that says neither where it is from is of no browser that has cookies.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// Whether a request comes from this machine itself.
pub(in crate::server) fn is_local(request: &Parts) -> bool {
    let peer = request.extensions.get::<Peer>();
    peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback())
        && !PROXY_HEADERS.iter().any(|name| request.headers.contains_key(*name))
}

/// Where a request comes from: its connection's other end, or who one of `server.trusted_proxies`
/// says that it is. What any other proxy says is not taken on trust.
pub(in crate::server) fn address(request: &Parts) -> IpAddr {
    request.extensions.get::<Client>().map_or(IpAddr::from([0, 0, 0, 0]), |client| client.0)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn request(peer: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = axum::http::Request::new(());
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
        }
        request.into_parts().0
    }

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
            let headers: Vec<_> = sent.iter().map(|value| ("authorization", *value)).collect();
            let request = request("127.0.0.1:1", &headers);
            let found = matches!(credentials(&request), Some(Credentials::Bearer("tdg_secret")));
            assert_eq!(found, accepted, "{sent:?}");
        }
    }

    #[test]
    fn passwords_are_taken_as_they_are() {
        for (sent, expected) in [
            ("Basic YWRhOmE6Yg==", Some(("ada", "a:b"))),
            ("basic YWRhOg==", Some(("ada", ""))),
            ("Basic YWRh", None),
            ("Basic %", None),
            ("Basic /w==", None),
        ] {
            let request = request("127.0.0.1:1", &[("authorization", sent)]);
            let found = match credentials(&request) {
                Some(Credentials::Password { login, password }) => Some((login, password)),
                _ => None,
            };
            let expected = expected.map(|(login, password)| (login.to_owned(), password.to_owned()));
            assert_eq!(found, expected, "{sent}");
        }
    }

    #[test]
    fn one_cookie_of_the_right_name_counts_and_a_header_wins() {
        for (peer, headers, expected) in [
            ("10.0.0.1:1", &[("cookie", "a=b; __Host-tidegate=x; c=d")] as &[_], Some("x")),
            ("10.0.0.1:1", &[("cookie", "a=b"), ("cookie", "__Host-tidegate=x")], Some("x")),
            ("10.0.0.1:1", &[("cookie", "__Host-tidegate=x; __Host-tidegate=y")], None),
            ("10.0.0.1:1", &[("cookie", "x__Host-tidegate=x")], None),
            ("10.0.0.1:1", &[("cookie", "tidegate-loopback=x")], None),
            ("127.0.0.1:1", &[("cookie", "tidegate-loopback=x")], Some("x")),
            ("127.0.0.1:1", &[("cookie", "tidegate-loopback=x"), ("via", "p")], None),
            ("10.0.0.1:1", &[("cookie", "__Host-tidegate=x"), ("authorization", "y")], None),
        ] {
            let request = request(peer, headers);
            let found = match credentials(&request) {
                Some(Credentials::Cookie(value)) => Some(value),
                _ => None,
            };
            assert_eq!(found, expected, "{headers:?}");
        }
    }

    #[test]
    fn what_another_site_sends_is_not_of_the_same_origin() {
        for (headers, expected) in [
            (&[("sec-fetch-site", "same-origin")] as &[_], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://h"), ("host", "h")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "https://h:1"), ("host", "h:1")], true),
            (&[("origin", "https://h:1"), ("host", "h")], false),
            (&[("origin", "null"), ("host", "h")], false),
            (&[("origin", "http://h.evil"), ("host", "h")], false),
            (&[], true),
        ] {
            assert_eq!(is_same_origin(&request("10.0.0.1:1", headers).headers), expected, "{headers:?}");
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
            let headers: Vec<_> = header.map(|name| (name, "x")).into_iter().collect();
            assert_eq!(is_local(&request(peer, &headers)), local, "{peer} {header:?}");
        }
    }
}
