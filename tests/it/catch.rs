//! Catch endpoints: what reaches the workflow, what comes back, and what is refused.

use serde_json::{Value, json};

use crate::support::host::Host;
use crate::support::http::{Reply, Request};

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn a_request_reaches_the_workflow_as_it_was_sent() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({}));
    let body = r#"{"b": 1.50, "a": [null, "é"],  "z":{}}"#;
    let reply = Request::new("POST", &format!("{}?q=1&q=%20", echo.path))
        .header("X-Custom", "one")
        .header("X-Custom", "two")
        .header("Connection", "X-Hop")
        .header("X-Hop", "gone")
        .header("TE", "trailers")
        .body("application/json; charset=utf-8", body)
        .send(host.catch)
        .expect(200);
    let seen = reply.json();
    assert_eq!(
        (&seen["method"], &seen["path"], &seen["query"]),
        (&json!("POST"), &json!("/"), &json!("q=1&q=%20"))
    );
    assert_eq!((&seen["body"], &seen["body_bytes"]), (&json!(body), &json!(body.len())));
    let headers: Vec<(String, String)> = serde_json::from_value(seen["headers"].clone()).unwrap();
    let values = |name: &str| -> Vec<&str> {
        headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(values("x-custom"), ["one", "two"]);
    assert_eq!(values("content-type"), ["application/json; charset=utf-8"]);
    for gone in ["connection", "te", "x-hop"] {
        assert!(values(gone).is_empty(), "{gone} in {headers:?}");
    }
}

#[test]
fn a_reply_names_its_run_and_echoes_a_sane_request_id() {
    let host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    let reply =
        Request::new("POST", &hello.path).header("x-request-id", "mine-1").send(host.catch).expect(200);
    assert_eq!(reply.text(), "hello\n");
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("tidegate-fault"), None);
    let run = host.get(&format!("/api/v1/runs/{}", reply.header("tidegate-run").unwrap())).expect(200).json();
    assert_eq!((&run["status"], &run["trigger"]), (&json!("succeeded"), &json!("catch")));
    // The key is the caller's secret, and not the record's.
    assert_eq!(run["request"]["path_with_query"], "/");

    let odd = Request::new("POST", &hello.path).header("x-request-id", "a b<c>").send(host.catch);
    assert_eq!(odd.header("x-request-id").unwrap().len(), 16);
}

#[test]
fn an_unknown_key_is_answered_like_any_other() {
    let host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    let gone = host.deploy("gone", "catch", "hello");
    host.request("DELETE", "/api/v1/workflows/gone").send(host.api).expect(204);
    let rotated = hello.path.clone();
    let view =
        host.tell("PATCH", "/api/v1/workflows/hello", &json!({ "rotate_url": true })).expect(200).json();
    assert_ne!(view["url"].as_str().unwrap().split_once("/catch/").unwrap().1, &rotated["/catch/".len()..]);

    let mut bodies = Vec::new();
    for path in [
        "/catch/0123456789abcdefghijklmnopqrstuv",
        "/catch/short",
        "/catch/",
        &format!("{rotated}/"),
        &format!("{rotated}/more"),
        &rotated,
        &gone.path,
    ] {
        let reply = Request::new("POST", path)
            .header("x-request-id", "same")
            .body("text/anything", "x")
            .send(host.catch)
            .expect(404);
        assert_eq!(reply.header("tidegate-fault"), Some("caller"));
        bodies.push(reply.text());
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_eq!(serde_json::from_str::<Value>(&bodies[0]).unwrap()["code"], "no-endpoint");
}

#[test]
fn a_paused_workflow_and_one_without_a_version_ask_to_come_back() {
    let host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    let empty = host.create(&json!({ "name": "empty", "kind": "catch" }));
    host.tell("PATCH", "/api/v1/workflows/hello", &json!({ "state": "paused" })).expect(200);
    for (workflow, code) in [(&hello, "paused"), (&empty, "nothing-deployed")] {
        let reply = host.call(workflow, &json!({})).expect(503);
        assert_eq!(reply.field("code"), code);
        let seconds: u32 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=5).contains(&seconds));
        assert!(host.runs(workflow).is_empty());
    }
    host.tell("PATCH", "/api/v1/workflows/hello", &json!({ "state": "active" })).expect(200);
    host.call(&hello, &json!({})).expect(200);
}

#[test]
fn only_the_endpoints_methods_are_accepted() {
    let host = Host::start();
    let post = host.deploy_echo("post", &json!({}));
    let reply = Request::new("GET", &post.path).send(host.catch).expect(405);
    assert_eq!(
        (reply.field("code").as_str(), reply.header("allow")),
        ("method-not-allowed", Some("POST, OPTIONS"))
    );

    let any = host.deploy_echo("any", &json!({ "methods": ["GET", "HEAD", "DELETE", "PUT"] }));
    for method in ["GET", "DELETE"] {
        let seen = Request::new(method, &any.path).send(host.catch).expect(200).json();
        assert_eq!((&seen["method"], &seen["body_bytes"]), (&json!(method), &json!(0)));
    }
    let reply = Request::new("HEAD", &any.path).send(host.catch).expect(200);
    assert!(reply.body.is_empty() && reply.header("tidegate-run").is_some());
    assert!(reply.header("content-length").unwrap().parse::<u32>().unwrap() > 0);
    Request::new("PUT", &any.path).body("text/plain", "x").send(host.catch).expect(415);
    Request::new("POST", &any.path).body(FORM, "a=b").send(host.catch).expect(405);
}

#[test]
fn only_types_that_workflows_understand_are_accepted() {
    let host = Host::start();
    let strict = host.deploy_echo("strict", &json!({}));
    for (content_type, body) in [
        (FORM, "a=b&a=c"),
        (
            "multipart/form-data; boundary=x",
            "--x\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n",
        ),
        ("application/vnd.api+json", "{}"),
    ] {
        let seen =
            Request::new("POST", &strict.path).body(content_type, body).send(host.catch).expect(200).json();
        assert_eq!(seen["body"], body);
    }
    for (content_type, status, code) in [
        ("text/plain", 415, "unsupported-content-type"),
        ("application/xml", 415, "unsupported-content-type"),
        ("multipart/form-data", 400, "no-boundary"),
    ] {
        let reply =
            Request::new("POST", &strict.path).body(content_type, "x").send(host.catch).expect(status);
        assert_eq!(reply.field("code"), code);
    }
    let untyped = Request::new("POST", &strict.path).header("content-length", "1").send_raw(host.catch, b"x");
    assert_eq!((untyped.status, untyped.field("code").as_str()), (415, "unsupported-content-type"));
    // Without a body there is nothing to understand.
    Request::new("POST", &strict.path).send(host.catch).expect(200);

    let raw = host.deploy_echo("raw", &json!({ "raw_bodies": true }));
    for content_type in ["text/plain", "application/json", "image/png"] {
        let seen =
            Request::new("POST", &raw.path).body(content_type, "{").send(host.catch).expect(200).json();
        assert_eq!(seen["body"], "{");
    }
}

#[test]
fn broken_json_is_refused_with_a_reason_and_recorded_without_a_run_of_the_code() {
    let host = Host::start();
    let settings = host.deploy("settings", "catch", "settings");
    for (body, code, words) in [
        ("{\"set\": {\"A\": 1},}", "invalid-json", "line 1 column"),
        ("", "invalid-json", "the body is empty"),
        ("[{\"set\": {\"A\": 1}}]", "not-an-object", "an array"),
        ("\"text\"", "not-an-object", "a text"),
        ("From=%2B336&Body=hello", "invalid-json", "send it as application/x-www-form-urlencoded"),
        ("{'set': {'A': 1}}", "invalid-json", "single quotes"),
    ] {
        let reply = Request::new("POST", &settings.path)
            .header("content-length", &body.len().to_string())
            .body("application/json", body)
            .send(host.catch)
            .expect(400);
        assert_eq!(reply.field("code"), code, "{body}");
        assert!(reply.field("message").contains(words), "{}", reply.text());
        assert_eq!(reply.header("tidegate-fault"), Some("caller"));

        let id = reply.field("run");
        assert_eq!(reply.header("tidegate-run"), Some(id.as_str()));
        let run = host.get(&format!("/api/v1/runs/{id}")).expect(200).json();
        assert_eq!((&run["fault"], &run["reply_status"]), (&json!("refused"), &json!(400)));
        assert_eq!(run["request"]["body"]["text"], body);
        assert_eq!(run["started_at"], Value::Null);
        assert!(run["message"].as_str().unwrap().contains(words));
    }
    assert_eq!(host.runs(&settings).len(), 6);
    let list = host.get("/api/v1/workflows/settings/settings").expect(200).json();
    assert_eq!(list["settings"], json!([]));
}

#[test]
fn every_refusal_of_the_request_itself_is_recorded_with_the_answer_it_got() {
    let host = Host::with(&[("server.body_bytes_max", "10")]);
    let echo = host.deploy_echo("echo", &json!({}));
    Request::new("PUT", &echo.path).send(host.catch).expect(405);
    Request::new("POST", &echo.path).body("text/plain", "x").send(host.catch).expect(415);
    Request::new("POST", &echo.path).body(FORM, "a=1234567890").send(host.catch).expect(413);
    let runs = host.runs(&echo);
    let statuses: Vec<&Value> = runs.iter().map(|run| &run["reply_status"]).collect();
    assert_eq!(statuses, [&json!(413), &json!(415), &json!(405)]);
    assert!(runs.iter().all(|run| run["status"] == "cancelled" && run["fault"] == "refused"));
}

#[test]
fn a_failure_says_who_has_to_act_and_nothing_of_the_guest() {
    let host = Host::with(&[("engine.deadline_ms", "300"), ("run.reply_bytes_max", "1000")]);
    for (guest, body, status, code) in [
        ("settings", json!({ "fail": "SECRET" }), 502, "exception"),
        ("trap", json!({}), 502, "trap"),
        ("spin", json!({}), 504, "deadline"),
        ("slow-host-call", json!({}), 504, "deadline"),
        ("huge-reply", json!({ "bytes": 1001 }), 502, "result"),
    ] {
        let workflow = host.deploy(guest, "catch", guest);
        let reply = host.call(&workflow, &body).expect(status);
        assert_eq!(reply.field("code"), code);
        assert_eq!(reply.header("tidegate-fault"), Some("guest"));
        assert_eq!(reply.header("tidegate-run"), Some(reply.field("run").as_str()));
        assert!(!reply.text().contains("SECRET"));
        let run = host.get(&format!("/api/v1/runs/{}", reply.field("run"))).expect(200).json();
        assert_eq!((&run["status"], &run["fault"]), (&json!("failed"), &json!(code)));
    }
    let huge = host.create(&json!({ "name": "edge", "kind": "catch" }));
    host.upload("edge", "application/wasm", &crate::support::guests::component("huge-reply")).expect(201);
    assert_eq!(host.call(&huge, &json!({ "bytes": 1000 })).expect(200).body.len(), 1000);
}

#[test]
fn a_guest_cannot_break_the_reply_or_speak_for_the_host() {
    let host = Host::start();
    let abuse = host.deploy("abuse", "catch", "header-abuse");
    let mut connection = host.connect();
    for (mode, gone) in [
        ("line-breaks", &["x-split", "x-smuggled", "x-response", "x-nul"] as &[&str]),
        ("hop-by-hop", &["keep-alive", "proxy-connection", "te", "trailer", "upgrade"]),
        ("framing", &["transfer-encoding"]),
        ("names", &["", "x y", "x-ü"]),
        ("host", &[]),
    ] {
        let request = Request::new("POST", &abuse.path).json(&json!({ "mode": mode }));
        let reply = connection.send(request.bytes()).reply().unwrap().expect(200);
        assert_eq!(reply.text(), "abused\n", "{mode}: the connection stays in step");
        for name in gone {
            assert_eq!(reply.header(name), None, "{mode}");
        }
        assert_ne!(reply.header("tidegate-run"), Some("forged"));
        assert_eq!(reply.header("tidegate-fault"), None);
        assert_ne!(reply.header("date"), Some("x"));
        assert_eq!(reply.header("content-length"), Some("7"));
    }
    for (mode, count) in [("many", 65), ("long", 20_000)] {
        let reply = host.call(&abuse, &json!({ "mode": mode, "count": count })).expect(502);
        assert_eq!(reply.field("code"), "result");
    }
    for status in [0, 99, 100, 101, 199, 600, 1000] {
        host.call(&abuse, &json!({ "mode": "status", "status": status })).expect(200);
    }
    for status in [204, 205, 304] {
        let request = Request::new("POST", &abuse.path).json(&json!({ "mode": "status", "status": status }));
        let reply = connection.send(request.bytes()).reply().unwrap().expect(status);
        assert!(reply.body.is_empty());
    }
    let request = Request::new("POST", &abuse.path).json(&json!({ "mode": "host" }));
    connection.send(request.bytes()).reply().unwrap().expect(200);
}

#[test]
fn browsers_are_told_what_the_endpoint_allows() {
    let host = Host::start();
    let open = host.deploy_echo("open", &json!({}));
    let closed = host.deploy_echo("closed", &json!({ "cors_origins": ["https://a.example"] }));
    let allowed = |reply: &Reply| reply.header("access-control-allow-origin").map(str::to_owned);
    let preflight = |path: &str, origin: &str| {
        Request::new("OPTIONS", path)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type, authorization")
            .send(host.catch)
            .expect(204)
    };
    let reply = preflight(&open.path, "https://b.example");
    assert_eq!(allowed(&reply).as_deref(), Some("*"));
    assert_eq!(reply.header("access-control-allow-methods"), Some("POST, OPTIONS"));
    assert_eq!(reply.header("access-control-allow-headers"), Some("content-type, authorization"));
    assert_eq!(allowed(&preflight(&closed.path, "https://a.example")).as_deref(), Some("https://a.example"));
    assert_eq!(allowed(&preflight(&closed.path, "https://b.example")), None);

    // Errors can be read as well.
    for (body, status) in [("{}", 200), ("{", 400)] {
        let request = Request::new("POST", &closed.path).header("origin", "https://a.example");
        let reply = request.body("application/json", body).send(host.catch).expect(status);
        assert_eq!(allowed(&reply).as_deref(), Some("https://a.example"));
        assert_eq!(reply.header("vary"), Some("origin"));
    }
    let unknown = Request::new("OPTIONS", "/catch/unknown").header("origin", "https://a.example");
    assert_eq!(allowed(&unknown.send(host.catch).expect(404)), None);
}

#[test]
fn a_pull_has_no_endpoint_and_a_catch_listener_serves_nothing_else() {
    let host = Host::with(&[("server.catch_listen", "127.0.0.1:0")]);
    assert_ne!(host.api, host.catch);
    let hello = host.deploy("hello", "catch", "hello");
    host.call(&hello, &json!({})).expect(200);
    Request::new("POST", &hello.path).json(&json!({})).send(host.api).expect(404);
    for path in ["/api/v1/workflows", "/metrics", "/", "/api/v1/openapi.json"] {
        host.request("GET", path).send(host.catch).expect(404);
    }
    Request::new("GET", "/readyz").send(host.catch).expect(200);
    let pull = host.create(&json!({ "name": "pull", "kind": "pull" }));
    assert_eq!(pull.path, "");
}

#[test]
fn a_reply_that_could_run_in_a_browser_loses_the_consoles_origin() {
    let body = json!({ "bytes": 3 });
    for (settings, sandboxed) in [(&[] as &[_], true), (&[("server.catch_listen", "127.0.0.1:0")], false)] {
        let host = Host::with(settings);
        // Its type is application/octet-stream.
        let huge = host.deploy("huge", "catch", "huge-reply");
        let policy = host.call(&huge, &body).expect(200).header("content-security-policy").map(str::to_owned);
        assert_eq!(policy.as_deref(), sandboxed.then_some("sandbox"));
        let hello = host.deploy("hello", "catch", "hello");
        assert_eq!(host.call(&hello, &body).header("content-security-policy"), None, "text cannot run");
    }
}
