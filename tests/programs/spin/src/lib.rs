//! Never returns and never calls the host. The host must stop it at its deadline, answer
//! with 504, and meanwhile serve others as if it were not there.

use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

fn handler(_request: Request, _settings: &mut Settings) -> Result<()> {
    loop {
        std::hint::black_box(());
    }
}
