//! What one instance may see and touch: the data of its store, and the imports of
//! `tidegate:workflow`.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::bindings::runtime::tidegate::workflow::program;
use super::bindings::workflow::tidegate::workflow::settings::{self, CommitError};
use super::bindings::workflow::tidegate::workflow::{log, types};
use super::chance::Chance;
use super::egress::{self, RunEgress};
use super::log::Log;
use super::memory::Account;
use crate::run::{Level, Stream};
use crate::workflow::SettingChange;

/// Longest field name or value of a log line, in bytes; the rest is cut.
const LOG_FIELD_BYTES_MAX: usize = 4096;

/// Handles that a guest may hold.
const TABLE_ENTRIES_MAX: usize = 1024;
/// Bytes of one set of header fields.
const HEADER_FIELDS_BYTES_MAX: usize = 64 << 10;
/// Random bytes in one call.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// Saves settings before the run's end.
///
/// The future resolves when the changes are durable. An error is told to the guest:
/// `Err(CommitRefusal)`.
pub trait CommitSettings: Send + Sync + 'static {
    /// Saves all changes, or none.
    fn commit(self: Arc<Self>, changes: Vec<SettingChange>) -> BoxFuture<'static, Result<(), CommitRefusal>>;
}

/// Why an early save was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitRefusal {
    /// A value is not JSON, or a name or a value is over its limit.
    Invalid(String),
    /// This run may not write settings, or not any more.
    Refused(String),
    /// The store could not keep them.
    Unavailable(String),
}

/// The data of one run's store.
pub(super) struct State {
    // Dropped first: a body that the guest did not finish must not look finished when the
    // table drops it.
    pub(super) egress: RunEgress,
    pub(super) table: ResourceTable,
    pub(super) wasi: WasiCtx,
    pub(super) http: WasiHttpCtx,
    pub(super) memory: Account,
    pub(super) log: Log,
    pub(super) commit: Option<Arc<dyn CommitSettings>>,
    /// The program's source, for a runtime.
    pub(super) source: Bytes,
}

impl State {
    pub(super) fn new(
        chance: &Chance,
        egress: RunEgress,
        memory: Account,
        log: Log,
        commit: Option<Arc<dyn CommitSettings>>,
        source: Bytes,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(TABLE_ENTRIES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADER_FIELDS_BYTES_MAX);
        // No arguments, no environment, no preopened folder; the denials are spelled out
        // because the defaults have changed before.
        let wasi = WasiCtx::builder()
            .stdout(log.sink(Stream::Stdout))
            .stderr(log.sink(Stream::Stderr))
            .wall_clock(chance.clone())
            .monotonic_clock(chance.clone())
            .secure_random(chance.random())
            .insecure_random(chance.random())
            .insecure_random_seed(chance.hash_seed())
            .max_random_size(RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self { egress, table, wasi, http, memory, log, commit, source }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.egress, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Everything a guest can import.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    egress::replace_http_error_code(&mut linker)?;
    types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    log::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    settings::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    program::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

impl types::Host for State {}

impl log::Host for State {
    fn emit(
        &mut self,
        level: log::Level,
        message: String,
        mut fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warning => Level::Warning,
            log::Level::Error => Level::Error,
        };
        for (name, value) in &mut fields {
            cut(name);
            cut(value);
        }
        self.log.line(level, Stream::Log, message, fields);
        Ok(())
    }
}

fn cut(text: &mut String) {
    if text.len() > LOG_FIELD_BYTES_MAX {
        text.truncate(text.floor_char_boundary(LOG_FIELD_BYTES_MAX));
        text.push('…');
    }
}

impl settings::Host for State {
    async fn commit(&mut self, changes: Vec<types::Change>) -> wasmtime::Result<Result<(), CommitError>> {
        let Some(commit) = &self.commit else {
            return Ok(Err(CommitError::Refused("this run does not keep settings".to_owned())));
        };
        let changes = match changes_of(changes, &self.egress) {
            Ok(changes) => changes,
            Err(reason) => return Ok(Err(CommitError::Invalid(reason))),
        };
        Ok(commit.clone().commit(changes).await.map_err(|refusal| match refusal {
            CommitRefusal::Invalid(reason) => CommitError::Invalid(reason),
            CommitRefusal::Refused(reason) => CommitError::Refused(reason),
            CommitRefusal::Unavailable(reason) => CommitError::Unavailable(reason),
        }))
    }
}

impl program::Host for State {
    fn source(&mut self) -> wasmtime::Result<String> {
        Ok(String::from_utf8_lossy(&self.source).into_owned())
    }
}

/// A guest's changes, each value checked to be JSON and to be good for longer than this run.
pub(super) fn changes_of(
    changes: Vec<types::Change>,
    egress: &RunEgress,
) -> Result<Vec<SettingChange>, String> {
    let checked = changes.into_iter().map(|change| {
        // It would be worth nothing in the next run, and somebody would wonder why.
        if let Some(sealed) = change.value.as_deref().and_then(|text| egress.placeholder_in(text)) {
            return Err(format!(
                "the value of the setting {:?} holds the placeholder of the sealed setting {sealed:?}, which \
                 is good for this run only",
                shown(&change.name)
            ));
        }
        let value = match change.value {
            Some(text) => Some(serde_json::value::RawValue::from_string(text).map_err(|error| {
                format!("the value of the setting {:?} is not JSON: {error}", shown(&change.name))
            })?),
            None => None,
        };
        Ok(SettingChange::new(change.name, value))
    });
    checked.collect()
}

/// A guest's text, short enough for a message.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(80)]
}
