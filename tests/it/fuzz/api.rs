//! JSON for the management API: good bodies with a node replaced, and bytes that are none.

use rand::RngExt as _;
use serde_json::{Value, json};

use crate::fuzz::{Dice, drive};
use crate::support::host::Host;

fn odd(dice: &mut Dice) -> Value {
    match dice.below(14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(1e308),
        5 => json!(0.5),
        6 => json!(""),
        7 => json!("x".repeat(dice.below(70_000))),
        8 => json!("\u{0}\u{202e}é\r\n"),
        9 => json!([]),
        10 => json!({}),
        11 => json!(vec![json!("a"); dice.below(300)]),
        12 => (0..dice.below(200)).fold(json!(1), |inner, _| json!([inner])),
        _ => json!(dice.0.random::<i64>()),
    }
}

/// Replaces, removes or adds a node somewhere.
fn change(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Object(fields) if !fields.is_empty() && !dice.one_in(4) => {
            let key = fields.keys().nth(dice.below(fields.len())).cloned().unwrap();
            match dice.below(6) {
                0 => drop(fields.remove(&key)),
                1 => drop(fields.insert(format!("{key}x"), odd(dice))),
                _ => change(&mut fields[&key], dice),
            }
        }
        Value::Array(items) if !items.is_empty() && !dice.one_in(4) => {
            let at = dice.below(items.len());
            change(&mut items[at], dice);
        }
        node => *node = odd(dice),
    }
}

fn good() -> Vec<(&'static str, &'static str, Value)> {
    let endpoint =
        json!({ "methods": ["POST"], "raw_bodies": false, "cors_origins": ["*"], "callback_hosts": [] });
    let limits = json!({ "deadline_ms": 1000, "memory_bytes_max": 1048576, "concurrency_max": 2 });
    let retry = json!({ "attempts": 2, "backoff_ms": 10, "backoff_max_ms": 100, "jitter_percent": 20, "on": ["trap"] });
    let schedule =
        json!({ "name": "a", "cron": "0 3 * * *", "timezone": "UTC", "overlap": "forbid", "jitter": "5m" });
    let test = json!({ "method": "POST", "path": "/?a=b", "headers": { "x": "y" }, "body": { "n": 1 } });
    vec![
        (
            "POST",
            "/api/v1/workflows",
            json!({ "name": "made", "kind": "catch", "endpoint": endpoint, "limits": limits, "retry": retry }),
        ),
        (
            "POST",
            "/api/v1/workflows",
            json!({ "name": "made-pull", "kind": "pull", "schedules": [schedule] }),
        ),
        (
            "PATCH",
            "/api/v1/workflows/w",
            json!({ "description": "d", "limits": limits, "retry": retry, "endpoint": endpoint }),
        ),
        ("PATCH", "/api/v1/workflows/p", json!({ "schedules": [schedule] })),
        (
            "PATCH",
            "/api/v1/workflows/w/settings",
            json!({ "set": { "A": { "value": [1, { "b": null }] } }, "unset": ["B"] }),
        ),
        ("POST", "/api/v1/workflows/w/activate", json!({ "version": 1 })),
        ("POST", "/api/v1/workflows/w/runs", test),
    ]
}

#[test]
fn odd_json_is_refused_with_a_code_and_never_a_failure_of_the_host() {
    let host = Host::start();
    host.deploy("w", "catch", "hello");
    host.deploy("p", "pull", "hello");
    let (good, mut accepted, mut refused) = (good(), 0, 0);
    drive("api", 1_500, |dice| {
        let (method, path, mut body) = dice.pick(&good).clone();
        for _ in 0..=dice.below(3) {
            change(&mut body, dice);
        }
        let mut bytes = body.to_string().into_bytes();
        if dice.one_in(5) {
            dice.mutate(&mut bytes);
        }
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
        let reply = host.request(method, path).body("application/json", bytes).send(host.api);
        assert!(reply.status < 500 || reply.status == 503, "{method} {path}\n{shown}\n{}", reply.text());
        if reply.status < 300 {
            accepted += 1;
        } else {
            assert!(!reply.field("code").is_empty(), "{method} {path}: {}", reply.text());
            refused += 1;
        }
        // Names are free again for the next.
        for name in ["made", "made-pull"] {
            if path == "/api/v1/workflows"
                && reply.status == 201
                && reply.text().contains(&format!("\"{name}\""))
            {
                host.request("DELETE", &format!("/api/v1/workflows/{name}")).send(host.api);
            }
        }
    });
    assert!(accepted > 50 && refused > 500, "{accepted} were accepted, {refused} refused: the control");
    assert!(host.get("/metrics").expect(200).text().contains("tidegate_panics_total 0"));
}
