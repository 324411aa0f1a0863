//! `tidegate schedule next`.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;

use super::super::client::with_query;
use super::super::error::{Failure, Result};
use super::super::human::relative;
use super::super::output::Output;
use super::super::table::{Column, Shown, Table, Tone};
use super::{Context, Format, path};
use crate::api::{UpcomingList, UpcomingView, WorkflowView};
use crate::schedule::{Cadence, INTERVAL_MS_MIN, Schedule, ScheduleError, interval};
use crate::workflow::WorkflowName;

/// Show the next due instants, and what changes of clocks do to them
///
/// Of a workflow's schedules, or of a rule that no host has yet: --every or --cron.
#[derive(Debug, Args)]
pub(crate) struct NextArgs {
    /// The workflow
    #[arg(required_unless_present_any = ["every", "cron"], conflicts_with_all = ["every", "cron"])]
    name: Option<WorkflowName>,
    /// Only this schedule of it
    #[arg(long, value_name = "SCHEDULE", requires = "name")]
    schedule: Option<String>,
    /// An interval, for example 90m, instead of a workflow
    #[arg(long, value_name = "INTERVAL", conflicts_with = "cron")]
    every: Option<String>,
    /// A cron expression, for example "30 2 * * *", instead of a workflow
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// The time zone of --cron; left out, UTC
    #[arg(long, value_name = "ZONE", requires = "cron")]
    timezone: Option<String>,
    /// How many
    #[arg(short = 'n', long = "count", default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    count: u32,
    /// Those behind this instant (RFC 3339); left out, now
    #[arg(long, value_name = "INSTANT")]
    after: Option<Timestamp>,
    #[command(flatten)]
    format: Format,
}

/// A due instant and whose it is.
#[derive(Serialize)]
struct Line {
    /// `None` for a rule that no host has.
    schedule: Option<String>,
    #[serde(flatten)]
    upcoming: UpcomingView,
}

/// Shows due instants.
pub(crate) fn run(args: &NextArgs, context: &mut Context) -> Result<()> {
    let now = Timestamp::now();
    let mut lines = match &args.name {
        Some(name) => of_workflow(name, args, context)?,
        None => {
            let after = args.after.unwrap_or(now);
            let list = UpcomingList::of(&draft(args, after)?, args.count as usize, after);
            lines(None, list)
        }
    };
    lines.sort_by(|a, b| (a.upcoming.due, &a.schedule).cmp(&(b.upcoming.due, &b.schedule)));
    lines.truncate(args.count as usize);
    let out = &mut context.out;
    if args.format.json {
        return out.json(&json!({ "upcoming": lines }));
    }
    if lines.is_empty() {
        out.note("nothing is ever due");
        return Ok(());
    }
    print(lines, now, out)
}

fn print(lines: Vec<Line>, now: Timestamp, out: &mut Output) -> Result<()> {
    let several = lines.iter().any(|line| line.schedule != lines[0].schedule);
    let schedule = several.then_some(Column::text("SCHEDULE"));
    let columns = [Column::text("DUE"), Column::text("UTC"), Column::text("")];
    let mut table = Table::new(schedule.into_iter().chain(columns));
    for Line { schedule, upcoming } in lines {
        let name = several.then(|| Shown::toned(schedule.unwrap_or_default(), Tone::Bold));
        let utc = upcoming.due.to_zoned(TimeZone::UTC).strftime("%m-%d %H:%M:%S").to_string();
        let cells = [
            Shown::from(spaced(&upcoming.local)),
            Shown::toned(utc, Tone::Dim),
            Shown::toned(relative(upcoming.due, now), Tone::Dim),
        ];
        let note = upcoming.change.map(|change| Shown::toned(change.note, Tone::Warn));
        table.row_with(name.into_iter().chain(cells), note);
    }
    table.print(out)
}

/// `2026-03-29T03:00:00+02:00` as the other tables write it.
fn spaced(local: &str) -> String {
    match local.char_indices().nth_back(5) {
        Some((at, _)) => format!("{} {}", local[..at].replace('T', " "), &local[at..]),
        None => local.to_owned(),
    }
}

fn of_workflow(name: &WorkflowName, args: &NextArgs, context: &Context) -> Result<Vec<Line>> {
    let client = context.client()?;
    let names = match &args.schedule {
        Some(schedule) => vec![schedule.clone()],
        None => {
            let view: WorkflowView = client.get(&format!("/api/v1/workflows/{name}"))?;
            if view.schedules.is_empty() {
                return Err(Failure::new(format!("{name} has no schedule"))
                    .hint(format!("`tidegate schedule set {name} --every 90m` gives it one")));
            }
            view.schedules.into_iter().map(|schedule| schedule.name).collect()
        }
    };
    let query = [("n", Some(args.count.to_string())), ("after", args.after.map(|after| after.to_string()))];
    let mut all = Vec::new();
    for schedule in names {
        let list: UpcomingList =
            client.get(&with_query(&format!("{}/upcoming", path(name, &schedule)), &query))?;
        all.extend(lines(Some(&schedule), list));
    }
    Ok(all)
}

fn lines(schedule: Option<&str>, list: UpcomingList) -> Vec<Line> {
    let line = |upcoming| Line { schedule: schedule.map(str::to_owned), upcoming };
    list.upcoming.into_iter().map(line).collect()
}

/// The schedule that the flags describe. No host is asked.
fn draft(args: &NextArgs, anchor: Timestamp) -> Result<Schedule> {
    let cadence = match (&args.every, &args.cron) {
        (Some(every), _) => {
            let interval_ms =
                interval::parse(every).map_err(|error| Failure::from(error.clone()).hint(error.hint()))?;
            Cadence::Every { interval_ms }
        }
        (None, expression) => Cadence::Cron {
            expression: expression.clone().unwrap_or_default(),
            timezone: args.timezone.clone().unwrap_or_else(|| "UTC".to_owned()),
        },
    };
    let schedule = Schedule::new("draft", cadence, anchor);
    schedule.validate(INTERVAL_MS_MIN).map_err(|error: ScheduleError| {
        let hint = error.hint();
        Failure::from(error).hint(hint)
    })?;
    Ok(schedule)
}
