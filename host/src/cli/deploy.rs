//! `tidegate deploy`: create or update a workflow from a folder, a `.py` or a `.wasm`.

use std::path::{Path, PathBuf};

use clap::Args;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::client::{Client, with_query};
use super::error::{Failure, Result};
use super::human::{duration_ms, relative, time};
use super::output::Output;
use super::program::{Loaded, Program, load};
use super::project::check_schedule;
use super::schedule::PolicyArgs;
use super::settings::of_arguments;
use super::{Context, Format};
use crate::api::{
    Checked, CreateWorkflow, Deployed, PatchSettings, PatchWorkflow, ScheduleSpec, ScheduleView, WorkflowView,
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
    #[command(flatten)]
    policy: PolicyArgs,
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

impl Plan {
    fn url(&self) -> String {
        format!("/api/v1/workflows/{}", self.name)
    }
}

/// Deploys.
pub(crate) fn run(args: &DeployArgs, context: &mut Context) -> Result<()> {
    let settings = of_arguments(&args.settings)?;
    let client = context.client()?;
    let loaded = load(&args.path, &context.env, &mut context.out)?;
    let plan = plan(args, &loaded, settings)?;
    let upload = Upload { program: &loaded.program, message: &args.message };
    let (deployed, view, created) = match find(&client, &plan)? {
        Some(view) => {
            let (deployed, view) = update(&client, &plan, &upload, view)?;
            (deployed, view, false)
        }
        None => {
            let view = create(&client, &plan, &args.path)?;
            (fill(&client, &plan, &upload)?, view, true)
        }
    };
    tell(&deployed, &view, created, args.format, &mut context.out)
}

fn plan(args: &DeployArgs, loaded: &Loaded, settings: PatchSettings) -> Result<Plan> {
    let project = loaded.project.as_ref();
    let name = match (&args.name, project) {
        (Some(name), _) => name.clone(),
        (None, Some(project)) => project.name.clone(),
        (None, None) => name_of_file(&loaded.file)?,
    };
    let is_scheduled = args.every.is_some() || args.cron.is_some();
    // What has a schedule can be nothing else.
    let kind = args.kind.or_else(|| loaded.kind()).or(is_scheduled.then_some(Kind::Pull));
    let flag = ScheduleSpec {
        name: None,
        every: args.every.clone(),
        cron: args.cron.clone(),
        timezone: args.timezone.clone(),
        ..ScheduleSpec::default()
    };
    let schedules = match (is_scheduled, project) {
        (true, _) => vec![flag],
        (false, Some(project)) => project.schedules.clone(),
        (false, None) => Vec::new(),
    };
    if schedules.is_empty() && args.policy.is_given() {
        return Err(Failure::usage("a policy belongs to a schedule, and this deploy names none")
            .hint("give it with --every or --cron")
            .hint(format!("`tidegate schedule set {name}` changes one that the host has")));
    }
    let schedules: Vec<ScheduleSpec> = schedules.into_iter().map(|spec| args.policy.over(spec)).collect();
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
        // A folder that says nothing of signatures opens no endpoint that checks them.
        signature: project.and_then(|project| project.signature.clone()).map(Some),
        egress: project.and_then(|project| project.egress.clone()).map(Some),
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

/// The workflow, when there is one of this name.
fn find(client: &Client, plan: &Plan) -> Result<Option<WorkflowView>> {
    let view: WorkflowView = match client.get(&plan.url()) {
        Ok(view) => view,
        Err(failure) if failure.is_not_found() => return Ok(None),
        Err(failure) => return Err(failure),
    };
    match plan.kind.filter(|kind| *kind != view.kind) {
        Some(kind) => Err(Failure::new(format!("{} is a {}, and this is a {kind}", plan.name, view.kind))
            .hint("a workflow's kind never changes: --name deploys this as another workflow")),
        None => Ok(Some(view)),
    }
}

/// Changes a workflow that is there. A program that is refused changes nothing; one that
/// is accepted finds its schedules, limits and settings when it first runs.
fn update(
    client: &Client,
    plan: &Plan,
    upload: &Upload,
    mut view: WorkflowView,
) -> Result<(Deployed, WorkflowView)> {
    let changes = changes(plan, &view);
    let has_changes = changes != PatchWorkflow::default();
    if has_changes || !plan.settings.is_empty() {
        upload.send::<Checked>(client, plan, true)?;
    }
    if has_changes {
        view = client.patch(&plan.url(), &changes)?;
    }
    let uploaded = set(client, plan).and_then(|()| upload.send(client, plan, false));
    let deployed = uploaded.map_err(|failure| match has_changes {
        true => failure.hint(format!("schedules or limits of {} are changed already", plan.name)),
        false => failure,
    })?;
    Ok((deployed, view))
}

/// Gives a workflow that was just created its settings and its first version. What was
/// made for a program that is refused goes with it: nothing ever ran in it.
fn fill(client: &Client, plan: &Plan, upload: &Upload) -> Result<Deployed> {
    let uploaded = set(client, plan).and_then(|()| upload.send(client, plan, false));
    uploaded.map_err(|failure| match is_refusal(&failure) && client.delete(&plan.url()).is_ok() {
        true => failure,
        false => failure.hint(format!("{} exists now, perhaps without a version", plan.name)),
    })
}

fn set(client: &Client, plan: &Plan) -> Result<()> {
    if !plan.settings.is_empty() {
        client.patch::<serde_json::Value>(&format!("{}/settings", plan.url()), &plan.settings)?;
    }
    Ok(())
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
        viewers: Vec::new(),
        private: false,
        schedules: plan.schedules.clone(),
        endpoint: plan.patch.endpoint.clone(),
        signature: plan.patch.signature.clone().flatten(),
        egress: plan.patch.egress.clone().flatten(),
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
        signature: patch.signature.clone().filter(|signature| *signature != view.signature),
        egress: patch.egress.clone().filter(|egress| *egress != view.egress),
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
                let (rule, policy) = (&there.rule, &there.policy);
                let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "none".to_owned());
                let zone = |zone: &Option<String>| zone.clone().unwrap_or_else(|| "UTC".to_owned());
                there.name == name
                    && rule.every == wanted.every
                    && rule.cron == wanted.cron
                    && (rule.cron.is_none() || zone(&rule.timezone) == zone(&wanted.timezone))
                    // What is left out of a policy stays as it is.
                    && wanted.overlap.is_none_or(|overlap| overlap == policy.overlap)
                    && wanted.missed.is_none_or(|missed| missed == policy.missed)
                    && wanted.missed_max.is_none_or(|max| Some(max) == policy.missed_max)
                    && wanted.start_deadline.as_ref().is_none_or(|wanted| *wanted == time(&policy.start_deadline))
                    && wanted.jitter.as_ref().is_none_or(|wanted| *wanted == time(&policy.jitter))
            })
        })
}

/// What is uploaded.
struct Upload<'a> {
    program: &'a Program,
    message: &'a str,
}

impl Upload<'_> {
    /// Uploads it as the next version, or only to have it checked.
    fn send<T: DeserializeOwned>(&self, client: &Client, plan: &Plan, check: bool) -> Result<T> {
        let path = format!("{}/versions", plan.url());
        let message = Some(self.message.to_owned()).filter(|message| !message.is_empty());
        let mut query = vec![("message", message), ("check", check.then(|| "true".to_owned()))];
        let (content_type, bytes) = match self.program {
            Program::Component(bytes) => ("application/wasm", bytes),
            Program::Python { file, source } => {
                query.splice(..0, [("file", Some(file.clone())), ("runtime", plan.runtime.clone())]);
                ("text/x-python", source)
            }
        };
        client.upload(Method::POST, &with_query(&path, &query), content_type, bytes.clone())
    }
}

/// Whether the host has seen what it was sent and will not have it.
fn is_refusal(failure: &Failure) -> bool {
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
