//! The only way out of the sandbox: `wasi:http/outgoing-handler`.
//!
//! A guest's request is checked (URL, name, every address that it resolves to), sent on a
//! connection to exactly a checked address, counted, capped, given up in time, and
//! recorded. Nothing here follows redirects, reads proxy variables or decompresses: each
//! is a request or a matter of the guest's own. The engine makes one [`RunEgress`] for
//! each run and hands it to `wasmtime-wasi-http`, which is built without a sender of its
//! own.
//!
//! `table` (data), `refusal`, `allow`, `target`, `policy`, `destinations`: what may be
//! reached. `resolver`, `tls`, `connector`, `connection`, `pool`: how. `client`, `body`: one
//! exchange. `sealed`, `sealed_body`, `sealed_multipart`: values of sealed settings on their way out, and not
//! back. `ledger`, `owner`, `counters`, `error`, `broken`, `run`: what is told about it.

mod allow;
mod body;
mod broken;
mod client;
mod connection;
mod connector;
mod counters;
mod deliver;
mod destinations;
mod error;
mod ledger;
mod owner;
mod policy;
mod pool;
mod refusal;
mod resolver;
mod run;
mod sealed;
mod sealed_body;
mod sealed_multipart;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::allow::AllowList;
use self::connector::{ConnectLimits, Connector};
use self::ledger::Caps;
use self::policy::Policy;
use self::pool::Pool;
use crate::config::{self, Config};

pub use self::broken::{error_code, replace_http_error_code};
pub use self::counters::EgressCounters;
pub use self::error::{Code, Detail, Failure};
pub use self::owner::OwnerEgress;
pub use self::policy::decide;
pub use self::refusal::{Reason, Refusal};
pub use self::resolver::{Resolve, Sources, SystemResolver};
pub use self::run::{OutboundLimits, RunEgress, RunEgressOptions};
pub use self::sealed::SealedSettings;
pub use self::table::{IPV4_REFUSED, IPV6_GLOBAL, IPV6_REFUSED, Range};
pub use self::tls::TlsError;

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// An entry of `egress.allow_private` is malformed.
    #[error("the entry {entry:?} of egress.allow_private {reason}")]
    AllowEntry {
        /// The entry.
        entry: String,
        /// What it must be.
        reason: &'static str,
    },
    /// TLS cannot be set up.
    #[error("the certificate authorities of egress cannot be used")]
    Tls(#[from] TlsError),
    /// The resolver cannot be built.
    #[error("the resolver cannot be set up")]
    Resolver(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The limits of every exchange, from the configuration.
#[derive(Debug)]
struct Limits {
    dns_timeout: Duration,
    connect_timeout: Duration,
    first_byte_timeout: Duration,
    exchange_timeout: Duration,
    request_bytes_max: u64,
    response_bytes_max: u64,
    response_header_bytes_max: usize,
    caps: Caps,
}

/// The way out of one host process, shared by all runs.
pub struct Egress {
    policy: Policy,
    resolver: Arc<dyn Resolve>,
    connector: Connector,
    pool: Arc<Pool>,
    limits: Limits,
    counters: Arc<EgressCounters>,
}

impl Egress {
    /// The way out by these rules, with the system's resolver.
    ///
    /// # Errors
    /// An entry of `allow_private` is malformed, or `ca_file` is not usable.
    pub fn new(config: &config::Egress) -> Result<Arc<Self>, EgressError> {
        let resolver = SystemResolver::new().map_err(|error| EgressError::Resolver(error.into()))?;
        Self::with_resolver(config, Arc::new(resolver))
    }

    /// The same with a resolver of the caller's.
    ///
    /// # Errors
    /// An entry of `allow_private` is malformed, or `ca_file` is not usable.
    pub fn with_resolver(
        config: &config::Egress,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Arc<Self>, EgressError> {
        let allowed = AllowList::parse(&config.allow_private)
            .map_err(|(entry, reason)| EgressError::AllowEntry { entry, reason })?;
        let tls = tls::client_config(&config.ca_file)?;
        let [connect, tls_timeout] = [config.connect_timeout_ms, config.tls_timeout_ms].map(Config::ms);
        let pool = Pool::new(config.idle_per_host_max, Config::ms(config.idle_timeout_ms));
        let connector = Connector::new(
            tls,
            ConnectLimits { connect, tls: tls_timeout },
            config.connections_max,
            config.response_header_bytes_max,
            pool.tasks.clone(),
        );
        let limits = Limits {
            dns_timeout: connect,
            // Three steps with a limit each: name, address, encryption.
            connect_timeout: connect.saturating_mul(2).saturating_add(tls_timeout),
            first_byte_timeout: Config::ms(config.first_byte_timeout_ms),
            exchange_timeout: Config::ms(config.exchange_timeout_ms),
            request_bytes_max: config.request_bytes_max,
            response_bytes_max: config.response_bytes_max,
            response_header_bytes_max: config.response_header_bytes_max,
            caps: Caps {
                requests_max: config.requests_max,
                concurrent_max: config.concurrent_max,
                bytes_max: config.run_bytes_max,
            },
        };
        let policy = Policy::new(allowed);
        Ok(Arc::new(Self { policy, resolver, connector, pool, limits, counters: Arc::default() }))
    }

    /// Refuses the addresses that this host listens on, unless an entry of
    /// `allow_private` writes their port out. Call it once they are bound.
    pub fn refuse_listeners(&self, listeners: Vec<SocketAddr>) {
        self.policy.set_listeners(listeners);
    }

    /// One run's way out.
    pub fn for_run(self: &Arc<Self>, options: RunEgressOptions) -> RunEgress {
        RunEgress::new(self.clone(), options)
    }

    /// What all runs did so far.
    pub fn counters(&self) -> &EgressCounters {
        &self.counters
    }

    /// Closes the connections that wait, and waits until those in use are closed too,
    /// which they are when their runs are over.
    pub async fn close(&self) {
        self.pool.close();
        self.pool.tasks.close();
        self.pool.tasks.wait().await;
    }
}
