//! `tidegate pause` and `tidegate resume`.

use clap::Args;
use serde_json::Value;

use super::error::Result;
use super::human::{relative, time};
use super::{Context, Format};
use crate::api::{PatchWorkflow, WorkflowView};
use crate::workflow::{Kind, State, WorkflowName};

/// Pause a workflow: requests get 503, due instants are skipped
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The workflow
    name: WorkflowName,
    #[command(flatten)]
    format: Format,
}

/// Let a paused workflow take work again
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The workflow
    name: WorkflowName,
    #[command(flatten)]
    format: Format,
}

/// Pauses a workflow.
pub(crate) fn pause(args: &PauseArgs, context: &mut Context) -> Result<()> {
    set_state(&args.name, State::Paused, args.format, context)
}

/// Resumes a workflow.
pub(crate) fn resume(args: &ResumeArgs, context: &mut Context) -> Result<()> {
    set_state(&args.name, State::Active, args.format, context)
}

fn set_state(name: &WorkflowName, state: State, format: Format, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let path = format!("/api/v1/workflows/{name}");
    let patch = PatchWorkflow { state: Some(state), ..PatchWorkflow::default() };
    let out = &mut context.out;
    if format.json {
        return out.json(&client.patch::<Value>(&path, &patch)?);
    }
    let view: WorkflowView = client.patch(&path, &patch)?;
    let effect = match (view.state, view.kind) {
        (State::Paused, Kind::Catch) => "is paused: requests get 503".to_owned(),
        (State::Paused, Kind::Pull) => "is paused: due instants are skipped, and recorded as such".to_owned(),
        (State::Active, Kind::Catch) => "takes requests".to_owned(),
        (State::Active, Kind::Pull) => {
            match view.schedules.iter().filter_map(|schedule| schedule.next_due).min() {
                Some(next) => {
                    let away = relative(next, jiff::Timestamp::now());
                    format!("is due next at {} ({away})", time(next, &out.zone))
                }
                None => "is active, and no schedule of it is ever due".to_owned(),
            }
        }
    };
    out.note(format!("{name} {effect}"));
    Ok(())
}
