//! `tidegate show-run`.

use clap::Args;
use serde_json::Value;

use super::error::Result;
use super::page;
use super::{Context, Format};
use crate::run::RunId;

/// Show one run: timeline, request, reply, log, trace, outbound calls, usage
#[derive(Debug, Args)]
pub(crate) struct ShowRunArgs {
    /// The run
    id: RunId,
    #[command(flatten)]
    format: Format,
}

/// Shows a run.
pub(crate) fn run(args: &ShowRunArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let mut document: Value = client.get(&format!("/api/v1/runs/{}", args.id))?;
    let log: Value = client.get(&format!("/api/v1/runs/{}/log", args.id))?;
    if args.format.json {
        if let Some(fields) = document.as_object_mut() {
            fields.insert("log_lines".to_owned(), log["lines"].clone());
        }
        return context.out.json(&document);
    }
    page::run(&mut context.out, &serde_json::from_value(document)?, &serde_json::from_value(log)?)
}
