//! Schedules of a host that really runs: each policy, each verdict, previews.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::host::{Host, Workflow};
use crate::support::wait;

/// A pull that is due at this interval, with a policy. Its runs take as long as `hold_ms`.
fn pull(host: &Host, schedule: &Value, hold_ms: u64) -> Workflow {
    let pull = host.create(&json!({ "name": "pull", "kind": "pull", "schedules": [schedule] }));
    host.tell("PATCH", "/api/v1/workflows/pull/settings", &json!({ "HOLD_MS": hold_ms })).expect(200);
    host.upload("pull", "application/wasm", &crate::support::guests::component("pull")).expect(201);
    pull
}

/// The whole ledger, newest first, read in pages.
fn ledger(host: &Host, filter: &str) -> Vec<Value> {
    let (mut ticks, mut cursor) = (Vec::new(), String::new());
    loop {
        let page =
            host.get(&format!("/api/v1/workflows/pull/ticks?limit=3{filter}{cursor}")).expect(200).json();
        ticks.extend(page["ticks"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ticks,
        }
    }
}

fn states(host: &Host) -> Vec<String> {
    ledger(host, "").iter().map(|tick| tick["state"].as_str().unwrap().to_owned()).collect()
}

fn wait_for_states(host: &Host, state: &str, count: usize) {
    wait::until(&format!("{count} times {state}"), || {
        states(host).iter().filter(|found| *found == state).count() >= count
    });
}

fn due(tick: &Value) -> Timestamp {
    tick["due"].as_str().unwrap().parse().unwrap()
}

/// Fails unless the ledger has each second once from its first to its last.
fn check_every_second(ticks: &[Value]) {
    for pair in ticks.windows(2) {
        let distance_ms = due(&pair[0]).as_millisecond() - due(&pair[1]).as_millisecond();
        assert_eq!(distance_ms, 1_000, "{pair:#?}");
    }
}

fn metric(host: &Host, line: &str) -> u64 {
    let text = host.get("/metrics").expect(200).text();
    let found = text.lines().find_map(|found| found.strip_prefix(line));
    found.unwrap_or_else(|| panic!("{line} is not in {text}")).trim().parse().unwrap()
}

#[test]
fn each_instant_that_ran_is_in_the_ledger_with_its_lateness() {
    let host = Host::start();
    pull(&host, &json!({ "every": "1s" }), 0);
    wait_for_states(&host, "ran", 3);
    let ticks = ledger(&host, "&state=ran");
    check_every_second(&ticks);
    let newest = &ticks[0];
    let run = host.get(&format!("/api/v1/runs/{}", newest["run"].as_str().unwrap())).expect(200).json();
    assert_eq!((&run["status"], &run["due"]), (&json!("succeeded"), &newest["due"]));
    assert!(ticks.iter().all(|tick| tick["lateness_ms"].as_f64().unwrap() < 60_000.0));
    assert!(ticks.iter().any(|tick| tick["lateness_ms"].as_f64().unwrap() > 0.0));
    assert!(metric(&host, "tidegate_ticks_total{state=\"ran\"}") >= 3);
    assert!(metric(&host, "tidegate_tick_lateness_seconds_count") >= 3);
    let wrong = host.get("/api/v1/workflows/pull/ticks?state=lost").expect(400);
    assert!(wrong.field("message").contains("none of claimed, ran, backfilled"), "{}", wrong.text());
    host.get("/api/v1/workflows/pull/ticks?cursor=x").expect(400);
}

#[test]
fn forbidden_overlap_skips_and_flags_the_schedule() {
    let host = Host::start();
    let workflow = pull(&host, &json!({ "every": "1s" }), 2_500);
    wait_for_states(&host, "ran", 2);
    check_every_second(&ledger(&host, ""));
    let skipped = ledger(&host, "&state=skipped-running");
    assert!(skipped.len() >= 2, "{skipped:#?}");
    // What did not run is a run, too: cancelled, and it says why.
    let runs = host.runs(&workflow);
    let record = runs.iter().find(|run| run["id"] == skipped[0]["run"]).unwrap();
    assert_eq!((&record["status"], &record["fault"]), (&json!("cancelled"), &json!("skipped")));
    assert_eq!(record["message"], "the run of an earlier instant was still going");

    let shown = host.get("/api/v1/workflows/pull").json()["schedules"][0].clone();
    assert!(shown["overrun"]["took_ms"].as_f64().unwrap() > 1_000.0, "{shown}");
    assert_eq!(shown["overrun"]["distance_ms"], 1_000.0);
    assert_eq!(metric(&host, "tidegate_schedules_overrun"), 1);
    // A slower pace, and the flag goes.
    host.tell("PATCH", "/api/v1/workflows/pull/settings", &json!({ "HOLD_MS": 0 })).expect(200);
    wait::until("the flag goes", || {
        host.get("/api/v1/workflows/pull").json()["schedules"][0]["overrun"].is_null()
    });
}

#[test]
fn one_instant_queues_and_the_next_are_skipped() {
    let host = Host::start();
    pull(&host, &json!({ "every": "1s", "overlap": "queue-one" }), 2_500);
    wait_for_states(&host, "ran", 3);
    let ticks = ledger(&host, "");
    check_every_second(&ticks);
    assert!(ticks.iter().any(|tick| tick["state"] == "skipped-running"));
    // The second one waited for the first: later than its own interval.
    let ran: Vec<f64> = ticks
        .iter()
        .filter(|tick| tick["state"] == "ran")
        .map(|tick| tick["lateness_ms"].as_f64().unwrap())
        .collect();
    assert!(ran.iter().any(|late| *late > 1_000.0), "{ran:?}");
}

#[test]
fn allowed_runs_overlap() {
    let host = Host::start();
    let workflow = pull(&host, &json!({ "every": "1s", "overlap": "allow" }), 4_000);
    wait::until("three runs at a time", || {
        host.runs(&workflow).iter().filter(|run| run["status"] == "running").count() >= 3
    });
    assert!(!states(&host).contains(&"skipped-running".to_owned()));
}

#[test]
fn paused_instants_are_each_skipped_and_runs_go_on_after_it() {
    let host = Host::start();
    pull(&host, &json!({ "every": "1s" }), 0);
    wait_for_states(&host, "ran", 1);
    host.tell("PATCH", "/api/v1/workflows/pull", &json!({ "state": "paused" })).expect(200);
    wait_for_states(&host, "skipped-paused", 1);
    let first = due(&ledger(&host, "&state=skipped-paused")[0]);
    wait::until("three more instants", || Timestamp::now().duration_since(first).as_millis() > 3_500);
    host.tell("PATCH", "/api/v1/workflows/pull", &json!({ "state": "active" })).expect(200);
    wait_for_states(&host, "ran", 3);
    let ticks = ledger(&host, "");
    check_every_second(&ticks);
    let skipped: Vec<&Value> = ticks.iter().filter(|tick| tick["state"] == "skipped-paused").collect();
    assert!(skipped.len() >= 4, "{ticks:#?}");
    // They share a record, which says for how many it stands.
    let shared = skipped.iter().find(|tick| tick["stretch"].is_object()).unwrap();
    let run = host.get(&format!("/api/v1/runs/{}", shared["run"].as_str().unwrap())).expect(200).json();
    assert!(
        run["message"].as_str().unwrap().starts_with("the workflow was paused; this stands for "),
        "{run}"
    );
    assert_eq!(metric(&host, "tidegate_ticks_total{state=\"skipped-paused\"}"), skipped.len() as u64);
}

/// A host that was down for some seconds, and is up again; and the seconds of its ledger.
fn after_an_outage(policy: &Value) -> (Host, Vec<Value>) {
    let mut schedule = json!({ "every": "1s" });
    schedule.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
    let mut host = Host::start();
    pull(&host, &schedule, 0);
    wait_for_states(&host, "ran", 2);
    host.kill();
    let killed = Timestamp::now();
    wait::until("some seconds", || Timestamp::now().duration_since(killed).as_millis() > 4_200);
    host.restart(&[]);
    let started = Timestamp::now();
    wait::until("a run on time", || {
        ledger(&host, "&state=ran").first().is_some_and(|tick| due(tick) > started)
    });
    let ticks = ledger(&host, "");
    (host, ticks)
}

fn with_state<'a>(ticks: &'a [Value], state: &str) -> Vec<&'a Value> {
    ticks.iter().filter(|tick| tick["state"] == state).collect()
}

#[test]
fn one_run_makes_up_for_an_outage() {
    let (host, ticks) = after_an_outage(&json!({}));
    check_every_second(&ticks);
    let (made_up, missed) = (with_state(&ticks, "backfilled"), with_state(&ticks, "missed"));
    assert_eq!(made_up.len(), 1, "{ticks:#?}");
    assert!(missed.len() >= 3 && missed.iter().all(|tick| due(tick) < due(made_up[0])), "{ticks:#?}");
    let runs: BTreeSet<&str> = ticks.iter().filter_map(|tick| tick["run"].as_str()).collect();
    assert_eq!(runs.len(), ticks.len(), "each has a record of its own");
    assert_eq!(metric(&host, "tidegate_ticks_total{state=\"backfilled\"}"), 1);
}

#[test]
fn nothing_makes_up_for_an_outage_where_that_is_the_policy() {
    let (_host, ticks) = after_an_outage(&json!({ "missed": "skip" }));
    check_every_second(&ticks);
    assert!(with_state(&ticks, "backfilled").is_empty(), "{ticks:#?}");
    assert!(with_state(&ticks, "missed").len() >= 4, "{ticks:#?}");
}

#[test]
fn some_runs_make_up_for_an_outage_one_after_the_other() {
    let (_host, ticks) = after_an_outage(&json!({ "missed": "all", "missed_max": 3 }));
    check_every_second(&ticks);
    let made_up = with_state(&ticks, "backfilled");
    assert_eq!(made_up.len(), 3, "{ticks:#?}");
    assert!(with_state(&ticks, "missed").iter().all(|tick| due(tick) < due(made_up[2])));
}

#[test]
fn instants_that_cannot_start_in_time_are_missed() {
    let host = Host::start();
    // One queues behind a run of 2.5 s, and gives up when its turn comes.
    let schedule = json!({ "every": "1s", "overlap": "queue-one", "start_deadline": "1s" });
    let workflow = pull(&host, &schedule, 2_500);
    wait_for_states(&host, "missed", 1);
    let missed = ledger(&host, "&state=missed")[0].clone();
    assert!(missed["lateness_ms"].as_f64().unwrap() > 1_000.0, "{missed}");
    let record = host.runs(&workflow).into_iter().find(|run| run["id"] == missed["run"]).unwrap();
    assert_eq!(record["message"], "its turn came after its start deadline");
}

#[test]
fn overload_refuses_an_instant_and_says_so() {
    let host = Host::with(&[("engine.instances_max", "1"), ("engine.queue_ms", "100")]);
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let mut connection = host.connect();
    let request = crate::support::http::Request::new("POST", &slow.path).json(&json!({ "seconds": 20 }));
    connection.send(request.bytes());
    host.wait_for_run(&slow, "running");
    pull(&host, &json!({ "every": "1s" }), 0);
    wait_for_states(&host, "refused", 2);
    check_every_second(&ledger(&host, ""));
    assert!(metric(&host, "tidegate_ticks_total{state=\"refused\"}") >= 2);
}

#[test]
fn jitter_delays_each_run_alike_and_is_not_lateness() {
    let host = Host::start();
    let workflow = pull(&host, &json!({ "every": "2s", "jitter": "1900ms" }), 0);
    wait_for_states(&host, "ran", 2);
    let delays: Vec<f64> = host
        .runs(&workflow)
        .iter()
        .filter(|run| run["status"] == "succeeded")
        .map(|run| {
            let at = |key: &str| run[key].as_str().unwrap().parse::<Timestamp>().unwrap();
            at("started_at").duration_since(at("due")).as_secs_f64() * 1e3
        })
        .collect();
    let late: Vec<f64> =
        ledger(&host, "&state=ran").iter().map(|tick| tick["lateness_ms"].as_f64().unwrap()).collect();
    let of_records: BTreeSet<i64> = host
        .runs(&workflow)
        .iter()
        .filter(|run| run["status"] == "succeeded")
        .zip(&delays)
        .map(|(run, delay)| (delay - run["lateness_ms"].as_f64().unwrap()).round() as i64)
        .collect();
    assert_eq!(of_records.len(), 1, "the jitter, which no record counts as lateness: {of_records:?}");
    for (delay, late) in delays.iter().zip(&late) {
        assert!(delay >= late, "{delay} ms behind the instant, {late} ms late");
    }
    let jitter: BTreeSet<i64> =
        delays.iter().zip(&late).map(|(delay, late)| ((delay - late) / 250.0).round() as i64).collect();
    assert!(jitter.iter().max().unwrap() - jitter.iter().min().unwrap() <= 1, "{delays:?} {late:?}");
}

#[test]
fn a_schedule_is_changed_piece_by_piece_and_removed() {
    let host = Host::with(&[("schedule.overlap", "allow"), ("schedule.missed", "skip")]);
    host.create(&json!({ "name": "pull", "kind": "pull" }));
    let path = "/api/v1/workflows/pull/schedules/nightly";
    let change = |change: &Value| host.tell("PATCH", path, change);
    assert!(
        change(&json!({ "jitter": "1m" })).expect(422).field("message").contains("needs `every` or `cron`")
    );
    let made = change(&json!({ "cron": "30 2 * * *", "timezone": "Europe/Paris" })).expect(200).json();
    assert_eq!((&made["overlap"], &made["missed"]), (&json!("allow"), &json!("skip")));
    assert_eq!((&made["start_deadline"], &made["jitter"]), (&Value::Null, &Value::Null));
    let changed = change(&json!({
        "overlap": "queue-one", "missed": "all", "missed_max": 4, "start_deadline": "10m", "jitter": "1m30s",
    }));
    let changed = changed.expect(200).json();
    assert_eq!(changed["description"], "at 02:30 every day, Europe/Paris");
    assert_eq!((&changed["missed"], &changed["missed_max"]), (&json!("all"), &json!(4)));
    assert_eq!((&changed["start_deadline"], &changed["jitter"]), (&json!("10m"), &json!("1m30s")));
    let moved = change(&json!({ "timezone": "America/New_York" })).expect(200).json();
    assert_eq!(moved["description"], "at 02:30 every day, America/New_York");
    assert_eq!(moved["overlap"], "queue-one");
    // A workflow's own change keeps what it leaves out, too.
    let all =
        json!({ "schedules": [{ "name": "nightly", "every": "1h" }, { "every": "1h", "jitter": "5s" }] });
    let shown = host.tell("PATCH", "/api/v1/workflows/pull", &all).expect(200).json();
    assert_eq!(
        (&shown["schedules"][0]["jitter"], &shown["schedules"][1]["jitter"]),
        (&json!("1m30s"), &json!("5s"))
    );
    for (wrong, status) in [
        (json!({ "name": "other" }), 422),
        (json!({ "jitter": "2h" }), 422),
        (json!({ "missed": "once", "missed_max": 2 }), 422),
        (json!({ "overlap": "sometimes" }), 422),
        (json!({ "timezone": "Europe/Paris" }), 422),
    ] {
        change(&wrong).expect(status);
    }
    host.tell("PATCH", "/api/v1/workflows/pull/schedules/Not%20a%20name", &json!({ "every": "1h" }))
        .expect(422);
    host.request("DELETE", path).send(host.api).expect(204);
    host.request("DELETE", path).send(host.api).expect(404);
    host.get(&format!("{path}/upcoming")).expect(404);
    assert_eq!(host.get("/api/v1/workflows/pull").json()["schedules"].as_array().unwrap().len(), 1);
    host.create(&json!({ "name": "caught", "kind": "catch" }));
    host.tell("PATCH", "/api/v1/workflows/caught/schedules/x", &json!({ "every": "1h" })).expect(409);
}

#[test]
fn previews_mark_what_changes_of_clocks_do() {
    let host = Host::start();
    host.create(&json!({ "name": "pull", "kind": "pull",
        "schedules": [{ "cron": "30 2 * * *", "timezone": "Europe/Paris" }] }));
    let after = "after=2026-03-27T12:00:00Z&n=3";
    let saved =
        host.get(&format!("/api/v1/workflows/pull/schedules/default/upcoming?{after}")).expect(200).json();
    let query = format!("cron=30%202%20*%20*%20*&timezone=Europe/Paris&{after}");
    let draft = host.get(&format!("/api/v1/schedules/upcoming?{query}")).expect(200).json();
    assert_eq!(saved, draft);
    assert_eq!(
        (&saved["timezone"], &saved["description"]),
        (&json!("Europe/Paris"), &json!("at 02:30 every day, Europe/Paris"))
    );
    let upcoming = saved["upcoming"].as_array().unwrap();
    let locals: Vec<&str> = upcoming.iter().map(|one| one["local"].as_str().unwrap()).collect();
    assert_eq!(
        locals,
        ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    );
    assert_eq!(upcoming[1]["due"], "2026-03-29T01:00:00Z");
    assert_eq!((&upcoming[0]["change"], &upcoming[1]["change"]["kind"]), (&Value::Null, &json!("moved")));

    let autumn = "cron=30%202%20*%20*%20*&timezone=Europe/Paris&after=2026-10-24T12:00:00Z&n=2";
    let autumn = host.get(&format!("/api/v1/schedules/upcoming?{autumn}")).expect(200).json();
    assert_eq!(autumn["upcoming"][0]["change"]["kind"], "once");
    assert_eq!(autumn["upcoming"][1]["change"]["kind"], "changed");
    let interval = host.get("/api/v1/schedules/upcoming?every=90m&after=2026-01-01T00:00:00Z&n=2").json();
    assert_eq!(interval["upcoming"][1]["due"], "2026-01-01T03:00:00Z");
    for (query, status) in [
        ("", 422),
        ("every=1h&cron=*", 422),
        ("cron=61%20*%20*%20*%20*", 422),
        ("cron=*%20*%20*%20*%20*&timezone=Mars", 422),
        ("every=1h&n=0", 400),
        ("every=1h&n=1001", 400),
        ("every=1h&after=yesterday", 400),
    ] {
        host.get(&format!("/api/v1/schedules/upcoming?{query}")).expect(status);
    }
}
