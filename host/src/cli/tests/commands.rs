//! Commands that look at a workflow or change it.

use super::*;

#[test]
fn list_fits_the_terminal() {
    let mut paused = workflow("sms-on-profile", "catch", Some(12));
    paused["state"] = json!("paused");
    let list = json!({"workflows": [paused, workflow("sync", "pull", None)]});
    let host = FakeHost::answering([Answer::Json(200, list.clone()), Answer::Json(200, list.clone())]);
    let ended = tidegate(&host, "", &["list"]);
    insta::with_settings!({filters => vec![(r"\d+ days", "[n] days")]}, {
        insta::assert_snapshot!(ended.page());
    });
    assert_eq!(tidegate(&host, "", &["list", "--json"]).json(), list);
    assert_eq!(host.lines(), ["GET /api/v1/workflows", "GET /api/v1/workflows"]);
}

#[test]
fn an_empty_list_says_what_to_do() {
    let empty = || Answer::Json(200, json!({"workflows": []}));
    let host = FakeHost::answering([empty(), empty()]);
    let ended = tidegate(&host, "", &["list"]);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("hint: `tidegate new NAME"), "{}", ended.stderr);
    assert_eq!(tidegate(&host, "", &["list", "--json"]).json(), json!({"workflows": []}));
}

#[test]
fn show_prints_what_matters() {
    let mut catch = workflow("sms-on-profile", "catch", Some(12));
    catch["description"] = json!("Sends a text message.\x1b[31m");
    catch["limits"] = json!({"deadline_ms": 60_000, "memory_bytes_max": 67_108_864, "concurrency_max": null});
    let pull = workflow("sync", "pull", None);
    let host = FakeHost::answering([Answer::Json(200, catch), Answer::Json(200, pull)]);
    insta::with_settings!({filters => vec![(r"\d+ days", "[n] days")]}, {
        insta::assert_snapshot!(tidegate(&host, "", &["show", "sms-on-profile"]).page());
        insta::assert_snapshot!(tidegate(&host, "", &["show", "sync"]).page());
    });
}

#[test]
fn an_unknown_workflow_is_one_line() {
    let host = FakeHost::answering([not_found()]);
    insta::assert_snapshot!(tidegate(&host, "", &["show", "none"]).page(), @r"
    exit 1
    --- stdout
    --- stderr
    error: there is no such workflow
    ");
}

#[test]
fn a_component_that_runs_as_it_is_says_why() {
    let mut sync = workflow("sync", "pull", Some(2));
    sync["fusion"] = json!({"modules": 0, "merged": 0, "reason": "it has a resource with a destructor"});
    let host = FakeHost::answering([Answer::Json(200, sync)]);
    let page = tidegate(&host, "", &["show", "sync"]).page();
    let line = page.lines().find(|line| line.trim_start().starts_with("not fused"));
    assert!(line.is_some_and(|line| line.ends_with("  it has a resource with a destructor")), "{page}");
}

#[test]
fn versions_are_listed() {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let list = json!({"versions": [
        {"number": 2, "active": true, "form": "source", "digest": digest, "file": "workflow.py",
         "runtime": "python", "created_at": "2025-06-01T12:00:00Z", "created_by": null, "message": "mend it"},
        {"number": 1, "active": false, "form": "component", "digest": digest,
         "created_at": "2025-06-01T12:00:00Z", "created_by": "ann", "message": ""}]});
    let host = FakeHost::answering([Answer::Json(200, list)]);
    insta::with_settings!({filters => vec![(r"\d+ days", "[n] days")]}, {
        insta::assert_snapshot!(tidegate(&host, "", &["versions", "sync"]).page());
    });
}

#[test]
fn rollback_pause_resume_and_archive_ask_the_host() {
    let mut paused = workflow("sync", "catch", Some(2));
    paused["state"] = json!("paused");
    let host = FakeHost::answering([
        Answer::Json(200, workflow("sync", "catch", Some(2))),
        Answer::Json(200, paused),
        Answer::Json(200, workflow("sync", "pull", Some(2))),
        Answer::Bytes(204, "application/json", Vec::new()),
    ]);
    let said: Vec<String> = [
        vec!["rollback", "sync", "2"],
        vec!["pause", "sync"],
        vec!["resume", "sync"],
        vec!["archive", "sync", "--yes"],
    ]
    .iter()
    .map(|arguments| tidegate(&host, "", arguments).page().lines().last().unwrap().to_owned())
    .collect();
    assert_eq!(said[0], "sync runs version 2 now");
    assert_eq!(said[1], "sync is paused: requests get 503");
    assert!(said[2].starts_with("sync is due next at 2125-06-01 14:00:00 +02:00 (in "), "{}", said[2]);
    assert_eq!(said[3], "sync is archived");
    let received = host.received();
    assert_eq!(received[0].line, "POST /api/v1/workflows/sync/activate");
    assert_eq!(received[0].json(), json!({"version": 2}));
    assert_eq!(received[1].json(), json!({"state": "paused", "rotate_url": false}));
    assert_eq!(received[2].json()["state"], "active");
    assert_eq!(received[3].line, "DELETE /api/v1/workflows/sync");
}

#[test]
fn settings_are_set_from_standard_input_and_never_shown() {
    let done = || Answer::Json(200, json!({"settings": [], "revision": 2}));
    let there = json!({"name": "A", "visibility": "secret", "updated_at": "2025-06-01T12:00:00Z",
        "updated_by": {"user": null}});
    let listed = Answer::Json(200, json!({"settings": [there], "revision": 2}));
    let host = FakeHost::answering([done(), done(), done(), listed, done()]);
    let ended = tidegate(&host, "s3cret\n", &["settings", "set", "sync", "API_KEY"]);
    assert_eq!((ended.exit, ended.stderr.as_str()), (0, "set API_KEY\n"));
    let ended = tidegate(&host, "", &["settings", "set", "sync", "A=1=2", "B="]);
    assert!(
        ended.stderr.starts_with("warning: values given as NAME=VALUE stay in the shell's history\nhint:")
    );
    let ended =
        tidegate(&host, "[1, true]", &["settings", "set", "sync", "L", "--json-value", "--plain", "--json"]);
    ended.json();
    let ended = tidegate(&host, "", &["settings", "unset", "sync", "A", "B"]);
    assert_eq!(ended.stderr, "warning: B was not set\nremoved A\n");
    let mut received = host.received();
    assert_eq!(received.remove(3).line, "GET /api/v1/workflows/sync/settings");
    assert_eq!(received[0].line, "PATCH /api/v1/workflows/sync/settings");
    let bodies: Vec<Value> = received.iter().map(|received| received.json()).collect();
    assert_eq!(
        bodies,
        [
            json!({"API_KEY": "s3cret"}),
            json!({"A": "1=2", "B": ""}),
            json!({"L": [1, true]}),
            json!({"A": null, "B": null})
        ]
    );
    assert_eq!(received[2].line, "PATCH /api/v1/workflows/sync/settings?visibility=plain");
}

#[test]
fn settings_that_make_no_sense_are_refused_without_being_shown() {
    let host = FakeHost::answering([]);
    for (arguments, stdin, part) in [
        (vec!["A", "B"], "x", "one setting only"),
        (vec!["=x"], "", "needs a name"),
        (vec!["A=1", "A=2"], "", "A is given twice"),
        (vec!["A", "--json-value"], "s3cret", "is not JSON (line 1, column 1)"),
        (vec!["A=null", "--json-value"], "", "null"),
        (vec!["A", "--sealed", "https://a.example"], "s3cret", "give the host alone"),
        (vec!["A", "--sealed", "a.example", "--plain"], "s3cret", "cannot be used with"),
        (vec!["A", "--place", "query"], "s3cret", "--sealed"),
        (vec!["A=s3cret", "--sealed", "a.example", "--keep-value"], "", "keeps the present one"),
    ] {
        let arguments: Vec<&str> = ["settings", "set", "sync"].into_iter().chain(arguments).collect();
        let ended = tidegate(&host, stdin, &arguments);
        assert_eq!(ended.exit, 2, "{arguments:?}");
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
        assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
    }
}

#[test]
fn settings_are_sealed_one_by_one_with_their_value_or_without() {
    let done = || Answer::Json(200, json!({"settings": [], "revision": 2}));
    let host = FakeHost::answering([done(), done()]);
    let seal = ["--sealed", "API.company.com", "--sealed", "b.example:8443"];
    let more = ["--place", "bearer", "--place", "query", "--allow-http"];
    let arguments = [&["settings", "set", "sync", "API KEY/1"][..], &seal, &more].concat();
    let ended = tidegate(&host, "s3cret-value\n", &arguments);
    assert_eq!((ended.exit, ended.stderr.as_str()), (0, "sealed API KEY/1\n"));
    let arguments = [&["settings", "set", "sync", "OLD", "--keep-value"][..], &seal[..2]].concat();
    assert_eq!(tidegate(&host, "", &arguments).exit, 0);
    let received = host.received();
    assert_eq!(received[0].line, "PUT /api/v1/workflows/sync/settings/API%20KEY%2F1");
    let hosts = json!(["api.company.com", "b.example:8443"]);
    let seal = json!({"hosts": hosts, "places": ["bearer", "query"], "allow_http": true});
    assert_eq!(received[0].json(), json!({"value": "s3cret-value", "visibility": "sealed", "seal": seal}));
    assert_eq!(received[1].line, "PUT /api/v1/workflows/sync/settings/OLD");
    let everywhere = ["header", "bearer", "basic", "query", "json", "form", "multipart"];
    let seal = json!({"hosts": ["api.company.com"], "places": everywhere, "allow_http": false});
    assert_eq!(received[1].json(), json!({"visibility": "sealed", "seal": seal}));
}

#[test]
fn settings_list_shows_only_what_is_plain() {
    let list = json!({"revision": 3, "settings": [
        {"name": "API_KEY", "visibility": "secret", "updated_at": "2025-06-01T12:00:00Z", "updated_by": {"user": null}},
        {"name": "BOUND", "visibility": "sealed", "updated_at": "2025-06-01T12:00:00Z", "updated_by": {"user": null},
         "seal": {"hosts": ["api.company.com", "eu.company.com:8443"], "places": ["bearer"], "allow_http": false}},
        {"name": "LAST_UID", "visibility": "plain", "value": 7, "updated_at": "2025-06-01T12:00:00Z",
         "updated_by": {"run": RUN_ID}}]});
    let host = FakeHost::answering([Answer::Json(200, list)]);
    insta::with_settings!({filters => vec![(r"\d+ days", "[n] days")]}, {
        insta::assert_snapshot!(tidegate(&host, "", &["settings", "list", "sync"]).page());
    });
}

#[test]
fn login_keeps_a_token_that_works_and_logout_forgets_it() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile.toml");
    let env = || Environment { profile: Some(profile.clone()), ..Environment::default() };
    let list = || Answer::Json(200, json!({"workflows": []}));
    let host = FakeHost::answering([refusal(401, "unauthorized", "no"), list(), list()]);
    let login = ["login", &host.url, "--token", "-"];
    assert_eq!(tidegate_in(env(), "wrong\n", &login).exit, 1);
    assert!(!profile.exists());
    assert_eq!(tidegate_in(env(), "t0k\n", &login).exit, 0);
    tidegate_in(env(), "", &["list", "--json"]).json();
    assert_eq!(host.received()[2].headers["authorization"], "Bearer t0k");
    assert_eq!(tidegate_in(env(), "", &["logout"]).stderr, "logged out\n");
    assert!(!profile.exists());
    assert_eq!(tidegate_in(env(), "", &["logout"]).stderr, "there was no profile\n");
    assert_eq!(tidegate_in(env(), "", &login).exit, 2, "an empty token");
}
