//! What the demo shows, in its order.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};

use super::services::{ATS_KEY, HR_KEY, SMS_KEY, SOURCE};
use super::stand_in::{API_KEY, StandIn};
use crate::api::{RuntimeList, WorkflowList, WorkflowView};
use crate::cli::client::Client;
use crate::cli::error::{Explain, Failure, Result};
use crate::cli::output::{clean, clean_lines};
use crate::cli::project::Lang;
use crate::cli::runs::{Query, pages};
use crate::cli::{Cli, Context, dispatch, new, python_tool};
use crate::workflow::{Digest, Kind, WorkflowName};

const RUNTIME: &str = "python";
const GREETING: &str = "greeting";
const HEARTBEAT: &str = "heartbeat";
const SMS: &str = "sms-on-profile";
const SMS_FILES: &[(&str, &str)] = &[
    ("workflow.toml", include_str!("../../../../examples/sms-on-profile/workflow.toml")),
    ("workflow.py", include_str!("../../../../examples/sms-on-profile/workflow.py")),
];
const SYNC: &str = "sync-to-ats";
const SYNC_FILES: &[(&str, &str)] = &[
    ("workflow.toml", include_str!("../../../../examples/sync-to-ats/workflow.toml")),
    ("workflow.py", include_str!("../../../../examples/sync-to-ats/workflow.py")),
];
const APPLICATIONS: &str = "applications";
const IMPORT: &str = "import";
/// The first due instant of a schedule of five seconds is at most so far away, even on a
/// machine that is busy.
const PULL_MAX: Duration = Duration::from_secs(60);
/// How often the demo looks whether it ran.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Time for a request; the host's own deadline ends it first.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// The demo's script.
pub(super) struct Script<'a> {
    pub(super) context: &'a mut Context,
    pub(super) stand_in: &'a StandIn,
    /// Where the example projects are written.
    pub(super) folder: &'a Path,
}

impl Script<'_> {
    /// Shows everything.
    ///
    /// # Errors
    /// Whatever a command fails with.
    pub(super) fn play(mut self, url: &str, data: &Path) -> Result<()> {
        self.say(&format!("A host serves on {url}, with its data in {}.", data.display()))?;
        self.clear_away()?;
        self.install_runtime()?;

        self.say("A catch workflow in Python: an HTTP request runs it, in a sandbox of its own.")?;
        let greeting = self.write_project(GREETING, Kind::Catch)?;
        let url_of_greeting = self.deploy(GREETING, &[&greeting])?;
        self.post(&url_of_greeting, &json!({"name": "Ada"}))?;
        self.show_last_run(GREETING)?;

        self.say("A pull workflow in Python: the clock runs it, here every five seconds.")?;
        let heartbeat = self.write_project(HEARTBEAT, Kind::Pull)?;
        self.deploy(HEARTBEAT, &[&heartbeat, "--every", "5s"])?;
        self.wait_for_run(HEARTBEAT)?;
        self.show_last_run(HEARTBEAT)?;

        self.play_case_studies()?;
        self.play_rust()?;
        self.say("All of them:")?;
        self.tidegate(&["list"])?;
        self.farewell(url, data, &url_of_greeting)
    }

    /// The case studies, against stand-ins for the services that they connect.
    fn play_case_studies(&mut self) -> Result<()> {
        let at = format!("http://{}", self.stand_in.address);
        self.say("A case study: when HrFlow.ai has indexed a profile, HR gets a text message.")?;
        let folder = self.write_example(SMS, SMS_FILES)?;
        let settings = [
            format!("API_KEY={HR_KEY}"),
            "USER_EMAIL=ann@corp.example".to_owned(),
            format!("API_URL={at}/v1/"),
            format!("MESSAGE_API_KEY={SMS_KEY}"),
            format!("MESSAGE_URL={at}/sms"),
        ];
        let url = self.deploy(SMS, &with_settings(&[&folder], &settings))?;
        self.post(&url, &json!({"profile": {"key": "p-1", "source": {"key": SOURCE}}}))?;
        self.show_last_run(SMS)?;
        let messages = Value::Array(self.stand_in.services.messages());
        self.say(&format!("The messaging service sent: {messages}"))?;

        self.say("Another one: new profiles are copied to an applicant tracking system, and tagged.")?;
        let folder = self.write_example(SYNC, SYNC_FILES)?;
        let settings = [
            format!("API_KEY={HR_KEY}"),
            "USER_EMAIL=ann@corp.example".to_owned(),
            format!("API_URL={at}/v1/"),
            format!("SOURCE_KEY={SOURCE}"),
            format!("ATS_API_KEY={ATS_KEY}"),
            format!("ATS_URL={at}/profiles"),
        ];
        self.deploy(SYNC, &with_settings(&[&folder, "--every", "5s"], &settings))?;
        self.wait_for_run(SYNC)?;
        self.show_last_run(SYNC)?;
        let people = Value::Array(self.stand_in.services.people());
        self.say(&format!("The applicant tracking system has them, each once: {people}"))
    }

    /// The Rust examples, where they were built.
    fn play_rust(&mut self) -> Result<()> {
        let guests = self.context.env.guests.clone();
        let component = |name: &str| {
            let path = guests.as_ref()?.join(name).with_extension("wasm");
            path.is_file().then(|| path.display().to_string())
        };
        let (Some(applications), Some(import)) = (component("rust-catch"), component("rust-pull")) else {
            return Ok(());
        };
        self.say("A catch in Rust: it takes job applications.")?;
        let open = "OPEN_JOBS=backend-engineer,nurse";
        let arguments = [&applications, "--name", APPLICATIONS, "--kind", "catch", "--set", open];
        let url = self.deploy(APPLICATIONS, &arguments)?;
        self.post(&url, &json!({"name": "Ada", "email": "ada@example.com", "job": "nurse"}))?;
        self.tidegate(&["runs", APPLICATIONS])?;

        self.say("A pull in Rust: it copies new candidates from one system to another, and keeps a cursor.")?;
        let systems = format!("http://{}", self.stand_in.address);
        let source = format!("SOURCE_URL={systems}/candidates");
        let target = format!("TARGET_URL={systems}/import");
        let key = format!("API_KEY={API_KEY}");
        let settings = ["--set", &source, "--set", &target, "--set", &key];
        let first = [import.as_str(), "--name", IMPORT, "--kind", "pull", "--every", "5s"];
        self.deploy(IMPORT, &[&first[..], &settings[..]].concat())?;
        self.wait_for_run(IMPORT)?;
        self.show_last_run(IMPORT)?;
        let arrived: Vec<Value> =
            self.stand_in.imported().into_iter().map(|candidate| candidate["name"].clone()).collect();
        self.say(&format!("The other system has them now: {}", Value::Array(arrived)))
    }

    fn farewell(&mut self, url: &str, data: &Path, address: &str) -> Result<()> {
        self.say(&format!("The host goes on serving at {url} until ctrl-c. In another terminal:"))?;
        let path = self.context.env.missing_from_path();
        let path = path.map(|folder| format!("export PATH={}:$PATH", folder.display()));
        let out = &mut self.context.out;
        for line in path.into_iter().chain([
            format!("export TIDEGATE_DATA={}", data.display()),
            "tidegate list".to_owned(),
            format!("tidegate logs {HEARTBEAT} --follow"),
            format!("curl -i -H 'content-type: application/json' -d '{{\"name\": \"Grace\"}}' {address}"),
            format!("curl http://{}/received", self.stand_in.address),
        ]) {
            out.line(format!("    {line}"))?;
        }
        out.flush()
    }

    // ---- steps -----------------------------------------------------------------------

    /// What an earlier demo left on this host.
    fn clear_away(&mut self) -> Result<()> {
        let client = self.context.client()?;
        let list: WorkflowList = client.get("/api/v1/workflows")?;
        for workflow in list.workflows {
            client.delete(&format!("/api/v1/workflows/{}", workflow.name))?;
        }
        Ok(())
    }

    fn install_runtime(&mut self) -> Result<()> {
        let component = python_tool::ready_runtime(RUNTIME, &self.context.env, &mut self.context.out)?;
        let bytes = std::fs::read(&component).context(format!("read {}", component.display()))?;
        let list: RuntimeList = self.context.client()?.get("/api/v1/runtimes")?;
        let digest = Digest::of(&bytes);
        if list.runtimes.iter().any(|runtime| runtime.name == RUNTIME && runtime.digest == digest) {
            return Ok(());
        }
        self.say("Python workflows share a runtime, which is compiled once.")?;
        let component = component.display().to_string();
        self.tidegate(&["runtime", "install", &component, "--name", RUNTIME])
    }

    /// Writes a project as `tidegate new` does, and returns its folder.
    fn write_project(&mut self, name: &str, kind: Kind) -> Result<String> {
        let workflow: WorkflowName = name.parse()?;
        let folder = self.folder.join(name);
        for (file, bytes) in new::files(&workflow, kind, Lang::Python) {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap_or(&folder)).context("write the examples")?;
            std::fs::write(&path, bytes).context("write the examples")?;
        }
        let code = std::fs::read_to_string(folder.join("workflow.py"))?;
        let out = &mut self.context.out;
        out.line("")?;
        for line in clean_lines(&code).lines() {
            out.line(out.paint.dim(format!("    {line}")))?;
        }
        Ok(folder.display().to_string())
    }

    /// Writes an example of this repository, and returns its folder.
    fn write_example(&mut self, name: &str, files: &[(&str, &str)]) -> Result<String> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).context("write the examples")?;
        for (file, text) in files {
            std::fs::write(folder.join(file), text).context("write the examples")?;
        }
        Ok(folder.display().to_string())
    }

    /// Deploys and returns the workflow's URL, if it has one.
    fn deploy(&mut self, name: &str, arguments: &[&str]) -> Result<String> {
        self.tidegate(&[&["deploy"], arguments].concat())?;
        let view: WorkflowView = self.context.client()?.get(&format!("/api/v1/workflows/{name}"))?;
        Ok(view.url.unwrap_or_default())
    }

    /// Calls an endpoint as curl does, and prints what curl prints.
    fn post(&mut self, url: &str, body: &Value) -> Result<()> {
        self.command(&format!("curl -i -H 'content-type: application/json' -d '{body}' {url}"))?;
        let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let agent = agent.timeout_global(Some(REQUEST_MAX)).build().new_agent();
        let request = agent.post(url).header("content-type", "application/json");
        let mut reply = request.send(body.to_string()).context("call the workflow")?;
        let text = reply.body_mut().read_to_string().context("read the workflow's reply")?;
        let out = &mut self.context.out;
        out.line(format!("{:?} {}", reply.version(), reply.status()))?;
        for (name, value) in reply.headers() {
            out.line(clean(&format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))))?;
        }
        out.line("")?;
        out.line(clean_lines(&text))
    }

    /// Waits until the first run of a pull has ended.
    fn wait_for_run(&mut self, name: &str) -> Result<()> {
        let (client, name) = (self.context.client()?, name.parse::<WorkflowName>()?);
        self.context.out.note("waiting for its next due instant");
        let began = Instant::now();
        while began.elapsed() < PULL_MAX {
            if ended_run(&client, &name)?.is_some() {
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Err(Failure::new(format!("{name} was due, and did not run within {} s", PULL_MAX.as_secs())))
    }

    fn show_last_run(&mut self, name: &str) -> Result<()> {
        let client = self.context.client()?;
        let id = ended_run(&client, &name.parse()?)?;
        let id = id.ok_or_else(|| Failure::new(format!("{name} has no run")))?;
        self.tidegate(&["show-run", &id])
    }

    // ---- printing --------------------------------------------------------------------

    fn say(&mut self, text: &str) -> Result<()> {
        let out = &mut self.context.out;
        out.line("")?;
        out.line(out.paint.bold(text))?;
        out.flush()
    }

    fn command(&mut self, line: &str) -> Result<()> {
        let out = &mut self.context.out;
        out.line("")?;
        out.line(format!("{} {line}", out.paint.dim("$")))?;
        out.flush()
    }

    /// Prints a command of this program and runs it.
    fn tidegate(&mut self, arguments: &[&str]) -> Result<()> {
        let shown: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
        self.command(&format!("tidegate {}", shown.join(" ")))?;
        let cli = Cli::try_parse_from(["tidegate"].iter().chain(arguments)).context("run the demo")?;
        dispatch(cli.command, self.context)?;
        self.context.out.flush()
    }
}

/// The arguments of a deploy with these settings.
fn with_settings<'a>(first: &[&'a str], settings: &'a [String]) -> Vec<&'a str> {
    let pairs = settings.iter().flat_map(|setting| ["--set", setting.as_str()]);
    first.iter().copied().chain(pairs).collect()
}

/// The newest run of a workflow that has ended.
fn ended_run(client: &Client, name: &WorkflowName) -> Result<Option<String>> {
    let runs = pages(client, &Query::newest(name, 10))?.runs;
    let ended = runs.into_iter().find(|run| run.get("finished_at").is_some_and(Value::is_string));
    Ok(ended.and_then(|run| run.get("id").and_then(Value::as_str).map(str::to_owned)))
}

/// An argument as a shell wants it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,".contains(c);
    if argument.chars().all(plain) && !argument.is_empty() {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}
