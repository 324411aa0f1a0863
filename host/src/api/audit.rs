//! The audit log.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::audit::AuditEntry;

/// `GET /api/v1/audit`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// Ask with this as `before` for the page behind it; `None` when there is none.
    pub next: Option<u64>,
}
