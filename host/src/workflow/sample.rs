//! Requests that are kept with a workflow, for tests of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most kept requests of one workflow.
pub const SAMPLES_MAX: usize = 20;
/// Most bytes of all kept requests of one workflow, as JSON.
pub const SAMPLES_BYTES_MAX: usize = 64 << 10;
/// Longest name of one, in bytes.
pub const SAMPLE_NAME_BYTES_MAX: usize = 100;

/// A request that is kept with a workflow. What is left out is as in a test run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Unique within the workflow.
    pub name: String,
    /// The method.
    #[serde(default)]
    pub method: Option<String>,
    /// Path and query.
    #[serde(default)]
    pub path: Option<String>,
    /// Header names and values.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body: a text as it is, anything else as JSON.
    #[serde(default)]
    pub body: Option<serde_json::Value>,
    /// The body in base64, instead.
    #[serde(default)]
    pub body_base64: Option<String>,
}

/// Why requests cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The name is empty, too long or has control characters.
    #[error("a name has 1 to {SAMPLE_NAME_BYTES_MAX} bytes and no control characters")]
    Name,
    /// There are too many.
    #[error("a workflow keeps at most {SAMPLES_MAX} requests: remove one first")]
    Count,
    /// They are too large.
    #[error(
        "the requests of a workflow have at most {SAMPLES_BYTES_MAX} bytes together, these would have {0}"
    )]
    Bytes(usize),
}

impl Sample {
    /// Whether a workflow can keep these.
    ///
    /// # Errors
    /// Why not.
    pub fn check(samples: &[Sample]) -> Result<(), SampleError> {
        let is_name = |name: &str| {
            !name.is_empty() && name.len() <= SAMPLE_NAME_BYTES_MAX && !name.chars().any(char::is_control)
        };
        if !samples.iter().all(|sample| is_name(&sample.name)) {
            return Err(SampleError::Name);
        }
        if samples.len() > SAMPLES_MAX {
            return Err(SampleError::Count);
        }
        let bytes = serde_json::to_vec(samples).map_or(usize::MAX, |json| json.len());
        if bytes > SAMPLES_BYTES_MAX {
            return Err(SampleError::Bytes(bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, bytes: usize) -> Sample {
        Sample {
            name: name.to_owned(),
            method: None,
            path: None,
            headers: BTreeMap::new(),
            body: Some("x".repeat(bytes).into()),
            body_base64: None,
        }
    }

    #[test]
    fn kept_requests_have_names_a_number_and_a_size() {
        let many = |count: usize| (0..count).map(|at| sample(&at.to_string(), 1)).collect::<Vec<_>>();
        assert_eq!(Sample::check(&many(SAMPLES_MAX)), Ok(()));
        assert_eq!(Sample::check(&many(SAMPLES_MAX + 1)), Err(SampleError::Count));
        let long = "n".repeat(SAMPLE_NAME_BYTES_MAX + 1);
        for name in ["", "a\nb", &long] {
            assert_eq!(Sample::check(&[sample(name, 1)]), Err(SampleError::Name), "{name:?}");
        }
        let large = [sample("a", SAMPLES_BYTES_MAX / 2), sample("b", SAMPLES_BYTES_MAX / 2)];
        assert!(matches!(Sample::check(&large), Err(SampleError::Bytes(bytes)) if bytes > SAMPLES_BYTES_MAX));
    }
}
