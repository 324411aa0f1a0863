//! The files that hold a test request or settings.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::env::{Input, text_of};
use super::error::{Failure, Result, diagnostic_at};
use crate::api::TestRequest;

/// The request in this file (`-` is standard input); the empty one without a file.
///
/// # Errors
/// It cannot be read or is no request: says where.
pub(crate) fn read_request(path: Option<&Path>, input: &mut Input) -> Result<TestRequest> {
    let Some(path) = path else { return Ok(TestRequest::default()) };
    let request: TestRequest = read_json(path, input, "a request").map_err(|failure| {
        failure.hint("a request has the keys method, path, headers, body and body_base64")
    })?;
    if request.body.is_some() && request.body_base64.is_some() {
        return Err(Failure::new(format!("{} has both body and body_base64", path.display())));
    }
    Ok(request)
}

/// The JSON document in this file.
///
/// # Errors
/// It cannot be read or is not `what`: says where.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, input: &mut Input, what: &str) -> Result<T> {
    let text = text_of(path, input)?;
    serde_json::from_str(&text).map_err(|error| {
        let before = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len);
        let offset = before.sum::<usize>() + error.column().saturating_sub(1);
        // The place is shown as a finding, so it need not be in the text.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let file = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
        Failure::new(format!("{file} does not hold {what}"))
            .diagnostics(vec![diagnostic_at(&file, &text, offset, message)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::render;

    fn refused(text: &str) -> Failure {
        read_request(Some(Path::new("-")), &mut Input::holding(text)).unwrap_err()
    }

    #[test]
    fn a_request_is_read_from_a_file_or_standard_input_or_is_empty() {
        let text = r#"{"method": "PUT", "headers": {"x": "1"}, "body": {"a": [1]}}"#;
        let request = read_request(Some(Path::new("-")), &mut Input::holding(text)).unwrap();
        assert_eq!((request.method.as_deref(), request.headers["x"].as_str()), (Some("PUT"), "1"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}").unwrap();
        assert!(read_request(Some(file.path()), &mut Input::holding("")).unwrap().body.is_none());
        assert!(read_request(None, &mut Input::holding("x")).unwrap().method.is_none());
    }

    #[test]
    fn a_broken_request_shows_its_place() {
        let failure = refused("{\n  \"body\": {,}\n}");
        assert_eq!(failure.line(), "standard input does not hold a request");
        insta::assert_snapshot!(render(&failure.diagnostics[0]), @r#"
        standard input:2:12: key must be a string
          2 |   "body": {,}
            |            ^
        "#);
        let unknown = refused("{\"bdy\": 1}");
        assert!(unknown.diagnostics[0].message.starts_with("unknown field `bdy`"), "{unknown:?}");
        assert!(refused(r#"{"body": 1, "body_base64": "YQ=="}"#).line().contains("both"));
        assert!(refused("").diagnostics[0].message.starts_with("EOF"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let failure = read_request(Some(Path::new("/none.json")), &mut Input::holding("")).unwrap_err();
        assert!(failure.line().starts_with("read /none.json: "), "{failure}");
    }
}
