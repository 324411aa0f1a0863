//! A workflow's life, command by command, against a host.

use super::*;

const REQUEST: &str = r#"{"body": {"name": "Ada", "email": "ada@example.com", "job": "nurse"}}"#;

#[test]
fn a_catch_is_deployed_called_looked_at_changed_and_archived() {
    let host = Host::start();
    let deployed = host
        .run(&["deploy", &guest("rust-catch"), "--kind", "catch", "--set", "OPEN_JOBS=nurse", "--json"])
        .json();
    assert_eq!(
        (&deployed["name"], &deployed["kind"], &deployed["version"]),
        (&"rust-catch".into(), &"catch".into(), &1.into())
    );
    let url = deployed["url"].as_str().unwrap();
    let (status, run, _) = post(url, r#"{"name": "Ada", "email": "ada@example.com", "job": "nurse"}"#);
    assert_eq!(status, 201);

    let runs = host.run(&["runs", "rust-catch", "--json"]).json();
    assert_eq!(
        (&runs["runs"][0]["id"], &runs["runs"][0]["status"]),
        (&run.clone().into(), &"succeeded".into())
    );
    assert_eq!(runs["next"], Value::Null);
    assert!(host.run(&["runs", "rust-catch"]).ok().contains(&run));
    let page = host.run(&["show-run", &run]);
    assert!(page.ok().contains("application accepted") && page.ok().contains("POST /\n"), "{page:#?}");
    assert_eq!(
        host.run(&["show-run", &run, "--json"]).json()["log_lines"][0]["text"],
        "application accepted"
    );
    assert!(host.run(&["logs", "rust-catch"]).ok().contains("application accepted job=nurse"));

    // Nobody applies for a job that is closed.
    let shut = host.machine.run_with(&["settings", "set", "rust-catch", "OPEN_JOBS"], "welder\n");
    assert_eq!((shut.exit, shut.stderr.as_str()), (Some(0), "set OPEN_JOBS\n"));
    let invoked =
        host.machine.run_with(&["invoke", "rust-catch", "--request", "-", "--json"], REQUEST).json();
    assert_eq!((&invoked["trigger"], &invoked["reply_status"]), (&"test".into(), &422.into()));
    let again = host.run(&["replay", &run, "--json"]).json();
    assert_eq!((&again["replay_of"], &again["reply_status"]), (&run.into(), &422.into()));
    let listed = host.run(&["settings", "list", "rust-catch"]);
    assert!(listed.ok().contains("(secret)") && !listed.ok().contains("welder"), "{listed:#?}");
    host.run(&["settings", "set", "rust-catch", "N=7", "--plain", "--json-value"]).ok();
    let settings = host.run(&["settings", "list", "rust-catch", "--json"]).json();
    assert_eq!(settings["settings"][0]["value"], 7);
    host.run(&["settings", "unset", "rust-catch", "N"]).ok();

    host.run(&["deploy", &guest("echo"), "--name", "rust-catch", "--message", "echo instead"]).ok();
    assert!(host.run(&["versions", "rust-catch"]).ok().contains("echo instead"));
    let rolled_back = host.run(&["rollback", "rust-catch", "--json"]).json();
    assert_eq!(rolled_back["active_version"], 1);
    assert_eq!(host.run(&["pause", "rust-catch", "--json"]).json()["state"], "paused");
    assert_eq!(post(url, "{}").0, 503);
    assert!(host.run(&["list"]).ok().contains("paused"));
    host.run(&["resume", "rust-catch"]).ok();
    assert_eq!(host.run(&["show", "rust-catch", "--json"]).json()["url"], url);

    host.run(&["archive", "rust-catch"]).failed(2, "needs --yes");
    assert_eq!(post(url, "{}").0, 400, "it is still there");
    host.run(&["archive", "rust-catch", "--yes"]).ok();
    assert_eq!(post(url, "{}").0, 404);
    host.run(&["show", "rust-catch"]).failed(1, "does not exist");
}

#[test]
fn a_pull_runs_when_it_is_due_and_its_log_can_be_followed() {
    let host = Host::start();
    host.run(&["deploy", &guest("pull"), "--kind", "pull"]).ok();
    let following = Going::start(host.machine.command(&["logs", "pull", "--follow"]));
    let next = host.run(&["deploy", &guest("pull"), "--every", "1s"]);
    assert!(next.ok().starts_with("next due "), "{next:#?}");
    let line = following.line_with("succeeded in ");
    let id = line.split_whitespace().next().unwrap();
    let run = host.run(&["show-run", id, "--json"]).json();
    assert_eq!((&run["trigger"], &run["schedule"]), (&"pull".into(), &"default".into()));
    let shown = host.run(&["show", "pull"]);
    assert!(shown.ok().contains("every second") || shown.ok().contains("every 1 second"), "{shown:#?}");
    assert_eq!(host.run(&["invoke", "pull", "--json"]).json()["trigger"], "test");
}

#[test]
fn a_refused_program_leaves_the_workflow_as_it_was() {
    let host = Host::start();
    let pull = guest("pull");
    host.run(&["deploy", &pull, "--kind", "pull", "--every", "90m", "--set", "A=1"]).ok();
    let shown = || {
        let view = host.run(&["show", "pull", "--json"]).json();
        let settings = host.run(&["settings", "list", "pull", "--json"]).json();
        [view["schedules"].clone(), view["revision"].clone(), settings]
    };
    let before = shown();
    let refused = |program: &str| {
        let arguments =
            ["deploy", program, "--name", "pull", "--every", "5m", "--set", "A=2", "--set", "B=3"];
        host.run(&arguments).failed(1, "");
        assert_eq!(shown(), before);
    };
    refused(&guest("no-export"));
    std::fs::write(host.machine.path("text.wasm"), "text").unwrap();
    refused("text.wasm");
    // A schedule that is refused goes no further either.
    host.run(&["deploy", &pull, "--every", "1ms", "--set", "A=2"]).failed(1, "");
    assert_eq!(shown(), before);
    assert_eq!(host.run(&["versions", "pull", "--json"]).json()["versions"].as_array().unwrap().len(), 1);

    host.run(&["deploy", &pull, "--every", "5m", "--set", "A=2"]).ok();
    let after = host.run(&["show", "pull", "--json"]).json();
    assert_eq!((&after["schedules"][0]["every"], &after["active_version"]), (&"5m".into(), &2.into()));
}

#[test]
fn a_new_workflow_whose_settings_are_refused_is_not_left_behind() {
    let host = Host::start();
    let long = format!("A={}", "x".repeat(70_000));
    let arguments = ["deploy", &guest("hello"), "--kind", "catch", "--set", &long];
    host.run(&arguments).failed(1, "over the limit of 65536 bytes");
    assert_eq!(host.run(&["list", "--json"]).json()["workflows"], serde_json::json!([]));
}

#[test]
fn a_run_that_fails_fails_the_command() {
    let host = Host::start();
    host.run(&["deploy", &guest("trap"), "--kind", "catch"]).ok();
    let ended = host.run(&["invoke", "trap"]);
    assert_eq!(ended.exit, Some(1));
    assert!(ended.stderr.starts_with("error: the run failed: "), "{ended:#?}");
    assert!(ended.stdout.contains("trap: "), "{ended:#?}");
    let failed = host.run(&["runs", "trap", "--status", "failed", "--since", "10m", "--json"]).json();
    assert_eq!(failed["runs"][0]["fault"], "trap");
    let none = host.run(&["runs", "trap", "--status", "succeeded"]);
    assert_eq!((none.exit, none.stdout.as_str(), none.stderr.as_str()), (Some(0), "", "no run matches\n"));
}

#[test]
fn a_token_that_is_not_the_hosts_is_refused() {
    let host = Host::start();
    let stranger = Machine::new().with("TIDEGATE_URL", &host.url);
    let stderr = stranger.run(&["list"]).failed(1, "wants a token").to_owned();
    assert!(stderr.contains("TIDEGATE_TOKEN"), "{stderr}");
    stranger.with("TIDEGATE_TOKEN", "tdg_wrong").run(&["list"]).failed(1, "not one of this host");
}

#[test]
fn what_is_deployed_with_a_schedule_is_a_pull() {
    let host = Host::start();
    host.run(&["deploy", &guest("pull"), "--every", "1h"]).ok();
    assert_eq!(host.run(&["list", "--json"]).json()["workflows"][0]["kind"], "pull");
    let echo = host.run(&["deploy", &guest("echo"), "--kind", "catch", "--every", "1h"]);
    assert_eq!(echo.exit, Some(2), "{echo:#?}");
}
