//! Workflows, their versions and their settings: the nouns of the control plane.
//!
//! Nothing here does IO. [`crate::store`] keeps these values, [`crate::registry`]
//! serves them from memory.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::run::FaultKind;
use crate::schedule::Schedule;

/// Longest name of a workflow, in bytes: one DNS label (RFC 1035 section 2.3.4).
pub const NAME_BYTES_MAX: usize = 63;

/// The name by which people and the API address a workflow.
///
/// 1 to 63 lower-case letters, digits and inner hyphens, beginning with a letter or
/// a digit, so that it can stand in a URL, a file name and a metric label as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
pub struct WorkflowName(String);

/// Why a text is no workflow name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a workflow name cannot be empty")]
    Empty,
    /// The text is too long.
    #[error("a workflow name has at most {NAME_BYTES_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// A character is not allowed, or not allowed at its place.
    #[error(
        "the workflow name {name:?} has {found:?} at position {position}: use lower-case letters, digits and inner hyphens"
    )]
    Character {
        /// The refused name.
        name: String,
        /// The offending character.
        found: char,
        /// Its position, from 1.
        position: usize,
    },
}

impl WorkflowName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkflowName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let last = text.chars().count() - 1;
        for (index, found) in text.chars().enumerate() {
            let inner = index != 0 && index != last;
            if !(found.is_ascii_lowercase() || found.is_ascii_digit() || (found == '-' && inner)) {
                let position = index + 1;
                return Err(NameError::Character { name: text.to_owned(), found, position });
            }
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for WorkflowName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<WorkflowName> for String {
    fn from(name: WorkflowName) -> Self {
        name.0
    }
}

impl fmt::Display for WorkflowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for WorkflowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Declares a 128-bit id, shown as 26 characters of `base32hex` in lower case, whose
/// order as text is its order as a number (RFC 4648 section 7).
macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, ToSchema)]
        #[serde(try_from = "String")]
        #[schema(value_type = String, pattern = "^[0-9a-v]{26}$")]
        pub struct $name([u8; 16]);

        impl $name {
            /// A new id: milliseconds of the clock first (UUIDv7, RFC 9562), so that
            /// ids sort by the time they were made, within one process strictly.
            pub fn new() -> Self {
                Self(uuid::Uuid::now_v7().into_bytes())
            }

            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, big-endian: their order is the order of the ids.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 26];
                data_encoding::BASE32_DNSSEC.encode_mut(&self.0, &mut text);
                f.pad(std::str::from_utf8(&text).expect("letters and digits"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::workflow::IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                data_encoding::BASE32_DNSSEC
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| $crate::workflow::IdError(text.chars().take(40).collect()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::workflow::IdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    };
}
pub(crate) use id128;

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: an id has 26 characters, digits and letters a to v")]
pub struct IdError(pub String);

id128! {
    /// Names a workflow for ever: an archived workflow's name can be used again, its
    /// id cannot, so that no run or setting of the old one shows up in the new one.
    WorkflowId
}

/// How a workflow is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By an HTTP request at its endpoint.
    Catch,
    /// By the clock.
    Pull,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Catch => "catch",
            Kind::Pull => "pull",
        })
    }
}

/// Whether a workflow takes new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Requests and ticks run it.
    #[default]
    Active,
    /// Requests are answered 503 and ticks are recorded as skipped.
    Paused,
}

/// The SHA-256 digest of a blob: a component, a source file or a code object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest with this value.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 hexadecimal characters")]
pub struct DigestError;

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(DigestError)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// The secret part of a catch workflow's URL: 32 characters, 160 random bits.
///
/// Whoever knows it may call the workflow, so it has no `Display`, its `Debug` shows
/// nothing, and only replies that carry the URL to its owner read it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CatchKey(String);

impl CatchKey {
    /// A new random key.
    pub fn random() -> Self {
        let bytes: [u8; 20] = rand::random();
        Self(data_encoding::BASE32_DNSSEC.encode(&bytes))
    }

    /// The key as it stands in the URL.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CatchKey(..)")
    }
}

/// Counts the changes of a stored value, for compare-and-swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// A workflow as it is stored: everything but its versions, settings and runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// Names it for ever.
    pub id: WorkflowId,
    /// Names it for people; unique among the workflows that are not archived.
    pub name: WorkflowName,
    /// One or a few sentences, at most 2,000 bytes.
    #[serde(default)]
    pub description: String,
    /// How it is started. Never changes.
    pub kind: Kind,
    /// The account that owns it; `None` where accounts are not in use.
    #[serde(default)]
    pub owner: Option<String>,
    /// Accounts that may change it beside its owner.
    #[serde(default)]
    pub managers: Vec<String>,
    /// Hides it from everyone but its owner, its managers and admins.
    #[serde(default)]
    pub private: bool,
    /// Whether it takes new work.
    #[serde(default)]
    pub state: State,
    /// The secret part of its URL; `None` for a pull.
    #[serde(default)]
    pub catch_key: Option<CatchKey>,
    /// What its endpoint accepts; without meaning for a pull.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// When it is due; empty for a catch.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    /// Limits of its own; what is `None` follows the host's configuration.
    #[serde(default)]
    pub limits: LimitOverrides,
    /// Whether and when failed work is tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// The version that runs; `None` until the first deploy.
    #[serde(default)]
    pub active_version: Option<u32>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When anything of it changed last, a deploy included.
    pub updated_at: Timestamp,
    /// Counts its changes.
    pub revision: Revision,
}

/// What a catch workflow's endpoint accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoint {
    /// Accepted methods in upper case; `OPTIONS` is answered by the host. Others get
    /// 405 with `Allow`.
    pub methods: Vec<String>,
    /// Accepts every content type and hands it over unparsed; otherwise only JSON and
    /// the two form types, and others get 415.
    pub raw_bodies: bool,
    /// Origins that browsers may call from; `*` for any.
    pub cors_origins: Vec<String>,
    /// The request header that names a delivery of a webhook, for example
    /// `x-github-delivery`: two requests with the same value are one.
    pub delivery_id_header: Option<String>,
    /// Hosts that callers of asynchronous runs may have called back; `*` for any that
    /// workflows may reach, empty for none.
    pub callback_hosts: Vec<String>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            methods: vec!["POST".to_owned()],
            raw_bodies: false,
            cors_origins: vec!["*".to_owned()],
            delivery_id_header: None,
            callback_hosts: Vec::new(),
        }
    }
}

/// Limits that a workflow has of its own, each at most the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitOverrides {
    /// Wall-clock time of one run, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Memory of one instance, in bytes.
    pub memory_bytes_max: Option<u64>,
    /// Runs at the same time.
    pub concurrency_max: Option<u32>,
    /// Days that its runs are kept.
    pub retention_days: Option<u32>,
    /// Runs that are kept, the newest.
    pub retention_runs_max: Option<u64>,
    /// Bytes of runs that are kept, the newest.
    pub retention_bytes_max: Option<u64>,
}

impl LimitOverrides {
    /// Whether it keeps less of its runs than the host does.
    pub fn has_retention(&self) -> bool {
        self.retention_days.is_some()
            || self.retention_runs_max.is_some()
            || self.retention_bytes_max.is_some()
    }
}

/// Whether and when failed work is tried again: events that were accepted with
/// `Prefer: respond-async`, replays of many runs, and ticks of a pull. A caller who waits
/// for an answer tries again himself.
///
/// With one attempt, work is run *at most once*: what was running when the host died
/// stays interrupted. With more, and `interrupted` among the faults, it is run *at least
/// once*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts at one piece of work, the first included; 1 tries nothing again.
    pub attempts: u32,
    /// Time before the second attempt, in milliseconds; it doubles with each further one.
    pub backoff_ms: u64,
    /// The longest such time, in milliseconds.
    pub backoff_max_ms: u64,
    /// How much of that time is left to chance, in percent: 20 takes 80 to 100 % of it.
    pub jitter_percent: u8,
    /// The faults after which there is another attempt: `exception`, `trap`, `memory`,
    /// `deadline`, `result`, `interrupted`, `host`.
    pub on: Vec<FaultKind>,
}

impl RetryPolicy {
    /// The faults that can be followed by another attempt: others are decisions.
    pub const FAULTS: [FaultKind; 7] = [
        FaultKind::Exception,
        FaultKind::Trap,
        FaultKind::Memory,
        FaultKind::Deadline,
        FaultKind::Result,
        FaultKind::Interrupted,
        FaultKind::Host,
    ];

    /// Whether work that was attempted `spent` times, the last time with this fault, is
    /// attempted again.
    pub fn tries_again(&self, spent: u32, fault: FaultKind) -> bool {
        spent < self.attempts && self.on.contains(&fault)
    }

    /// The time between the attempt with the number `spent` and the next one. `chance` is
    /// 0 to 1.
    pub fn delay(&self, spent: u32, chance: f64) -> Duration {
        let doublings = spent.saturating_sub(1).min(63);
        let whole = self.backoff_ms.saturating_mul(1 << doublings).min(self.backoff_max_ms);
        let off = f64::from(self.jitter_percent.min(100)) / 100.0 * chance.clamp(0.0, 1.0);
        Duration::from_millis((whole as f64 * (1.0 - off)).round() as u64)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 1,
            backoff_ms: 1_000,
            backoff_max_ms: 300_000,
            jitter_percent: 20,
            on: vec![
                FaultKind::Exception,
                FaultKind::Trap,
                FaultKind::Memory,
                FaultKind::Deadline,
                FaultKind::Interrupted,
            ],
        }
    }
}

/// One immutable upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// From 1, without gaps, per workflow.
    pub number: u32,
    /// What runs.
    pub code: Code,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// The account that uploaded it; `None` where accounts are not in use.
    #[serde(default)]
    pub created_by: Option<String>,
    /// What the uploader said of it.
    #[serde(default)]
    pub message: String,
}

/// What a version runs. All digests name blobs in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "lowercase")]
pub enum Code {
    /// A component of its own, for the world `workflow`.
    Component {
        /// The component's bytes.
        component: Digest,
        /// Their number.
        component_bytes: u64,
    },
    /// Source, run by a shared runtime component for the world `runtime`.
    Source {
        /// The file's name, as tracebacks show it.
        file: String,
        /// The source text, UTF-8.
        source: Digest,
        /// What the runtime compiled it to.
        code: Digest,
        /// The runtime's name when it was deployed.
        runtime_name: String,
        /// The runtime component that `code` is valid for.
        runtime: Digest,
    },
}

impl Code {
    /// The component that is instantiated for a run.
    pub fn component(&self) -> Digest {
        match self {
            Code::Component { component, .. } => *component,
            Code::Source { runtime, .. } => *runtime,
        }
    }

    /// Every blob that must be kept as long as the version is.
    pub fn blobs(&self) -> Vec<Digest> {
        match self {
            Code::Component { component, .. } => vec![*component],
            Code::Source { source, code, runtime, .. } => vec![*source, *code, *runtime],
        }
    }
}

/// A language runtime that source can be deployed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Workflows name it by this.
    pub name: WorkflowName,
    /// Its component.
    pub component: Digest,
    /// For example `python`.
    pub language: String,
    /// For example `3.14.0`.
    pub version: String,
    /// What programs can import, as name and version.
    pub packages: Vec<(String, String)>,
    /// When it was installed.
    pub installed_at: Timestamp,
}

/// How a setting's value is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Can be set and replaced, never read back.
    #[default]
    Secret,
    /// Shown to those who may see the workflow.
    Plain,
}

/// Who wrote a setting last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SettingWriter {
    /// An account, or the local operator when `None`.
    User(Option<String>),
    /// The workflow itself, in this run.
    Run(crate::run::RunId),
}

/// One environment property as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct Setting {
    /// The value as JSON text.
    pub value: Box<RawValue>,
    /// How the value is treated.
    #[serde(default)]
    pub visibility: Visibility,
    /// When it was written last.
    pub updated_at: Timestamp,
    /// Who wrote it last.
    pub updated_by: SettingWriter,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting")
            .field("visibility", &self.visibility)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

/// A workflow's settings by name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Sorted by name.
    pub entries: BTreeMap<String, Setting>,
    /// Counts the commits.
    pub revision: Revision,
}

/// One setting that is set or deleted.
#[derive(Clone)]
pub struct SettingChange {
    /// 1 to 256 bytes.
    pub name: String,
    /// The new value as JSON text; `None` deletes the setting.
    pub value: Option<Box<RawValue>>,
    /// The new visibility; `None` keeps it (a new setting is secret).
    pub visibility: Option<Visibility>,
}

impl fmt::Debug for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingChange")
            .field("name", &self.name)
            .field("deletes", &self.value.is_none())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dns_labels() {
        for good in ["a", "9", "sms-on-profile", &"x".repeat(63)] {
            assert_eq!(good.parse::<WorkflowName>().unwrap().as_str(), good);
        }
        assert_eq!("".parse::<WorkflowName>(), Err(NameError::Empty));
        assert_eq!("x".repeat(64).parse::<WorkflowName>(), Err(NameError::TooLong(64)));
        for (bad, position) in
            [("Aa", 1), ("a_b", 2), ("-a", 1), ("a-", 2), ("a b", 2), ("é", 1), ("a/../b", 2)]
        {
            match bad.parse::<WorkflowName>() {
                Err(NameError::Character { position: p, .. }) => assert_eq!(p, position, "{bad}"),
                other => panic!("{bad}: {other:?}"),
            }
        }
    }

    #[test]
    fn ids_sort_as_text_in_the_order_they_were_made() {
        let ids: Vec<WorkflowId> = (0..1000).map(|_| WorkflowId::new()).collect();
        let mut texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let made = texts.clone();
        texts.sort();
        assert_eq!(texts, made);
        assert_eq!(made[0].parse::<WorkflowId>().unwrap(), ids[0]);
        assert!("".parse::<WorkflowId>().is_err());
        assert!("zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<WorkflowId>().is_err());
    }

    #[test]
    fn attempts_double_their_distance_up_to_a_longest() {
        let policy = RetryPolicy {
            attempts: 4,
            backoff_ms: 100,
            backoff_max_ms: 350,
            jitter_percent: 50,
            ..RetryPolicy::default()
        };
        let delays = |chance| [1, 2, 3, 4, 200].map(|spent| policy.delay(spent, chance).as_millis());
        assert_eq!(delays(0.0), [100, 200, 350, 350, 350]);
        assert_eq!(delays(1.0), [50, 100, 175, 175, 175]);
        assert!(policy.tries_again(3, FaultKind::Trap) && !policy.tries_again(4, FaultKind::Trap));
        assert!(!policy.tries_again(1, FaultKind::Host), "it is not in the list");
        assert!(!RetryPolicy::default().tries_again(1, FaultKind::Trap));
    }

    #[test]
    fn digest_survives_json() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            serde_json::to_string(&digest).unwrap(),
            "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\""
        );
        assert_eq!(serde_json::from_str::<Digest>(&serde_json::to_string(&digest).unwrap()).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"00\"").is_err());
    }
}
