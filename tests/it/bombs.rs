//! Components that are made to hurt the compiler: refused at sight or stopped at a limit
//! of the compiler's child, while the host goes on.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::host::Host;
use crate::support::http::Reply;
use crate::support::wasm::{body, functions, leb, module, nested, repeated, section, with_module};
use crate::support::{guests, wait};

const WASM: &str = "application/wasm";
/// What one function may have, less its head.
const CODE_BYTES: usize = (2 << 20) - 100;

fn bomb(module: &[u8]) -> Vec<u8> {
    with_module(&guests::component("hello"), module)
}

/// Blocks within blocks, as many as one function holds: takes quadratic time.
fn nesting() -> Vec<u8> {
    let levels = CODE_BYTES / 3;
    functions(1, &body(0, &[b"\x02\x40".repeat(levels), b"\x0b".repeat(levels)].concat()))
}

/// Loops within loops, each of which changes a variable of its own: every variable lives
/// through every loop.
fn variables() -> Vec<u8> {
    let loops = 10_000;
    let code = (0..loops).flat_map(|n| {
        let local = leb(n);
        // loop, local + 1 -> local, br_if
        [b"\x03\x40\x20", &local[..], b"\x41\x01\x6a\x21", &local, b"\x20", &local, b"\x0d\x00"].concat()
    });
    functions(1, &body(loops, &[code.collect(), b"\x0b".repeat(loops)].concat()))
}

/// As many branches as one function holds: takes gigabytes.
fn branches() -> Vec<u8> {
    // if (result i32) 1 else 2, drop
    functions(1, &body(1, &b"\x41\0\x04\x7f\x41\x01\x05\x41\x02\x0b\x1a".repeat(CODE_BYTES / 11)))
}

#[test]
fn bombs_are_refused_at_sight_with_their_number_and_the_limit() {
    let host = Host::start();
    host.create(&json!({ "name": "w", "kind": "catch" }));
    let memory = section(5, b"\x01\0\x01");
    for (bomb, words) in [
        (bomb(&functions(1_000_000, &body(0, b""))), "functions, more than the limit of 60000"),
        (
            bomb(&functions(1, &body(0, &vec![1; 7_600_000]))),
            "bytes in one function, more than the limit of 2097152",
        ),
        (bomb(&functions(1, &body(50_000, b""))), "has 50000 locals in one function"),
        (
            bomb(&module(&[memory, repeated(11, 100_000, b"\x01\x01a")])),
            "data segments, more than the limit of 30000",
        ),
        (bomb(&module(&[repeated(1, 1_000_000, b"\x60\0\0")])), "types, more than the limit of 20000"),
        (bomb(&module(&[repeated(4, 1, b"\x70\0\xff\xff\xff\x7f")])), "elements in one table"),
        (bomb(&module(&[repeated(4, 100_000, b"\x70\0\0")])), "tables, more than the limit of 64"),
        (
            bomb(&module(&[repeated(6, 100_000, b"\x7f\0\x41\0\x0b")])),
            "globals, more than the limit of 20000",
        ),
        ((0..100).fold(bomb(&module(&[])), |all, _| with_module(&all, &module(&[]))), "core modules"),
        (nested(1000), "levels of nesting, more than the limit of 8"),
    ] {
        let reply = host.upload("w", WASM, &bomb).expect(422);
        assert_eq!(reply.field("code"), "component-refused");
        assert!(reply.field("message").contains(words), "{words:?} is not in {}", reply.text());
    }
    let metrics = host.get("/metrics").expect(200).text();
    assert!(metrics.contains("tidegate_compiles_total{result=\"compiled\"} 0"), "nothing was compiled");
}

#[test]
fn what_breaks_a_rule_is_told_where_by_the_child() {
    let host = Host::start();
    host.create(&json!({ "name": "w", "kind": "catch" }));
    // An addition without operands.
    let reply = host.upload("w", WASM, &bomb(&functions(1, &body(0, b"\x6a\x1a")))).expect(422);
    assert_eq!(reply.field("code"), "component-refused");
    let message = reply.field("message");
    assert!(message.contains("is not valid: type mismatch") && message.contains("(at byte 0x"), "{message}");
    // Valid, and more than the compiler does.
    let targets = [b"\x41\0\x0e".to_vec(), leb(1_000_000), vec![0; 1_000_001]].concat();
    let reply = host.upload("w", WASM, &bomb(&functions(1, &body(0, &targets)))).expect(422);
    assert_eq!(reply.field("code"), "compile-failed");
    assert!(reply.field("message").contains("br_table"), "{}", reply.text());
}

#[test]
fn bombs_are_stopped_at_a_limit_and_others_are_answered_meanwhile() {
    // Compiled with all the time that a busy machine may need: the short one is for bombs.
    let data = tempfile::tempdir().unwrap();
    let hello = Host::on_folder(data.path(), &[]).deploy("hello", "catch", "hello");
    let host = Host::on_folder(
        data.path(),
        &[("engine.compile_timeout_ms", "3000"), ("engine.compile_memory_bytes_max", "2500000000")],
    );
    let bombs = [nesting(), variables(), branches(), nesting()].map(|module| bomb(&module));
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let host = &host;
        let uploads: Vec<_> = bombs
            .iter()
            .enumerate()
            .map(|(n, bomb)| {
                scope.spawn(move || {
                    host.create(&json!({ "name": format!("bomb-{n}"), "kind": "catch" }));
                    host.upload(&format!("bomb-{n}"), WASM, bomb)
                })
            })
            .collect();
        let mut calls = 0;
        while uploads.iter().any(|upload| !upload.is_finished()) {
            assert_eq!(host.call(&hello, &json!({})).expect(200).text(), "hello\n");
            calls += 1;
        }
        assert!(calls > 10, "only {calls} calls were answered while four bombs were compiled");
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    let mut counts = BTreeMap::new();
    for reply in replies {
        let reply = reply.expect(422);
        *counts.entry(reply.field("code")).or_insert(0) += 1;
        assert!(!reply.field("hint").is_empty(), "{}", reply.text());
    }
    let stopped = |code: &str| counts.get(code).copied().unwrap_or(0);
    assert_eq!(stopped("compile-timeout") + stopped("compile-memory"), 4, "{counts:?}");
    let metrics = host.get("/metrics").expect(200).text();
    for (word, count) in [("timeout", stopped("compile-timeout")), ("memory", stopped("compile-memory"))] {
        let line = format!("tidegate_compiles_total{{result=\"{word}\"}} {count}");
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in {metrics}");
    }
    wait::until("the children's end", || host.children().is_empty());
    // The next one is compiled as if nothing had been.
    // A busy machine may need more than the short time that was left to the bombs.
    let echo = guests::component("echo");
    wait::until("a compilation", || host.upload("bomb-0", WASM, &echo).status == 201);
}

#[test]
fn compilations_together_take_half_of_the_cores() {
    let host = Host::with(&[("engine.compile_timeout_ms", "3000"), ("engine.compiles_max", "4")]);
    host.create(&json!({ "name": "w", "kind": "catch" }));
    let bomb = bomb(&nesting());
    let half = (std::thread::available_parallelism().unwrap().get() / 2).max(1);
    let mut most = 0;
    std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..4).map(|_| scope.spawn(|| host.upload("w", WASM, &bomb))).collect();
        while uploads.iter().any(|upload| !upload.is_finished()) {
            let threads = |pid: u32| {
                let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
                // Between its fork and its program, it has the host's.
                environment.trim_end_matches('\0').strip_prefix("RAYON_NUM_THREADS=")?.parse::<usize>().ok()
            };
            let all: usize = host.children().into_iter().filter_map(threads).sum();
            assert!(all <= half, "{all} threads compile on {half} cores");
            most = most.max(all);
        }
        uploads.into_iter().for_each(|upload| drop(upload.join().unwrap().expect(422)));
    });
    // Several share it as far as it can be divided.
    assert!(most > half / 2, "they take {most} of {half}");
}

#[test]
fn a_compilation_has_so_much_memory_and_no_more() {
    let host = Host::with(&[("engine.compile_memory_bytes_max", "2200000000")]);
    host.create(&json!({ "name": "w", "kind": "catch" }));
    host.upload("w", WASM, &guests::component("hello")).expect(201);
    let reply = host.upload("w", WASM, &bomb(&branches())).expect(422);
    assert_eq!(reply.field("code"), "compile-memory");
    assert_eq!(reply.field("message"), "compiling needs more memory than the limit of 2200000000 bytes");
}

#[test]
fn uploads_over_the_compilers_queue_are_told_to_come_back() {
    let host = Host::with(&[("engine.compile_timeout_ms", "4000"), ("engine.compiles_waiting_max", "1")]);
    host.create(&json!({ "name": "w", "kind": "catch" }));
    let bomb = bomb(&nesting());
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..5).map(|_| scope.spawn(|| host.upload("w", WASM, &bomb))).collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    let (refused, rest): (Vec<Reply>, Vec<Reply>) =
        replies.into_iter().partition(|reply| reply.status == 503);
    assert!(!refused.is_empty() && rest.len() >= 2, "{} were refused", refused.len());
    for reply in refused {
        assert_eq!(reply.field("code"), "compile-queue-full");
        assert!(reply.header("retry-after").is_some() && reply.field("message").starts_with("2 uploads"));
    }
    rest.into_iter().for_each(|reply| drop(reply.expect(422)));
    // A busy machine may need more than the short time that was left to the bombs.
    let hello = guests::component("hello");
    wait::until("a compilation", || host.upload("w", WASM, &hello).status == 201);
}

/// Ends what computes for nothing, however its test ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_component_is_compiled_while_others_want_every_core() {
    let host = Host::start();
    host.create(&json!({ "name": "w", "kind": "catch" }));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        host.upload("w", WASM, &guests::component("hello")).expect(201);
    });
}

/// How the kernel shares processors out to a process, and its nice value.
fn scheduling(pid: u32) -> Option<(i32, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Counted as proc_pid_stat(5) does, which begins with 3 behind the name.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(41 - 3)?.parse().ok()?, fields.get(19 - 3)?.parse().ok()?))
}

#[test]
fn the_compilers_child_has_the_rest_of_the_processors_or_a_low_priority() {
    for (arguments, policy) in [(&["--rest"][..], libc::SCHED_IDLE), (&[], libc::SCHED_OTHER)] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("compile-component")
            .args(["--address-space-bytes-max", "2000000000", "--cpu-seconds-max", "9"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait::until("the child's priority", || scheduling(child.id()) == Some((policy, 10)));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

/// The lines of `/proc/PID/limits`, each with its soft limit.
fn limits(pid: u32) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = |line: &str| {
        let (name, rest) = line.split_at_checked(26)?;
        Some((name.trim().to_owned(), rest.split_whitespace().next()?.to_owned()))
    };
    text.lines().skip(1).filter_map(line).collect()
}

fn wait_until_confined(pid: u32) {
    // The last of them that it sets.
    wait::until("the child's limits", || {
        limits(pid).get("Max cpu time").is_some_and(|time| time != "unlimited")
    });
}

#[test]
fn the_compilers_child_inherits_nothing() {
    // Not closed when a program starts, as what a supervisor may leave open.
    let inherited = rustix::io::dup(std::io::stderr()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("compile-component")
        .args(["--address-space-bytes-max", "2000000000", "--cpu-seconds-max", "9"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_confined(child.id());
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().collect();
    assert!(inherited.as_raw_fd() > 2 && open.len() == 3, "{open:?}");
    let limits = limits(child.id());
    for (name, value) in [
        ("Max cpu time", "9"),
        ("Max file size", "0"),
        ("Max core file size", "0"),
        ("Max open files", "0"),
        ("Max address space", "2000000000"),
    ] {
        assert_eq!(limits[name], value, "{name}");
    }
    child.stdin.take().unwrap().write_all(b"\0asm\x0d\0\x01\0\x07\x20").unwrap();
    let end = child.wait_with_output().unwrap();
    assert_eq!(end.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&end.stderr).starts_with("invalid at "), "{end:?}");
}

#[test]
fn the_compilers_child_has_no_environment_and_no_folder_of_the_hosts() {
    let host = Host::with(&[("engine.compile_timeout_ms", "60000")]);
    host.create(&json!({ "name": "w", "kind": "catch" }));
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| host.upload("w", WASM, &bomb(&nesting())));
        // On a full machine one child takes another's place, while it is looked at too.
        let look_and_end = || {
            let pid = host.children().first().copied()?;
            // What is set last.
            (limits(pid).get("Max cpu time")? != "unlimited").then_some(())?;
            let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            // A child that somebody ends is an error of its upload, and of nothing else.
            let child = rustix::process::Pid::from_raw(pid as i32)?;
            rustix::process::kill_process(child, rustix::process::Signal::KILL).ok()?;
            Some((String::from_utf8_lossy(&environment).into_owned(), folder, status))
        };
        let (environment, folder, status) = wait::for_some("the child", look_and_end);
        assert!(
            environment.starts_with("RAYON_NUM_THREADS=") && !environment[18..].contains('='),
            "{environment}"
        );
        assert_eq!(folder, PathBuf::from("/"));
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        let reply = upload.join().unwrap().expect(422);
        assert_eq!(reply.field("message"), "the compiler was stopped by signal 9");
    });
    host.upload("w", WASM, &guests::component("hello")).expect(201);
}
