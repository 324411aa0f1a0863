//! Schedules, and what became of their due instants.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::RunId;
use crate::schedule::{Missed, Overlap, Policy, interval};
use crate::store::TickState;

/// A schedule of a pull workflow.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    /// Unique within the workflow.
    pub name: String,
    /// The rule, as it was given.
    #[serde(flatten)]
    pub rule: ScheduleRule,
    /// The rule in words, for example `every 90 minutes`.
    pub description: String,
    /// What happens to instants that cannot run on time.
    #[serde(flatten)]
    pub policy: PolicyView,
    /// The next due instant; `None` while paused, or when there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_due: Option<Timestamp>,
    /// The run that shows that this schedule's runs outlast the distance of its due
    /// instants; `None` while they keep its pace.
    #[serde(default)]
    pub overrun: Option<OverrunView>,
}

/// A run that took longer than the time to the next due instant of its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OverrunView {
    /// The instant whose run it was.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// How long it took, or had taken when the next instant came; `None` when that was
    /// before the host's last start.
    pub took_ms: Option<f64>,
    /// From its due instant to the next one.
    pub distance_ms: f64,
}

/// The policy of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyView {
    /// What happens while the run of an earlier instant is still going.
    #[serde(default)]
    pub overlap: Overlap,
    /// Which of the instants that were missed still run.
    #[serde(default)]
    pub missed: MissedWord,
    /// How many, with `missed` `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_max: Option<u32>,
    /// An instant that cannot start within this time is missed, for example `5m`; `None`
    /// when it starts however late it is.
    #[serde(default)]
    pub start_deadline: Option<String>,
    /// Runs start up to this long after they are due, for example `30s`; `None` for on
    /// time.
    #[serde(default)]
    pub jitter: Option<String>,
}

impl From<&Policy> for PolicyView {
    fn from(policy: &Policy) -> Self {
        let (missed, missed_max) = match policy.missed {
            Missed::Once => (MissedWord::Once, None),
            Missed::Skip => (MissedWord::Skip, None),
            Missed::All { max } => (MissedWord::All, Some(max)),
        };
        Self {
            overlap: policy.overlap,
            missed,
            missed_max,
            start_deadline: policy.start_deadline_ms.map(interval::format),
            jitter: (policy.jitter_ms > 0).then(|| interval::format(policy.jitter_ms)),
        }
    }
}

/// Which of the instants that passed while the host was down or asleep still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MissedWord {
    /// The latest one.
    #[default]
    Once,
    /// None.
    Skip,
    /// The latest ones, up to a number, one after the other.
    All,
}

/// A schedule as it is asked for: `every`, or `cron` with `timezone`, and its policy. Parts
/// of the policy that are left out stay as they are; those of a new schedule are what the
/// host's configuration says (`schedule.overlap` and so on).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Unique within the workflow; `default` when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An interval, for example `90m` or `1h30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// A cron expression with five or six fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The IANA zone of `cron`; `UTC` when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What happens while the run of an earlier instant is still going.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Which of the instants that were missed still run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<MissedWord>,
    /// How many, 1 to 100; only with `missed` `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_max: Option<u32>,
    /// An instant that cannot start within this time is missed, for example `5m`; `none`
    /// for any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline: Option<String>,
    /// Runs start up to this long after they are due, for example `30s`, each schedule
    /// always with the same delay; `none` for on time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
}

/// The rule of a schedule, as it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleRule {
    /// The interval, for example `1h30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// The cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// `GET /api/v1/workflows/{name}/ticks`: the schedules' ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TickList {
    /// Newest due instant first, each exactly once.
    pub ticks: Vec<TickView>,
    /// Ask with `cursor=` this for the page behind it. A page may be short, even empty,
    /// and not be the last, when a filter lets little pass.
    #[serde(default)]
    pub next: Option<String>,
}

/// What became of one due instant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TickView {
    /// The schedule's name.
    pub schedule: String,
    /// The instant that was due.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// What became of it.
    pub state: TickState,
    /// Its run: the one that it was given to, or the record that says why there was none.
    pub run: RunId,
    /// From the instant, and the schedule's jitter behind it, to the start of its run, or
    /// to the decision that it does not run. Of one that is claimed and has not ended:
    /// how late it was claimed.
    pub lateness_ms: f64,
    /// The instants that share the record `run`; `None` when it is this one's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretch: Option<StretchView>,
}

/// Consecutive instants that did not run for the same reason and share a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StretchView {
    /// The first of them.
    #[schema(value_type = String, format = DateTime)]
    pub first: Timestamp,
    /// How many they are; 10,000 stands for that many or more.
    pub count: u64,
}
