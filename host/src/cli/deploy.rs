//! `tidegate deploy`: create or update a workflow from a folder, a `.py` or a `.wasm`.

use std::path::{Path, PathBuf};

use clap::Args;
use http::{Method, StatusCode};
use serde_json::json;

use super::client::{Client, with_query};
use super::error::{Failure, Result};
use super::human::{duration_ms, relative, time};
use super::output::Output;
use super::program::{Loaded, Program, load};
use super::project::check_schedule;
use super::settings::of_arguments;
use super::{Context, Format};
use crate::api::{
    CreateWorkflow, Deployed, PatchSettings, PatchWorkflow, ScheduleSpec, ScheduleView, WorkflowView,
};
use crate::workflow::{Kind, WorkflowName};

/// Create or update a workflow
///
/// PATH is a project folder with a workflow.toml, a Python file with `def workflow(...)`,
/// or a WebAssembly component. A folder that needs it is built first.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// A project folder, a .py or a .wasm file
    path: PathBuf,
    /// The workflow's name; left out, that of workflow.toml or of the file
    #[arg(long)]
    name: Option<WorkflowName>,
    /// How it is started; left out, what workflow.toml or the function's parameters say
    #[arg(long)]
    kind: Option<Kind>,
    /// The runtime for Python source; left out, the host's default
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// Run a pull at this interval, for example 90m or 1h30m
    #[arg(long, value_name = "INTERVAL", conflicts_with = "cron")]
    every: Option<String>,
    /// Run a pull when this cron expression says, for example "0 3 * * 1-5"
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// The time zone of --cron, for example Europe/Paris; left out, UTC
    #[arg(long, value_name = "ZONE", requires = "cron")]
    timezone: Option<String>,
    /// Set a setting before the first run, as a secret text; it stays in the shell's history
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// What to remember this version by
    #[arg(long, short, default_value = "", hide_default_value = true)]
    message: String,
    #[command(flatten)]
    format: Format,
}

/// What is asked of the host.
struct Plan {
    name: WorkflowName,
    kind: Option<Kind>,
    description: Option<String>,
    runtime: Option<String>,
    schedules: Vec<ScheduleSpec>,
    patch: PatchWorkflow,
    settings: PatchSettings,
}

/// Deploys.
pub(crate) fn run(args: &DeployArgs, context: &mut Context) -> Result<()> {
    let settings = of_arguments(&args.settings)?;
    let client = context.client()?;
    let loaded = load(&args.path, &context.env, &mut context.out)?;
    let plan = plan(args, &loaded, settings)?;
    let (view, created) = prepare(&client, &plan, &args.path)?;
    let uploaded = upload(&client, &plan, loaded.program, &args.message);
    let deployed = uploaded.map_err(|failure| match created && refuses_program(&failure) {
        // What was made for this program alone goes with it. Nothing ever ran in it.
        true => match client.delete(&format!("/api/v1/workflows/{}", plan.name)) {
            Ok(()) => failure,
            Err(_) => failure.hint(format!("{} exists now, without a version", plan.name)),
        },
        false => failure,
    })?;
    tell(&deployed, &view, created, args.format, &mut context.out)
}

fn plan(args: &DeployArgs, loaded: &Loaded, settings: PatchSettings) -> Result<Plan> {
    let project = loaded.project.as_ref();
    let name = match (&args.name, project) {
        (Some(name), _) => name.clone(),
        (None, Some(project)) => project.name.clone(),
        (None, None) => name_of_file(&loaded.file)?,
    };
    let kind = args.kind.or_else(|| loaded.kind());
    let flag = ScheduleSpec {
        name: None,
        every: args.every.clone(),
        cron: args.cron.clone(),
        timezone: args.timezone.clone(),
    };
    let schedules = match (flag.every.is_some() || flag.cron.is_some(), project) {
        (true, _) => vec![flag],
        (false, Some(project)) => project.schedules.clone(),
        (false, None) => Vec::new(),
    };
    if let Some(kind) = kind {
        for schedule in &schedules {
            check_schedule(schedule, kind).map_err(Failure::usage)?;
        }
    }
    let runtime = args.runtime.clone().or_else(|| loaded.runtime().map(str::to_owned));
    if runtime.is_some() && matches!(loaded.program, Program::Component(_)) {
        return Err(Failure::usage("a component brings its own runtime: --runtime is for Python source"));
    }
    let description = project.and_then(|project| project.description.clone());
    let patch = PatchWorkflow {
        description: description.clone(),
        endpoint: project.and_then(|project| project.endpoint.clone()),
        limits: project.and_then(|project| project.limits),
        retry: project.and_then(|project| project.retry.clone()),
        ..PatchWorkflow::default()
    };
    Ok(Plan { name, kind, description, runtime, schedules, patch, settings })
}

/// `sms_on_profile.py` is `sms-on-profile`.
fn name_of_file(file: &Path) -> Result<WorkflowName> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.to_lowercase().replace(['_', ' '], "-");
    name.trim_matches('-').parse().map_err(|error| {
        Failure::from(error)
            .context(format!("{} gives no name for the workflow", file.display()))
            .hint("--name gives it one")
    })
}

/// Sees to it that the workflow exists and is as the plan has it. Returns whether it
/// was created.
fn prepare(client: &Client, plan: &Plan, path: &Path) -> Result<(WorkflowView, bool)> {
    let url = format!("/api/v1/workflows/{}", plan.name);
    let found: Option<WorkflowView> = match client.get(&url) {
        Ok(view) => Some(view),
        Err(failure) if failure.is_not_found() => None,
        Err(failure) => return Err(failure),
    };
    let created = found.is_none();
    let mut view = match found {
        Some(view) => {
            if let Some(kind) = plan.kind.filter(|kind| *kind != view.kind) {
                return Err(Failure::new(format!("{} is a {}, and this is a {kind}", plan.name, view.kind))
                    .hint("a workflow's kind never changes: --name deploys this as another workflow"));
            }
            view
        }
        None => create(client, plan, path)?,
    };
    let changes = if created { PatchWorkflow::default() } else { changes(plan, &view) };
    if changes != PatchWorkflow::default() {
        view = client.patch(&url, &changes)?;
    }
    if !plan.settings.is_empty() {
        client.patch::<serde_json::Value>(&format!("{url}/settings"), &plan.settings)?;
    }
    Ok((view, created))
}

fn create(client: &Client, plan: &Plan, path: &Path) -> Result<WorkflowView> {
    let kind = plan.kind.ok_or_else(|| {
        Failure::usage(format!("{} does not tell whether it is a catch or a pull", path.display()))
            .hint("--kind catch is started by requests, --kind pull by the clock")
    })?;
    let create = CreateWorkflow {
        name: plan.name.to_string(),
        kind,
        description: plan.description.clone().unwrap_or_default(),
        managers: Vec::new(),
        private: false,
        schedules: plan.schedules.clone(),
        endpoint: plan.patch.endpoint.clone(),
        limits: plan.patch.limits.unwrap_or_default(),
        retry: plan.patch.retry.clone().unwrap_or_default(),
    };
    client.post("/api/v1/workflows", &create)
}

/// What the plan has otherwise than the host. What is the same is not sent, so that a
/// deploy does not start an interval anew.
fn changes(plan: &Plan, view: &WorkflowView) -> PatchWorkflow {
    let schedules = plan.schedules.clone();
    let differs = !schedules.is_empty() && !same_schedules(&schedules, &view.schedules);
    let patch = &plan.patch;
    PatchWorkflow {
        description: patch.description.clone().filter(|text| *text != view.description),
        endpoint: patch.endpoint.clone().filter(|endpoint| *endpoint != view.endpoint),
        limits: patch.limits.filter(|limits| *limits != view.limits),
        retry: patch.retry.clone().filter(|retry| *retry != view.retry),
        schedules: differs.then_some(schedules),
        ..PatchWorkflow::default()
    }
}

fn same_schedules(wanted: &[ScheduleSpec], there: &[ScheduleView]) -> bool {
    wanted.len() == there.len()
        && wanted.iter().all(|wanted| {
            let name = wanted.name.as_deref().unwrap_or("default");
            there.iter().any(|there| {
                let rule = &there.rule;
                let zone = |zone: &Option<String>| zone.clone().unwrap_or_else(|| "UTC".to_owned());
                there.name == name
                    && rule.every == wanted.every
                    && rule.cron == wanted.cron
                    && (rule.cron.is_none() || zone(&rule.timezone) == zone(&wanted.timezone))
            })
        })
}

fn upload(client: &Client, plan: &Plan, program: Program, message: &str) -> Result<Deployed> {
    let path = format!("/api/v1/workflows/{}/versions", plan.name);
    let message = Some(message.to_owned()).filter(|message| !message.is_empty());
    match program {
        Program::Component(bytes) => client.upload(
            Method::POST,
            &with_query(&path, &[("message", message)]),
            "application/wasm",
            bytes,
        ),
        Program::Python { file, source } => {
            let query = [("file", Some(file)), ("runtime", plan.runtime.clone()), ("message", message)];
            client.upload(Method::POST, &with_query(&path, &query), "text/x-python", source)
        }
    }
}

/// Whether the host has seen the program and will not have it.
fn refuses_program(failure: &Failure) -> bool {
    let status = failure.refused().map(|refused| refused.status);
    status.is_some_and(|status| {
        matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNSUPPORTED_MEDIA_TYPE
                | StatusCode::UNPROCESSABLE_ENTITY
        )
    })
}

fn tell(
    deployed: &Deployed,
    view: &WorkflowView,
    created: bool,
    format: Format,
    out: &mut Output,
) -> Result<()> {
    if format.json {
        let mut document = serde_json::to_value(deployed)?;
        document["created"] = json!(created);
        return out.json(&document);
    }
    let Deployed { name, kind, version, .. } = deployed;
    let took = duration_ms(deployed.deploy_ms);
    out.note(format!("deployed {name}, a {kind}, version {version}, in {took}"));
    match (&deployed.url, deployed.next_due) {
        (Some(url), _) => out.line(url)?,
        (None, Some(due)) => {
            let away = relative(due, jiff::Timestamp::now());
            out.line(format!("next due {} ({away})", time(due, &out.zone)))?;
        }
        (None, None) if view.schedules.is_empty() => {
            out.warning("it has no schedule, so it will never run");
            out.hint("deploy it again with --every 90m or --cron \"0 3 * * *\"");
        }
        (None, None) => out.note("it is not due: it is paused, or its schedule has no instant left"),
    }
    out.flush()
}
