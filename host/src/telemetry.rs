//! Counters, gauges and histograms of the host, and their text form for Prometheus.
//!
//! Counting is atomic additions on handles that exist before the first event. No label
//! holds anything that a caller or a guest chose: values are words of this program,
//! except for a failed exchange's error word, which is the host's own.

mod egress;
mod histogram;
mod open_connection;
mod queue;
mod refusals;
mod sign_ins;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use self::egress::EgressMetrics;
use self::histogram::{Histogram, MEMORY_BYTES, TIMES_US, US_PER_SECOND};
pub use self::open_connection::OpenConnection;
pub use self::queue::QueueMetrics;
pub use self::refusals::RefusalMetrics;
pub use self::sign_ins::SignInMetrics;
use crate::api::SlotFigures;
use crate::otlp::Exporter;
use crate::run::{FaultKind, LogLine, Run, Status, Trigger};
use crate::store::{QueueFigures, StoreHealth, TickState};

/// The results of compilations: success, and one for each way to fail.
pub const COMPILE_RESULTS: [&str; 9] =
    ["compiled", "refused", "timeout", "cpu", "memory", "too-large", "busy", "killed", "unusable"];

/// The content type of [`Telemetry::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const TRIGGERS: [&str; 4] = Trigger::WORDS;

/// What can become of a due instant once it is settled.
const TICK_STATES: [TickState; 7] = [
    TickState::Ran,
    TickState::Backfilled,
    TickState::Interrupted,
    TickState::SkippedRunning,
    TickState::SkippedPaused,
    TickState::Missed,
    TickState::Refused,
];

/// All counters of the process.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    runs: Family<RunLabels, Counter>,
    /// `runs` for a success, by trigger: found without a lock.
    runs_succeeded: [Counter; 4],
    run_duration: [Histogram; 4],
    run_queue: Histogram,
    run_memory: Histogram,
    run_cpu: Counter,
    runs_unrecorded: Counter,
    log_bytes_dropped: Counter,
    exchanges: Counter,
    exchange_failures: Family<ReasonLabels, Counter>,
    egress: EgressMetrics,
    requests: Family<RequestLabels, Counter>,
    /// `requests` for a catch that was answered 200: found without a lock.
    requests_caught: Counter,
    connections: Gauge,
    connection_failures: Family<ReasonLabels, Counter>,
    panics: Counter,
    ticks: Family<StateLabels, Counter>,
    tick_lateness: Histogram,
    compiles: Family<ResultLabels, Counter>,
    compile_duration: Histogram,
    /// The queue's.
    pub queue: QueueMetrics,
    /// Requests that became no run.
    pub refusals: RefusalMetrics,
    /// Sign-ins.
    pub sign_ins: SignInMetrics,
    otlp_dropped: Counter,
    stream_events_lost: Counter,
    exporter: OnceLock<Exporter>,
    gauges: GaugeHandles,
}

/// What is read anew whenever the metrics are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauges {
    /// Instances that exist.
    pub instances_in_use: u64,
    /// Instances that may exist.
    pub instances_max: u64,
    /// Linear memory of all instances, in bytes.
    pub instances_memory_bytes: u64,
    /// The memories that are reset in place.
    pub slots: SlotFigures,
    /// Runs that wait for a permit.
    pub runs_waiting: u64,
    /// Workflows that are not archived.
    pub workflows: u64,
    /// Schedules whose runs outlast the distance of their due instants.
    pub schedules_overrun: u64,
    /// How the store is.
    pub store: StoreHealth,
    /// How full the queue is.
    pub queue: QueueFigures,
    /// Outbound requests that were refused so far, by reason.
    pub egress_refused: Vec<(&'static str, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TriggerLabels {
    trigger: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    trigger: &'static str,
    status: &'static str,
    fault: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Default)]
struct GaugeHandles {
    instances_in_use: Gauge<u64, AtomicU64>,
    instances_max: Gauge<u64, AtomicU64>,
    instances_memory_bytes: Gauge<u64, AtomicU64>,
    slots: Gauge<u64, AtomicU64>,
    slots_idle: Gauge<u64, AtomicU64>,
    slots_idle_bytes: Gauge<u64, AtomicU64>,
    slot_resets: Counter,
    slot_restored_bytes: Counter,
    slots_discarded: Counter,
    runs_waiting: Gauge<u64, AtomicU64>,
    workflows: Gauge<u64, AtomicU64>,
    schedules_overrun: Gauge<u64, AtomicU64>,
    store_stopped: Gauge<u64, AtomicU64>,
    store_run_bytes: Gauge<u64, AtomicU64>,
    store_dead_bytes: Gauge<u64, AtomicU64>,
    store_statistics_bytes: Gauge<u64, AtomicU64>,
    store_index_bytes: Gauge<u64, AtomicU64>,
    store_blob_bytes: Gauge<u64, AtomicU64>,
    store_free_bytes: Gauge<u64, AtomicU64>,
    store_space_level: Gauge<u64, AtomicU64>,
    store_runs: Gauge<u64, AtomicU64>,
    store_queued: Gauge<u64, AtomicU64>,
    store_flush_us: Gauge<u64, AtomicU64>,
}

/// The route under which catch requests are counted.
pub const CATCH_ROUTE: &str = "/catch/{key}";

impl Telemetry {
    /// All metrics at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tidegate");
        let times = || Histogram::new(TIMES_US, US_PER_SECOND);

        let runs = Family::<RunLabels, Counter>::default();
        registry.register("runs", "Runs that ended, by trigger, status and kind of fault", runs.clone());
        let duration = Family::<TriggerLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(TIMES_US, US_PER_SECOND)
        });
        let help = "Time from a run's start to its end";
        registry.register_with_unit("run_duration", help, Unit::Seconds, duration.clone());
        let telemetry = Self {
            runs_succeeded: TRIGGERS.map(|trigger| {
                let labels = RunLabels { trigger, status: Status::Succeeded.word(), fault: "" };
                runs.get_or_create_owned(&labels)
            }),
            run_duration: TRIGGERS.map(|trigger| duration.get_or_create_owned(&TriggerLabels { trigger })),
            runs,
            run_queue: in_seconds(&mut registry, "run_queue", "Time that a run waited for a permit", times()),
            run_memory: in_bytes(
                &mut registry,
                "run_memory_peak",
                "Largest sum of a run's linear memories",
                Histogram::new(MEMORY_BYTES, 1.0),
            ),
            run_cpu: add(&mut registry, "run_cpu_microseconds", "Processor time of all instances"),
            runs_unrecorded: add(&mut registry, "runs_unrecorded", "Runs whose record could not be kept"),
            log_bytes_dropped: add(&mut registry, "log_dropped_bytes", "Log bytes over the cap of their run"),
            exchanges: add(&mut registry, "egress_exchanges", "HTTP exchanges of runs with the outside"),
            exchange_failures: add(
                &mut registry,
                "egress_failures",
                "Exchanges without a response, by wasi:http error code",
            ),
            egress: EgressMetrics::register(&mut registry),
            requests: add(&mut registry, "http_requests", "Requests answered, by route and status"),
            requests_caught: Counter::default(),
            connections: add(&mut registry, "http_connections_open", "Open connections"),
            connection_failures: add(
                &mut registry,
                "http_connection_failures",
                "Connections that could not be accepted or were cut, by reason",
            ),
            panics: add(&mut registry, "panics", "Panics of the host that were contained"),
            ticks: add(&mut registry, "ticks", "Due instants, by what became of them"),
            tick_lateness: in_seconds(
                &mut registry,
                "tick_lateness",
                "Time from a due instant, and its jitter, to the start of its run",
                times(),
            ),
            compiles: add(&mut registry, "compiles", "Compilations of components, by result"),
            compile_duration: in_seconds(
                &mut registry,
                "compile_duration",
                "Time of one compilation",
                times(),
            ),
            queue: QueueMetrics::register(&mut registry),
            refusals: RefusalMetrics::register(&mut registry),
            sign_ins: SignInMetrics::register(&mut registry),
            stream_events_lost: add(
                &mut registry,
                "stream_events_lost",
                "Events that listeners of server-sent events were too slow for",
            ),
            otlp_dropped: add(&mut registry, "otlp_dropped_runs", "Runs that the OTLP collector did not get"),
            exporter: OnceLock::new(),
            gauges: GaugeHandles::register(&mut registry),
            registry,
        };
        telemetry.create_all()
    }

    /// Makes every known label set exist at zero: the first event is seen as an increase.
    fn create_all(mut self) -> Self {
        for trigger in TRIGGERS {
            for fault in FaultKind::ALL {
                let status = match fault {
                    FaultKind::Interrupted => Status::Interrupted,
                    FaultKind::Refused
                    | FaultKind::Quota
                    | FaultKind::Overload
                    | FaultKind::Skipped
                    | FaultKind::Cancelled => Status::Cancelled,
                    _ => Status::Failed,
                };
                self.runs.get_or_create_owned(&RunLabels {
                    trigger,
                    status: status.word(),
                    fault: fault.word(),
                });
            }
        }
        for state in TICK_STATES {
            self.ticks.get_or_create_owned(&StateLabels { state: state.word() });
        }
        for result in COMPILE_RESULTS {
            self.compiles.get_or_create_owned(&ResultLabels { result });
        }
        self.requests_caught =
            self.requests.get_or_create_owned(&RequestLabels { route: CATCH_ROUTE.to_owned(), status: 200 });
        self
    }

    /// Counts a run that ended.
    pub fn run_finished(&self, run: &Run) {
        let trigger = match run.trigger {
            Trigger::Catch => 0,
            Trigger::Pull { .. } => 1,
            Trigger::Test => 2,
            Trigger::Replay { .. } => 3,
        };
        match (&run.fault, run.status) {
            (None, Status::Succeeded) => self.runs_succeeded[trigger].inc(),
            (fault, status) => {
                let fault = fault.as_ref().map_or("", |fault| fault.kind.word());
                let labels = RunLabels { trigger: TRIGGERS[trigger], status: status.word(), fault };
                self.runs.get_or_create(&labels).inc()
            }
        };
        if run.started_at.is_some() {
            self.run_duration[trigger].observe(run.usage.wall_us);
            self.run_queue.observe(run.usage.queue_us);
            self.run_memory.observe(run.usage.memory_peak_bytes);
            self.run_cpu.inc_by(run.usage.cpu_us);
        }
        if run.log.dropped_bytes > 0 {
            self.log_bytes_dropped.inc_by(run.log.dropped_bytes);
        }
        if !run.exchanges.is_empty() {
            self.exchanges.inc_by(run.exchanges.len() as u64);
        }
        for error in run.exchanges.iter().filter_map(|exchange| exchange.error.as_ref()) {
            self.exchange_failures.get_or_create(&ReasonLabels { reason: error.clone() }).inc();
        }
    }

    /// Sends runs to a collector from now on; the first one counts.
    pub fn export_to(&self, exporter: Exporter) {
        if let Err(surplus) = self.exporter.set(exporter) {
            surplus.close();
        }
    }

    /// Whether runs are sent to a collector.
    pub fn is_exported(&self) -> bool {
        self.exporter.get().is_some()
    }

    /// Sends a run that ended to the collector, if there is one.
    pub fn export(&self, run: &Arc<Run>, log: &Arc<[LogLine]>) {
        if let Some(exporter) = self.exporter.get() {
            exporter.take(run, log);
        }
    }

    /// Sends what is left to the collector. Blocks.
    pub fn close(&self) {
        if let Some(exporter) = self.exporter.get() {
            exporter.close();
        }
    }

    /// Counts a run whose record could not be kept.
    pub fn run_unrecorded(&self) {
        self.runs_unrecorded.inc();
    }

    /// Counts events that a listener was too slow for.
    pub fn stream_events_lost(&self, events: u64) {
        self.stream_events_lost.inc_by(events);
    }

    /// All of them since the start.
    pub fn stream_events_lost_total(&self) -> u64 {
        self.stream_events_lost.get()
    }

    /// Counts an answered request. `route` is a route's pattern, never a path.
    pub fn request_answered(&self, route: &str, status: u16) {
        if status == 200 && route == CATCH_ROUTE {
            self.requests_caught.inc();
            return;
        }
        self.requests.get_or_create(&RequestLabels { route: route.to_owned(), status }).inc();
    }

    /// Counts a connection as open until the returned value is dropped.
    pub fn connection_opened(&self) -> OpenConnection {
        OpenConnection::counted_by(&self.connections)
    }

    /// Counts a connection that could not be accepted or was cut; `reason` is a word of
    /// this program.
    pub fn connection_failed(&self, reason: &'static str) {
        self.connection_failures.get_or_create(&ReasonLabels { reason: reason.to_owned() }).inc();
    }

    /// Counts a panic of the host that cost one request or one run.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts how late the run of a due instant began.
    pub fn tick_started(&self, lateness: Duration) {
        self.tick_lateness.observe(micros(lateness));
    }

    /// Counts due instants whose fate is known.
    pub fn ticks_settled(&self, state: TickState, count: u64) {
        self.ticks.get_or_create(&StateLabels { state: state.word() }).inc_by(count);
    }

    /// Counts a compilation by its result; one of no time never began.
    pub fn compiled(&self, result: &'static str, took: Duration) {
        self.compiles.get_or_create(&ResultLabels { result }).inc();
        if !took.is_zero() {
            self.compile_duration.observe(micros(took));
        }
    }

    /// All metrics in the OpenMetrics text format, with the gauges as they are given.
    pub fn render(&self, gauges: &Gauges) -> String {
        self.gauges.set(gauges);
        self.queue.set(&gauges.queue);
        self.egress.set(&gauges.egress_refused);
        let dropped = self.exporter.get().map_or(0, Exporter::dropped);
        self.otlp_dropped.inner().store(dropped, Ordering::Relaxed);
        let mut text = String::with_capacity(32 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a String does not fail");
        text
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl GaugeHandles {
    fn register(registry: &mut Registry) -> Self {
        let handles = Self::default();
        let list = [
            (&handles.instances_in_use, "instances_in_use", "Instances that exist"),
            (&handles.instances_max, "instances_max", "Instances that may exist"),
            (&handles.instances_memory_bytes, "instances_memory_bytes", "Linear memory of all instances"),
            (&handles.slots, "slots", "Memories that are reset in place after a run"),
            (&handles.slots_idle, "slots_idle", "Those of them that wait for a run"),
            (&handles.slots_idle_bytes, "slots_idle_bytes", "Memory that waiting ones and stacks hold"),
            (&handles.runs_waiting, "runs_waiting", "Runs that wait for a permit"),
            (&handles.workflows, "workflows", "Workflows that are not archived"),
            (
                &handles.schedules_overrun,
                "schedules_overrun",
                "Schedules whose latest run outlasted the time to the next due instant",
            ),
            (&handles.store_stopped, "store_stopped", "1 when the store stopped writing after an error"),
            (&handles.store_run_bytes, "store_run_bytes", "Bytes of run records and logs"),
            (
                &handles.store_dead_bytes,
                "store_dead_bytes",
                "Bytes of deleted runs whose space has not come back",
            ),
            (&handles.store_statistics_bytes, "store_statistics_bytes", "Bytes of statistics"),
            (&handles.store_index_bytes, "store_index_bytes", "Bytes of the index and the metadata"),
            (&handles.store_blob_bytes, "store_blob_bytes", "Bytes of components and sources"),
            (&handles.store_free_bytes, "store_free_bytes", "Bytes free on the file system"),
            (
                &handles.store_space_level,
                "store_space_level",
                "0 with enough room, 1 when deploys are refused, 2 when runs are not recorded",
            ),
            (&handles.store_runs, "store_runs", "Runs that are kept"),
            (&handles.store_queued, "store_queued", "Entries that wait for the store's writer"),
            (&handles.store_flush_us, "store_flush_microseconds", "Time of the last group flush"),
        ];
        for (gauge, name, help) in list {
            registry.register(name, help, gauge.clone());
        }
        let list = [
            (&handles.slot_resets, "slot_resets", "Runs after which a memory was reset in place"),
            (&handles.slot_restored_bytes, "slot_restored_bytes", "What those runs had written"),
            (&handles.slots_discarded, "slots_discarded", "Memories and stacks that could not be reset"),
        ];
        for (counter, name, help) in list {
            registry.register(name, help, counter.clone());
        }
        handles
    }

    fn set(&self, now: &Gauges) {
        self.instances_in_use.set(now.instances_in_use);
        self.instances_max.set(now.instances_max);
        self.instances_memory_bytes.set(now.instances_memory_bytes);
        self.slots.set(now.slots.slots);
        self.slots_idle.set(now.slots.idle);
        self.slots_idle_bytes.set(now.slots.idle_bytes);
        // Counted where they happen; here they are shown.
        self.slot_resets.inner().store(now.slots.resets, Ordering::Relaxed);
        self.slot_restored_bytes.inner().store(now.slots.restored_bytes, Ordering::Relaxed);
        self.slots_discarded.inner().store(now.slots.discarded, Ordering::Relaxed);
        self.runs_waiting.set(now.runs_waiting);
        self.workflows.set(now.workflows);
        self.schedules_overrun.set(now.schedules_overrun);
        self.store_stopped.set(u64::from(now.store.stopped.is_some()));
        self.store_run_bytes.set(now.store.run_bytes);
        self.store_dead_bytes.set(now.store.dead_bytes);
        self.store_statistics_bytes.set(now.store.statistics_bytes);
        self.store_index_bytes.set(now.store.index_bytes);
        self.store_blob_bytes.set(now.store.blob_bytes);
        self.store_free_bytes.set(now.store.free_bytes);
        self.store_space_level.set(now.store.space as u64);
        self.store_runs.set(now.store.runs);
        self.store_queued.set(now.store.queued);
        self.store_flush_us.set(now.store.flush_us);
    }
}

/// Registers a metric and returns a handle to it.
fn add<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Default + Clone,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn in_seconds(registry: &mut Registry, name: &str, help: &str, metric: Histogram) -> Histogram {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

fn in_bytes(registry: &mut Registry, name: &str, help: &str, metric: Histogram) -> Histogram {
    registry.register_with_unit(name, help, Unit::Bytes, metric.clone());
    metric
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
