//! The one way in which a workflow runs, whoever triggers it: permits, settings, the
//! engine, the record.
//!
//! The server's catch path, the scheduler and test runs call [`Invoker::invoke`]. It
//! never fails: what happened is in the run it returns.

mod admission;
mod ending;
mod masking;
mod owners;
mod persistent;
mod record;
mod settings;
mod turns;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::Admitted;
use self::owners::Owners;
use self::persistent::Persistent;
use self::settings::{RunSettings, fault_of_commit};
use self::turns::Turns;
use crate::answer::{self, Answer};
use crate::api::{RunEvent, RunView};
use crate::config::{self, Config};
use crate::engine::egress::OutboundLimits;
use crate::engine::{Call, CallLimits, Engine, Input, Outcome, Remains, Report, remark};
use crate::programs::Programs;
use crate::registry::{Entry, Registry};
use crate::run::{Fault, FaultKind, LogLine, Run, RunId, Status, Trace, Trigger};
use crate::store::Store;
use crate::telemetry::Telemetry;
use crate::workflow::WorkflowId;

/// Events that a slow listener may be behind before it loses some.
const EVENTS_MAX: usize = 1024;
/// Longest returned value that a record keeps, in bytes.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// One run, before it starts.
pub struct Invocation {
    /// Names the run.
    pub id: RunId,
    /// What starts it.
    pub trigger: Trigger,
    /// What it is handed.
    pub input: Input,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When the host accepted it.
    pub accepted_at: Timestamp,
    /// From when on a pull is late: its due instant and the schedule's jitter behind it. When it
    /// was accepted, for anything else.
    pub ready_at: Timestamp,
    /// What its starter counts runs in the sandbox by: given back when it has left it, before
    /// its record is on the disk.
    pub place: Option<OwnedSemaphorePermit>,
    /// What the queue says of it; `None` for what did not go through the queue.
    pub queued: Option<Queued>,
}

/// An attempt at an event of the queue. Its record is on the disk before it is shown as
/// ended, and holds the whole reply.
pub struct Queued {
    /// The event.
    pub event: RunId,
    /// Stops it, also before it began.
    pub cancel: CancellationToken,
    /// It waits for a permit as long as it takes: for work whose number is bounded by
    /// whoever calls.
    pub is_patient: bool,
}

impl Invocation {
    /// A first attempt, accepted now.
    pub fn new(trigger: Trigger, input: Input) -> Self {
        let (id, accepted_at) = (RunId::new(), Timestamp::now());
        let ready_at = accepted_at;
        Self { id, trigger, input, attempt: 1, accepted_at, ready_at, place: None, queued: None }
    }
}

/// A run that has not ended.
struct Going {
    run: Run,
    /// Stops it.
    cancel: CancellationToken,
}

/// What [`Invoker::cancel`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It has ended by now.
    Ended,
    /// No run with this id waits or runs.
    NotRunning,
}

/// A run that ended.
#[derive(Clone)]
pub struct Finished {
    /// The record.
    pub run: Arc<Run>,
    /// Its log.
    pub log: Arc<[LogLine]>,
    /// What the caller of a catch is answered.
    pub answer: Answer,
    /// Whether the record is kept; it is not when there is no room, or nothing is written.
    pub is_recorded: bool,
}

/// What the invoker is doing, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvokerGauges {
    /// Runs in their sandbox.
    pub running: usize,
    /// Runs that wait for a permit.
    pub queued: usize,
}

/// Runs workflows.
pub struct Invoker {
    config: Arc<Config>,
    engine: Arc<Engine>,
    owners: Owners,
    turns: Turns,
    registry: Arc<Registry>,
    programs: Arc<Programs>,
    store: Arc<dyn Store>,
    telemetry: Arc<Telemetry>,
    events: broadcast::Sender<RunEvent>,
    /// What records call this host.
    node: Arc<str>,
    running: Mutex<HashMap<RunId, Going>>,
    queued: AtomicUsize,
    tasks: TaskTracker,
    /// Runs have had their time to end by themselves.
    is_cut: AtomicBool,
}

impl Invoker {
    /// An invoker over the host's parts.
    pub fn new(
        config: Arc<Config>,
        engine: Arc<Engine>,
        registry: Arc<Registry>,
        programs: Arc<Programs>,
        store: Arc<dyn Store>,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self {
            node: config.server.node().into(),
            owners: Owners::new(&config, Some(engine.memory().clone())),
            turns: Turns::new(engine.permits().clone()),
            config,
            engine,
            registry,
            programs,
            store,
            telemetry,
            events: broadcast::Sender::new(EVENTS_MAX),
            running: Mutex::default(),
            queued: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            is_cut: AtomicBool::new(false),
        }
    }

    /// Runs a workflow once and records it. The run goes on when the returned future is
    /// dropped: a caller that hangs up does not cut it.
    pub async fn invoke(self: &Arc<Self>, entry: &Arc<Entry>, invocation: Invocation) -> Finished {
        self.invoke_first(entry, invocation).await.0
    }

    /// The same, with what the run leaves behind: who answers a caller drops it when the
    /// answer is out.
    pub async fn invoke_first(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        invocation: Invocation,
    ) -> (Finished, Option<Remains>) {
        let (this, entry) = (self.clone(), entry.clone());
        Persistent::new(self.tasks.track_future(async move {
            let run = this.record(&entry, &invocation, Status::Queued);
            let cancel = invocation.queued.as_ref().map(|queued| queued.cancel.clone()).unwrap_or_default();
            let id = run.id;
            // Made before the lock is taken.
            let going = Going { run: run.clone(), cancel: cancel.clone() };
            this.lock_running().insert(id, going);
            match AssertUnwindSafe(this.carry_out(&entry, invocation, run, cancel)).catch_unwind().await {
                Ok(ended) => ended,
                // This run is lost, the host is not.
                Err(_) => (this.record_panic(&entry, id).await, None),
            }
        }))
        .await
    }

    /// Records something that never ran: a request that was refused, a tick that was
    /// skipped.
    pub async fn record_unrun(
        &self,
        entry: &Entry,
        invocation: &Invocation,
        status: Status,
        fault: Fault,
    ) -> Arc<Run> {
        let mut run = self.record(entry, invocation, status);
        run.finished_at = Some(Timestamp::now());
        if let Input::Request(_) = &invocation.input {
            run.reply = Some(answer::of_fault(&fault, run.id).record(self.config.run.record_body_bytes_max));
        }
        run.fault = Some(fault);
        self.finish(entry, run, Vec::new()).await.0
    }

    /// The record of a run that waits elsewhere.
    pub fn queued_run(&self, entry: &Entry, invocation: &Invocation) -> Run {
        self.shown(self.record(entry, invocation, Status::Queued))
    }

    /// Records a request that was refused before it became a run, with what its caller is
    /// answered.
    pub async fn refuse(
        &self,
        entry: &Entry,
        invocation: &Invocation,
        fault: Fault,
        answer: &Answer,
    ) -> Arc<Run> {
        let mut run = self.record(entry, invocation, Status::Cancelled);
        run.finished_at = Some(Timestamp::now());
        run.reply = Some(answer.record(self.config.run.record_body_bytes_max));
        run.fault = Some(fault);
        self.finish(entry, run, Vec::new()).await.0
    }

    /// The runs that have not ended, oldest first; of one workflow when it is named.
    pub fn running(&self, workflow: Option<WorkflowId>) -> Vec<Run> {
        let mut runs: Vec<Run> = self.lock_running().values().map(|going| going.run.clone()).collect();
        runs.retain(|run| workflow.is_none_or(|id| run.workflow == id));
        runs = runs.into_iter().map(|run| self.shown(run)).collect();
        runs.sort_by_key(|run| run.id);
        runs
    }

    /// Runs as they start and end. A listener that is too slow loses some, and is told
    /// how many.
    pub fn subscribe(&self) -> broadcast::Receiver<RunEvent> {
        self.events.subscribe()
    }

    /// What the invoker is doing.
    pub fn gauges(&self) -> InvokerGauges {
        let queued = self.queued.load(Ordering::Relaxed);
        InvokerGauges { running: self.lock_running().len().saturating_sub(queued), queued }
    }

    /// Waits until all runs have ended. Those that have not within `patience` are cut, and
    /// recorded as interrupted.
    pub async fn drain(&self, patience: Duration) {
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(runs = self.lock_running().len(), "runs are cut by the end of the host");
            // In this order: a run that is not in the list yet sees that it is cut.
            self.is_cut.store(true, Ordering::SeqCst);
            self.lock_running().values().for_each(|going| going.cancel.cancel());
            self.tasks.wait().await;
        }
    }

    /// Stops a run that waits or runs, and returns when its end is on record.
    pub async fn cancel(&self, id: RunId) -> Cancelled {
        let mut events = self.subscribe();
        match self.lock_running().get(&id) {
            None => return Cancelled::NotRunning,
            Some(going) => going.cancel.cancel(),
        }
        // A lost event is no reason to wait for ever: the list is what counts.
        while self.lock_running().contains_key(&id) {
            if let Err(broadcast::error::RecvError::Closed) = events.recv().await {
                break;
            }
        }
        Cancelled::Ended
    }

    async fn carry_out(
        &self,
        entry: &Arc<Entry>,
        mut invocation: Invocation,
        mut run: Run,
        cancel: CancellationToken,
    ) -> (Finished, Option<Remains>) {
        let place = invocation.place.take();
        let queued = Instant::now();
        let is_patient = invocation.queued.as_ref().is_some_and(|queued| queued.is_patient);
        if self.is_cut.load(Ordering::SeqCst) {
            cancel.cancel();
        }
        let admitted = tokio::select! {
            biased;
            admitted = self.admit(entry, is_patient) => admitted,
            () = cancel.cancelled() => Err(self.fault_of_stop()),
        };
        let Admitted { permit, mut turn } = match admitted {
            Ok(admitted) => admitted,
            Err(fault) => return (self.unsuccessful(entry, run, fault, Vec::new()).await, None),
        };
        let queue_us = queued.elapsed().as_micros() as u64;
        run.status = Status::Running;
        let now = Timestamp::now();
        run.started_at = Some(now);
        run.note_lateness(invocation.ready_at, now);
        self.announce(&run);
        if let Some(shown) = self.lock_running().get_mut(&run.id) {
            (shown.run.status, shown.run.started_at) = (run.status, run.started_at);
            shown.run.lateness_us = run.lateness_us;
        }

        let committer = Arc::new(RunSettings {
            registry: self.registry.clone(),
            entry: entry.clone(),
            run: run.id,
            commits_left: AtomicU32::new(self.config.run.commits_max),
            changed: Mutex::default(),
        });
        let trace = run.trace.clone();
        let (ready, call) = match self.prepare(entry, invocation, trace, committer.clone()).await {
            Ok((ready, call)) => {
                let outbound = OutboundLimits { owner: turn.egress(), ..call.outbound };
                (ready, Call { memory: turn.memory(), outbound, ..call })
            }
            Err(fault) => return (self.unsuccessful(entry, run, fault, Vec::new()).await, None),
        };
        run.settings_read = call.settings.entries.keys().cloned().collect();
        let (report, remains) = self.engine.run_until(&ready.program, call, permit, &cancel).await;
        turn.charge(report.usage.cpu_us);
        drop(turn);

        // The caller of a catch comes before its instance's slot; a pull has no caller, and its
        // record waits for the disk.
        let remains = matches!(run.trigger, Trigger::Catch).then_some(remains);
        drop(place);

        let Report { end, mut log, log_summary, exchanges, mut usage, inputs } = report;
        usage.queue_us = queue_us;
        run.log = log_summary;
        run.exchanges = exchanges;
        run.usage = usage;
        run.inputs = inputs;
        let settled = match end {
            Ok(outcome) => self.settle(entry, &mut run, outcome, &committer, &mut log).await,
            Err(fault) if fault.kind == FaultKind::Cancelled => Err(self.fault_of_stop()),
            Err(fault) => Err(fault),
        };
        run.settings_changed = committer.changed();
        let finished = match settled {
            Ok(answer) => {
                run.status = Status::Succeeded;
                self.close(entry, run, answer, log).await
            }
            Err(fault) => self.unsuccessful(entry, run, fault, log).await,
        };
        (finished, remains)
    }

    async fn prepare(
        &self,
        entry: &Entry,
        invocation: Invocation,
        trace: Option<Trace>,
        commit: Arc<RunSettings>,
    ) -> Result<(crate::programs::Ready, Call), Fault> {
        let version = entry.deployed().map_err(|error| Fault::new(FaultKind::Refused, error.to_string()))?;
        let ready = self.programs.ready(&version.code).await.map_err(|error| host_fault(&error))?;
        let settings = self.registry.settings_of(entry).await.map_err(|error| host_fault(&error))?;
        let own = &entry.workflow.limits;
        let engine = &self.config.engine;
        let call = Call {
            workflow: entry.workflow.id,
            input: invocation.input,
            attempt: invocation.attempt,
            settings,
            source: ready.source.clone(),
            commit: Some(commit),
            trace,
            memory: None,
            destinations: entry.workflow.egress.clone(),
            outbound: OutboundLimits {
                requests_max: own.egress_requests_max,
                concurrent_max: own.egress_concurrent_max,
                bytes_max: own.egress_bytes_max,
                owner: None,
            },
            limits: CallLimits {
                deadline: Duration::from_millis(own.deadline_ms.unwrap_or(engine.deadline_ms)),
                cpu_max: Duration::from_millis(own.cpu_ms_max.unwrap_or(engine.cpu_ms_max)),
                memory_bytes_max: own.memory_bytes_max.unwrap_or(engine.memory_bytes_max as u64),
                log_bytes_max: least(own.log_bytes_max, self.config.run.log_bytes_max),
            },
        };
        Ok((ready, call))
    }

    /// Saves what a run that came to its end wants saved, and makes the caller's answer.
    async fn settle(
        &self,
        entry: &Entry,
        run: &mut Run,
        outcome: Outcome,
        committer: &RunSettings,
        log: &mut Vec<LogLine>,
    ) -> Result<Answer, Fault> {
        let shares_origin = self.config.server.catch_listen.is_empty();
        let limits = config::Run {
            reply_bytes_max: least(entry.workflow.limits.reply_bytes_max, self.config.run.reply_bytes_max),
            ..self.config.run.clone()
        };
        let (answer, remarks) = answer::of_reply(outcome.reply, run.id, &limits, shares_origin)?;
        for text in remarks {
            remark(log, run.usage.wall_us, text);
            run.log.lines += 1;
        }
        run.value = match outcome.value {
            Some(text) if text.len() > VALUE_BYTES_MAX => {
                remark(
                    log,
                    run.usage.wall_us,
                    format!("the returned value has {} bytes and is not kept", text.len()),
                );
                run.log.lines += 1;
                None
            }
            Some(text) => Some(RawValue::from_string(text).map_err(|error| {
                Fault::new(FaultKind::Result, format!("the returned value is not JSON: {error}"))
            })?),
            None => None,
        };
        if !outcome.changes.is_empty() {
            committer.save(entry, outcome.changes).await.map_err(|error| fault_of_commit(&error))?;
        }
        Ok(answer)
    }

    /// Why a run that was told to stop does.
    fn fault_of_stop(&self) -> Fault {
        if self.is_cut.load(Ordering::SeqCst) {
            return Fault::new(FaultKind::Interrupted, "the host stopped before the run ended");
        }
        Fault::new(FaultKind::Cancelled, "the run was cancelled")
    }

    fn announce(&self, run: &Run) {
        if self.events.receiver_count() > 0 {
            // No receiver any more is no error.
            let _ = self.events.send(RunEvent { run: RunView::from(run) });
        }
    }

    // A panic under this lock leaves whole records behind.
    fn lock_running(&self) -> MutexGuard<'_, HashMap<RunId, Going>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A workflow's own limit, or the host's where that is lower.
fn least(own: Option<u64>, host: usize) -> usize {
    own.and_then(|own| usize::try_from(own).ok()).unwrap_or(usize::MAX).min(host)
}

fn host_fault(error: &(dyn std::error::Error + 'static)) -> Fault {
    tracing::error!(error, "a run could not be started");
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    Fault::new(FaultKind::Host, message)
}
