//! What a request claims: the schemes by which senders sign.
//!
//! Sources: Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks), and
//! the senders' pages on how to verify what they send.

use std::borrow::Cow;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use hyper::HeaderMap;

use super::{SignatureError, print_of};
use crate::workflow::SignatureScheme;

/// A request's signatures, and what they are over.
pub(super) struct Claim<'a> {
    /// What is signed, in order.
    pub(super) signed: Vec<Cow<'a, [u8]>>,
    /// HMAC-SHA256 over it; one that fits is enough.
    pub(super) signatures: Vec<[u8; 32]>,
    /// When the sender signed it, in seconds since 1970, where that is signed.
    pub(super) timestamp: Option<i64>,
    /// The body as it was signed, where the signature brings its own copy.
    pub(super) signed_body: Option<Vec<u8>>,
    /// The delivery's id, where it is signed.
    id: Option<&'a str>,
}

impl<'a> Claim<'a> {
    /// Reads the claim of a request.
    ///
    /// # Errors
    /// A header is missing, or not what the scheme says.
    pub(super) fn read(
        scheme: SignatureScheme,
        headers: &'a HeaderMap,
        body: &'a [u8],
    ) -> Result<Self, SignatureError> {
        match scheme {
            SignatureScheme::Hrflow => hrflow(text(headers, scheme.header())?, body),
            SignatureScheme::StandardWebhooks => standard_webhooks(headers, body),
            SignatureScheme::Github => github(text(headers, scheme.header())?, body),
            SignatureScheme::Stripe => stripe(text(headers, scheme.header())?, body),
            SignatureScheme::Slack => slack(headers, body),
        }
    }

    fn new(signed: Vec<&'a [u8]>, signatures: Vec<[u8; 32]>) -> Self {
        let signed = signed.into_iter().map(Cow::Borrowed).collect();
        Self { signed, signatures, timestamp: None, signed_body: None, id: None }
    }

    /// What the delivery is known by: its signed id, or else all that is signed.
    pub(super) fn delivery(&self, scheme: SignatureScheme) -> String {
        let print = match self.id {
            Some(id) => print_of(&[b"id", id.as_bytes()]),
            None => print_of(&self.signed.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
        };
        format!("{scheme}:{print}")
    }
}

/// The only value of a header.
fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(SignatureError::Missing(name))?;
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(str::trim).ok_or(SignatureError::Malformed(name))
}

/// Seconds since 1970, in decimal digits and nothing else.
fn seconds(text: &str, header: &'static str) -> Result<i64, SignatureError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(SignatureError::Malformed(header))
}

fn hex(text: &str) -> Option<[u8; 32]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// HrFlow's three published variants: (1) `base64url(hex(HMAC(json))).base64url(json)`, (2)
/// `base64url(HMAC(base64url(json))).base64url(json)`, (3) `hex(HMAC(body))`. The first
/// two sign a copy of the body.
fn hrflow<'a>(header: &'a str, body: &'a [u8]) -> Result<Claim<'a>, SignatureError> {
    let malformed = || SignatureError::Malformed(SignatureScheme::Hrflow.header());
    let Some((signature, encoded)) = header.split_once('.') else {
        return Ok(Claim::new(vec![body], vec![hex(header).ok_or_else(malformed)?]));
    };
    let decode = |text: &str| BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes()).ok();
    let signature = decode(signature).ok_or_else(malformed)?;
    let json = decode(encoded).ok_or_else(malformed)?;
    let mut claim = match <[u8; 32]>::try_from(signature.as_slice()) {
        Ok(raw) => Claim::new(vec![encoded.as_bytes()], vec![raw]),
        Err(_) => {
            let text = std::str::from_utf8(&signature).ok().and_then(hex).ok_or_else(malformed)?;
            let signed = vec![Cow::Owned(json.clone())];
            Claim { signed, ..Claim::new(Vec::new(), vec![text]) }
        }
    };
    claim.signed_body = Some(json);
    Ok(claim)
}

/// `{webhook-id}.{webhook-timestamp}.{body}`, and a list of `v1,` and base64, divided by
/// spaces. Others of the list (asymmetric ones, `v1a`) are for those who can read them.
fn standard_webhooks<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Result<Claim<'a>, SignatureError> {
    // Svix, where the standard comes from, sends its own names still.
    let is_svix = !headers.contains_key("webhook-signature") && headers.contains_key("svix-signature");
    let [id, timestamp, signature] = if is_svix {
        ["svix-id", "svix-timestamp", "svix-signature"]
    } else {
        ["webhook-id", "webhook-timestamp", "webhook-signature"]
    };
    let list = text(headers, signature)?;
    let (id, sent) = (text(headers, id)?, text(headers, timestamp)?);
    let signatures = list.split(' ').filter_map(|one| one.strip_prefix("v1,"));
    let signatures = signatures.filter_map(|one| BASE64.decode(one.as_bytes()).ok()?.try_into().ok());
    let claim = Claim::new(
        vec![id.as_bytes(), b".", sent.as_bytes(), b".", body],
        at_least_one(signatures.collect(), signature)?,
    );
    Ok(Claim { timestamp: Some(seconds(sent, timestamp)?), id: Some(id), ..claim })
}

/// `sha256=` and hex, over the body.
fn github<'a>(header: &'a str, body: &'a [u8]) -> Result<Claim<'a>, SignatureError> {
    let signature = header.strip_prefix("sha256=").and_then(hex);
    let signature = signature.ok_or(SignatureError::Malformed(SignatureScheme::Github.header()))?;
    Ok(Claim::new(vec![body], vec![signature]))
}

/// `t=SECONDS,v1=HEX,...` over `{t}.{body}`; a `v1` for each secret while one rotates, and
/// `v0` of test events, which counts for nothing.
fn stripe<'a>(header: &'a str, body: &'a [u8]) -> Result<Claim<'a>, SignatureError> {
    let name = SignatureScheme::Stripe.header();
    let parts: Vec<(&str, &str)> = header.split(',').filter_map(|part| part.trim().split_once('=')).collect();
    let mut times = parts.iter().filter(|(key, _)| *key == "t").map(|(_, value)| *value);
    let (Some(sent), None) = (times.next(), times.next()) else {
        return Err(SignatureError::Malformed(name));
    };
    let signatures = parts.iter().filter(|(key, _)| *key == "v1").filter_map(|(_, value)| hex(value));
    let claim = Claim::new(vec![sent.as_bytes(), b".", body], at_least_one(signatures.collect(), name)?);
    Ok(Claim { timestamp: Some(seconds(sent, name)?), ..claim })
}

/// `v0=` and hex, over `v0:{x-slack-request-timestamp}:{body}`.
fn slack<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Result<Claim<'a>, SignatureError> {
    const TIMESTAMP: &str = "x-slack-request-timestamp";
    let name = SignatureScheme::Slack.header();
    let signature = text(headers, name)?.strip_prefix("v0=").and_then(hex);
    let signature = signature.ok_or(SignatureError::Malformed(name))?;
    let sent = text(headers, TIMESTAMP)?;
    let claim = Claim::new(vec![b"v0:", sent.as_bytes(), b":", body], vec![signature]);
    Ok(Claim { timestamp: Some(seconds(sent, TIMESTAMP)?), ..claim })
}

fn at_least_one(list: Vec<[u8; 32]>, header: &'static str) -> Result<Vec<[u8; 32]>, SignatureError> {
    if list.is_empty() { Err(SignatureError::Malformed(header)) } else { Ok(list) }
}

/// Whether two JSON texts are the same but for white space between their tokens. Nothing
/// more is forgiven: what two parsers could read differently is not the same.
pub(super) fn is_same_json(one: &[u8], other: &[u8]) -> bool {
    dense(one).eq(dense(other))
}

/// The bytes of a JSON text without the white space between its tokens.
fn dense(text: &[u8]) -> impl Iterator<Item = u8> {
    let (mut in_string, mut is_escaped) = (false, false);
    text.iter().copied().filter(move |byte| {
        if !in_string {
            in_string = *byte == b'"';
            return !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        }
        in_string = is_escaped || *byte != b'"';
        is_escaped = !is_escaped && *byte == b'\\';
        true
    })
}
