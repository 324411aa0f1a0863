//! What a catch endpoint demands of a request's body: a content type that workflows
//! understand, and JSON that is an object.
//!
//! Nothing is kept of a body that is looked at here: the guest gets its bytes as they
//! came.

use serde::de::IgnoredAny;

/// Why a request's body is refused. `Display` is for the caller, who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PayloadError {
    /// There is a body and no `Content-Type`.
    #[error("the request has a body and no content-type")]
    NoType,
    /// A content type that workflows do not understand.
    #[error("the content-type {0:?} is not supported")]
    Type(String),
    /// Multipart without the parameter that tells its parts apart.
    #[error("the content-type multipart/form-data has no boundary")]
    NoBoundary,
    /// The content type says JSON, and the body is none.
    #[error("the content-type says JSON, but the body {0}")]
    NotJson(String),
    /// The body is JSON, and no object.
    #[error("the body must be a JSON object, but it is {0}")]
    NotObject(&'static str),
}

impl PayloadError {
    /// A stable word.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            PayloadError::NoType | PayloadError::Type(_) => "unsupported-content-type",
            PayloadError::NoBoundary => "no-boundary",
            PayloadError::NotJson(_) => "invalid-json",
            PayloadError::NotObject(_) => "not-an-object",
        }
    }

    /// Whether the content type is at fault, and not the body.
    pub(crate) fn is_type(&self) -> bool {
        matches!(self, PayloadError::NoType | PayloadError::Type(_))
    }
}

/// The kinds of body that workflows understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// No body and no type.
    None,
    /// `application/json`, `text/json` or `+json`.
    Json,
    /// One of the two form types.
    Form,
}

impl Payload {
    /// The kind that a request's content type announces.
    ///
    /// # Errors
    /// It is none that workflows understand.
    pub(crate) fn announced(content_type: Option<&str>, has_body: bool) -> Result<Self, PayloadError> {
        let Some(whole) = content_type else {
            return if has_body { Err(PayloadError::NoType) } else { Ok(Payload::None) };
        };
        let (essence, parameters) = whole.split_once(';').unwrap_or((whole, ""));
        let essence = essence.trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("application/json") || is("text/json") || has_json_suffix(essence) {
            return Ok(Payload::Json);
        }
        if is("application/x-www-form-urlencoded") {
            return Ok(Payload::Form);
        }
        if is("multipart/form-data") {
            let named = parameters.split(';').filter_map(|one| one.split_once('='));
            let mut boundaries = named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
            let boundary = boundaries.next().map(|(_, value)| value.trim().trim_matches('"'));
            return match boundary {
                Some(value) if !value.is_empty() => Ok(Payload::Form),
                _ => Err(PayloadError::NoBoundary),
            };
        }
        Err(PayloadError::Type(essence.chars().take(100).collect()))
    }

    /// Checks a whole body.
    ///
    /// # Errors
    /// The kind is JSON, and the body is not valid JSON or no object.
    pub(crate) fn check(self, body: &[u8]) -> Result<(), PayloadError> {
        match self {
            Payload::None | Payload::Form => Ok(()),
            Payload::Json => json_object(body),
        }
    }
}

fn has_json_suffix(essence: &str) -> bool {
    essence
        .len()
        .checked_sub(5)
        .and_then(|at| essence.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case("+json"))
}

fn json_object(body: &[u8]) -> Result<(), PayloadError> {
    let not_json = |what: String| Err(PayloadError::NotJson(what));
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return not_json(format!("is not UTF-8 (byte {})", error.valid_up_to() + 1)),
    };
    if text.starts_with('\u{feff}') {
        return not_json("begins with a byte order mark: send it without".to_owned());
    }
    let trimmed = text.trim_ascii_start();
    let Some(first) = trimmed.chars().next() else {
        return not_json("is empty: send at least {}".to_owned());
    };
    // The parser keeps no tree, and needs one byte of memory per open bracket.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return not_json(describe(trimmed, &error));
    }
    match first {
        '{' => Ok(()),
        '[' => Err(PayloadError::NotObject("an array")),
        '"' => Err(PayloadError::NotObject("a text")),
        't' | 'f' => Err(PayloadError::NotObject("true or false")),
        'n' => Err(PayloadError::NotObject("null")),
        _ => Err(PayloadError::NotObject("a number")),
    }
}

/// What a body that is not JSON is instead. Published workflows post forms under a JSON
/// content type; Python programs post what `str` makes of a `dict`.
fn describe(text: &str, error: &serde_json::Error) -> String {
    if text.starts_with("--") && text.to_ascii_lowercase().contains("content-disposition:") {
        return "looks like multipart form data: send it as multipart/form-data with its boundary, or send JSON"
            .to_owned();
    }
    if looks_like_form(text) {
        return "looks like form data: send it as application/x-www-form-urlencoded, or send JSON".to_owned();
    }
    if text.starts_with('<') {
        return "looks like XML or HTML".to_owned();
    }
    let single_quoted =
        text.strip_prefix(['{', '[']).is_some_and(|rest| rest.trim_ascii_start().starts_with('\''));
    if single_quoted {
        return "has single quotes: JSON needs double ones (in Python, json.dumps writes them)".to_owned();
    }
    format!("is not valid: {error}")
}

/// `name=value` pairs without spaces or brackets before the first `=`.
fn looks_like_form(text: &str) -> bool {
    let Some((name, _)) = text.split_once('=') else { return false };
    !name.is_empty()
        && name.len() <= 200
        && !name.contains(|c: char| c.is_whitespace() || "{}\"'<>:,".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_decides_the_kind() {
        for (content_type, kind) in [
            ("application/json", Payload::Json),
            ("Application/JSON; charset=utf-8", Payload::Json),
            ("application/vnd.api+json", Payload::Json),
            ("application/cloudevents+JSON;x=y", Payload::Json),
            ("text/json", Payload::Json),
            ("application/x-www-form-urlencoded;charset=UTF-8", Payload::Form),
            ("multipart/form-data; boundary=----x", Payload::Form),
            ("multipart/form-data; charset=utf-8; BOUNDARY=\"a b\"", Payload::Form),
        ] {
            assert_eq!(Payload::announced(Some(content_type), true), Ok(kind), "{content_type}");
        }
        for content_type in
            ["text/plain", "", "json", "application/xml", "+jso", "é+json2", "application/octet-stream"]
        {
            let error = Payload::announced(Some(content_type), true).unwrap_err();
            assert_eq!((error.code(), error.is_type()), ("unsupported-content-type", true), "{content_type}");
        }
        for content_type in
            ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"\""]
        {
            assert_eq!(Payload::announced(Some(content_type), true), Err(PayloadError::NoBoundary));
        }
        assert_eq!(Payload::announced(None, false), Ok(Payload::None));
        assert_eq!(Payload::announced(None, true), Err(PayloadError::NoType));
    }

    #[test]
    fn a_json_body_is_an_object_and_nothing_else() {
        for good in ["{}", " \r\n\t{\"a\": [1, {\"b\": null}], \"a\": 1e400, \"s\": \"\\ud800\"} \n"] {
            assert_eq!(Payload::Json.check(good.as_bytes()), Ok(()), "{good}");
        }
        for (bad, message) in [
            ("[1]", "the body must be a JSON object, but it is an array"),
            ("\"a\"", "the body must be a JSON object, but it is a text"),
            (" null", "the body must be a JSON object, but it is null"),
            ("true", "the body must be a JSON object, but it is true or false"),
            ("-1.5", "the body must be a JSON object, but it is a number"),
            ("", "the content-type says JSON, but the body is empty: send at least {}"),
            (" \n", "the content-type says JSON, but the body is empty: send at least {}"),
            (
                "{\"a\": 1,}",
                "the content-type says JSON, but the body is not valid: key must be a string at line 1 column 9",
            ),
            (
                "{\"a\": NaN}",
                "the content-type says JSON, but the body is not valid: expected value at line 1 column 7",
            ),
            (
                "{} {}",
                "the content-type says JSON, but the body is not valid: trailing characters at line 1 column 4",
            ),
            (
                "From=%2B33&Body=hi",
                "the content-type says JSON, but the body looks like form data: send it as application/x-www-form-urlencoded, or send JSON",
            ),
            (
                "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--",
                "the content-type says JSON, but the body looks like multipart form data: send it as multipart/form-data with its boundary, or send JSON",
            ),
            ("<a/>", "the content-type says JSON, but the body looks like XML or HTML"),
            (
                "{'a': 1}",
                "the content-type says JSON, but the body has single quotes: JSON needs double ones (in Python, json.dumps writes them)",
            ),
            (
                "\u{feff}{}",
                "the content-type says JSON, but the body begins with a byte order mark: send it without",
            ),
        ] {
            assert_eq!(Payload::Json.check(bad.as_bytes()).unwrap_err().to_string(), message, "{bad}");
        }
        let error = Payload::Json.check(b"{\"a\": \"\xff\"}").unwrap_err();
        assert_eq!(error.to_string(), "the content-type says JSON, but the body is not UTF-8 (byte 8)");
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(Payload::Json.check(deep.as_bytes()), Ok(()));
    }

    #[test]
    fn forms_are_the_guests_to_read() {
        for kind in [Payload::Form, Payload::None] {
            assert_eq!(kind.check(b"{"), Ok(()));
        }
    }
}
