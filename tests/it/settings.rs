//! Settings over the management API: what may be done to them, and what is never shown.

use serde_json::{Value, json};

use crate::support::host::Host;

const SETTINGS: &str = "/api/v1/workflows/sync/settings";

fn host() -> Host {
    let host = Host::start();
    host.create(&json!({ "name": "sync", "kind": "pull" }));
    host
}

fn put(host: &Host, name: &str, spec: &Value, status: u16) -> Value {
    host.tell("PUT", &format!("{SETTINGS}/{name}"), spec).expect(status).json()
}

#[test]
fn a_sealed_setting_shows_its_hosts_and_never_its_value() {
    let host = host();
    let seal = json!({ "hosts": ["API.Company.com.", "b.example:8443"], "places": ["bearer"] });
    let spec = json!({ "value": "sk_live_1234567890", "seal": seal });
    let list = put(&host, "API_KEY", &spec, 200);
    let shown = &list["settings"][0];
    assert_eq!((&shown["name"], &shown["visibility"]), (&json!("API_KEY"), &json!("sealed")));
    let seal =
        json!({ "hosts": ["api.company.com", "b.example:8443"], "places": ["bearer"], "allow_http": false });
    assert_eq!(shown["seal"], seal);
    assert_eq!(shown["updated_by"], json!({ "user": null }));
    assert!(!host.get(SETTINGS).expect(200).json().to_string().contains("sk_live"));

    // It can be narrowed and closed without its value, and opened only with one.
    let narrow = json!({ "hosts": ["api.company.com"], "places": ["bearer"] });
    put(&host, "API_KEY", &json!({ "seal": narrow }), 200);
    let other = json!({ "hosts": ["evil.example"], "places": ["bearer"] });
    for spec in [
        json!({ "seal": other }),
        json!({ "visibility": "secret" }),
        json!({ "visibility": "plain" }),
        json!({ "visibility": "sealed" }),
        json!({ "visibility": "plain", "seal": narrow, "value": "sk_live_1234567890" }),
    ] {
        let error = put(&host, "API_KEY", &spec, 422);
        assert!(!error.to_string().contains("sk_live"), "{error}");
    }
    // A new value by the other verb keeps the seal.
    host.tell("PATCH", SETTINGS, &json!({ "API_KEY": "sk_live_0987654321" })).expect(200);
    assert_eq!(host.get(SETTINGS).json()["settings"][0]["seal"]["hosts"], json!(["api.company.com"]));
    put(&host, "API_KEY", &json!({ "visibility": "plain", "value": "public" }), 200);
    let shown = host.get(SETTINGS).json()["settings"][0].clone();
    assert_eq!((&shown["value"], &shown["seal"]), (&json!("public"), &Value::Null));
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    let host = host();
    let seal = json!({ "hosts": ["api.company.com"] });
    for value in
        [json!("short"), json!(12_345_678), json!("with\r\nbreak"), json!("x".repeat(4097)), json!({})]
    {
        let error = put(&host, "K", &json!({ "value": value, "seal": seal }), 422);
        assert!(error["message"].as_str().unwrap().contains("8 to 4096 bytes"), "{error}");
    }
    for hosts in [json!([]), json!(["https://a.example"]), json!(["*.a.example"]), json!(["a.example:0"])] {
        let seal = json!({ "hosts": hosts });
        put(&host, "K", &json!({ "value": "long-enough", "seal": seal }), 422);
    }
    put(
        &host,
        "K",
        &json!({ "value": "long-enough", "seal": { "hosts": ["a.example"], "places": [] } }),
        422,
    );
    put(&host, "K", &json!({ "seal": seal }), 404);
    let patched =
        host.tell("PATCH", &format!("{SETTINGS}?visibility=sealed"), &json!({ "K": "long-enough" }));
    assert!(patched.expect(422).json()["message"].as_str().unwrap().contains("PUT"));
    assert_eq!(host.get(SETTINGS).json()["settings"], json!([]));
}
