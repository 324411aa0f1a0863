//! `tidegate list`.

use clap::Args;

use super::error::Result;
use super::human::relative;
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::{WorkflowList, WorkflowView};
use crate::workflow::{Kind, State};

/// List the workflows
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    format: Format,
}

/// Lists the workflows.
pub(crate) fn run(args: &ListArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let path = "/api/v1/workflows";
    let out = &mut context.out;
    if args.format.json {
        return out.json(&client.get::<serde_json::Value>(path)?);
    }
    let list: WorkflowList = client.get(path)?;
    if list.workflows.is_empty() {
        out.note("there are no workflows yet");
        out.hint("`tidegate new NAME --kind catch --lang python` makes one to deploy");
        return Ok(());
    }
    let now = jiff::Timestamp::now();
    let mut table = Table::new([
        Column::text("NAME"),
        Column::text("KIND"),
        Column::text("STATE"),
        Column::number("VERSION").spare(),
        Column::text("STARTED BY").cut(),
        Column::text("NEXT DUE").spare(),
        Column::text("CHANGED").spare(),
    ]);
    for workflow in &list.workflows {
        let next = workflow.schedules.iter().filter_map(|schedule| schedule.next_due).min();
        let overruns = workflow.schedules.iter().filter(|schedule| schedule.overrun.is_some());
        let names: Vec<&str> = overruns.map(|schedule| schedule.name.as_str()).collect();
        let note = (!names.is_empty())
            .then(|| Shown::toned(format!("runs outlast the schedule {}", names.join(", ")), Tone::Warn));
        let cells = [
            Shown::toned(&workflow.name, Tone::Bold),
            workflow.kind.into(),
            state(workflow.state),
            Shown::maybe(workflow.active_version),
            started_by(workflow),
            Shown::maybe(next.map(|next| relative(next, now))),
            relative(workflow.updated_at, now).into(),
        ];
        table.row_with(cells, note);
    }
    table.print(out)
}

fn state(state: State) -> Shown {
    match state {
        State::Active => Shown::toned("active", Tone::Good),
        State::Paused => Shown::toned("paused", Tone::Warn),
    }
}

fn started_by(workflow: &WorkflowView) -> Shown {
    match workflow.kind {
        Kind::Catch => "requests".into(),
        Kind::Pull if workflow.schedules.is_empty() => Shown::toned("no schedule", Tone::Warn),
        Kind::Pull => {
            let rules = workflow.schedules.iter().map(|schedule| schedule.description.as_str());
            rules.collect::<Vec<_>>().join(", ").into()
        }
    }
}
