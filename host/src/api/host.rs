//! The host itself: its runtimes, its health, its version.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::StoreHealth;
use crate::workflow::Digest;

/// `GET /api/v1/runtimes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RuntimeList {
    /// In the order of their names.
    pub runtimes: Vec<RuntimeView>,
}

/// A language runtime: what runs a workflow that was deployed as source.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RuntimeView {
    /// A workflow names its runtime by this.
    pub name: String,
    /// Whether workflows that name none get it.
    pub default: bool,
    /// For example `python`.
    pub language: String,
    /// For example `3.14.0`.
    pub version: String,
    /// SHA-256 of its component.
    pub digest: Digest,
    /// What programs can import.
    pub packages: Vec<PackageView>,
}

/// A package of a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackageView {
    /// For example `requests`.
    pub name: String,
    /// For example `2.32.5`.
    pub version: String,
}

/// `GET /api/v1/health`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// Whether the host takes work.
    pub ready: bool,
    /// When the process became ready.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Workflows that are not archived.
    pub workflows: u64,
    /// Runs in their sandbox.
    pub runs_running: u64,
    /// Runs that wait for a permit.
    pub runs_waiting: u64,
    /// Instances that exist.
    pub instances_in_use: u64,
    /// Instances that may exist.
    pub instances_max: u64,
    /// Linear memory of all instances, in bytes.
    pub instances_memory_bytes: u64,
    /// The memories that are reset in place after a run; `null` when the sandbox's plain
    /// pool is all there is (`engine.reset`, or a kernel before Linux 6.7).
    #[serde(default)]
    pub slots: Option<SlotFigures>,
    /// How the store is.
    pub store: StoreHealth,
}

/// Memories that are reset in place after a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotFigures {
    /// Memories that exist.
    pub slots: u64,
    /// Those of them that wait for a run.
    pub idle: u64,
    /// Memory that idle ones and idle stacks hold, in bytes.
    pub idle_bytes: u64,
    /// Runs after which a memory was restored, since the start.
    pub resets: u64,
    /// What was restored in sum, in bytes: what those runs had of memory of their own.
    pub restored_bytes: u64,
    /// Memories and stacks that could not be reset, and were not used again.
    pub discarded: u64,
}

/// `GET /api/v1/version`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct About {
    /// Tidegate's version.
    pub version: String,
    /// The sandbox's version.
    pub wasmtime: String,
    /// When the process became ready.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
}
