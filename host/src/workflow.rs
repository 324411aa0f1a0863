//! Workflows, their versions and their settings: the nouns of the control plane.
//!
//! Nothing here does IO. [`crate::store`] keeps these values, [`crate::registry`]
//! serves them from memory.

mod destination;
mod digest;
mod id;
mod mask;
mod owner;
mod retry;
mod sample;
mod seal;
mod secret;
mod settings;
mod signature;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::destination::{DESTINATIONS_MAX, Destination, DestinationError};
pub use self::digest::{Digest, DigestError};
pub use self::id::IdError;
pub(crate) use self::id::{id128, ordered};
pub use self::mask::{Found, Mask};
pub use self::owner::OwnerId;
pub use self::retry::RetryPolicy;
pub use self::sample::{SAMPLE_NAME_BYTES_MAX, SAMPLES_BYTES_MAX, SAMPLES_MAX, Sample, SampleError};
pub use self::seal::{Place, SEAL_HOSTS_MAX, Seal, SealHost, SealHostError};
pub use self::secret::Secret;
pub use self::settings::{Setting, SettingChange, SettingWriter, Settings, Visibility};
pub use self::signature::{SIGNATURE_SECRETS_MAX, SIGNATURE_TOLERANCE_S_MAX, Signature, SignatureScheme};
use crate::rate::Rate;
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
    /// The login of the account that owns it; `None` is the built-in admin's.
    #[serde(default)]
    pub owner: Option<String>,
    /// Logins of those who may change it beside its owner.
    #[serde(default)]
    pub managers: Vec<String>,
    /// Logins of those who may look into it and its runs.
    #[serde(default)]
    pub viewers: Vec<String>,
    /// Hides it from everyone but its owner, its managers, its viewers and admins.
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
    /// How requests to its endpoint have to be signed; `None` takes unsigned ones.
    #[serde(default)]
    pub signature: Option<Signature>,
    /// Where its requests may go; `None` for wherever the host lets workflows go.
    #[serde(default)]
    pub egress: Option<Arc<[Destination]>>,
    /// When it is due; empty for a catch.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    /// Limits of its own; what is `None` follows the host's configuration.
    #[serde(default)]
    pub limits: LimitOverrides,
    /// Whether and when failed work is tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Requests for tests of it, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
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

impl Workflow {
    /// Whom it belongs to.
    pub fn owner_id(&self) -> OwnerId {
        OwnerId::from(self.owner.as_deref())
    }
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
    /// Processor time of one run, in milliseconds.
    pub cpu_ms_max: Option<u64>,
    /// Memory of one instance, in bytes.
    pub memory_bytes_max: Option<u64>,
    /// Runs at the same time.
    pub concurrency_max: Option<u32>,
    /// Bytes of a request's body.
    pub body_bytes_max: Option<u64>,
    /// Bytes of one run's log.
    pub log_bytes_max: Option<u64>,
    /// Bytes of a reply.
    pub reply_bytes_max: Option<u64>,
    /// Requests a second to its endpoint.
    pub rate_per_s_max: Option<u32>,
    /// Requests at once after a pause, as many as `rate_per_s_max` where it is left out.
    pub burst_max: Option<u32>,
    /// Requests that one run sends.
    pub egress_requests_max: Option<u32>,
    /// Requests that one run sends at the same time.
    pub egress_concurrent_max: Option<u32>,
    /// Bytes that one run sends and receives.
    pub egress_bytes_max: Option<u64>,
    /// Days that its runs are kept.
    pub retention_days: Option<u32>,
    /// Runs that are kept, the newest.
    pub retention_runs_max: Option<u64>,
    /// Bytes of runs that are kept, the newest.
    pub retention_bytes_max: Option<u64>,
}

impl LimitOverrides {
    /// How often its endpoint may be called; `None` for as often as any.
    pub fn rate(&self) -> Option<Rate> {
        let per_s = self.rate_per_s_max?;
        Rate::new(per_s, self.burst_max.unwrap_or(per_s))
    }

    /// Whether it keeps less of its runs than the host does.
    pub fn has_retention(&self) -> bool {
        self.retention_days.is_some()
            || self.retention_runs_max.is_some()
            || self.retention_bytes_max.is_some()
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
    /// The login of the account that uploaded it; `None` for what was uploaded before there
    /// were accounts.
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
}
