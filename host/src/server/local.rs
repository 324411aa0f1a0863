//! What `tidegate run` has in common with the management API: how a written request
//! becomes a guest's, and in which words a refused program is explained.

use super::api::written;
use super::catch;
use super::reply::Problem;
use crate::api::{Diagnostic, TestRequest};
use crate::deploy::DeployError;
use crate::engine::Request;
use crate::workflow::Endpoint;

/// What a client of the API would be told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// What is wrong.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// Findings about the program.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl From<Problem> for Told {
    fn from(problem: Problem) -> Self {
        Self { message: problem.message, hint: problem.hint, diagnostics: problem.diagnostics }
    }
}

/// What is said of a program that was refused.
pub(crate) fn explain(error: &DeployError) -> Told {
    Problem::from(error).into()
}

/// The request that is written down, if the endpoint takes it.
///
/// # Errors
/// What is wrong with it, or why the endpoint would refuse it.
pub(crate) fn request(
    test: TestRequest,
    endpoint: &Endpoint,
    body_bytes_max: usize,
) -> Result<Request, Told> {
    let request = written(test, body_bytes_max).map_err(|error| Told::from(Problem::from(&error)))?;
    catch::check(endpoint, &request).map_err(|refusal| Told::from(Problem::from(&refusal)))?;
    Ok(request)
}
