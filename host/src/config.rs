//! The configuration: defaults, file, environment, flags, in this order.
//!
//! `config.default.toml` is the one list of keys, units and defaults; it is embedded
//! and read first, so that the documentation and the defaults cannot disagree. This is
//! the only module that reads the environment.

mod keys;
mod machine;

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

pub use self::keys::{
    Accounts, Audit, Config, Egress, Engine, Keys, Log, LogFormat, Oidc, Owner, Queue, Record, Reset, Run,
    Runtime, Schedule, Server, Store, Telemetry,
};
use crate::schedule::{BACKFILL_MAX, JITTER_MS_MAX, START_DEADLINE_MS_MIN};

/// The embedded, commented default file.
pub const DEFAULTS: &str = include_str!("config.default.toml");

/// Environment variables that set a key begin with this, for example
/// `TIDEGATE_SERVER__LISTEN` for `server.listen`.
const ENV_PREFIX: &str = "TIDEGATE_";

/// Longest `server.node`.
const NODE_BYTES_MAX: usize = 64;

/// Why there is no configuration. `Display` says what is wrong and where,
/// [`ConfigError::hint`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} is not valid TOML at line {line}, column {column}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// A key does not exist.
    #[error("unknown key {key} in {origin}")]
    UnknownKey {
        /// The key with its section, for example `server.lisen`.
        key: String,
        /// Where it stands.
        origin: String,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// A value has the wrong type or is out of range.
    #[error("{key} in {origin}: {reason}")]
    Value {
        /// The key with its section.
        key: String,
        /// Where it stands.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ConfigError {
    fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let before = &text[..error.span().map_or(0, |span| text.floor_char_boundary(span.start))];
        let (line, last) = (1 + before.matches('\n').count(), before.rsplit('\n').next().unwrap_or_default());
        let (column, reason) = (1 + last.chars().count(), error.message().to_owned());
        ConfigError::Syntax { path: path.to_owned(), line, column, reason }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            ConfigError::Read { .. } => {
                "check the path given by --config and the file's permissions".to_owned()
            }
            ConfigError::Syntax { .. } => {
                "`tidegate serve --print-config` shows a complete, valid file".to_owned()
            }
            ConfigError::UnknownKey { nearest: Some(nearest), .. } => format!("did you mean {nearest}?"),
            ConfigError::UnknownKey { nearest: None, .. } | ConfigError::Value { .. } => {
                "`tidegate serve --print-config` lists every key with its unit and default".to_owned()
            }
        }
    }
}

/// One value that overrides the file: an environment variable or a flag.
#[derive(Debug, Clone)]
pub struct Override {
    /// Section and key, for example `server.listen`.
    pub key: String,
    /// The value.
    pub value: Value,
    /// For messages, for example `--listen` or `TIDEGATE_SERVER__LISTEN`.
    pub origin: String,
}

impl Config {
    /// The defaults alone.
    pub fn defaults() -> Self {
        Self::load(None, Vec::new(), Vec::new()).expect("the embedded defaults are valid: a test reads them")
    }

    /// Reads the configuration: defaults, then `file`, then `environment` (all the
    /// process's variables; others than `TIDEGATE_<SECTION>__<KEY>` are ignored), then
    /// `flags`.
    ///
    /// # Errors
    /// The first key or value that is wrong, and where it stands.
    pub fn load(
        file: Option<&Path>,
        environment: Vec<(String, String)>,
        flags: Vec<Override>,
    ) -> Result<Self, ConfigError> {
        let defaults: Table = DEFAULTS.parse().expect("the embedded defaults are TOML: a test reads them");
        let mut merged = defaults.clone();
        let mut origins = Origins(Vec::new());
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
            let table: Table = text.parse().map_err(|error| ConfigError::syntax(path, &text, &error))?;
            for one in overrides_of(table, path) {
                apply(&mut merged, &defaults, &mut origins, one)?;
            }
        }
        for one in environment.into_iter().filter_map(override_of_variable).chain(flags) {
            apply(&mut merged, &defaults, &mut origins, one)?;
        }
        let config: Config = Value::Table(merged).try_into().map_err(|error: toml::de::Error| {
            // Types were checked key by key; what is left are values such as an
            // unknown log format or a negative number.
            ConfigError::Value {
                key: "a value".to_owned(),
                origin: origins.last(),
                reason: error.message().to_owned(),
            }
        })?;
        config.validate(&origins)?;
        Ok(config)
    }

    /// The configuration for the process's own environment. `TIDEGATE_URL` and its like,
    /// which have no section, belong to the command line.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_process(file: Option<&Path>, flags: Vec<Override>) -> Result<Self, ConfigError> {
        Self::load(file, std::env::vars().collect(), flags)
    }

    fn validate(&self, origins: &Origins) -> Result<(), ConfigError> {
        let at_least = |key: &str, value: u64, minimum: u64| {
            if value >= minimum {
                return Ok(());
            }
            Err(origins.value_error(key, format!("must be at least {minimum}, is {value}")))
        };
        let at_most = |key: &str, value: u64, maximum: u64| {
            if value <= maximum {
                return Ok(());
            }
            Err(origins.value_error(key, format!("must be at most {maximum}, is {value}")))
        };
        if self.server.node.len() > NODE_BYTES_MAX || self.server.node.chars().any(char::is_control) {
            let reason = format!("must be at most {NODE_BYTES_MAX} bytes, without control characters");
            return Err(origins.value_error("server.node", reason));
        }
        let endpoint = &self.telemetry.otlp_endpoint;
        let is_url = endpoint
            .parse::<http::Uri>()
            .is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some());
        if !endpoint.is_empty() && !is_url {
            let reason = "must be a URL such as http://127.0.0.1:4318, or empty".to_owned();
            return Err(origins.value_error("telemetry.otlp_endpoint", reason));
        }
        if self.telemetry.headers().len() != self.telemetry.otlp_headers.len() {
            let reason = "each must be written name=value".to_owned();
            return Err(origins.value_error("telemetry.otlp_headers", reason));
        }
        if let Some(wrong) = self.server.trusted_proxies.iter().find(|text| keys::network(text).is_none()) {
            let reason = format!("{wrong:?} is neither an address nor a network such as 10.0.0.0/8");
            return Err(origins.value_error("server.trusted_proxies", reason));
        }
        at_least("server.address_burst_max", self.server.address_burst_max.into(), 1)?;
        at_least("owner.burst_max", self.owner.burst_max.into(), 1)?;
        at_least("server.endpoint_burst_max", self.server.endpoint_burst_max.into(), 1)?;
        at_least("server.connections_max", self.server.connections_max as u64, 1)?;
        at_least("server.header_timeout_ms", self.server.header_timeout_ms, 1)?;
        at_least("server.idle_timeout_ms", self.server.idle_timeout_ms, 1)?;
        // hyper refuses a smaller read buffer.
        at_least("server.header_bytes_max", self.server.header_bytes_max as u64, 8192)?;
        at_least("server.headers_max", self.server.headers_max as u64, 1)?;
        at_least("server.body_timeout_ms", self.server.body_timeout_ms, 1)?;
        at_least("engine.instances_max", self.engine.instances_max.into(), 1)?;
        // One slot reserves about 6 GiB of address space; 47 bits hold 21,000 of them.
        at_most("engine.instances_max", self.engine.instances_max.into(), 10_000)?;
        at_least("engine.memory_bytes_max", self.engine.memory_bytes_max as u64, 1 << 20)?;
        at_most("engine.memory_bytes_max", self.engine.memory_bytes_max as u64, 4 << 30)?;
        at_least("engine.deadline_ms", self.engine.deadline_ms, 1)?;
        at_least("engine.cpu_ms_max", self.engine.cpu_ms_max, 1)?;
        at_least("engine.epoch_tick_ms", self.engine.epoch_tick_ms, 1)?;
        at_most("engine.epoch_tick_ms", self.engine.epoch_tick_ms, 100)?;
        // What the compiler needs for a component of a line: its allocator reserves much.
        at_least("engine.compile_memory_bytes_max", self.engine.compile_memory_bytes_max, 2 << 30)?;
        at_least("engine.compiles_max", self.engine.compiles_max as u64, 1)?;
        at_least("engine.programs_max", self.engine.programs_max as u64, 1)?;
        at_least("engine.idle_ms", self.engine.idle_ms, 100)?;
        at_least("run.concurrency_max", self.run.concurrency_max.into(), 1)?;
        at_least("run.log_bytes_max", self.run.log_bytes_max as u64, 1024)?;
        // What the engine copies for a guest in one call, less room for the headers.
        at_most("run.reply_bytes_max", self.run.reply_bytes_max as u64, 7 << 20)?;
        let accounts = &self.accounts;
        // NIST SP 800-63B, section 3.1.1: never fewer than 8.
        at_least("accounts.password_chars_min", accounts.password_chars_min as u64, 8)?;
        for (key, value) in [
            ("accounts.sign_in_attempts_max", u64::from(accounts.sign_in_attempts_max)),
            ("accounts.lockout_minutes", accounts.lockout_minutes.into()),
            ("accounts.link_minutes", accounts.link_minutes.into()),
            ("accounts.session_idle_minutes", accounts.session_idle_minutes.into()),
            ("accounts.session_days", accounts.session_days.into()),
            ("accounts.sessions_max", accounts.sessions_max as u64),
            ("accounts.tokens_max", accounts.tokens_max as u64),
            ("accounts.users_max", accounts.users_max as u64),
            ("audit.days", self.audit.days.into()),
            ("audit.bytes_max", self.audit.bytes_max),
        ] {
            at_least(key, value, 1)?;
        }
        at_least("oidc.timeout_ms", self.oidc.timeout_ms, 1)?;
        at_most("oidc.timeout_ms", self.oidc.timeout_ms, 60_000)?;
        at_most("oidc.clock_skew_s", self.oidc.clock_skew_s.into(), 600)?;
        at_least("egress.concurrent_max", self.egress.concurrent_max.into(), 1)?;
        at_least("egress.connections_max", self.egress.connections_max as u64, 1)?;
        at_least("store.flush_ms", self.store.flush_ms, 1)?;
        at_least("store.segment_bytes", self.store.segment_bytes, 1 << 20)?;
        at_most("store.segment_bytes", self.store.segment_bytes, 1 << 30)?;
        at_most("store.space_full_bytes", self.store.space_full_bytes, self.store.space_low_bytes)?;
        at_least("schedule.batch_max", self.schedule.batch_max as u64, 1)?;
        at_least("queue.events_max", self.queue.events_max as u64, 1)?;
        at_least("queue.running_max", self.queue.running_max as u64, 1)?;
        at_least("queue.attempts_max", self.queue.attempts_max.into(), 1)?;
        at_most("queue.attempts_max", self.queue.attempts_max.into(), 1000)?;
        at_least("queue.callback_attempts", self.queue.callback_attempts.into(), 1)?;
        at_least("queue.callback_timeout_ms", self.queue.callback_timeout_ms, 1)?;
        at_least("schedule.interval_ms_min", self.schedule.interval_ms_min, 1)?;
        at_least("schedule.missed_max", self.schedule.missed_max.into(), 1)?;
        at_most("schedule.missed_max", self.schedule.missed_max.into(), BACKFILL_MAX.into())?;
        if self.schedule.start_deadline_ms > 0 {
            at_least("schedule.start_deadline_ms", self.schedule.start_deadline_ms, START_DEADLINE_MS_MIN)?;
        }
        at_most("schedule.jitter_ms", self.schedule.jitter_ms, JITTER_MS_MAX)?;
        Ok(())
    }

    /// Linear memory of all instances together, in bytes.
    pub fn memory_total_bytes_max(&self) -> u64 {
        match self.engine.memory_total_bytes_max {
            0 => machine::memory_bytes() / 4 * 3,
            limit => limit,
        }
    }

    /// A key that holds milliseconds, as a duration.
    pub fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }
}

/// Where each overridden key was set, for messages.
struct Origins(Vec<(String, String)>);

impl Origins {
    fn of(&self, key: &str) -> String {
        let found = self.0.iter().rev().find(|(set, _)| set == key);
        found.map_or_else(|| "the defaults".to_owned(), |(_, origin)| origin.clone())
    }

    fn last(&self) -> String {
        self.0.last().map_or_else(|| "the defaults".to_owned(), |(_, origin)| origin.clone())
    }

    fn value_error(&self, key: &str, reason: String) -> ConfigError {
        ConfigError::Value { key: key.to_owned(), origin: self.of(key), reason }
    }
}

fn overrides_of(table: Table, path: &Path) -> Vec<Override> {
    let origin = path.display().to_string();
    let mut list = Vec::new();
    for (section, value) in table {
        match value {
            Value::Table(keys) => {
                for (key, value) in keys {
                    let key = format!("{section}.{key}");
                    list.push(Override { key, value, origin: origin.clone() });
                }
            }
            value => list.push(Override { key: section, value, origin: origin.clone() }),
        }
    }
    list
}

fn override_of_variable((name, text): (String, String)) -> Option<Override> {
    let (section, key) = name.strip_prefix(ENV_PREFIX)?.split_once("__")?;
    let key = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
    Some(Override { key, value: Value::String(text), origin: format!("the environment variable {name}") })
}

/// Sets one key of `merged`, after its name and type were checked against `defaults`.
fn apply(
    merged: &mut Table,
    defaults: &Table,
    origins: &mut Origins,
    one: Override,
) -> Result<(), ConfigError> {
    let Override { key, value, origin } = one;
    let (section, name) = key.split_once('.').unwrap_or((&key, ""));
    let Some(default) = defaults.get(section).and_then(|keys| keys.get(name)) else {
        let nearest = nearest_key(defaults, &key);
        return Err(ConfigError::UnknownKey { key, origin, nearest });
    };
    let value = convert(value, default).map_err(|reason| ConfigError::Value {
        key: key.clone(),
        origin: origin.clone(),
        reason,
    })?;
    origins.0.push((key.clone(), origin));
    let keys = merged.get_mut(section).and_then(Value::as_table_mut);
    keys.expect("merged has the sections of defaults").insert(name.to_owned(), value);
    Ok(())
}

/// The value as the type of its default: variables and flags bring texts.
fn convert(value: Value, default: &Value) -> Result<Value, String> {
    match (value, default) {
        (Value::String(text), Value::Integer(_)) => text
            .replace('_', "")
            .parse()
            .map(Value::Integer)
            .map_err(|_| format!("{text:?} is not a whole number")),
        (Value::String(text), Value::Boolean(_)) => {
            text.parse().map(Value::Boolean).map_err(|_| format!("{text:?} is neither true nor false"))
        }
        (Value::String(text), Value::Array(_)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::Array(parts.map(|part| Value::String(part.to_owned())).collect()))
        }
        (value, default) if value.same_type(default) => {
            if value.as_integer().is_some_and(|number| number < 0) {
                return Err("must not be negative".to_owned());
            }
            Ok(value)
        }
        (value, default) => Err(format!("is {}, must be {}", type_name(&value), type_name(default))),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

fn nearest_key(defaults: &Table, key: &str) -> Option<String> {
    let name = key.rsplit('.').next().unwrap_or(key);
    let known = defaults.iter().flat_map(|(section, keys)| {
        let keys = keys.as_table().into_iter().flat_map(Table::keys);
        keys.map(move |key| format!("{section}.{key}"))
    });
    known
        .map(|candidate| {
            // A right key in the wrong section is nearer than any spelling.
            let same_name = candidate.ends_with(&format!(".{name}"));
            let score = if same_name { 0.99 } else { strsim::jaro_winkler(&candidate, key) };
            (score, candidate)
        })
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(key: &str, value: impl Into<Value>) -> Override {
        Override { key: key.to_owned(), value: value.into(), origin: format!("--{key}") }
    }

    fn env(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_embedded_defaults_are_complete_and_valid() {
        let config = Config::defaults();
        assert_eq!(config.engine.deadline_ms, 30_000);
        assert_eq!(config.log.format, LogFormat::Text);
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.toml");
        std::fs::write(&file, "[engine]\ndeadline_ms = 1\ninstances_max = 2\nqueue_max = 3\n").unwrap();
        let environment = vec![
            env("TIDEGATE_ENGINE__INSTANCES_MAX", "20"),
            env("TIDEGATE_ENGINE__QUEUE_MAX", "30"),
            env("TIDEGATE_ENGINE__FUSE", "false"),
            env("TIDEGATE_URL", "http://x"),
            env("TIDEGATE_EGRESS__ALLOW_PRIVATE", "a:1, b"),
        ];
        let config = Config::load(Some(&file), environment, vec![flag("engine.queue_max", 300)]).unwrap();
        assert_eq!(
            (config.engine.deadline_ms, config.engine.instances_max, config.engine.queue_max),
            (1, 20, 300)
        );
        assert!(!config.engine.fuse);
        assert_eq!(config.egress.allow_private, ["a:1", "b"]);
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        for (key, nearest) in [
            ("server.lisen", "server.listen"),
            ("engine.deadline", "engine.deadline_ms"),
            ("server.deadline_ms", "engine.deadline_ms"),
        ] {
            let error = Config::load(None, vec![], vec![flag(key, 1)]).unwrap_err();
            assert_eq!(error.to_string(), format!("unknown key {key} in --{key}"));
            assert_eq!(error.hint(), format!("did you mean {nearest}?"), "{key}");
        }
        let error = Config::load(None, vec![env("TIDEGATE_ZZZ__QQQ", "1")], vec![]).unwrap_err();
        assert_eq!(error.to_string(), "unknown key zzz.qqq in the environment variable TIDEGATE_ZZZ__QQQ");
        assert!(error.hint().contains("--print-config"));
    }

    #[test]
    fn a_wrong_value_names_key_place_and_reason() {
        for (one, message) in [
            (
                flag("engine.deadline_ms", 0),
                "engine.deadline_ms in --engine.deadline_ms: must be at least 1, is 0",
            ),
            (
                flag("engine.deadline_ms", -5),
                "engine.deadline_ms in --engine.deadline_ms: must not be negative",
            ),
            (
                flag("engine.deadline_ms", "x"),
                "engine.deadline_ms in --engine.deadline_ms: \"x\" is not a whole number",
            ),
            (
                flag("server.trusted_proxies", "10.0.0.0/8, proxy"),
                "server.trusted_proxies in --server.trusted_proxies: \"proxy\" is neither an address nor a \
                 network such as 10.0.0.0/8",
            ),
            (flag("server.listen", 1), "server.listen in --server.listen: is a whole number, must be a text"),
        ] {
            assert_eq!(Config::load(None, vec![], vec![one]).unwrap_err().to_string(), message);
        }
        let error = Config::load(None, vec![env("TIDEGATE_LOG__FORMAT", "xml")], vec![]).unwrap_err();
        assert!(error.to_string().contains("xml"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_toml_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.toml");
        std::fs::write(&file, "[server]\nlisten = =\n").unwrap();
        let error = Config::load(Some(&file), vec![], vec![]).unwrap_err();
        assert!(matches!(error, ConfigError::Syntax { line: 2, column: 10, .. }), "{error}");
        let error = Config::load(Some(&folder.path().join("none")), vec![], vec![]).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    }
}
