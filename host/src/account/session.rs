//! Sessions of browsers, and links that begin one.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::UserId;
use crate::workflow::Digest;

/// By what a user proved to be who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignInMeans {
    /// The password.
    Password,
    /// A link that worked once: its user may set a password without the old one.
    OneTimeLink,
    /// The sign-in provider.
    Oidc,
}

/// Who somebody is at a sign-in provider. Names and addresses change there, and are given to
/// others; this is not (OpenID Connect Core 1.0, section 5.7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// What it calls its user, for ever; 1 to 255 bytes.
    pub subject: String,
}

/// A session as it is stored: everything but its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// SHA-256 of the id that the browser has; names the session.
    pub digest: Digest,
    /// Whose rights it has.
    pub user: UserId,
    /// By what it was begun.
    pub means: SignInMeans,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it was used last, to within a few minutes.
    pub seen_at: Timestamp,
    /// When its user proved again to be who it is; `None` when only at its beginning.
    #[serde(default)]
    pub proven_at: Option<Timestamp>,
}

impl Session {
    /// When its user proved last to be who it is.
    pub fn proven_at(&self) -> Timestamp {
        self.proven_at.unwrap_or(self.created_at)
    }

    /// Whether it goes on at this moment: not longer than `idle` without a request, and not
    /// longer than `absolute` at all.
    pub fn is_valid(&self, now: Timestamp, idle: SignedDuration, absolute: SignedDuration) -> bool {
        now.duration_since(self.seen_at) < idle && now.duration_since(self.created_at) < absolute
    }
}

/// A link by which a user signs in once, as it is stored: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimeLink {
    /// SHA-256 of its secret; names the link.
    pub digest: Digest,
    /// Who signs in by it.
    pub user: UserId,
    /// From when on it does not work.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ends_when_it_is_idle_or_old() {
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let (idle, absolute) = (SignedDuration::from_hours(12), SignedDuration::from_hours(7 * 24));
        let session = |created, seen| Session {
            digest: Digest::of(b""),
            user: UserId::new(),
            means: SignInMeans::Password,
            created_at: at(created),
            seen_at: at(seen),
            proven_at: None,
        };
        assert!(session(0, 0).is_valid(at(11), idle, absolute));
        assert!(!session(0, 0).is_valid(at(12), idle, absolute));
        assert!(session(0, 160).is_valid(at(167), idle, absolute));
        assert!(!session(0, 167).is_valid(at(168), idle, absolute));
    }
}
