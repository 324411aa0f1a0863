//! The master key.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/keys`: the master keys that this host has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// Where they come from, for people.
    pub source: String,
    /// The current one first.
    pub keys: Vec<KeyUse>,
}

/// A master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyUse {
    /// 16 hexadecimal digits, which tell nothing about it.
    pub id: String,
    /// Whether it encrypts. The others only decrypt.
    pub current: bool,
    /// Workflows whose settings need it. Backups may need a key that nothing else does.
    pub workflows: usize,
}
