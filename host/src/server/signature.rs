//! Whether a request is signed by who says to have sent it: checked over the body as it
//! came, before any of the user's code runs.
//!
//! [`scheme`] reads what a request claims, in the way of each sender. Here the claim is
//! checked against the workflow's secrets: each signature that is claimed is compared with
//! each that is right, in constant time and without stopping at the first that fits, so
//! that how long a refusal takes says nothing of a secret. The answer says which check
//! failed, which a sender needs and a forger knows.

mod scheme;
#[cfg(test)]
mod tests;

use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

use self::scheme::Claim;
use crate::workflow::{Settings, Signature, SignatureScheme};

/// Most signatures of one request that are looked at.
const SIGNATURES_MAX: usize = 16;

/// Why a signed request is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// A header is not there.
    #[error("the request has no header {0}, which signs it")]
    Missing(&'static str),
    /// A header is there and cannot be read.
    #[error("the header {0} is not of the form that its scheme has")]
    Malformed(&'static str),
    /// The signed timestamp is too far from the host's clock.
    #[error("the signed timestamp is more than {tolerance_s} seconds from the host's clock")]
    Expired {
        /// The workflow's tolerance.
        tolerance_s: u32,
    },
    /// No signature fits any secret.
    #[error("no signature of the request fits")]
    Mismatch,
    /// There is nothing to check with, so nothing is taken.
    #[error("the workflow has no secret to check the signature with")]
    NoSecret {
        /// What is wrong, for the workflow's author.
        reason: String,
    },
}

impl SignatureError {
    /// The error as the workflow's people see it in the record: who calls need not know
    /// what its settings are called.
    pub(super) fn remark(&self) -> String {
        match self {
            SignatureError::NoSecret { reason } => format!("{self}: {reason}"),
            SignatureError::Missing(_)
            | SignatureError::Malformed(_)
            | SignatureError::Expired { .. }
            | SignatureError::Mismatch => self.to_string(),
        }
    }
}

/// Checks a request's signature. Returns what the delivery is known by, when the workflow
/// is to run it once: something that the sender signed, so that whoever sends a captured
/// request again cannot make another delivery of it.
///
/// # Errors
/// Which check failed.
pub(super) fn check(
    signature: &Signature,
    settings: &Settings,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Option<String>, SignatureError> {
    let claim = Claim::read(signature.scheme, headers, body)?;
    let secrets = secrets(signature, settings)?;
    if let Some(at) = claim.timestamp
        && at.abs_diff(now.as_second()) > u64::from(signature.tolerance_s)
    {
        return Err(SignatureError::Expired { tolerance_s: signature.tolerance_s });
    }
    let mut fits = Choice::from(0);
    for secret in &secrets {
        let right = right(secret, &claim);
        for claimed in claim.signatures.iter().take(SIGNATURES_MAX) {
            fits |= claimed.as_slice().ct_eq(&right);
        }
    }
    if !bool::from(fits) {
        return Err(SignatureError::Mismatch);
    }
    // Only now, that it is known to be the sender's: what it signs must be what it sent.
    if claim.signed_body.as_ref().is_some_and(|signed| !scheme::is_same_json(signed, body)) {
        return Err(SignatureError::Mismatch);
    }
    Ok(signature.runs_once().then(|| claim.delivery(signature.scheme)))
}

/// The signature that is right for what a request signs.
fn right(secret: &[u8], claim: &Claim<'_>) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    for part in &claim.signed {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The secrets that are set, decoded. An empty one would be a key that everybody has.
fn secrets(signature: &Signature, settings: &Settings) -> Result<Vec<Vec<u8>>, SignatureError> {
    let mut secrets = Vec::with_capacity(signature.secret_settings.len());
    let mut reason = "it names no setting".to_owned();
    for name in &signature.secret_settings {
        let text = settings.entries.get(name).map(|setting| serde_json::from_str(setting.value.expose()));
        let secret: String = match text {
            Some(Ok(text)) => text,
            Some(Err(_)) => {
                reason = format!("the setting {name:?} is no text");
                continue;
            }
            None => {
                reason = format!("the setting {name:?} is not set");
                continue;
            }
        };
        match key_of(signature.scheme, secret.trim()) {
            Some(key) if !key.is_empty() => secrets.push(key),
            Some(_) => reason = format!("the setting {name:?} is empty"),
            None => reason = format!("the setting {name:?} is not base64, as {} has it", signature.scheme),
        }
    }
    if secrets.is_empty() { Err(SignatureError::NoSecret { reason }) } else { Ok(secrets) }
}

/// The bytes that a secret stands for; `None` for a text that stands for none.
fn key_of(scheme: SignatureScheme, secret: &str) -> Option<Vec<u8>> {
    match scheme {
        SignatureScheme::StandardWebhooks => {
            let text = secret.strip_prefix("whsec_").unwrap_or(secret);
            data_encoding::BASE64.decode(text.as_bytes()).ok()
        }
        SignatureScheme::Hrflow
        | SignatureScheme::Github
        | SignatureScheme::Stripe
        | SignatureScheme::Slack => Some(secret.as_bytes().to_vec()),
    }
}

/// A short name for what is signed.
fn print_of(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    data_encoding::HEXLOWER.encode(&digest.finalize()[..16])
}
