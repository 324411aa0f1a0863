//! `tidegate key new|status|rotate`.

use clap::{Args, Subcommand};

use super::error::Result;
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::KeyView;
use crate::keys::MasterKey;

/// The master key, which encrypts the settings of all workflows
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Print a new master key, for a vault, a variable or a file of one's own
    New,
    /// List the master keys of a host, and how many workflows need each
    Status(StatusArgs),
    /// Make a new master key, and encrypt everything with it
    Rotate(StatusArgs),
}

/// How the keys are shown.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    format: Format,
}

/// Runs one of the commands.
pub(crate) fn run(command: &KeyCommand, context: &mut Context) -> Result<()> {
    match command {
        KeyCommand::New => {
            let key = MasterKey::random();
            context.out.line(key.text().expose())?;
            context.out.note(format!("a new master key, its id is {}", key.id()));
            Ok(())
        }
        KeyCommand::Status(args) => {
            let view = context.client()?.get(&path(""))?;
            show(&view, args.format, context)
        }
        KeyCommand::Rotate(args) => {
            let view = context.client()?.post_empty(&path("/rotate"))?;
            show(&view, args.format, context)?;
            if !args.format.json {
                context.out.note("nothing in the data folder needs an older key any more");
                context.out.hint(format!(
                    "back {} up again; backups made before still need the old key",
                    view.source
                ));
            }
            Ok(())
        }
    }
}

fn show(view: &KeyView, format: Format, context: &mut Context) -> Result<()> {
    let out = &mut context.out;
    if format.json {
        return out.json(view);
    }
    let mut table = Table::new([Column::text("KEY"), Column::text("USE"), Column::number("WORKFLOWS")]);
    for key in &view.keys {
        let word = if key.current { "encrypts" } else { "decrypts" };
        table.row([Shown::toned(&key.id, Tone::Bold), word.into(), key.workflows.into()]);
    }
    table.print(out)?;
    out.note(format!("from {}", view.source));
    Ok(())
}

fn path(rest: &str) -> String {
    format!("/api/v1/keys{rest}")
}
