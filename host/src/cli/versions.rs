//! `tidegate versions`.

use clap::Args;

use super::error::Result;
use super::human::relative;
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::VersionList;
use crate::workflow::WorkflowName;

/// List a workflow's versions, newest first
#[derive(Debug, Args)]
pub(crate) struct VersionsArgs {
    /// The workflow
    name: WorkflowName,
    #[command(flatten)]
    format: Format,
}

/// Lists the versions.
pub(crate) fn run(args: &VersionsArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let path = format!("/api/v1/workflows/{}/versions", args.name);
    let out = &mut context.out;
    if args.format.json {
        return out.json(&client.get::<serde_json::Value>(&path)?);
    }
    let list: VersionList = client.get(&path)?;
    if list.versions.is_empty() {
        out.note(format!("{} has no versions yet", args.name));
        out.hint(format!("`tidegate deploy PATH --name {}` makes the first one", args.name));
        return Ok(());
    }
    let now = jiff::Timestamp::now();
    let mut table = Table::new([
        Column::number("VERSION"),
        Column::text("STATE"),
        Column::text("CODE").cut(),
        Column::text("DIGEST"),
        Column::text("DEPLOYED"),
        Column::text("BY").spare(),
        Column::text("MESSAGE").cut(),
    ]);
    for version in &list.versions {
        let code = match (&version.file, &version.runtime) {
            (Some(file), Some(runtime)) => format!("{file} on {runtime}"),
            (Some(file), None) => file.clone(),
            _ => version.form.clone(),
        };
        let digest = version.digest.to_string();
        table.row([
            Shown::toned(version.number, Tone::Bold),
            if version.active { Shown::toned("active", Tone::Good) } else { Shown::none() },
            code.into(),
            digest[..12].into(),
            relative(version.created_at, now).into(),
            Shown::maybe(version.created_by.as_ref()),
            version.message.as_str().into(),
        ]);
    }
    table.print(out)
}
