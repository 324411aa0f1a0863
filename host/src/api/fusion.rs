//! Whether a component's core modules were merged before it was compiled.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a component's core modules were merged into one before it was compiled, which
/// makes each instance cheaper. It says nothing about what the component does: that is the
/// same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fusion {
    /// Core modules that the component has; 0 when nobody looked.
    pub modules: u32,
    /// How many of them became one; 0 when it runs as it is.
    pub merged: u32,
    /// Why it runs as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Fusion {
    /// The component runs as it is.
    pub fn refused(reason: impl fmt::Display) -> Self {
        Fusion { modules: 0, merged: 0, reason: Some(reason.to_string()) }
    }
}

/// `12 of 14 modules`, or `no: ` and the reason.
impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            None => write!(f, "{} of {} modules", self.merged, self.modules),
            Some(reason) => write!(f, "no: {reason}"),
        }
    }
}
