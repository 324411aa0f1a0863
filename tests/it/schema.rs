//! The host against its own OpenAPI document, by Schemathesis: every answer is one that the
//! document names, and none is a failure of the host.

use std::process::Command;

use crate::support::host::Host;
use crate::support::python;

/// What is asked of each answer. That every request which fits the schema is accepted is not
/// among them: rules such as "a schedule has either an interval or an expression" are not
/// part of it.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,negative_data_rejection,\
                      unsupported_method,ignored_auth";
/// Streams that do not end, and bodies that are components: `uploads`, `events` and `fuzz` have
/// tests of their own.
const LEFT_OUT: &str = r"(events|/versions|/runtimes/\{name\})$";

#[test]
fn every_answer_is_documented_and_none_is_a_failure() {
    let host = Host::start();
    host.deploy("w", "catch", "hello");
    host.deploy("p", "pull", "hello");
    let tool = python::with(&python::repository().join("tests/fuzz/schemathesis.txt"));
    let examples = std::env::var("TIDEGATE_FUZZ_TIMES").unwrap_or_else(|_| "3".to_owned());
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(tool.with_file_name("schemathesis"));
    command
        .args(["run", &format!("http://{}/api/v1/openapi.json", host.api), "--no-color", "--seed", "1"])
        .args(["--header", &format!("Authorization: Bearer {}", host.token())])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", &examples])
        .args(["--workers", "2", "--request-timeout", "60", "--generation-database", "none"])
        .args(["--checks", CHECKS, "--exclude-path-regex", LEFT_OUT])
        .current_dir(scratch.path());
    let said = python::succeed(&mut command);
    let passed =
        said.split(" generated, ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed > 500), "{said}");
    assert!(host.get("/metrics").expect(200).text().contains("tidegate_panics_total 0"));
}
