//! Counts its runs in the setting `RUNS` and returns `runs`, `schedule`, `due_ms` and
//! `attempt`, which the host must keep in the run's record. Settings steer it: `HOLD_MS`
//! makes a run last that long, so that the next tick finds it going on; `FAIL`, a text,
//! makes it fail with that message, and then the count must not have changed.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_guest::{Result, Settings, Tick};

tidegate_guest::pull!(handler);

fn handler(tick: Tick, settings: &mut Settings) -> Result<Value> {
    let runs = settings.get::<u64>("RUNS")?.unwrap_or(0) + 1;
    settings.set("RUNS", runs)?;
    if let Some(hold_ms) = settings.get("HOLD_MS")? {
        std::thread::sleep(Duration::from_millis(hold_ms));
    }
    if let Some(message) = settings.get::<String>("FAIL")? {
        return Err(message.into());
    }
    Ok(json!({
        "runs": runs,
        "schedule": tick.schedule,
        "due_ms": tick.due_ms(),
        "attempt": tick.attempt,
    }))
}
