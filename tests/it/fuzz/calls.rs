//! Arbitrary sequences of calls from a guest to the host, through the real host.

use serde_json::json;

use crate::fuzz::{Dice, drive};
use crate::support::guests;
use crate::support::host::Host;
use crate::support::http::Request;
use crate::support::wait;

/// How much more memory the host may have at the end than after its first runs: allocators
/// keep what they once had.
const GROWTH_KIB_MAX: u64 = 128 << 10;

fn sequence(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.bytes(200);
    // Calls that build on each other are rare in plain noise: a request with its body.
    if dice.one_in(2) {
        let start = [4, 4, 12, 0, 6, 18, 0, 24 + 3, 0];
        bytes.splice(0..0, start);
    }
    bytes
}

#[test]
fn arbitrary_calls_end_in_a_reply_or_a_fault_and_leave_nothing() {
    let host = Host::start();
    let endpoint = json!({ "raw_bodies": true });
    let limits = json!({ "deadline_ms": 100, "memory_bytes_max": 64 << 20 });
    let workflow =
        host.create(&json!({ "name": "calls", "kind": "catch", "endpoint": endpoint, "limits": limits }));
    host.upload("calls", "application/wasm", &guests::component("call-sequence")).expect(201);
    let (mut runs, mut whole) = (0_u32, 0_u32);
    let mut before = None;
    drive("calls", 1_500, |dice| {
        let reply = Request::new("POST", &workflow.path)
            .body("application/octet-stream", sequence(dice))
            .send(host.catch);
        let code = if reply.status == 200 { "ok".to_owned() } else { reply.field("code") };
        assert!(["ok", "trap", "memory", "deadline"].contains(&&*code), "{}", reply.text());
        runs += 1;
        whole += u32::from(code == "ok");
        if runs == 500 {
            before = Some((host.memory_kib(), host.descriptors()));
        }
    });
    assert!(whole > runs / 20, "only {whole} sequences of {runs} came to their end: the control");
    wait::until("everything to come back", || {
        let metrics = host.get("/metrics").expect(200).text();
        let is = |line: &str| metrics.lines().any(|found| found == line);
        is("tidegate_instances_in_use 0") && is("tidegate_instances_memory_bytes 0")
    });
    let (kib, descriptors) = before.expect("there are so many runs");
    assert!(host.memory_kib() < kib + GROWTH_KIB_MAX, "{kib} KiB became {} KiB", host.memory_kib());
    // The store's files come and go.
    assert!(host.descriptors() <= descriptors + 8, "{descriptors} became {}", host.descriptors());
    assert!(host.get("/metrics").expect(200).text().contains("tidegate_panics_total 0"));
}
