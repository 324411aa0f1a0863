//! Runs that are run again: on another version, many at once.

use serde_json::{Value, json};

use super::ended;
use crate::support::guests;
use crate::support::host::Host;

#[test]
fn run_is_run_again_on_a_named_version() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({}));
    host.upload("echo", "application/wasm", &guests::component("hello")).expect(201);
    let first = host.call(&echo, &json!({ "n": 1 })).expect(200);
    let first = first.header("tidegate-run").unwrap();
    let replay =
        |query: &str| host.request("POST", &format!("/api/v1/runs/{first}/replay{query}")).send(host.api);
    let now = replay("").expect(200).json();
    let old = replay("?version=1").expect(200).json();
    assert_eq!((&now["version"], &old["version"]), (&json!(2), &json!(1)));
    assert_eq!((&old["replay_of"], &old["status"]), (&json!(first), &json!("succeeded")));
    let seen: Value = serde_json::from_str(old["reply"]["body"]["text"].as_str().unwrap()).unwrap();
    assert_eq!(seen["body"], "{\"n\":1}");
    assert_eq!(host.get("/api/v1/workflows/echo").json()["active_version"], 2, "it is for this run alone");
    replay("?version=3").expect(404);
    replay("?versoin=1").expect(400);
}

#[test]
fn many_runs_are_run_again_by_filter() {
    let host = Host::with(&[("run.record_body_bytes_max", "100")]);
    let settings = host.deploy("settings", "catch", "settings");
    let failed: Vec<String> = (0..3)
        .map(|n| {
            host.call(&settings, &json!({ "set": { "N": n }, "fail": "no" }))
                .header("tidegate-run")
                .unwrap()
                .to_owned()
        })
        .collect();
    let long = host.call(&settings, &json!({ "fail": "x".repeat(200) }));
    let long = long.header("tidegate-run").unwrap().to_owned();
    host.call(&settings, &json!({})).expect(200);
    host.upload("settings", "application/wasm", &guests::component("hello")).expect(201);

    let path = "/api/v1/workflows/settings/replay";
    let again = host.tell("POST", path, &json!({ "limit": 3 })).expect(202).json();
    let pairs: Vec<Value> = again["queued"].as_array().unwrap().clone();
    let old: Vec<&str> = pairs.iter().map(|pair| pair["replay_of"].as_str().unwrap()).collect();
    assert_eq!(old, [failed[2].as_str(), &failed[1]]);
    assert_eq!(again["skipped"][0]["run"], json!(long));
    assert!(again["skipped"][0]["reason"].as_str().unwrap().contains("a part of the body only"));
    for pair in &pairs {
        let run = ended(&host, pair["run"].as_str().unwrap());
        assert_eq!((&run["status"], &run["trigger"]), (&json!("succeeded"), &json!("replay")));
        assert_eq!((&run["replay_of"], &run["version"]), (&pair["replay_of"], &json!(2)));
    }
    // The rest, on the version that fails.
    let rest = json!({ "cursor": again["next"], "version": 1, "trigger": "catch" });
    let rest = host.tell("POST", path, &rest).expect(202).json();
    assert_eq!((rest["queued"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    let run = ended(&host, rest["queued"][0]["run"].as_str().unwrap());
    assert_eq!((&run["status"], &run["version"]), (&json!("failed"), &json!(1)));
    // Those whose error has a text.
    let named = host.tell("POST", path, &json!({ "text": "NO", "trigger": "replay" })).expect(202).json();
    assert_eq!(named["queued"][0]["replay_of"], run["id"]);
    let none = host.tell("POST", path, &json!({ "text": "nobody said this" })).expect(202).json();
    assert_eq!((&none["queued"], &none["skipped"]), (&json!([]), &json!([])));
    host.tell("POST", path, &json!({ "version": 9 })).expect(404);
    host.tell("POST", path, &json!({ "statuses": ["faild"] })).expect(422);
    host.tell("POST", "/api/v1/workflows/none/replay", &json!({})).expect(404);
}
