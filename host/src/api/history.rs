//! What the host had in use over time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::statistics::HostFigures;

/// `GET /api/v1/history`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryView {
    /// The beginning of the first minute.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The end of the last minute.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Minutes of one point.
    pub step_minutes: u32,
    /// In the order of time; those in which the host did not run are left out.
    pub points: Vec<HistoryPoint>,
}

/// What the host had in use in some minutes. The host looks every 5 seconds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryPoint {
    /// When the first of these minutes began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Instances that existed, at most.
    pub instances: u64,
    /// Instances that may exist.
    pub instances_max: u64,
    /// Runs in their sandbox, at most.
    pub runs_running: u64,
    /// Runs that waited for room, at most.
    pub runs_waiting: u64,
    /// Linear memory of all instances, in bytes, at most.
    pub instances_memory_bytes: u64,
    /// Events of the queue that waited for an attempt, at most.
    pub queue_waiting: u64,
    /// Events whose attempt went on, at most.
    pub queue_leased: u64,
    /// Dead letters, at most.
    pub dead: u64,
    /// Bytes that the data folder took, at most.
    pub used_bytes: u64,
    /// Bytes free on its file system, at least.
    pub free_bytes: u64,
    /// Requests to endpoints that were refused before they became runs.
    pub refused: u64,
    /// Schedules whose runs outlasted the distance of their due instants, at most.
    pub schedules_overrun: u64,
}

impl HistoryPoint {
    /// The point of the minutes from an instant on.
    pub fn new(at: Timestamp, figures: &HostFigures) -> Self {
        Self {
            at,
            instances: figures.instances,
            instances_max: figures.instances_max,
            runs_running: figures.running,
            runs_waiting: figures.waiting,
            instances_memory_bytes: figures.memory_bytes,
            queue_waiting: figures.queue_waiting,
            queue_leased: figures.queue_leased,
            dead: figures.dead,
            used_bytes: figures.used_bytes,
            free_bytes: figures.free_bytes,
            refused: figures.refused,
            schedules_overrun: figures.overruns,
        }
    }
}
