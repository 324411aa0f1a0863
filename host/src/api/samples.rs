//! Requests that are kept with a workflow, for tests of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TestRequest;
use crate::workflow::Sample;

/// `GET /api/v1/workflows/{name}/samples`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SampleList {
    /// In the order of their names.
    pub samples: Vec<SampleView>,
}

/// A kept request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SampleView {
    /// Unique within the workflow.
    pub name: String,
    /// The request, as a test run takes it.
    pub request: TestRequest,
}

impl SampleView {
    /// As the workflow keeps it.
    pub fn kept(name: String, request: TestRequest) -> Sample {
        let TestRequest { method, path, headers, body, body_base64 } = request;
        Sample { name, method, path, headers, body, body_base64 }
    }
}

impl From<&Sample> for SampleView {
    fn from(sample: &Sample) -> Self {
        let Sample { name, method, path, headers, body, body_base64 } = sample.clone();
        Self { name, request: TestRequest { method, path, headers, body, body_base64 } }
    }
}
