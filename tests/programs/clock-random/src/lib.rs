//! Reads each clock and each source of randomness twice, `sleep_ms` (0 unless the body
//! says so) apart: `wall_ns` and `monotonic_ns` (as text: they exceed what JSON readers
//! keep exact), `random` (`bytes` bytes, 16 unless given), `insecure` (the same),
//! `insecure_seed`, and `hash` (of the same text by two of Rust's own hashers, which are
//! seeded at random). The host must give each run its own values, and record them.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_guest::bindings::wasi::clocks::monotonic_clock;
use tidegate_guest::bindings::wasi::random::{insecure, insecure_seed, random};
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Steps {
    sleep_ms: u64,
    bytes: u64,
}

impl Default for Steps {
    fn default() -> Self {
        Self { sleep_ms: 0, bytes: 16 }
    }
}

fn handler(request: Request, _settings: &mut Settings) -> Result<Value> {
    let steps = if request.body().is_empty() { Steps::default() } else { request.json::<Steps>()? };
    let clocks = || -> Result<_> {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos().to_string();
        Ok((wall, monotonic_clock::now().to_string()))
    };
    let (wall, monotonic) = clocks()?;
    std::thread::sleep(Duration::from_millis(steps.sleep_ms));
    let (wall_after, monotonic_after) = clocks()?;
    let hash = || RandomState::new().hash_one("text").to_string();
    let seed = || {
        let (high, low) = insecure_seed::insecure_seed();
        format!("{high:016x}{low:016x}")
    };
    Ok(json!({
        "wall_ns": [wall, wall_after],
        "monotonic_ns": [monotonic, monotonic_after],
        "random": [random::get_random_bytes(steps.bytes), random::get_random_bytes(steps.bytes)],
        "insecure": [
            insecure::get_insecure_random_bytes(steps.bytes),
            insecure::get_insecure_random_bytes(steps.bytes),
        ],
        "insecure_seed": [seed(), seed()],
        "hash": [hash(), hash()],
    }))
}
