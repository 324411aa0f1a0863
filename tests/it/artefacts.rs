//! Compiled components in a host's data folder: made again when they were changed, and
//! deleted when nothing can need them any more.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::support::host::Host;
use crate::support::{guests, wait};

/// All artefacts and tags, with their names alone.
fn artefacts(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(data.join("artefacts")).unwrap() {
        let files = std::fs::read_dir(folder.unwrap().path()).unwrap();
        found.extend(files.map(|file| file.unwrap().path()));
    }
    found
}

/// The components that there is any file of.
fn components(data: &Path) -> BTreeSet<PathBuf> {
    artefacts(data).iter().map(|path| path.with_extension("")).collect()
}

fn compiles(host: &Host) -> String {
    let metrics = host.get("/metrics").expect(200).text();
    let line = metrics.lines().find(|line| line.starts_with("tidegate_compiles_total{result=\"compiled\"}"));
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn an_artefact_that_was_changed_on_disk_is_never_run() {
    let mut host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    host.kill();
    for path in artefacts(host.data()) {
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    host.restart(&[]);
    assert_eq!(compiles(&host), "0");
    assert_eq!(host.call(&hello, &json!({})).expect(200).text(), "hello\n");
    assert_eq!(compiles(&host), "1", "it was compiled again from the component");
}

#[test]
fn a_component_that_was_changed_on_disk_is_said_to_be_damaged() {
    let mut host = Host::start();
    let hello = host.deploy("hello", "catch", "hello");
    host.kill();
    std::fs::remove_dir_all(host.data().join("artefacts")).unwrap();
    let component = guests::component("hello");
    let blob = files(host.data()).into_iter().find(|path| std::fs::read(path).unwrap() == component);
    let mut bytes = component.to_vec();
    bytes[100] ^= 1;
    std::fs::write(blob.unwrap(), bytes).unwrap();
    host.restart(&[]);
    let reply = host.call(&hello, &json!({})).expect(500);
    assert_eq!((reply.field("code").as_str(), reply.header("tidegate-fault")), ("host", Some("host")));
    let run = &host.runs(&hello)[0];
    assert_eq!((&run["status"], &run["fault"]), (&json!("failed"), &json!("host")));
    assert!(run["message"].as_str().unwrap().contains("is damaged"), "{run}");
    // What was damaged can be mended by deploying it again.
    host.upload("hello", "application/wasm", &component).expect(201);
    assert_eq!(host.call(&hello, &json!({})).expect(200).text(), "hello\n");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn compiled_components_that_no_version_needs_are_deleted() {
    let mut host = Host::start();
    let kept = host.deploy("kept", "catch", "hello");
    let earlier = host.deploy("earlier", "catch", "echo");
    host.upload("earlier", "application/wasm", &guests::component("settings")).expect(201);
    host.deploy("gone", "catch", "trap");
    assert_eq!(components(host.data()).len(), 4);
    host.request("DELETE", "/api/v1/workflows/gone").send(host.api).expect(204);
    host.kill();
    let foreign = host.data().join("artefacts/47.0.0-0123456789abcdef");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("x.cwasm"), "native code").unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(24 * 3600);
    for path in artefacts(host.data()) {
        File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }

    host.restart(&[]);
    wait::until("the artefacts of one component and of one engine are deleted", || {
        !foreign.exists() && components(host.data()).len() == 3
    });
    assert_eq!(host.call(&kept, &json!({})).expect(200).text(), "hello\n");
    host.tell("POST", "/api/v1/workflows/earlier/activate", &json!({ "version": 1 })).expect(200);
    host.call(&earlier, &json!({})).expect(200);
    assert_eq!(compiles(&host), "0", "what a version can need is still there");
}

#[test]
fn a_component_is_fused_when_it_is_deployed_unless_that_is_switched_off() {
    let mut host = Host::with(&[("engine.fuse", "false")]);
    let hello = host.deploy("hello", "catch", "hello");
    let fusion = |host: &Host| {
        let shown = host.get("/api/v1/workflows/hello").expect(200).json();
        let versions = host.get("/api/v1/workflows/hello/versions").expect(200).json();
        assert_eq!(shown["fusion"], versions["versions"][0]["fusion"]);
        shown["fusion"].clone()
    };
    let off = fusion(&host);
    assert_eq!(off["merged"], 0);
    assert!(off["reason"].as_str().unwrap().contains("engine.fuse"), "{off}");
    host.call(&hello, &json!({})).expect(200);

    host.kill();
    host.restart(&[("engine.fuse", "true")]);
    assert!(fusion(&host).is_null(), "what was compiled the other way is not used");
    assert_eq!(host.call(&hello, &json!({})).expect(200).text(), "hello\n");
    assert_eq!(fusion(&host), json!({ "modules": 4, "merged": 3 }));
    assert_eq!(compiles(&host), "1");
    let shown = host.command(&["show", "hello"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.lines().any(|line| line.trim() == "fused        3 of 4 modules"), "{shown}");
}
