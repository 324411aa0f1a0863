//! `tidegate settings list|set|unset`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::error::{Failure, Result};
use super::human::relative;
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::{PatchSettings, SettingList, SettingView};
use crate::workflow::{SettingWriter, WorkflowName};

/// List, set and remove a workflow's settings
#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    List(ListArgs),
    Set(SetArgs),
    Unset(UnsetArgs),
}

/// List the names, and the values of those that are not secret
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The workflow
    name: WorkflowName,
    #[command(flatten)]
    format: Format,
}

/// Set settings: secret unless --plain
///
/// A value that is not given with `=` is read from standard input, or asked for without
/// echo, so that it stands in no shell history.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The workflow
    name: WorkflowName,
    /// Settings, as NAME or NAME=VALUE
    #[arg(required = true, value_name = "NAME[=VALUE]")]
    settings: Vec<String>,
    /// Let everyone who sees the workflow read the values
    #[arg(long)]
    plain: bool,
    /// Read the values as JSON: numbers, lists, true and false keep their type
    #[arg(long)]
    json_value: bool,
    #[command(flatten)]
    format: Format,
}

/// Remove settings
#[derive(Debug, Args)]
pub(crate) struct UnsetArgs {
    /// The workflow
    name: WorkflowName,
    /// The settings' names
    #[arg(required = true, value_name = "NAME")]
    settings: Vec<String>,
    #[command(flatten)]
    format: Format,
}

/// Runs one of the commands.
pub(crate) fn run(command: &SettingsCommand, context: &mut Context) -> Result<()> {
    match command {
        SettingsCommand::List(args) => list(args, context),
        SettingsCommand::Set(args) => set(args, context),
        SettingsCommand::Unset(args) => unset(args, context),
    }
}

fn list(args: &ListArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&client.get::<Value>(&path(&args.name))?);
    }
    let list: SettingList = client.get(&path(&args.name))?;
    if list.settings.is_empty() {
        out.note(format!("{} has no settings", args.name));
        out.hint(format!("`tidegate settings set {} NAME` asks for a value and sets it", args.name));
        return Ok(());
    }
    let now = jiff::Timestamp::now();
    let mut table = Table::new([
        Column::text("NAME"),
        Column::text("VALUE").cut(),
        Column::text("CHANGED"),
        Column::text("BY"),
    ]);
    for setting in &list.settings {
        table.row([
            Shown::toned(&setting.name, Tone::Bold),
            value(setting),
            relative(setting.updated_at, now).into(),
            match &setting.updated_by {
                SettingWriter::User(Some(user)) => user.into(),
                SettingWriter::User(None) => "operator".into(),
                SettingWriter::Run(_) => Shown::toned("the workflow", Tone::Dim),
            },
        ]);
    }
    table.print(out)
}

fn value(setting: &SettingView) -> Shown {
    match &setting.value {
        None => Shown::toned("(secret)", Tone::Dim),
        Some(Value::String(text)) => text.into(),
        Some(other) => other.into(),
    }
}

fn set(args: &SetArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let mut patch = PatchSettings::new();
    let asked = args.settings.iter().filter(|setting| !setting.contains('=')).count();
    if asked > 1 && !context.input.is_terminal {
        return Err(Failure::usage("standard input holds the value of one setting only")
            .hint("set them one by one, or as NAME=VALUE"));
    }
    if asked < args.settings.len() && !args.plain {
        context.out.warning("values given as NAME=VALUE stay in the shell's history");
        context.out.hint("give NAME alone: the value is read from standard input, or asked for without echo");
    }
    for setting in &args.settings {
        let (name, text) = match setting.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (setting.as_str(), context.input.secret(&format!("value of {setting} (not shown): "))?),
        };
        insert(&mut patch, name, typed(name, text, args.json_value)?)?;
    }
    let query = if args.plain { "?visibility=plain" } else { "" };
    let answer: Value = client.patch(&format!("{}{query}", path(&args.name)), &patch)?;
    told(&patch, "set", args.format, &answer, context)
}

fn unset(args: &UnsetArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let mut patch = PatchSettings::new();
    for name in &args.settings {
        insert(&mut patch, name, None)?;
    }
    let before: SettingList = client.get(&path(&args.name))?;
    let answer: Value = client.patch(&path(&args.name), &patch)?;
    for name in patch.keys().filter(|name| before.settings.iter().all(|setting| setting.name != **name)) {
        context.out.warning(format!("{name} was not set"));
    }
    patch.retain(|name, _| before.settings.iter().any(|setting| setting.name == *name));
    told(&patch, "removed", args.format, &answer, context)
}

fn told(
    patch: &PatchSettings,
    verb: &str,
    format: Format,
    answer: &Value,
    context: &mut Context,
) -> Result<()> {
    if format.json {
        return context.out.json(answer);
    }
    let names: Vec<&str> = patch.keys().map(String::as_str).collect();
    if names.is_empty() {
        return Ok(());
    }
    context.out.note(format!("{verb} {}", names.join(", ")));
    Ok(())
}

fn path(name: &WorkflowName) -> String {
    format!("/api/v1/workflows/{name}/settings")
}

fn insert(patch: &mut BTreeMap<String, Option<Value>>, name: &str, value: Option<Value>) -> Result<()> {
    if name.is_empty() {
        return Err(Failure::usage("a setting needs a name"));
    }
    if patch.insert(name.to_owned(), value).is_some() {
        return Err(Failure::usage(format!("{name} is given twice")));
    }
    Ok(())
}

/// The settings of `NAME=VALUE` arguments, as strings.
///
/// # Errors
/// An argument without `=`, without a name, or twice.
pub(crate) fn of_arguments(arguments: &[String]) -> Result<PatchSettings> {
    let mut patch = PatchSettings::new();
    for argument in arguments {
        let (name, value) = argument
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("{argument:?} is not of the form NAME=VALUE")))?;
        insert(&mut patch, name, Some(Value::String(value.to_owned())))?;
    }
    Ok(patch)
}

/// The value as it is stored. JSON's `null` would delete the setting.
fn typed(name: &str, text: String, as_json: bool) -> Result<Option<Value>> {
    if !as_json {
        return Ok(Some(Value::String(text)));
    }
    // The parser's message can repeat a part of the value: a secret.
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        let place = (error.line(), error.column());
        Failure::usage(format!("the value of {name} is not JSON (line {}, column {})", place.0, place.1))
            .hint("a text needs quotes in JSON; without --json-value it needs none")
    })?;
    if value.is_null() {
        return Err(Failure::usage(format!("the value of {name} is null"))
            .hint("`tidegate settings unset` removes a setting"));
    }
    Ok(Some(value))
}
