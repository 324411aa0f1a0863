//! `tidegate replay`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::client::with_query;
use super::error::{Failure, Result};
use super::invoke::finish;
use super::request::read_request;
use super::runs::time_argument;
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::{ReplayMany, ReplayedMany};
use crate::run::{RunId, Status, Trigger};
use crate::workflow::WorkflowName;

/// Run again what a run was handed, or an edited request; or many runs of a workflow
///
/// One run is run now, and its page is printed. With --workflow, runs are put into the
/// queue: those that failed or were interrupted, unless --status says otherwise.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The run
    #[arg(required_unless_present = "workflow", conflicts_with = "workflow")]
    id: Option<RunId>,
    /// Another request instead of the recorded one; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "workflow")]
    request: Option<PathBuf>,
    /// The version that runs; the active one when it is left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// Many runs: of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<WorkflowName>,
    /// Many runs: with this status; may be given more than once
    #[arg(long, conflicts_with = "id")]
    status: Vec<Status>,
    /// Many runs: since then, so long ago (10m, 2h, 7d), or an instant (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "id")]
    since: Option<String>,
    /// Many runs: before then, written like --since
    #[arg(long, value_name = "TIME", conflicts_with = "id")]
    until: Option<String>,
    /// Many runs: that were started by this
    #[arg(long, value_name = "TRIGGER", conflicts_with = "id", value_parser = clap::builder::PossibleValuesParser::new(Trigger::WORDS))]
    trigger: Option<String>,
    /// Many runs: with this text in their log or their error, in either case
    #[arg(long, value_name = "TEXT", conflicts_with = "id", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    text: Option<String>,
    /// Many runs: at most so many, newest first
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    format: Format,
}

/// Runs recorded runs again. Fails when the new run does.
pub(crate) fn run(args: &ReplayArgs, context: &mut Context) -> Result<()> {
    if let Some(name) = &args.workflow {
        return many(args, name, context);
    }
    let Some(id) = args.id else {
        return Err(
            Failure::usage("nothing says which run is meant").hint("name the run, or give --workflow")
        );
    };
    let client = context.client()?;
    let version = args.version.map(|version| version.to_string());
    let path = with_query(&format!("/api/v1/runs/{id}/replay"), &[("version", version)]);
    let document: Value = match &args.request {
        None => client.post_empty(&path)?,
        Some(file) => client.post_work(&path, &read_request(Some(file), &mut context.input)?)?,
    };
    if args.request.is_none() && !args.format.json && is_masked(&document) {
        context.out.warning("the recorded request had secrets masked, and was run again as it is on record");
        context.out.hint("give the whole request with --request FILE");
    }
    finish(&client, document, args.format, context)
}

/// Whether something was taken out of the request on record.
fn is_masked(document: &Value) -> bool {
    document.get("request").is_some_and(|request| request.to_string().contains("[masked "))
}

fn many(args: &ReplayArgs, name: &WorkflowName, context: &mut Context) -> Result<()> {
    let request = ReplayMany {
        statuses: args.status.clone(),
        trigger: args.trigger.clone(),
        since: time_argument("--since", args.since.as_deref())?,
        until: time_argument("--until", args.until.as_deref())?,
        text: args.text.clone(),
        version: args.version,
        limit: Some(args.limit as usize),
        cursor: None,
    };
    let document: Value =
        context.client()?.post_work(&format!("/api/v1/workflows/{name}/replay"), &request)?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&document);
    }
    let ReplayedMany { queued, skipped, next } = serde_json::from_value(document)?;
    if !queued.is_empty() {
        let mut table = Table::new([Column::text("NEW RUN"), Column::text("REPLAY OF")]);
        for one in &queued {
            table.row([Shown::from(one.run), Shown::toned(one.replay_of, Tone::Dim)]);
        }
        table.print(out)?;
    }
    for one in &skipped {
        out.note(format!("{} is not run again: {}", one.run, one.reason));
    }
    if queued.is_empty() && skipped.is_empty() {
        out.note("no run matches");
    }
    if next.is_some() {
        out.hint("there are more: --limit takes more of them, --since, --status and --text choose");
    }
    Ok(())
}
