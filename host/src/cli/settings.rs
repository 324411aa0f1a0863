//! `tidegate settings list|set|unset`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::Client;
use super::error::{Failure, Result};
use super::human::relative;
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::{PatchSettings, SettingList, SettingSpec, SettingView};
use crate::workflow::{Place, Seal, SealHost, SettingWriter, Visibility, WorkflowName};

/// List, set and remove a workflow's settings
#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    List(ListArgs),
    Set(SetArgs),
    Unset(UnsetArgs),
}

/// List the names and how they are treated, and the values of those that are plain
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The workflow
    name: WorkflowName,
    #[command(flatten)]
    format: Format,
}

/// Set settings: new ones are secret unless --plain or --sealed
///
/// A value that is not given with `=` is read from standard input, or asked for without
/// echo, so that it stands in no shell history. A sealed value is not seen by the workflow
/// either: its code has a placeholder, and the host puts the value into requests to the
/// hosts that are named.
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
    /// Show the values to nobody, which is how new ones are treated anyway
    #[arg(long, conflicts_with = "plain")]
    secret: bool,
    /// Give the code a placeholder, and the value only to this host; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with_all = ["plain", "secret", "json_value"])]
    sealed: Vec<SealHost>,
    /// Where in a request a sealed value may stand; may be repeated [default: all but path]
    #[arg(long = "place", value_name = "PLACE", requires = "sealed")]
    places: Vec<Place>,
    /// Send a sealed value without TLS too
    #[arg(long, requires = "sealed")]
    allow_http: bool,
    /// Seal the value that is set already
    #[arg(long, requires = "sealed")]
    keep_value: bool,
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
        let cells = [
            Shown::toned(&setting.name, Tone::Bold),
            value(setting),
            relative(setting.updated_at, now).into(),
            match &setting.updated_by {
                SettingWriter::User(Some(user)) => user.into(),
                SettingWriter::User(None) => "operator".into(),
                SettingWriter::Run(run) => Shown::toned(format!("run {run}"), Tone::Dim),
            },
        ];
        let seal = setting.seal.as_ref().map(|seal| Shown::toned(bound(seal), Tone::Dim));
        table.row_with(cells, seal);
    }
    table.print(out)
}

/// `to api.company.com as bearer, query`.
fn bound(seal: &Seal) -> String {
    let hosts: Vec<String> = seal.hosts.iter().map(ToString::to_string).collect();
    let mut text = format!("to {}", hosts.join(", "));
    if seal.places != Place::USUAL {
        let places: Vec<&str> = seal.places.iter().map(|place| place.word()).collect();
        text.push_str(&format!(" as {}", places.join(", ")));
    }
    if seal.allow_http {
        text.push_str(", also without TLS");
    }
    text
}

fn value(setting: &SettingView) -> Shown {
    match &setting.value {
        None if setting.visibility == Visibility::Sealed => Shown::toned("(sealed)", Tone::Dim),
        None => Shown::toned("(secret)", Tone::Dim),
        Some(Value::String(text)) => text.into(),
        Some(other) => other.into(),
    }
}

fn set(args: &SetArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    if args.keep_value {
        return keep(args, &client, context);
    }
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
    if !args.sealed.is_empty() {
        let mut answer = Value::Null;
        for (name, value) in &patch {
            let spec = SettingSpec { value: value.clone(), ..sealed(args) };
            answer = client.put(&path_of(&args.name, name), &spec)?;
        }
        return told(&patch, "sealed", args.format, &answer, context);
    }
    let query = match (args.plain, args.secret) {
        (true, _) => "?visibility=plain",
        (_, true) => "?visibility=secret",
        (false, false) => "",
    };
    let answer: Value = client.patch(&format!("{}{query}", path(&args.name)), &patch)?;
    told(&patch, "set", args.format, &answer, context)
}

/// Seals what is set already.
fn keep(args: &SetArgs, client: &Client, context: &mut Context) -> Result<()> {
    let mut patch = PatchSettings::new();
    for setting in &args.settings {
        if setting.contains('=') {
            return Err(Failure::usage("a value is given, and --keep-value keeps the present one"));
        }
        insert(&mut patch, setting, None)?;
    }
    let mut answer = Value::Null;
    for name in patch.keys() {
        answer = client.put(&path_of(&args.name, name), &sealed(args))?;
    }
    told(&patch, "sealed", args.format, &answer, context)
}

fn sealed(args: &SetArgs) -> SettingSpec {
    let mut seal = Seal::to(args.sealed.clone());
    if !args.places.is_empty() {
        seal.places = args.places.clone();
    }
    seal.allow_http = args.allow_http;
    SettingSpec { value: None, visibility: Some(Visibility::Sealed), seal: Some(seal) }
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

/// A setting's own path: its name may hold anything but control characters.
fn path_of(name: &WorkflowName, setting: &str) -> String {
    let segment: String = setting.bytes().map(escaped).collect();
    format!("{}/{segment}", path(name))
}

/// A byte as it stands in a path (RFC 3986, section 2.3).
fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
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
