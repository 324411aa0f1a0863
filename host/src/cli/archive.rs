//! `tidegate archive`.

use clap::Args;
use serde_json::json;

use super::error::{Failure, Result};
use super::{Context, Format};
use crate::workflow::WorkflowName;

/// Delete a workflow with its versions, settings and runs, for good
#[derive(Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// The workflow
    name: WorkflowName,
    /// Really do it: nothing of it can be brought back
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    format: Format,
}

/// Archives a workflow.
pub(crate) fn run(args: &ArchiveArgs, context: &mut Context) -> Result<()> {
    let name = &args.name;
    if !args.yes {
        return Err(Failure::usage(format!(
            "archiving {name} deletes its versions, settings and runs for good, so it needs --yes"
        ))
        .hint(format!("`tidegate pause {name}` stops it and keeps everything")));
    }
    context.client()?.delete(&format!("/api/v1/workflows/{name}"))?;
    if args.format.json {
        return context.out.json(&json!({"archived": name}));
    }
    context.out.note(format!("{name} is archived"));
    Ok(())
}
