//! `tidegate signature show|set|remove`.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::error::{Failure, Result};
use super::human::duration_ms;
use super::output::clean;
use super::page::Fields;
use super::{Context, Format};
use crate::api::{PatchWorkflow, SettingList, WorkflowView};
use crate::schedule::interval;
use crate::workflow::{Signature, SignatureScheme, WorkflowName};

/// Show, set and remove the check of webhook signatures
#[derive(Debug, Subcommand)]
pub(crate) enum SignatureCommand {
    Show(ShowArgs),
    Set(SetArgs),
    Remove(RemoveArgs),
}

/// Show how a workflow's requests have to be signed
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The workflow
    name: WorkflowName,
    #[command(flatten)]
    format: Format,
}

/// Take signed requests only; others get 401 and never run
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The workflow
    name: WorkflowName,
    /// Who signs, and how
    #[arg(long)]
    scheme: SignatureScheme,
    /// The setting that holds the secret; several while a secret is replaced
    #[arg(long = "secret-setting", value_name = "SETTING", required = true)]
    secret_settings: Vec<String>,
    /// How far the signed time may be from the host's clock, where the scheme signs one
    #[arg(long, value_name = "TIME", default_value = "5m")]
    tolerance: String,
    /// Whether what succeeded never runs again when it is sent again; left out, true, but
    /// for hrflow
    #[arg(long, value_name = "BOOL")]
    once: Option<bool>,
    #[command(flatten)]
    format: Format,
}

/// Take unsigned requests again
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The workflow
    name: WorkflowName,
    #[command(flatten)]
    format: Format,
}

/// Runs one of the commands.
pub(crate) fn run(command: &SignatureCommand, context: &mut Context) -> Result<()> {
    match command {
        SignatureCommand::Show(args) => show(args, context),
        SignatureCommand::Set(args) => set(args, context),
        SignatureCommand::Remove(args) => remove(args, context),
    }
}

fn show(args: &ShowArgs, context: &mut Context) -> Result<()> {
    let view: WorkflowView = context.client()?.get(&path(&args.name))?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&view.signature);
    }
    let Some(signature) = &view.signature else {
        out.note(format!("{} takes unsigned requests", args.name));
        out.hint(format!("`tidegate signature set {} --scheme SCHEME --secret-setting NAME`", args.name));
        return Ok(());
    };
    let mut fields = Fields::default();
    fields.add("scheme", signature.scheme);
    fields.add("header", signature.scheme.header());
    fields.add("secrets", clean(&signature.secret_settings.join(", ")));
    if signature.scheme.signs_time() {
        fields.add("tolerance", duration_ms(u64::from(signature.tolerance_s) * 1000));
    }
    fields.add(
        "repeated",
        if signature.runs_once() { "never run again once they succeeded" } else { "run again" },
    );
    fields.print(out)?;
    out.flush()
}

fn set(args: &SetArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let tolerance_ms = interval::parse(&args.tolerance).map_err(|error| {
        Failure::usage(format!("the tolerance {:?} is wrong: {error}", args.tolerance))
            .hint("write it like 90s or 5m")
    })?;
    let signature = Signature {
        scheme: args.scheme,
        secret_settings: args.secret_settings.clone(),
        tolerance_s: u32::try_from(tolerance_ms / 1000).unwrap_or(u32::MAX),
        once: args.once,
    };
    let patch = PatchWorkflow { signature: Some(Some(signature)), ..PatchWorkflow::default() };
    let answer: Value = client.patch(&path(&args.name), &patch)?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&answer["signature"]);
    }
    out.note(format!("{} takes requests that {} signed, and no others", args.name, args.scheme));
    let settings: SettingList = client.get(&format!("{}/settings", path(&args.name)))?;
    for name in &args.secret_settings {
        if settings.settings.iter().all(|setting| setting.name != *name) {
            out.warning(format!("{name} is not set"));
            out.hint(format!("`tidegate settings set {} {name}` asks for the secret", args.name));
        }
    }
    Ok(())
}

fn remove(args: &RemoveArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let patch = PatchWorkflow { signature: Some(None), ..PatchWorkflow::default() };
    let answer: Value = client.patch(&path(&args.name), &patch)?;
    if args.format.json {
        return context.out.json(&answer["signature"]);
    }
    context.out.note(format!("{} takes unsigned requests now", args.name));
    Ok(())
}

fn path(name: &WorkflowName) -> String {
    format!("/api/v1/workflows/{name}")
}
