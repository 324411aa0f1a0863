//! Python projects made into components of their own, and those that cannot be.

use serde_json::{Map, Value, json};

use crate::support::python;
use crate::support::python_host::{Host, request};

fn body(name: &str) -> Value {
    json!({ "headers": { "content-type": "application/json" }, "body": { name: "ann" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_of_several_modules_is_a_component_of_its_own() {
    let project = python::repository().join("tests/python/component");
    let host = Host::with(python::component(&project), "").await;
    let mut settings = Map::new();
    settings.insert("CALLS".to_owned(), json!(6));
    for _ in 0..2 {
        let ran = host.run(request(&body("name")), None, &settings, None).await;
        let outcome = ran.report.end.unwrap_or_else(|fault| panic!("{fault:?}"));
        let reply = outcome.reply.expect("a reply").body.expect("a body");
        // `loaded` is 2 in each run: what a run leaves in a module is gone with it.
        assert_eq!(
            serde_json::from_slice::<Value>(&reply).unwrap(),
            json!({
                "letter": "Dear ANN,", "greeting": "HELLO!", "loaded": 2,
                "file": "/program/workflow.py", "late": "found", "six": true,
            })
        );
        assert_eq!(outcome.changes[0].value.as_ref().unwrap().expose(), "7");
    }
    let failed = host.run(request(&body("fail")), None, &settings, None).await;
    let fault = failed.report.end.expect_err("it is to fail");
    assert_eq!(fault.message, "AttributeError: 'NoneType' object has no attribute 'upper'");
    let trace = fault.trace.unwrap();
    for line in [
        "File \"workflow.py\", line 18, in workflow",
        "File \"helpers/text.py\", line 2, in shout",
        "return text.upper()",
    ] {
        assert!(trace.contains(line), "{trace}");
    }
    assert!(!trace.contains("tidegate_runtime"), "{trace}");
}

#[test]
fn what_is_wrong_with_a_project_is_told_by_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("workflow.py", "import json\nimport numpy as np\n\n\ndef handler(_request, settings):\n    pass\n");
    write("queue.py", "X = 1\n");
    write("text.py", "def shout(text)\n    return text\n");
    write("test_text.py", "this is not part of the program");
    let output = folder.path().join("out.wasm");
    let arguments = ["workflow", folder.path().to_str().unwrap(), "--output", output.to_str().unwrap()];
    let error = &python::tool(&arguments)["error"];
    assert_eq!(error["code"], "program", "{error:#}");
    let found = error["diagnostics"].as_array().unwrap();
    let told: Vec<_> = found.iter().map(|one| (&one["file"], &one["line"], &one["message"])).collect();
    assert_eq!(
        json!(told),
        json!([
            ["queue.py", 0, "the module name 'queue' is taken by the library"],
            ["text.py", 1, "SyntaxError: expected ':'"],
            ["workflow.py", 2, "ModuleNotFoundError: No module named 'numpy'"],
            ["workflow.py", 0, "there is no function named 'workflow'"],
        ])
    );
    assert_eq!(found[2]["text"], "import numpy as np");
    assert!(!output.exists());
}

#[test]
fn packages_that_cannot_run_in_the_sandbox_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let build = |requirements: &str| {
        let file = folder.path().join("requirements.txt");
        std::fs::write(&file, requirements).unwrap();
        let output = folder.path().to_str().unwrap();
        let arguments = ["runtime", "--name", "odd", "-r", file.to_str().unwrap(), "--output", output];
        python::tool(&arguments)["error"].clone()
    };
    let native = build("six==1.17.0\nujson==5.10.0\n");
    assert_eq!(native["code"], "native_code", "{native:#}");
    assert!(native["message"].as_str().unwrap().starts_with("ujson 5.10.0 holds native code"), "{native:#}");
    let changed = build(&format!("six==1.17.0 --hash=sha256:{}\n", "0".repeat(64)));
    assert_eq!(changed["code"], "hashes", "{changed:#}");
    assert!(changed["message"].as_str().unwrap().starts_with("six: "), "{changed:#}");
    let unknown = build("no-such-package-of-that-name==1.0\n");
    assert_eq!(unknown["code"], "requirements", "{unknown:#}");
    let nested = build("-r other.txt\n");
    assert_eq!(nested["code"], "requirements");
    assert!(nested["message"].as_str().unwrap().contains("'-r' is not supported"), "{nested:#}");
}
