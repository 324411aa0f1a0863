//! Runs and claims that are written: as fast as it goes, at a fixed rate, while others are
//! deleted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate::run::RunId;
use tidegate::store::{Claim, Durability, EmbeddedStore, Pruned, Retention, Store, Tick, TickState};
use tidegate::workflow::WorkflowId;
use tokio::task::JoinHandle;

use crate::latencies::{Latencies, ms};
use crate::records::{log, run};

/// The store that is measured, and its workflows.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) ids: Arc<[WorkflowId]>,
}

/// What a window with a fixed rate showed.
pub(crate) struct Offered {
    pub(crate) latencies: Latencies,
    /// Runs a second that were taken.
    pub(crate) rate: f64,
}

impl Subject {
    /// Appends from so many tasks, each one run after the other.
    #[allow(clippy::print_stdout, reason = "a table is what this program is for")]
    pub(crate) async fn appends(
        &self,
        durability: Durability,
        appenders: usize,
        each: usize,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let tasks: Vec<_> = (0..appenders)
            .map(|appender| {
                let Self { store, ids } = self.clone();
                tokio::spawn(async move {
                    let mut latencies = Latencies::default();
                    for number in 0..each {
                        let run = Arc::new(run(ids[(appender + number) % ids.len()], number)?);
                        let log = log();
                        let start = Instant::now();
                        store.append_run(run, log, durability).await?;
                        latencies.push(start.elapsed());
                    }
                    anyhow::Ok(latencies)
                })
            })
            .collect();
        let mut latencies = Latencies::default();
        for task in tasks {
            latencies.extend(task.await??);
        }
        let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
        let name = format!("{durability:?}, {appenders} appenders").to_lowercase();
        latencies.report(&name);
        println!("{name:<34} {rate:>13.0} /s");
        Ok(())
    }

    /// Runs that come at a fixed rate, whatever the store does, for so long and until
    /// `is_over`.
    pub(crate) async fn offered(
        &self,
        durability: Durability,
        rate: u32,
        at_least: Duration,
        mut is_over: impl FnMut() -> bool,
    ) -> anyhow::Result<Offered> {
        let start = Instant::now();
        let mut tasks = Vec::new();
        for number in 0.. {
            let offset = Duration::from_secs(1) * number / rate;
            if offset >= at_least && is_over() {
                break;
            }
            // A tick of the timer is a millisecond: what is due by then goes together.
            let due = start + offset;
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            let Self { store, ids } = self.clone();
            tasks.push(tokio::spawn(async move {
                let run = Arc::new(run(ids[number as usize % ids.len()], number as usize)?);
                let start = Instant::now();
                store.append_run(run, log(), durability).await?;
                anyhow::Ok(start.elapsed())
            }));
        }
        let mut latencies = Latencies::default();
        for task in tasks {
            latencies.push(task.await??);
        }
        let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
        Ok(Offered { latencies, rate })
    }

    /// Deletes by a policy, beside whatever else goes on.
    pub(crate) fn prune(&self, retention: Retention) -> JoinHandle<anyhow::Result<Pruned>> {
        let store = self.store.clone();
        tokio::spawn(async move { Ok(store.prune(retention).await?) })
    }

    /// What a scheduler does at a full minute: every schedule's instant at once.
    pub(crate) async fn claims(&self) -> anyhow::Result<()> {
        const CLAIMS: usize = 10_000;
        for (name, batch) in [("10,000 claims, one by one", 1), ("10,000 claims, 1,000 at once", 1000)] {
            let due = Timestamp::now();
            let tick = |number: usize| Tick {
                workflow: self.ids[number % self.ids.len()],
                schedule: format!("schedule {}", number / self.ids.len()),
                due,
                run: RunId::new(),
                claimed_at: due,
                state: TickState::Claimed,
                lateness_us: 0,
                stretch: None,
            };
            let ticks: Vec<Tick> = (0..CLAIMS).map(tick).collect();
            let start = Instant::now();
            let tasks: Vec<_> = ticks
                .chunks(batch)
                .map(|ticks| {
                    let (store, ticks) = (self.store.clone(), ticks.to_vec());
                    tokio::spawn(async move {
                        let claims = store.claim_all(ticks).await?;
                        anyhow::Ok((claims, start.elapsed()))
                    })
                })
                .collect();
            let mut latencies = Latencies::default();
            for task in tasks {
                let (claims, latency) = task.await??;
                anyhow::ensure!(claims.iter().all(|claim| *claim == Claim::Claimed), "an instant was taken");
                claims.iter().for_each(|_| latencies.push(latency));
            }
            latencies.report(name);
        }
        Ok(())
    }
}

/// Prints how long something took.
#[allow(clippy::print_stdout, reason = "a table is what this program is for")]
pub(crate) async fn timed<T>(
    name: &str,
    action: impl Future<Output = tidegate::store::Result<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    let value = action.await?;
    println!("{name:<34} {:>13.1} ms", ms(start.elapsed()));
    Ok(value)
}
