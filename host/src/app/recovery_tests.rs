//! Ticks and events whose host died at a moment between their run and what follows from it.

use futures::FutureExt as _;
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::config::{Config, Override};
use crate::engine::Input;
use crate::invoker::Invocation;
use crate::run::{Fault, FaultKind, LogLine, Run, RunId, Status, Trigger};
use crate::scheduler::Pulls as _;
use crate::store::{Durability, Event, EventInput, EventState, QueueEntry, Tick, TickState, samples};

const SCHEDULE: &str = "default";

/// The parts that ticks go through, over a store of their own.
struct Parts {
    core: Core,
    queue: Arc<Queue>,
    pulls: InvokedPulls,
    data: tempfile::TempDir,
}

async fn parts() -> Parts {
    parts_on(tempfile::tempdir().unwrap()).await
}

async fn parts_on(data: tempfile::TempDir) -> Parts {
    let few = Override { key: "engine.instances_max".to_owned(), value: 2.into(), origin: "test".to_owned() };
    let config = Arc::new(Config::load(None, Vec::new(), vec![few]).unwrap());
    let folder = DataFolder::create(data.path()).unwrap();
    let store: Arc<dyn Store> = EmbeddedStore::open(
        folder.path(),
        EmbeddedOptions::from_config(&config, std::sync::Arc::new(crate::keys::KeyRing::local())),
    )
    .unwrap();
    let program = std::env::current_exe().unwrap();
    let core = Core::open(config.clone(), store, &folder, program, Vec::new()).await.unwrap();
    let (queue, pulls) = queue_and_pulls(&core);
    Parts { core, queue, pulls, data }
}

impl Parts {
    /// A pull that is tried twice, and an instant of it that was claimed and not settled.
    async fn claimed(&self) -> Tick {
        let retry = json!({ "attempts": 2, "backoff_ms": 60_000 });
        let create = json!({ "name": "pull", "kind": "pull", "retry": retry });
        let entry = self.core.registry.create(serde_json::from_value(create).unwrap(), None).await.unwrap();
        let now = Timestamp::now();
        let tick = Tick {
            workflow: entry.workflow.id,
            schedule: SCHEDULE.to_owned(),
            due: now,
            run: RunId::new(),
            claimed_at: now,
            state: TickState::Claimed,
            lateness_us: 0,
            stretch: None,
        };
        self.core.store.claim(tick.clone()).await.unwrap();
        tick
    }

    /// The record of a tick's run, as the invoker wrote it.
    async fn record(&self, tick: &Tick, status: Status) {
        let trigger = Trigger::Pull { schedule: SCHEDULE.to_owned(), due: tick.due };
        let fault = (status != Status::Succeeded).then(|| Fault::new(FaultKind::Exception, "no"));
        let run = Run { id: tick.run, trigger, status, fault, ..samples::run(tick.workflow) };
        let log: Arc<[LogLine]> = Arc::from([]);
        self.core.store.append_run(Arc::new(run), log, Durability::Durable).await.unwrap();
    }

    /// The attempt that waits for a tick, and how many events there are.
    async fn waiting(&self, tick: &Tick) -> (Option<u32>, u64) {
        let event = self.core.store.event(tick.run).await.unwrap();
        let attempt = event
            .filter(|entry| matches!(entry.state, EventState::Waiting { .. }))
            .map(|entry| entry.attempt);
        (attempt, self.core.store.queue_figures().waiting)
    }

    async fn close(self) {
        self.end().await;
    }

    /// The process ends, and its folder is left.
    async fn end(self) -> tempfile::TempDir {
        self.queue.settled().await;
        self.core.store.close().await.unwrap();
        self.data
    }

    /// Events that were leased when the host ended: of a caller who waits, with a key, and of
    /// one who does not.
    async fn leased(&self) -> [QueueEntry; 2] {
        let create = serde_json::from_value(json!({ "name": "catch", "kind": "catch" })).unwrap();
        let workflow = self.core.registry.create(create, None).await.unwrap().workflow.id;
        let event = || Event { key: samples::key("k"), ..samples::event(workflow) };
        let direct = QueueEntry::leased(Event { is_direct: true, ..event() });
        let later = QueueEntry::leased(Event { key: None, ..event() });
        for entry in [&direct, &later] {
            self.core.store.enqueue(entry.clone(), EventInput::Nothing).await.unwrap();
        }
        [direct, later]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_tick_whose_host_died_before_its_retry_was_queued_is_tried_again_once() {
    let parts = parts().await;
    let tick = parts.claimed().await;
    parts.record(&tick, Status::Failed).await;
    assert_eq!(parts.waiting(&tick).await, (None, 0), "the host died here");
    assert_eq!(parts.pulls.recover(tick.clone()).await, TickState::Ran);
    assert_eq!(parts.waiting(&tick).await, (Some(2), 1));
    // It died again before the ledger said so.
    assert_eq!(parts.pulls.recover(tick.clone()).await, TickState::Ran);
    assert_eq!(parts.waiting(&tick).await, (Some(2), 1));
    parts.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tick_that_was_interrupted_is_so_in_the_ledger_after_a_second_death() {
    let parts = parts().await;
    let tick = parts.claimed().await;
    assert_eq!(parts.pulls.recover(tick.clone()).await, TickState::Interrupted);
    // The host died before the ledger said so.
    assert_eq!(parts.pulls.recover(tick.clone()).await, TickState::Interrupted);
    assert_eq!(parts.waiting(&tick).await, (Some(2), 1), "it is tried again once");
    parts.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_whose_recovery_died_too_do_not_run_again() {
    let first = parts().await;
    let entries = first.leased().await;
    // The next start records them as interrupted, and dies before it settles them.
    for entry in &entries {
        let fault = Some(Fault::new(FaultKind::Interrupted, "the host ended before the run did"));
        let (id, status) = (entry.run, Status::Interrupted);
        let unrun = Run { id, status, fault, started_at: None, ..samples::run(entry.event.workflow) };
        let log: Arc<[LogLine]> = Arc::from([]);
        first.core.store.append_run(Arc::new(unrun), log, Durability::Durable).await.unwrap();
    }
    let data = first.end().await;

    let second = parts_on(data).await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(second.queue.clone().run(shutdown.clone()));
    for (entry, is_dead) in entries.iter().zip([false, true]) {
        let end = loop {
            let now = second.core.store.event(entry.event.id).await.unwrap();
            // Nobody knows how far it came: its key stays taken, its request runs by hand only.
            let now = now.expect("it is remembered");
            assert_eq!((now.attempt, now.run), (1, entry.run), "it is tried again");
            if let Some(end) = now.end() {
                break end;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!((end.status, end.is_dead), (Status::Interrupted, is_dead));
    }
    shutdown.cancel();
    running.await.unwrap();
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tick_that_succeeded_is_not_tried_again_after_a_crash() {
    let parts = parts().await;
    let tick = parts.claimed().await;
    parts.record(&tick, Status::Succeeded).await;
    assert_eq!(parts.pulls.recover(tick.clone()).await, TickState::Ran);
    assert_eq!(parts.waiting(&tick).await, (None, 0));
    parts.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tick_whose_run_was_cut_is_interrupted_and_tried_again_by_policy() {
    let parts = parts().await;
    let tick = parts.claimed().await;
    assert_eq!(parts.pulls.recover(tick.clone()).await, TickState::Interrupted);
    let run = parts.core.store.run(tick.run).await.unwrap().unwrap();
    assert_eq!(run.status, Status::Interrupted);
    let is_tried = crate::workflow::RetryPolicy::default().on.contains(&FaultKind::Interrupted);
    assert_eq!(parts.waiting(&tick).await.0.is_some(), is_tried);
    parts.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caller_who_hangs_up_at_once_leaves_no_event_behind() {
    let parts = parts().await;
    let create = serde_json::from_value(json!({ "name": "catch", "kind": "catch" })).unwrap();
    let entry = parts.core.registry.create(create, None).await.unwrap();
    let invocation =
        Invocation::new(Trigger::Catch, Input::Tick { schedule: String::new(), due: Timestamp::now() });
    let direct = invocation.id;
    let later = samples::event(entry.workflow.id);
    let waiting = QueueEntry::waiting(later.clone(), later.accepted_at);
    parts.core.store.enqueue(waiting, EventInput::Nothing).await.unwrap();

    let mut call = Box::pin(parts.queue.call(&entry, invocation, samples::key("k").unwrap()));
    assert!((&mut call).now_or_never().is_none());
    let mut cancel = Box::pin(parts.queue.cancel(later.id));
    assert!((&mut cancel).now_or_never().is_none());
    drop((call, cancel));
    parts.queue.settled().await;
    // The store answers in the order in which it was asked.
    parts.core.store.event_input(direct).await.unwrap();
    assert_eq!(parts.core.store.unended(None, 10).await.unwrap(), []);
    let end = parts.core.store.event(later.id).await.unwrap().unwrap().end().unwrap();
    assert_eq!(end.status, Status::Cancelled);
    assert_eq!(parts.core.store.run(later.id).await.unwrap().unwrap().status, Status::Cancelled);
    parts.close().await;
}
