//! Commands that look at the queue.

use super::*;

const OTHER_ID: &str = "06g1p3s8000000000000000008";

fn letter(event: &str, workflow: &str, attempts: u32) -> Value {
    json!({"event": event, "run": RUN_ID, "workflow": workflow, "trigger": "catch", "attempts": attempts,
        "status": "failed", "fault": "exception", "accepted_at": "2025-06-01T12:00:00Z",
        "died_at": "2025-06-01T12:00:09Z"})
}

#[test]
fn dead_letters_are_listed_and_driven_again() {
    let list = json!({"dead": [letter(RUN_ID, "sync", 3), letter(OTHER_ID, "a-workflow-with-a-long-name", 1)],
        "next": null});
    let host = FakeHost::answering([
        Answer::Json(200, list.clone()),
        Answer::Json(200, json!({"dead": [], "next": null})),
        Answer::Json(200, json!({"events": [RUN_ID]})),
        Answer::Json(200, json!({"events": [RUN_ID, OTHER_ID]})),
        Answer::Json(200, list),
    ]);
    let ended = tidegate(&host, "", &["dead", "list"]);
    insta::with_settings!({filters => vec![(r"(2025-)?06-01 14:00(:09)?", "[time]")]}, {
        insta::assert_snapshot!(ended.page());
    });
    let ended = tidegate(&host, "", &["dead", "list", "--workflow", "sync", "--limit", "3"]);
    assert_eq!(ended.stderr, "there are no dead letters\n");
    let ended = tidegate(&host, "", &["dead", "redrive", RUN_ID, OTHER_ID]);
    let hint = "hint: `tidegate dead list` shows those that are; the first column names them\n";
    let error = format!("error: {OTHER_ID} is no dead letter\n{hint}");
    assert_eq!((ended.exit, ended.stderr), (1, format!("1 event waits for another attempt\n{error}")));
    let ended = tidegate(&host, "", &["dead", "redrive", "--all"]);
    assert_eq!((ended.exit, ended.stderr.as_str()), (0, "2 events wait for another attempt\n"));
    assert_eq!(tidegate(&host, "", &["dead", "list", "--json"]).json()["dead"][0]["event"], RUN_ID);
    assert_eq!(
        host.lines()[..4],
        [
            "GET /api/v1/dead?limit=20",
            "GET /api/v1/dead?workflow=sync&limit=3",
            "POST /api/v1/dead/redrive",
            "POST /api/v1/dead/redrive"
        ]
    );
    assert_eq!(host.received()[2].json(), json!({"events": [RUN_ID, OTHER_ID], "all": false}));
    assert_eq!(host.received()[3].json(), json!({"all": true}));
}

#[test]
fn who_names_events_that_are_no_dead_letters_is_told_and_a_filter_may_match_none() {
    let none = || Answer::Json(200, json!({"events": []}));
    let host = FakeHost::answering([none(), none(), none()]);
    let ended = tidegate(&host, "", &["dead", "redrive", RUN_ID, OTHER_ID]);
    assert_eq!(ended.exit, 1);
    for part in ["error: 2 of the events are no dead letters\n", RUN_ID, OTHER_ID] {
        assert!(ended.stderr.contains(part), "{part} in {}", ended.stderr);
    }
    let ended = tidegate(&host, "", &["dead", "redrive", RUN_ID, "--json"]);
    assert_eq!((ended.exit, ended.stdout.contains("\"events\"")), (1, true));
    let ended = tidegate(&host, "", &["dead", "redrive", "--workflow", "sync"]);
    assert_eq!((ended.exit, ended.stderr.as_str()), (0, "there are no dead letters to drive again\n"));
}

#[test]
fn cancel_says_how_the_run_ended() {
    let host = FakeHost::answering([
        Answer::Json(200, run_detail("cancelled", Some(("exception", "x")))),
        Answer::Json(200, run_detail("succeeded", None)),
        refusal(409, "ended", "the run has ended already"),
    ]);
    let ended = tidegate(&host, "", &["cancel", RUN_ID]);
    assert_eq!((ended.exit, ended.stderr), (0, format!("{RUN_ID} is cancelled\n")));
    let ended = tidegate(&host, "", &["cancel", RUN_ID]);
    assert_eq!(ended.stderr, format!("{RUN_ID} had succeeded before it could be cancelled\n"));
    let ended = tidegate(&host, "", &["cancel", RUN_ID]);
    assert_eq!((ended.exit, ended.stderr.as_str()), (1, "error: the run has ended already\n"));
    assert_eq!(host.lines()[0], format!("POST /api/v1/runs/{RUN_ID}/cancel"));
}

#[test]
fn many_runs_are_replayed_by_filter_and_one_on_a_version() {
    let replayed = json!({"queued": [{"run": OTHER_ID, "replay_of": RUN_ID}],
        "skipped": [{"run": OTHER_ID, "reason": "its record holds a part of the body only"}], "next": RUN_ID});
    let host = FakeHost::answering([
        Answer::Json(202, replayed),
        Answer::Json(202, json!({"queued": [], "skipped": [], "next": null})),
        Answer::Json(200, run_detail("succeeded", None)),
        Answer::Json(200, run_log()),
    ]);
    let arguments = [
        "replay",
        "--workflow",
        "sync",
        "--status",
        "failed",
        "--since",
        "2025-06-01T00:00:00Z",
        "--until",
        "2025-06-02T00:00:00Z",
        "--trigger",
        "catch",
        "--text",
        "time-out",
        "--limit",
        "5",
    ];
    insta::assert_snapshot!(tidegate(&host, "", &arguments).page());
    let sent = host.received()[0].json();
    assert_eq!((&sent["statuses"], &sent["limit"]), (&json!(["failed"]), &json!(5)));
    assert_eq!((&sent["trigger"], &sent["text"]), (&json!("catch"), &json!("time-out")));
    assert_eq!(sent["since"], "2025-06-01T00:00:00Z");
    assert_eq!(sent["until"], "2025-06-02T00:00:00Z");
    assert_eq!(tidegate(&host, "", &["replay", "--workflow", "sync"]).stderr, "no run matches\n");
    assert_eq!(tidegate(&host, "", &["replay", RUN_ID, "--version", "2"]).exit, 0);
    assert_eq!(host.lines()[2], format!("POST /api/v1/runs/{RUN_ID}/replay?version=2"));
}
