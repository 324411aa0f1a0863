//! `tidegate logs`.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::client::Client;
use super::error::Result;
use super::human::{bytes, clock, duration, time};
use super::output::{Output, clean};
use super::page::{in_time, log_text};
use super::runs::{Query, fault_line, pages, since_argument, tone};
use super::{Context, Format, sse};
use crate::api::{RunEvent, RunLog, RunView};
use crate::run::RunId;
use crate::workflow::WorkflowName;

/// Print the logs of a workflow's last runs, oldest first
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The workflow
    name: WorkflowName,
    /// Go on with each run that ends, until ctrl-c
    #[arg(long, short, conflicts_with = "json")]
    follow: bool,
    /// Only runs since then: so long ago (10m, 2h, 7d), or an instant (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// At most so many runs
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    #[command(flatten)]
    format: Format,
}

/// The first pause before connecting again.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// The longest pause between two attempts to connect again.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Runs that are looked at after the stream was broken.
const CATCH_UP_RUNS: usize = 100;

/// Prints logs.
pub(crate) fn run(args: &LogsArgs, context: &mut Context) -> Result<()> {
    let since = since_argument(args.since.as_deref())?;
    let client = context.client()?;
    let query = Query { since, ..Query::newest(&args.name, args.limit as usize) };
    let out = &mut context.out;
    if args.format.json {
        let runs = pages(&client, &query)?.runs;
        let mut with_logs = Vec::new();
        for mut run in runs.into_iter().rev() {
            let id = run.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            run.insert("log".to_owned(), client.get(&format!("/api/v1/runs/{id}/log"))?);
            with_logs.push(run);
        }
        return out.json(&json!({"runs": with_logs}));
    }
    let (name, printed, began) = (&args.name, BTreeSet::new(), Timestamp::now());
    let mut tail = Tail { client: &client, name, query, printed, began };
    if args.follow {
        return tail.follow(out);
    }
    tail.print_recent(out)?;
    if tail.printed.is_empty() {
        out.note("no run has ended yet");
    }
    out.flush()
}

/// Prints the log of each run once.
struct Tail<'a> {
    client: &'a Client,
    name: &'a WorkflowName,
    query: Query<'a>,
    /// What was printed, bounded by [`Tail::forget`].
    printed: BTreeSet<RunId>,
    began: Timestamp,
}

impl Tail<'_> {
    fn follow(&mut self, out: &mut Output) -> Result<()> {
        // The first connection must succeed: a wrong address is an error, not a pause.
        let path = format!("/api/v1/events?workflow={}", self.name);
        let mut stream = self.client.events(&path)?;
        self.print_recent(out)?;
        let mut backoff = BACKOFF_MIN;
        loop {
            out.flush()?;
            let why = match sse::next(&mut stream) {
                Ok(Some(event)) => {
                    backoff = BACKOFF_MIN;
                    match event.name.as_str() {
                        "run" => self.print_event(&event.data, out)?,
                        // The host dropped events because this reader was slow.
                        _ => self.catch_up(out)?,
                    }
                    continue;
                }
                Ok(None) => "the host closed the event stream".to_owned(),
                Err(error) => format!("the event stream broke: {error}"),
            };
            out.note(format!("{why}; connecting again"));
            stream = loop {
                std::thread::sleep(backoff);
                backoff = (backoff * 2).min(BACKOFF_MAX);
                match self.client.events(&path) {
                    Ok(stream) => break stream,
                    // Refused is final, for example because the token was revoked.
                    Err(failure) if failure.refused().is_some() => return Err(failure),
                    Err(_) => {}
                }
            };
            self.catch_up(out)?;
        }
    }

    /// The runs that the command line asks for.
    fn print_recent(&mut self, out: &mut Output) -> Result<()> {
        let runs = pages(self.client, &self.query)?.runs;
        for run in runs.into_iter().rev() {
            self.print_run(&serde_json::from_value(Value::Object(run))?, out)?;
        }
        Ok(())
    }

    /// The runs that ended while nobody listened.
    fn catch_up(&mut self, out: &mut Output) -> Result<()> {
        let query = Query::newest(self.name, CATCH_UP_RUNS);
        let runs = pages(self.client, &query)?.runs.into_iter().map(Value::Object);
        let runs = runs.map(serde_json::from_value).collect::<std::result::Result<Vec<RunView>, _>>()?;
        // There are more than were asked for: those between the last one that was printed and
        // the oldest of these.
        let oldest = runs.last().filter(|_| runs.len() == CATCH_UP_RUNS);
        if oldest.is_some_and(|run| run.accepted_at >= self.began && !self.printed.contains(&run.id)) {
            out.warning("runs end faster than they can be shown: some are left out here");
            out.hint(format!("`tidegate runs {}` has all of them", self.name));
        }
        for run in runs.into_iter().rev() {
            if run.finished_at.is_some_and(|finished| finished >= self.began) {
                self.print_run(&run, out)?;
            }
        }
        Ok(())
    }

    fn print_event(&mut self, data: &str, out: &mut Output) -> Result<()> {
        let RunEvent { run } = serde_json::from_str(data)?;
        if run.workflow == *self.name { self.print_run(&run, out) } else { Ok(()) }
    }

    fn print_run(&mut self, run: &RunView, out: &mut Output) -> Result<()> {
        if !run.status.is_terminal() || !self.printed.insert(run.id) {
            return Ok(());
        }
        self.forget();
        let log = match self.client.get::<RunLog>(&format!("/api/v1/runs/{}/log", run.id)) {
            Ok(log) => log,
            // Retention took it between the listing and now.
            Err(failure) if failure.is_not_found() => return Ok(()),
            Err(failure) => return Err(failure),
        };
        print(run, &log, out)
    }

    /// Ids sort by time, so the oldest go first.
    fn forget(&mut self) {
        while self.printed.len() > 4 * CATCH_UP_RUNS {
            self.printed.pop_first();
        }
    }
}

fn print(run: &RunView, log: &RunLog, out: &mut Output) -> Result<()> {
    let started = run.started_at.unwrap_or(run.accepted_at);
    let took = run.duration_ms.map(|ms| format!(" in {}", duration(ms))).unwrap_or_default();
    let status = out.paint.toned(run.status, tone(run.status));
    let id = out.paint.bold(run.id);
    out.line(format!("{id}  {}  {status}{took}", out.paint.dim(time(started, &out.zone))))?;
    for line in in_time(log) {
        let at = started + SignedDuration::from_micros(line.at_us.try_into().unwrap_or(i64::MAX));
        let at = out.paint.dim(clock(at, &out.zone));
        out.line(format!("  {at}  {}", log_text(out, line)))?;
    }
    if log.dropped_bytes > 0 {
        let note = format!("  ({} were over the log's limit and are lost)", bytes(log.dropped_bytes));
        out.line(out.paint.warn(note))?;
    }
    if let Some(line) = fault_line(run) {
        out.line(format!("  {}", out.paint.bad(clean(&line))))?;
    }
    Ok(())
}
