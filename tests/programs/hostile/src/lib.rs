//! Does one hostile thing, named by the body's `mode`: see [`MODES`]. Each spins, waits,
//! grows or floods as far as it is let. The host must end it with the fault that the test
//! names, at its deadline at the latest, and have everything back afterwards.

use std::hint::black_box;

use serde_json::{Value, json};
use tidegate_guest::bindings::wasi::cli::stdout::get_stdout;
use tidegate_guest::bindings::wasi::clocks::monotonic_clock::{self, subscribe_duration, subscribe_instant};
use tidegate_guest::bindings::wasi::clocks::wall_clock;
use tidegate_guest::bindings::wasi::filesystem::preopens::get_directories;
use tidegate_guest::bindings::wasi::http::outgoing_handler;
use tidegate_guest::bindings::wasi::http::types::{
    Fields, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use tidegate_guest::bindings::wasi::io::poll::poll;
use tidegate_guest::bindings::wasi::random::{insecure, random};
use tidegate_guest::{Request, Result, Settings, log};

tidegate_guest::catch!(handler);

type Mode = fn() -> Result<Value>;

/// The hostile things.
const MODES: &[(&str, Mode)] = &[
    ("spin-loop", || {
        loop {
            black_box(());
        }
    }),
    ("spin-float", || {
        let mut number = 1.5_f64;
        loop {
            number = black_box(number.sqrt().sin() + 1.0);
        }
    }),
    ("spin-dispatch", || {
        let (mut state, mut sum) = (1_u32, 0_u64);
        loop {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            sum = black_box(dispatch(state >> 24, sum));
        }
    }),
    ("spin-tree", || Ok(json!(tree(u32::MAX)))),
    ("spin-indirect", || {
        let table: [fn(u64) -> u64; 4] = [|n| n + 1, |n| n ^ 3, |n| n.rotate_left(5), |n| n.wrapping_mul(7)];
        let mut number = 1;
        loop {
            number = black_box(table[(number % 4) as usize])(number);
        }
    }),
    ("spin-fill", || {
        let mut memory = vec![0_u8; 16 << 20];
        loop {
            memory.fill(black_box(7));
        }
    }),
    ("spin-copy", || {
        let mut memory = vec![1_u8; 16 << 20];
        loop {
            memory.copy_within(..8 << 20, black_box(8 << 20));
        }
    }),
    ("spin-host-calls", || {
        loop {
            black_box(monotonic_clock::now());
        }
    }),
    ("spin-timers", || {
        loop {
            subscribe_duration(0).block();
        }
    }),
    ("spin-log", || {
        loop {
            log::info("again", &[]);
        }
    }),
    ("spin-random", || {
        loop {
            black_box(random::get_random_bytes(black_box(65_536)));
        }
    }),
    ("wait-for-ever", || {
        subscribe_duration(u64::MAX).block();
        Ok(json!("woken"))
    }),
    ("wait-for-an-instant", || {
        subscribe_instant(u64::MAX).block();
        Ok(json!("woken"))
    }),
    ("recursion", || Ok(json!(recurse(u64::MAX)))),
    ("recursion-in-memory", || Ok(json!(recurse_in_memory(u64::MAX)))),
    ("memory", || {
        let mut held: Vec<Vec<u8>> = Vec::new();
        loop {
            held.push(black_box(vec![1; 1 << 20]));
        }
    }),
    ("memory-small", || {
        let mut held: Vec<Box<[u8; 100]>> = Vec::new();
        loop {
            held.push(black_box(Box::new([1; 100])));
        }
    }),
    ("memory-held", || {
        let held = black_box(vec![1_u8; 16 << 20]);
        subscribe_duration(u64::MAX).block();
        Ok(json!(held.len()))
    }),
    ("handles-fields", || {
        let mut held = Vec::new();
        loop {
            held.push(Fields::new());
        }
    }),
    ("handles-pollables", || {
        let mut held = Vec::new();
        loop {
            held.push(subscribe_duration(1));
        }
    }),
    ("handles-requests", || {
        let mut held = Vec::new();
        loop {
            let request = OutgoingRequest::new(Fields::new());
            let body = request.body();
            held.push((request, body));
        }
    }),
    ("handles-options", || {
        let mut held = Vec::new();
        loop {
            held.push(RequestOptions::new());
        }
    }),
    ("handles-streams", || {
        let mut held = Vec::new();
        loop {
            held.push(get_stdout());
        }
    }),
    ("fields-flood", || {
        let fields = Fields::new();
        for n in 0_u64.. {
            if let Err(error) = fields.append("x-flood", &[b'v'; 1000]) {
                return Ok(json!({ "after": n, "error": format!("{error:?}") }));
            }
        }
        Ok(json!("took all"))
    }),
    ("field-huge", || {
        let told = Fields::new().append("x-huge", &vec![b'v'; 8 << 20]);
        Ok(json!(format!("{told:?}")))
    }),
    ("fields-many", || {
        let list: Vec<_> = (0..200_000).map(|n| (format!("x-{n}"), Vec::new())).collect();
        Ok(json!(Fields::from_list(&list).map(drop).map_err(|error| format!("{error:?}"))))
    }),
    ("poll-many", || {
        let timer = subscribe_duration(0);
        Ok(json!(poll(&vec![&timer; 100_000]).len()))
    }),
    ("poll-none", || Ok(json!(poll(&[]).len()))),
    ("random-1-gb", || Ok(json!(random::get_random_bytes(1 << 30).len()))),
    ("insecure-random-1-gb", || Ok(json!(insecure::get_insecure_random_bytes(1 << 30).len()))),
    ("random-u64-max", || Ok(json!(random::get_random_bytes(u64::MAX).len()))),
    ("writes-of-nothing", || {
        let out = get_stdout();
        for n in 0..200_000 {
            if let Err(error) = out.write(&[]) {
                return Ok(json!({ "after": n, "error": format!("{error:?}") }));
            }
        }
        Ok(json!("took all"))
    }),
    ("writes-unflushed", || {
        let out = get_stdout();
        loop {
            let room = out.check_write().unwrap_or(0).min(65_536);
            if let Err(error) = out.write(&vec![b'x'; room as usize]) {
                return Ok(json!(format!("{error:?}")));
            }
        }
    }),
    ("write-beyond-the-room", || {
        let out = get_stdout();
        let room = out.check_write().unwrap_or(0);
        Ok(json!(format!("{:?}", out.write(&vec![b'x'; room as usize + 1]))))
    }),
    ("write-zeroes-2-64", || Ok(json!(format!("{:?}", get_stdout().write_zeroes(u64::MAX))))),
    ("log-flood", || {
        let line = "l".repeat(60_000);
        loop {
            log::warning(&line, &[("field", &line as &dyn std::fmt::Display)]);
        }
    }),
    ("outbound-held", || {
        let mut held = Vec::new();
        for n in 0.. {
            let request = OutgoingRequest::new(Fields::new());
            let _ = request.set_scheme(Some(&Scheme::Http));
            let _ = request.set_authority(Some("127.0.0.1:9"));
            let body = request.body();
            match outgoing_handler::handle(request, None) {
                // Never read, never dropped.
                Ok(response) => held.push((response, body)),
                Err(error) => return Ok(json!({ "after": n, "error": format!("{error:?}") })),
            }
        }
        Ok(json!("took all"))
    }),
    ("body-before-its-stream", || {
        let request = OutgoingRequest::new(Fields::new());
        let body = request.body().map_err(|()| "no body")?;
        let stream = body.write().map_err(|()| "no stream")?;
        // The child outlives its parent.
        drop(body);
        Ok(json!(format!("{:?}", stream.write(b"x"))))
    }),
    ("body-finished-with-its-stream", || {
        let request = OutgoingRequest::new(Fields::new());
        let body = request.body().map_err(|()| "no body")?;
        let stream = body.write().map_err(|()| "no stream")?;
        let told = OutgoingBody::finish(body, None);
        drop(stream);
        Ok(json!(format!("{told:?}")))
    }),
    ("request-invalid", || {
        let request = OutgoingRequest::new(Fields::new());
        let authority = request.set_authority(Some("a b\r\nc:99999999"));
        let path = request.set_path_with_query(Some("no slash\r\n\0"));
        Ok(json!(format!("{authority:?} {path:?}")))
    }),
    ("folders", || Ok(json!(get_directories().len()))),
    ("wall-clock-frozen", || {
        let first = wall_clock::now();
        Ok(json!(first.nanoseconds < 1_000_000_000))
    }),
    ("exit", || {
        std::process::exit(3);
    }),
    ("trap", || std::process::abort()),
    ("unwind", || panic!("on purpose")),
];

fn handler(request: Request, _settings: &mut Settings) -> Result<Value> {
    let steps: Value = request.json()?;
    let wanted = steps["mode"].as_str().unwrap_or_default();
    if wanted.is_empty() {
        return Ok(json!(MODES.iter().map(|(name, _)| name).collect::<Vec<_>>()));
    }
    let mode = MODES.iter().find(|(name, _)| *name == wanted).ok_or("no such mode")?;
    mode.1()
}

#[inline(never)]
fn dispatch(case: u32, sum: u64) -> u64 {
    // As many cases as a jump table wants.
    match case {
        0..=15 => sum.wrapping_add(3),
        16..=31 => sum ^ 0x5555,
        32..=63 => sum.rotate_left(7),
        64 => sum / 3,
        65 => sum.wrapping_mul(11),
        66 => !sum,
        67..=127 => sum.swap_bytes(),
        128..=200 => sum.wrapping_sub(1),
        _ => sum.reverse_bits(),
    }
}

/// Calls itself twice, as deep as the stack allows without an end.
#[inline(never)]
fn tree(depth: u32) -> u64 {
    let depth = depth.min(200);
    if depth == 0 { 1 } else { black_box(tree(depth - 1)).wrapping_add(black_box(tree(depth - 1))) }
}

#[inline(never)]
fn recurse(left: u64) -> u64 {
    if left == 0 { 0 } else { black_box(recurse(black_box(left) - 1)) + 1 }
}

#[inline(never)]
fn recurse_in_memory(left: u64) -> u64 {
    let frame = black_box([left; 512]);
    if left == 0 { 0 } else { recurse_in_memory(left - 1) + black_box(frame)[1] - left }
}
