//! How programs come to the host: pasted, as a file, as a folder, as a component.

use std::path::Path;

use serde_json::{Value, json};

use super::{Case, Served};
use crate::support::host::Workflow;
use crate::support::python;

pub(super) const CASES: &[Case] = &[
    ("The API with `text/x-python` stores source and runtime as an immutable version.", pasted),
    ("A module that fails at import is reported at deploy with file, line and message.", refused),
    ("An infinite loop at import; non-UTF-8 source; a 2 MB source; tabs, CRLF and a BOM.", odd_files),
    ("`tidegate deploy workflow.py --kind catch`, a folder with `workflow.toml`.", by_command),
    (
        "The two case studies are examples in the project; a third keeps a cursor, a fourth verifies.",
        examples,
    ),
    ("A second stock runtime, `hrflow-4`, has the newest SDK.", other_runtime),
    ("A folder with its own `requirements.txt`, and a component made elsewhere, run alike.", components),
];

const SOURCE: &str = "def workflow(_request, settings):\n    return dict(status_code=201, body='one')\n";

/// What a command printed; it must succeed.
fn cli(served: &Served, arguments: &[&str]) -> String {
    let ended = served.host.command(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(ended.stdout).unwrap()
}

/// A catch by the URL that a command printed.
fn by_url(name: &str, url: &str) -> Workflow {
    let path = url[url.find("/catch/").expect("a catch URL")..].trim().to_owned();
    Workflow { name: name.to_owned(), path }
}

fn pasted(served: &Served) {
    let workflow = served.catch("pasted", SOURCE);
    assert_eq!(served.call(&workflow, &json!({})).expect(201).text(), "one");
    let two = SOURCE.replace("'one'", "'two'");
    let path = "/api/v1/workflows/pasted/versions?file=my.py&message=second";
    served.host.request("POST", path).body("text/x-python", &two).send(served.host.api).expect(201);
    assert_eq!(served.call(&workflow, &json!({})).expect(201).text(), "two");

    let versions = served.host.get("/api/v1/workflows/pasted/versions").expect(200).json();
    let told: Vec<_> = versions["versions"].as_array().unwrap().iter().collect();
    assert_eq!((&told[0]["file"], &told[0]["message"]), (&json!("my.py"), &json!("second")));
    for version in &told {
        assert_eq!((&version["form"], &version["runtime"]), (&json!("source"), &json!("python")));
    }
    assert_ne!(told[0]["digest"], told[1]["digest"]);
    let source = served.host.get("/api/v1/workflows/pasted/versions/1/source").expect(200);
    assert_eq!(source.text(), SOURCE, "what was pasted stays what it was");
    served.host.tell("POST", "/api/v1/workflows/pasted/activate", &json!({ "version": 1 })).expect(200);
    assert_eq!(served.call(&workflow, &json!({})).expect(201).text(), "one");
}

fn refused(served: &Served) {
    let workflow = served.catch("refused-source", SOURCE);
    for (source, line, message, text) in [
        (
            "import json\n\nKEY = json.loads('{')\n\ndef workflow(_request, settings): pass\n",
            3,
            "json.decoder.JSONDecodeError: Expecting property name",
            "KEY = json.loads('{')",
        ),
        (
            "def workflow(_request: Dict, settings): pass\n",
            1,
            "NameError: name 'Dict' is not defined",
            "def workflow(_request: Dict, settings): pass",
        ),
        (
            "def workflow(_request, settings)\n    pass\n",
            1,
            "SyntaxError: expected ':'",
            "def workflow(_request, settings)",
        ),
    ] {
        let answer =
            served.host.upload("refused-source", "text/x-python", source.as_bytes()).expect(422).json();
        assert_eq!(answer["code"], "source-refused");
        let found = &answer["diagnostics"][0];
        assert_eq!(
            (&found["file"], &found["line"], &found["text"]),
            (&json!("workflow.py"), &json!(line), &json!(text))
        );
        assert!(found["message"].as_str().unwrap().starts_with(message), "{found:#}");
    }
    assert_eq!(served.call(&workflow, &json!({})).expect(201).text(), "one", "the old version goes on");
}

fn odd_files(served: &Served) {
    let workflow = served.catch("odd-files", SOURCE);
    let upload = |source: &[u8]| served.host.upload("odd-files", "text/x-python", source);
    let endless = upload(b"while True:\n    pass\n").expect(422);
    assert_eq!(endless.field("code"), "source-check-timeout");
    assert_eq!(endless.field("message"), "importing the source took longer than 2000 ms");
    assert!(endless.field("hint").starts_with("the top level of a workflow only defines things"));

    let latin = upload(b"# one\n# caf\xe9\ndef workflow(_request, settings): pass\n").expect(422).json();
    let found = &latin["diagnostics"][0];
    assert_eq!(
        (&found["line"], &found["message"], &found["hint"]),
        (&json!(2), &json!("the file is not UTF-8 text"), &json!("save it as UTF-8"))
    );

    let large = upload(&[SOURCE.as_bytes(), &vec![b'#'; 2_000_000]].concat()).expect(413);
    assert_eq!(large.field("code"), "source-too-large");
    assert_eq!(large.field("message"), "the source has more than 1048576 bytes");

    let mixed = upload(b"def workflow(_request, settings):\n\tif 1:\n        return 2\n").expect(422).json();
    assert!(mixed["diagnostics"][0]["message"].as_str().unwrap().starts_with("TabError"), "{mixed:#}");
    let fine =
        "\u{feff}def workflow(_request, settings):\r\n\treturn dict(status_code=201,\r\n\t\tbody='é')\r\n";
    upload(fine.as_bytes()).expect(201);
    assert_eq!(served.call(&workflow, &json!({})).expect(201).text(), "é");
}

fn by_command(served: &Served) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("by_command.py");
    std::fs::write(&file, SOURCE).unwrap();
    let url = cli(served, &["deploy", file.to_str().unwrap(), "--kind", "catch"]);
    assert_eq!(served.call(&by_url("by-command", &url), &json!({})).expect(201).text(), "one");

    let within = folder.path().to_str().unwrap();
    cli(served, &["new", "greeter", "--kind", "catch", "--within", within]);
    let project = folder.path().join("greeter");
    let deployed = cli(served, &["deploy", project.to_str().unwrap(), "--set", "GREETING=Salut", "--json"]);
    let deployed: Value = serde_json::from_str(&deployed).unwrap();
    assert_eq!(
        (&deployed["name"], &deployed["kind"], &deployed["version"]),
        (&json!("greeter"), &json!("catch"), &json!(1))
    );
    let greeter = by_url("greeter", deployed["url"].as_str().unwrap());
    assert_eq!(
        served.call(&greeter, &json!({ "name": "Ada" })).expect(200).json(),
        json!({ "greeting": "Salut, Ada!" })
    );

    // A file that is no workflow leaves none behind.
    std::fs::write(&file, "X = 1\n").unwrap();
    let arguments = ["deploy", file.to_str().unwrap(), "--kind", "catch", "--name", "nothing"];
    let ended = served.host.command(&arguments).output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && stderr.contains("there is no function named 'workflow'"), "{stderr}");
    served.host.get("/api/v1/workflows/nothing").expect(404);
}

fn examples(served: &Served) {
    let folder = python::repository().join("examples");
    for name in ["cursor", "python-catch", "python-pull", "signed-webhook", "sms-on-profile", "sync-to-ats"] {
        let project = folder.join(name);
        let deployed = cli(served, &["deploy", project.to_str().unwrap(), "--json"]);
        let deployed: Value = serde_json::from_str(&deployed).unwrap();
        assert_eq!(deployed["name"], name);
    }
}

fn other_runtime(served: &Served) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("newest.py");
    let source = r#"
from hrflow import Hrflow


def workflow(_request, settings):
    client = Hrflow(api_url=settings["URL"] + "/v1/", api_secret="s", api_user="ann@corp.example")
    answer = client.profile.storing.get(source_key="s", key=_request["profile"]["key"])
    return dict(status_code=200, body=answer["data"]["path"] + " " + str(hasattr(client.profile, "indexing")))
"#;
    std::fs::write(&file, source).unwrap();
    let arguments = ["deploy", file.to_str().unwrap(), "--kind", "catch", "--runtime", "hrflow-4"];
    let ended = served.host.command(&arguments).output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(
        stderr.contains("there is no runtime \"hrflow-4\"") && stderr.contains("installed are: python"),
        "{stderr}"
    );

    cli(served, &["runtime", "install", python::stock_runtime("hrflow-4").to_str().unwrap()]);
    let listed: Value = serde_json::from_str(&cli(served, &["runtime", "list", "--json"])).unwrap();
    assert_eq!(listed["runtimes"].as_array().unwrap().len(), 2);
    let shown = cli(served, &["runtime", "show", "hrflow-4"]);
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["hrflow", "4.3.0"])), "{shown}");

    let workflow = by_url("newest", &cli(served, &arguments));
    served.set(&workflow, &json!({ "URL": served.url() }));
    let reply = served.call(&workflow, &json!({ "profile": { "key": "k" } })).expect(200);
    assert_eq!(reply.text(), "/v1/profile/indexing False");
    let versions = served.host.get("/api/v1/workflows/newest/versions").json();
    assert_eq!(versions["versions"][0]["runtime"], "hrflow-4");
}

fn components(served: &Served) {
    let folder = tempfile::tempdir().unwrap();
    copy(&python::repository().join("tests/python/component"), folder.path());
    let project = folder.path().to_str().unwrap();
    let built = cli(served, &["build", project]);
    let url = cli(served, &["deploy", built.trim(), "--name", "own", "--kind", "catch"]);
    let own = by_url("own", &url);
    let reply = served.call(&own, &json!({ "name": "ann" })).expect(200).json();
    assert_eq!((&reply["letter"], &reply["six"]), (&json!("Dear ANN,"), &json!(true)));

    let wasm = folder.path().join("foreign.wasm");
    std::fs::write(&wasm, python::foreign_component()).unwrap();
    let url = cli(served, &["deploy", wasm.to_str().unwrap(), "--kind", "catch"]);
    let foreign = by_url("foreign", &url);
    for call in 1..3 {
        let reply = served.call(&foreign, &json!({ "name": "ann" })).expect(201);
        assert_eq!(reply.json(), json!({ "hello": "ann" }));
        assert_eq!(served.log(&reply), [("warning".to_owned(), format!("call {call}"))]);
        assert_eq!(served.run(&reply)["settings_changed"], json!(["CALLS"]));
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
