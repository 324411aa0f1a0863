//! Interprets the request's body as a sequence of calls to the host: a byte names a call,
//! the following ones its arguments, which handles it uses and how large its sizes are.
//! Replies with the number of calls that it made. Whatever the sequence is, the host must
//! refuse, trap or answer; it must never panic, hang beyond the deadline, or keep
//! anything when the run is over.

use serde_json::{Value, json};
use tidegate_guest::bindings::tidegate::workflow::log as host_log;
use tidegate_guest::bindings::tidegate::workflow::settings;
use tidegate_guest::bindings::tidegate::workflow::types::Change;
use tidegate_guest::bindings::wasi::cli::{environment, stderr, stdin, stdout, terminal_stdout};
use tidegate_guest::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use tidegate_guest::bindings::wasi::filesystem::preopens;
use tidegate_guest::bindings::wasi::http::outgoing_handler;
use tidegate_guest::bindings::wasi::http::types::{
    Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use tidegate_guest::bindings::wasi::io::poll::{Pollable, poll};
use tidegate_guest::bindings::wasi::io::streams::{InputStream, OutputStream};
use tidegate_guest::bindings::wasi::random::{insecure, insecure_seed, random};
use tidegate_guest::bindings::wasi::sockets::network::IpAddressFamily;
use tidegate_guest::bindings::wasi::sockets::{
    instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket,
};
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

/// Sizes at and around the edges of the host's limits.
const SIZES: [u64; 16] = [
    0,
    1,
    2,
    4095,
    4096,
    4097,
    65_535,
    65_536,
    65_537,
    1 << 20,
    (8 << 20) + 1,
    1 << 24,
    u32::MAX as u64,
    1 << 32,
    1 << 63,
    u64::MAX,
];
/// The most that a guest can hold ready to hand over.
const BYTES_MAX: u64 = 9 << 20;

/// Everything that the sequence holds.
#[derive(Default)]
struct Held {
    fields: Vec<Fields>,
    requests: Vec<OutgoingRequest>,
    options: Vec<RequestOptions>,
    bodies: Vec<OutgoingBody>,
    outputs: Vec<OutputStream>,
    inputs: Vec<InputStream>,
    pollables: Vec<Pollable>,
    futures: Vec<FutureIncomingResponse>,
    responses: Vec<IncomingResponse>,
    incoming: Vec<IncomingBody>,
}

struct Sequence<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl Sequence<'_> {
    fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or(0)
    }

    fn size(&mut self) -> u64 {
        SIZES[usize::from(self.byte()) % SIZES.len()]
    }

    fn data(&mut self) -> Vec<u8> {
        let (size, fill) = (self.size().min(BYTES_MAX), self.byte());
        vec![fill; size as usize]
    }

    fn text(&mut self) -> String {
        // Some that are URLs' parts, some that break them.
        let (kind, size) = (self.byte(), self.size().min(1 << 16) as usize);
        match kind % 6 {
            0 => "127.0.0.1:9".to_owned(),
            1 => "/".to_owned(),
            2 => "x".repeat(size),
            3 => "a\r\nb: c".to_owned(),
            4 => "\u{0}é".repeat(size / 3),
            _ => format!("[::{}]:{}", self.byte(), self.byte()),
        }
    }

    fn one<'h, T>(&mut self, held: &'h [T]) -> Option<&'h T> {
        let at = usize::from(self.byte());
        (!held.is_empty()).then(|| &held[at % held.len()])
    }

    fn take<T>(&mut self, held: &mut Vec<T>) -> Option<T> {
        let at = usize::from(self.byte());
        (!held.is_empty()).then(|| held.swap_remove(at % held.len()))
    }
}

fn handler(request: Request, _settings: &mut Settings) -> Result<Value> {
    let mut sequence = Sequence { bytes: request.body().iter() };
    let mut held = Held::default();
    let mut calls = 0_u32;
    while let Some(call) = sequence.bytes.next() {
        perform(*call, &mut sequence, &mut held);
        calls += 1;
    }
    Ok(json!({ "calls": calls }))
}

fn perform(call: u8, s: &mut Sequence, held: &mut Held) {
    match call % 64 {
        0..=3 => clocks_and_chance(call, s, held),
        4..=11 => fields(call, s, held),
        12..=23 => requests(call, s, held),
        24..=35 => streams(call, s, held),
        36..=43 => polls(call, s, held),
        44..=51 => drops(call, s, held),
        52..=57 => responses(call, s, held),
        _ => surroundings(call, s),
    }
}

fn clocks_and_chance(call: u8, s: &mut Sequence, held: &mut Held) {
    match call % 4 {
        0 => drop((monotonic_clock::now(), monotonic_clock::resolution(), wall_clock::now())),
        1 => held.pollables.push(monotonic_clock::subscribe_duration(s.size())),
        // More than it may have is a trap, which ends the sequence: mostly it is less.
        2 => drop(random::get_random_bytes(s.size().min(if s.byte() == 0 { u64::MAX } else { 65_536 }))),
        _ => drop((
            insecure::get_insecure_random_u64(),
            insecure_seed::insecure_seed(),
            random::get_random_u64(),
        )),
    }
}

fn fields(call: u8, s: &mut Sequence, held: &mut Held) {
    let (name, value) = (s.text(), s.data());
    match call % 8 {
        0 => held.fields.push(Fields::new()),
        1 => {
            let list = vec![(name, value); usize::from(s.byte()) % 8];
            held.fields.extend(Fields::from_list(&list));
        }
        2 => drop(s.one(&held.fields).map(|fields| fields.append(&name, &value))),
        3 => drop(s.one(&held.fields).map(|fields| fields.set(&name, &[value]))),
        4 => drop(s.one(&held.fields).map(|fields| (fields.get(&name), fields.has(&name)))),
        5 => drop(s.one(&held.fields).map(|fields| fields.delete(&name))),
        6 => drop(s.one(&held.fields).map(Fields::entries)),
        _ => {
            if let Some(copy) = s.one(&held.fields).map(Fields::clone) {
                held.fields.push(copy);
            }
        }
    }
}

fn requests(call: u8, s: &mut Sequence, held: &mut Held) {
    match call % 12 {
        0 | 1 => {
            let fields = s.take(&mut held.fields).unwrap_or_else(Fields::new);
            held.requests.push(OutgoingRequest::new(fields));
        }
        2 => {
            let text = s.text();
            let _ = s.one(&held.requests).map(|one| one.set_authority(Some(&text)));
        }
        3 => {
            let text = s.text();
            let _ = s.one(&held.requests).map(|one| one.set_path_with_query(Some(&text)));
        }
        4 => {
            let scheme = match s.byte() % 3 {
                0 => Scheme::Http,
                1 => Scheme::Https,
                _ => Scheme::Other(s.text()),
            };
            let _ = s.one(&held.requests).map(|one| one.set_scheme(Some(&scheme)));
        }
        5 => {
            let method = Method::Other(s.text());
            let _ = s.one(&held.requests).map(|one| one.set_method(&method));
        }
        6 | 7 => held.bodies.extend(s.one(&held.requests).and_then(|one| one.body().ok())),
        8 => {
            if let Some(request) = s.take(&mut held.requests) {
                let options = s.take(&mut held.options);
                held.futures.extend(outgoing_handler::handle(request, options));
            }
        }
        9 => held.options.push(RequestOptions::new()),
        10 => {
            let time = Some(s.size());
            let _ = s
                .one(&held.options)
                .map(|one| (one.set_connect_timeout(time), one.set_first_byte_timeout(time)));
        }
        _ => held.fields.extend(s.one(&held.requests).map(OutgoingRequest::headers)),
    }
}

fn streams(call: u8, s: &mut Sequence, held: &mut Held) {
    match call % 12 {
        0 => held.outputs.push(stdout::get_stdout()),
        1 => held.outputs.push(stderr::get_stderr()),
        2 => held.inputs.push(stdin::get_stdin()),
        3 => held.outputs.extend(s.one(&held.bodies).and_then(|one| one.write().ok())),
        4 => {
            let data = s.data();
            drop(s.one(&held.outputs).map(|one| one.write(&data)));
        }
        5 => {
            let data = s.data();
            drop(s.one(&held.outputs).map(|one| {
                let room = one.check_write().unwrap_or(0).min(data.len() as u64);
                one.write(&data[..room as usize])
            }));
        }
        6 => {
            let mut data = s.data();
            data.truncate(4096);
            drop(s.one(&held.outputs).map(|one| one.blocking_write_and_flush(&data)));
        }
        7 => {
            let size = s.size();
            drop(s.one(&held.outputs).map(|one| one.write_zeroes(size)));
        }
        8 => drop(s.one(&held.outputs).map(|one| (one.flush(), one.check_write()))),
        9 => {
            let size = s.size();
            drop(s.one(&held.inputs).map(|one| one.read(size)));
        }
        10 => {
            let size = s.size();
            if let (Some(input), Some(output)) = (s.one(&held.inputs), s.one(&held.outputs)) {
                drop((output.splice(input, size), input.skip(size)));
            }
        }
        _ => {
            if let Some(body) = s.take(&mut held.bodies) {
                let trailers = s.take(&mut held.fields);
                let _ = OutgoingBody::finish(body, trailers);
            }
        }
    }
}

fn polls(call: u8, s: &mut Sequence, held: &mut Held) {
    match call % 8 {
        0 | 1 => held.pollables.extend(s.one(&held.outputs).map(OutputStream::subscribe)),
        2 => held.pollables.extend(s.one(&held.inputs).map(InputStream::subscribe)),
        3 => held.pollables.extend(s.one(&held.futures).map(FutureIncomingResponse::subscribe)),
        4 => drop(s.one(&held.pollables).map(Pollable::ready)),
        5 => {
            // An empty list is a trap; a list of many of the same is none.
            let times = if s.byte() == 0 { 0 } else { s.size().clamp(1, 20_000) as usize };
            let ready = monotonic_clock::subscribe_duration(0);
            let mut list: Vec<&Pollable> = vec![&ready; times];
            list.extend(&held.pollables);
            drop(poll(&list));
        }
        6 => monotonic_clock::subscribe_duration(s.size().min(1_000_000)).block(),
        // For ever, now and then.
        _ => {
            if s.byte() == 0
                && let Some(one) = s.one(&held.pollables)
            {
                one.block();
            }
        }
    }
}

fn drops(call: u8, s: &mut Sequence, held: &mut Held) {
    // In any order: parents before their children is a trap.
    match call % 8 {
        0 => drop(s.take(&mut held.fields)),
        1 => drop(s.take(&mut held.requests)),
        2 => drop(s.take(&mut held.bodies)),
        3 => drop(s.take(&mut held.outputs)),
        4 => drop(s.take(&mut held.inputs)),
        5 => drop(s.take(&mut held.pollables)),
        6 => drop(s.take(&mut held.futures)),
        _ => drop(s.take(&mut held.responses)),
    }
}

fn responses(call: u8, s: &mut Sequence, held: &mut Held) {
    match call % 6 {
        0 | 1 => {
            let told = s.one(&held.futures).and_then(FutureIncomingResponse::get);
            held.responses.extend(told.and_then(Result::ok).and_then(Result::ok));
        }
        2 => held.fields.extend(s.one(&held.responses).map(IncomingResponse::headers)),
        3 => held.incoming.extend(s.one(&held.responses).and_then(|one| one.consume().ok())),
        4 => held.inputs.extend(s.one(&held.incoming).and_then(|one| one.stream().ok())),
        _ => drop(s.take(&mut held.incoming).map(IncomingBody::finish)),
    }
}

fn surroundings(call: u8, s: &mut Sequence) {
    match call % 6 {
        0 => {
            drop((environment::get_environment(), environment::get_arguments(), preopens::get_directories()))
        }
        1 => drop(terminal_stdout::get_terminal_stdout()),
        2 => drop(tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)),
        3 => {
            drop(udp_create_socket::create_udp_socket(IpAddressFamily::Ipv6));
            drop(ip_name_lookup::resolve_addresses(&instance_network::instance_network(), &s.text()));
        }
        4 => {
            let (message, value) = (s.text(), s.text());
            let fields = vec![(value.clone(), value); usize::from(s.byte())];
            host_log::emit(host_log::Level::Warning, &message, &fields);
        }
        _ => {
            let change = Change { name: s.text(), value: Some(s.text()) };
            drop(settings::commit(&[change]));
        }
    }
}
