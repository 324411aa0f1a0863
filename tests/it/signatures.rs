//! Webhook signatures, over real HTTP.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::host::{Host, Workflow};
use crate::support::http::{Reply, Request};
use crate::support::wait;

const SECRET: &str = "It's a Secret to Everybody";

fn sign(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// A workflow that runs `settings`, and takes what this scheme signs with `SECRET`.
fn signed(host: &Host, name: &str, signature: &Value) -> Workflow {
    let workflow = host.deploy(name, "catch", "settings");
    let path = format!("/api/v1/workflows/{name}");
    host.tell("PATCH", &path, &json!({ "signature": signature })).expect(200);
    host.tell("PATCH", &format!("{path}/settings"), &json!({ "SECRET": SECRET })).expect(200);
    workflow
}

fn github(workflow: &Workflow, secret: &str, body: &Value) -> Request {
    let signature = format!("sha256={}", sign(secret, &[body.to_string().as_bytes()]));
    Request::new("POST", &workflow.path).header("x-hub-signature-256", &signature).json(body)
}

fn stripe(workflow: &Workflow, at: i64, body: &Value) -> Request {
    let signature = sign(SECRET, &[at.to_string().as_bytes(), b".", body.to_string().as_bytes()]);
    let header = format!("t={at},v1={signature}");
    Request::new("POST", &workflow.path).header("stripe-signature", &header).json(body)
}

fn refused(reply: Reply, status: u16, code: &str) -> Reply {
    let reply = reply.expect(status);
    assert_eq!(reply.field("code"), code);
    reply
}

#[test]
fn unsigned_request_never_runs_and_is_told_which_check_failed() {
    let host = Host::start();
    let github_only = json!({ "scheme": "github", "secret_settings": ["SECRET"] });
    let workflow = signed(&host, "signed", &github_only);
    let body = json!({ "set": { "RAN": 1 } });
    let plain = Request::new("POST", &workflow.path).json(&body);
    let missing = refused(plain.send(host.catch), 401, "signature-missing");
    assert!(missing.header("www-authenticate").is_some());
    assert_eq!(missing.header("tidegate-fault"), Some("caller"));
    let malformed = Request::new("POST", &workflow.path).header("x-hub-signature-256", "sha1=00").json(&body);
    refused(malformed.send(host.catch), 401, "signature-malformed");
    let mismatch = refused(github(&workflow, "another", &body).send(host.catch), 401, "signature-mismatch");
    assert!(!mismatch.text().contains("SECRET"), "{}", mismatch.text());

    // All of them are in the debugger, none of them ran, and each is counted.
    let runs = host.runs(&workflow);
    assert_eq!(runs.len(), 3);
    for run in &runs {
        assert_eq!((&run["status"], &run["fault"]), (&json!("cancelled"), &json!("refused")), "{run}");
    }
    let metrics = host.get("/metrics").expect(200).text();
    for code in ["missing", "malformed", "mismatch"] {
        let line = format!("tidegate_catch_refusals_total{{code=\"signature-{code}\"}} 1");
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
    github(&workflow, SECRET, &body).send(host.catch).expect(200);

    // An operator's test run and replay need no signature.
    let run = host.runs(&workflow)[0]["id"].as_str().unwrap().to_owned();
    host.tell("POST", "/api/v1/workflows/signed/runs", &json!({ "body": {} })).expect(200);
    host.request("POST", &format!("/api/v1/runs/{run}/replay")).send(host.api).expect(200);
}

#[test]
fn delivery_that_is_sent_again_does_not_run_again_whatever_is_changed_around_it() {
    let mut host = Host::start();
    let workflow =
        signed(&host, "signed", &json!({ "scheme": "stripe", "secret_settings": ["OLD", "SECRET"] }));
    let at = Timestamp::now().as_second();
    let body = json!({ "set": { "RAN": 1 } });
    let first = stripe(&workflow, at, &body).send(host.catch).expect(200);
    let again = stripe(&workflow, at, &body).header("idempotency-key", "new").send(host.catch).expect(200);
    assert_eq!(again.header("tidegate-repeated"), Some("true"));
    assert_eq!(again.header("tidegate-run"), first.header("tidegate-run"));
    let elsewhere = Workflow { name: workflow.name.clone(), path: format!("{}?a=b", workflow.path) };
    refused(stripe(&elsewhere, at, &body).send(host.catch), 422, "key-reused");
    let later = stripe(&workflow, at, &body).header("prefer", "respond-async").send(host.catch).expect(202);
    assert_eq!(later.header("tidegate-repeated"), Some("true"));

    // What was captured cannot wait for the host to forget it.
    let id = first.header("tidegate-run").unwrap().to_owned();
    host.kill_and_restart();
    let again = stripe(&workflow, at, &body).send(host.catch).expect(200);
    assert_eq!(again.header("tidegate-run"), Some(&*id));
    assert_eq!(host.runs(&workflow).len(), 1);
    // The sender's next delivery is another one.
    stripe(&workflow, at + 1, &body).send(host.catch).expect(200);
    assert_eq!(host.runs(&workflow).len(), 2);
    for old in [at - 400, at + 400] {
        refused(stripe(&workflow, old, &body).send(host.catch), 401, "signature-expired");
    }
}

#[test]
fn delivery_that_failed_may_be_sent_again() {
    let host = Host::start();
    let workflow = signed(&host, "signed", &json!({ "scheme": "github", "secret_settings": ["SECRET"] }));
    let body = json!({ "fail": "not yet" });
    let failed = github(&workflow, SECRET, &body).send(host.catch).expect(502);
    // The caller is answered before the key is free again.
    let again = wait::for_some("a second run", || {
        Some(github(&workflow, SECRET, &body).send(host.catch)).filter(|reply| reply.status == 502)
    });
    assert_ne!(again.header("tidegate-run"), failed.header("tidegate-run"));
}

#[test]
fn event_without_an_identity_runs_as_often_as_it_is_sent() {
    let host = Host::start();
    let workflow = signed(&host, "signed", &json!({ "scheme": "hrflow", "secret_settings": ["SECRET"] }));
    let body = json!({ "set": { "RAN": 1 } });
    let send = || {
        let signature = sign(SECRET, &[body.to_string().as_bytes()]);
        let request = Request::new("POST", &workflow.path).header("HTTP-HRFLOW-SIGNATURE", &signature);
        request.json(&body).send(host.catch).expect(200)
    };
    assert_ne!(send().header("tidegate-run"), send().header("tidegate-run"));
    assert_eq!(host.runs(&workflow).len(), 2);
}

#[test]
fn workflow_without_its_secret_takes_nothing() {
    let host = Host::start();
    let workflow = signed(&host, "signed", &json!({ "scheme": "github", "secret_settings": ["SECRET"] }));
    host.tell("PATCH", "/api/v1/workflows/signed/settings", &json!({ "SECRET": null })).expect(200);
    let reply = github(&workflow, "", &json!({})).send(host.catch);
    let unset = refused(reply, 503, "signature-unset");
    assert!(!unset.text().contains("SECRET"));
    let run = host.runs(&workflow).remove(0);
    let record = host.get(&format!("/api/v1/runs/{}", run["id"].as_str().unwrap())).expect(200).text();
    assert!(record.contains("the setting \\\"SECRET\\\" is not set"), "{record}");
}

#[test]
fn signature_is_configured_by_api_and_command_line() {
    let host = Host::start();
    host.deploy("signed", "catch", "hello");
    host.create(&json!({ "name": "pull", "kind": "pull" }));
    let path = "/api/v1/workflows/signed";
    let wrong = |patch: Value, field: &str| {
        let refused = host.tell("PATCH", path, &json!({ "signature": patch })).expect(422);
        assert!(refused.field("message").contains(field), "{}", refused.text());
    };
    wrong(json!({ "scheme": "github", "secret_settings": [] }), "signature.secret_settings");
    wrong(json!({ "scheme": "github", "secret_settings": [""] }), "signature.secret_settings");
    wrong(json!({ "scheme": "github", "secret_settings": vec!["A"; 9] }), "signature.secret_settings");
    host.tell(
        "PATCH",
        path,
        &json!({ "signature": { "scheme": "github", "secret_settings": vec!["A"; 8] } }),
    )
    .expect(200);
    for (tolerance_s, status) in [(0, 422), (1, 200), (86_400, 200), (86_401, 422)] {
        let signature = json!({ "scheme": "slack", "secret_settings": ["A"], "tolerance_s": tolerance_s });
        host.tell("PATCH", path, &json!({ "signature": signature })).expect(status);
    }
    wrong(json!({ "scheme": "gitlab", "secret_settings": ["A"] }), "gitlab");
    let pull = json!({ "signature": { "scheme": "github", "secret_settings": ["A"] } });
    let refused = host.tell("PATCH", "/api/v1/workflows/pull", &pull).expect(409);
    assert_eq!(refused.field("code"), "wrong-kind");
    // What is left out stays; null removes it.
    host.tell("PATCH", path, &json!({ "description": "x" })).expect(200);
    assert_eq!(host.get(path).json()["signature"]["scheme"], "slack");
    assert_eq!(
        host.tell("PATCH", path, &json!({ "signature": null })).expect(200).json().get("signature"),
        None
    );

    let told = |arguments: &[&str]| {
        let output = host.command(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let set = ["signature", "set", "signed", "--scheme", "github", "--secret-setting", "WEBHOOK_SECRET"];
    let (_, stderr) = told(&[&set[..], &["--tolerance", "90s"]].concat());
    assert!(stderr.contains("signed takes requests that github signed, and no others"), "{stderr}");
    assert!(stderr.contains("WEBHOOK_SECRET is not set"), "{stderr}");
    let shown: Value = serde_json::from_str(&told(&["signature", "show", "signed", "--json"]).0).unwrap();
    let secrets = json!(["WEBHOOK_SECRET"]);
    assert_eq!(shown, json!({ "scheme": "github", "secret_settings": secrets, "tolerance_s": 90 }));
    let (page, _) = told(&["signature", "show", "signed"]);
    assert!(page.contains("x-hub-signature-256"), "{page}");
    assert!(told(&["show", "signed"]).0.contains("github, with WEBHOOK_SECRET"));
    told(&["signature", "remove", "signed"]);
    assert_eq!(told(&["signature", "show", "signed", "--json"]).0.trim(), "null");
}
