//! What a workflow keeps from run to run.

use serde_json::{Value, json};

use super::{Case, Served};
use crate::support::host::Workflow;
use crate::support::http::Request;

pub(super) const CASES: &[Case] = &[
    ("What the function leaves in it is there at the next run. Assignment in place is the API.", kept),
    ("Numbers, lists, booleans survive a round trip as JSON types. Names may start with underscores.", types),
    ("Nothing is saved when it raises, traps or times out.", not_saved),
    ("Two concurrent runs that touch different keys both win; on the same key the later finish.", concurrent),
    ("A value that cannot be serialised fails the run, names the key, keeps the old settings.", not_json),
    ("`settings.save()` commits early (a cursor after each page of a long pull).", early),
];

/// The settings as the API has them.
fn stored(served: &Served, workflow: &Workflow) -> Value {
    let path = format!("/api/v1/workflows/{}/settings", workflow.name);
    let list = served.host.get(&path).expect(200).json();
    let settings = list["settings"].as_array().unwrap().iter();
    Value::Object(
        settings.map(|one| (one["name"].as_str().unwrap().to_owned(), one["value"].clone())).collect(),
    )
}

fn kept(served: &Served) {
    let source = r#"
def workflow(settings):
    before = settings.get("LAST_UID")
    settings["LAST_UID"] = (before or 0) + 1
    settings.pop("OLD", None)
    return before
"#;
    let workflow = served.workflow("kept", "pull", &Value::Null, source);
    served.set(&workflow, &json!({ "OLD": "x", "LAST_UID": 5, "TOKEN": "t" }));
    let first = served.test_run(&workflow);
    assert_eq!((&first["value"], &first["settings_changed"]), (&json!(5), &json!(["LAST_UID", "OLD"])));
    assert_eq!(served.test_run(&workflow)["value"], 6);
    assert_eq!(stored(served, &workflow), json!({ "LAST_UID": 7, "TOKEN": "t" }));
}

fn types(served: &Served) {
    let source = r#"
VALUES = {"_N": 1.5, "_I": 10**20, "B": True, "L": [1, "é", None, {"k": False}], "S": "", "Z": None}


def workflow(settings):
    if not settings:
        settings.update(VALUES)
        return None
    return [settings == VALUES, [type(value).__name__ for value in settings.values()]]
"#;
    let workflow = served.workflow("types", "pull", &Value::Null, source);
    served.test_run(&workflow);
    let value = served.test_run(&workflow)["value"].clone();
    assert_eq!(value[0], true, "{value}");
    let mut names: Vec<_> = value[1].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["NoneType", "bool", "float", "int", "list", "str"]);
}

fn not_saved(served: &Served) {
    let source = r#"
import os


def workflow(_request, settings):
    settings["CURSOR"] = "new"
    settings["MORE"] = 1
    how = _request["how"]
    if how == "raise":
        raise ValueError("no")
    if how == "memory":
        while True:
            settings.setdefault("LIST", []).append("x" * 1_000_000)
    if how == "exit":
        os._exit(0)
    while how == "time out":
        pass
"#;
    let limits = json!({ "limits": { "deadline_ms": 1000 } });
    let workflow = served.workflow("not-saved", "catch", &limits, source);
    let old = json!({ "CURSOR": "old", "MORE": 0 });
    served.set(&workflow, &old);
    for (how, status) in [("raise", 502), ("memory", 502), ("exit", 502), ("time out", 504)] {
        let reply = served.call(&workflow, &json!({ "how": how })).expect(status);
        assert_eq!(served.run(&reply)["settings_changed"], json!([]), "{how}");
        assert_eq!(stored(served, &workflow), old, "{how}");
    }
    served.call(&workflow, &json!({ "how": "well" })).expect(200);
    assert_eq!(stored(served, &workflow), json!({ "CURSOR": "new", "MORE": 1 }));
}

/// Sets a key, and where it is told to, waits before it returns until the server lets it.
const HOLDING: &str = r#"
import requests


def workflow(_request, settings):
    settings[_request["key"]] = _request["value"]
    if _request["hold"]:
        requests.get(settings["URL"] + "/held", timeout=20)
"#;

fn concurrent(served: &Served) {
    let workflow = served.catch("concurrent", HOLDING);
    served.set(&workflow, &json!({ "URL": served.url(), "A": 0, "B": 0, "C": 0 }));
    let ask = |path: &str| ureq::get(format!("{}{path}", served.url())).call().unwrap();
    let body = |key: &str, value: u32, hold: bool| json!({ "key": key, "value": value, "hold": hold });
    for (first, second, end) in [("A", "B", json!([1, 2])), ("C", "C", json!([1, 1]))] {
        let mut connection = served.host.connect();
        connection.send(Request::new("POST", &workflow.path).json(&body(first, 1, true)).bytes());
        ask("/holding");
        served.call(&workflow, &body(second, 2, false)).expect(200);
        assert_eq!(stored(served, &workflow)[second], 2);
        ask("/release");
        connection.reply().unwrap().expect(200);
        let after = stored(served, &workflow);
        assert_eq!(json!([after[first], after[second]]), end);
    }
}

fn not_json(served: &Served) {
    let source = r#"
import datetime


def workflow(settings):
    settings["COUNT"] = 2
    settings["LAST_RUN"] = {"at": [datetime.date(2024, 1, 2)]}
"#;
    let workflow = served.workflow("not-json", "pull", &Value::Null, source);
    served.set(&workflow, &json!({ "COUNT": 1 }));
    let run = served.test_run(&workflow);
    assert_eq!(
        run["message"],
        "SettingsError: settings['LAST_RUN']['at'][0] cannot be saved: a date is not JSON \
         (use str, int, float, bool, None, list or dict)"
    );
    assert_eq!(stored(served, &workflow), json!({ "COUNT": 1 }));
}

fn early(served: &Served) {
    let source = r#"
def workflow(settings):
    for page in range(settings["CURSOR"] + 1, 10):
        settings["CURSOR"] = page
        settings.save()
        if page in (3, 6):
            settings["LOST"] = True
            raise ConnectionError(f"page {page + 1} cannot be read")
    return settings["CURSOR"]
"#;
    let workflow = served.workflow("early", "pull", &Value::Null, source);
    served.set(&workflow, &json!({ "CURSOR": 0 }));
    for cursor in [3, 6] {
        assert_eq!(served.test_run(&workflow)["status"], "failed");
        assert_eq!(stored(served, &workflow), json!({ "CURSOR": cursor }));
    }
    assert_eq!(served.test_run(&workflow)["value"], 9);
}
