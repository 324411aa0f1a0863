//! Whole commands: arguments in, requests to a fake host and both outputs out.

mod client;
mod commands;
mod deploy;
mod help;
mod new;
mod queue;
mod runs;
mod runtimes;
mod schedules;

use clap::Parser as _;
use serde_json::{Value, json};

use super::env::{Environment, Input, Token};
use super::fake::{Answer, FakeHost};
use super::output::Output;
use super::{Cli, Context, dispatch};

/// What a command left behind.
struct Ended {
    exit: u8,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn json(&self) -> Value {
        assert_eq!((self.exit, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Both outputs, for snapshots.
    fn page(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.exit, self.stdout, self.stderr)
    }
}

/// Runs a command in a terminal of 80 columns, on a machine without profile or data folder.
fn tidegate(host: &FakeHost, stdin: &str, arguments: &[&str]) -> Ended {
    let token = Token::new("t0k");
    let env = Environment { url: Some(host.url.clone()), token, ..Environment::default() };
    tidegate_in(env, stdin, arguments)
}

fn tidegate_in(env: Environment, stdin: &str, arguments: &[&str]) -> Ended {
    let (out, stdout, stderr) = Output::captured(Some(80));
    let cli = match Cli::try_parse_from(["tidegate"].iter().chain(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            let exit = u8::try_from(error.exit_code()).unwrap();
            return Ended { exit, stdout: String::new(), stderr: error.render().to_string() };
        }
    };
    let mut context = Context { env, out, input: Input::holding(stdin) };
    let exit = match dispatch(cli.command, &mut context) {
        Ok(()) => 0,
        Err(failure) => {
            context.out.failure(&failure);
            failure.exit.code()
        }
    };
    Ended { exit, stdout: stdout.text(), stderr: stderr.text() }
}

const WORKFLOW_ID: &str = "06g1p3s8000000000000000000";
const RUN_ID: &str = "06g1p3s8000000000000000004";

/// A workflow as the host shows it.
fn workflow(name: &str, kind: &str, version: Option<u32>) -> Value {
    let is_pull = kind == "pull";
    json!({
        "name": name, "id": WORKFLOW_ID, "kind": kind, "description": "", "owner": null, "managers": [],
        "private": false, "state": "active",
        "url": if is_pull { Value::Null } else { json!("http://127.0.0.1:7/catch/k3y") },
        "schedules": if is_pull {
            json!([{"name": "default", "every": "90m", "description": "every 90 minutes",
                "next_due": "2125-06-01T12:00:00Z"}])
        } else { json!([]) },
        "endpoint": {"methods": ["POST"], "raw_bodies": false, "cors_origins": ["*"]},
        "limits": {"deadline_ms": null, "memory_bytes_max": null, "concurrency_max": null},
        "active_version": version,
        "created_at": "2025-06-01T12:00:00Z", "updated_at": "2025-06-01T12:00:00Z", "revision": 1,
    })
}

/// A run as a listing shows it.
fn run_view(id: &str, status: &str, fault: Option<(&str, &str)>) -> Value {
    json!({
        "id": id, "workflow": "sync", "version": 3, "trigger": "catch", "attempt": 1, "status": status,
        "fault": fault.map(|fault| fault.0), "message": fault.map(|fault| fault.1),
        "accepted_at": "2025-06-01T12:00:00.100Z", "started_at": "2025-06-01T12:00:00.101Z",
        "finished_at": "2025-06-01T12:00:00.113400Z", "duration_ms": 12.4, "reply_status": 502,
        "memory_peak_bytes": 1_234_567,
    })
}

/// A run as its own page shows it.
fn run_detail(status: &str, fault: Option<(&str, &str)>) -> Value {
    let mut run = run_view(RUN_ID, status, fault);
    let more = json!({
        "trace": fault.map(|_| "Traceback (most recent call last):\n  File \"workflow.py\", line 3\nKeyError: 'profile'"),
        "request": {"method": "POST", "path_with_query": "/catch/k3y?a=1",
            "headers": [["content-type", "application/json"]], "body": {"text": "{\"a\": 1}"}},
        "reply": {"status": 502, "headers": [["content-type", "application/json"]],
            "body": {"text": "{\"code\":", "of": 90}},
        "value": null, "log": {"lines": 2, "bytes": 30, "dropped_bytes": 0},
        "exchanges": [{"at_us": 2000, "method": "GET", "url": "https://api.example.org/profiles?key=…",
            "status": 200, "request_bytes": 0, "response_bytes": 2048, "duration_us": 5300, "error": null},
            {"at_us": 8000, "method": "POST", "url": "http://10.0.0.1/", "status": null, "request_bytes": 12,
            "response_bytes": 0, "duration_us": 100, "error": "destination-ip-prohibited",
            "reason": "10.0.0.1 is a private address (RFC 1918)"}],
        "settings_changed": ["LAST_UID"],
        "usage": {"memory_peak_bytes": 1_234_567, "cpu_us": 8000, "wall_us": 12_400, "instantiate_us": 300,
            "queue_us": 1000},
        "inputs": {"random_seed": "", "clock_start_ns": 0, "clock_reads": 0},
    });
    run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    run
}

/// A run's log.
fn run_log() -> Value {
    json!({"dropped_bytes": 0, "lines": [
        {"at_us": 400, "level": "info", "stream": "stdout", "text": "hello\u{1b}[2J"},
        {"at_us": 9000, "level": "warning", "stream": "log", "text": "slow", "fields": [["ms", "12"]]}]})
}

/// A refusal.
fn refusal(status: u16, code: &str, message: &str) -> Answer {
    Answer::Json(status, json!({"code": code, "message": message, "request_id": "r1"}))
}

fn not_found() -> Answer {
    refusal(404, "not-found", "there is no such workflow")
}
