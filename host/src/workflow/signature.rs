//! How the senders of webhooks sign what they send to a workflow.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most settings with secrets of one workflow: the current one, and those that rotate out.
pub const SIGNATURE_SECRETS_MAX: usize = 8;
/// Widest window for a signed timestamp, in seconds: a day.
pub const SIGNATURE_TOLERANCE_S_MAX: u32 = 24 * 3600;

/// Which requests a catch workflow takes: those that are signed with one of its secrets.
/// Others are answered 401 before any of the user's code runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Who signs, and how.
    pub scheme: SignatureScheme,
    /// The settings that hold the secrets, 1 to 8; one that fits is enough, so that a
    /// secret can be replaced without a gap. Each is a text as the sender shows it; one
    /// that is not set fits nothing.
    pub secret_settings: Vec<String>,
    /// How far the signed timestamp may be from the host's clock, in seconds, either way; 1
    /// to 86400. Without meaning for schemes that sign no timestamp (`hrflow`, `github`).
    #[serde(default = "default_tolerance_s")]
    pub tolerance_s: u32,
    /// Whether a delivery that succeeded is never run again, however often it is sent: the
    /// repetition gets the first one's reply. Left out: yes, but for `hrflow`, whose events
    /// have no identity, so that two of them can be the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<bool>,
}

fn default_tolerance_s() -> u32 {
    300
}

/// The signature schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureScheme {
    /// HrFlow.ai: `HTTP-HRFLOW-SIGNATURE`, in any of its three published variants
    Hrflow,
    /// Standard Webhooks, version 1 with a shared secret: `webhook-signature`
    StandardWebhooks,
    /// GitHub: `X-Hub-Signature-256`
    Github,
    /// Stripe: `Stripe-Signature`
    Stripe,
    /// Slack: `X-Slack-Signature`
    Slack,
}

impl Signature {
    /// Whether a delivery that succeeded is never run again.
    pub fn runs_once(&self) -> bool {
        self.once.unwrap_or(self.scheme != SignatureScheme::Hrflow)
    }
}

impl SignatureScheme {
    /// The scheme as one word.
    pub fn word(self) -> &'static str {
        match self {
            SignatureScheme::Hrflow => "hrflow",
            SignatureScheme::StandardWebhooks => "standard-webhooks",
            SignatureScheme::Github => "github",
            SignatureScheme::Stripe => "stripe",
            SignatureScheme::Slack => "slack",
        }
    }

    /// The header that carries the signature.
    pub fn header(self) -> &'static str {
        match self {
            SignatureScheme::Hrflow => "http-hrflow-signature",
            SignatureScheme::StandardWebhooks => "webhook-signature",
            SignatureScheme::Github => "x-hub-signature-256",
            SignatureScheme::Stripe => "stripe-signature",
            SignatureScheme::Slack => "x-slack-signature",
        }
    }

    /// Whether the moment of sending is signed.
    pub fn signs_time(self) -> bool {
        match self {
            SignatureScheme::Hrflow | SignatureScheme::Github => false,
            SignatureScheme::StandardWebhooks | SignatureScheme::Stripe | SignatureScheme::Slack => true,
        }
    }
}

impl fmt::Display for SignatureScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
