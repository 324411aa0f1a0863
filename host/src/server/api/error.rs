//! Why a request to the management API failed.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};

use crate::account::Scope;
use crate::accounts::AccountError;
use crate::app::RotateError;
use crate::audit::AuditError;
use crate::deploy::DeployError;
use crate::oidc::OidcError;
use crate::registry::RegistryError;
use crate::server::body::BodyError;
use crate::server::framing::FramingError;
use crate::store::StoreError;

/// Why a request failed. What its caller is told is in [`crate::server::reply`].
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum ApiError {
    /// No route has this path.
    #[error("there is nothing at this path")]
    NoRoute,
    /// The route does not answer this method.
    #[error("the path does not answer this method")]
    Method,
    /// There is no `Host`, or there are several.
    #[error("the request needs exactly one Host header")]
    Host,
    /// There is no valid token.
    #[error("a valid token is needed")]
    Unauthorized,
    /// Whoever asks may not do this.
    #[error("this account may not do that")]
    Forbidden,
    /// The token may not do this, though its user may.
    #[error("the token does not have the scope {0}")]
    NeedsScope(Scope),
    /// The session is too old for this without a proof.
    #[error("this needs a password again: the session's last one is too long ago")]
    Proof,
    /// What is asked for is for sessions.
    #[error("only a session can be proved")]
    NoSession,
    /// Another site may have made a browser send this.
    #[error("the request comes from another site")]
    CrossOrigin,
    /// A part of the path cannot be read.
    #[error("the path cannot be read: {0}")]
    Path(String),
    /// The query cannot be read.
    #[error("the query is wrong: {0}")]
    Query(String),
    /// The body is not JSON, or not the JSON that is asked for.
    #[error("the body is wrong: {reason}")]
    Json {
        /// What is wrong, and where.
        reason: String,
        /// It is JSON, and its content is wrong.
        is_data: bool,
    },
    /// The body has a type that the route does not take.
    #[error("the content-type {found} is not taken here: send {wanted}")]
    MediaType {
        /// What was sent, quoted, or `(none)`.
        found: String,
        /// What can be sent.
        wanted: &'static str,
    },
    /// A field has a value that is not allowed.
    #[error("{field}: {reason}")]
    Field {
        /// The field's name.
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
    /// The workflow has no version.
    #[error("nothing is deployed to the workflow {name} yet")]
    NothingDeployed {
        /// The workflow.
        name: String,
    },
    /// The run's record does not hold what it was handed.
    #[error("the run {run} cannot be run again: {reason}")]
    NotReplayable {
        /// The run.
        run: String,
        /// What is missing.
        reason: &'static str,
    },
    /// The run is over.
    #[error("the run {run} has ended already")]
    Ended {
        /// The run.
        run: String,
    },
    /// All event streams are in use.
    #[error("{limit} event streams are open already")]
    StreamsTaken {
        /// Their number.
        limit: usize,
    },
    /// The body was not read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The request is malformed.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The accounts refused.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The registry refused.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// The deployer refused.
    #[error(transparent)]
    Deploy(Box<DeployError>),
    /// The master key was not changed.
    #[error(transparent)]
    Rotate(Box<RotateError>),
    /// The sign-in provider's user was not signed in.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// The audit log cannot be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        ApiError::Registry(Box::new(error))
    }
}

impl From<RotateError> for ApiError {
    fn from(error: RotateError) -> Self {
        ApiError::Rotate(Box::new(error))
    }
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> Self {
        ApiError::Deploy(Box::new(error))
    }
}

impl IntoResponse for ApiError {
    /// An empty response that carries the error: the connection knows the request's id,
    /// and writes the body.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}
