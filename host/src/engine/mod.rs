//! The sandbox: compiles components, keeps them ready, and runs each call in a fresh
//! instance.
//!
//! wasmtime is used here and nowhere else. Nothing here knows of workflows' names, of
//! HTTP or of storage; the [`crate::invoker`] calls [`Engine::run`], deploys call
//! [`Engine::install`]. Nothing is compiled on the data path.

mod artefact;
mod bindings;
mod call;
mod chance;
mod child;
mod compile;
mod confine;
#[cfg(test)]
#[path = "../../../tests/fuzz/drive.rs"]
mod drive;
pub mod egress;
mod epoch;
mod fuse;
mod instance;
mod lanes;
mod log;
mod memory;
mod patience;
mod program;
mod queue;
mod sandbox;
mod scan;
mod slots;
mod state;
mod strip;
mod sweep;
mod syscalls;
mod tuning;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

pub use self::artefact::KEY_BYTES;
pub use self::call::{Call, CallLimits, Input, Outcome, Reply, Report, Request, Source};
pub use self::compile::{CHILD_COMMAND, CompileError, Compiler, Effort, Steps, child_main};
pub use self::instance::{Remains, remark};
pub use self::memory::MemoryBudget;
pub use self::patience::Priority;
pub use self::program::Program;
pub use self::scan::{ScanError, World};
pub use self::state::{CommitRefusal, CommitSettings};

use self::artefact::{Artefacts, Loaded};
use self::egress::Egress;
use self::instance::{Answer, Question};
use self::lanes::Lanes;
use self::queue::{CompileQueue, Place};
use self::sandbox::Sandbox;
use self::slots::{SlotLimits, Slots};
use self::sweep::Sweeper;
use crate::api::{Diagnostic, Fusion, PackageView, SlotFigures};
use crate::config::Reset;
use crate::run::{Fault, FaultKind};
use crate::workflow::{Digest, Kind, Settings, WorkflowId};

/// The version of wasmtime, for artefacts and for people.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// What an engine is made from.
pub struct EngineOptions {
    /// Where artefacts are kept.
    pub artefacts: PathBuf,
    /// The key of their tags.
    pub artefact_key: [u8; KEY_BYTES],
    /// Where compilation happens.
    pub compiler: Compiler,
    /// Compilations at the same time.
    pub compiles_max: usize,
    /// Uploads that may wait for one.
    pub compiles_waiting_max: usize,
    /// Instances at the same time: pool slots, and permits for them.
    pub instances_max: u32,
    /// Cap of one linear memory, the largest that any run can be given.
    pub memory_bytes_max: usize,
    /// Memory of all instances together; 0 for no cap of its own.
    pub memory_total_bytes_max: u64,
    /// Whether the core modules of a component are merged before it is compiled.
    pub fuse: bool,
    /// How often running guests give way.
    pub epoch_tick: Duration,
    /// How an ended instance's memory is made ready for the next one.
    pub reset: Reset,
    /// Memory that slots may keep while they wait for a run, and
    pub idle_bytes_max: u64,
    /// how long.
    pub idle_max: Duration,
    /// Told of each compilation: `compiled`, or how it failed ([`CompileError::word`]), and
    /// how long it took.
    pub on_compiled: OnCompiled,
}

/// What is told of compilations.
pub type OnCompiled = Box<dyn Fn(&'static str, Duration) + Send + Sync>;

/// The right to one pool slot.
pub type Permit = OwnedSemaphorePermit;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The sandbox could not be set up.
    #[error("the sandbox cannot be set up: {0}")]
    Setup(String),
    /// The artefacts' folder cannot be used.
    #[error("the folder for artefacts {path} cannot be used")]
    Artefacts {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

/// Why a component cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It was refused at sight.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// It does not fit the interface.
    #[error("the component does not fit the interface of this host: {0}")]
    Link(String),
    /// It could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its artefact could not be kept or read.
    #[error("the artefact cannot be kept")]
    Artefact(#[source] std::io::Error),
}

/// What a runtime says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// For example `python`.
    pub language: String,
    /// For example `3.14.0`.
    pub version: String,
    /// What programs can import.
    pub packages: Vec<PackageView>,
}

/// What the engine is doing, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineGauges {
    /// Pool slots.
    pub instances_max: u32,
    /// Slots that are taken.
    pub instances: u32,
    /// Linear memory of all instances, in bytes.
    pub memory_bytes: u64,
    /// The slots that are reset in place; `None` when there is the plain pool only.
    pub slots: Option<SlotFigures>,
}

/// What guests can make these libraries log is errors of their own, as often as they like:
/// it is in their records, and no part of the host's log. A filter of `tracing`.
pub const QUIET: &str = "wasmtime_wasi=error,wasmtime_wasi_http=error,wasmtime_wasi_io=error";

/// The sandbox.
pub struct Engine {
    pool: Sandbox,
    in_place: Option<InPlace>,
    artefacts: Arc<Artefacts>,
    compiler: Compiler,
    compiles: CompileQueue,
    on_compiled: OnCompiled,
    permits: Arc<Semaphore>,
    instances_max: u32,
    budget: Arc<MemoryBudget>,
    fuse: bool,
    egress: Arc<Egress>,
    sweeper: Arc<Sweeper>,
    lanes: Lanes,
}

struct InPlace {
    sandbox: Sandbox,
    slots: Arc<Slots>,
}

impl Engine {
    /// Sets the sandbox up and starts its ticker.
    ///
    /// # Errors
    /// When the address space cannot be reserved, or the artefacts' folder not made.
    pub fn new(options: EngineOptions, egress: Arc<Egress>) -> Result<Self, EngineError> {
        let setup = |error: wasmtime::Error| EngineError::Setup(format!("{error:#}"));
        let thread = |error: std::io::Error| EngineError::Setup(format!("no thread: {error}"));
        let config = tuning::pooled(options.instances_max, options.memory_bytes_max);
        let pool = Sandbox::new(&config).map_err(setup)?;
        let slots = match options.reset {
            Reset::Pool => None,
            Reset::InPlace => slots(&options),
        };
        if let Some(slots) = &slots {
            slots.start().map_err(thread)?;
        }
        let in_place = slots.map(|slots| {
            Ok(InPlace { sandbox: Sandbox::new(&tuning::in_place(&slots)).map_err(setup)?, slots })
        });
        let in_place = in_place.transpose()?;
        let engines = in_place.iter().map(|one| &one.sandbox.engine).chain([&pool.engine]);
        epoch::start(engines, options.epoch_tick).map_err(thread)?;
        let sweeper = Arc::new(Sweeper::new(&pool.engine).map_err(setup)?);
        let fingerprint = fingerprint(&pool.engine, options.fuse, in_place.is_some());
        let artefacts = Artefacts::open(&options.artefacts, fingerprint, options.artefact_key)
            .map_err(|source| EngineError::Artefacts { path: options.artefacts, source })?;
        Ok(Self {
            pool,
            in_place,
            artefacts: Arc::new(artefacts),
            compiler: options.compiler,
            compiles: CompileQueue::new(options.compiles_max, options.compiles_waiting_max),
            on_compiled: options.on_compiled,
            permits: Arc::new(Semaphore::new(options.instances_max as usize)),
            instances_max: options.instances_max,
            budget: MemoryBudget::of_host(options.memory_total_bytes_max),
            fuse: options.fuse,
            egress,
            sweeper,
            lanes: Lanes::new(),
        })
    }

    /// The permits for pool slots. Whoever holds one can instantiate.
    pub fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// The memory of all instances.
    pub fn memory(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// What the engine is doing.
    pub fn gauges(&self) -> EngineGauges {
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(self.instances_max);
        EngineGauges {
            instances_max: self.instances_max,
            instances: self.instances_max.saturating_sub(free),
            memory_bytes: self.budget.used_bytes(),
            slots: self.in_place.as_ref().map(|one| one.slots.figures()),
        }
    }

    /// Looks at a component's sizes and surface, without compiling it.
    async fn scan(&self, wasm: Bytes) -> Result<World, ScanError> {
        tokio::task::spawn_blocking(move || scan::scan(&wasm)).await.unwrap_or_else(|panic| {
            Err(ScanError::Invalid { reason: format!("the parser stopped: {panic}"), at: 0 })
        })
    }

    /// Makes a component ready to run: scans it, compiles it unless that was done before,
    /// links it.
    ///
    /// # Errors
    /// Why it cannot be run; [`CompileError::Busy`] when too many wait already.
    pub async fn install(&self, wasm: Bytes) -> Result<Program, InstallError> {
        let place =
            self.compiles.enter().inspect_err(|busy| (self.on_compiled)(busy.word(), Duration::ZERO))?;
        self.install_at(place, wasm).await
    }

    /// Makes a component ready that was installed before and whose artefact is lost. Waits
    /// for the compiler however many do.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub async fn install_again(&self, wasm: Bytes) -> Result<Program, InstallError> {
        self.install_at(self.compiles.enter_unbounded(), wasm).await
    }

    async fn install_at(&self, place: Place<'_>, wasm: Bytes) -> Result<Program, InstallError> {
        self.scan(wasm.clone()).await?;
        let hashed = wasm.clone();
        let digest = blocking(move || Digest::of(&hashed)).await?;
        if let Some(program) = self.load(digest).await? {
            let artefacts = self.artefacts.clone();
            blocking(move || artefacts.touch(digest)).await?.map_err(InstallError::Artefact)?;
            return Ok(program);
        }
        let _compiling = place.compiler().await;
        let began = Instant::now();
        let steps = Steps { fuse: self.fuse, in_place: self.in_place.is_some() };
        let compiled = self.compiler.compile(wasm, steps, self.compiles.threads()).await;
        let word = match &compiled {
            Ok(_) => "compiled",
            Err(InstallError::Compile(error)) => error.word(),
            Err(_) => "refused",
        };
        (self.on_compiled)(word, began.elapsed());
        let compiled = compiled?;
        let artefacts = self.artefacts.clone();
        blocking(move || artefacts.save(digest, &compiled)).await?.map_err(InstallError::Artefact)?;
        let program = self.load(digest).await?;
        program
            .ok_or_else(|| InstallError::Link("the artefact that was just made cannot be loaded".to_owned()))
    }

    /// The component with this digest, if it was compiled before by this very engine.
    ///
    /// # Errors
    /// When the artefact cannot be read, or does not fit the interface.
    pub async fn load(&self, digest: Digest) -> Result<Option<Program>, InstallError> {
        let artefacts = self.artefacts.clone();
        // What the pool would refuse, for its tables or instances, is refused in place too.
        let pool = self.pool.engine.clone();
        let in_place = self.sandbox(true).engine.clone();
        // Reading the artefact to check its tag takes milliseconds for a large one.
        let load = move || artefacts.load(&pool, &in_place, digest);
        let loaded = blocking(load).await?.map_err(InstallError::Artefact)?;
        let Some(Loaded { component, image }) = loaded else { return Ok(None) };
        let world = Program::world_of(&component);
        let linker = &self.sandbox(image.is_some()).linker;
        Program::link(digest, world, &component, linker, image).map(Some).map_err(InstallError::Link)
    }

    /// Whether the core modules of a component were merged when it was compiled; `None`
    /// when this engine did not compile it yet.
    ///
    /// # Errors
    /// When what is noted of it cannot be read.
    pub async fn fusion(&self, digest: Digest) -> Result<Option<Fusion>, InstallError> {
        let artefacts = self.artefacts.clone();
        blocking(move || artefacts.fusion(digest)).await?.map_err(InstallError::Artefact)
    }

    /// Where programs run whose memory is reset in place, or those that are not.
    fn sandbox(&self, in_place: bool) -> &Sandbox {
        match &self.in_place {
            Some(one) if in_place => &one.sandbox,
            // Artefacts with an image are never loaded without it: their folder has another name.
            _ => &self.pool,
        }
    }

    /// Deletes compiled components that were not installed for `age_min` and are neither
    /// in `live` nor of this engine's configuration. Returns the bytes that were freed.
    ///
    /// # Errors
    /// When the artefacts' folder cannot be read, or a file in it not deleted.
    pub async fn sweep(&self, live: HashSet<Digest>, age_min: Duration) -> Result<u64, InstallError> {
        let artefacts = self.artefacts.clone();
        blocking(move || artefacts.sweep(&live, age_min)).await?.map_err(InstallError::Artefact)
    }

    /// Runs a program once, in a fresh instance. Never fails: the report says how it
    /// ended. Drop the remains when the caller has its reply.
    pub async fn run(&self, program: &Program, call: Call, permit: Permit) -> (Report, Remains) {
        self.run_until(program, call, permit, &CancellationToken::new()).await
    }

    /// The same, but stops the guest when `stop` is cancelled: the fault is
    /// [`FaultKind::Cancelled`], and the report has what the run did until then.
    pub async fn run_until(
        &self,
        program: &Program,
        call: Call,
        permit: Permit,
        stop: &CancellationToken,
    ) -> (Report, Remains) {
        instance::run(self, program, call, permit, stop).await
    }

    /// What a runtime says of itself.
    ///
    /// # Errors
    /// How the runtime failed.
    pub async fn describe(&self, runtime: &Program, limits: CallLimits) -> Result<Description, Fault> {
        match self.ask(runtime, Question::Describe, None, limits).await? {
            Answer::Description(said) => Ok(Description {
                language: said.language,
                version: said.version,
                packages: said
                    .packages
                    .into_iter()
                    .map(|(name, version)| PackageView { name, version })
                    .collect(),
            }),
            Answer::Compiled(_) | Answer::Checked(_) => unreachable!("`ask` answers what it is asked"),
        }
    }

    /// Compiles a source file, without running any of it. The inner error lists what is
    /// wrong with it.
    ///
    /// # Errors
    /// How the runtime failed: at its deadline, for lack of memory.
    pub async fn compile_source(
        &self,
        runtime: &Program,
        file: &str,
        source: &str,
        limits: CallLimits,
    ) -> Result<Result<Vec<u8>, Vec<Diagnostic>>, Fault> {
        match self.ask(runtime, Question::Compile { file, source }, None, limits).await? {
            Answer::Compiled(compiled) => Ok(compiled.map(|code| code.bytes).map_err(diagnostics)),
            Answer::Description(_) | Answer::Checked(_) => unreachable!("`ask` answers what it is asked"),
        }
    }

    /// Runs a program's top level once and lists what is wrong with it; empty when it
    /// can be deployed.
    ///
    /// # Errors
    /// How the runtime failed: at its deadline, for lack of memory.
    pub async fn check_source(
        &self,
        runtime: &Program,
        source: &Arc<Source>,
        kind: Kind,
        limits: CallLimits,
    ) -> Result<Vec<Diagnostic>, Fault> {
        let kind = match kind {
            Kind::Catch => bindings::runtime::Kind::Catch,
            Kind::Pull => bindings::runtime::Kind::Pull,
        };
        match self
            .ask(runtime, Question::Check { code: &source.code, kind }, Some(source.clone()), limits)
            .await?
        {
            Answer::Checked(found) => Ok(diagnostics(found)),
            Answer::Description(_) | Answer::Compiled(_) => unreachable!("`ask` answers what it is asked"),
        }
    }

    async fn ask(
        &self,
        runtime: &Program,
        question: Question<'_>,
        source: Option<Arc<Source>>,
        limits: CallLimits,
    ) -> Result<Answer, Fault> {
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Fault::new(FaultKind::Overload, "the host is shutting down"))?;
        let call = Call {
            workflow: WorkflowId::from_bytes([0; 16]),
            input: Input::Tick { schedule: String::new(), due: jiff::Timestamp::UNIX_EPOCH },
            attempt: 1,
            settings: Arc::new(Settings::default()),
            source,
            commit: None,
            trace: None,
            memory: None,
            destinations: None,
            outbound: Default::default(),
            limits,
        };
        instance::ask(self, runtime, question, call, permit).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, InstallError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|panic| InstallError::Link(format!("a task stopped: {panic}")))
}

fn diagnostics(found: Vec<bindings::runtime::Diagnostic>) -> Vec<Diagnostic> {
    let each = found.into_iter().map(|one| Diagnostic {
        file: one.file,
        line: one.line,
        column: one.column,
        message: one.message,
        text: one.text,
        hint: one.hint,
    });
    each.collect()
}

/// Slots for memories that are reset in place, if the kernel can do that.
fn slots(options: &EngineOptions) -> Option<Arc<Slots>> {
    let limits = SlotLimits {
        slots_max: options.instances_max as usize,
        memory_bytes_max: options.memory_bytes_max,
        idle_bytes_max: options.idle_bytes_max,
        idle_max: options.idle_max,
    };
    match Slots::new(limits) {
        Ok(slots) => {
            tracing::info!("memory is reset in place after a run");
            Some(slots)
        }
        Err(error) => {
            tracing::warn!(%error, "this kernel cannot tell which pages a run wrote (Linux 6.7 can): memory is not reset in place");
            None
        }
    }
}

/// Names the engine's version and everything in its settings that compiled code depends
/// on.
fn fingerprint(engine: &wasmtime::Engine, is_fusing: bool, in_place: bool) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let fused = if is_fusing { format!("fuse{}", fuse::VERSION) } else { "plain".to_owned() };
    let images = if in_place { "-images" } else { "" };
    format!("{WASMTIME_VERSION}-{:016x}-{fused}{images}", hasher.finish())
}
