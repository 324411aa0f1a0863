//! Runs as OTLP traces, metrics and logs, when an endpoint is configured: OTLP over HTTP
//! with JSON, the names of the OpenTelemetry conventions for functions (`faas.*`).
//!
//! A thread of its own collects and sends. What comes while its queue is full is dropped
//! and counted: a collector that is slow or gone slows nobody.

mod encode;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::encode::{Metrics, Resource};
use crate::run::{LogLine, Run};

/// Runs that wait to be sent.
const QUEUE_MAX: usize = 4096;
/// Runs that are sent together.
const BATCH_MAX: usize = 256;
/// The longest time that a run waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(2);
/// Time between two sets of metrics.
const METRICS_INTERVAL: Duration = Duration::from_secs(30);
/// Time of one request.
const REQUEST_MAX: Duration = Duration::from_secs(5);

/// A run that ended.
struct Ended {
    run: Arc<Run>,
    log: Arc<[LogLine]>,
}

/// Sends runs to a collector.
#[derive(Debug)]
pub struct Exporter {
    queue: Mutex<Option<SyncSender<Ended>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    dropped: Arc<AtomicU64>,
}

/// Where to, and as whom.
#[derive(Debug, Clone)]
pub struct ExporterOptions {
    /// The collector's base URL; `/v1/traces` and its like are added.
    pub endpoint: String,
    /// Headers of each request, for example a collector's key.
    pub headers: Vec<(String, String)>,
    /// What the host is called.
    pub node: String,
}

impl Exporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(options: ExporterOptions) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let sending = Sending::new(options, dropped.clone());
        let thread = std::thread::Builder::new()
            .name("tidegate-otlp".to_owned())
            .spawn(move || sending.run(&receiver))?;
        Ok(Self { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), dropped })
    }

    /// Takes a run that ended. Never waits.
    pub fn take(&self, run: &Arc<Run>, log: &Arc<[LogLine]>) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = Ended { run: run.clone(), log: log.clone() };
        if queue.as_ref().is_none_or(|queue| queue.try_send(ended).is_err()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Runs that were not sent, because the queue was full or the collector did not take
    /// them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sends what is left, for a few seconds at most, and ends the thread. Blocks.
    pub fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of it was logged when it happened.
        let _ = thread.map(JoinHandle::join);
    }
}

/// The thread's own state.
struct Sending {
    agent: ureq::Agent,
    options: ExporterOptions,
    resource: Resource,
    metrics: Metrics,
    metrics_at: Instant,
    dropped: Arc<AtomicU64>,
    is_failing: bool,
}

impl Sending {
    fn new(options: ExporterOptions, dropped: Arc<AtomicU64>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST_MAX))
            .max_redirects(0)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        Self {
            agent: config.build().new_agent(),
            resource: Resource::new(&options.node),
            options,
            metrics: Metrics::new(),
            metrics_at: Instant::now(),
            dropped,
            is_failing: false,
        }
    }

    fn run(mut self, queue: &Receiver<Ended>) {
        let mut batch = Vec::new();
        loop {
            let is_open = fill(queue, &mut batch);
            if !batch.is_empty() {
                batch.iter().for_each(|ended| self.metrics.add(&ended.run));
                let spans = encode::spans(&self.resource, batch.iter().map(|ended| &*ended.run));
                let logs = encode::logs(&self.resource, batch.iter().map(|ended| (&*ended.run, &*ended.log)));
                let is_sent = self.send("traces", &spans) && self.send("logs", &logs);
                if !is_sent {
                    self.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
                }
                batch.clear();
            }
            if !is_open || self.metrics_at.elapsed() >= METRICS_INTERVAL {
                self.metrics_at = Instant::now();
                let metrics = self.metrics.encode(&self.resource);
                self.send("metrics", &metrics);
            }
            if !is_open {
                return;
            }
        }
    }

    /// Whether the collector took it.
    fn send(&mut self, signal: &str, document: &serde_json::Value) -> bool {
        let url = format!("{}/v1/{signal}", self.options.endpoint.trim_end_matches('/'));
        let mut request = self.agent.post(&url).header("content-type", "application/json");
        for (name, value) in &self.options.headers {
            request = request.header(name, value);
        }
        let result = request.send(document.to_string());
        match (&result, self.is_failing) {
            (Err(error), false) => {
                tracing::warn!(%error, signal, "the telemetry collector does not take what it is sent");
            }
            (Ok(_), true) => tracing::info!("the telemetry collector takes what it is sent again"),
            _ => {}
        }
        self.is_failing = result.is_err();
        result.is_ok()
    }
}

/// Waits for runs; `false` when no more will come.
fn fill(queue: &Receiver<Ended>, batch: &mut Vec<Ended>) -> bool {
    let end = Instant::now() + BATCH_WAIT;
    while batch.len() < BATCH_MAX {
        match queue.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(ended) => batch.push(ended),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}
