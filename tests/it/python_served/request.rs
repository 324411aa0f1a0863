//! What a catch is handed, and how its caller is refused.

use serde_json::{Value, json};

use super::{Case, Served};
use crate::support::http::Request;

pub(super) const CASES: &[Case] = &[
    ("One flat dict: the parsed body merged with the request's headers.", flat),
    ("On a clash the body wins. `{**_request}` and `json.dumps(_request)` work.", merged),
    ("JSON object: keys at top level, native types, key order and number text kept.", signed),
    ("JSON that is not an object, or not valid JSON: 400, no run of the user's code, and visible.", refused),
    ("Several published workflows post form data under a JSON content type.", form_as_json),
    ("Forms: each field a plain str; a repeated field becomes a list; a file part a dict.", forms),
    ("The untouched body, the query and the method are there too, as attributes.", attributes),
    ("POST with those three content types. Other methods answer 405 with Allow, other types 415.", methods),
    ("unless the workflow's configuration allows them (any method, raw bodies).", raw_bodies),
    ("Browsers post to it: CORS and OPTIONS are answered, configurable per workflow.", cors),
    ("Call it positionally (older code names the first parameter `body`).", positional),
    ("Add no globals to the user's module.", globals),
    ("Every run starts from the same fresh memory: module globals never leak.", fresh),
    ("Randomness, uuid4, secrets and clocks differ between runs.", chance),
];

/// Tells in its reply all that it was handed.
const TELL: &str = r#"
import json


def workflow(_request, settings):
    assert isinstance(_request, dict)
    seen = {
        "keys": list(_request),
        "merged": {**_request},
        "dumped": json.loads(json.dumps(_request)) == dict(_request),
        "raw": _request.raw.decode(),
        "query": _request.query,
        "method": _request.method,
        "header": _request.headers["x-custom"] if "X-CUSTOM" in _request.headers else None,
    }
    return dict(status_code=200, body=json.dumps(seen))
"#;

fn flat(served: &Served) {
    let source = r#"
import json


def workflow(_request, settings):
    names = ["Content-Type", "HTTP-HRFLOW-SIGNATURE", "http-hrflow-signature", "name"]
    return dict(status_code=200, body=json.dumps([_request[name] for name in names] + ["X-None" in _request]))
"#;
    let workflow = served.catch("flat", source);
    let request = Request::new("POST", &workflow.path).header("http-hrflow-signature", "s3");
    let reply = request.json(&json!({ "name": "ann" })).send(served.host.catch).expect(200);
    assert_eq!(reply.json(), json!(["application/json", "s3", "s3", "ann", false]));
}

fn merged(served: &Served) {
    let workflow = served.catch("merged", TELL);
    let request = Request::new("POST", &workflow.path).header("from", "header").header("x-custom", "c");
    let body = r#"{"z": 1, "From": "body", "a": 2}"#;
    let told = request.body("application/json", body).send(served.host.catch).expect(200).json();
    assert_eq!(told["keys"].as_array().unwrap()[..3], [json!("z"), json!("From"), json!("a")]);
    assert_eq!((&told["merged"]["From"], &told["merged"]["X-Custom"]), (&json!("body"), &json!("c")));
    assert_eq!((&told["dumped"], &told["header"]), (&json!(true), &json!("c")));
}

fn signed(served: &Served) {
    let source = r#"
import hashlib, hmac, json


def workflow(_request, settings):
    body = {name: _request[name] for name in ("z", "at", "deep", "whole")}
    types = [type(value).__mro__[-2].__name__ for value in body.values()]
    return dict(status_code=200, body=json.dumps({"again": json.dumps(body), "types": types}))
"#;
    let workflow = served.catch("signed", source);
    let body =
        r#"{"z": 1.10, "at": 1e5, "deep": {"y": [-0, 0.50], "b": true}, "whole": 12345678901234567890}"#;
    let told = served.post(&workflow, "application/json", body).expect(200).json();
    assert_eq!(told["again"], body, "what is serialised again has the bytes that were signed");
    assert_eq!(told["types"], json!(["float", "float", "dict", "int"]));
}

fn refused(served: &Served) {
    let workflow = served.catch("refused", "def workflow(_request, settings):\n    settings['RAN'] = True\n");
    for (body, code, part) in [
        ("{\"a\": ", "invalid-json", "says JSON, but the body"),
        ("[1, 2]", "not-an-object", "the body must be a JSON object, but it is an array"),
        ("\"text\"", "not-an-object", "must be a JSON object"),
        ("{\"a\": NaN}", "invalid-json", "says JSON"),
    ] {
        let reply = served.post(&workflow, "application/json", body).expect(400);
        assert_eq!((reply.field("code").as_str(), reply.header("tidegate-fault")), (code, Some("caller")));
        assert!(reply.field("message").contains(part), "{}", reply.text());
        let run = served.run(&reply);
        assert_eq!((&run["status"], &run["fault"]), (&json!("cancelled"), &json!("refused")), "{run:#}");
        assert_eq!(run["request"]["body"]["text"], body, "the debugger shows what was sent");
        assert_eq!(run["settings_changed"], json!([]), "the function did not run");
    }
}

fn form_as_json(served: &Served) {
    let workflow = served.catch("form-as-json", TELL);
    let reply = served.post(&workflow, "application/json", "text=hello&to=%2B33").expect(400);
    assert!(reply.field("message").contains("the content-type says JSON, but the body"), "{}", reply.text());
}

fn forms(served: &Served) {
    let workflow = served.catch("forms", TELL);
    let form = served.post(&workflow, "application/x-www-form-urlencoded", "a=1&b=x+y&a=2&From=%C3%A9");
    let merged = &form.expect(200).json()["merged"];
    assert_eq!(
        (&merged["a"], &merged["b"], &merged["From"]),
        (&json!(["1", "2"]), &json!("x y"), &json!("é"))
    );

    let part =
        |head: &str, data: &str| format!("--x\r\nContent-Disposition: form-data; {head}\r\n\r\n{data}\r\n");
    let body = [
        part("name=\"note\"", "hi"),
        part("name=\"cv\"; filename=\"a.pdf\"\r\nContent-Type: application/pdf", "%PDF"),
        part("name=\"cv\"; filename=\"b.pdf\"\r\nContent-Type: application/pdf", ""),
        "--x--\r\n".to_owned(),
    ]
    .concat();
    let told = served.post(&workflow, "multipart/form-data; boundary=x", &body).expect(200).json();
    let file =
        |name: &str, data: &str| json!({ "filename": name, "content_type": "application/pdf", "data": data });
    assert_eq!(told["merged"]["note"], "hi");
    assert_eq!(told["merged"]["cv"], json!([file("a.pdf", "JVBERg=="), file("b.pdf", "")]));

    let broken = served.post(&workflow, "multipart/form-data; boundary=x", "--x\r\nno head").status;
    assert!((400..600).contains(&broken), "a broken form is no success: {broken}");
}

fn attributes(served: &Served) {
    let workflow = served.catch("attributes", TELL);
    let request = Request::new("POST", &format!("{}?a=1&a=2&b=", workflow.path));
    let body = r#"{"raw": 1, "query": 2, "method": 3}"#;
    let told = request.body("application/json", body).send(served.host.catch).expect(200).json();
    assert_eq!((&told["raw"], &told["method"]), (&json!(body), &json!("POST")));
    assert_eq!(told["query"], json!({ "a": ["1", "2"], "b": "" }));
    assert_eq!(told["merged"]["query"], 2, "the body's keys are its own");
}

fn methods(served: &Served) {
    let workflow = served.catch("methods", TELL);
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let reply = Request::new(method, &workflow.path).send(served.host.catch).expect(405);
        assert!(reply.header("allow").unwrap().contains("POST"), "{reply:?}");
    }
    for content_type in ["text/plain", "application/xml", "application/octet-stream"] {
        let reply = served.post(&workflow, content_type, "x").expect(415);
        assert_eq!(reply.field("code"), "unsupported-content-type");
    }
}

fn raw_bodies(served: &Served) {
    let endpoint = json!({ "endpoint": { "methods": ["GET", "PUT"], "raw_bodies": true } });
    let workflow = served.workflow("raw", "catch", &endpoint, TELL);
    let put = Request::new("PUT", &workflow.path).body("text/csv", "a;b").send(served.host.catch);
    let told = put.expect(200).json();
    assert_eq!((&told["raw"], &told["method"]), (&json!("a;b"), &json!("PUT")));
    let got =
        Request::new("GET", &format!("{}?x=1", workflow.path)).send(served.host.catch).expect(200).json();
    assert_eq!((&got["raw"], &got["query"]), (&json!(""), &json!({ "x": "1" })));
    served.post(&workflow, "text/csv", "x").expect(405);
}

fn cors(served: &Served) {
    let workflow = served.catch("cors-any", TELL);
    let asks = |path: &str, origin: &str| {
        let request = Request::new("OPTIONS", path).header("origin", origin);
        request.header("access-control-request-method", "POST").send(served.host.catch)
    };
    let allowed = asks(&workflow.path, "https://page.example").expect(204);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("*"));
    let only = json!({ "endpoint": { "cors_origins": ["https://ours.example"] } });
    let workflow = served.workflow("cors-one", "catch", &only, TELL);
    let allowed = asks(&workflow.path, "https://ours.example");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://ours.example"));
    assert_eq!(asks(&workflow.path, "https://page.example").header("access-control-allow-origin"), None);
}

fn positional(served: &Served) {
    let source = "def workflow(body, config):\n    config['SEEN'] = body['name']\n";
    let workflow = served.catch("positional", source);
    let reply = served.call(&workflow, &json!({ "name": "ann" })).expect(200);
    assert_eq!(served.run(&reply)["settings_changed"], json!(["SEEN"]));
}

fn globals(served: &Served) {
    let source = r#"
BEFORE = sorted(globals())


def workflow(_request, settings):
    return {"names": BEFORE, "name": __name__, "file": __file__, "here": "workflow" in globals()}
"#;
    let pull = source.replace("_request, settings", "settings");
    let workflow = served.workflow("globals", "pull", &Value::Null, &pull);
    let value = served.test_run(&workflow)["value"].clone();
    let names = ["__builtins__", "__doc__", "__file__", "__loader__", "__name__", "__package__", "__spec__"];
    assert_eq!(value["names"], json!(names), "what every module has, and nothing else");
    assert_eq!((&value["name"], &value["file"]), (&json!("workflow"), &json!("workflow.py")));
}

fn fresh(served: &Served) {
    let source = r#"
import json

CALLS = []


def workflow(settings):
    CALLS.append(1)
    json.left_behind = getattr(json, "left_behind", 0) + 1
    with open("/tmp/calls", "a") as file:
        file.write("x")
    return [len(CALLS), json.left_behind, len(open("/tmp/calls").read())]
"#;
    let workflow = served.workflow("fresh", "pull", &Value::Null, source);
    for _ in 0..3 {
        assert_eq!(served.test_run(&workflow)["value"], json!([1, 1, 1]));
    }
}

fn chance(served: &Served) {
    let source = r#"
import random, secrets, time, uuid


def workflow(settings):
    return [random.random(), secrets.token_hex(8), str(uuid.uuid4()), time.time_ns()]
"#;
    let workflow = served.workflow("chance", "pull", &Value::Null, source);
    let (first, second) = (served.test_run(&workflow), served.test_run(&workflow));
    for index in 0..4 {
        assert_ne!(first["value"][index], second["value"][index]);
    }
    // All of it came through the host, whose record says what it was.
    for run in [&first, &second] {
        assert_eq!(run["inputs"]["random_seed"].as_str().unwrap().len(), 64, "{run:#}");
        assert!(run["inputs"]["clock_reads"].as_u64().unwrap() > 0);
    }
    assert_ne!(first["inputs"]["random_seed"], second["inputs"]["random_seed"]);
}
