//! The queue's counters and gauges.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::add;
use crate::run::Status;
use crate::store::{Enqueued, EventEnd, QueueFigures, Result, Settlement, StoreError};

/// What can become of an event that is handed over.
const ACCEPTED: [&str; 4] = ["new", "known", "full", "failed"];
/// What can become of an attempt.
const SETTLED: [&str; 6] = ["succeeded", "cancelled", "failed", "dead", "retried", "forgotten"];
/// What can become of a try to tell a callback. `gone`: its receiver answered 410 and is told no
/// more; `given-up`: no try was left; `again`: another one follows.
const TOLD: [&str; 4] = ["told", "gone", "given-up", "again"];

/// What the queue counts.
#[derive(Debug)]
pub struct QueueMetrics {
    accepted: Family<ResultLabels, Counter>,
    settled: Family<ResultLabels, Counter>,
    callbacks: Family<ResultLabels, Counter>,
    redriven: Counter,
    waiting: Gauge<u64, AtomicU64>,
    leased: Gauge<u64, AtomicU64>,
    notifying: Gauge<u64, AtomicU64>,
    dead: Gauge<u64, AtomicU64>,
    remembered: Gauge<u64, AtomicU64>,
    input_bytes: Gauge<u64, AtomicU64>,
    file_bytes: Gauge<u64, AtomicU64>,
    dead_dropped: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl QueueMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            accepted: add(registry, "queue_events", "Events handed to the queue, by what became of them"),
            settled: add(registry, "queue_attempts", "Attempts at events, by what followed from them"),
            callbacks: add(registry, "queue_callbacks", "Tries to tell a callback, by result"),
            redriven: add(registry, "queue_redriven", "Dead letters that were driven again"),
            waiting: add(registry, "queue_waiting", "Events that wait for an attempt"),
            leased: add(registry, "queue_running", "Events whose attempt goes on"),
            notifying: add(registry, "queue_notifying", "Events whose callback is to be told"),
            dead: add(registry, "queue_dead", "Dead letters"),
            remembered: add(registry, "queue_remembered", "Events that are over and remembered"),
            input_bytes: add(registry, "queue_input_bytes", "Bytes of the inputs of events"),
            file_bytes: add(registry, "queue_file_bytes", "Bytes of the queue's files"),
            dead_dropped: add(
                registry,
                "queue_dead_dropped",
                "Dead letters that went for want of room or of age since the start",
            ),
        };
        for result in ACCEPTED {
            metrics.accepted.get_or_create_owned(&ResultLabels { result });
        }
        for result in SETTLED {
            metrics.settled.get_or_create_owned(&ResultLabels { result });
        }
        for result in TOLD {
            metrics.callbacks.get_or_create_owned(&ResultLabels { result });
        }
        metrics
    }

    /// Counts an event that was handed over.
    pub fn accepted(&self, result: &Result<Enqueued>) {
        let result = match result {
            Ok(Enqueued::New) => "new",
            Ok(Enqueued::Known(_)) => "known",
            Err(StoreError::QueueFull { .. }) => "full",
            Err(StoreError::Full { .. }) => "disk-full",
            Err(_) => "failed",
        };
        self.accepted.get_or_create(&ResultLabels { result }).inc();
    }

    /// Counts what followed from an attempt.
    pub fn settled(&self, settlement: &Settlement) {
        let result = match settlement {
            Settlement::End(EventEnd { is_dead: true, .. }) => "dead",
            Settlement::End(EventEnd { status: Status::Succeeded, .. }) => "succeeded",
            Settlement::End(EventEnd { status: Status::Cancelled, .. }) => "cancelled",
            Settlement::End(_) => "failed",
            Settlement::Retry { .. } => "retried",
            Settlement::Forget => "forgotten",
        };
        self.settled.get_or_create(&ResultLabels { result }).inc();
    }

    /// Counts dead letters that were driven again.
    pub fn redriven(&self, events: u64) {
        self.redriven.inc_by(events);
    }

    /// Counts a try to tell a callback by its result: `told`, `gone`, `given-up` or `again`.
    pub fn callback_told(&self, result: &'static str) {
        self.callbacks.get_or_create(&ResultLabels { result }).inc();
    }

    pub(super) fn set(&self, now: &QueueFigures) {
        self.waiting.set(now.waiting);
        self.leased.set(now.leased);
        self.notifying.set(now.notifying);
        self.dead.set(now.dead);
        self.remembered.set(now.remembered);
        self.input_bytes.set(now.input_bytes);
        self.file_bytes.set(now.file_bytes);
        self.dead_dropped.inner().store(now.dead_dropped, Ordering::Relaxed);
    }
}
