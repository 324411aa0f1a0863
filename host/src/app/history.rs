//! Notes from time to time what the host has in use, for the charts of its past.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::statistics::HostFigures;

/// Time between two looks; a minute's figures are the largest of its looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Notes what is in use until the host stops.
pub(super) async fn keep(app: Arc<App>, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut refused_before = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = interval.tick() => {}
        }
        let refused = app.telemetry.refusals.total();
        app.store.note_host(Timestamp::now(), &now(&app, refused - refused_before));
        refused_before = refused;
    }
}

/// What is in use at this moment, and what was refused since the moment before.
fn now(app: &App, refused: u64) -> HostFigures {
    let (engine, invoker) = (app.engine.gauges(), app.invoker.gauges());
    let (store, queue) = (app.store.health(), app.store.queue_figures());
    HostFigures {
        instances: engine.instances.into(),
        instances_max: engine.instances_max.into(),
        running: invoker.running as u64,
        waiting: invoker.queued as u64,
        memory_bytes: engine.memory_bytes,
        queue_waiting: queue.waiting,
        queue_leased: queue.leased,
        dead: queue.dead,
        used_bytes: store.run_bytes
            + store.index_bytes
            + store.statistics_bytes
            + store.queue_bytes
            + store.blob_bytes,
        free_bytes: store.free_bytes,
        refused,
        overruns: app.scheduler.overruns() as u64,
    }
}
