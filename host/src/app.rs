//! The host put together: opens the parts in their order, serves, and takes them down
//! again in the opposite order.

mod history;
mod keys;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::keys::{Keys, RotateError};
use crate::accounts::{Accounts, NewLink};
use crate::audit::{AuditError, AuditLog, Event};
use crate::config::Config;
use crate::data::{DataError, DataFolder, HostFile};
use crate::deploy::Deployer;
use crate::engine::egress::{Egress, EgressError};
use crate::engine::{Compiler, Engine, EngineError, EngineOptions};
use crate::invoker::Invoker;
use crate::keys::{KeySource, KeysError, Loaded};
use crate::oidc::{Oidc, OidcConfigError};
use crate::otlp::{Exporter, ExporterOptions};
use crate::programs::Programs;
use crate::pulls::InvokedPulls;
use crate::queue::Queue;
use crate::registry::{Entry, Registry};
use crate::scheduler::{self, Ledger, Scheduler, SystemClock};
use crate::server::{self, Listeners};
use crate::store::{
    self, EmbeddedOptions, EmbeddedStore, Pruned, Retention, Store, StoreError, WorkflowRetention,
};
use crate::telemetry::Telemetry;
use crate::workflow::Digest;

/// How often retention is applied and garbage collected.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// How long a compiled component is kept that no version needs: a deploy compiles before
/// its version is added.
const ARTEFACT_AGE_MIN: Duration = Duration::from_secs(3600);

/// Why the host does not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The master key.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The sandbox.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The way out.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// The sign-in provider.
    #[error(transparent)]
    Oidc(#[from] OidcConfigError),
    /// An address is no address.
    #[error("{key} is {value:?}, which is no address with a port")]
    Address {
        /// The configuration's key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// An address cannot be listened on.
    #[error("listening on {address} failed")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A socket that was handed over cannot be used.
    #[error("the listening sockets that were handed over cannot be used")]
    Inherited(#[source] std::io::Error),
    /// Others than this machine could reach the host, and nobody could sign in.
    #[error("nobody can sign in yet, and {address} can be reached from other machines")]
    NoAccounts {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// A thread cannot be started.
    #[error("starting a thread failed")]
    Thread(#[source] std::io::Error),
    /// The host's own binary is not known.
    #[error("the path of this program is not known")]
    Program(#[source] std::io::Error),
}

impl AppError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            AppError::Address { .. } => {
                Some("write it like 127.0.0.1:8080; port 0 takes a free one".to_owned())
            }
            AppError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => Some(
                "another program listens there; choose another address with --listen, or port 0".to_owned(),
            ),
            AppError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrNotAvailable => {
                Some("it is not an address of this machine; 0.0.0.0 listens on all that it has".to_owned())
            }
            AppError::Listen { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("ports below 1024 need a privilege; choose a higher one with --listen".to_owned())
            }
            AppError::NoAccounts { .. } => Some(
                "`tidegate user add LOGIN --role admin --data DIR` makes an admin with a password, also while \
                 the host is down; or serve on 127.0.0.1 first, and sign in by the link that it prints"
                    .to_owned(),
            ),
            AppError::Store(StoreError::InUse { .. }) => {
                Some("stop the other process, or give this one a folder of its own with --data".to_owned())
            }
            AppError::Store(StoreError::Format { .. }) => Some(
                "a newer build wrote it: use that one, or give this one a folder of its own with --data"
                    .to_owned(),
            ),
            AppError::Keys(error) => Some(error.hint()),
            AppError::Oidc(_) => {
                Some("`tidegate serve --print-config` explains each key of [oidc]; an empty issuer turns it off".to_owned())
            }
            AppError::Store(StoreError::Key { .. }) => Some(
                "bring that key back from its backup, below the current one, or name its place with keys.file"
                    .to_owned(),
            ),
            AppError::Data(_) | AppError::Audit(_) | AppError::Store(StoreError::Folder { .. }) => {
                Some("choose a folder that this user may write with --data".to_owned())
            }
            _ => None,
        }
    }
}

/// Where the host listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    /// The management API.
    pub api: SocketAddr,
    /// The catch endpoints; the same as `api` when they share it.
    pub catch: SocketAddr,
    /// The URL of the console and the API, without a slash at its end.
    pub url: String,
    /// The URL before `/catch/`, without a slash at its end.
    pub catch_url: String,
}

/// A host that runs: its parts, of which it is the sum, and what serving adds to them.
pub struct App {
    /// What runs workflows.
    pub core: Core,
    /// Work that runs later.
    pub queue: Arc<Queue>,
    /// The clock's runs.
    pub scheduler: Arc<Scheduler>,
    /// What encrypts settings.
    pub keys: Keys,
    /// The data folder.
    pub data: DataFolder,
    /// Users, tokens and sessions.
    pub accounts: Arc<Accounts>,
    /// Sign-in by a provider, where one is configured.
    pub oidc: Option<Oidc>,
    /// Who changed what.
    pub audit: Arc<AuditLog>,
    /// Where it listens.
    pub urls: Urls,
    /// When it became ready.
    pub started_at: Timestamp,
}

// So that `app.registry` is one thing, whoever holds it, and stands in one place.
impl Deref for App {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

/// The parts that run workflows, without listeners: what `serve` and the local `run`
/// have in common.
pub struct Core {
    /// The configuration.
    pub config: Arc<Config>,
    /// What the host keeps.
    pub store: Arc<dyn Store>,
    /// The sandbox.
    pub engine: Arc<Engine>,
    /// The way out of it.
    pub egress: Arc<Egress>,
    /// The workflows.
    pub registry: Arc<Registry>,
    /// Uploads.
    pub deployer: Arc<Deployer>,
    /// Runs.
    pub invoker: Arc<Invoker>,
    /// Counters.
    pub telemetry: Arc<Telemetry>,
}

impl Core {
    /// Opens everything over a store. `artefacts` is the data folder whose compiled
    /// components and key are used; `program` is this program, for compiling.
    ///
    /// # Errors
    /// What cannot be opened.
    pub async fn open(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        artefacts: &DataFolder,
        program: PathBuf,
        listeners: Vec<SocketAddr>,
    ) -> Result<Self, AppError> {
        let egress = Egress::new(&config.egress)?;
        egress.refuse_listeners(listeners);
        let telemetry = Arc::new(Telemetry::new());
        let compiles = telemetry.clone();
        let options = EngineOptions {
            artefacts: artefacts.artefacts(),
            artefact_key: artefacts.artefact_key()?,
            compiler: Compiler::Child {
                program,
                timeout: Duration::from_millis(config.engine.compile_timeout_ms),
                memory_bytes_max: config.engine.compile_memory_bytes_max,
            },
            compiles_max: config.engine.compiles_max,
            compiles_waiting_max: config.engine.compiles_waiting_max,
            instances_max: config.engine.instances_max,
            memory_bytes_max: config.engine.memory_bytes_max,
            memory_total_bytes_max: config.memory_total_bytes_max(),
            fuse: config.engine.fuse,
            epoch_tick: Duration::from_millis(config.engine.epoch_tick_ms),
            reset: config.engine.reset,
            idle_bytes_max: config.engine.idle_memory_bytes_max,
            idle_max: Duration::from_millis(config.engine.idle_ms),
            on_compiled: Box::new(move |result, took| compiles.compiled(result, took)),
        };
        let engine = Arc::new(Engine::new(options, egress.clone())?);
        let programs_max = NonZeroUsize::new(config.engine.programs_max).unwrap_or(NonZeroUsize::MIN);
        let programs = Arc::new(Programs::new(engine.clone(), store.clone(), programs_max));
        let registry = Arc::new(Registry::open(store.clone(), config.clone()).await?);
        if !config.telemetry.otlp_endpoint.is_empty() {
            let options = ExporterOptions {
                endpoint: config.telemetry.otlp_endpoint.clone(),
                headers: config.telemetry.headers(),
                node: config.server.node(),
            };
            telemetry.export_to(Exporter::start(options).map_err(AppError::Thread)?);
        }
        let invoker = Arc::new(Invoker::new(
            config.clone(),
            engine.clone(),
            registry.clone(),
            programs.clone(),
            store.clone(),
            telemetry.clone(),
        ));
        let deployer = Arc::new(Deployer::new(
            config.clone(),
            engine.clone(),
            programs,
            registry.clone(),
            store.clone(),
        ));
        Ok(Self { config, store, engine, egress, registry, deployer, invoker, telemetry })
    }
}

/// How long the ends of runs that were drained may take to be written: for ever, where the
/// disk is full.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);

/// What is told once requests are answered.
pub struct Started<'a> {
    /// Where the host listens.
    pub urls: &'a Urls,
    /// How the built-in admin signs in once; at the first start only.
    pub link: Option<&'a NewLink>,
    /// The key file that was made at this start: somebody has to back it up.
    pub key_made: Option<&'a Path>,
}

/// Serves until `shutdown` is cancelled, then drains and closes. `inherited` are listeners to
/// serve on instead of opening the configured ones. `ready` is told the addresses once
/// requests are answered.
///
/// # Errors
/// Why the host could not start, or not close cleanly.
pub async fn serve(
    config: Config,
    data: &Path,
    keys: KeySource,
    inherited: Vec<std::net::TcpListener>,
    shutdown: CancellationToken,
    ready: impl FnOnce(&Started<'_>),
) -> Result<(), AppError> {
    let config = Arc::new(config);
    let data = DataFolder::create(data)?;
    let program = std::env::current_exe().map_err(AppError::Program)?;
    // Listening comes first among what can fail for a reason outside; requests wait in
    // the system's queue until the rest is open.
    let mut inherited = inherited.into_iter();
    let api = match inherited.next() {
        Some(listener) => TcpListener::from_std(listener).map_err(AppError::Inherited)?,
        None => listen("server.listen", &config.server.listen).await?,
    };
    let catch = match config.server.catch_listen.as_str() {
        "" => None,
        address => Some(match inherited.next() {
            Some(listener) => TcpListener::from_std(listener).map_err(AppError::Inherited)?,
            None => listen("server.catch_listen", address).await?,
        }),
    };
    // A socket that nobody serves would keep its clients waiting.
    drop(inherited);
    let listeners = Listeners { api, catch };
    let urls = urls_of(&config, &listeners)?;
    let oidc = Oidc::new(&config.oidc, &urls.url)?;

    let Loaded { ring, made } = keys.load(data.path(), store::is_encrypted(data.path())).await?;
    let options = EmbeddedOptions::from_config(&config, Arc::new(ring.clone()));
    let store: Arc<dyn Store> = EmbeddedStore::open(data.path(), options)?;
    // A rotation that a crash cut short, or that another source of the key asks for.
    let keys = Keys {
        source: keys,
        ring: tokio::sync::Mutex::new(ring),
        data: data.clone(),
        has_audit_key: config.audit.key_file.is_empty(),
    };
    keys.rewrap(&*store).await?;
    let core = Core::open(config.clone(), store, &data, program, vec![urls.api, urls.catch]).await?;
    // Behind what reads the configuration: what is wrong there leaves nothing behind.
    let token = Digest::of(data.admin_token()?.as_bytes());
    let (accounts, link) = Accounts::open(core.store.clone(), config.accounts.clone(), token).await?;
    if !urls.api.ip().is_loopback() && !accounts.has_admin_who_can_sign_in() {
        core.store.close().await?;
        return Err(AppError::NoAccounts { address: urls.api });
    }
    let key = data.audit_key(&config.audit.key_file, &*keys.ring.lock().await)?;
    let audit = Arc::new(AuditLog::open(data.path(), key, config.audit.days, config.audit.bytes_max)?);
    audit.append(Event::of_host("host.start"))?;
    let (queue, pulls) = queue_and_pulls(&core);
    let options = scheduler::Options {
        batch_max: config.schedule.batch_max,
        running_max: config.engine.instances_max as usize,
        ..Default::default()
    };
    let ledger: Arc<dyn Ledger> = Arc::new(core.store.clone());
    let scheduler = Scheduler::new(Arc::new(pulls), ledger, Arc::new(SystemClock), options);
    let app = Arc::new(App {
        core,
        queue,
        scheduler,
        keys,
        data: data.clone(),
        accounts,
        oidc,
        audit,
        urls,
        started_at: Timestamp::now(),
    });
    data.announce(&HostFile {
        url: format!("http://{}", app.urls.api),
        catch_url: app.urls.catch_url.clone(),
        pid: std::process::id(),
    })?;
    ready(&Started { urls: &app.urls, link: link.as_ref(), key_made: made.as_deref() });
    let housekeeping = tokio::spawn(keep_house(app.clone(), shutdown.clone()));
    let ticking = tokio::spawn(app.scheduler.clone().run(shutdown.clone()));
    let noting = tokio::spawn(history::keep(app.clone(), shutdown.clone()));
    let queueing = tokio::spawn(app.queue.clone().run(shutdown.clone()));
    server::serve(app.clone(), listeners, shutdown).await;

    // Runs whose callers went away may still be going.
    app.invoker.drain(Config::ms(app.config.server.drain_ms)).await;
    // All end with the same token, scheduler and queue when their runs are settled. A panic
    // in them was logged when it happened.
    let settled = async {
        let _ = tokio::join!(housekeeping, ticking, queueing, noting);
        app.queue.settled().await;
    };
    let patience = SETTLE_TIME_MAX.min(Config::ms(app.config.server.drain_ms));
    if tokio::time::timeout(patience, settled).await.is_err() {
        tracing::warn!(
            "the disk takes nothing: what became of the last runs is for the next start to settle"
        );
    }
    app.egress.close().await;
    let telemetry = app.telemetry.clone();
    // What is left may take a few seconds to send; a panic in it was logged.
    let _ = tokio::task::spawn_blocking(move || telemetry.close()).await;
    app.deployer.close().await;
    app.accounts.close().await;
    app.store.close().await?;
    data.withdraw();
    Ok(())
}

/// What runs work that nobody waits for.
fn queue_and_pulls(core: &Core) -> (Arc<Queue>, InvokedPulls) {
    let queue = Queue::new(
        core.config.clone(),
        core.registry.clone(),
        core.invoker.clone(),
        core.store.clone(),
        core.egress.clone(),
        core.telemetry.clone(),
    );
    let pulls = InvokedPulls::new(
        core.registry.clone(),
        core.invoker.clone(),
        core.store.clone(),
        core.telemetry.clone(),
        queue.clone(),
    );
    (queue, pulls)
}

async fn listen(key: &'static str, value: &str) -> Result<TcpListener, AppError> {
    let mut addresses = tokio::net::lookup_host(value)
        .await
        .map_err(|_| AppError::Address { key, value: value.to_owned() })?;
    let address = addresses.next().ok_or_else(|| AppError::Address { key, value: value.to_owned() })?;
    TcpListener::bind(address).await.map_err(|source| AppError::Listen { address, source })
}

fn urls_of(config: &Config, listeners: &Listeners) -> Result<Urls, AppError> {
    let bound = |listener: &TcpListener| {
        listener.local_addr().map_err(|source| {
            let address = SocketAddr::from(([0, 0, 0, 0], 0));
            AppError::Listen { address, source }
        })
    };
    let api = bound(&listeners.api)?;
    let catch = listeners.catch.as_ref().map_or(Ok(api), bound)?;
    let url = match config.server.url.trim_end_matches('/') {
        "" => format!("http://{api}"),
        url => url.to_owned(),
    };
    let catch_url = match config.server.catch_url.trim_end_matches('/') {
        "" => format!("http://{catch}"),
        url => url.to_owned(),
    };
    Ok(Urls { api, catch, url, catch_url })
}

/// Applies retention and collects garbage from time to time.
async fn keep_house(app: Arc<App>, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = interval.tick() => {}
        }
        match app.store.prune(retention(&app)).await {
            Ok(Pruned { runs: 0, bytes: 0 }) => {}
            Ok(Pruned { runs, bytes }) => tracing::info!(runs, bytes, "runs deleted by retention"),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "retention failed"),
        }
        if let Err(error) = app.accounts.sweep().await {
            tracing::error!(error = &error as &dyn std::error::Error, "deleting old sessions failed");
        }
        let audit = app.audit.clone();
        let pruned = tokio::task::spawn_blocking(move || audit.prune(Timestamp::now())).await;
        if let Ok(Err(error)) = pruned {
            tracing::error!(error = &error as &dyn std::error::Error, "the audit log's retention failed");
        }
        if let Err(error) = app.store.collect_garbage(&[]).await {
            tracing::error!(error = &error as &dyn std::error::Error, "collecting garbage failed");
        }
        match app.deployer.sweep_artefacts(ARTEFACT_AGE_MIN).await {
            Ok(0) => {}
            Ok(bytes) => tracing::info!(bytes, "compiled components deleted that no version needs"),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "deleting compiled components failed"
                );
            }
        }
    }
}

/// What is to be deleted now.
fn retention(app: &App) -> Retention {
    let store = &app.config.store;
    let ago = |days: u32| Timestamp::now().checked_sub(SignedDuration::from_hours(24 * i64::from(days))).ok();
    let entries = app.registry.list();
    let limited = entries.iter().filter(|entry| entry.workflow.limits.has_retention());
    let of_workflow = |entry: &Arc<Entry>| {
        let limits = &entry.workflow.limits;
        WorkflowRetention {
            workflow: entry.workflow.id,
            accepted_before: limits.retention_days.and_then(ago),
            bytes_max: limits.retention_bytes_max,
            runs_max: limits.retention_runs_max,
        }
    };
    Retention {
        accepted_before: ago(store.retention_days),
        bytes_max: Some(store.retention_bytes_max),
        runs_max: Some(store.retention_runs_max),
        statistics_before: ago(store.statistics_days),
        statistics_bytes_max: Some(store.statistics_bytes_max),
        workflows: limited.map(of_workflow).collect(),
    }
}

#[cfg(test)]
#[path = "app/recovery_tests.rs"]
mod recovery_tests;
