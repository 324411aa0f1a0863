//! `tidegate invoke`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::error::{Failure, Result};
use super::page;
use super::request::read_request;
use super::{Context, Format};
use crate::api::{RunDetail, RunLog};
use crate::run::Status;
use crate::workflow::WorkflowName;

/// Run a workflow once on the host, as a test
#[derive(Debug, Args)]
pub(crate) struct InvokeArgs {
    /// The workflow
    name: WorkflowName,
    /// The request: a JSON file with `method`, `path`, `headers` and `body`; - is standard input
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// Runs a workflow on the host. Fails when the run does.
pub(crate) fn run(args: &InvokeArgs, context: &mut Context) -> Result<()> {
    let request = read_request(args.request.as_deref(), &mut context.input)?;
    let client = context.client()?;
    let document = client.post_work(&format!("/api/v1/workflows/{}/runs", args.name), &request)?;
    finish(&client, document, args.format, context)
}

/// Prints a run that the host made for us, and fails when it did.
pub(crate) fn finish(client: &Client, document: Value, format: Format, context: &mut Context) -> Result<()> {
    let detail: RunDetail = serde_json::from_value(document.clone())?;
    if format.json {
        context.out.json(&document)?;
    } else {
        let log: RunLog = client.get(&format!("/api/v1/runs/{}/log", detail.run.id))?;
        page::run(&mut context.out, &detail, &log)?;
    }
    outcome(&detail)
}

/// The failure of a run that failed.
pub(crate) fn outcome(detail: &RunDetail) -> Result<()> {
    let run = &detail.run;
    if run.status == Status::Succeeded {
        return Ok(());
    }
    let why = run.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    Err(Failure::new(format!("the run {}{why}", run.status)))
}
