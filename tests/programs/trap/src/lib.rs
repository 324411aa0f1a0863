//! Executes `unreachable`. The host must end the run as a trap, answer the caller with
//! 502 and go on serving; what was printed before, `about to trap`, is in the run's log.

use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

#[expect(clippy::print_stdout, reason = "the host must keep it")]
fn handler(_request: Request, _settings: &mut Settings) -> Result<()> {
    println!("about to trap");
    std::process::abort()
}
