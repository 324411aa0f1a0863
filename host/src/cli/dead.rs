//! `tidegate dead list|redrive`.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;

use super::client::with_query;
use super::error::{Failure, Result};
use super::human::short_time;
use super::runs::status;
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::{DeadList, RedriveRequest, Redriven};
use crate::run::RunId;
use crate::workflow::WorkflowName;

/// List events that were given up, and drive them again
#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    List(ListArgs),
    Redrive(RedriveArgs),
}

/// List dead letters: events none of whose attempts succeeded, latest first
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<WorkflowName>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    format: Format,
}

/// Give dead letters their attempts again
#[derive(Debug, Args)]
pub(crate) struct RedriveArgs {
    /// The events
    #[arg(value_name = "EVENT", conflicts_with_all = ["workflow", "all"])]
    events: Vec<RunId>,
    /// All of this workflow
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    workflow: Option<WorkflowName>,
    /// All of the host
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    format: Format,
}

/// Runs one of the commands.
pub(crate) fn run(command: &DeadCommand, context: &mut Context) -> Result<()> {
    match command {
        DeadCommand::List(args) => list(args, context),
        DeadCommand::Redrive(args) => redrive(args, context),
    }
}

fn list(args: &ListArgs, context: &mut Context) -> Result<()> {
    let workflow = args.workflow.as_ref().map(ToString::to_string);
    let path = with_query("/api/v1/dead", &[("workflow", workflow), ("limit", Some(args.limit.to_string()))]);
    let document: Value = context.client()?.get(&path)?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&document);
    }
    let DeadList { dead, next } = serde_json::from_value(document)?;
    if dead.is_empty() {
        out.note("there are no dead letters");
        return Ok(());
    }
    let now = Timestamp::now();
    let mut table = Table::new([
        Column::text("EVENT"),
        Column::text("WORKFLOW").cut(),
        Column::text("STATUS").spare(),
        Column::text("FAULT"),
        Column::text("GIVEN UP"),
        Column::number("TRIES").spare(),
    ]);
    for letter in dead {
        table.row([
            Shown::from(letter.event),
            Shown::toned(&letter.workflow, Tone::Bold),
            status(letter.status),
            Shown::maybe(letter.fault),
            short_time(letter.died_at, now, &out.zone).into(),
            letter.attempts.into(),
        ]);
    }
    table.print(out)?;
    if next.is_some() {
        out.hint("there are more: --limit shows them");
    }
    out.hint("`tidegate dead redrive EVENT` gives its attempts again; --workflow, --all");
    Ok(())
}

fn redrive(args: &RedriveArgs, context: &mut Context) -> Result<()> {
    if args.events.is_empty() && args.workflow.is_none() && !args.all {
        return Err(Failure::usage("nothing says which dead letters are meant")
            .hint("name their events, or give --workflow NAME or --all"));
    }
    let request = RedriveRequest {
        events: args.events.clone(),
        workflow: args.workflow.as_ref().map(ToString::to_string),
        all: args.all,
    };
    let document: Value = context.client()?.post("/api/v1/dead/redrive", &request)?;
    let out = &mut context.out;
    let Redriven { events } = serde_json::from_value(document.clone())?;
    if args.format.json {
        out.json(&document)?;
    } else {
        match events.len() {
            // What was named and is not there is an error, below.
            0 if !args.events.is_empty() => {}
            0 => out.note("there are no dead letters to drive again"),
            1 => out.note("1 event waits for another attempt"),
            many => out.note(format!("{many} events wait for another attempt")),
        }
    }
    let others: Vec<_> = args.events.iter().filter(|event| !events.contains(event)).collect();
    let message = match others[..] {
        [] => return Ok(()),
        [one] => format!("{one} is no dead letter"),
        _ => format!("{} of the events are no dead letters", others.len()),
    };
    let mut failure = Failure::new(message);
    if others.len() > 1 {
        failure = others.iter().fold(failure, |failure, event| failure.detail(event));
    }
    Err(failure.hint("`tidegate dead list` shows those that are; the first column names them"))
}
