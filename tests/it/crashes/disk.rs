//! The disk of the real binary is full: what is refused first, and at any moment under load.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use serde_json::json;

use super::ledger::Ledger;
use super::load::Load;
use super::{progress, set_up, soak};
use crate::support::host::{Host, Workflow};
use crate::support::http::{Reply, Request};
use crate::support::mount::{Mount, skipped};
use crate::support::{guests, wait};

const FILLS_VARIABLE: &str = "TIDEGATE_SOAK_FILLS";
const FILLS: usize = 50;
/// Fills after which a new folder is begun.
const FOLDER_FILLS: usize = 25;
const DISK_MEGABYTES: u32 = 128;

/// A small host that gives up soon what cannot be written.
const SETTINGS: &[(&str, &str)] = &[
    ("engine.instances_max", "16"),
    ("server.drain_ms", "300"),
    // To the last byte.
    ("store.space_low_bytes", "0"),
    ("store.space_full_bytes", "0"),
];

/// A file by which somebody else takes the room.
struct Ballast(PathBuf);

impl Ballast {
    fn on(disk: &Mount) -> Self {
        Self(disk.path().join("ballast"))
    }

    /// Fills the file system until so many bytes are free.
    fn fill(&self, left: u64) {
        let mut file = File::create(&self.0).unwrap();
        let chunk = [7; 1 << 16];
        while file.write_all(&chunk).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(left)).unwrap();
    }

    fn remove(&self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn disk_that_fills_up_refuses_what_can_wait_first_and_goes_on_by_itself() {
    let Some(disk) = Mount::in_memory(DISK_MEGABYTES) else { return skipped() };
    let ballast = Ballast::on(&disk);
    let host = Host::on_folder(&disk.path().join("data"), &[("engine.instances_max", "16")]);
    let echo = host.deploy_echo("echo", &json!({}));
    let level = |level: &str| {
        wait::until(&format!("the level {level}"), || {
            host.get("/api/v1/health").expect(200).json()["store"]["space"] == level
        });
    };
    let with = |name: &str, value: &str| {
        let request = Request::new("POST", &echo.path).header(name, value);
        request.json(&json!({})).send(host.catch)
    };
    let upload = || host.upload("echo", "application/wasm", &guests::component("hello"));
    let refused = |reply: Reply| {
        let reply = reply.expect(507);
        assert_eq!(reply.field("code"), "disk-full");
        assert!(reply.header("retry-after").is_some());
        assert!(reply.field("hint").contains("make room"), "{}", reply.text());
    };

    // Below a tenth of it what can come later is refused; the rest goes on.
    ballast.fill(10 << 20);
    level("low");
    refused(upload());
    refused(with("prefer", "respond-async"));
    let called = host.call(&echo, &json!({})).expect(200);
    assert_eq!(called.header("tidegate-recorded"), None);
    with("idempotency-key", "low").expect(200);

    // Below a twentieth no run is recorded, and who was promised that is refused.
    ballast.fill(4 << 20);
    level("full");
    let unrecorded = host.call(&echo, &json!({})).expect(200);
    assert_eq!(unrecorded.header("tidegate-recorded"), Some("no"));
    refused(with("idempotency-key", "full"));
    refused(with("prefer", "respond-async"));
    refused(upload());
    let settings = "/api/v1/workflows/echo/settings?visibility=plain";
    host.tell("PATCH", settings, &json!({ "A": 1 })).expect(200);
    Request::new("GET", "/healthz").send(host.api).expect(200);

    ballast.remove();
    level("enough");
    let run = |reply: &Reply| reply.header("tidegate-run").unwrap().to_owned();
    let again = host.call(&echo, &json!({})).expect(200);
    assert_eq!(again.header("tidegate-recorded"), None);
    with("prefer", "respond-async").expect(202);
    upload().expect(201);
    for (reply, status) in [(&called, 200), (&unrecorded, 404), (&again, 200)] {
        host.get(&format!("/api/v1/runs/{}", run(reply))).expect(status);
    }
    let health = host.get("/api/v1/health").expect(200).json();
    assert_eq!((&health["store"]["stopped"], &health["store"]["warnings"]), (&json!(null), &json!([])));
}

#[test]
fn disk_that_is_full_at_random_moments_loses_nothing_that_was_acknowledged() {
    let Some(disk) = Mount::in_memory(DISK_MEGABYTES) else { return skipped() };
    let mut left = soak(FILLS_VARIABLE, FILLS);
    while left > 0 {
        let fills = left.min(FOLDER_FILLS);
        fill_and_check(&disk, fills);
        std::fs::remove_dir_all(disk.path().join("data")).unwrap();
        left -= fills;
        progress(left, "fills");
    }
}

fn fill_and_check(disk: &Mount, fills: usize) {
    let mut random = rand::rng();
    let (data, ballast) = (disk.path().join("data"), Ballast::on(disk));
    let mut host = Host::on_folder(&data, SETTINGS);
    let mut ledger = Ledger::of_a_full_disk();
    set_up(&host);
    for fill in 0..fills {
        let mut load = Load::start(&host, fill);
        load.take(random.random_range(1..150), &mut ledger);
        // To the last page, or nearly.
        ballast.fill(random.random_range(0..3) * random.random_range(0..300_000));
        // Calls go on being answered, with a record or without.
        load.take(random.random_range(1..150), &mut ledger);
        match fill % 4 {
            // There is room again, and it goes on by itself.
            0 => {
                ballast.remove();
                load.take(random.random_range(1..50), &mut ledger);
                load.stop(&mut ledger);
            }
            1 => {
                host.kill();
                load.finish(&mut ledger);
                ballast.remove();
                host = Host::on_folder(&data, SETTINGS);
            }
            // It comes up while there is no room, or says why not.
            2 => {
                host.kill();
                load.finish(&mut ledger);
                start_without_room(&data);
                ballast.remove();
                host = Host::on_folder(&data, SETTINGS);
            }
            _ => {
                host.terminate();
                load.finish(&mut ledger);
                host.wait();
                ballast.remove();
                host = Host::on_folder(&data, SETTINGS);
            }
        }
        ledger.check_new(&host);
        check_that_it_goes_on(&host);
    }
    ledger.check_all(&host, 0);
    host.terminate();
    assert!(host.wait().success());
}

fn start_without_room(data: &Path) {
    if let Some(host) = Host::try_on_folder(data, SETTINGS) {
        Request::new("GET", "/healthz").send(host.api).expect(200);
    }
}

/// What was refused for want of room is taken again.
fn check_that_it_goes_on(host: &Host) {
    let client = host.client();
    let path = client.path("sync").expect("the host is there");
    let workflow = Workflow { name: "sync".to_owned(), path };
    wait::until("a call that is recorded", || {
        host.call(&workflow, &json!({})).expect(200).header("tidegate-recorded").is_none()
    });
    let later = Request::new("POST", &client.path("later").expect("the host is there"));
    later.header("prefer", "respond-async").json(&json!({})).send(host.catch).expect(202);
    host.upload("deployed", "application/wasm", &guests::component("echo")).expect(201);
}
