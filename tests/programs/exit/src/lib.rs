//! Calls `wasi:cli/exit` with the body's `code` (0 unless given). A workflow returns, it
//! does not exit: the host must end the run as failed whatever the code is, and must
//! not exit itself.

use serde::Deserialize;
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Steps {
    code: i32,
}

fn handler(request: Request, _settings: &mut Settings) -> Result<()> {
    let steps = if request.body().is_empty() { Steps::default() } else { request.json::<Steps>()? };
    std::process::exit(steps.code)
}
