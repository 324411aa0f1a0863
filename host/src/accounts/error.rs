//! Why a verb of accounts did not do what it was asked.

use std::time::Duration;

use crate::account::{Login, LoginError};
use crate::store::StoreError;

/// Why a verb of accounts did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Login or password is wrong; which of them is not told.
    #[error("the login or the password is wrong")]
    WrongPassword,
    /// There were too many wrong ones.
    #[error("there were too many failed sign-ins; the next try is in {} s", retry_after.as_secs())]
    LockedOut {
        /// When to try again.
        retry_after: Duration,
    },
    /// The one-time link does not work, or not any more.
    #[error("the sign-in link was used already, has expired, or never was one")]
    Link,
    /// The provider's user is nobody here.
    #[error("{0}")]
    NoAccount(String),
    /// Too many passwords are being checked.
    #[error("too many sign-ins are going on")]
    Busy,
    /// The login is not allowed.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// A field has a value that is not allowed.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, as the API names it.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The thing does not exist.
    #[error("{what} does not exist")]
    Missing {
        /// What was looked for.
        what: String,
    },
    /// The user is disabled.
    #[error("the user {0} is disabled")]
    Disabled(Login),
    /// A limit was reached.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// What is over the limit, with its size.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// A password could not be hashed.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AccountError {
    /// What came of a sign-in that ended so, as one word for counters.
    pub fn sign_in_outcome(&self) -> &'static str {
        match self {
            Self::WrongPassword
            | Self::Link
            | Self::NoAccount(_)
            | Self::Login(_)
            | Self::Invalid { .. }
            | Self::Missing { .. }
            | Self::Disabled(_)
            | Self::Limit { .. } => "refused",
            Self::LockedOut { .. } => "locked-out",
            Self::Busy => "busy",
            Self::Hash(_) | Self::Store(_) => "failed",
        }
    }
}
