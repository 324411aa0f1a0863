//! `deploy` and `build`.

use std::path::PathBuf;

use super::*;

const CATCH: &str = "def workflow(_request, settings):\n    return None\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        path.to_str().unwrap().to_owned()
    }
}

fn deployed(kind: &str, version: u32) -> Answer {
    let (url, next_due) = match kind {
        "catch" => (json!("http://127.0.0.1:7/catch/k3y"), Value::Null),
        _ => (Value::Null, json!("2125-06-01T12:00:00Z")),
    };
    let body = json!({"name": "sync", "kind": kind, "version": version, "url": url, "next_due": next_due,
        "deploy_ms": 214});
    Answer::Json(201, body)
}

#[test]
fn a_new_python_file_is_created_and_uploaded_with_the_kind_of_its_parameters() {
    let folder = Folder::new(&[("my_sync.py", CATCH)]);
    let host = FakeHost::answering([
        not_found(),
        Answer::Json(201, workflow("my-sync", "catch", None)),
        deployed("catch", 1),
    ]);
    let ended = tidegate(&host, "", &["deploy", &folder.path("my_sync.py"), "--message", "first & best"]);
    assert_eq!(ended.stdout, "http://127.0.0.1:7/catch/k3y\n");
    assert_eq!(ended.stderr, "deployed sync, a catch, version 1, in 214 ms\n");
    let received = host.received();
    assert_eq!(
        host.lines(),
        [
            "GET /api/v1/workflows/my-sync",
            "POST /api/v1/workflows",
            "POST /api/v1/workflows/my-sync/versions?file=my_sync.py&message=first%20%26%20best"
        ]
    );
    assert_eq!(
        (&received[1].json()["name"], &received[1].json()["kind"]),
        (&json!("my-sync"), &json!("catch"))
    );
    assert_eq!(received[2].headers["content-type"], "text/x-python");
    assert_eq!(received[2].body, CATCH.as_bytes());
}

#[test]
fn json_has_what_scripts_rely_on() {
    let folder = Folder::new(&[("sync.py", CATCH)]);
    let host =
        FakeHost::answering([Answer::Json(200, workflow("sync", "catch", Some(1))), deployed("catch", 2)]);
    let document = tidegate(&host, "", &["deploy", &folder.path("sync.py"), "--json"]).json();
    assert_eq!(
        document,
        json!({"name": "sync", "kind": "catch", "version": 2, "url": "http://127.0.0.1:7/catch/k3y",
            "next_due": null, "deploy_ms": 214, "created": false})
    );
}

#[test]
fn a_project_folder_brings_schedule_limits_and_settings() {
    let toml = "name = 'sync'\nkind = 'pull'\nlang = 'python'\ndescription = 'Syncs.'\n\
        [[schedule]]\nevery = '90m'\n[limits]\ndeadline_ms = 1000\n";
    let folder = Folder::new(&[("workflow.toml", toml), ("workflow.py", "def workflow(settings): ...")]);
    let host = FakeHost::answering([
        not_found(),
        Answer::Json(201, workflow("sync", "pull", None)),
        Answer::Json(200, json!({})),
        deployed("pull", 1),
    ]);
    let ended = tidegate(&host, "", &["deploy", &folder.path(""), "--set", "A=b"]);
    assert!(ended.stdout.starts_with("next due 2125-06-01 14:00:00 +02:00 (in "), "{}", ended.page());
    let received = host.received();
    let created = received[1].json();
    assert_eq!(created["schedules"], json!([{"every": "90m"}]));
    assert_eq!(
        (&created["limits"]["deadline_ms"], &created["description"]),
        (&json!(1000), &json!("Syncs."))
    );
    assert_eq!(received[2].line, "PATCH /api/v1/workflows/sync/settings");
    assert_eq!(received[2].json(), json!({"A": "b"}));
    assert!(received[3].line.contains("/versions?file=workflow.py"), "settings come before the code");
}

#[test]
fn only_what_differs_is_changed() {
    let folder = Folder::new(&[("sync.py", "def workflow(settings): ...")]);
    let there = || Answer::Json(200, workflow("sync", "pull", Some(1)));
    let checked = Answer::Json(200, json!({"name": "sync", "kind": "pull", "check_ms": 1}));
    let host =
        FakeHost::answering([there(), deployed("pull", 2), there(), checked, there(), deployed("pull", 3)]);
    let path = folder.path("sync.py");
    tidegate(&host, "", &["deploy", &path, "--every", "90m"]);
    tidegate(&host, "", &["deploy", &path, "--cron", "0 3 * * *", "--timezone", "Europe/Paris"]);
    let received = host.received();
    assert!(received[1].line.starts_with("POST /api/v1/workflows/sync/versions"));
    assert_eq!(
        received[3].line, "POST /api/v1/workflows/sync/versions?file=sync.py&check=true",
        "nothing is changed for a program that is refused"
    );
    assert_eq!(received[4].line, "PATCH /api/v1/workflows/sync");
    let schedules = json!([{"cron": "0 3 * * *", "timezone": "Europe/Paris"}]);
    assert_eq!(received[4].json(), json!({"schedules": schedules, "rotate_url": false}));
}

#[test]
fn a_refused_program_shows_where_and_leaves_nothing_behind() {
    let folder = Folder::new(&[("sync.py", "def workflow(settings):\n    x = (\n")]);
    let refused = json!({"code": "program", "message": "sync.py cannot be deployed", "request_id": "r",
        "diagnostics": [{"file": "sync.py", "line": 2, "column": 9, "message": "SyntaxError: '(' was never closed",
            "text": "    x = ("}]});
    let host = FakeHost::answering([
        not_found(),
        Answer::Json(201, workflow("sync", "pull", None)),
        Answer::Json(422, refused.clone()),
        Answer::Bytes(204, "text/plain", Vec::new()),
        Answer::Json(200, workflow("sync", "pull", Some(1))),
        Answer::Json(422, refused),
    ]);
    let ended = tidegate(&host, "", &["deploy", &folder.path("sync.py")]);
    insta::assert_snapshot!(ended.page(), @r"
    exit 1
    --- stdout
    --- stderr
    error: sync.py cannot be deployed
    sync.py:2:9: SyntaxError: '(' was never closed
      2 |     x = (
        |         ^
    ");
    assert_eq!(host.lines()[3], "DELETE /api/v1/workflows/sync");
    tidegate(&host, "", &["deploy", &folder.path("sync.py")]);
    assert_eq!(host.lines().len(), 6, "a workflow that was there stays");
}

#[test]
fn a_fault_of_the_host_deletes_nothing() {
    let folder = Folder::new(&[("sync.py", CATCH)]);
    let host = FakeHost::answering([
        not_found(),
        Answer::Json(201, workflow("sync", "catch", None)),
        refusal(503, "overload", "the host is busy"),
    ]);
    let ended = tidegate(&host, "", &["deploy", &folder.path("sync.py")]);
    assert_eq!((ended.exit, host.lines().len()), (1, 3));
    assert!(ended.stderr.contains("hint: sync exists now, perhaps without a version"), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_deployed_says_why_before_anything_is_changed() {
    let folder = Folder::new(&[
        ("any.py", "def workflow(*args): ...\n"),
        ("9_.py", CATCH),
        ("été.py", CATCH),
        ("a.txt", ""),
        ("a.wasm", "\0asm"),
        ("sync.py", CATCH),
    ]);
    for (arguments, answers, exit, part) in [
        (vec!["any.py"], vec![not_found()], 2, "--kind catch"),
        (vec!["été.py"], vec![], 1, "--name gives it one"),
        (vec!["a.txt"], vec![], 1, "is neither a folder nor a .py or .wasm file"),
        (vec!["none.py"], vec![], 1, "No such file"),
        (vec!["none"], vec![], 1, "does not exist"),
        (vec!["sync.py", "--every", "1m"], vec![], 2, "a catch has no schedule"),
        (vec!["a.wasm", "--runtime", "python"], vec![], 2, "a component brings its own runtime"),
        (vec!["sync.py", "--set", "A"], vec![], 2, "is not of the form NAME=VALUE"),
        (
            vec!["sync.py"],
            vec![Answer::Json(200, workflow("sync", "pull", None))],
            1,
            "sync is a pull, and this is a catch",
        ),
    ] {
        let host = FakeHost::answering(answers);
        let path = folder.path(arguments[0]);
        let arguments: Vec<&str> =
            ["deploy", &path].into_iter().chain(arguments[1..].iter().copied()).collect();
        let ended = tidegate(&host, "", &arguments);
        assert_eq!(ended.exit, exit, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{arguments:?}: {}", ended.stderr);
        assert!(host.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", host.lines());
    }
}

#[test]
fn a_pull_without_a_schedule_is_warned_of() {
    let folder = Folder::new(&[("sync.py", "def workflow(settings): ...")]);
    let mut bare = workflow("sync", "pull", None);
    bare["schedules"] = json!([]);
    let never =
        json!({"name": "sync", "kind": "pull", "version": 1, "url": null, "next_due": null, "deploy_ms": 3});
    let host = FakeHost::answering([not_found(), Answer::Json(201, bare), Answer::Json(201, never)]);
    let ended = tidegate(&host, "", &["deploy", &folder.path("sync.py")]);
    insta::assert_snapshot!(ended.page(), @r#"
    exit 0
    --- stdout
    --- stderr
    deployed sync, a pull, version 1, in 3 ms
    warning: it has no schedule, so it will never run
    hint: deploy it again with --every 90m or --cron "0 3 * * *"
    "#);
}

/// A pull whose runs may overlap, and are made up for.
fn allowing() -> Value {
    let mut pull = workflow("sync", "pull", Some(1));
    let policy = json!({"overlap": "allow", "missed": "all", "missed_max": 3});
    pull["schedules"][0].as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
    pull
}

#[test]
fn a_deploy_brings_the_policy_of_its_schedule() {
    let folder = Folder::new(&[("sync.py", "def workflow(settings): ...")]);
    let host = FakeHost::answering([Answer::Json(200, allowing()), Answer::Json(200, allowing())]);
    let path = folder.path("sync.py");
    // What the host has already is not sent again.
    tidegate(&host, "", &["deploy", &path, "--every", "90m", "--overlap", "allow", "--missed-max", "3"]);
    assert!(host.lines()[1].starts_with("POST "), "{:?}", host.lines());
    let checked = Answer::Json(200, json!({"name": "sync", "kind": "pull", "check_ms": 1}));
    let host = FakeHost::answering([Answer::Json(200, allowing()), checked, Answer::Json(200, allowing())]);
    tidegate(&host, "", &["deploy", &path, "--every", "90m", "--start-deadline", "5m"]);
    assert!(host.lines()[1].ends_with("&check=true"), "{:?}", host.lines());
    assert_eq!(host.received()[2].json()["schedules"], json!([{"every": "90m", "start_deadline": "5m"}]));
    let host = FakeHost::answering([]);
    let ended = tidegate(&host, "", &["deploy", &path, "--jitter", "1s"]);
    assert_eq!(ended.exit, 2);
    assert!(ended.stderr.contains("`tidegate schedule set sync` changes one"), "{}", ended.stderr);
}
