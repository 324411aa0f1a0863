//! Runs when its schedule says, in a fresh sandbox.

use tidegate_guest::{Result, Settings, Tick};

tidegate_guest::pull!(count);

/// Runs once for each due instant. What is set in `settings` is saved when the run
/// succeeds; what is returned is kept in the run's record.
fn count(tick: Tick, settings: &mut Settings) -> Result<u64> {
    let runs = settings.get::<u64>("RUNS")?.unwrap_or(0) + 1;
    settings.set("RUNS", runs)?;
    println!("run {runs} of the schedule {}", tick.schedule);
    Ok(runs)
}
