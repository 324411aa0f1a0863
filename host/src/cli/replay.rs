//! `tidegate replay`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::error::Result;
use super::invoke::finish;
use super::request::read_request;
use super::{Context, Format};
use crate::run::RunId;

/// Run again what a run was handed, or an edited request, on the active version
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The run
    id: RunId,
    /// Another request instead of the recorded one; - is standard input
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// Runs a recorded run again. Fails when the new run does.
pub(crate) fn run(args: &ReplayArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let path = format!("/api/v1/runs/{}/replay", args.id);
    let document: Value = match &args.request {
        None => client.post_empty(&path)?,
        Some(file) => client.post_work(&path, &read_request(Some(file), &mut context.input)?)?,
    };
    finish(&client, document, args.format, context)
}
