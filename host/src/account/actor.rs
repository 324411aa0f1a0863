//! Who asks.

use jiff::Timestamp;

use super::{Login, Role, Scope, Scopes, SignInMeans, TokenId, UserId};
use crate::workflow::Digest;

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Nobody who is known.
    Anonymous,
    /// A user who is not disabled, by valid means.
    Account(Account),
}

/// A user, and by which right it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: UserId,
    /// The user's login.
    pub login: Login,
    /// The user's role.
    pub role: Role,
    /// Which of the user's rights are used.
    pub scopes: Scopes,
    /// By what.
    pub via: Via,
}

/// By what a user asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The token in the data folder.
    AdminToken,
    /// A token.
    Token(TokenId),
    /// Login and password, for one request.
    Password,
    /// A session.
    Session {
        /// Names it.
        digest: Digest,
        /// By what it was begun.
        means: SignInMeans,
        /// When its user proved last to be who it is.
        proven_at: Timestamp,
    },
}

impl Account {
    /// Whether it has what the role admin adds: a token needs its scope for that.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin && self.scopes.contains(Scope::Admin)
    }
}

impl Actor {
    /// The account; `None` for nobody.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Actor::Anonymous => None,
            Actor::Account(account) => Some(account),
        }
    }

    /// The account's login; `None` for nobody.
    pub fn login(&self) -> Option<&Login> {
        self.account().map(|account| &account.login)
    }

    /// Whether it has what the role admin adds.
    pub fn is_admin(&self) -> bool {
        self.account().is_some_and(Account::is_admin)
    }
}
