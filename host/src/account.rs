//! Accounts: users, tokens, sessions, and the one rule of who may do what.
//!
//! Nothing here does IO. [`crate::store`] keeps these values, [`crate::accounts`] serves
//! them from memory, and [`authorize()`] decides, for the management API and the console
//! alike.

mod actor;
mod authorize;
mod secret;
mod session;
mod token;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::actor::{Account, Actor, Via};
pub use self::authorize::{Action, Decision, Object, Relation, authorize};
pub use self::secret::{Secret, SecretKind};
pub use self::session::{Identity, OneTimeLink, Session, SignInMeans};
pub use self::token::{Scope, Scopes, Token, TokenId};
use crate::workflow::{Revision, id128};

/// Longest login, in bytes.
pub const LOGIN_BYTES_MAX: usize = 64;

/// The login of the admin that is there from the first start: the one whose right the
/// data folder's token is, and who owns what has no other owner.
pub const BUILT_IN_ADMIN: &str = "admin";

/// The name by which a user signs in, and by which workflows name owners, managers and
/// viewers. It is never given to somebody else: users are disabled, not deleted.
///
/// 1 to 64 lower-case letters, digits and `. _ @ + -`, beginning with a letter or a digit,
/// so that e-mail addresses fit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9._@+-]{0,63}$")]
pub struct Login(String);

/// Why a text is no login.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The text is empty.
    #[error("a login cannot be empty")]
    Empty,
    /// The text is too long.
    #[error("a login has at most {LOGIN_BYTES_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// A character is not allowed, or not allowed at its place.
    #[error(
        "the login {login:?} has {found:?} at position {position}: use lower-case letters, digits and . _ @ + -, beginning with a letter or a digit"
    )]
    Character {
        /// The refused login, at most 64 characters of it.
        login: String,
        /// The offending character.
        found: char,
        /// Its position, from 1.
        position: usize,
    },
}

impl Login {
    /// The login of the built-in admin.
    pub fn built_in() -> Self {
        Self(BUILT_IN_ADMIN.to_owned())
    }

    /// The login as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Login {
    type Err = LoginError;

    fn from_str(text: &str) -> Result<Self, LoginError> {
        if text.is_empty() {
            return Err(LoginError::Empty);
        }
        for (index, found) in text.chars().enumerate() {
            let is_word = found.is_ascii_lowercase() || found.is_ascii_digit();
            if !(is_word || index > 0 && "._@+-".contains(found)) {
                let login = text.chars().take(LOGIN_BYTES_MAX).collect();
                return Err(LoginError::Character { login, found, position: index + 1 });
            }
        }
        if text.len() > LOGIN_BYTES_MAX {
            return Err(LoginError::TooLong(text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Login {
    type Error = LoginError;

    fn try_from(text: String) -> Result<Self, LoginError> {
        text.parse()
    }
}

impl From<Login> for String {
    fn from(login: Login) -> Self {
        login.0
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

id128! {
    /// Names a user for ever.
    UserId
}

/// What a user may do beside what workflows grant.
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
pub enum Role {
    /// Creates workflows, and does with others what their access lists allow.
    Member,
    /// Does everything with every workflow, and administers the host.
    Admin,
}

impl Role {
    /// The word in the API and in files.
    pub fn word(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A password as it is kept: argon2id in the PHC string format. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The hash with this PHC string.
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// A user as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Names the user for ever.
    pub id: UserId,
    /// Names the user for people; unique, and never changes.
    pub login: Login,
    /// What people call the user, at most 200 bytes; may be empty.
    #[serde(default)]
    pub name: String,
    /// What the user may do beside what workflows grant.
    pub role: Role,
    /// `None` for a user who signs in by other means.
    #[serde(default)]
    pub password: Option<PasswordHash>,
    /// Who it is at the sign-in provider; `None` for a user who never signed in by one.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// A disabled user can do nothing, with no session and no token.
    #[serde(default)]
    pub disabled: bool,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When anything of the user changed last.
    pub updated_at: Timestamp,
    /// Counts the changes.
    pub revision: Revision,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_names_or_addresses_in_lower_case() {
        for good in ["a", "9", "ada.l", "ada@example.org", "a+b_c-d", &"x".repeat(64)] {
            assert_eq!(good.parse::<Login>().unwrap().as_str(), good);
        }
        assert_eq!("".parse::<Login>(), Err(LoginError::Empty));
        assert_eq!("x".repeat(65).parse::<Login>(), Err(LoginError::TooLong(65)));
        for (bad, position) in
            [("Ada", 1), ("-a", 1), ("a b", 2), ("a/b", 2), ("é", 1), ("a\n", 2), ("@a", 1)]
        {
            match bad.parse::<Login>() {
                Err(LoginError::Character { position: p, .. }) => assert_eq!(p, position, "{bad}"),
                other => panic!("{bad}: {other:?}"),
            }
        }
        assert_eq!(BUILT_IN_ADMIN.parse(), Ok(Login::built_in()));
    }

    #[test]
    fn hashes_of_passwords_are_never_shown() {
        let hash = PasswordHash::new("$argon2id$s3cret".to_owned());
        assert!(!format!("{hash:?}").contains("s3cret"));
    }
}
