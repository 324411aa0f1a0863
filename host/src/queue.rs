//! Accepted work that runs later: asynchronous requests, retries, replays of many runs;
//! and requests that must not run twice.
//!
//! The store keeps the events ([`crate::store::EventQueue`]); this accepts them, has the
//! invoker run them, and decides what follows from how a run ended. The server's catch
//! path hands over what asks for it, [`crate::pulls`] the ticks that failed; the app
//! starts [`Queue::run`] and waits for its end. It never runs a workflow itself, and
//! never answers a caller before the store has what was accepted.
//!
//! **What is promised.** An event that was accepted ends exactly once: succeeded, failed,
//! interrupted or cancelled, whatever happens to the host meanwhile. What was going on
//! when the host died is tried again only when the workflow's retry policy counts
//! `interrupted`: such work runs at least once, all other at most once.

mod callback;
mod cancelling;
mod dispatcher;
mod flights;
mod pulls;
mod recording;
mod recovery;
mod settling;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::Answer;
use crate::config::Config;
use crate::engine::egress::Egress;
use crate::engine::{Input, Request};
use crate::invoker::{Invocation, Invoker, Queued};
use crate::registry::{Entry, Registry};
use crate::run::{Body, RequestRecord, Run, RunId, Status, Trigger};
use crate::store::{
    DedupeKey, Enqueued, Event, EventInput, EventState, QueueEntry, Redrive, Store, StoreError,
};
use crate::tasks::to_the_end;
use crate::telemetry::Telemetry;
use crate::workflow::WorkflowId;
use flights::Flights;

/// Dead letters that one call drives again.
pub const REDRIVE_MAX: usize = 10_000;

/// What the key of a webhook's delivery begins with whose signature was checked. Such a
/// key is free again unless a run succeeded: senders repeat what failed.
pub const VERIFIED_PREFIX: &str = "webhook:";

/// Work that is to run later.
pub struct Work {
    /// What its runs are recorded as.
    pub trigger: Trigger,
    /// What they are handed.
    pub input: Input,
    /// What makes it the same as other work of its workflow.
    pub key: Option<DedupeKey>,
    /// The URL that is told how it ended.
    pub callback: Option<String>,
    /// The version that runs it; `None` for the one that is active then.
    pub version: Option<u32>,
}

/// The answer to work that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is on the disk, and will run.
    New(RunId),
    /// Work with its key was accepted before.
    Known(RunId),
    /// Its key was used for something else before.
    KeyReused(RunId),
}

/// How a request with a key was answered.
pub enum Called {
    /// It ran.
    Answered(Answer),
    /// A request with its key ran before, and was answered this.
    Repeated {
        /// The answer.
        answer: Answer,
        /// The run that it is of.
        run: RunId,
    },
    /// A request with its key is running.
    Running(RunId),
    /// Its key was used for something else before.
    KeyReused(RunId),
    /// A request with its key ran before, and its record is not kept any more.
    Gone(RunId),
}

/// What became of an event.
pub enum EventResult {
    /// It is not over.
    Pending {
        /// `queued` or `running`.
        status: Status,
        /// The number of its attempt.
        attempt: u32,
    },
    /// It is over, and its last run was answered this.
    Ended {
        /// The answer.
        answer: Answer,
        /// That run.
        run: RunId,
    },
    /// It is over, and its record is not kept any more.
    Gone,
    /// There is no such event, or nobody remembers it.
    Unknown,
}

/// Accepts events and has them run.
pub struct Queue {
    config: Arc<Config>,
    registry: Arc<Registry>,
    invoker: Arc<Invoker>,
    store: Arc<dyn Store>,
    egress: Arc<Egress>,
    telemetry: Arc<Telemetry>,
    /// Told when there may be something to lease.
    wake: Notify,
    flights: Flights,
    /// Runs of callers who wait, with their settlements.
    calls: TaskTracker,
    /// Cancelled when the host stops.
    stopping: CancellationToken,
}

impl Queue {
    /// A queue over the host's parts. Nothing runs before [`Queue::run`].
    pub fn new(
        config: Arc<Config>,
        registry: Arc<Registry>,
        invoker: Arc<Invoker>,
        store: Arc<dyn Store>,
        egress: Arc<Egress>,
        telemetry: Arc<Telemetry>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            registry,
            invoker,
            store,
            egress,
            telemetry,
            wake: Notify::new(),
            flights: Flights::default(),
            calls: TaskTracker::new(),
            stopping: CancellationToken::new(),
        })
    }

    /// Accepts work: when this returns it is on the disk.
    ///
    /// # Errors
    /// [`StoreError::QueueFull`], and a store that fails.
    pub async fn accept(self: &Arc<Self>, entry: &Entry, work: Work) -> Result<Acceptance, StoreError> {
        let (this, workflow) = (self.clone(), entry.workflow.id);
        self.unless_lost(async move { this.accept_whole(workflow, work).await }).await
    }

    async fn accept_whole(&self, workflow: WorkflowId, work: Work) -> Result<Acceptance, StoreError> {
        let Work { trigger, input, key, callback, version } = work;
        let (id, accepted_at) = (RunId::unguessable(), Timestamp::now());
        let print = key.as_ref().map(|key| key.print.clone());
        let event = Event { id, workflow, trigger, accepted_at, version, key, callback, is_direct: false };
        let entry = QueueEntry::waiting(event, accepted_at);
        let accepted = self.store.enqueue(entry, kept(input)).await;
        self.telemetry.queue.accepted(&accepted);
        match accepted? {
            Enqueued::New => {
                self.wake.notify_one();
                Ok(Acceptance::New(id))
            }
            Enqueued::Known(known) if is_same(&known, print.as_deref()) => {
                Ok(Acceptance::Known(known.event.id))
            }
            Enqueued::Known(known) => Ok(Acceptance::KeyReused(known.event.id)),
        }
    }

    /// Runs a request for a caller who waits, once for all requests with its key.
    ///
    /// # Errors
    /// As [`Queue::accept`].
    pub async fn call(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        invocation: Invocation,
        key: DedupeKey,
    ) -> Result<Called, StoreError> {
        let (this, entry) = (self.clone(), entry.clone());
        self.unless_lost(async move { this.call_whole(&entry, invocation, key).await }).await
    }

    /// Does something to its end, even when nobody waits for it any more: a caller may hang up
    /// between two steps, and what is leased has to be settled.
    async fn unless_lost<T: Send + 'static>(
        &self,
        whole: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = to_the_end(&self.calls, whole).await;
        done.unwrap_or_else(|| Err(StoreError::Stopped("the host stopped".to_owned())))
    }

    async fn call_whole(
        &self,
        entry: &Arc<Entry>,
        mut invocation: Invocation,
        key: DedupeKey,
    ) -> Result<Called, StoreError> {
        let print = key.print.clone();
        let event = Event {
            id: invocation.id,
            workflow: entry.workflow.id,
            trigger: invocation.trigger.clone(),
            accepted_at: invocation.accepted_at,
            version: None,
            key: Some(key),
            callback: None,
            is_direct: true,
        };
        let leased = QueueEntry::leased(event);
        let accepted = self.store.enqueue(leased.clone(), EventInput::Nothing).await;
        self.telemetry.queue.accepted(&accepted);
        if let Enqueued::Known(known) = accepted? {
            return self.repeat(&known, &print).await;
        }
        let cancel = CancellationToken::new();
        invocation.queued = Some(Queued { event: invocation.id, cancel, is_patient: false });
        let finished = self.invoker.invoke(entry, invocation).await;
        self.settle_call(entry, &leased, &finished.run).await;
        Ok(Called::Answered(finished.answer))
    }

    async fn repeat(&self, known: &QueueEntry, print: &str) -> Result<Called, StoreError> {
        let id = known.event.id;
        if !is_same(known, Some(print)) {
            return Ok(Called::KeyReused(id));
        }
        if known.end().is_none() {
            return Ok(Called::Running(id));
        }
        Ok(match self.stored_answer(known.run).await? {
            Some(answer) => Called::Repeated { answer, run: known.run },
            None => Called::Gone(id),
        })
    }

    /// What became of an event of a workflow that was accepted from a caller, by whom its
    /// id is known.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn result(&self, workflow: WorkflowId, id: RunId) -> Result<EventResult, StoreError> {
        let known = self.store.event(id).await?.filter(|entry| {
            let event = &entry.event;
            // A direct call's answer is its caller's; a replay's is the operator's.
            event.id == id
                && event.workflow == workflow
                && !event.is_direct
                && event.trigger == Trigger::Catch
        });
        let Some(entry) = known else { return Ok(EventResult::Unknown) };
        let status = match entry.state {
            EventState::Waiting { .. } => Status::Queued,
            EventState::Leased { .. } => Status::Running,
            EventState::Notifying { .. } | EventState::Ended { .. } => {
                return Ok(match self.stored_answer(entry.run).await? {
                    Some(answer) => EventResult::Ended { answer, run: entry.run },
                    None => EventResult::Gone,
                });
            }
        };
        Ok(EventResult::Pending { status, attempt: entry.attempt })
    }

    async fn stored_answer(&self, run: RunId) -> Result<Option<Answer>, StoreError> {
        let reply = self.store.run(run).await?.and_then(|run| run.reply);
        Ok(reply.filter(|reply| !reply.body.is_cut()).map(Answer::from))
    }

    /// Events that are not over, as runs that are queued, latest first. The invoker may
    /// have some of them already.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn unended(&self, workflow: Option<WorkflowId>, limit: usize) -> Result<Vec<Run>, StoreError> {
        let unended = self.store.unended(workflow, limit).await?;
        Ok(unended.iter().filter_map(|entry| self.as_run(entry, None)).collect())
    }

    /// The event that is not over and whose attempt has this id, as a run that is queued.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find_unended(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let entry = self.store.event(id).await?;
        let unended = entry.filter(|entry| entry.end().is_none() && entry.run == id);
        let Some(entry) = unended else { return Ok(None) };
        let input = self.store.event_input(entry.event.id).await?;
        Ok(self.as_run(&entry, input))
    }

    fn as_run(&self, entry: &QueueEntry, input: Option<EventInput>) -> Option<Run> {
        let workflow = self.registry.by_id(entry.event.workflow)?;
        let input = input.and_then(handed).unwrap_or_else(no_input);
        let mut run = self.invoker.queued_run(&workflow, &self.attempt(entry, input));
        if entry.event.version.is_some() {
            run.version = entry.event.version;
        }
        Some(run)
    }

    /// Drives dead letters again, at most [`REDRIVE_MAX`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn redrive(&self, which: Redrive) -> Result<Vec<RunId>, StoreError> {
        let redriven = self.store.redrive(which, REDRIVE_MAX).await?;
        self.telemetry.queue.redriven(redriven.len() as u64);
        self.wake.notify_one();
        Ok(redriven)
    }

    /// One attempt at an event.
    fn attempt(&self, entry: &QueueEntry, input: Input) -> Invocation {
        Invocation {
            id: entry.run,
            trigger: entry.event.trigger.clone(),
            input,
            attempt: entry.attempt,
            accepted_at: entry.event.accepted_at,
            ready_at: entry.event.accepted_at,
            place: None,
            queued: Some(Queued {
                event: entry.event.id,
                cancel: CancellationToken::new(),
                is_patient: true,
            }),
        }
    }
}

/// A digest of what a request asks for, by which a key that is used twice for different
/// things is noticed. Headers are left out: proxies and clients change them.
pub fn print_of(request: &Request) -> String {
    let mut digest = Sha256::new();
    for part in [request.method.as_bytes(), request.path_with_query.as_bytes(), &request.body] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    data_encoding::HEXLOWER.encode(&digest.finalize()[..16])
}

fn is_same(known: &QueueEntry, print: Option<&str>) -> bool {
    known.event.key.as_ref().map(|key| key.print.as_str()) == print
}

/// An input as the queue keeps it.
fn kept(input: Input) -> EventInput {
    match input {
        Input::Request(Request { method, path_with_query, headers, body }) => {
            let body = Body::cut(body, usize::MAX);
            EventInput::Request(RequestRecord { method, path_with_query, headers, body })
        }
        Input::Tick { schedule, due } => EventInput::Tick { schedule, due },
    }
}

/// An input as a run is handed it; `None` when it is lost.
fn handed(input: EventInput) -> Option<Input> {
    match input {
        EventInput::Request(RequestRecord { method, path_with_query, headers, body }) => {
            Some(Input::Request(Request { method, path_with_query, headers, body: body.bytes }))
        }
        EventInput::Tick { schedule, due } => Some(Input::Tick { schedule, due }),
        EventInput::Nothing => None,
    }
}

/// Stands for an input that is not known, in the record of something that does not run.
fn no_input() -> Input {
    let (method, path_with_query) = (String::new(), String::new());
    Input::Request(Request { method, path_with_query, headers: Vec::new(), body: Bytes::new() })
}
