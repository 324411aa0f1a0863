//! What a backup consists of.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::workflow::Digest;

/// The name of a backup's manifest, beside the files of the data folder.
pub const BACKUP_MANIFEST: &str = "manifest.json";
/// The version of the manifest's format.
pub const BACKUP_FORMAT: u32 = 1;

/// What a backup consists of: the last file of `GET /api/v1/backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupManifest {
    /// The version of this format.
    pub format: u32,
    /// The version of the host that took it.
    pub tidegate: String,
    /// The moment that it is of: what the host confirmed before is in it.
    #[schema(value_type = String, format = DateTime)]
    pub taken_at: Timestamp,
    /// Workflows in it.
    pub workflows: u64,
    /// Runs in it.
    pub runs: u64,
    /// Every other file.
    pub files: Vec<BackupFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupFile {
    /// Its place below the folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}
