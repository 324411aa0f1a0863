//! `tidegate stats`.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::client::with_query;
use super::error::Result;
use super::human::{bytes, count, duration, short_time};
use super::runs::{since_argument, time_argument};
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::{StatisticsPoint, StatisticsView};
use crate::workflow::WorkflowName;

/// Show rates, failures and percentiles over time, of a workflow or of all
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// The workflow; left out, all of them
    name: Option<WorkflowName>,
    /// From then on: so long ago (10m, 2h, 7d), or an instant (RFC 3339) [default: 24h]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then, in the same forms [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Minutes of one line
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=i64::from(STEP_MINUTES_MAX)))]
    step: Option<u32>,
    #[command(flatten)]
    format: Format,
}

/// Lines of a listing when no step is named.
const LINES: i64 = 24;
/// The longest step that the API takes, in minutes: a leap year.
const STEP_MINUTES_MAX: u32 = 527_040;

/// Shows statistics.
pub(crate) fn run(args: &StatsArgs, context: &mut Context) -> Result<()> {
    let now = Timestamp::now();
    let since = since_argument(args.since.as_deref())?;
    let until = time_argument("--until", args.until.as_deref())?;
    // The API takes a day before the end when nothing says since when.
    let end = until.unwrap_or(now).as_second();
    let minutes = since.map_or(24 * 60, |since| (end - since.as_second()) / 60);
    let step = args.step.map_or((minutes / LINES).clamp(1, STEP_MINUTES_MAX.into()), i64::from);
    let path = match &args.name {
        Some(name) => format!("/api/v1/workflows/{name}/statistics"),
        None => "/api/v1/statistics".to_owned(),
    };
    let query = [
        ("since", since.map(|since| since.to_string())),
        ("until", until.map(|until| until.to_string())),
        ("step_minutes", Some(step.to_string())),
    ];
    let document: Value = context.client()?.get(&with_query(&path, &query))?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&document);
    }
    let view: StatisticsView = serde_json::from_value(document)?;
    if view.points.is_empty() {
        out.note("no run ended in this time");
        return Ok(());
    }
    let mut table = Table::new([
        Column::text("FROM"),
        Column::number("RUNS"),
        Column::number("FAILED"),
        Column::number("P50"),
        Column::number("P95"),
        Column::number("P99"),
        Column::number("MEMORY").spare(),
        Column::number("LATE").spare(),
    ]);
    for point in &view.points {
        let from = Shown::from(short_time(point.at, now, &out.zone));
        table.row(cells(from, point));
    }
    table.row(cells(Shown::toned("all", Tone::Dim), &view.total));
    table.print(out)?;
    let faults: Vec<String> =
        view.total.faults.iter().map(|(word, number)| format!("{number} {word}")).collect();
    if !faults.is_empty() {
        out.line(format!("faults: {}", faults.join(", ")))?;
    }
    out.note(format!(
        "{} of {} each; percentiles of duration, memory and lateness p99",
        count(view.points.len() as u64, "line"),
        count(view.step_minutes.into(), "minute")
    ));
    Ok(())
}

fn cells(from: Shown, point: &StatisticsPoint) -> [Shown; 8] {
    let failed: u64 = ["failed", "interrupted"].iter().filter_map(|word| point.statuses.get(*word)).sum();
    let time = |value: Option<f64>| Shown::maybe(value.map(duration));
    let of_duration = point.duration_ms.as_ref();
    [
        from,
        Shown::from(point.runs.to_string()),
        if failed > 0 { Shown::toned(failed, Tone::Bad) } else { Shown::from("0") },
        time(of_duration.map(|own| own.p50)),
        time(of_duration.map(|own| own.p95)),
        time(of_duration.map(|own| own.p99)),
        Shown::maybe(point.memory_bytes.as_ref().map(|own| bytes(own.p99 as u64))),
        time(point.lateness_ms.as_ref().map(|own| own.p99)),
    ]
}
