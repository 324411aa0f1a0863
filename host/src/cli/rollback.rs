//! `tidegate rollback`.

use clap::Args;
use serde_json::Value;

use super::error::Result;
use super::{Context, Format};
use crate::api::{Activate, WorkflowView};
use crate::workflow::WorkflowName;

/// Make an earlier version the one that runs
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The workflow
    name: WorkflowName,
    /// The version; left out, the one before the active one
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    #[command(flatten)]
    format: Format,
}

/// Activates a version.
pub(crate) fn run(args: &RollbackArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let path = format!("/api/v1/workflows/{}/activate", args.name);
    let activate = Activate { version: args.version };
    let out = &mut context.out;
    if args.format.json {
        return out.json(&client.post_work::<Value>(&path, &activate)?);
    }
    let view: WorkflowView = client.post_work(&path, &activate)?;
    match view.active_version {
        Some(version) => out.note(format!("{} runs version {version} now", args.name)),
        None => out.note(format!("{} has no version", args.name)),
    }
    Ok(())
}
