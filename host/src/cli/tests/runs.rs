//! Commands that look at runs or make one.

use super::*;

#[test]
fn runs_are_listed_with_their_faults() {
    let other = "06g1p3s8000000000000000008";
    let list = json!({"runs": [
        run_view(other, "succeeded", None),
        run_view(RUN_ID, "failed", Some(("exception", "KeyError: 'profile'")))], "next": null});
    let host = FakeHost::answering([Answer::Json(200, list)]);
    let ended = tidegate(&host, "", &["runs", "sync"]);
    insta::with_settings!({filters => vec![(r"(2025-)?06-01 14:00(:00)?", "[time]")]}, {
        insta::assert_snapshot!(ended.page());
    });
}

#[test]
fn runs_go_on_page_by_page_up_to_the_limit() {
    let id = |n: usize| format!("06g1p3s80000000000000{n:05}");
    let page = |from: usize, count: usize, next: Option<&str>| {
        let runs: Vec<Value> = (from..from + count).map(|n| run_view(&id(n), "succeeded", None)).collect();
        Answer::Json(200, json!({"runs": runs, "next": next}))
    };
    let host = FakeHost::answering([page(0, 100, Some("c1")), page(100, 50, Some("c2"))]);
    let arguments = [
        "runs",
        "sync",
        "--limit",
        "150",
        "--status",
        "succeeded",
        "--since",
        "2025-01-01T00:00:00Z",
        "--json",
    ];
    let document = tidegate(&host, "", &arguments).json();
    assert_eq!((document["runs"].as_array().unwrap().len(), &document["next"]), (150, &json!("c2")));
    assert_eq!(
        host.lines(),
        [
            "GET /api/v1/workflows/sync/runs?status=succeeded&since=2025-01-01T00%3A00%3A00Z&limit=100",
            "GET /api/v1/workflows/sync/runs?status=succeeded&since=2025-01-01T00%3A00%3A00Z&limit=50&cursor=c1"
        ]
    );
}

#[test]
fn a_listing_ends_when_a_page_brings_nothing() {
    let empty = json!({"runs": [], "next": "06g1p3s8000000000000000008"});
    let host = FakeHost::answering([Answer::Json(200, empty)]);
    assert_eq!(tidegate(&host, "", &["runs", "sync"]).stderr, "there are no runs yet\n");
}

#[test]
fn runs_of_all_workflows_say_whose_they_are() {
    let mut other =
        run_view("06g1p3s8000000000000000008", "failed", Some(("exception", "KeyError: 'profile'")));
    other["workflow"] = json!("a-workflow-with-a-name-that-is-rather-long");
    let list = json!({"runs": [other, run_view(RUN_ID, "succeeded", None)], "next": null});
    let host = FakeHost::answering([Answer::Json(200, list)]);
    let ended = tidegate(&host, "", &["runs", "--status", "failed"]);
    insta::with_settings!({filters => vec![(r"(2025-)?06-01 14:00(:00)?", "[time]")]}, {
        insta::assert_snapshot!(ended.page());
    });
    assert_eq!(host.lines(), ["GET /api/v1/runs?status=failed&limit=20"]);
}

#[test]
fn show_run_is_a_readable_page() {
    let detail = run_detail("failed", Some(("exception", "KeyError: 'profile'")));
    let answers = || [Answer::Json(200, detail.clone()), Answer::Json(200, run_log())];
    let host = FakeHost::answering(answers().into_iter().chain(answers()));
    insta::assert_snapshot!(tidegate(&host, "", &["show-run", RUN_ID]).page());
    let document = tidegate(&host, "", &["show-run", RUN_ID, "--json"]).json();
    assert_eq!(document["id"], RUN_ID);
    assert_eq!(document["log_lines"], run_log()["lines"]);
}

#[test]
fn show_run_says_what_became_of_the_callback() {
    let at = "2025-06-01T14:00:09Z";
    let error = json!("it answered 500");
    let views = [
        json!({"state": "waiting", "tries": 0, "tried_at": null, "next_at": null, "error": null}),
        json!({"state": "pending", "tries": 1, "tried_at": at, "next_at": at, "error": error}),
        json!({"state": "told", "tries": 2, "tried_at": at, "next_at": null, "error": null}),
        json!({"state": "gone", "tries": 1, "tried_at": at, "next_at": null, "error": null}),
        json!({"state": "given-up", "tries": 8, "tried_at": at, "next_at": null, "error": error}),
    ];
    let mut shown = Vec::new();
    for view in views {
        let mut detail = run_detail("succeeded", None);
        detail["callback"] = view;
        let host = FakeHost::answering([Answer::Json(200, detail), Answer::Json(200, run_log())]);
        let page = tidegate(&host, "", &["show-run", RUN_ID]).page();
        let told = page.lines().filter(|line| line.contains("callback") || line.contains("not told"));
        shown.extend(told.map(|line| line.trim().to_owned()));
    }
    let expected = [
        "callback  told when the last attempt has ended",
        "callback  1 try so far, the next one at 2025-06-01 16:00:09 +02:00",
        "not told  it answered 500",
        "callback  told at 2025-06-01 16:00:09 +02:00, 2 tries",
        "callback  not wanted (410) at 2025-06-01 16:00:09 +02:00",
        "callback  given up after 8 tries, the last one at 2025-06-01 16:00:09 +02:00",
        "not told  it answered 500",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn invoke_sends_the_request_and_fails_when_the_run_does() {
    let host = FakeHost::answering([
        Answer::Json(200, run_detail("succeeded", None)),
        Answer::Json(200, run_log()),
        Answer::Json(200, run_detail("failed", Some(("exception", "KeyError: 'profile'")))),
    ]);
    let request = r#"{"body": {"a": 1}}"#;
    let ended = tidegate(&host, request, &["invoke", "sync", "--request", "-"]);
    assert_eq!((ended.exit, ended.stderr.as_str()), (0, ""));
    assert_eq!(host.received()[0].json(), json!({"body": {"a": 1}}));
    let ended = tidegate(&host, "", &["invoke", "sync", "--json"]);
    assert_eq!(ended.exit, 1);
    assert_eq!(ended.stderr, "error: the run failed: KeyError: 'profile'\n");
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap()["status"], "failed");
    assert_eq!(host.received()[2].json(), json!({}));
}

#[test]
fn logs_are_printed_oldest_first() {
    let other = "06g1p3s8000000000000000008";
    let list = || {
        let runs = [
            run_view("06g1p3s800000000000000000c", "running", None),
            run_view(other, "failed", Some(("trap", "unreachable"))),
            run_view(RUN_ID, "succeeded", None),
        ];
        Answer::Json(200, json!({"runs": runs, "next": null}))
    };
    let log = || Answer::Json(200, run_log());
    let host = FakeHost::answering([list(), log(), log(), list(), log(), log(), log()]);
    insta::assert_snapshot!(tidegate(&host, "", &["logs", "sync"]).page());
    let document = tidegate(&host, "", &["logs", "sync", "--json"]).json();
    assert_eq!(document["runs"][0]["id"], RUN_ID);
    assert_eq!(document["runs"][0]["log"], run_log());
}

#[test]
fn following_prints_each_run_of_the_workflow_once_and_ends_when_the_host_refuses() {
    let third = "06g1p3s800000000000000000c";
    let mut foreign = run_view("06g1p3s800000000000000000g", "succeeded", None);
    foreign["workflow"] = json!("other");
    let event = |run: &Value| format!("event: run\ndata: {run}\n\n");
    let stream = [
        event(&run_view(third, "running", None)),
        event(&foreign),
        event(&run_view(RUN_ID, "succeeded", None)),
        event(&run_view(third, "succeeded", None)),
        event(&run_view(third, "succeeded", None)),
    ];
    let recent = json!({"runs": [run_view(RUN_ID, "succeeded", None)], "next": null});
    let host = FakeHost::answering([
        Answer::Bytes(200, "text/event-stream", stream.concat().into_bytes()),
        Answer::Json(200, recent),
        Answer::Json(200, run_log()),
        Answer::Json(200, run_log()),
        refusal(401, "unauthorized", "the token was revoked"),
    ]);
    let ended = tidegate(&host, "", &["logs", "sync", "--follow"]);
    assert_eq!(ended.exit, 1);
    assert_eq!(ended.stdout.matches(RUN_ID).count(), 1, "{}", ended.stdout);
    assert_eq!(ended.stdout.matches(third).count(), 1, "{}", ended.stdout);
    assert!(ended.stderr.contains("the host closed the event stream; connecting again"), "{}", ended.stderr);
    assert!(ended.stderr.contains("the token was revoked"), "{}", ended.stderr);
}

#[test]
fn who_follows_too_slowly_is_told_that_runs_are_left_out() {
    let runs: Vec<Value> = (0..100)
        .map(|n| {
            let mut run = run_view(&format!("06g1p3s8000000000000{n:05}0"), "running", None);
            (run["accepted_at"], run["finished_at"]) = (json!("2999-01-01T00:00:00Z"), Value::Null);
            run
        })
        .collect();
    let host = FakeHost::answering([
        Answer::Bytes(200, "text/event-stream", b"event: lost\ndata: {\"lost\":300}\n\n".to_vec()),
        Answer::Json(200, json!({"runs": [], "next": null})),
        Answer::Json(200, json!({"runs": runs, "next": null})),
        refusal(401, "unauthorized", "the token was revoked"),
    ]);
    let ended = tidegate(&host, "", &["logs", "sync", "--follow"]);
    assert!(ended.stderr.contains("some are left out here"), "{}", ended.stderr);
    assert!(ended.stderr.contains("`tidegate runs sync` has all of them"), "{}", ended.stderr);
}
