//! What the caller of a catch workflow is answered: the one place that turns the end of
//! a run into an HTTP response.
//!
//! Pure. The guest's part is checked and filtered here, before it is recorded and sent,
//! so that the record shows what the caller saw.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::config;
use crate::engine::Reply;
use crate::run::{Body, Fault, FaultKind, ReplyRecord, RunId};

/// An HTTP response, valid as it is.
#[derive(Clone)]
pub struct Answer {
    /// 200 to 599.
    pub status: u16,
    /// Without `content-length` and what else the transport adds.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The record of it, its body cut.
    pub fn record(&self, body_bytes_max: usize) -> ReplyRecord {
        let headers = self.headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        ReplyRecord {
            status: self.status,
            headers: headers.collect(),
            body: Body::cut(self.body.clone(), body_bytes_max),
        }
    }

    fn json(status: u16, body: &serde_json::Value) -> Self {
        let headers = vec![(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Self { status, headers, body: Bytes::from(body.to_string()) }
    }
}

impl From<ReplyRecord> for Answer {
    /// The answer that a record holds, whole or cut.
    fn from(reply: ReplyRecord) -> Self {
        // A record that was changed by hand loses what is no header, and no more.
        let header = |(name, value): (String, String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        };
        let status = if (200..=599).contains(&reply.status) { reply.status } else { 500 };
        let headers = reply.headers.into_iter().filter_map(header).collect();
        Self { status, headers, body: reply.body.bytes }
    }
}

/// The answer for a run that succeeded, and what the guest should know about it.
/// `shares_origin` says that browsers get the console from the same origin.
///
/// # Errors
/// [`FaultKind::Result`] when the reply is over a limit.
pub fn of_reply(
    reply: Option<Reply>,
    run: RunId,
    limits: &config::Run,
    shares_origin: bool,
) -> Result<(Answer, Vec<String>), Fault> {
    let mut remarks = Vec::new();
    // Most replies have a body of their own.
    let default = || serde_json::json!({ "run": run, "status": "succeeded" });
    let Some(reply) = reply else { return Ok((Answer::json(200, &default()), remarks)) };
    if let Some(body) = &reply.body
        && body.len() > limits.reply_bytes_max
    {
        return Err(Fault::new(
            FaultKind::Result,
            format!(
                "the reply's body has {} bytes, more than the limit of {}",
                body.len(),
                limits.reply_bytes_max
            ),
        ));
    }
    let status = if (200..=599).contains(&reply.status) {
        reply.status
    } else {
        remarks.push(format!("the reply's status {} is not between 200 and 599; 200 was sent", reply.status));
        200
    };
    let mut headers = headers_of(reply.headers, limits, shares_origin, &mut remarks)?;
    // RFC 9110 section 15: these have no content.
    let bodyless = matches!(status, 204 | 205 | 304);
    let body = match reply.body {
        _ if bodyless => Bytes::new(),
        Some(body) => body,
        None => {
            headers.retain(|(name, _)| name != http::header::CONTENT_TYPE);
            headers.push((http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
            Bytes::from(default().to_string())
        }
    };
    if !body.is_empty() && !headers.iter().any(|(name, _)| name == http::header::CONTENT_TYPE) {
        headers.push((http::header::CONTENT_TYPE, HeaderValue::from_static(guess_type(&body))));
    }
    Ok((Answer { status, headers, body }, remarks))
}

/// The answer for a run that did not succeed: who has to act and where to look, nothing
/// of what the guest said.
pub fn of_fault(fault: &Fault, run: RunId) -> Answer {
    let (status, message) = match fault.kind {
        FaultKind::Exception | FaultKind::Trap | FaultKind::Memory | FaultKind::Result => {
            (502, "the workflow failed; its run record says why")
        }
        FaultKind::Deadline => (504, "the workflow took longer than its deadline"),
        FaultKind::Cpu => (504, "the workflow took more processor time than its limit"),
        // What the host says about the caller's own request.
        FaultKind::Refused => (400, fault.message.as_str()),
        FaultKind::Quota => {
            (429, "the workflow's owner has used what their workflows may use; try again later")
        }
        FaultKind::Overload => (503, "the host has no room for this run now; try again"),
        FaultKind::Skipped => (503, "the workflow is paused"),
        FaultKind::Interrupted => (503, "the host stopped before the run ended; try again"),
        FaultKind::Cancelled => (503, "the run was cancelled"),
        FaultKind::Host => (500, "the host failed; its log says why"),
    };
    let body = serde_json::json!({ "run": run, "code": fault.kind.word(), "message": message });
    let mut answer = Answer::json(status, &body);
    answer.headers.push((
        HeaderName::from_static("tidegate-fault"),
        HeaderValue::from_static(fault.kind.blame().word()),
    ));
    if matches!(status, 429 | 503) {
        answer.headers.push((http::header::RETRY_AFTER, HeaderValue::from_static("1")));
    }
    answer
}

fn headers_of(
    headers: Vec<(String, String)>,
    limits: &config::Run,
    shares_origin: bool,
    remarks: &mut Vec<String>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    if headers.len() > limits.reply_headers_max {
        return Err(Fault::new(
            FaultKind::Result,
            format!(
                "the reply has {} headers, more than the limit of {}",
                headers.len(),
                limits.reply_headers_max
            ),
        ));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > limits.reply_header_bytes_max {
        return Err(Fault::new(
            FaultKind::Result,
            format!(
                "the reply's headers have {bytes} bytes, more than the limit of {}",
                limits.reply_header_bytes_max
            ),
        ));
    }
    let mut kept = Vec::with_capacity(headers.len() + 1);
    for (name, value) in headers {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            (Ok(name), Ok(_)) if is_ours(&name) => {
                remarks.push(format!("the reply's header {name} was dropped: the host sets it"));
            }
            (Ok(name), Ok(_)) if shares_origin && is_of_origin(&name) => remarks.push(format!(
                "the reply's header {name} was dropped: it would reach the console too, which shares this \
                 address (server.catch_listen gives the endpoints one of their own)"
            )),
            (Ok(name), Ok(value)) => kept.push((name, value)),
            (Err(_), _) => {
                let shown: String = name.chars().take(40).collect();
                remarks
                    .push(format!("the reply's header {shown:?} was dropped: this is not a header's name"));
            }
            (Ok(name), Err(_)) => {
                remarks.push(format!("the reply's header {name} was dropped: its value has a line break or another control character"));
            }
        }
    }
    Ok(kept)
}

/// Headers that belong to the connection (RFC 9110 section 7.6.1), to the message's
/// framing, to the transport's security, or to the host.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("tidegate-")
        || matches!(
            name,
            "connection"
                | "keep-alive"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "content-length"
                | "date"
                | "public-key-pins"
                | "strict-transport-security"
                | "x-content-type-options"
                | "x-request-id"
        )
}

/// Headers that reach beyond their reply to everything on its origin.
fn is_of_origin(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "alt-svc" | "clear-site-data" | "content-security-policy" | "service-worker-allowed" | "set-cookie"
    )
}

/// The content type of a body whose author named none: the product's workflows mostly
/// return JSON text.
fn guess_type(body: &[u8]) -> &'static str {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let like_json = matches!(first, Some(b'{' | b'['));
    if like_json && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        "application/json"
    } else if std::str::from_utf8(body).is_ok() {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> config::Run {
        config::Config::defaults().run
    }

    fn reply(status: u16, headers: &[(&str, &str)], body: Option<&'static str>) -> Option<Reply> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Some(Reply { status, headers, body: body.map(Bytes::from) })
    }

    fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
        answer.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.to_str().unwrap())
    }

    #[test]
    fn no_reply_and_no_body_give_the_default_body() {
        let run = RunId::new();
        let (answer, remarks) = of_reply(None, run, &limits(), false).unwrap();
        assert_eq!((answer.status, remarks.len()), (200, 0));
        assert_eq!(answer.body, format!(r#"{{"run":"{run}","status":"succeeded"}}"#));
        let (answer, _) =
            of_reply(reply(202, &[("content-type", "text/html"), ("x-a", "b")], None), run, &limits(), false)
                .unwrap();
        assert_eq!((answer.status, header(&answer, "content-type")), (202, Some("application/json")));
        assert_eq!(header(&answer, "x-a"), Some("b"));
    }

    #[test]
    fn a_status_that_is_none_is_replaced_and_remarked() {
        for status in [0, 99, 199, 600, 1000] {
            let (answer, remarks) =
                of_reply(reply(status, &[], Some("x")), RunId::new(), &limits(), false).unwrap();
            assert_eq!(answer.status, 200);
            assert!(remarks[0].contains(&status.to_string()));
        }
        let (answer, remarks) = of_reply(reply(204, &[], Some("x")), RunId::new(), &limits(), false).unwrap();
        assert!(answer.body.is_empty() && remarks.is_empty() && answer.headers.is_empty());
    }

    #[test]
    fn headers_that_are_not_the_guests_are_dropped_and_remarked() {
        let bad = [
            ("Content-Length", "5"),
            ("transfer-encoding", "chunked"),
            ("Tidegate-Run", "forged"),
            ("x-request-id", "forged"),
            ("x y", "1"),
            ("x-ok", "a\r\nset-cookie: b"),
            ("", ""),
        ];
        let (answer, remarks) =
            of_reply(reply(200, &bad, Some("x")), RunId::new(), &limits(), false).unwrap();
        assert_eq!(remarks.len(), bad.len());
        assert_eq!(answer.headers.len(), 1, "the content type alone");
    }

    #[test]
    fn headers_that_reach_the_whole_origin_are_dropped_where_it_is_the_consoles() {
        let headers = [("Set-Cookie", "a=b"), ("clear-site-data", "*"), ("location", "/")];
        let kept = |shares_origin| {
            let (answer, remarks) =
                of_reply(reply(200, &headers, Some("")), RunId::new(), &limits(), shares_origin).unwrap();
            (answer.headers.len(), remarks.len())
        };
        assert_eq!((kept(false), kept(true)), ((3, 0), (1, 2)));
    }

    #[test]
    fn limits_hold_at_both_sides_of_the_edge() {
        let mut limits = limits();
        (limits.reply_bytes_max, limits.reply_headers_max, limits.reply_header_bytes_max) = (3, 1, 5);
        let run = RunId::new();
        assert!(of_reply(reply(200, &[("x-a", "bc")], Some("abc")), run, &limits, false).is_ok());
        for over in [
            reply(200, &[], Some("abcd")),
            reply(200, &[("a", ""), ("b", "")], Some("")),
            reply(200, &[("x-a", "bcd")], Some("")),
        ] {
            assert_eq!(of_reply(over, run, &limits, false).err().unwrap().kind, FaultKind::Result);
        }
    }

    #[test]
    fn a_body_without_a_type_gets_the_one_it_looks_like() {
        for (body, expected) in [
            (&b" {\"a\": 1}"[..], "application/json"),
            (b"[1,2]", "application/json"),
            (b"{not json", "text/plain; charset=utf-8"),
            (b"12", "text/plain; charset=utf-8"),
            (b"\xff\xd8", "application/octet-stream"),
        ] {
            assert_eq!(guess_type(body), expected);
        }
    }

    #[test]
    fn a_fault_tells_the_caller_nothing_of_the_guest() {
        for kind in FaultKind::ALL.into_iter().filter(|kind| *kind != FaultKind::Refused) {
            let fault = Fault { kind, message: "SECRET".to_owned(), trace: Some("SECRET".to_owned()) };
            let answer = of_fault(&fault, RunId::new());
            assert!(!String::from_utf8_lossy(&answer.body).contains("SECRET"), "{kind}");
            assert_eq!(header(&answer, "tidegate-fault"), Some(kind.blame().word()));
            let is_quota = kind == FaultKind::Quota && answer.status == 429;
            assert!(answer.status >= 500 || is_quota, "{kind}: {}", answer.status);
        }
    }
}
