//! `schedule` and what `show` and `list` say of schedules.

use super::*;

fn overrunning() -> Value {
    let mut pull = workflow("sync", "pull", Some(1));
    pull["schedules"][0]["overlap"] = json!("allow");
    pull["schedules"][0]["missed"] = json!("all");
    pull["schedules"][0]["missed_max"] = json!(3);
    pull["schedules"][0]["overrun"] =
        json!({"due": "2025-06-01T12:00:00Z", "took_ms": 7_200_000.0, "distance_ms": 5_400_000.0});
    pull
}

#[test]
fn a_policy_and_runs_that_outlast_a_schedule_are_shown() {
    let list = json!({"workflows": [overrunning()]});
    let host = FakeHost::answering([Answer::Json(200, overrunning()), Answer::Json(200, list)]);
    insta::with_settings!({filters => vec![(r"\d+ days", "[n] days")]}, {
        insta::assert_snapshot!(tidegate(&host, "", &["show", "sync"]).page());
        insta::assert_snapshot!(tidegate(&host, "", &["list"]).page());
    });
}

fn tick(second: u32, state: &str, late_ms: f64) -> Value {
    json!({"schedule": "default", "due": format!("2025-06-01T12:00:{second:02}Z"), "state": state,
        "run": RUN_ID, "lateness_ms": late_ms, "new": second})
}

#[test]
fn the_ledger_is_read_in_pages_and_keeps_what_it_does_not_know() {
    let pages = || {
        [
            Answer::Json(
                200,
                json!({"ticks": [tick(9, "ran", 1.25), tick(8, "missed", 61_000.0)], "next": "a~b"}),
            ),
            Answer::Json(200, json!({"ticks": [], "next": "c~d"})),
            Answer::Json(200, json!({"ticks": [tick(7, "skipped-running", 0.0)], "next": null})),
        ]
    };
    let host = FakeHost::answering(pages().into_iter().chain(pages()));
    insta::with_settings!({filters => vec![(r"2025-06-01 14:\d\d\+02", "[time]")]}, {
        insta::assert_snapshot!(tidegate(&host, "", &["schedule", "ledger", "sync"]).page());
    });
    let flags =
        ["schedule", "ledger", "sync", "--state", "ran", "--state", "missed", "--schedule", "s", "--json"];
    let document = tidegate(&host, "", &flags).json();
    assert_eq!((&document["ticks"][2]["new"], &document["next"]), (&json!(7), &Value::Null));
    let lines = host.lines();
    assert_eq!(lines[0], "GET /api/v1/workflows/sync/ticks?limit=20");
    assert_eq!(lines[1], "GET /api/v1/workflows/sync/ticks?limit=18&cursor=a~b");
    assert_eq!(lines[3], "GET /api/v1/workflows/sync/ticks?schedule=s&state=ran%2Cmissed&limit=20");
}

#[test]
fn a_rule_is_previewed_without_a_host() {
    let host = FakeHost::answering([]);
    let paris = ["schedule", "next", "--cron", "30 2 * * *", "--timezone", "Europe/Paris", "-n", "3"];
    let spring = [&paris[..], &["--after", "2024-03-30T00:00:00Z"]].concat();
    insta::with_settings!({filters => vec![(r"\d+ days", "[n] days")]}, {
        insta::assert_snapshot!(tidegate(&host, "", &spring).page());
    });
    let json = tidegate(&host, "", &[&spring[..], &["--json"]].concat()).json();
    assert_eq!(json["upcoming"][1]["local"], "2024-03-31T03:00:00+02:00");
    assert_eq!(json["upcoming"][1]["change"]["kind"], "moved");
    for (arguments, exit, part) in [
        (vec!["--cron", "61 * * * *"], 1, "the minute field"),
        (vec!["--cron", "* * * * *", "--timezone", "Paris"], 1, "Europe/Paris"),
        (vec!["--every", "0s"], 1, "cannot be 0"),
        (vec![], 2, "<NAME>"),
        (vec!["sync", "--every", "1h"], 2, "cannot be used with"),
    ] {
        let ended = tidegate(&host, "", &[&["schedule", "next"][..], &arguments].concat());
        assert_eq!(ended.exit, exit, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{arguments:?}: {}", ended.stderr);
    }
    assert_eq!(host.lines(), Vec::<String>::new(), "no host was asked");
}

#[test]
fn instants_of_several_schedules_are_merged() {
    let mut pull = workflow("sync", "pull", Some(1));
    let mut nightly = pull["schedules"][0].clone();
    nightly["name"] = json!("nightly");
    pull["schedules"].as_array_mut().unwrap().push(nightly);
    let upcoming = |times: &[&str]| {
        let one = |time: &&str| json!({"due": format!("{time}Z"), "local": format!("{time}+00:00"), "change": null});
        let upcoming: Vec<Value> = times.iter().map(one).collect();
        Answer::Json(200, json!({"description": "", "timezone": "UTC", "upcoming": upcoming}))
    };
    let host = FakeHost::answering([
        Answer::Json(200, pull),
        upcoming(&["2125-06-01T12:00:00", "2125-06-01T14:00:00"]),
        upcoming(&["2125-06-01T13:00:00", "2125-06-02T13:00:00"]),
    ]);
    insta::with_settings!({filters => vec![(r"\d+ days", "[n] days")]}, {
        insta::assert_snapshot!(tidegate(&host, "", &["schedule", "next", "sync", "-n", "2"]).page());
    });
    assert_eq!(host.lines()[1], "GET /api/v1/workflows/sync/schedules/default/upcoming?n=2");
}

#[test]
fn a_schedule_is_set_and_removed() {
    let set = || Answer::Json(200, overrunning()["schedules"][0].clone());
    let host = FakeHost::answering([set(), set(), Answer::Bytes(204, "text/plain", Vec::new())]);
    let flags = [
        "schedule",
        "set",
        "sync",
        "--every",
        "90m",
        "--overlap",
        "allow",
        "--missed",
        "all",
        "--missed-max",
        "3",
    ];
    let ended = tidegate(&host, "", &flags);
    assert_eq!(
        ended.stderr,
        "schedule default of sync: every 90 minutes; overlap allow, missed all, at most 3\n"
    );
    assert!(ended.stdout.starts_with("next due 2125-06-01 14:00:00 +02:00 (in "), "{}", ended.stdout);
    tidegate(&host, "", &["schedule", "set", "sync", "--schedule", "nightly", "--jitter", "none", "--json"])
        .json();
    let ended = tidegate(&host, "", &["schedule", "unset", "sync", "--schedule", "nightly"]);
    assert_eq!((ended.exit, ended.stderr.as_str()), (0, "removed the schedule nightly of sync\n"));
    let received = host.received();
    assert_eq!(received[0].line, "PATCH /api/v1/workflows/sync/schedules/default");
    assert_eq!(
        received[0].json(),
        json!({"every": "90m", "overlap": "allow", "missed": "all", "missed_max": 3})
    );
    assert_eq!(received[1].json(), json!({"jitter": "none"}));
    assert_eq!(received[2].line, "DELETE /api/v1/workflows/sync/schedules/nightly");
}
