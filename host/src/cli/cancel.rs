//! `tidegate cancel`.

use clap::Args;
use serde_json::Value;

use super::error::Result;
use super::{Context, Format};
use crate::api::RunDetail;
use crate::run::{RunId, Status};

/// Stop a run, or take one that waits out of the queue
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The run
    id: RunId,
    #[command(flatten)]
    format: Format,
}

/// Cancels a run.
pub(crate) fn run(args: &CancelArgs, context: &mut Context) -> Result<()> {
    let document: Value = context.client()?.post_empty(&format!("/api/v1/runs/{}/cancel", args.id))?;
    if args.format.json {
        return context.out.json(&document);
    }
    let run = serde_json::from_value::<RunDetail>(document)?.run;
    context.out.note(match run.status {
        Status::Cancelled => format!("{} is cancelled", run.id),
        status => format!("{} had {status} before it could be cancelled", run.id),
    });
    Ok(())
}
