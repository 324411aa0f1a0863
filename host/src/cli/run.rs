//! `tidegate run`: a workflow on this machine, in the same sandbox as on a host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use clap::Args;
use notify::{EventKind, RecursiveMode, Watcher};
use serde_json::{Value, json};
use toml::Value as TomlValue;

use super::error::{Explain, Failure, Result};
use super::invoke::outcome;
use super::program::{Program, load};
use super::request::{read_json, read_request};
use super::sandbox::{Job, Ran, Sandbox};
use super::serve::{ConfigArgs, flag};
use super::{Context, Format, page, python_tool};
use crate::api::{CreateWorkflow, TestRequest};
use crate::workflow::{Kind, RetryPolicy};

/// Run a workflow here, in the same sandbox as on a host
///
/// Prints the run's reply, log, outbound calls and the settings that it changed. Nothing
/// is kept: the settings file stays as it is.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A project folder, a .py or a .wasm file
    path: PathBuf,
    /// The request for a catch: a JSON file with `method`, `path`, `headers` and `body`; - is standard input
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// The settings: a JSON file with an object
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How it is started; left out, what workflow.toml or the function's parameters say
    #[arg(long)]
    kind: Option<Kind>,
    /// The runtime for Python source
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// Run again whenever a file changes, until ctrl-c
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    format: Format,
}

/// The time in which further changes belong to the first one: editors write in steps.
const SETTLE: Duration = Duration::from_millis(100);
/// One workflow is run, once at a time.
const INSTANCES_MAX: i64 = 4;

/// Runs a workflow. Fails when the run does.
pub(crate) fn run(args: &RunArgs, context: &mut Context) -> Result<()> {
    let pool = flag("engine.instances_max", TomlValue::Integer(INSTANCES_MAX), "`tidegate run`");
    let config = args.config.load(vec![pool])?;
    let cache = python_tool::cache(&context.env)?;
    if !args.watch {
        let (job, sandbox) = (job(args, context)?, Sandbox::open(config, &cache)?);
        let ran = once(job, &sandbox, context)?;
        sandbox.close()?;
        print(&ran, args.format, context)?;
        return outcome(&ran.detail);
    }
    if args.request.as_deref() == Some(Path::new("-")) {
        return Err(Failure::usage("standard input cannot be read again: --watch needs a file"));
    }
    let (_watcher, changes) = watch(args)?;
    let sandbox = Sandbox::open(config, &cache)?;
    loop {
        let ran = job(args, context).and_then(|job| once(job, &sandbox, context));
        let told = ran.and_then(|ran| {
            print(&ran, args.format, context)?;
            outcome(&ran.detail)
        });
        if let Err(failure) = told {
            context.out.failure(&failure);
        }
        context.out.note("waiting for a change");
        wait(&changes)?;
    }
}

/// What the command line says is to be run, read anew.
fn job(args: &RunArgs, context: &mut Context) -> Result<Job> {
    let loaded = load(&args.path, &context.env, &mut context.out)?;
    let kind = args.kind.or_else(|| loaded.kind()).or(args.request.is_some().then_some(Kind::Catch));
    let kind = kind.ok_or_else(|| {
        Failure::usage(format!("{} does not tell whether it is a catch or a pull", args.path.display()))
            .hint("say it with --kind")
    })?;
    let request = read_request(args.request.as_deref(), &mut context.input)?;
    if kind == Kind::Pull && request != TestRequest::default() {
        return Err(Failure::usage("a pull is started by the clock and is handed no request"));
    }
    let settings: BTreeMap<String, Value> = match &args.settings {
        None => BTreeMap::new(),
        Some(path) => read_json(path, &mut context.input, "an object of settings")?,
    };
    let project = loaded.project.as_ref();
    let workflow = CreateWorkflow {
        // A run record shows it, and nobody else has it here.
        name: project.map_or("local".to_owned(), |project| project.name.to_string()),
        kind,
        description: String::new(),
        managers: Vec::new(),
        viewers: Vec::new(),
        private: false,
        schedules: Vec::new(),
        endpoint: project.and_then(|project| project.endpoint.clone()),
        limits: project.and_then(|project| project.limits).unwrap_or_default(),
        // Who runs it here is its author.
        signature: None,
        egress: project.and_then(|project| project.egress.clone()),
        retry: RetryPolicy::default(),
    };
    let runtime = args.runtime.clone().or_else(|| loaded.runtime().map(str::to_owned));
    Ok(Job { workflow, program: loaded.program, runtime, request, settings })
}

fn once(job: Job, sandbox: &Sandbox, context: &mut Context) -> Result<Ran> {
    if let Program::Python { .. } = job.program {
        let name = job.runtime.as_deref().unwrap_or(sandbox.default_runtime());
        let component = python_tool::ready_runtime(name, &context.env, &mut context.out)?;
        if !sandbox.has_runtime(name, &component)? {
            context.out.note(format!("preparing the runtime {name}, once"));
            sandbox.install_runtime(name, &component)?;
        }
    }
    sandbox.run(job)
}

fn print(ran: &Ran, format: Format, context: &mut Context) -> Result<()> {
    let out = &mut context.out;
    if format.json {
        return out.json(&json!({"run": ran.detail, "log": ran.log, "settings": ran.settings}));
    }
    page::local_run(out, &ran.detail, &ran.log, &ran.settings)
}

/// A watcher over everything that a run reads.
fn watch(args: &RunArgs) -> Result<(notify::RecommendedWatcher, Receiver<()>)> {
    // One that waits stands for all.
    let (sender, changes) = sync_channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let is_change = !matches!(event.kind, EventKind::Access(_));
        // What a build writes is not what it reads.
        let is_made = |path: &PathBuf| {
            path.components()
                .any(|part| matches!(part.as_os_str().to_str(), Some("target" | "__pycache__" | ".git")))
        };
        if is_change && !event.paths.iter().all(is_made) {
            let _ = sender.try_send(());
        }
    });
    let mut watcher = watcher.context("watch files")?;
    let files = [Some(&args.path), args.request.as_ref(), args.settings.as_ref()];
    for path in files.into_iter().flatten() {
        // Editors replace files, so their folders are watched.
        let (folder, mode) = match path.is_dir() {
            true => (path.as_path(), RecursiveMode::Recursive),
            false => (path.parent().unwrap_or(Path::new("")), RecursiveMode::NonRecursive),
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        watcher.watch(folder, mode).context(format!("watch {}", folder.display()))?;
    }
    Ok((watcher, changes))
}

/// Returns when something has changed and has settled.
fn wait(changes: &Receiver<()>) -> Result<()> {
    changes.recv().context("watch files")?;
    loop {
        match changes.recv_timeout(SETTLE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(error) => return Err(error).context("watch files"),
        }
    }
}
