//! `tidegate schedule set` and `tidegate schedule unset`.

use clap::Args;
use serde_json::Value;

use super::super::error::Result;
use super::super::human::{relative, time};
use super::{Context, Format, PolicyArgs, path, policy_line};
use crate::api::{ScheduleSpec, ScheduleView};
use crate::workflow::WorkflowName;

/// Add a schedule to a pull, or change one
///
/// What is left out stays as it is; a new schedule needs --every or --cron.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The workflow
    name: WorkflowName,
    /// The schedule
    #[arg(long, value_name = "SCHEDULE", default_value = "default")]
    schedule: String,
    /// Run at this interval, for example 90m or 1h30m
    #[arg(long, value_name = "INTERVAL", conflicts_with = "cron")]
    every: Option<String>,
    /// Run when this cron expression says, for example "0 3 * * 1-5"
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// The expression's time zone, for example Europe/Paris; UTC for a new schedule
    #[arg(long, value_name = "ZONE", conflicts_with = "every")]
    timezone: Option<String>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    format: Format,
}

/// Remove a schedule; its ledger stays
#[derive(Debug, Args)]
pub(crate) struct UnsetArgs {
    /// The workflow
    name: WorkflowName,
    /// The schedule
    #[arg(long, value_name = "SCHEDULE", default_value = "default")]
    schedule: String,
}

/// Sets a schedule.
pub(crate) fn set(args: &SetArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let spec = args.policy.over(ScheduleSpec {
        every: args.every.clone(),
        cron: args.cron.clone(),
        timezone: args.timezone.clone(),
        ..ScheduleSpec::default()
    });
    let path = path(&args.name, &args.schedule);
    let out = &mut context.out;
    if args.format.json {
        return out.json(&client.patch::<Value>(&path, &spec)?);
    }
    let view: ScheduleView = client.patch(&path, &spec)?;
    let policy = policy_line(&view.policy).map(|line| format!("; {line}")).unwrap_or_default();
    out.note(format!("schedule {} of {}: {}{policy}", view.name, args.name, view.description));
    match view.next_due {
        Some(next) => {
            let away = relative(next, jiff::Timestamp::now());
            out.line(format!("next due {} ({away})", time(next, &out.zone)))?;
        }
        None => out.note("it is not due: the workflow is paused, or no instant is left"),
    }
    out.flush()
}

/// Removes a schedule.
pub(crate) fn unset(args: &UnsetArgs, context: &mut Context) -> Result<()> {
    context.client()?.delete(&path(&args.name, &args.schedule))?;
    context.out.note(format!("removed the schedule {} of {}", args.schedule, args.name));
    Ok(())
}
