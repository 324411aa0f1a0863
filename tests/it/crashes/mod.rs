//! The real binary ends at any moment, by `kill -9` or because the power of its disk is
//! cut, while clients note what it acknowledged; and what they noted is there when it is
//! back, once.

mod disk;
mod ledger;
mod load;

use std::path::Path;
use std::time::Duration;

use rand::RngExt as _;
use serde_json::json;

use self::ledger::Ledger;
use self::load::Load;
use crate::support::host::{self, Host};
use crate::support::mount::{Cut, Mount, skipped};
use crate::support::{guests, wait};

/// Set by `make soak` to more than the tests' number of ends.
const KILLS_VARIABLE: &str = "TIDEGATE_SOAK_CYCLES";
const KILLS: usize = 100;
const CUTS_VARIABLE: &str = "TIDEGATE_SOAK_CUTS";
const CUTS: usize = 20;
/// Ends after which a new folder is begun: checking one reads all of it.
const FOLDER_ENDS: usize = 50;
const DISK_MEGABYTES: u32 = 512;
/// So many things are acknowledged before the end comes, at most.
const ACKNOWLEDGED_MAX: usize = 250;
/// The longest that a host is let come up before it ends again.
const STARTING_MS_MAX: u64 = 150;

/// How often something is done: the tests' number, or what `make soak` sets.
fn soak(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().map_or(usual, |text| text.parse().unwrap())
}

/// A small host: many of them start.
const SETTINGS: &[(&str, &str)] = &[
    ("engine.instances_max", "16"),
    ("server.drain_ms", "5000"),
    ("schedule.start_deadline_ms", "0"),
    // Where tests run there may be little room.
    ("store.space_low_bytes", "0"),
    ("store.space_full_bytes", "0"),
];

#[test]
fn kills_at_random_lose_nothing_that_was_acknowledged() {
    let mut left = soak(KILLS_VARIABLE, KILLS);
    while left > 0 {
        let ends = left.min(FOLDER_ENDS);
        let temp = tempfile::tempdir().unwrap();
        end_and_check(&temp.path().join("data"), ends, None);
        left -= ends;
        progress(left, "kills");
    }
}

#[test]
fn power_cuts_at_random_lose_nothing_that_was_acknowledged_as_durable() {
    let Some(disk) = Mount::on_disk(DISK_MEGABYTES) else { return skipped() };
    let mut left = soak(CUTS_VARIABLE, CUTS);
    while left > 0 {
        let ends = left.min(FOLDER_ENDS);
        let data = disk.path().join("data");
        end_and_check(&data, ends, Some(&disk));
        std::fs::remove_dir_all(&data).unwrap();
        left -= ends;
        progress(left, "power cuts");
    }
}

#[allow(clippy::print_stderr, reason = "a soak goes on for hours")]
fn progress(left: usize, what: &str) {
    if left > 0 {
        eprintln!("{left} {what} are left");
    }
}

/// Has a host end so many times, each time by a cut of the disk's power, or by a kill.
fn end_and_check(data: &Path, ends: usize, disk: Option<&Mount>) {
    let mut random = rand::rng();
    let mut host = Host::on_folder(data, SETTINGS);
    let mut ledger = Ledger::new(disk.is_some());
    set_up(&host);
    for end in 0..ends {
        let mut load = Load::start(&host, end);
        // Where the machine is busy, some clients are slower than others.
        while ledger.has_too_little(end + 1) {
            load.take(1, &mut ledger);
        }
        // The moment is random in what was acknowledged, not in time.
        load.take(random.random_range(1..ACKNOWLEDGED_MAX), &mut ledger);
        match disk {
            None => {
                host.kill();
                load.finish(&mut ledger);
            }
            Some(disk) => {
                // It says nothing any more when the power goes: all that its clients hear, and
                // note later, it had said before.
                host.freeze();
                disk.cut_power(if random.random_bool(0.5) { Cut::All } else { Cut::Data });
                host.kill();
                load.finish(&mut ledger);
                disk.power_on();
            }
        }
        // Sometimes it comes to no more than half a start.
        if random.random_ratio(1, 5) {
            let time = Duration::from_millis(random.random_range(0..STARTING_MS_MAX));
            host::start_and_kill(data, SETTINGS, time);
            if let Some(disk) = disk {
                disk.cut_power(Cut::All);
                disk.power_on();
            }
        }
        host = Host::on_folder(data, SETTINGS);
        ledger.check_new(&host);
    }
    ledger.check_all(&host, ends);
    host.terminate();
    assert!(host.wait().success());
    let doctor = host.command(&["doctor", "--data", data.to_str().unwrap()]).output().unwrap();
    // Of what was never flushed a power cut may leave the end and not the middle.
    assert!(doctor.status.success() || disk.is_some(), "{}", String::from_utf8_lossy(&doctor.stdout));
}

/// The workflows that are called.
fn set_up(host: &Host) {
    for name in ["sync", "later", "once"] {
        host.deploy_echo(name, &json!({}));
    }
    let every_second = json!({ "every": "1s" });
    host.create(&json!({ "name": "pull", "kind": "pull", "schedules": [every_second] }));
    host.upload("pull", "application/wasm", &guests::component("pull")).expect(201);
    host.create(&json!({ "name": "deployed", "kind": "catch" }));
    for guest in ["echo", "hello"] {
        host.upload("deployed", "application/wasm", &guests::component(guest)).expect(201);
    }
    wait::until("a first tick", || !ledger::ticks(host).is_empty());
}
