//! `tidegate runs`.

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Client, with_query};
use super::error::{Failure, Result};
use super::human::{duration, short_time, since};
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::RunView;
use crate::run::{Status, Trigger};
use crate::workflow::WorkflowName;

/// List the runs of a workflow or of all, newest first
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// The workflow; left out, all of them
    name: Option<WorkflowName>,
    /// Only runs with this status
    #[arg(long)]
    status: Option<Status>,
    /// Only runs since then: so long ago (10m, 2h, 7d), or an instant (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only runs before then, written like --since
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only runs that were started by this
    #[arg(long, value_name = "TRIGGER", value_parser = clap::builder::PossibleValuesParser::new(Trigger::WORDS))]
    trigger: Option<String>,
    /// Only runs with this text in their log or their error, in either case
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    text: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    format: Format,
}

/// Runs that one request asks for.
const PAGE: usize = 100;

/// Which runs are asked for.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    /// Of this workflow, or of all.
    pub(crate) name: Option<&'a WorkflowName>,
    /// With this status.
    pub(crate) status: Option<Status>,
    /// Accepted at or after this instant.
    pub(crate) since: Option<Timestamp>,
    /// Accepted before this instant.
    pub(crate) until: Option<Timestamp>,
    /// Started by this.
    pub(crate) trigger: Option<&'a str>,
    /// With this text in their log or error.
    pub(crate) text: Option<&'a str>,
    /// At most so many.
    pub(crate) limit: usize,
}

impl<'a> Query<'a> {
    /// The newest runs of a workflow.
    pub(crate) fn newest(name: &'a WorkflowName, limit: usize) -> Self {
        Self { name: Some(name), status: None, since: None, until: None, trigger: None, text: None, limit }
    }
}

/// The instant that `--since` names.
///
/// # Errors
/// It names none.
pub(crate) fn since_argument(text: Option<&str>) -> Result<Option<Timestamp>> {
    time_argument("--since", text)
}

/// The instant that a flag such as `--since` names.
///
/// # Errors
/// It names none.
pub(crate) fn time_argument(flag: &str, text: Option<&str>) -> Result<Option<Timestamp>> {
    let parsed = text.map(|text| since(text, Timestamp::now()));
    parsed.transpose().map_err(|reason| {
        Failure::usage(format!("{flag} {:?} is no time", text.unwrap_or_default())).hint(reason)
    })
}

/// Lists the runs.
pub(crate) fn run(args: &RunsArgs, context: &mut Context) -> Result<()> {
    let since = since_argument(args.since.as_deref())?;
    let until = time_argument("--until", args.until.as_deref())?;
    let client = context.client()?;
    let query = Query {
        name: args.name.as_ref(),
        status: args.status,
        since,
        until,
        trigger: args.trigger.as_deref(),
        text: args.text.as_deref(),
        limit: args.limit as usize,
    };
    let Page { runs, next } = pages(&client, &query)?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&json!({"runs": runs, "next": next}));
    }
    if runs.is_empty() {
        let has_filter = args.trigger.is_some() || args.text.is_some();
        let filtered = args.status.is_some() || since.is_some() || until.is_some() || has_filter;
        out.note(if filtered { "no run matches" } else { "there are no runs yet" });
        return Ok(());
    }
    let now = Timestamp::now();
    let is_of_all = args.name.is_none();
    let name = is_of_all.then_some(Column::text("WORKFLOW").cut());
    // The name comes before these.
    let further = |column: Column| if is_of_all { column.spare() } else { column };
    let columns = [
        Column::text("STATUS"),
        further(Column::text("TRIGGER")),
        Column::text("STARTED"),
        further(Column::number("DURATION")),
        Column::number("REPLY").spare(),
        Column::number("VERSION").spare(),
    ];
    let mut table = Table::new([Column::text("RUN")].into_iter().chain(name).chain(columns));
    for run in runs {
        let run: RunView = serde_json::from_value(Value::Object(run))?;
        let note = fault_line(&run).map(|line| Shown::toned(line, Tone::Dim));
        let name = is_of_all.then(|| Shown::toned(&run.workflow, Tone::Bold));
        let cells = [
            status(run.status),
            run.trigger.as_str().into(),
            short_time(run.started_at.unwrap_or(run.accepted_at), now, &out.zone).into(),
            Shown::maybe(run.duration_ms.map(duration)),
            Shown::maybe(run.reply_status),
            Shown::maybe(run.version),
        ];
        table.row_with([Shown::from(run.id)].into_iter().chain(name).chain(cells), note);
    }
    table.print(out)?;
    if next.is_some() {
        out.hint("there are more: --limit shows them, --status, --since and --text choose");
    }
    Ok(())
}

/// What went wrong, one line.
pub(crate) fn fault_line(run: &RunView) -> Option<String> {
    let message = run.message.as_deref().unwrap_or_default();
    run.fault.map(|fault| format!("{fault}: {message}"))
}

/// A status in its colour.
pub(crate) fn status(status: Status) -> Shown {
    Shown::toned(status, tone(status))
}

/// The colour of a status.
pub(crate) fn tone(status: Status) -> Tone {
    match status {
        Status::Succeeded => Tone::Good,
        Status::Failed | Status::Interrupted => Tone::Bad,
        Status::Cancelled => Tone::Warn,
        Status::Queued | Status::Running => Tone::Dim,
    }
}

/// Runs as the host sent them.
#[derive(Deserialize)]
pub(crate) struct Page {
    /// Newest first.
    pub(crate) runs: Vec<Map<String, Value>>,
    /// The cursor of those behind them.
    pub(crate) next: Option<Value>,
}

/// Asks page by page. The runs stay as the host sent them, so that `--json` loses
/// nothing that a newer host adds.
///
/// # Errors
/// As [`Client::get`].
pub(crate) fn pages(client: &Client, query: &Query<'_>) -> Result<Page> {
    let mut runs = Vec::new();
    let mut cursor: Option<Value> = None;
    loop {
        let wanted = (query.limit - runs.len()).min(PAGE);
        let path = match query.name {
            Some(name) => format!("/api/v1/workflows/{name}/runs"),
            None => "/api/v1/runs".to_owned(),
        };
        let path = with_query(
            &path,
            &[
                ("status", query.status.map(|status| status.to_string())),
                ("since", query.since.map(|since| since.to_string())),
                ("until", query.until.map(|until| until.to_string())),
                ("trigger", query.trigger.map(str::to_owned)),
                ("text", query.text.map(str::to_owned)),
                ("limit", Some(wanted.to_string())),
                ("cursor", cursor.as_ref().and_then(Value::as_str).map(str::to_owned)),
            ],
        );
        let page: Page = client.get(&path)?;
        let got = page.runs.len();
        runs.extend(page.runs);
        runs.truncate(query.limit);
        // A page that brings nothing will never bring more, but for a search, whose pages
        // end when they have read enough.
        if runs.len() >= query.limit || page.next.is_none() || (got == 0 && query.text.is_none()) {
            return Ok(Page { runs, next: page.next });
        }
        cursor = page.next;
    }
}
