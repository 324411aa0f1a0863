//! What a pull workflow runs for.

use std::time::{Duration, SystemTime};

use crate::bindings::tidegate::workflow::types as host;

/// One due instant of one of the workflow's schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// The schedule's name, unique within the workflow.
    pub schedule: String,
    /// The instant that was due, to the millisecond. The run may start later.
    pub due: SystemTime,
    /// 1 for the first attempt at this instant, 2 for its first retry.
    pub attempt: u32,
}

impl Tick {
    pub(crate) fn from_host(tick: host::Tick) -> Self {
        let due = SystemTime::UNIX_EPOCH + Duration::from_millis(tick.due_ms);
        Self { schedule: tick.schedule, due, attempt: tick.attempt }
    }

    /// The instant that was due, in milliseconds since the Unix epoch.
    pub fn due_ms(&self) -> u64 {
        let since = self.due.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_instant_survives_to_the_millisecond() {
        let tick = host::Tick { schedule: "hourly".to_owned(), due_ms: 1_767_225_600_123, attempt: 1 };
        assert_eq!(Tick::from_host(tick).due_ms(), 1_767_225_600_123);
    }
}
