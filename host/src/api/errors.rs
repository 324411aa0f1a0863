//! What is answered instead of a success.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::RunId;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// A stable word, for example `name-taken`.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Names the request in the host's log.
    pub request_id: String,
    /// What is wrong with a refused program; empty for other errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

/// The body of a catch endpoint's answer about a run that failed, or was refused before it
/// ran. It holds nothing that the workflow said.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunError {
    /// Names the run.
    pub run: RunId,
    /// A stable word, for example `deadline` or `invalid-json`.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One finding about a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// The file's name as it was uploaded.
    pub file: String,
    /// From 1; 0 when the finding belongs to no line.
    pub line: u32,
    /// From 1; 0 when it is unknown.
    pub column: u32,
    /// For example `SyntaxError: '(' was never closed`.
    pub message: String,
    /// The line itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
