//! The client's side of each exchange.

use std::time::Duration;

use http::Method;

use super::*;
use crate::cli::address::{Address, FoundIn};
use crate::cli::client::{Client, is_loopback, with_query};
use crate::cli::error::{Exit, Failure};
use crate::data::HostFile;

fn error_body(code: &str, message: &str) -> Value {
    json!({"code": code, "message": message, "hint": "do this", "request_id": "r1"})
}

fn refused(answer: Answer) -> Failure {
    FakeHost::answering([answer]).client().get::<Value>("/api/v1/workflows").unwrap_err()
}

/// An address nobody listens at.
fn nobody(found_in: FoundIn) -> Client {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    Client::new(Address { url, token: None, found_in })
}

#[test]
fn a_call_carries_the_token_and_its_document() {
    let host = FakeHost::answering([Answer::Json(200, json!({"ok": 1}))]);
    let answer: Value = host.client().post("/api/v1/x", &json!({"a": "é"})).unwrap();
    assert_eq!(answer, json!({"ok": 1}));
    let received = host.received();
    assert_eq!(received[0].line, "POST /api/v1/x");
    assert_eq!(received[0].headers["authorization"], "Bearer t0k");
    assert_eq!(received[0].headers["content-type"], "application/json");
    assert_eq!(received[0].json(), json!({"a": "é"}));
}

#[test]
fn a_refusal_is_told_in_the_hosts_words() {
    let failure = refused(Answer::Json(409, error_body("name-taken", "a workflow named x exists already")));
    assert_eq!(failure.line(), "a workflow named x exists already");
    assert_eq!((failure.hints.as_slice(), failure.exit), (["do this".to_owned()].as_slice(), Exit::Failed));
    assert_eq!(failure.refused().unwrap().body.code, "name-taken");
    assert!(!failure.is_not_found());
    let failure = refused(Answer::Json(404, error_body("not-found", "no such workflow")));
    assert!(failure.context("show x").is_not_found(), "context does not hide it");
}

#[test]
fn a_fault_of_the_host_names_the_request() {
    let failure = refused(Answer::Json(500, error_body("host", "the store failed")));
    assert_eq!(failure.hints[1], "the host's own log has more about request r1");
}

#[test]
fn a_missing_token_and_a_wrong_one_get_different_hints() {
    let body = || Answer::Json(401, error_body("unauthorized", "a token is needed"));
    let failure = refused(body());
    assert!(failure.line().contains("wants a token: a token is needed"), "{failure}");
    assert!(failure.hints[1].contains("not one of this host"), "{failure:?}");
    let host = FakeHost::answering([body()]);
    let client = Client::new(Address { token: None, ..host.address() });
    let failure = client.get::<Value>("/").unwrap_err();
    assert!(failure.hints[1].contains("TIDEGATE_TOKEN"), "{failure:?}");
    assert!(host.received()[0].headers.get("authorization").is_none());
}

#[test]
fn findings_about_a_program_are_kept() {
    let body = json!({"code": "program", "message": "the program was refused", "request_id": "r",
        "diagnostics": [{"file": "w.py", "line": 3, "column": 5, "message": "SyntaxError: x", "text": "a = ("}]});
    let failure = refused(Answer::Json(422, body));
    assert_eq!((failure.diagnostics[0].line, failure.diagnostics[0].column), (3, 5));
}

#[test]
fn an_answer_that_is_not_tidegates_says_so() {
    for answer in [
        Answer::Bytes(200, "text/html", b"<html>".to_vec()),
        Answer::Bytes(404, "text/html", b"<html>".to_vec()),
        Answer::Bytes(302, "text/html", Vec::new()),
        Answer::Bytes(200, "application/json", b"{\"cut\":".to_vec()),
    ] {
        let failure = refused(answer);
        assert!(failure.line().contains("does not answer like a Tidegate host"), "{failure}");
        assert!(failure.hints[0].contains("TIDEGATE_URL"));
    }
}

#[test]
fn a_host_that_says_nothing_is_given_up() {
    let host = FakeHost::answering([Answer::Silence]);
    let client = host.client().with_call_max(Duration::from_millis(50));
    let failure = client.get::<Value>("/api/v1/workflows").unwrap_err();
    assert!(failure.line().contains("did not answer in time"), "{failure}");
}

#[test]
fn a_refused_connection_says_how_to_start_a_host() {
    let failure = nobody(FoundIn::Default).get::<Value>("/").unwrap_err();
    assert!(failure.line().contains("cannot be reached"), "{failure}");
    assert!(failure.line().to_lowercase().contains("connection refused"), "{failure}");
    assert!(failure.hints[0].contains("`tidegate serve`"), "{failure:?}");

    let file = HostFile { url: String::new(), catch_url: String::new(), pid: 0 };
    let failure = nobody(FoundIn::Data("/d".into(), file)).get::<Value>("/").unwrap_err();
    assert_eq!(failure.hints[0], "the host of /d is not running: `tidegate serve --data /d` starts it");
}

#[test]
fn an_upload_that_is_too_large_hears_why() {
    let refusal = error_body("too-large", "the upload is over the limit");
    let host = FakeHost::answering([Answer::Unread(413, refusal)]);
    let failure =
        host.client().upload::<Value>(Method::POST, "/v", "application/wasm", vec![0; 8 << 20]).unwrap_err();
    assert_eq!(failure.line(), "the upload is over the limit");
    assert_eq!(host.received()[0].headers["expect"], "100-continue");
}

#[test]
fn an_upload_that_is_wanted_arrives_whole() {
    let host = FakeHost::answering([Answer::Json(201, json!({"version": 1}))]);
    let _: Value = host.client().upload(Method::POST, "/v", "application/wasm", vec![7; 3 << 20]).unwrap();
    assert_eq!(host.received()[0].body.len(), 3 << 20);
}

#[test]
fn queries_are_escaped() {
    let parameters = [("a", Some("x y&é".to_owned())), ("b", None), ("c", Some("1".to_owned()))];
    assert_eq!(with_query("/p", &parameters), "/p?a=x%20y%26%C3%A9&c=1");
    assert!(is_loopback("http://[::1]:1") && is_loopback("http://localhost"));
    assert!(!is_loopback("http://example.org"));
}
