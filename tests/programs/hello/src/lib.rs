//! The smallest reply. The host must answer 200 with the body `hello` and a line break
//! for any request. The benchmark measures this program, so it does nothing else.

use tidegate_guest::{Reply, Request, Result, Settings};

tidegate_guest::catch!(handler);

fn handler(_request: Request, _settings: &mut Settings) -> Result<Reply> {
    Ok(Reply::ok().text("hello\n"))
}
