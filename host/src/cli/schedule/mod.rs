//! `tidegate schedule next|ledger|set|unset`.

mod change;
mod ledger;
mod next;

use clap::{Args, Subcommand};

use super::error::Result;
use super::human::{duration, time};
use super::{Context, Format};
use crate::api::{MissedWord, PolicyView, ScheduleSpec, ScheduleView};
use crate::schedule::Overlap;
use crate::workflow::WorkflowName;

/// Schedules: when they are due, what became of each due instant, their policies
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    Next(next::NextArgs),
    Ledger(ledger::LedgerArgs),
    Set(change::SetArgs),
    Unset(change::UnsetArgs),
}

/// What happens to instants that cannot run on time.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PolicyArgs {
    /// What happens while the run of an earlier instant is still going
    #[arg(long, value_name = "POLICY")]
    overlap: Option<Overlap>,
    /// Which instants that passed while the host was down or asleep still run
    #[arg(long, value_name = "POLICY")]
    missed: Option<MissedWord>,
    /// How many, with --missed all: 1 to 100
    #[arg(long, value_name = "N")]
    missed_max: Option<u32>,
    /// Instants that cannot start within this time are missed, for example 5m; or none
    #[arg(long, value_name = "TIME")]
    start_deadline: Option<String>,
    /// Start up to this long after the due instant, for example 30s, so that many
    /// schedules do not start at once; or none
    #[arg(long, value_name = "TIME")]
    jitter: Option<String>,
}

impl PolicyArgs {
    /// Whether anything is given.
    pub(crate) fn is_given(&self) -> bool {
        let Self { overlap, missed, missed_max, start_deadline, jitter } = self;
        overlap.is_some()
            || missed.is_some()
            || missed_max.is_some()
            || start_deadline.is_some()
            || jitter.is_some()
    }

    /// The schedule with what is given.
    pub(crate) fn over(&self, spec: ScheduleSpec) -> ScheduleSpec {
        ScheduleSpec {
            overlap: self.overlap.or(spec.overlap),
            missed: self.missed.or(spec.missed),
            missed_max: self.missed_max.or(spec.missed_max),
            start_deadline: self.start_deadline.clone().or(spec.start_deadline),
            jitter: self.jitter.clone().or(spec.jitter),
            ..spec
        }
    }
}

/// Runs one of the commands.
pub(crate) fn run(command: &ScheduleCommand, context: &mut Context) -> Result<()> {
    match command {
        ScheduleCommand::Next(args) => next::run(args, context),
        ScheduleCommand::Ledger(args) => ledger::run(args, context),
        ScheduleCommand::Set(args) => change::set(args, context),
        ScheduleCommand::Unset(args) => change::unset(args, context),
    }
}

/// What is not as usual in a policy: `one waits, missed skip, jitter 30s`; `None` for the
/// defaults.
pub(crate) fn policy_line(policy: &PolicyView) -> Option<String> {
    let overlap = match policy.overlap {
        Overlap::Forbid => None,
        Overlap::QueueOne => Some("overlap queue-one".to_owned()),
        Overlap::Allow => Some("overlap allow".to_owned()),
    };
    let missed = match policy.missed {
        MissedWord::Once => None,
        MissedWord::Skip => Some("missed skip".to_owned()),
        MissedWord::All => Some(format!("missed all, at most {}", policy.missed_max.unwrap_or_default())),
    };
    let deadline = policy.start_deadline.as_ref().map(|time| format!("starts within {time}"));
    let jitter = policy.jitter.as_ref().map(|time| format!("jitter {time}"));
    let parts: Vec<String> = [overlap, missed, deadline, jitter].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// That the schedule's runs outlast the distance of its instants.
pub(crate) fn overrun_line(schedule: &ScheduleView, zone: &jiff::tz::TimeZone) -> Option<String> {
    let overrun = schedule.overrun?;
    let took = overrun.took_ms.map_or("was not over".to_owned(), |ms| format!("took {}", duration(ms)));
    Some(format!(
        "runs outlast the schedule: that of {} {took}, the next was due after {}",
        time(overrun.due, zone),
        duration(overrun.distance_ms)
    ))
}

fn path(name: &WorkflowName, schedule: &str) -> String {
    format!("/api/v1/workflows/{name}/schedules/{}", super::client::escaped(schedule))
}
