//! Sends the requests that the body asks for: `times` times (once unless given) the
//! `method` and `url`, with `headers` and `body`, and tells of each what became of it in
//! the list `results`: `status`, `headers`, `body` and `body_bytes`, or `error` (its
//! whole chain as text) and `code` (as `wasi:http` names it). With `hold`, no response
//! is read before the last one has arrived, so that all of them are open at once. The
//! host must apply its address policy and limits, honour the time-outs (in
//! milliseconds), and record each exchange in the run.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_guest::http::{Client, Error, Response};
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<String>,
    times: Option<usize>,
    #[serde(default)]
    hold: bool,
    connect_timeout_ms: Option<u64>,
    first_byte_timeout_ms: Option<u64>,
    between_bytes_timeout_ms: Option<u64>,
    body_bytes_max: Option<u64>,
}

fn handler(request: Request, _settings: &mut Settings) -> Result<Value> {
    let steps: Steps = request.json()?;
    let times = steps.times.unwrap_or(1);
    let results: Vec<_> = if steps.hold {
        let held: Vec<_> = (0..times).map(|_| send(&steps)).collect();
        held.into_iter().map(tell).collect()
    } else {
        (0..times).map(|_| tell(send(&steps))).collect()
    };
    Ok(json!({ "results": results }))
}

fn send(steps: &Steps) -> Result<Response, Error> {
    let mut client = Client::new();
    if let Some(bytes) = steps.body_bytes_max {
        client = client.body_bytes_max(bytes);
    }
    let mut request = client.request(steps.method.as_deref().unwrap_or("GET"), &steps.url);
    for (name, value) in &steps.headers {
        request = request.header(name, value);
    }
    if let Some(body) = &steps.body {
        request = request.body(body.as_str());
    }
    let after = Duration::from_millis;
    if let Some(ms) = steps.connect_timeout_ms {
        request = request.connect_timeout(after(ms));
    }
    if let Some(ms) = steps.first_byte_timeout_ms {
        request = request.first_byte_timeout(after(ms));
    }
    if let Some(ms) = steps.between_bytes_timeout_ms {
        request = request.between_bytes_timeout(after(ms));
    }
    request.send()
}

fn tell(response: Result<Response, Error>) -> Value {
    let told = response.and_then(|response| {
        let (status, headers) = (response.status(), json!(response.headers().iter().collect::<Vec<_>>()));
        let body = response.bytes()?;
        let text = String::from_utf8_lossy(&body);
        Ok(json!({ "status": status, "headers": headers, "body": text, "body_bytes": body.len() }))
    });
    told.unwrap_or_else(|error| json!({ "code": error.code(), "error": chain(&error) }))
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}
