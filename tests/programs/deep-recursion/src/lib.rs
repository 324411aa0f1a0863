//! Recurses `depth` times (without end unless the body says so). `mode` is `calls` (the
//! default: small frames, which exhaust the host's stack for guests) or `memory` (frames
//! of 4 KiB, which exhaust the guest's own stack of 1 MiB in its memory). The host must
//! end both as a trap, never as a crash of its own.

use std::hint::black_box;

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Steps {
    mode: Mode,
    depth: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Calls,
    Memory,
}

fn handler(request: Request, _settings: &mut Settings) -> Result<Value> {
    let steps = if request.body().is_empty() { Steps::default() } else { request.json::<Steps>()? };
    let left = steps.depth.unwrap_or(u64::MAX);
    let reached = match steps.mode {
        Mode::Calls => calls(left),
        Mode::Memory => memory(left),
    };
    Ok(json!({ "reached": reached }))
}

#[inline(never)]
fn calls(left: u64) -> u64 {
    if left == 0 { 0 } else { black_box(calls(black_box(left) - 1)) + 1 }
}

#[inline(never)]
fn memory(left: u64) -> u64 {
    let frame = black_box([left; 512]);
    if left == 0 { 0 } else { memory(left - 1) + 1 + black_box(frame)[0] - left }
}
