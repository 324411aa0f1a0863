//! Every key, by section; `config.default.toml` says what each means.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::api::MissedWord;
use crate::schedule::Overlap;

/// Everything that can be configured, validated.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Config {
    pub server: Server,
    pub engine: Engine,
    pub owner: Owner,
    pub run: Run,
    pub accounts: Accounts,
    pub oidc: Oidc,
    pub audit: Audit,
    pub egress: Egress,
    pub store: Store,
    pub keys: Keys,
    pub schedule: Schedule,
    pub queue: Queue,
    pub runtime: Runtime,
    pub telemetry: Telemetry,
    pub log: Log,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Keys {
    pub file: String,
    pub command: Vec<String>,
}

#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Telemetry {
    pub otlp_endpoint: String,
    pub otlp_headers: Vec<String>,
}

impl Telemetry {
    /// Names and values of the headers.
    pub fn headers(&self) -> Vec<(String, String)> {
        let parts = self.otlp_headers.iter().filter_map(|header| header.split_once('='));
        parts.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
    }
}

// Headers hold a collector's key.
impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("otlp_endpoint", &self.otlp_endpoint).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Server {
    pub node: String,
    pub listen: String,
    pub url: String,
    pub catch_listen: String,
    pub catch_url: String,
    pub connections_max: usize,
    pub address_connections_max: u32,
    pub address_rate_per_s_max: u32,
    pub address_burst_max: u32,
    pub endpoint_rate_per_s_max: u32,
    pub endpoint_burst_max: u32,
    pub trusted_proxies: Vec<String>,
    pub header_timeout_ms: u64,
    pub idle_timeout_ms: u64,
    pub header_bytes_max: usize,
    pub headers_max: usize,
    pub body_bytes_max: usize,
    pub body_timeout_ms: u64,
    pub upload_bytes_max: usize,
    pub drain_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Engine {
    pub instances_max: u32,
    pub memory_bytes_max: usize,
    pub memory_total_bytes_max: u64,
    pub deadline_ms: u64,
    pub cpu_ms_max: u64,
    pub epoch_tick_ms: u64,
    pub queue_ms: u64,
    pub queue_max: usize,
    pub compile_timeout_ms: u64,
    pub compile_memory_bytes_max: u64,
    pub compiles_max: usize,
    pub compiles_waiting_max: usize,
    pub fuse: bool,
    pub programs_max: usize,
    pub reset: Reset,
    pub idle_memory_bytes_max: u64,
    pub idle_ms: u64,
}

/// How an ended instance's memory is made ready for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reset {
    /// The pages that it wrote are restored, where the kernel can tell which they are.
    InPlace,
    /// As the sandbox's own pool does it.
    Pool,
}

/// Which catch runs leave a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// Each.
    All,
    /// Those that did not succeed.
    Failures,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Owner {
    pub instances_max: u32,
    pub memory_bytes_max: u64,
    pub cpu_ms_per_minute_max: u64,
    pub rate_per_s_max: u32,
    pub burst_max: u32,
    pub egress_requests_per_minute_max: u64,
    pub egress_concurrent_max: u32,
    pub egress_bytes_per_minute_max: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Run {
    pub concurrency_max: u32,
    pub log_bytes_max: usize,
    pub reply_bytes_max: usize,
    pub reply_headers_max: usize,
    pub reply_header_bytes_max: usize,
    pub record: Record,
    pub record_body_bytes_max: usize,
    pub settings_max: usize,
    pub setting_bytes_max: usize,
    pub commits_max: u32,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Accounts {
    pub password_chars_min: usize,
    pub sign_in_attempts_max: u32,
    pub lockout_minutes: u32,
    pub link_minutes: u32,
    pub session_idle_minutes: u32,
    pub session_days: u32,
    pub proof_s: u32,
    pub sessions_max: usize,
    pub tokens_max: usize,
    pub users_max: usize,
}

#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Oidc {
    pub issuer: String,
    pub client_id: String,
    pub client_secret: String,
    pub client_secret_file: String,
    pub name: String,
    pub scopes: Vec<String>,
    pub login_claim: String,
    pub groups_claim: String,
    pub allowed_domains: Vec<String>,
    pub allowed_groups: Vec<String>,
    pub admin_groups: Vec<String>,
    pub create_users: bool,
    pub link_verified_email: bool,
    pub clock_skew_s: u32,
    pub timeout_ms: u64,
    pub ca_file: String,
}

// It may hold the client's secret.
impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Audit {
    pub days: u32,
    pub bytes_max: u64,
    pub key_file: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Egress {
    pub allow_private: Vec<String>,
    pub ca_file: String,
    pub connect_timeout_ms: u64,
    pub tls_timeout_ms: u64,
    pub first_byte_timeout_ms: u64,
    pub exchange_timeout_ms: u64,
    pub request_bytes_max: u64,
    pub response_bytes_max: u64,
    pub response_header_bytes_max: usize,
    pub run_bytes_max: u64,
    pub requests_max: u32,
    pub concurrent_max: u32,
    pub connections_max: usize,
    pub idle_per_host_max: usize,
    pub idle_timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Store {
    pub flush_ms: u64,
    pub segment_bytes: u64,
    pub retention_days: u32,
    pub retention_bytes_max: u64,
    pub retention_runs_max: u64,
    pub statistics_days: u32,
    pub statistics_bytes_max: u64,
    pub space_low_bytes: u64,
    pub space_full_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Schedule {
    pub batch_max: usize,
    pub schedules_max: usize,
    pub interval_ms_min: u64,
    pub overlap: Overlap,
    pub missed: MissedWord,
    pub missed_max: u32,
    pub start_deadline_ms: u64,
    pub jitter_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Queue {
    pub events_max: usize,
    pub bytes_max: u64,
    pub running_max: usize,
    pub attempts_max: u32,
    pub remember_hours: u32,
    pub remembered_max: usize,
    pub dead_days: u32,
    pub dead_max: usize,
    pub callback_attempts: u32,
    pub callback_timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Runtime {
    pub default: String,
    pub check_timeout_ms: u64,
    pub upload_bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each key")]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

/// How the host's own log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Server {
    /// The networks of proxies whose word on who calls counts; what is no network is left
    /// out, of which validation leaves none.
    pub fn trusted_proxies(&self) -> Vec<IpNet> {
        self.trusted_proxies.iter().filter_map(|text| network(text)).collect()
    }

    /// What records call this host: as configured, or the machine's host name.
    pub fn node(&self) -> String {
        match self.node.as_str() {
            "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            name => name.to_owned(),
        }
    }
}

/// A network, or a single address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}
