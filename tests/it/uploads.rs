//! Versions: deploying, refusing, downloading, going back.

use serde_json::{Value, json};

use crate::support::guests;
use crate::support::host::Host;
use crate::support::http::Request;

const WASM: &str = "application/wasm";

#[test]
fn a_version_is_deployed_listed_downloaded_and_gone_back_from() {
    let host = Host::start();
    let hello = guests::component("hello");
    let workflow = host.create(&json!({ "name": "w", "kind": "catch" }));
    let first = host.upload("w", WASM, &hello).expect(201).json();
    assert_eq!(
        (&first["name"], &first["kind"], &first["version"]),
        (&json!("w"), &json!("catch"), &json!(1))
    );
    assert!(first["url"].as_str().unwrap().ends_with(&workflow.path));
    let path = "/api/v1/workflows/w/versions?message=the%20second";
    let second = host.request("POST", path).body(WASM, guests::component("echo")).send(host.api);
    assert_eq!(second.expect(201).json()["version"], 2);

    let versions = host.get("/api/v1/workflows/w/versions").expect(200).json()["versions"].clone();
    assert_eq!((&versions[0]["number"], &versions[0]["active"]), (&json!(2), &json!(true)));
    assert_eq!((&versions[0]["message"], &versions[1]["active"]), (&json!("the second"), &json!(false)));
    let source = host.get("/api/v1/workflows/w/versions/1/source").expect(200);
    assert_eq!((source.body == hello, source.header("content-type")), (true, Some(WASM)));
    assert_eq!(source.header("content-disposition"), Some("attachment; filename=\"w-1.wasm\""));

    let back = host.request("POST", "/api/v1/workflows/w/activate").send(host.api).expect(200).json();
    assert_eq!(back["active_version"], 1);
    assert_eq!(host.call(&workflow, &json!({})).expect(200).text(), "hello\n");
    let forth =
        host.tell("POST", "/api/v1/workflows/w/activate", &json!({ "version": 2 })).expect(200).json();
    assert_eq!(forth["active_version"], 2);
    host.call(&workflow, &json!({})).expect(200).json();
}

#[test]
fn what_is_no_workflow_component_is_refused_with_a_reason() {
    let host = Host::start();
    host.create(&json!({ "name": "w", "kind": "catch" }));
    let hello = guests::component("hello");
    for (program, words) in [
        (&b"#!/bin/sh\n"[..], "not a WebAssembly component"),
        (b"", "not a WebAssembly component"),
        (b"\0asm\x01\0\0\0", "core WebAssembly module"),
        (&hello[..hello.len() / 2], "cut off"),
        (&guests::component("no-export")[..], ""),
        (&guests::component("odd-import")[..], "imports what this host does not offer"),
        (&guests::component("wrong-type")[..], ""),
    ] {
        let reply = host.upload("w", WASM, program).expect(422);
        let error = reply.json();
        assert!(error["message"].as_str().unwrap().contains(words), "{words:?} is not in {error}");
        assert!(!error["hint"].as_str().unwrap_or("-").is_empty(), "{error}");
    }
    assert_eq!(host.get("/api/v1/workflows/w").json()["active_version"], Value::Null);
}

#[test]
fn an_upload_has_a_largest_size() {
    let host = Host::start();
    host.create(&json!({ "name": "w", "kind": "catch" }));
    // The whole of it is sent before the answer is read.
    let reply = host.upload("w", WASM, &vec![0; 65 << 20]).expect(413);
    assert_eq!(
        (reply.field("code").as_str(), reply.field("message").contains("67108864")),
        ("body-too-large", true)
    );
    // The edge itself is read, and then it is no component.
    host.upload("w", WASM, &vec![0; 64 << 20]).expect(422);
    host.upload("w", "text/x-python", &vec![b'#'; (1 << 20) + 1]).expect(413);
}

#[test]
fn an_upload_that_breaks_off_changes_nothing() {
    let host = Host::start();
    host.create(&json!({ "name": "w", "kind": "catch" }));
    let hello = guests::component("hello");
    let head = host
        .request("POST", "/api/v1/workflows/w/versions")
        .header("content-type", WASM)
        .header("content-length", &hello.len().to_string());
    let mut connection = crate::support::http::Connection::open(host.api);
    connection.send(head.bytes()).send(&hello[..hello.len() / 2]).shut_write();
    assert!(connection.reply().is_none_or(|reply| reply.status == 400));
    assert_eq!(host.get("/api/v1/workflows/w/versions").expect(200).json(), json!({ "versions": [] }));
}

#[test]
fn a_program_can_be_checked_without_a_version_of_it() {
    let host = Host::start();
    host.create(&json!({ "name": "w", "kind": "catch" }));
    let check = |program: &[u8]| {
        let path = "/api/v1/workflows/w/versions?check=true";
        host.request("POST", path).body(WASM, program).send(host.api)
    };
    let checked = check(&guests::component("hello")).expect(200).json();
    assert_eq!((&checked["name"], &checked["kind"]), (&json!("w"), &json!("catch")));
    check(&guests::component("no-export")).expect(422);
    assert_eq!(host.get("/api/v1/workflows/w/versions").expect(200).json(), json!({ "versions": [] }));
}

#[test]
fn an_upload_says_what_it_is() {
    let host = Host::start();
    host.create(&json!({ "name": "w", "kind": "catch" }));
    let reply = host.upload("w", "application/octet-stream", b"x").expect(415);
    assert!(reply.field("message").contains("application/wasm or text/x-python"));
    host.upload("none", WASM, b"x").expect(404);
    let path = "/api/v1/workflows/w/versions?file=a.py";
    let reply = host.request("POST", path).body(WASM, "x").send(host.api).expect(422);
    assert_eq!(
        (reply.field("code").as_str(), reply.field("message").starts_with("file:")),
        ("invalid-field", true)
    );
    host.request("POST", "/api/v1/workflows/w/versions?mesage=x").body(WASM, "x").send(host.api).expect(400);
}

#[test]
fn source_needs_a_runtime_and_a_runtime_is_no_workflow() {
    let host = Host::start();
    host.create(&json!({ "name": "w", "kind": "catch" }));
    let reply = host.upload("w", "text/x-python", b"def workflow(_request, settings): pass\n").expect(422);
    assert_eq!(reply.field("code"), "no-runtime");
    assert_eq!(host.get("/api/v1/runtimes").expect(200).json(), json!({ "runtimes": [] }));
    let install = |name: &str, content_type: &str, body: &[u8]| {
        host.request("PUT", &format!("/api/v1/runtimes/{name}")).body(content_type, body).send(host.api)
    };
    assert_eq!(install("python", WASM, &guests::component("hello")).expect(422).field("code"), "wrong-world");
    install("python", "text/plain", b"x").expect(415);
    install("python", WASM, b"x").expect(422);
    Request::new("PUT", "/api/v1/runtimes/python").body(WASM, "x").send(host.api).expect(401);
}
