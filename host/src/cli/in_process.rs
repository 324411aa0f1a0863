//! The host's parts that run in this process: serving, and checking a store.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::{Exit, Explain, Failure, Result};
use crate::accounts::{Accounts, NewUser};
use crate::api::{CreateUser, UserView};
use crate::app::{self, AppError, Started};
use crate::audit::{AuditLog, Event};
use crate::config::Config;
use crate::data::DataFolder;
use crate::engine::egress::EgressError;
use crate::keys::KeySource;
use crate::server::inherited;
use crate::store::{
    self, EmbeddedOptions, EmbeddedStore, QueueLimits, Store, StoreError, StoreHealth, Verification,
};
use crate::workflow::Digest;

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends the process at once.
///
/// # Errors
/// Why the host could not start, or not close cleanly.
pub(crate) fn serve(
    config: Config,
    data: &Path,
    keys: KeySource,
    listeners_inherited: u32,
    ready: impl FnOnce(&Started<'_>),
) -> Result<()> {
    // Before the runtime opens descriptors of its own.
    let inherited = inherited::take(listeners_inherited).map_err(AppError::Inherited).map_err(of_app)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        stop_on_signal(shutdown.clone())?;
        app::serve(config, data, keys, inherited, shutdown, ready).await.map_err(of_app)
    })
}

/// Cancels the token at SIGTERM or SIGINT; a second signal ends the process at once.
///
/// # Errors
/// The system refuses to tell of signals.
pub(crate) fn stop_on_signal(shutdown: CancellationToken) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    tokio::spawn(async move {
        // The exit code that shells give to what a signal ended.
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => 143,
                _ = interrupt.recv() => 130,
            }
        };
        next().await;
        shutdown.cancel();
        std::process::exit(next().await);
    });
    Ok(())
}

/// What is done to a store before it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Nothing.
    AsItIs,
    /// Its indexes are made again.
    IndexAgain,
    /// It was just made of a backup, and gets what a backup does not have.
    Restored,
}

/// Reads a whole store and checks it.
/// Nobody else may have it open.
///
/// # Errors
/// It cannot be opened or read.
pub(crate) fn verify(
    data: &Path,
    config: &Config,
    keys: &KeySource,
    opening: Opening,
) -> Result<(StoreHealth, Verification)> {
    runtime()?.block_on(async {
        // Nothing of the queue is forgotten by who only looks, whatever the host's limits are.
        let events = QueueLimits {
            bytes_max: u64::MAX,
            remembered_max: usize::MAX,
            dead_max: usize::MAX,
            ..QueueLimits::default()
        };
        let keys = keys.load(data, store::is_encrypted(data)).await.map_err(|error| of_app(error.into()))?;
        let options = EmbeddedOptions::from_config(config, Arc::new(keys.ring));
        let options = EmbeddedOptions {
            rebuild_index: opening == Opening::IndexAgain,
            is_restored: opening == Opening::Restored,
            events,
            ..options
        };
        let store: Arc<dyn Store> = EmbeddedStore::open(data, options)?;
        let health = store.health();
        let verification = store.verify().await?;
        store.close().await?;
        Ok((health, verification))
    })
}

/// Adds a user to the data folder of a host that is down.
///
/// # Errors
/// Another process has the folder open, or a field is wrong.
pub(crate) fn add_user(data: &Path, keys: &KeySource, request: CreateUser) -> Result<UserView> {
    runtime()?.block_on(async {
        let config = Config::defaults();
        let keys = keys.load(data, store::is_encrypted(data)).await.map_err(|error| of_app(error.into()))?;
        let opened =
            EmbeddedStore::open(data, EmbeddedOptions::from_config(&config, Arc::new(keys.ring.clone())));
        let store: Arc<dyn Store> = match opened {
            Err(error @ StoreError::InUse { .. }) => {
                let hint = "the host runs: leave --data out, and the host adds the user";
                return Err(Failure::from(error).hint(hint));
            }
            opened => opened?,
        };
        let folder = DataFolder::create(data)?;
        let token = Digest::of(folder.admin_token()?.as_bytes());
        let (accounts, _) = Accounts::open(store.clone(), config.accounts, token).await?;
        let CreateUser { login, name, role, password } = request;
        let added = accounts.add_user(NewUser { login, name, role, password }).await;
        if let Ok(user) = &added {
            let key = folder.audit_key(&config.audit.key_file, &keys.ring)?;
            let audit = AuditLog::open(data, key, config.audit.days, config.audit.bytes_max)?;
            let (object, details) = (user.login.to_string(), vec![user.role.to_string()]);
            audit.append(Event { object, details, ..Event::of_host("user.create") })?;
        }
        store.close().await?;
        Ok(UserView::from(&*added?))
    })
}

/// A runtime for the host's parts.
///
/// # Errors
/// The system has no threads left.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start threads")
}

/// What a part of the host says when it does not start.
pub(crate) fn of_app(error: AppError) -> Failure {
    let hint = error.hint();
    let is_configuration = matches!(
        error,
        AppError::Address { .. }
            | AppError::Keys(_)
            | AppError::NoAccounts { .. }
            | AppError::Egress(EgressError::AllowEntry { .. } | EgressError::Tls(_))
    );
    let mut failure = Failure::from(error);
    if is_configuration {
        failure = failure.exit(Exit::Configuration);
    }
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
