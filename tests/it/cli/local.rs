//! `run`: a workflow on this machine, without a host.

use super::*;

const REQUEST: &str = r#"{"body": {"name": "Ada", "email": "ada@example.com", "job": "nurse"}}"#;

#[test]
fn a_component_runs_with_request_and_settings() {
    let machine = Machine::new();
    std::fs::write(machine.path("settings.json"), r#"{"OPEN_JOBS": "nurse"}"#).unwrap();
    let arguments =
        ["run", &guest("rust-catch"), "--kind", "catch", "--request", "-", "--settings", "settings.json"];
    let ended = machine.run_with(&arguments, REQUEST);
    for part in ["Reply\n  201", "application accepted job=nurse", "succeeded"] {
        assert!(ended.ok().contains(part), "{ended:#?}");
    }
    let document = machine.run_with(&[&arguments[..], &["--json"]].concat(), REQUEST).json();
    assert_eq!(document["run"]["reply"]["status"], 201);
    assert_eq!(document["log"]["lines"][0]["text"], "application accepted");
    assert_eq!(document["settings"], serde_json::json!({}));
}

#[test]
fn settings_that_it_changes_are_shown_and_the_file_stays() {
    let machine = Machine::with_python();
    machine.run(&["new", "hello", "--kind", "pull"]).ok();
    let settings = std::fs::read_to_string(machine.path("hello/settings.json")).unwrap();
    let arguments = ["run", "hello", "--settings", "hello/settings.json", "--json"];
    let ended = machine.run(&arguments);
    assert_eq!(ended.exit, Some(0), "{ended:#?}");
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    let changed = document["settings"]["LAST_RUN"].as_str().unwrap();
    assert_eq!(document["run"]["value"]["to"], changed);
    assert_eq!(std::fs::read_to_string(machine.path("hello/settings.json")).unwrap(), settings);
}

#[test]
fn what_fails_fails_the_command() {
    let machine = Machine::with_python();
    let ended = machine.run(&["run", &guest("trap"), "--kind", "catch"]);
    assert_eq!(ended.exit, Some(1));
    assert!(
        ended.stdout.contains("trap: ") && ended.stderr.starts_with("error: the run failed"),
        "{ended:#?}"
    );

    std::fs::write(machine.path("bad.py"), "def workflow(_request, settings):\n    x = (\n").unwrap();
    let ended = machine.run(&["run", "bad.py"]);
    assert_eq!((ended.exit, ended.stdout.as_str()), (Some(1), ""), "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("bad.py:2:9: SyntaxError: '(' was never closed\n  2 |     x = (\n    |         ^\n"),
        "{ended:#?}"
    );

    let method = machine
        .run_with(&["run", &guest("echo"), "--kind", "catch", "--request", "-"], r#"{"method": "GET"}"#);
    method.failed(1, "the endpoint would refuse this request");
    machine
        .run_with(&["run", &guest("pull"), "--kind", "pull", "--request", "-"], REQUEST)
        .failed(2, "no request");
    machine.run(&["run", &guest("echo")]).failed(2, "--kind");
    machine.run(&["run", "none"]).failed(1, "does not exist");
    machine
        .run_with(&["run", &guest("echo"), "--request", "-"], "{\"body\": ,}")
        .failed(1, "standard input:1:10");
}

#[test]
fn it_runs_again_when_the_file_changes() {
    let machine = Machine::with_python();
    let write = |text: &str| {
        let source = format!("def workflow(settings):\n    return {{\"text\": \"{text}\"}}\n");
        std::fs::write(machine.path("w.py"), source).unwrap();
    };
    write("first");
    let watching = Going::start(machine.command(&["run", "w.py", "--watch"]));
    watching.line_with("\"text\": \"first\"");
    write("second");
    watching.line_with("\"text\": \"second\"");
}

#[test]
fn what_a_newer_build_left_in_the_cache_is_in_nobodys_way() {
    let machine = Machine::new();
    let cache = machine.path("cache");
    let machine = machine.with("TIDEGATE_CACHE", cache.to_str().unwrap());
    let run = || machine.run(&["run", &guest("rust-catch"), "--kind", "catch"]);
    run().ok();
    let local = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    let local = local.into_iter().find(|path| path.join("FORMAT").exists()).unwrap();
    let format = std::fs::read_to_string(local.join("FORMAT")).unwrap();
    let newer =
        format.replace(&format!("\nformat {}\n", tidegate::store::EmbeddedStore::FORMAT), "\nformat 999\n");
    assert_ne!(newer, format);
    std::fs::write(local.join("FORMAT"), newer).unwrap();
    run().ok();
    let data = local.to_str().unwrap();
    let ended = machine.run(&["serve", "--data", data, "--listen", "127.0.0.1:0"]);
    let said = ended.failed(1, "has format 999, this build reads ");
    assert!(said.contains("\nhint: a newer build wrote it"), "{said}");
}

#[test]
fn two_at_the_same_time_do_not_wait_for_each_other() {
    let machine = Machine::with_python();
    std::fs::write(machine.path("w.py"), "def workflow(settings):\n    return 1\n").unwrap();
    let watching = Going::start(machine.command(&["run", "w.py", "--watch"]));
    watching.line_with("succeeded");
    assert!(machine.run(&["run", &guest("rust-catch"), "--kind", "catch"]).ok().contains("succeeded"));
}

#[test]
fn a_runtime_that_another_command_builds_is_waited_for() {
    let runtime = python::runtime();
    let machine = Machine::new();
    let folder = machine.path("runtimes");
    let machine = machine.with("TIDEGATE_RUNTIMES", folder.to_str().unwrap());
    std::fs::write(machine.path("w.py"), "def workflow(settings):\n    return 1\n").unwrap();
    std::fs::create_dir(machine.path("runtimes")).unwrap();
    let lock = std::fs::File::create(machine.path("runtimes/python.lock")).unwrap();
    lock.lock().unwrap();
    let mut command = machine.command(&["run", "w.py"]);
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert_eq!(said, "waiting for another command that builds the runtime python\n");
    std::fs::write(machine.path("runtimes/python.wasm"), runtime).unwrap();
    lock.unlock().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success() && !said.contains("building"), "{said}");
}
