//! Panics with the body as its message, or with `on purpose` if there is none. The host
//! must end the run as a trap; the run's standard error says `panicked at`, the file
//! with line and column, and the message, and `printed before` is on its standard output.

use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

#[expect(clippy::print_stdout, reason = "the host must keep it")]
fn handler(request: Request, _settings: &mut Settings) -> Result<()> {
    print!("printed before");
    match request.text()? {
        "" => panic!("on purpose"),
        message => panic!("{message}"),
    }
}
