//! Figures about runs over time, and about the space that they take.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::workflow::WorkflowName;

/// `GET /api/v1/workflows/{name}/statistics` and `GET /api/v1/statistics`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StatisticsView {
    /// The beginning of the first minute.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The end of the last minute.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Minutes of one point.
    pub step_minutes: u32,
    /// All points together.
    pub total: StatisticsPoint,
    /// In the order of time; those without runs are left out.
    pub points: Vec<StatisticsPoint>,
}

/// The runs that ended in some minutes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StatisticsPoint {
    /// When the first of these minutes began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Their number.
    pub runs: u64,
    /// By status; those that did not occur are left out.
    pub statuses: BTreeMap<String, u64>,
    /// By kind of fault; those that did not occur are left out.
    pub faults: BTreeMap<String, u64>,
    /// From start to end, of those that started.
    pub duration_ms: Option<Percentiles>,
    /// Memory at most, of those that started.
    pub memory_bytes: Option<Percentiles>,
    /// How late pulls were.
    pub lateness_ms: Option<Percentiles>,
}

/// How large some numbers are; off by less than 1.6 %, but for `max` and `mean`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Percentiles {
    /// Half of them are not larger.
    pub p50: f64,
    /// 95 % are not larger.
    pub p95: f64,
    /// 99 % are not larger.
    pub p99: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// `GET /api/v1/usage`: what the data folder's bytes are.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UsageView {
    /// What is kept of each workflow that has runs, in the order of their names.
    pub workflows: Vec<WorkflowUsageView>,
    /// Bytes of run records and logs, of all workflows.
    pub run_bytes: u64,
    /// Of these, bytes of runs that are deleted and whose space has not come back yet.
    pub dead_bytes: u64,
    /// Bytes of the index and the metadata.
    pub index_bytes: u64,
    /// Bytes of statistics.
    pub statistics_bytes: u64,
    /// Bytes of the queue's files.
    #[serde(default)]
    pub queue_bytes: u64,
    /// Bytes of components, sources and runtimes.
    pub blob_bytes: u64,
    /// Bytes free on the file system.
    pub free_bytes: u64,
}

/// What is kept of one workflow.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkflowUsageView {
    /// The workflow.
    pub name: WorkflowName,
    /// Its runs.
    pub runs: u64,
    /// Bytes of their records and logs.
    pub run_bytes: u64,
}
