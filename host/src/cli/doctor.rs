//! `tidegate doctor`: looks at a data folder and its host, and says what is wrong.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::address::{Address, host_of, is_alive};
use super::client::Client;
use super::env::Environment;
use super::error::{Failure, Result};
use super::human::{bytes, count, relative};
use super::output::{Output, clean};
use super::{Context, Format, in_process};
use crate::api::{HealthView, SlotFigures};
use crate::config::Config;
use crate::data::{HostFile, TOKEN_FILE};
use crate::store::SpaceLevel;

/// Check a data folder and its host
///
/// While the host runs it is asked how it is; while it does not, its store is opened and
/// every checksum in it is checked.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The data folder; left out, TIDEGATE_DATA, or ~/.local/share/tidegate
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Make the index and the checkpoint again from the records; the host must not run
    #[arg(long)]
    rebuild_index: bool,
    #[command(flatten)]
    format: Format,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Problem,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &'static str, verdict: Verdict, message: impl Into<String>) {
        self.0.push(Finding { check, verdict, message: message.into(), hint: None });
    }

    fn add_with_hint(
        &mut self,
        check: &'static str,
        verdict: Verdict,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.0.push(Finding { check, verdict, message: message.into(), hint: Some(hint.into()) });
    }

    fn failed(&mut self, check: &'static str, failure: &Failure) {
        let hint = failure.hints.first().cloned();
        self.0.push(Finding { check, verdict: Verdict::Problem, message: failure.line(), hint });
    }
}

/// Free space below which a data folder is in danger, in bytes.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// Checks. Fails when there is a problem.
pub(crate) fn run(args: &DoctorArgs, context: &mut Context) -> Result<()> {
    let env = &context.env;
    let data = args.data.clone().or_else(|| env.data.clone());
    // Where a host is named by its address alone, there is no folder to look at.
    let usual = env.default_data.clone().filter(|folder| env.url.is_none() && folder.exists());
    let mut findings = Findings::default();
    match data.or(usual) {
        Some(folder) => check_data(&folder, args.rebuild_index, context, &mut findings),
        None => check_host(Client::find(&context.env), &mut findings),
    }
    let problems = findings.0.iter().filter(|finding| finding.verdict == Verdict::Problem).count();
    if args.format.json {
        context.out.json(&serde_json::json!({"ok": problems == 0, "findings": findings.0}))?;
    } else {
        print(&findings, &mut context.out)?;
    }
    match problems {
        0 => Ok(()),
        _ => Err(Failure::new(format!("{} found", count(problems as u64, "problem")))),
    }
}

fn print(findings: &Findings, out: &mut Output) -> Result<()> {
    for finding in &findings.0 {
        let verdict = match finding.verdict {
            Verdict::Ok => out.paint.good("ok     "),
            Verdict::Warning => out.paint.warn("warning"),
            Verdict::Problem => out.paint.bad("problem"),
        };
        out.line(format!("{verdict}  {:11}  {}", finding.check, clean(&finding.message)))?;
        if let Some(hint) = &finding.hint {
            out.line(format!("{:22}{}", "", out.paint.dim(clean(hint))))?;
        }
    }
    out.flush()
}

fn check_data(folder: &Path, rebuild_index: bool, context: &Context, findings: &mut Findings) {
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Err(error) => {
            let hint = format!("`tidegate serve --data {shown}` makes it");
            findings.add_with_hint("folder", Verdict::Problem, format!("{shown}: {error}"), hint);
            return;
        }
        Ok(metadata) if !metadata.is_dir() => {
            findings.add("folder", Verdict::Problem, format!("{shown} is no folder"));
            return;
        }
        Ok(metadata) => check_mode("folder", folder, &metadata, findings),
    }
    match std::fs::metadata(folder.join(TOKEN_FILE)) {
        Ok(metadata) => check_mode("token", &folder.join(TOKEN_FILE), &metadata, findings),
        Err(error) => {
            let message = format!("{shown}/{TOKEN_FILE}: {error}");
            let hint = "the next start of the host makes a new one";
            findings.add_with_hint("token", Verdict::Problem, message, hint);
        }
    }
    check_space(folder, findings);
    match host_of(folder) {
        Err(failure) => findings.failed("host", &failure),
        Ok(Some(file)) if is_alive(&file) => {
            check_running(folder, &file, context, findings);
            if rebuild_index {
                let message = "the index was not made again: the host runs";
                findings.add_with_hint("store", Verdict::Problem, message, "stop the host first");
            }
        }
        Ok(_) => {
            findings.add("host", Verdict::Ok, "it is not running");
            check_store(folder, rebuild_index, &context.env, findings);
        }
    }
}

/// What holds secrets is for its owner alone.
fn check_mode(check: &'static str, path: &Path, metadata: &std::fs::Metadata, findings: &mut Findings) {
    let (shown, mode) = (path.display(), metadata.mode() & 0o777);
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        let message = format!("{shown} belongs to user {}, this is user {own}", metadata.uid());
        return findings.add_with_hint(check, Verdict::Warning, message, "run this as the host's user");
    }
    if mode & 0o077 != 0 {
        let message = format!("{shown} is open to others (mode {mode:o})");
        let right = if metadata.is_dir() { "700" } else { "600" };
        return findings.add_with_hint(check, Verdict::Warning, message, format!("chmod {right} {shown}"));
    }
    findings.add(check, Verdict::Ok, format!("{shown}, mode {mode:o}"));
}

fn check_space(folder: &Path, findings: &mut Findings) {
    let Ok(space) = rustix::fs::statvfs(folder) else { return };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let text = format!("{} free", bytes(free));
    match free {
        ..FREE_BYTES_MIN => {
            let hint = "make room, or lower store.retention_bytes_max and store.retention_days";
            findings.add_with_hint("space", Verdict::Warning, text, hint);
        }
        _ => findings.add("space", Verdict::Ok, text),
    }
    let inodes = space.f_favail;
    if space.f_files > 0 && inodes < 10_000 {
        findings.add("space", Verdict::Warning, format!("{inodes} files can still be made"));
    }
}

fn check_running(folder: &Path, file: &HostFile, context: &Context, findings: &mut Findings) {
    findings.add("host", Verdict::Ok, format!("process {} at {}", file.pid, file.url));
    let mut env = context.env.clone();
    (env.url, env.data) = (None, Some(folder.to_owned()));
    check_host(Address::find(&env).map(Client::new), findings);
}

fn check_host(client: Result<Client>, findings: &mut Findings) {
    let health = client.and_then(|client| client.get::<HealthView>("/api/v1/health"));
    let health = match health {
        Ok(health) => health,
        Err(failure) => return findings.failed("host", &failure),
    };
    let up = relative(health.started_at, jiff::Timestamp::now());
    match &health.store.stopped {
        None if health.ready => {
            findings.add("ready", Verdict::Ok, format!("it takes work; it was started {up}"))
        }
        None => findings.add("ready", Verdict::Warning, "it takes no work: it is stopping"),
        Some(reason) => findings.add_with_hint(
            "ready",
            Verdict::Problem,
            format!("its store stopped writing: {reason}"),
            "see to the disk, then restart the host",
        ),
    }
    let hint = "make room on the file system, or keep fewer runs (store.retention_*)";
    match health.store.space {
        SpaceLevel::Enough => {}
        SpaceLevel::Low => {
            findings.add_with_hint(
                "space",
                Verdict::Warning,
                "deploys are refused: the disk is nearly full",
                hint,
            );
        }
        SpaceLevel::Full => {
            findings.add_with_hint(
                "space",
                Verdict::Problem,
                "runs are not recorded: the disk is full",
                hint,
            );
        }
    }
    for warning in &health.store.warnings {
        findings.add("store", Verdict::Warning, warning.clone());
    }
    let work = format!(
        "{}, {} running, {} waiting, {} of {} instances",
        count(health.workflows, "workflow"),
        health.runs_running,
        health.runs_waiting,
        health.instances_in_use,
        health.instances_max
    );
    let is_full = health.instances_max > 0 && health.instances_in_use >= health.instances_max;
    findings.add("work", if is_full { Verdict::Warning } else { Verdict::Ok }, work);
    findings.add("memory", Verdict::Ok, memory(health.slots));
    let store = &health.store;
    findings.add(
        "store",
        Verdict::Ok,
        format!(
            "{} in {}{}, code in {}, {} free",
            count(store.runs, "run"),
            bytes(store.run_bytes),
            match store.dead_bytes {
                0 => String::new(),
                dead => format!(" ({} of it to be freed)", bytes(dead)),
            },
            bytes(store.blob_bytes),
            bytes(store.free_bytes)
        ),
    );
}

/// How memory is made ready for the next run.
fn memory(slots: Option<SlotFigures>) -> String {
    let Some(slots) = slots else {
        return "left to the plain pool (engine.reset, or before Linux 6.7)".to_owned();
    };
    let each = match slots.restored_bytes.checked_div(slots.resets) {
        None => String::new(),
        Some(each) => format!("; a run writes {}", bytes(each)),
    };
    let lost = match slots.discarded {
        0 => String::new(),
        lost => format!("; {lost} could not be reset"),
    };
    format!(
        "reset in place: {}, {} idle with {}{each}{lost}",
        count(slots.slots, "slot"),
        slots.idle,
        bytes(slots.idle_bytes)
    )
}

fn check_store(folder: &Path, rebuild_index: bool, env: &Environment, findings: &mut Findings) {
    let opening = if rebuild_index { in_process::Opening::IndexAgain } else { in_process::Opening::AsItIs };
    let verified =
        env.local_keys().and_then(|keys| in_process::verify(folder, &Config::defaults(), &keys, opening));
    let (health, verification) = match verified {
        Ok(verified) => verified,
        Err(failure) => return findings.failed("store", &failure),
    };
    // What is found at opening and again when all is read is said once.
    for warning in health.warnings.into_iter().filter(|line| !verification.problems.contains(line)) {
        findings.add("store", Verdict::Warning, warning);
    }
    let is_of_index = |problem: &String| problem.contains("index");
    for problem in &verification.problems {
        match problem {
            problem if is_of_index(problem) && !rebuild_index => {
                let hint = "`tidegate doctor --rebuild-index` makes the index again";
                findings.add_with_hint("store", Verdict::Problem, problem.clone(), hint);
            }
            problem if problem.contains("are damaged") => {
                let hint = "what was there is lost, all else is whole; a backup from before has it";
                findings.add_with_hint("store", Verdict::Problem, problem.clone(), hint);
            }
            problem => findings.add("store", Verdict::Problem, problem.clone()),
        }
    }
    if rebuild_index {
        findings.add("index", Verdict::Ok, "it was made again from the records");
    }
    if verification.problems.is_empty() {
        let runs = count(verification.runs_checked, "run");
        let blobs = count(verification.blobs_checked, "blob");
        findings.add("store", Verdict::Ok, format!("{runs} and {blobs} checked"));
    }
}
