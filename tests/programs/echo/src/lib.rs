//! Says the request back. The host must answer 200 with a JSON object of `method`,
//! `path`, `query` (null where there is none), `headers` (a list of name and value
//! pairs, in the guest's order), `body` (as text, with replacement characters) and
//! `body_bytes` (its length), all as the workflow saw them.

use serde_json::{Value, json};
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

fn handler(request: Request, _settings: &mut Settings) -> Result<Value> {
    Ok(json!({
        "method": request.method(),
        "path": request.path(),
        "query": request.query_text(),
        "headers": request.headers().iter().collect::<Vec<_>>(),
        "body": String::from_utf8_lossy(request.body()),
        "body_bytes": request.body().len(),
    }))
}
