//! `tidegate audit`.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;

use super::client::with_query;
use super::error::{Exit, Failure, Result};
use super::human::{count, short_time};
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::AuditList;
use crate::audit::{AuditEntry, AuditVerification};

/// See who changed what, and check that the log is as it was written
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    List(ListArgs),
    Verify(VerifyArgs),
}

/// List who changed what, newest first
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Only entries before the one with this number
    #[arg(long, value_name = "SEQ")]
    before: Option<u64>,
    #[command(flatten)]
    format: Format,
}

/// Check every entry of the log; exits with 1 when something was changed
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    format: Format,
}

/// Runs one of the commands.
pub(crate) fn run(command: &AuditCommand, context: &mut Context) -> Result<()> {
    match command {
        AuditCommand::List(args) => list(args, context),
        AuditCommand::Verify(args) => verify(args, context),
    }
}

fn list(args: &ListArgs, context: &mut Context) -> Result<()> {
    let before = args.before.map(|before| before.to_string());
    let path = with_query("/api/v1/audit", &[("limit", Some(args.limit.to_string())), ("before", before)]);
    let document: Value = context.client()?.get(&path)?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&document);
    }
    let AuditList { entries, next } = serde_json::from_value(document)?;
    if entries.is_empty() {
        out.note("there are no entries");
        return Ok(());
    }
    let now = Timestamp::now();
    let mut table = Table::new([
        Column::number("SEQ"),
        Column::text("AT"),
        Column::text("WHO").cut(),
        Column::text("WHAT"),
        Column::text("OBJECT").cut(),
        Column::number("STATUS"),
        Column::text("FROM").spare(),
    ]);
    for entry in &entries {
        let note = (!entry.details.is_empty()).then(|| Shown::toned(entry.details.join(", "), Tone::Dim));
        let cells = [
            Shown::from(entry.seq),
            short_time(entry.at, now, &out.zone).into(),
            Shown::toned(&entry.who, Tone::Bold),
            (&entry.what).into(),
            Shown::maybe(Some(&entry.object).filter(|object| !object.is_empty())),
            status(entry),
            Shown::maybe(entry.address),
        ];
        table.row_with(cells, note);
    }
    table.print(out)?;
    if let Some(next) = next {
        out.hint(format!("there are more: --before {next} shows them"));
    }
    Ok(())
}

fn status(entry: &AuditEntry) -> Shown {
    match entry.status {
        0 => Shown::none(),
        status if status < 400 => Shown::toned(status, Tone::Good),
        status => Shown::toned(status, Tone::Warn),
    }
}

fn verify(args: &VerifyArgs, context: &mut Context) -> Result<()> {
    let found: AuditVerification = context.client()?.get("/api/v1/audit/verification")?;
    let out = &mut context.out;
    if args.format.json {
        out.json(&found)?;
        return match found.problem {
            None => Ok(()),
            Some(_) => Err(Failure::new("the audit log was changed").exit(Exit::Told)),
        };
    }
    match found.problem {
        None => {
            out.note(format!("{} checked: all is as it was written", count(found.entries, "record")));
            if found.entries > 0 {
                out.note(format!(
                    "records {} to {}, each signed with the one before it; the key is in",
                    found.first, found.last
                ));
                out.note(format!("  {}", found.key));
            }
            Ok(())
        }
        Some(problem) => Err(Failure::new(format!("the audit log was changed: {problem}"))
            .detail(format!("{} before it are as they were written", count(found.entries, "record")))
            .hint("compare it with the one of a backup: the files are in the data folder, in audit/")),
    }
}
