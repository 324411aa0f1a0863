//! What an ID token claims: the checks of OpenID Connect Core 1.0 (section 3.1.3.7), and
//! what follows from it for the user's account here.

use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::flows::Flow;
use super::{External, OidcError, Purpose};
use crate::account::{Identity, Role};
use crate::config;

type Claims = Map<String, Value>;

/// Longest subject (OpenID Connect Core 1.0, section 2).
const SUBJECT_BYTES_MAX: usize = 255;

/// Checks for whom, by whom and when a token was made. Its signature was checked before.
///
/// # Errors
/// [`OidcError::Token`], with what is wrong.
pub(super) fn check(
    claims: &Claims,
    config: &config::Oidc,
    flow: &Flow,
    now_s: i64,
) -> Result<(), OidcError> {
    let refuse = |reason| Err(OidcError::Token(reason));
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let seconds = |name: &str| claims.get(name).and_then(whole_seconds);
    let skew = i64::from(config.clock_skew_s);
    if text("iss") != Some(config.issuer.as_str()) {
        return refuse("it is another issuer's");
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&config.client_id.as_str()) {
        return refuse("it is for another application");
    }
    match claims.get("azp") {
        None if audience.len() > 1 => return refuse("it is for several applications and names none"),
        Some(party) if party.as_str() != Some(config.client_id.as_str()) => {
            return refuse("it was given to another application");
        }
        _ => {}
    }
    let Some(expires) = seconds("exp") else { return refuse("it says not when it expires") };
    if now_s >= expires.saturating_add(skew) {
        return refuse("it has expired; check the clocks of both machines");
    }
    let Some(issued) = seconds("iat") else { return refuse("it says not when it was made") };
    if issued > now_s.saturating_add(skew) {
        return refuse("it was made in the future; check the clocks of both machines");
    }
    if issued < flow.began_at_s.saturating_sub(skew) {
        return refuse("it was made before this sign-in began");
    }
    if claims.contains_key("nbf") && seconds("nbf").is_none_or(|from| from > now_s.saturating_add(skew)) {
        return refuse("it is not valid yet");
    }
    let nonce = text("nonce").unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(flow.nonce.as_bytes())) {
        return refuse("it belongs to another sign-in");
    }
    if matches!(flow.purpose, Purpose::Again { .. })
        && seconds("auth_time").is_none_or(|at| at < flow.began_at_s.saturating_sub(skew))
    {
        return refuse("the provider did not ask its user to sign in again");
    }
    match text("sub") {
        Some(subject) if (1..=SUBJECT_BYTES_MAX).contains(&subject.len()) => Ok(()),
        _ => refuse("it names no subject"),
    }
}

/// A NumericDate (RFC 7519, section 2): some providers write a fraction.
fn whole_seconds(value: &Value) -> Option<i64> {
    // Saturates at the ends, which are refused or never reached.
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

/// What a token that was checked means here.
///
/// # Errors
/// [`OidcError::NotAdmitted`].
pub(super) fn external(claims: &Claims, config: &config::Oidc) -> Result<External, OidcError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::trim);
    let is_verified = match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(verified)) => verified == "true",
        _ => false,
    };
    let email = text("email").filter(|_| is_verified).map(str::to_lowercase);
    if !config.allowed_domains.is_empty() {
        let domain = email.as_deref().and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
        if !domain
            .is_some_and(|domain| config.allowed_domains.iter().any(|one| one.eq_ignore_ascii_case(domain)))
        {
            return Err(OidcError::NotAdmitted(
                "its verified e-mail address is in none of the allowed domains",
            ));
        }
    }
    let groups = groups(claims, &config.groups_claim);
    let is_in = |list: &[String]| list.iter().any(|one| groups.contains(&one.as_str()));
    if !config.allowed_groups.is_empty() && !is_in(&config.allowed_groups) {
        return Err(OidcError::NotAdmitted("it is in none of the allowed groups"));
    }
    let role = match config.admin_groups.as_slice() {
        [] => None,
        admins if is_in(admins) => Some(Role::Admin),
        _ => Some(Role::Member),
    };
    let login = match config.login_claim.as_str() {
        // One that is not verified is somebody's word.
        "email" => email.clone(),
        claim => text(claim).map(str::to_lowercase),
    };
    let identity = Identity {
        issuer: config.issuer.clone(),
        subject: claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned(),
    };
    Ok(External {
        identity,
        login,
        verified_email: email.filter(|_| config.link_verified_email),
        name: text("name").unwrap_or_default().to_owned(),
        role,
        may_create: config.create_users,
    })
}

/// The texts of a claim, which may lie inside others: `realm_access.roles`.
fn groups<'a>(claims: &'a Claims, path: &str) -> Vec<&'a str> {
    let whole = claims.get(path);
    let inner = || {
        let mut parts = path.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    };
    match whole.or_else(inner) {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::super::flows::Flows;
    use super::*;
    use crate::config::Config;
    use crate::workflow::Digest;

    const NOW: i64 = 1_800_000_000;

    fn config() -> config::Oidc {
        let mut config = Config::defaults().oidc;
        config.issuer = "https://id.example".to_owned();
        config.client_id = "us".to_owned();
        config
    }

    fn flow(purpose: Purpose) -> Flow {
        let mut flow = Flows::new().begin("b", "/", purpose, Instant::now()).1;
        (flow.nonce, flow.began_at_s) = ("n".to_owned(), NOW);
        flow
    }

    fn claims(changes: Value) -> Claims {
        let mut claims = json!({
            "iss": "https://id.example", "aud": "us", "sub": "7", "nonce": "n", "exp": NOW + 300, "iat": NOW,
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims.as_object().unwrap().clone()
    }

    fn refusal(changes: Value) -> Option<&'static str> {
        match check(&claims(changes), &config(), &flow(Purpose::SignIn), NOW) {
            Ok(()) => None,
            Err(OidcError::Token(reason)) => Some(reason),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_claim_is_checked_at_both_sides_of_its_edge() {
        for (changes, refused) in [
            (json!({}), ""),
            (json!({ "iss": "https://id.example/" }), "another issuer"),
            (json!({ "iss": null }), "another issuer"),
            (json!({ "aud": "them" }), "another application"),
            (json!({ "aud": null }), "another application"),
            (json!({ "aud": ["us"] }), ""),
            (json!({ "aud": ["us", "them"] }), "several applications"),
            (json!({ "aud": ["us", "them"], "azp": "us" }), ""),
            (json!({ "aud": ["us", "them"], "azp": "them" }), "given to another"),
            (json!({ "azp": "them" }), "given to another"),
            (json!({ "azp": 7 }), "given to another"),
            (json!({ "exp": NOW - 59 }), ""),
            (json!({ "exp": NOW - 60 }), "expired"),
            (json!({ "exp": null }), "not when it expires"),
            (json!({ "exp": "soon" }), "not when it expires"),
            (json!({ "exp": 1e300 }), ""),
            (json!({ "iat": NOW + 60 }), ""),
            (json!({ "iat": NOW + 61 }), "in the future"),
            (json!({ "iat": NOW - 60 }), ""),
            (json!({ "iat": NOW - 61 }), "before this sign-in"),
            (json!({ "iat": null }), "not when it was made"),
            (json!({ "nbf": NOW + 60 }), ""),
            (json!({ "nbf": NOW + 61 }), "not valid yet"),
            (json!({ "nbf": "x" }), "not valid yet"),
            (json!({ "nonce": "m" }), "another sign-in"),
            (json!({ "nonce": null }), "another sign-in"),
            (json!({ "sub": "" }), "no subject"),
            (json!({ "sub": "x".repeat(256) }), "no subject"),
            (json!({ "sub": "x".repeat(255) }), ""),
            (json!({ "sub": 7 }), "no subject"),
        ] {
            match refusal(changes.clone()) {
                None => assert_eq!(refused, "", "{changes}"),
                Some(reason) => {
                    assert!(!refused.is_empty() && reason.contains(refused), "{changes}: {reason}")
                }
            }
        }
    }

    #[test]
    fn signing_in_again_needs_a_fresh_sign_in_at_the_provider() {
        let flow = flow(Purpose::Again { session: Digest::of(b"s") });
        let ok = |changes| check(&claims(changes), &config(), &flow, NOW).is_ok();
        assert!(ok(json!({ "auth_time": NOW })) && ok(json!({ "auth_time": NOW - 60 })));
        assert!(!ok(json!({ "auth_time": NOW - 61 })) && !ok(json!({})));
    }

    #[test]
    fn domains_groups_and_roles_follow_from_claims() {
        let with = |change: fn(&mut config::Oidc), changes: Value| {
            let mut config = config();
            change(&mut config);
            external(&claims(changes), &config)
        };
        let domains = |config: &mut config::Oidc| config.allowed_domains = vec!["Example.org".to_owned()];
        for (changes, admitted) in [
            (json!({ "email": "a@example.org", "email_verified": true }), true),
            (json!({ "email": "A@EXAMPLE.ORG", "email_verified": "true" }), true),
            (json!({ "email": "a@example.org", "email_verified": false }), false),
            (json!({ "email": "a@example.org" }), false),
            (json!({ "email": "a@sub.example.org", "email_verified": true }), false),
            (json!({ "email": "a@example.org@evil.example", "email_verified": true }), false),
            (json!({}), false),
        ] {
            assert_eq!(with(domains, changes.clone()).is_ok(), admitted, "{changes}");
        }
        let groups = |config: &mut config::Oidc| {
            config.allowed_groups = vec!["staff".to_owned(), "ops".to_owned()];
            config.admin_groups = vec!["ops".to_owned()];
        };
        assert!(with(groups, json!({})).is_err() && with(groups, json!({ "groups": ["staf"] })).is_err());
        assert_eq!(with(groups, json!({ "groups": ["staff"] })).unwrap().role, Some(Role::Member));
        assert_eq!(with(groups, json!({ "groups": "ops" })).unwrap().role, Some(Role::Admin));
        let nested = |config: &mut config::Oidc| {
            config.groups_claim = "realm_access.roles".to_owned();
            config.admin_groups = vec!["ops".to_owned()];
        };
        let roles = json!({ "realm_access": { "roles": ["ops"] } });
        assert_eq!(with(nested, roles).unwrap().role, Some(Role::Admin));
        assert_eq!(with(|_| (), json!({})).unwrap().role, None);
    }

    #[test]
    fn an_address_that_is_not_verified_names_nobody() {
        let mut config = config();
        config.link_verified_email = true;
        let of = |changes| external(&claims(changes), &config).unwrap();
        let known = of(json!({ "email": "Ada@Example.org", "email_verified": true, "name": " Ada " }));
        assert_eq!(known.login.as_deref(), Some("ada@example.org"));
        assert_eq!(known.verified_email, known.login);
        assert_eq!(known.name, "Ada");
        let unknown = of(json!({ "email": "ada@example.org", "email_verified": false }));
        assert_eq!((unknown.login, unknown.verified_email), (None, None));
        config.link_verified_email = false;
        config.login_claim = "preferred_username".to_owned();
        let named = external(
            &claims(json!({ "preferred_username": "Ada", "email": "a@b", "email_verified": true })),
            &config,
        );
        let named = named.unwrap();
        assert_eq!((named.login.as_deref(), named.verified_email), (Some("ada"), None));
    }
}
