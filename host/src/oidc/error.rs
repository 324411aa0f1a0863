//! Why a sign-in by the provider did not come about.

/// Why a sign-in by the provider did not come about. Nothing of a token or a code is in it.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The provider cannot be asked, or does not answer as it should.
    #[error("the sign-in provider {action} failed: {reason}")]
    Provider {
        /// What it was asked for.
        action: &'static str,
        /// What went wrong, in a line.
        reason: String,
    },
    /// Too many requests to the provider are going on.
    #[error("too many sign-ins by the provider are going on")]
    Busy,
    /// The answer belongs to no sign-in that was begun here, or to one that is over.
    #[error("this sign-in was not begun in this browser, was used already, or took too long")]
    State,
    /// The provider says that it did not sign its user in.
    #[error("the sign-in provider refused: {0}")]
    Refused(String),
    /// The ID token does not hold what it must.
    #[error("the provider's ID token is not accepted: {0}")]
    Token(&'static str),
    /// Its user may not use this host.
    #[error("the provider's account is not admitted here: {0}")]
    NotAdmitted(&'static str),
}

impl OidcError {
    /// What came of a sign-in that ended so, as one word for counters.
    pub fn sign_in_outcome(&self) -> &'static str {
        match self {
            Self::Provider { .. } => "failed",
            Self::Busy => "busy",
            Self::State | Self::Refused(_) | Self::Token(_) | Self::NotAdmitted(_) => "refused",
        }
    }
}

/// Why the configuration of the provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OidcConfigError {
    /// A key's value.
    #[error("oidc.{key}: {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file.
    #[error("oidc.{key}: the file {path} cannot be read")]
    File {
        /// The key.
        key: &'static str,
        /// The file.
        path: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}
