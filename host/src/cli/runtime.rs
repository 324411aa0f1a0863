//! `tidegate runtime list|show|build|install`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::client::Client;
use super::error::{Explain, Failure, Result};
use super::output::{Output, clean};
use super::page::Fields;
use super::project::nearest;
use super::show::fused;
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format, python_tool};
use crate::api::{RuntimeList, RuntimeView};
use crate::workflow::WorkflowName;

/// Language runtimes: what runs workflows that are deployed as source
#[derive(Debug, Subcommand)]
pub(crate) enum RuntimeCommand {
    List(ListArgs),
    Show(ShowArgs),
    Build(BuildArgs),
    Install(InstallArgs),
}

/// List the host's runtimes
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    format: Format,
}

/// Show a runtime and the packages that its programs can import
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The runtime
    name: String,
    #[command(flatten)]
    format: Format,
}

/// Build a Python runtime from pinned packages and install it on the host
///
/// `tidegate run` uses the runtimes that were built on this machine.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The runtime's name; a runtime of that name is replaced
    #[arg(long)]
    name: WorkflowName,
    /// Its packages, in pip's format; a stock runtime (python, hrflow-4) needs none
    #[arg(long, short, value_name = "FILE")]
    requirements: Option<PathBuf>,
    /// Where to keep the component; left out, in the cache
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Do not install it on a host: print where it is
    #[arg(long)]
    no_install: bool,
    #[command(flatten)]
    format: Format,
}

/// Install a runtime that was built before
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// The component
    file: PathBuf,
    /// The runtime's name; left out, that of the file
    #[arg(long)]
    name: Option<WorkflowName>,
    #[command(flatten)]
    format: Format,
}

/// Runs one of the commands.
pub(crate) fn run(command: &RuntimeCommand, context: &mut Context) -> Result<()> {
    match command {
        RuntimeCommand::List(args) => list(args, context),
        RuntimeCommand::Show(args) => show(args, context),
        RuntimeCommand::Build(args) => build(args, context),
        RuntimeCommand::Install(args) => install(args, context),
    }
}

const PATH: &str = "/api/v1/runtimes";

fn list(args: &ListArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&client.get::<Value>(PATH)?);
    }
    let list: RuntimeList = client.get(PATH)?;
    if list.runtimes.is_empty() {
        out.note("the host has no runtimes: only components can be deployed");
        out.hint("`tidegate runtime build --name python` makes and installs the stock one");
        return Ok(());
    }
    let mut table = Table::new([
        Column::text("NAME"),
        Column::text("LANGUAGE"),
        Column::number("PACKAGES"),
        Column::text("DEFAULT"),
        Column::text("DIGEST").spare(),
    ]);
    for runtime in &list.runtimes {
        table.row([
            Shown::toned(&runtime.name, Tone::Bold),
            format!("{} {}", runtime.language, runtime.version).into(),
            runtime.packages.len().into(),
            if runtime.default { Shown::toned("default", Tone::Good) } else { Shown::none() },
            runtime.digest.to_string()[..12].into(),
        ]);
    }
    table.print(out)
}

fn show(args: &ShowArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let document: Value = client.get(PATH)?;
    let list: RuntimeList = serde_json::from_value(document.clone())?;
    let Some(index) = list.runtimes.iter().position(|runtime| runtime.name == args.name) else {
        let names: Vec<&str> = list.runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
        let failure = Failure::new(format!("the host has no runtime {}", args.name));
        return Err(match nearest(&args.name, &names) {
            Some(name) => failure.hint(format!("did you mean {name}?")),
            None if names.is_empty() => failure.hint("it has none at all"),
            None => failure.hint(format!("it has {}", names.join(", "))),
        });
    };
    let out = &mut context.out;
    if args.format.json {
        return out.json(&document["runtimes"][index]);
    }
    let runtime = &list.runtimes[index];
    let is_default = if runtime.default { ", the default" } else { "" };
    out.line(format!(
        "{}  {} {}{is_default}",
        out.paint.bold(&runtime.name),
        runtime.language,
        runtime.version
    ))?;
    out.line("")?;
    let mut fields = Fields::default();
    fields.add("digest", runtime.digest);
    if let Some(fusion) = &runtime.fusion {
        fused(fusion, &mut fields);
    }
    fields.print(out)?;
    out.line("")?;
    let mut table = Table::new([Column::text("PACKAGE"), Column::text("VERSION")]);
    for package in &runtime.packages {
        table.row([package.name.as_str().into(), package.version.as_str().into()]);
    }
    table.print(out)
}

fn build(args: &BuildArgs, context: &mut Context) -> Result<()> {
    // Whether there is a host to install it on is better known before the long work.
    let client = if args.no_install { None } else { Some(context.client()?) };
    if let Some(client) = &client {
        client.get::<RuntimeList>(PATH)?;
    }
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => python_tool::runtimes(&context.env)?,
    };
    let name = args.name.as_str();
    let requirements = match &args.requirements {
        Some(file) => Some(file.clone()),
        None => python_tool::stock_requirements(name, &context.env)?,
    };
    let (env, out) = (&context.env, &mut context.out);
    let _lock = python_tool::only_builder(name, &folder, out)?;
    let component = python_tool::runtime(name, requirements.as_deref(), &folder, env, out)?;
    match client {
        Some(client) => send(&client, name, &component, args.format, &mut context.out),
        None if args.format.json => {
            context.out.json(&serde_json::json!({"name": name, "component": component}))
        }
        None => context.out.line(component.display()),
    }
}

fn install(args: &InstallArgs, context: &mut Context) -> Result<()> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => {
            let stem = args.file.file_stem().unwrap_or_default().to_string_lossy();
            let parsed = stem.parse::<WorkflowName>();
            parsed.context(format!("{} gives no name", args.file.display())).hint("--name gives it one")?
        }
    };
    let client = context.client()?;
    send(&client, name.as_str(), &args.file, args.format, &mut context.out)
}

fn send(client: &Client, name: &str, component: &Path, format: Format, out: &mut Output) -> Result<()> {
    let bytes = std::fs::read(component).context(format!("read {}", component.display()))?;
    out.note(format!("installing {name}: the host compiles it, which takes a while"));
    let document: Value = client.upload(Method::PUT, &format!("{PATH}/{name}"), "application/wasm", bytes)?;
    if format.json {
        return out.json(&document);
    }
    let view: RuntimeView = serde_json::from_value(document)?;
    let text = format!(
        "installed {}, {} {} with {} packages",
        view.name,
        view.language,
        view.version,
        view.packages.len()
    );
    out.note(clean(&text));
    Ok(())
}
