//! The senders' own vectors, and everything that is nearly one of them.

use std::collections::BTreeMap;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::*;
use crate::workflow::{Setting, SettingWriter, Visibility};

/// A signed delivery; `vectors.py` makes them with the senders' libraries.
#[derive(Clone, Deserialize)]
struct Vector {
    name: String,
    scheme: SignatureScheme,
    secret: String,
    headers: BTreeMap<String, String>,
    body: String,
    at: i64,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn settings(list: &[(&str, &str)]) -> Settings {
    let setting = |text: &str| Setting {
        value: serde_json::value::to_raw_value(text).unwrap().into(),
        fingerprint: String::new(),
        visibility: Visibility::Secret,
        seal: None,
        updated_at: Timestamp::UNIX_EPOCH,
        updated_by: SettingWriter::User(None),
    };
    let entries = list.iter().map(|(name, text)| ((*name).to_owned(), setting(text))).collect();
    Settings::new(entries, Default::default())
}

fn policy(scheme: SignatureScheme) -> Signature {
    Signature { scheme, secret_settings: vec!["SECRET".to_owned()], tolerance_s: 300, once: None }
}

fn headers(list: &BTreeMap<String, String>) -> HeaderMap {
    let one = |(name, value): (&String, &String)| {
        (HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    list.iter().map(one).collect()
}

impl Vector {
    fn check_with(&self, policy: &Signature, late_s: i64) -> Result<Option<String>, SignatureError> {
        let now = Timestamp::from_second(self.at + late_s).unwrap();
        let settings = settings(&[("SECRET", &self.secret)]);
        check(policy, &settings, &headers(&self.headers), self.body.as_bytes(), now)
    }

    fn check(&self) -> Result<Option<String>, SignatureError> {
        self.check_with(&policy(self.scheme), 0)
    }
}

#[test]
fn what_the_senders_sign_is_taken() {
    let vectors = vectors();
    assert!(vectors.len() >= 20);
    for vector in vectors {
        let delivery = vector.check().unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(delivery.is_some(), vector.scheme != SignatureScheme::Hrflow, "{}", vector.name);
    }
}

#[test]
fn what_is_changed_in_any_byte_is_refused() {
    /// Parts of the vectors' headers that count for nothing.
    const DECOYS: [&str; 4] = [
        "v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39",
        "v1=0000000000000000000000000000000000000000000000000000000000000000,",
        "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= ",
        "v1a,abc ",
    ];
    let mut tried = 0;
    for vector in vectors() {
        for index in 0..vector.body.len() {
            let mut changed = vector.clone();
            let mut bytes = changed.body.into_bytes();
            bytes[index] = if bytes[index] == b'x' { b'y' } else { b'x' };
            changed.body = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(changed.check(), Err(SignatureError::Mismatch), "{} body {index}", vector.name);
            tried += 1;
        }
        for (name, value) in &vector.headers {
            for index in 0..value.len() {
                let is_decoy = DECOYS
                    .iter()
                    .any(|decoy| value.find(decoy).is_some_and(|at| (at..at + decoy.len()).contains(&index)));
                for byte in *b"Az09_" {
                    if is_decoy || value.as_bytes()[index].eq_ignore_ascii_case(&byte) {
                        continue;
                    }
                    let mut bytes = value.clone().into_bytes();
                    bytes[index] = byte;
                    let mut changed = vector.clone();
                    changed.headers.insert(name.clone(), String::from_utf8(bytes).unwrap());
                    let checked = changed.check();
                    assert!(checked.is_err(), "{} {name} {index}: {checked:?}", vector.name);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 5000, "only {tried}");
}

#[test]
fn another_secret_or_scheme_fits_nothing() {
    for vector in vectors() {
        for secret in ["whsec_AAAA", "QUFB", &vector.secret.to_uppercase()] {
            if secret == vector.secret {
                continue;
            }
            let other = Vector { secret: secret.to_owned(), ..vector.clone() };
            let refused = other.check().unwrap_err();
            assert!(
                matches!(refused, SignatureError::Mismatch | SignatureError::NoSecret { .. }),
                "{}: {refused}",
                vector.name
            );
        }
        for scheme in [SignatureScheme::Github, SignatureScheme::Stripe, SignatureScheme::Slack] {
            if scheme != vector.scheme {
                assert_eq!(
                    vector.check_with(&policy(scheme), 0),
                    Err(SignatureError::Missing(scheme.header())),
                    "{}",
                    vector.name
                );
            }
        }
    }
}

#[test]
fn signed_time_has_a_window_on_both_sides() {
    for vector in vectors().iter().filter(|vector| vector.scheme.signs_time()) {
        let policy = policy(vector.scheme);
        for late_s in [-300, 300] {
            assert!(vector.check_with(&policy, late_s).is_ok(), "{} {late_s}", vector.name);
        }
        for late_s in [-301, 301] {
            let expired = Err(SignatureError::Expired { tolerance_s: 300 });
            assert_eq!(vector.check_with(&policy, late_s), expired, "{} {late_s}", vector.name);
        }
    }
    for vector in vectors().iter().filter(|vector| !vector.scheme.signs_time()) {
        assert!(vector.check_with(&policy(vector.scheme), 1_000_000).is_ok(), "{}", vector.name);
    }
}

#[test]
fn secrets_rotate_without_a_gap() {
    let vector = vectors().into_iter().find(|vector| vector.scheme == SignatureScheme::Github).unwrap();
    let now = Timestamp::from_second(vector.at).unwrap();
    let names = ["NEW", "OLD", "GONE"].map(str::to_owned).to_vec();
    let policy = Signature { secret_settings: names, ..policy(SignatureScheme::Github) };
    let check = |list: &[(&str, &str)]| {
        check(&policy, &settings(list), &headers(&vector.headers), vector.body.as_bytes(), now)
    };
    assert!(check(&[("NEW", "other"), ("OLD", &vector.secret)]).is_ok());
    assert!(check(&[("NEW", &vector.secret), ("OLD", "other")]).is_ok());
    assert_eq!(check(&[("NEW", "other")]), Err(SignatureError::Mismatch));
}

#[test]
fn without_a_secret_nothing_is_taken() {
    // Whoever knows that a secret is empty can sign with it.
    let body = b"{}";
    let forged = hmac_hex(b"", body);
    let mut map = HeaderMap::new();
    map.insert("x-hub-signature-256", HeaderValue::from_str(&format!("sha256={forged}")).unwrap());
    let refused = |settings: &Settings| {
        check(&policy(SignatureScheme::Github), settings, &map, body, Timestamp::now()).unwrap_err()
    };
    for (list, reason) in [
        (vec![], "\"SECRET\" is not set"),
        (vec![("SECRET", "")], "\"SECRET\" is empty"),
        (vec![("SECRET", "  ")], "\"SECRET\" is empty"),
    ] {
        let error = refused(&settings(&list));
        assert!(error.remark().contains(reason), "{}", error.remark());
        assert!(!error.to_string().contains("SECRET"), "callers are not told what settings are called");
    }
    let mut number = settings(&[("SECRET", "")]);
    let value = serde_json::value::to_raw_value(&1).unwrap();
    number.entries.get_mut("SECRET").unwrap().value = value.into();
    assert!(refused(&number).remark().contains("is no text"));
}

fn hmac_hex(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(body);
    data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
}

#[test]
fn headers_that_are_nearly_right_are_malformed() {
    let hex = "0".repeat(64);
    for (scheme, name, value) in [
        (SignatureScheme::Github, "x-hub-signature-256", hex.clone()),
        (SignatureScheme::Github, "x-hub-signature-256", format!("sha1={hex}")),
        (SignatureScheme::Github, "x-hub-signature-256", "sha256=".to_owned()),
        (SignatureScheme::Github, "x-hub-signature-256", format!("sha256={hex}00")),
        (SignatureScheme::Stripe, "stripe-signature", format!("v1={hex}")),
        (SignatureScheme::Stripe, "stripe-signature", format!("t=1,t=2,v1={hex}")),
        (SignatureScheme::Stripe, "stripe-signature", "t=1".to_owned()),
        (SignatureScheme::Stripe, "stripe-signature", format!("t=1,v0={hex}")),
        (SignatureScheme::Stripe, "stripe-signature", format!("t=-1,v1={hex}")),
        (SignatureScheme::Stripe, "stripe-signature", format!("t=99999999999999999999,v1={hex}")),
        (SignatureScheme::Slack, "x-slack-signature", format!("v1={hex}")),
        (SignatureScheme::Hrflow, "http-hrflow-signature", "a.b".to_owned()),
        (SignatureScheme::Hrflow, "http-hrflow-signature", ".".to_owned()),
        (SignatureScheme::Hrflow, "http-hrflow-signature", String::new()),
    ] {
        let mut map = HeaderMap::new();
        map.insert(name, HeaderValue::from_str(&value).unwrap());
        let checked = check(
            &policy(scheme),
            &settings(&[("SECRET", "s")]),
            &map,
            b"{}",
            Timestamp::from_second(1).unwrap(),
        );
        assert_eq!(checked, Err(SignatureError::Malformed(name)), "{value}");
    }
    // Two headers are two claims: proxies and applications take different ones.
    let vector = vectors().into_iter().find(|vector| vector.scheme == SignatureScheme::Github).unwrap();
    let mut map = headers(&vector.headers);
    map.append("x-hub-signature-256", HeaderValue::from_static("sha256=00"));
    let policy = policy(SignatureScheme::Github);
    let settings = settings(&[("SECRET", &vector.secret)]);
    let checked = check(&policy, &settings, &map, vector.body.as_bytes(), Timestamp::now());
    assert_eq!(checked, Err(SignatureError::Malformed("x-hub-signature-256")));
}

#[test]
fn delivery_is_known_by_what_is_signed() {
    let of = |scheme| vectors().into_iter().filter(move |vector: &Vector| vector.scheme == scheme);
    // A webhook that is sent again has the same id, a new time and a new signature.
    let ids: Vec<_> =
        of(SignatureScheme::StandardWebhooks).map(|vector| vector.check().unwrap().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "all of them have one id: {ids:?}");
    // What is not signed makes no other delivery.
    for vector in of(SignatureScheme::Github) {
        let mut other = vector.clone();
        other.headers.insert("X-GitHub-Delivery".to_owned(), "new".to_owned());
        assert_eq!(other.check().unwrap(), vector.check().unwrap());
    }
    let once = Signature { once: Some(true), ..policy(SignatureScheme::Hrflow) };
    let kept = |vector: &Vector| vector.check_with(&once, 0).unwrap().unwrap();
    let hrflow: Vec<String> = of(SignatureScheme::Hrflow).map(|vector| kept(&vector)).collect();
    assert!(hrflow.iter().all(|delivery| delivery.starts_with("hrflow:")));
    let never = Signature { once: Some(false), ..policy(SignatureScheme::Github) };
    assert_eq!(of(SignatureScheme::Github).next().unwrap().check_with(&never, 0), Ok(None));
}

#[test]
fn json_is_the_same_but_for_white_space_between_tokens() {
    for (one, other) in [
        (r#"{"a": 1, "b": [1, 2]}"#, r#"{"a":1,"b":[1,2]}"#),
        ("{\"a\" :\t\"x \\\" y\"\r\n}", r#"{"a":"x \" y"}"#),
        (r#"{"a":"\\" , "b":1}"#, r#"{"a":"\\","b":1}"#),
    ] {
        assert!(scheme::is_same_json(one.as_bytes(), other.as_bytes()), "{one}");
    }
    for (one, other) in [
        (r#"{"a":"x y"}"#, r#"{"a":"xy"}"#),
        (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
        (r#"{"a":1}"#, r#"{"a":1,"a":1}"#),
        (r#"{"a":"\\ "}"#, r#"{"a":"\\"}"#),
        (r#"{"a":1}"#, r#"{"a":1.0}"#),
    ] {
        assert!(!scheme::is_same_json(one.as_bytes(), other.as_bytes()), "{one}");
    }
}
