//! Request smuggling: the host beside h11, a parser that shares nothing with hyper.
//!
//! `smuggling/corpus.py` makes the cases and asks h11. What the host answers must be
//! what h11 read, request by request and body by body, up to where the host refuses; it
//! may refuse more than h11 does, and then answers nothing that comes behind.

use serde::Deserialize;
use serde_json::json;

use crate::support::host::Host;
use crate::support::http::Reply;

#[derive(Deserialize)]
struct Case {
    name: String,
    /// Latin-1.
    bytes: String,
    /// Method, target and body of each request that h11 reads.
    requests: Vec<(String, String, String)>,
    /// `refused`, or how the connection ended otherwise.
    end: String,
}

fn corpus() -> Vec<Case> {
    serde_json::from_str(include_str!("smuggling/corpus.json")).unwrap()
}

/// All that is answered to these bytes before the connection ends.
fn replies(host: &Host, bytes: &[u8]) -> Vec<Reply> {
    let mut connection = host.connect();
    connection.send(bytes);
    // A host that has refused has closed.
    let _ = connection.try_shut_write();
    let mut replies = Vec::new();
    while let Some(reply) = connection.reply() {
        if reply.status >= 200 {
            replies.push(reply);
        }
    }
    replies
}

/// Whether the reply says that the host could not tell where the request ends.
fn is_refusal(reply: &Reply) -> bool {
    let codes = ["malformed-request", "malformed-body", "head-too-large", "invalid-host"];
    reply.status >= 400 && codes.contains(&reply.field("code").as_str())
}

/// # Errors
/// Where the host reads something else than h11 did.
fn compare(case: &Case, replies: &[Reply]) -> Result<(), &'static str> {
    for (index, reply) in replies.iter().enumerate() {
        if is_refusal(reply) {
            return if index + 1 == replies.len() {
                Ok(())
            } else {
                Err("something is answered behind a refusal")
            };
        }
        let Some((method, target, body)) = case.requests.get(index) else {
            return Err("the host answers what h11 does not read");
        };
        if reply.status != 200 {
            continue;
        }
        let seen = reply.json();
        // The corpus is Latin-1, and the guest shows bodies as UTF-8.
        let body: Vec<u8> = body.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        if seen["method"] != **method {
            return Err("the methods differ");
        }
        if seen["body"] != *String::from_utf8_lossy(&body) {
            return Err("the bodies differ");
        }
        if (seen["query"] == "behind") != target.ends_with("?behind") {
            return Err("the targets differ");
        }
    }
    Ok(())
}

#[test]
fn no_request_is_read_otherwise_than_by_another_parser() {
    let host = Host::start();
    let methods = ["POST", "GET", "DELETE"];
    let echo = host.deploy_echo("echo", &json!({ "raw_bodies": true, "methods": methods }));
    let corpus = corpus();
    assert!(corpus.len() >= 300, "{}", corpus.len());
    let (mut differences, mut stricter) = (Vec::new(), Vec::new());
    for case in &corpus {
        let text = case.bytes.replace("{P}", &echo.path);
        let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let replies = replies(&host, &bytes);
        if let Err(difference) = compare(case, &replies) {
            let told: Vec<String> =
                replies.iter().map(|reply| format!("{} {}", reply.status, reply.text())).collect();
            differences.push(format!(
                "{}: {difference}\n  {:?}\n  h11: {:?} {}\n  host: {told:?}",
                case.name, case.bytes, case.requests, case.end
            ));
        }
        let is_answered = !replies.is_empty() && replies.iter().all(|reply| !is_refusal(reply));
        if case.end != "refused" && !is_answered {
            stricter.push(case.name.clone());
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // What the host refuses and h11 takes, so that a change of either is seen.
    insta::assert_snapshot!(stricter.join("\n"));
    let taken = corpus.iter().filter(|case| case.end != "refused").count() - stricter.len();
    assert!(taken >= 80, "a host that refuses everything proves nothing: {taken}");
}
