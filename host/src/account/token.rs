//! Tokens: what programs use the host with, on behalf of a user.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::UserId;
use crate::workflow::{Digest, id128};

id128! {
    /// Names a token; no secret.
    TokenId
}

/// A part of its user's rights that a token can have. None includes another.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See workflows, runs, logs, statistics.
    Read,
    /// Run workflows: test runs, replays, redrives, cancelling.
    Run,
    /// Create, deploy, change, share and archive workflows, and their settings.
    Write,
    /// The user's own tokens, sessions and password.
    Account,
    /// What the role admin adds: other users' workflows, users, the host. Without it an
    /// admin's token has the rights of a member.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Scope; 5] = [Scope::Read, Scope::Run, Scope::Write, Scope::Account, Scope::Admin];

    /// The word in the API and in files.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Run => "run",
            Scope::Write => "write",
            Scope::Account => "account",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A set of scopes; a list of words in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope: what a session has.
    pub const ALL: Scopes = Scopes(0b1_1111);

    const fn bit(scope: Scope) -> u8 {
        match scope {
            Scope::Read => 1,
            Scope::Run => 1 << 1,
            Scope::Write => 1 << 2,
            Scope::Account => 1 << 3,
            Scope::Admin => 1 << 4,
        }
    }

    /// Whether the scope is in the set.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & Self::bit(scope) != 0
    }

    /// Whether every scope of `other` is in the set.
    pub fn contains_all(self, other: Scopes) -> bool {
        other.0 & !self.0 == 0
    }

    /// The set without a scope.
    #[must_use]
    pub fn without(self, scope: Scope) -> Self {
        Self(self.0 & !Self::bit(scope))
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes, in their order.
    pub fn list(self) -> Vec<Scope> {
        Scope::ALL.into_iter().filter(|scope| self.contains(*scope)).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | Self::bit(scope)))
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.list()
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.list()).finish()
    }
}

/// A token as it is stored: everything but the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Names it.
    pub id: TokenId,
    /// Whose rights it has.
    pub user: UserId,
    /// SHA-256 of the token.
    pub digest: Digest,
    /// What it is for, for people, at most 200 bytes.
    pub label: String,
    /// Which of the user's rights it has.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it does not work; `None` for never.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// From when on it does not work because somebody said so.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, to within ten minutes.
    #[serde(default)]
    pub used_at: Option<Timestamp>,
}

impl Token {
    /// Whether it works at this moment, as far as it says itself.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_set_of_words() {
        let scopes: Scopes = [Scope::Run, Scope::Read, Scope::Run].into_iter().collect();
        assert_eq!(serde_json::to_string(&scopes).unwrap(), r#"["read","run"]"#);
        assert_eq!(serde_json::from_str::<Scopes>(r#"["run","read"]"#).unwrap(), scopes);
        assert_eq!(Scope::ALL.into_iter().collect::<Scopes>(), Scopes::ALL);
        assert!(Scopes::ALL.contains_all(scopes) && !scopes.contains_all(Scopes::ALL));
        assert!(!Scopes::ALL.without(Scope::Admin).contains(Scope::Admin));
    }

    #[test]
    fn token_works_until_it_expires_or_is_revoked() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let token = Token {
            id: TokenId::new(),
            user: UserId::new(),
            digest: Digest::of(b""),
            label: String::new(),
            scopes: Scopes::ALL,
            created_at: at(0),
            expires_at: Some(at(10)),
            revoked_at: None,
            used_at: None,
        };
        assert!(token.is_valid(at(9)) && !token.is_valid(at(10)));
        assert!(!Token { revoked_at: Some(at(5)), ..token.clone() }.is_valid(at(9)));
        assert!(Token { expires_at: None, ..token }.is_valid(at(1 << 36)));
    }
}
