//! The management API: its document, its right, its errors, and the verbs on workflows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::host::Host;
use crate::support::http::Request;

/// All texts under the key `$ref`.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(target) if key == "$ref" => found.push(target.clone()),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_operation_of_the_document_is_a_route_and_is_described() {
    let host = Host::start();
    let document = Request::new("GET", "/api/v1/openapi.json").send(host.api).expect(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);

    let mut targets = Vec::new();
    references(&document, &mut targets);
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} is not in the document");
    }

    let open = ["/", "/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/sign-in"];
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(operations.insert(operation["operationId"].as_str().unwrap()), "{what} has another's id");
            assert!(
                !operation["summary"].as_str().or(operation["description"].as_str()).unwrap().is_empty(),
                "{what}"
            );
            assert!(operation["responses"]["default"].is_object(), "{what} has no answer for other errors");
            let declared = operation["parameters"].as_array().cloned().unwrap_or_default();
            for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let is_declared = declared.iter().any(|one| one["name"] == part && one["in"] == "path");
                assert!(is_declared, "{what}: {part} is not described");
            }
            // Without a token every operation answers as what it is: nothing else is
            // looked at first.
            let asked = path
                .replace("{name}", "x")
                .replace("{id}", "x")
                .replace("{number}", "1")
                .replace("{key}", "x");
            let status = Request::new(&method.to_uppercase(), &asked).send(host.api).status;
            match path.as_str() {
                "/catch/{key}" | "/catch/{key}/runs/{id}" => assert_eq!(status, 404, "{what}"),
                path if open.contains(&path) => assert_eq!(status, 200, "{what}"),
                _ => {
                    assert_eq!(status, 401, "{what}");
                    assert!(operation["responses"]["401"].is_object(), "{what}");
                    assert_eq!(operation["security"], json!([{ "token": [] }]), "{what}");
                }
            }
        }
    }
    assert!(operations.len() >= 29, "{operations:?}");
}

#[test]
fn only_the_token_opens_the_api() {
    let host = Host::start();
    for authorization in ["", "Bearer", "Bearer x", "Basic dGRnXw==", "bearer tdg_"] {
        let reply =
            Request::new("GET", "/api/v1/workflows").header("authorization", authorization).send(host.api);
        let reply = reply.expect(401);
        assert_eq!(reply.field("code"), "unauthorized");
        assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    // Whether something exists is not told either.
    Request::new("DELETE", "/api/v1/workflows/x").send(host.api).expect(401);
    host.get("/api/v1/workflows").expect(200);
}

#[test]
fn every_answer_is_for_programs_and_no_browser_keeps_it() {
    let host = Host::start();
    for (path, status) in [("/api/v1/workflows", 200), ("/api/v1/none", 404), ("/api/v1/workflows/none", 404)]
    {
        let reply = host.get(path).expect(status);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{path}");
        }
    }
}

#[test]
fn every_error_is_json_that_names_what_is_wrong() {
    let host = Host::with(&[("server.body_bytes_max", "1000")]);
    host.create(&json!({ "name": "w", "kind": "catch" }));
    let post = |content_type: &str, body: &str| {
        host.request("POST", "/api/v1/workflows").body(content_type, body).send(host.api)
    };
    let json = "application/json";
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(70_000));
    for (reply, status, code, words) in [
        (host.get("/api/v1/none"), 404, "not-found", "nothing at this path"),
        (host.get("/none"), 404, "not-found", "nothing at this path"),
        (host.get("/api/v1/workflows/none"), 404, "missing", "the workflow \"none\""),
        (host.request("PUT", "/api/v1/workflows").send(host.api), 405, "method-not-allowed", ""),
        (post("text/plain", "{}"), 415, "unsupported-content-type", "\"text/plain\""),
        (host.request("POST", "/api/v1/workflows").send(host.api), 415, "unsupported-content-type", "(none)"),
        (post(json, "{"), 400, "invalid-json", "line 1 column 1"),
        (post(json, "{\"name\": \"a\"}"), 422, "invalid-field", "missing field `kind`"),
        (
            post(json, "{\"name\": \"a\", \"kind\": \"push\"}"),
            422,
            "invalid-field",
            "kind: unknown variant `push`",
        ),
        (post(json, "{\"name\": \"a\", \"knd\": \"pull\"}"), 422, "invalid-field", "unknown field `knd`"),
        (post(json, "{\"name\": 1, \"kind\": \"pull\"}"), 422, "invalid-field", "name: invalid type"),
        (post(json, "[null, null]"), 422, "invalid-field", "an object is needed"),
        (post(json, &large), 413, "body-too-large", "limit of 67536 bytes"),
        (host.get("/api/v1/runs?limit=0"), 400, "invalid-query", "limit: must be 1 to 500, is 0"),
        (host.get("/api/v1/runs?limit=x"), 400, "invalid-query", "limit: invalid digit"),
        (host.get("/api/v1/runs?limt=1"), 400, "invalid-query", "unknown field `limt`"),
        (host.get("/api/v1/runs?status=faild"), 400, "invalid-query", "\"faild\" is none of queued"),
        (host.get("/api/v1/runs?since=yesterday"), 400, "invalid-query", "since"),
        (host.get("/api/v1/runs?cursor=x"), 400, "invalid-query", "cursor: \"x\" is not an id"),
        (host.get("/api/v1/runs/x"), 404, "missing", "the run \"x\""),
        (host.get("/api/v1/runs/00000000000000000000000000"), 404, "missing", "the run"),
        (host.get("/api/v1/runs/x/log"), 404, "missing", "the run \"x\""),
        (host.get("/api/v1/workflows/w/versions/1/source"), 404, "missing", "version 1"),
        (
            host.tell("POST", "/api/v1/workflows/w/activate", &json!({ "version": 3 })),
            404,
            "missing",
            "version 3",
        ),
        (host.tell("POST", "/api/v1/workflows/w/runs", &json!({})), 409, "nothing-deployed", "w"),
    ] {
        assert_eq!(reply.status, status, "{words}: {}", reply.text());
        let error = reply.json();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{words:?} is not in {error}");
        assert_eq!(error["request_id"].as_str(), reply.header("x-request-id"));
        if status == 405 {
            let allow: Vec<&str> = reply.header("allow").unwrap().split(',').map(str::trim).collect();
            assert!(allow.contains(&"GET") && allow.contains(&"POST"), "{allow:?}");
        }
    }
}

#[test]
fn a_workflow_is_created_shown_changed_and_archived() {
    let host = Host::start();
    let created = host.tell(
        "POST",
        "/api/v1/workflows",
        &json!({ "name": "sms", "kind": "catch", "description": "Sends an SMS", "managers": ["ann"], "private": true }),
    );
    let created = created.expect(201);
    assert_eq!(created.header("location"), Some("/api/v1/workflows/sms"));
    let workflow = created.json();
    assert_eq!((&workflow["description"], &workflow["private"]), (&json!("Sends an SMS"), &json!(true)));
    assert_eq!((&workflow["active_version"], &workflow["schedules"]), (&Value::Null, &json!([])));
    let url = workflow["url"].as_str().unwrap();
    let key = url.strip_prefix(&format!("http://{}/catch/", host.catch)).unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(host.get("/api/v1/workflows/sms").expect(200).json(), workflow);
    assert_eq!(host.get("/api/v1/workflows").expect(200).json(), json!({ "workflows": [workflow] }));

    let patch = json!({ "description": "", "state": "paused", "limits": { "deadline_ms": 5000 } });
    let changed = host.tell("PATCH", "/api/v1/workflows/sms", &patch).expect(200).json();
    assert_eq!((&changed["description"], &changed["state"]), (&json!(""), &json!("paused")));
    assert_eq!((&changed["limits"]["deadline_ms"], &changed["url"]), (&json!(5000), &workflow["url"]));
    assert!(changed["revision"].as_u64() > workflow["revision"].as_u64());

    host.request("DELETE", "/api/v1/workflows/sms").send(host.api).expect(204);
    host.get("/api/v1/workflows/sms").expect(404);
    host.request("DELETE", "/api/v1/workflows/sms").send(host.api).expect(404);
    host.create(&json!({ "name": "sms", "kind": "pull" }));
}

#[test]
fn what_is_wrong_with_a_workflow_is_said() {
    let host = Host::start();
    host.create(&json!({ "name": "taken", "kind": "catch" }));
    let pull = |schedule: Value| json!({ "name": "p", "kind": "pull", "schedules": [schedule] });
    let long = "x".repeat(64);
    for (request, status, code, words) in [
        (json!({ "name": "taken", "kind": "pull" }), 409, "name-taken", "taken exists already"),
        (json!({ "name": "", "kind": "pull" }), 422, "invalid-name", "cannot be empty"),
        (
            json!({ "name": long, "kind": "pull" }),
            422,
            "invalid-name",
            "at most 63 characters, this one has 64",
        ),
        (json!({ "name": "a_b", "kind": "pull" }), 422, "invalid-name", "'_' at position 2"),
        (json!({ "name": "A", "kind": "pull" }), 422, "invalid-name", "'A' at position 1"),
        (
            json!({ "name": "c", "kind": "catch", "schedules": [{ "every": "1h" }] }),
            409,
            "wrong-kind",
            "pull",
        ),
        (json!({ "name": "p", "kind": "pull", "endpoint": {} }), 409, "wrong-kind", "catch"),
        (pull(json!({ "every": "0s" })), 422, "invalid-schedule", ""),
        (pull(json!({ "every": "often" })), 422, "invalid-schedule", "often"),
        (pull(json!({ "every": "10ms" })), 422, "invalid-schedule", ""),
        (pull(json!({ "cron": "61 * * * *" })), 422, "invalid-schedule", "61"),
        (pull(json!({ "cron": "* * * *" })), 422, "invalid-schedule", ""),
        (
            pull(json!({ "cron": "* * * * *", "timezone": "Europe/Pariss" })),
            422,
            "invalid-schedule",
            "Europe/Paris",
        ),
        (pull(json!({})), 422, "invalid-field", "`every` or `cron`"),
        (pull(json!({ "every": "1h", "cron": "* * * * *" })), 422, "invalid-field", "not both"),
        (
            json!({ "name": "c", "kind": "catch", "limits": { "retention_days": 31 } }),
            422,
            "invalid-field",
            "limits.retention_days",
        ),
        (
            json!({ "name": "c", "kind": "catch", "limits": { "deadline_ms": 0 } }),
            422,
            "invalid-field",
            "limits.deadline_ms",
        ),
        (
            json!({ "name": "c", "kind": "catch", "endpoint": { "methods": [] } }),
            422,
            "invalid-field",
            "endpoint.methods",
        ),
    ] {
        let reply = host.tell("POST", "/api/v1/workflows", &request);
        assert_eq!(reply.status, status, "{request}: {}", reply.text());
        let error = reply.json();
        assert_eq!(error["code"], code, "{request}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{words:?} is not in {error}");
    }
}

#[test]
fn a_pull_shows_its_rules_and_when_it_is_due() {
    let host = Host::start();
    let schedules = json!([
        { "name": "often", "every": "90m" },
        { "name": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Paris" },
    ]);
    host.create(&json!({ "name": "sync", "kind": "pull", "schedules": schedules }));
    let view = host.get("/api/v1/workflows/sync").expect(200).json();
    assert_eq!(view["url"], Value::Null);
    let shown = view["schedules"].as_array().unwrap();
    assert_eq!((&shown[0]["name"], &shown[0]["every"]), (&json!("often"), &json!("1h30m")));
    assert_eq!((&shown[1]["cron"], &shown[1]["timezone"]), (&json!("30 2 * * *"), &json!("Europe/Paris")));
    for schedule in shown {
        assert!(schedule["next_due"].is_string() && !schedule["description"].as_str().unwrap().is_empty());
    }
    let paused =
        host.tell("PATCH", "/api/v1/workflows/sync", &json!({ "state": "paused" })).expect(200).json();
    assert_eq!(paused["schedules"][0]["next_due"], Value::Null);
    assert_eq!(
        host.get("/api/v1/workflows/sync/ticks").expect(200).json(),
        json!({ "ticks": [], "next": null })
    );
}

#[test]
fn settings_are_write_only_unless_they_are_plain() {
    let host = Host::start();
    let workflow = host.deploy("w", "catch", "settings");
    let path = "/api/v1/workflows/w/settings";
    host.tell("PATCH", path, &json!({ "API_KEY": "SECRET", "OLD": 1 })).expect(200);
    let plain =
        host.tell("PATCH", &format!("{path}?visibility=plain"), &json!({ "PAGE": [1, "a"] })).expect(200);
    assert!(!plain.text().contains("SECRET"));
    host.tell("PATCH", path, &json!({ "OLD": null })).expect(200);

    let list = host.get(path).expect(200);
    assert!(!list.text().contains("SECRET"));
    let settings = list.json()["settings"].as_array().unwrap().clone();
    assert_eq!(settings.iter().map(|one| &one["name"]).collect::<Vec<_>>(), ["API_KEY", "PAGE"]);
    assert_eq!((&settings[0]["visibility"], settings[0].get("value")), (&json!("secret"), None));
    assert_eq!((&settings[1]["visibility"], &settings[1]["value"]), (&json!("plain"), &json!([1, "a"])));
    assert_eq!(host.call(&workflow, &json!({})).expect(200).json()["settings"]["API_KEY"], "SECRET");

    host.call(&workflow, &json!({ "set": { "PAGE": 2 } })).expect(200);
    let page = host.get(path).expect(200).json()["settings"][1].clone();
    assert_eq!(page["value"], 2);
    assert!(page["updated_by"]["run"].is_string(), "{page}");

    for (patch, code) in
        [(json!({ "": 1 }), "invalid-field"), (json!({ "A": "x".repeat(70_000) }), "over-limit")]
    {
        assert_eq!(host.tell("PATCH", path, &patch).expect(422).field("code"), code);
    }
    host.tell("PATCH", &format!("{path}?visibility=open"), &json!({})).expect(400);
    host.get("/api/v1/workflows/none/settings").expect(404);
}
