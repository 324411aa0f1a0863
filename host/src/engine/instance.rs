//! One run: a fresh store and a fresh instance, one call, and the account of it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use wasmtime::{Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::bindings::runtime::{Code as RuntimeCode, Diagnostic as GuestDiagnostic, Kind as GuestKind};
use super::bindings::workflow::tidegate::workflow::types;
use super::call::{Call, CallLimits, Outcome, Reply, Report, Span, settings_for_guest};
use super::chance::Chance;
use super::egress::{RunEgress, RunEgressOptions, SealedSettings};
use super::lanes::Lane;
use super::log::Log;
use super::memory::{Account, NoMemory};
use super::program::{Form, Program};
use super::slots::{Occupant, witnessed};
use super::state::{State, changes_of};
use super::sweep::Sweeper;
use super::{Engine, Permit};
use crate::run::{Fault, FaultKind, Level, Stream, Usage};

/// Work that wasmtime does for one host call on the guest's behalf, in bytes copied.
const HOSTCALL_FUEL: usize = 8 << 20;
/// Handles of the component model that one instance may hold.
const COMPONENT_HANDLES_MAX: usize = 4096;
/// Of what is asked of a component, and runs of one that has one program: no program is there.
const NOBODY: Occupant = Occupant(0);
/// Longest message of a fault, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Longest trace of a fault, in bytes.
const TRACE_BYTES_MAX: usize = 32 << 10;

/// The instance of a run that has ended. Dropping it gives memory, handles and the
/// permit back; that takes a while, so it is done after the caller has its reply.
pub struct Remains {
    store: Option<Store<State>>,
    /// Of what the plain pool has to give back.
    sweeper: Option<Arc<Sweeper>>,
    // Dropped behind the store: the slot must be free before the permit is.
    _permit: Permit,
}

impl Remains {
    fn new(engine: &Engine, program: &Program, store: Store<State>, permit: Permit) -> Self {
        let sweeper = (!program.is_reset_in_place()).then(|| engine.sweeper.clone());
        Self { store: Some(store), sweeper, _permit: permit }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            let memory_bytes = store.data().memory.peak_bytes();
            drop(store);
            if let Some(sweeper) = &self.sweeper {
                sweeper.dropped(memory_bytes);
            }
        }
    }
}

/// What a runtime is asked beside running a program.
pub(super) enum Question<'a> {
    Describe,
    Compile { file: &'a str, source: &'a str },
    Check { code: &'a RuntimeCode, kind: GuestKind },
}

/// The answers, in the same order.
pub(super) enum Answer {
    Description(super::bindings::runtime::Description),
    Compiled(Result<RuntimeCode, Vec<GuestDiagnostic>>),
    Checked(Vec<GuestDiagnostic>),
}

/// Runs a workflow once, until `stop` is cancelled at the latest.
pub(super) async fn run(
    engine: &Engine,
    program: &Program,
    call: Call,
    permit: Permit,
    stop: &CancellationToken,
) -> (Report, Remains) {
    let span = Span::from_now(call.limits.deadline);
    let chance = Chance::fresh(span.started);
    let log = Log::new(span.started, call.limits.log_bytes_max);
    let text = call.source.as_ref().map(|source| source.text.clone()).unwrap_or_default();
    let sealed = SealedSettings::of(&call.settings, |name| chance.placeholder(name));
    let settings = settings_for_guest(&call.settings, sealed.as_deref());
    let lane = engine.lanes.lane(call.workflow);
    let mut store = new_store(engine, program, span, &chance, &log, &call, text, Open::Yes(sealed), &lane);
    let trigger = call.input.into_trigger(call.attempt);

    let (mut began, mut instantiated) = (span.started, span.started);
    let (ended, cpu) = {
        // Pinned here and handed on by reference, as all large futures on this way: each layer
        // that takes one by value makes room for it twice, and every run allocates that.
        let guest = pin!(async {
            if lane.enter().await {
                // The ticks of its wait are not its own.
                store.set_epoch_deadline(1);
                began = Instant::now();
            }
            match &program.form {
                Form::Workflow(pre) => {
                    let instance =
                        program.instantiate(NOBODY, pin!(pre.instantiate_async(&mut store))).await?;
                    instantiated = Instant::now();
                    instance.call_workflow(&mut store, &trigger, &settings).await
                }
                Form::Runtime(pre) => {
                    let source = call
                        .source
                        .as_ref()
                        .ok_or_else(|| wasmtime::Error::msg("no program was handed over"))?;
                    let occupant = Occupant(Arc::as_ptr(source).addr());
                    let instance =
                        program.instantiate(occupant, pin!(pre.instantiate_async(&mut store))).await?;
                    instantiated = Instant::now();
                    instance.call_run(&mut store, &source.code, &trigger, &settings).await
                }
            }
        });
        metered(span, call.limits.cpu_max, &lane, stop, witnessed(guest)).await
    };
    let finished = Instant::now();
    lane.ended(matches!(ended, Err(Cut::Time | Cut::Cpu)), cpu);

    let end = match ended {
        Err(cut) => Err(cut.fault(call.limits)),
        Ok(Err(error)) => Err(fault_of(&error, store.data(), call.limits.memory_bytes_max)),
        Ok(Ok(Err(failure))) => Err(fault_of_failure(failure, store.data())),
        Ok(Ok(Ok(outcome))) => outcome_of(outcome, &store.data().egress),
    };
    let egress = &mut store.data_mut().egress;
    egress.end();
    let exchanges = egress.exchanges();
    for (at, text) in egress.remarks() {
        log.remark(at, text);
    }
    let (lines, log_summary) = log.finish();
    let usage = Usage {
        memory_peak_bytes: store.data().memory.peak_bytes(),
        cpu_us: cpu.as_micros() as u64,
        wall_us: (finished - span.started).as_micros() as u64,
        instantiate_us: instantiated.saturating_duration_since(began).as_micros() as u64,
        queue_us: 0,
    };
    let report = Report { end, log: lines, log_summary, exchanges, usage, inputs: chance.inputs() };
    (report, Remains::new(engine, program, store, permit))
}

/// Asks a runtime. The program gets no settings and no way out.
pub(super) async fn ask(
    engine: &Engine,
    program: &Program,
    question: Question<'_>,
    call: Call,
    permit: Permit,
) -> Result<Answer, Fault> {
    let Form::Runtime(pre) = &program.form else {
        return Err(Fault::new(FaultKind::Host, "this component is a workflow, not a language runtime"));
    };
    let span = Span::from_now(call.limits.deadline);
    let chance = Chance::fresh(span.started);
    let log = Log::new(span.started, call.limits.log_bytes_max);
    let text = call.source.as_ref().map(|source| source.text.clone()).unwrap_or_default();
    // Importing a program must not call anybody.
    let lane = engine.lanes.lane(call.workflow);
    let mut store = new_store(engine, program, span, &chance, &log, &call, text, Open::No, &lane);
    let (ended, _) = {
        let guest = pin!(async {
            let instance = program.instantiate(NOBODY, pin!(pre.instantiate_async(&mut store))).await?;
            Ok(match question {
                Question::Describe => Answer::Description(instance.call_describe(&mut store).await?),
                Question::Compile { file, source } => {
                    Answer::Compiled(instance.call_compile(&mut store, file, source).await?)
                }
                Question::Check { code, kind } => {
                    Answer::Checked(instance.call_check(&mut store, code, kind).await?)
                }
            })
        });
        let never = CancellationToken::new();
        metered(span, call.limits.cpu_max, &lane, &never, witnessed(guest)).await
    };
    let answer = match ended {
        Err(cut) => Err(cut.fault(call.limits)),
        Ok(Err(error)) => Err(fault_of(&error, store.data(), call.limits.memory_bytes_max)),
        Ok(Ok(answer)) => Ok(answer),
    };
    drop(Remains::new(engine, program, store, permit));
    answer
}

/// Whether an instance may send anything, and what of it the host puts in.
enum Open {
    Yes(Option<Arc<SealedSettings>>),
    No,
}

#[allow(clippy::too_many_arguments, reason = "what a store is made of")]
fn new_store(
    engine: &Engine,
    program: &Program,
    span: Span,
    chance: &Chance,
    log: &Log,
    call: &Call,
    text: Bytes,
    open: Open,
    lane: &Arc<Lane>,
) -> Store<State> {
    let options = RunEgressOptions {
        workflow: call.workflow,
        started: span.started,
        deadline: span.deadline,
        open: matches!(open, Open::Yes(_)),
        sealed: match open {
            Open::Yes(sealed) => sealed,
            Open::No => None,
        },
        destinations: call.destinations.clone(),
        limits: call.outbound.clone(),
        trace: call.trace.clone(),
    };
    let egress = engine.egress.for_run(options);
    let budget = call.memory.as_ref().unwrap_or(&engine.budget).clone();
    let account = Account::new(budget, call.limits.memory_bytes_max);
    let state = State::new(chance, egress, account, log.clone(), call.commit.clone(), text);
    let mut store = Store::new(&engine.sandbox(program.is_reset_in_place()).engine, state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(HOSTCALL_FUEL);
    store.set_max_component_handles(COMPONENT_HANDLES_MAX);
    // A guest that computes gives way at each tick; its deadline is the timer's business.
    store.set_epoch_deadline(1);
    let lane = lane.clone();
    store.epoch_deadline_callback(move |_| Ok(lane.tick()));
    store
}

/// Why a run was ended from outside: what it used up, or that it was told to stop.
enum Cut {
    Time,
    Cpu,
    Stop,
}

impl Cut {
    fn fault(self, limits: CallLimits) -> Fault {
        let ms = |limit: Duration| limit.as_millis();
        match self {
            Cut::Time => Fault::new(
                FaultKind::Deadline,
                format!("the run took longer than its deadline of {} ms", ms(limits.deadline)),
            ),
            Cut::Cpu => Fault::new(
                FaultKind::Cpu,
                format!("the run took more than its {} ms of processor time", ms(limits.cpu_max)),
            ),
            Cut::Stop => Fault::new(FaultKind::Cancelled, "the run was cancelled"),
        }
    }
}

/// Drives a guest until it ends, its deadline passes, its processor time is used up or it is
/// told to stop, and measures what its polls took. A guest that computes is polled at each tick.
async fn metered<T>(
    span: Span,
    cpu_max: Duration,
    lane: &Lane,
    stop: &CancellationToken,
    guest: impl Future<Output = T>,
) -> (Result<T, Cut>, Duration) {
    let mut guest = pin!(tokio::time::timeout_at(span.deadline.into(), guest));
    let mut stopped = pin!(stop.cancelled());
    let mut cpu = Duration::ZERO;
    let ended = poll_fn(|context| {
        let before = thread_cpu();
        let poll = guest.as_mut().poll(context);
        cpu += thread_cpu().saturating_sub(before);
        lane.leave();
        match poll {
            Poll::Ready(ended) => Poll::Ready(ended.map_err(|_| Cut::Time)),
            Poll::Pending if cpu > cpu_max => Poll::Ready(Err(Cut::Cpu)),
            Poll::Pending => stopped.as_mut().poll(context).map(|()| Err(Cut::Stop)),
        }
    })
    .await;
    (ended, cpu)
}

/// Processor time of this thread so far.
fn thread_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn outcome_of(outcome: types::Outcome, egress: &RunEgress) -> Result<Outcome, Fault> {
    let changes =
        changes_of(outcome.changes, egress).map_err(|reason| Fault::new(FaultKind::Result, reason))?;
    let reply = outcome.reply.map(|reply| Reply {
        status: reply.status,
        headers: reply.headers,
        body: reply.body.map(Bytes::from),
    });
    Ok(Outcome { reply, value: outcome.value, changes })
}

fn fault_of_failure(failure: types::Failure, state: &State) -> Fault {
    // Python survives a refused allocation with a MemoryError of its own.
    let kind = state.memory.refused().map_or(FaultKind::Exception, kind_of_refusal);
    Fault {
        kind,
        message: shorten(failure.message, MESSAGE_BYTES_MAX),
        trace: failure.trace.map(|trace| shorten(trace, TRACE_BYTES_MAX)),
    }
}

fn kind_of_refusal(refused: NoMemory) -> FaultKind {
    match refused {
        NoMemory::Run => FaultKind::Memory,
        NoMemory::Owner { .. } => FaultKind::Quota,
        NoMemory::Host { .. } => FaultKind::Overload,
    }
}

fn fault_of(error: &wasmtime::Error, state: &State, memory_bytes_max: u64) -> Fault {
    let trace =
        error.downcast_ref::<WasmBacktrace>().map(|trace| shorten(trace.to_string(), TRACE_BYTES_MAX));
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        let message = format!("the guest ended itself with exit status {}", exit.0);
        return Fault { kind: FaultKind::Trap, message, trace };
    }
    if let Some(refused) = state.memory.refused() {
        let message = match refused {
            NoMemory::Run => {
                format!("the guest needs more memory than its limit of {memory_bytes_max} bytes")
            }
            NoMemory::Owner { bytes_max } => {
                format!("the workflows of its owner use the {bytes_max} bytes of memory that they may have")
            }
            NoMemory::Host { bytes_max } => {
                format!("all workflows use the {bytes_max} bytes of memory that the host has for them")
            }
        };
        return Fault { kind: kind_of_refusal(refused), message, trace };
    }
    let message = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => "call stack exhausted: the recursion is too deep".to_owned(),
        Some(trap) => trap.to_string(),
        // An error of a host function: the guest broke a rule of WASI, for example by
        // dropping a parent before its child.
        None => shorten(error.root_cause().to_string(), MESSAGE_BYTES_MAX),
    };
    Fault { kind: FaultKind::Trap, message, trace }
}

fn shorten(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
    text
}

/// Adds the host's own remark to a log that is finished already.
pub fn remark(log: &mut Vec<crate::run::LogLine>, at_us: u64, text: String) {
    log.push(crate::run::LogLine {
        at_us,
        level: Level::Warning,
        stream: Stream::Host,
        text,
        fields: Vec::new(),
    });
}
