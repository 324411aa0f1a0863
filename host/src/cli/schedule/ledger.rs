//! `tidegate schedule ledger`.

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::client::{Client, with_query};
use super::super::error::Result;
use super::super::human::{duration, short_time};
use super::super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::TickView;
use crate::store::TickState;
use crate::workflow::WorkflowName;

/// List what became of each due instant, newest first
#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    /// The workflow
    name: WorkflowName,
    /// Only this schedule of it
    #[arg(long, value_name = "SCHEDULE")]
    schedule: Option<String>,
    /// Only instants that this became of; may be repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<TickState>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    format: Format,
}

/// Instants that one request asks for.
const PAGE: usize = 200;

/// A page as the host sent it, so that `--json` loses nothing that a newer host adds.
#[derive(Deserialize)]
struct Page {
    ticks: Vec<Map<String, Value>>,
    next: Option<String>,
}

/// Lists the ledger.
pub(crate) fn run(args: &LedgerArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let Page { ticks, next } = pages(&client, args)?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&json!({"ticks": ticks, "next": next}));
    }
    if ticks.is_empty() {
        let filtered = args.schedule.is_some() || !args.state.is_empty();
        out.note(if filtered { "no instant matches" } else { "nothing was due yet" });
        return Ok(());
    }
    let ticks: Vec<TickView> = ticks
        .into_iter()
        .map(|tick| serde_json::from_value(Value::Object(tick)))
        .collect::<std::result::Result<_, _>>()?;
    let now = Timestamp::now();
    let several = ticks.iter().any(|tick| tick.schedule != ticks[0].schedule);
    let schedule = several.then_some(Column::text("SCHEDULE"));
    let columns =
        [Column::text("DUE"), Column::text("WHAT"), Column::number("LATE"), Column::text("RUN").spare()];
    let mut table = Table::new(schedule.into_iter().chain(columns));
    for tick in ticks {
        let name = several.then(|| Shown::toned(&tick.schedule, Tone::Bold));
        let cells = [
            Shown::from(short_time(tick.due, now, &out.zone)),
            Shown::toned(tick.state.word(), tone(tick.state)),
            // It is known when it starts.
            Shown::maybe((tick.state != TickState::Claimed).then(|| duration(tick.lateness_ms))),
            Shown::toned(tick.run, Tone::Dim),
        ];
        table.row(name.into_iter().chain(cells));
    }
    table.print(out)?;
    if next.is_some() {
        out.hint("there are more: --limit shows them, --state and --schedule choose");
    }
    Ok(())
}

fn tone(state: TickState) -> Tone {
    match state {
        TickState::Ran => Tone::Good,
        TickState::Claimed => Tone::Dim,
        TickState::Backfilled | TickState::SkippedRunning | TickState::SkippedPaused => Tone::Warn,
        TickState::Interrupted | TickState::Missed | TickState::Refused => Tone::Bad,
    }
}

fn pages(client: &Client, args: &LedgerArgs) -> Result<Page> {
    let (limit, mut ticks) = (args.limit as usize, Vec::new());
    let states: Vec<&str> = args.state.iter().map(|state| state.word()).collect();
    let mut cursor: Option<String> = None;
    loop {
        let path = with_query(
            &format!("/api/v1/workflows/{}/ticks", args.name),
            &[
                ("schedule", args.schedule.clone()),
                ("state", Some(states.join(",")).filter(|states| !states.is_empty())),
                ("limit", Some((limit - ticks.len()).min(PAGE).to_string())),
                ("cursor", cursor.clone()),
            ],
        );
        let page: Page = client.get(&path)?;
        ticks.extend(page.ticks);
        ticks.truncate(limit);
        // A page that a filter left empty has others behind it, at another cursor.
        if ticks.len() >= limit || page.next.is_none() || page.next == cursor {
            return Ok(Page { ticks, next: page.next });
        }
        cursor = page.next;
    }
}
