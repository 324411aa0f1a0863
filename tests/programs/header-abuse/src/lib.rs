//! Replies with headers and a status that must not reach the wire as they are. `mode`:
//! `line-breaks` (values with CR and LF that try to smuggle a header or a second
//! response in), `many` (`count` headers, 10,000 unless given), `long` (one value of
//! `count` bytes), `hop-by-hop`, `framing`, `names` (empty, with spaces, colons, line
//! breaks, not ASCII), `host` (names that the host itself sets), `status` (the body's
//! `status`: try 0, 99, 100, 101, 199, 600, 1000). The host must drop what it promises
//! to drop, refuse the rest as the workflow's fault, and keep the connection in step.

use serde::Deserialize;
use tidegate_guest::{Reply, Request, Result, Settings};

tidegate_guest::catch!(handler);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    mode: String,
    count: Option<usize>,
    status: Option<u16>,
}

fn handler(request: Request, _settings: &mut Settings) -> Result<Reply> {
    let steps: Steps = request.json()?;
    let count = steps.count.unwrap_or(10_000);
    let headers: Vec<(String, String)> = match &*steps.mode {
        "line-breaks" => owned(&[
            ("x-split", "a\r\nx-smuggled: 1"),
            ("x-feed", "a\nx-smuggled: 2"),
            ("x-return", "a\rx-smuggled: 3"),
            ("x-response", "a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
            ("x-nul", "a\0b"),
        ]),
        "many" => (0..count).map(|n| (format!("x-many-{n}"), n.to_string())).collect(),
        "long" => vec![("x-long".to_owned(), "v".repeat(count))],
        "hop-by-hop" => owned(&[
            ("connection", "close, x-named"),
            ("x-named", "named by connection"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("te", "trailers"),
            ("trailer", "x-late"),
            ("upgrade", "h2c"),
        ]),
        "framing" => {
            owned(&[("content-length", "1"), ("Content-Length", "999999"), ("transfer-encoding", "chunked")])
        }
        "names" => {
            owned(&[("", "a"), ("x y", "a"), ("x:y", "a"), ("x\r\ny", "a"), ("x-ü", "a"), ("x\0", "a")])
        }
        "host" => {
            owned(&[("tidegate-run", "forged"), ("tidegate-fault", "host"), ("date", "x"), ("server", "x")])
        }
        "status" => Vec::new(),
        other => return Err(format!("no such mode: {other}").into()),
    };
    let reply = Reply::new(steps.status.unwrap_or(200)).text("abused\n");
    Ok(headers.into_iter().fold(reply, |reply, (name, value)| reply.header(name, value)))
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}
