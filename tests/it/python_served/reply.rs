//! What the caller of a catch gets, and what the run's record keeps.

use serde_json::{Value, json};

use super::{Case, Served};
use crate::support::http::Reply;

pub(super) const CASES: &[Case] = &[
    ("dict(status_code, body, headers) becomes the HTTP response of a catch.", response),
    ("Anything that is not a dict does not fail the run; the caller gets the default body.", default),
    ("A dict without `body` or with a wrong type: the default body, and a warning that names the key.", odd),
    ("Headers with line breaks, 10,000 headers.", odd_headers),
    ("A raise ends the run as failed: the caller gets 502 and no traceback; the debugger has it.", failed),
    ("A trap, or the deadline: 502, or 504.", ended),
    ("For a pull the return value is kept in the run's record.", returned),
    ("`print`, `logging` and tracebacks go to the run's log.", logged),
    ("A `print` of a megabyte is cut and says so; so is a file that prints forever.", cut),
    ("The defects of published workflows give a clear error, and run once they are mended.", defects),
];

/// Evaluates what the request says, and returns that.
const EVAL: &str = "def workflow(_request, settings):\n    return eval(_request['say'])\n";

fn say(served: &Served, name: &str, say: &str) -> Reply {
    let path = format!("/api/v1/workflows/{name}");
    let found = served.host.get(&path);
    let workflow = match found.status {
        200 => {
            let url = found.field("url");
            let path = url[url.find("/catch/").unwrap()..].to_owned();
            crate::support::host::Workflow { name: name.to_owned(), path }
        }
        _ => served.catch(name, EVAL),
    };
    served.call(&workflow, &json!({ "say": say }))
}

fn response(served: &Served) {
    let reply = say(
        served,
        "response",
        "dict(status_code=418, body='short', headers={'X-Tea': 'yes', 'Content-Type': 'text/tea'})",
    );
    assert_eq!((reply.status, reply.text().as_str(), reply.header("x-tea")), (418, "short", Some("yes")));
    assert_eq!(reply.header("content-type"), Some("text/tea"));
    let plain = say(served, "response", "dict(status_code=201, body='{\"a\": 1}')");
    assert_eq!((plain.status, plain.header("content-type")), (201, Some("application/json")));
}

fn default(served: &Served) {
    for value in ["None", "'text'", "[1]", "42", "object()"] {
        let reply = say(served, "default", value).expect(200);
        let run = reply.header("tidegate-run").unwrap();
        assert_eq!(reply.json(), json!({ "run": run, "status": "succeeded" }), "{value}");
    }
}

fn odd(served: &Served) {
    for (value, status, warning) in [
        ("dict(status_code=202)", 202, "the returned dict has no 'body': the caller gets the default body"),
        ("dict(status_code=202, body={'a': 1})", 202, "'body' must be a str, not a dict (use json.dumps)"),
        ("dict(status_code=202, body=None)", 202, "'body' must be a str, not None"),
        ("dict(status_code='202', body='x')", 200, "'status_code' must be an int, not a str"),
        ("dict(status_code=1000, body='x')", 200, "'status_code' must be from 200 to 599, not 1000"),
        ("dict(body='x')", 200, "the returned dict has no 'status_code'"),
        ("{'message': 'x'}", 200, "the returned dict has no 'status_code'"),
        (
            "dict(status_code=202, body='x', headers=[1])",
            202,
            "'headers' must be a dict, not a list: left out",
        ),
    ] {
        let reply = say(served, "odd", value).expect(status);
        if !value.contains("headers") {
            assert_eq!(reply.field("status"), "succeeded", "{value}: {}", reply.text());
        }
        let (level, text) = served.log(&reply)[0].clone();
        assert!(level == "warning" && text.contains(warning), "{value}: {text}");
    }
}

fn odd_headers(served: &Served) {
    let value =
        "dict(status_code=200, body='x', headers={'X-A': '1\\r\\nSet-Cookie: a=b', 'X B': '2', 'X-C': '3'})";
    let reply = say(served, "odd-headers", value).expect(200);
    assert_eq!(
        (reply.header("set-cookie"), reply.header("x-a"), reply.header("x-c")),
        (None, None, Some("3"))
    );
    let log = served.log(&reply);
    assert!(log[0].1.contains("'X-A' has a line break") && log[1].1.contains("'X B'"), "{log:?}");

    let many = "dict(status_code=200, body='x', headers={f'X-{n}': '1' for n in range(10000)})";
    let reply = say(served, "odd-headers", many).expect(502);
    assert_eq!(served.run(&reply)["message"], "the reply has 10000 headers, more than the limit of 64");
}

fn failed(served: &Served) {
    let source = r#"
import json


def inner(text):
    return json.loads(text)["a"]


def workflow(_request, settings):
    try:
        inner("{")
    except ValueError as error:
        raise ConnectionError("the ATS answered nonsense") from error
"#;
    let workflow = served.catch("failed", source);
    let reply = served.call(&workflow, &json!({})).expect(502);
    assert_eq!(reply.header("tidegate-fault"), Some("guest"));
    let run = served.run(&reply);
    assert_eq!(
        reply.json(),
        json!({ "run": run["id"], "code": "exception", "message": "the workflow failed; its run record says why" })
    );
    assert_eq!(run["message"], "ConnectionError: the ATS answered nonsense");
    let trace = run["trace"].as_str().unwrap();
    for part in [
        "  File \"workflow.py\", line 11, in workflow\n    inner(\"{\")\n",
        "  File \"workflow.py\", line 6, in inner\n    return json.loads(text)[\"a\"]\n",
        "The above exception was the direct cause of the following exception:",
        "  File \"workflow.py\", line 13, in workflow\n    raise ConnectionError",
    ] {
        assert!(trace.contains(part), "{part:?} is not in {trace}");
    }
    assert!(!trace.contains("tidegate") && !trace.contains("wit_world"), "{trace}");
}

fn ended(served: &Served) {
    let limits = json!({ "limits": { "deadline_ms": 500 } });
    for (name, does, status, code) in [
        ("spins", "while True: pass", 504, "deadline"),
        ("sleeps", "import time; time.sleep(60)", 504, "deadline"),
        ("grows", "x = []\n    while True: x.append('x' * 1_000_000)", 502, "memory"),
        ("recurses", "workflow(_request, settings)", 502, "exception"),
        ("exits", "import sys; sys.exit('bye')", 502, "exception"),
    ] {
        let source = format!("def workflow(_request, settings):\n    {does}\n");
        let workflow = served.workflow(name, "catch", &limits, &source);
        let reply = served.call(&workflow, &json!({})).expect(status);
        assert_eq!(reply.field("code"), code, "{name}");
    }
}

fn returned(served: &Served) {
    let source = "def workflow(settings):\n    return {'synced': 3, 'keys': ['a'], 'at': None}\n";
    let workflow = served.workflow("returned", "pull", &Value::Null, source);
    assert_eq!(served.test_run(&workflow)["value"], json!({ "synced": 3, "keys": ["a"], "at": null }));
    let source = "import datetime\n\ndef workflow(settings):\n    return {'at': datetime.date(2024, 1, 2)}\n";
    let workflow = served.workflow("returned-odd", "pull", &Value::Null, source);
    let run = served.test_run(&workflow);
    assert_eq!(
        (&run["status"], &run["value"]),
        (&json!("succeeded"), &json!("{'at': datetime.date(2024, 1, 2)}"))
    );
}

fn logged(served: &Served) {
    let source = r#"
import logging
import sys

logger = logging.getLogger("sync")


def workflow(_request, settings):
    print("printed", 1)
    print("to stderr", file=sys.stderr)
    logger.debug("hidden")
    logger.info("informed %s", "of it")
    logger.warning("warned")
    try:
        {}["missing"]
    except KeyError:
        logger.exception("caught")
    logging.getLogger().setLevel(logging.DEBUG)
    logger.debug("shown")
"#;
    let workflow = served.catch("logged", source);
    let log = served.log(&served.call(&workflow, &json!({})).expect(200));
    let told: Vec<_> =
        log.iter().map(|(level, text)| (level.as_str(), text.lines().next().unwrap_or_default())).collect();
    assert_eq!(
        told,
        [
            ("info", "printed 1"),
            ("error", "to stderr"),
            ("info", "informed of it"),
            ("warning", "warned"),
            ("error", "caught"),
            ("debug", "shown"),
        ]
    );
    assert!(log[4].1.contains("File \"workflow.py\", line 15, in workflow"), "{}", log[4].1);
}

fn cut(served: &Served) {
    // Time enough to print far more than is kept, on a busy machine too.
    let limits = json!({ "limits": { "deadline_ms": 5000 } });
    for (name, does, status) in [
        ("prints-much", "print('x' * 1_000_000); print('the end')", 200),
        ("prints-forever", "while True: print('again')", 504),
    ] {
        let source = format!("def workflow(_request, settings):\n    {does}\n");
        let workflow = served.workflow(name, "catch", &limits, &source);
        let reply = served.call(&workflow, &json!({})).expect(status);
        let id = reply.header("tidegate-run").unwrap();
        let log = served.host.get(&format!("/api/v1/runs/{id}/log")).expect(200).json();
        assert!(log["dropped_bytes"].as_u64().unwrap() > 500_000, "{name}: {}", log["dropped_bytes"]);
        let kept: usize =
            log["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap().len()).sum();
        assert!(kept > 0 && kept <= 65_536, "{name}: {kept}");
    }
}

fn defects(served: &Served) {
    // Names that nothing defines, as in what is printed for the first case study.
    let defect = r#"
import requests


def workflow(_request, settings):
    key = webhook_dto.profile_key
    answer = requests.post(settings["URL"] + "/echo", data={"text": key}, timeout=10)
    return dict(status_code=201, body=answer.json()["body"])
"#;
    let workflow = served.catch("defect", defect);
    served.set(&workflow, &json!({ "URL": served.url() }));
    let event = json!({ "profile": { "key": "p-1" } });
    let run = served.run(&served.call(&workflow, &event).expect(502));
    assert_eq!(run["message"], "NameError: name 'webhook_dto' is not defined");
    assert!(run["trace"].as_str().unwrap().contains("File \"workflow.py\", line 6, in workflow"), "{run:#}");
    let mended = defect.replace("webhook_dto.profile_key", "_request[\"profile\"][\"key\"]");
    served.host.upload("defect", "text/x-python", mended.as_bytes()).expect(201);
    assert_eq!(served.call(&workflow, &event).expect(201).text(), "text=p-1");

    // A colon in a call, as in the other one's sample.
    let colon =
        "def workflow(_request, settings):\n    return dict(\n        status_code: 201,\n        body='x')\n";
    let refused = served.host.upload("defect", "text/x-python", colon.as_bytes()).expect(422).json();
    let found = &refused["diagnostics"][0];
    assert_eq!(
        (&found["file"], &found["line"], &found["hint"]),
        (&json!("workflow.py"), &json!(3), &json!("in a call it is status_code=201"))
    );
    let mended = colon.replace("status_code: 201", "status_code=201");
    served.host.upload("defect", "text/x-python", mended.as_bytes()).expect(201);
    served.call(&workflow, &event).expect(201);
}
