//! `backup` and `restore`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::support::wait;

/// What a host answers about everything that it keeps.
fn contents(machine: &Machine) -> Vec<Value> {
    let list = machine.run(&["list", "--json"]).json();
    let mut all = Vec::new();
    for name in ["echo", "settings"] {
        let mut versions = machine.run(&["versions", name, "--json"]).json();
        for version in versions["versions"].as_array_mut().unwrap() {
            // How a host compiled it is the host's own affair.
            version.as_object_mut().unwrap().remove("fusion");
        }
        all.push(versions);
        all.push(machine.run(&["settings", "list", name, "--json"]).json());
        let runs = machine.run(&["runs", name, "--limit", "1000", "--json"]).json();
        let newest = runs["runs"][0]["id"].as_str().unwrap().to_owned();
        all.push(runs);
        all.push(machine.run(&["show-run", &newest, "--json"]).json());
    }
    // Addresses differ from host to host.
    let keys = list["workflows"].as_array().unwrap().iter().map(|workflow| {
        let url = workflow["url"].as_str().unwrap();
        (workflow["name"].clone(), url.rsplit('/').next().unwrap().to_owned())
    });
    all.push(machine.run(&["dead", "list", "--json"]).json());
    all.push(keys.map(|(name, key)| serde_json::json!([name, key])).collect());
    all
}

#[test]
fn a_restored_folder_answers_like_the_one_that_was_backed_up() {
    let host = Host::start();
    for name in ["echo", "settings"] {
        host.run(&["deploy", &guest(name), "--kind", "catch"]).ok();
    }
    host.run(&["settings", "set", "echo", "TOKEN=secret"]).ok();
    let url = |machine: &Machine, name: &str| {
        machine.run(&["show", name, "--json"]).json()["url"].as_str().unwrap().to_owned()
    };
    let (echo, settings) = (url(&host.machine, "echo"), url(&host.machine, "settings"));
    for _ in 0..5 {
        assert_eq!(post(&echo, r#"{"n": 1}"#).0, 200);
        assert_eq!(post(&settings, "{}").0, 200);
    }
    // An event that was given up, with what it was handed.
    let event = post_later(&settings, r#"{"fail": "no"}"#);
    wait::for_some("a dead letter", || {
        let dead = host.run(&["dead", "list", "--json"]).json();
        dead["dead"].as_array().unwrap().first().cloned()
    });
    let before = contents(&host.machine);

    // Nobody else hears of it while the host is backed up: requests go on.
    let backup = host.machine.path("backup");
    let backup = backup.to_str().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let calling = std::thread::spawn({
        let (done, echo) = (done.clone(), echo.clone());
        move || {
            let mut calls = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(post(&echo, "{}").0, 200);
                calls += 1;
            }
            calls
        }
    });
    let taken = host.run(&["backup", backup, "--json"]).json();
    done.store(true, Ordering::Relaxed);
    let calls = calling.join().unwrap();
    let runs = taken["runs"].as_u64().unwrap();
    assert!((11..=11 + calls).contains(&runs), "{runs} of 11 and {calls}");
    assert_eq!(taken["workflows"], 2);
    // What had ended at its moment is in it, but for what was just being recorded.
    let at: jiff::Timestamp = taken["taken_at"].as_str().unwrap().parse().unwrap();
    let ended = ["echo", "settings"].map(|name| {
        let list = host.run(&["runs", name, "--limit", "10000", "--json"]).json();
        let ends = list["runs"].as_array().unwrap().iter().filter_map(|run| run["finished_at"].as_str());
        ends.filter(|end| end.parse::<jiff::Timestamp>().unwrap() < at).count() as u64
    });
    let ended = ended.iter().sum::<u64>();
    assert!(ended <= runs + 1, "{ended} had ended then, {runs} are in the backup");
    host.run(&["backup", backup]).failed(1, "is not empty");
    // What comes later is not in it.
    post(&settings, "{}");

    let machine = host.machine.with_its_key();
    let data = machine.path("restored");
    let data = data.to_str().unwrap();
    let restored = machine.run(&["restore", backup, "--data", data, "--json"]).json();
    assert_eq!(restored["runs"], runs);
    let aside = std::fs::read_dir(machine.path("restored/metadata")).unwrap();
    let aside: Vec<_> = aside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!aside.iter().any(|name| name.contains("broken")), "{aside:?}");
    machine.run(&["restore", backup, "--data", data]).failed(1, "is not empty");
    let serving = Going::start(machine.command(&["serve", "--data", data, "--listen", "127.0.0.1:0"]));
    serving.line_with("listening on");
    let machine = machine.with("TIDEGATE_DATA", data);
    let after = contents(&machine);
    // Those of the backup's own time come on top of the ones before.
    assert_eq!(after.len(), before.len());
    for (after, before) in after.iter().zip(&before) {
        match before["runs"].as_array() {
            Some(runs) => {
                let all = after["runs"].as_array().unwrap();
                assert_eq!(&all[all.len() - runs.len()..], &runs[..]);
            }
            None if before.get("request").is_some() && after["id"] != before["id"] => {}
            None => assert_eq!(after, before),
        }
    }
    assert_eq!(post(&url(&machine, "settings"), "{}").0, 200);
    let again = machine.run(&["dead", "redrive", &event]);
    assert_eq!((again.exit, again.stderr.as_str()), (Some(0), "1 event waits for another attempt\n"));
    wait::for_some("its second attempt", || {
        let dead = machine.run(&["dead", "list", "--json"]).json();
        dead["dead"].as_array().unwrap().iter().find(|letter| letter["attempts"] == 2).cloned()
    });
    assert!(machine.run(&["doctor"]).ok().contains("2 workflows"));
    assert_eq!(serving.terminate(), Some(0));
    let ended = machine.run(&["doctor", "--rebuild-index"]);
    assert!(ended.ok().contains("it was made again from the records"), "{ended:#?}");
}

#[test]
fn a_damaged_or_cut_backup_is_refused() {
    let host = Host::start();
    host.run(&["deploy", &guest("echo"), "--kind", "catch"]).ok();
    let folder = host.machine.path("backup");
    host.run(&["backup", folder.to_str().unwrap()]).ok();
    let restore = |name: &str| {
        host.run(&["restore", folder.to_str().unwrap(), "--data", host.machine.path(name).to_str().unwrap()])
    };
    let export = folder.join("metadata/export.json");
    let mut bytes = std::fs::read(&export).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&export, bytes).unwrap();
    restore("damaged").failed(1, "metadata/export.json is not as it was");
    let manifest = folder.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("metadata/export.json", "../export.json")).unwrap();
    restore("escaping").failed(1, "is none of a data folder");
    std::fs::remove_file(&manifest).unwrap();
    restore("cut").failed(1, "no whole backup");
}
