//! Requests that are kept with a workflow.

use serde_json::json;

use crate::support::host::Host;

#[test]
fn kept_requests_are_there_until_they_are_removed() {
    let host = Host::start();
    host.deploy("hello", "catch", "hello");
    let path = "/api/v1/workflows/hello/samples";
    assert_eq!(host.get(path).expect(200).json(), json!({ "samples": [] }));
    let request =
        json!({ "method": "POST", "path": "/?a=1", "headers": { "x-a": "b" }, "body": { "name": "Ada" } });
    host.tell("PUT", &format!("{path}/a%20good%20one"), &request).expect(200);
    let kept = host.tell("PUT", &format!("{path}/another"), &json!({ "body": "x" })).expect(200).json();
    assert_eq!(kept["samples"][0], json!({ "name": "a good one", "request": request }));
    assert_eq!(kept["samples"][1]["request"], json!({ "body": "x" }));
    // What is kept can be run as it is, and stays out of what others list.
    host.tell("POST", "/api/v1/workflows/hello/runs", &kept["samples"][0]["request"]).expect(200);
    assert_eq!(host.get("/api/v1/workflows/hello").expect(200).json().get("samples"), None);
    host.tell("PUT", &format!("{path}/wrong"), &json!({ "method": "NO METHOD" })).expect(422);
    host.tell("PUT", &format!("{path}/large"), &json!({ "body": "x".repeat(70_000) })).expect(422);
    host.tell("DELETE", &format!("{path}/another"), &json!({})).expect(204);
    host.tell("DELETE", &format!("{path}/another"), &json!({})).expect(404);
    assert_eq!(host.get(path).expect(200).json()["samples"].as_array().unwrap().len(), 1);
    host.tell("POST", "/api/v1/workflows", &json!({ "name": "by-clock", "kind": "pull" })).expect(201);
    host.tell("PUT", "/api/v1/workflows/by-clock/samples/x", &json!({})).expect(409);
}
