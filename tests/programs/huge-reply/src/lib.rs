//! Replies with a body of `bytes` bytes. The host must send it up to its limit, and over
//! it fail the run and tell the caller that the workflow is at fault.

use serde::Deserialize;
use tidegate_guest::{Reply, Request, Result, Settings};

tidegate_guest::catch!(handler);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    bytes: usize,
}

fn handler(request: Request, _settings: &mut Settings) -> Result<Reply> {
    let steps: Steps = request.json()?;
    Ok(Reply::ok().bytes("application/octet-stream", vec![b'x'; steps.bytes]))
}
