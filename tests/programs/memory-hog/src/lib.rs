//! Allocates and touches memory, MiB by MiB, up to `mib` of the body (without it: until
//! there is no more). `mode` says what then: `report` (the default) frees it and replies
//! with the number of MiB it got; `abort` dies of the first allocation that fails. The
//! host must refuse growth at the run's memory limit, tell an abort of that cause apart
//! from a trap, and record the peak.

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

const MIB: usize = 1024 * 1024;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Steps {
    mib: Option<usize>,
    mode: Mode,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Report,
    Abort,
}

fn handler(request: Request, _settings: &mut Settings) -> Result<Value> {
    let steps = if request.body().is_empty() { Steps::default() } else { request.json::<Steps>()? };
    let held = grow(steps.mib.unwrap_or(usize::MAX), steps.mode);
    let mib = held.len();
    drop(held);
    Ok(json!({ "mib": mib }))
}

fn grow(mib_max: usize, mode: Mode) -> Vec<Vec<u8>> {
    let mut held = Vec::new();
    while held.len() < mib_max {
        let mut block: Vec<u8> = Vec::new();
        match mode {
            Mode::Report if block.try_reserve_exact(MIB).is_err() => break,
            Mode::Report => {}
            Mode::Abort => block.reserve_exact(MIB),
        }
        block.resize(MIB, 0x5a);
        held.push(std::hint::black_box(block));
    }
    held
}
