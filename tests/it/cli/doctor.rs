//! `doctor`.

use super::*;

fn findings(ended: &Ended) -> Vec<Value> {
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["ok"], ended.exit == Some(0));
    document["findings"].as_array().unwrap().clone()
}

#[test]
fn a_healthy_folder_passes_while_its_host_runs_and_afterwards() {
    let host = Host::start();
    let url = host.run(&["deploy", &guest("echo"), "--kind", "catch"]).ok().trim().to_owned();
    assert_eq!(post(&url, "{}").0, 200);
    assert!(host.run(&["doctor"]).ok().contains("1 workflow, 0 running"));
    assert!(findings(&host.run(&["doctor", "--json"])).iter().all(|finding| finding["verdict"] == "ok"));
    let Host { serving, machine, .. } = host;
    assert_eq!(serving.terminate(), Some(0));
    let ended = machine.run(&["doctor"]);
    assert!(ended.ok().contains("1 run and 1 blob checked"), "{ended:#?}");
}

/// The file in a folder that holds one, at whatever depth.
fn only_file(folder: &Path) -> PathBuf {
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    if path.is_dir() { only_file(&path) } else { path }
}

#[test]
fn a_damaged_component_and_open_secrets_are_found() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::start();
    host.run(&["deploy", &guest("echo"), "--kind", "catch"]).ok();
    let (data, Host { serving, machine, .. }) = (host.data(), host);
    assert_eq!(serving.terminate(), Some(0));
    let component = only_file(&data.join("components"));
    let mut bytes = std::fs::read(&component).unwrap();
    bytes[1000] ^= 1;
    std::fs::set_permissions(&component, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&component, bytes).unwrap();
    std::fs::set_permissions(data.join("admin.token"), std::fs::Permissions::from_mode(0o644)).unwrap();

    let ended = machine.run(&["doctor", "--json"]);
    assert_eq!((ended.exit, ended.stderr.as_str()), (Some(1), "error: 1 problem found\n"), "{ended:#?}");
    let found = findings(&ended);
    let of = |verdict: &str| found.iter().find(|finding| finding["verdict"] == verdict).unwrap();
    assert!(of("problem")["message"].as_str().unwrap().contains("damaged"), "{found:#?}");
    assert!(of("warning")["hint"].as_str().unwrap().starts_with("chmod 600 "), "{found:#?}");
}

#[test]
fn damaged_index_is_found_and_made_again() {
    let settings = ("TIDEGATE_STORE__SEGMENT_BYTES", "1048576");
    let machine = Machine::new().with(settings.0, settings.1);
    let data = machine.path("data");
    let host = Host::over(machine, &data);
    let url = host.run(&["deploy", &guest("echo"), "--kind", "catch"]).ok().trim().to_owned();
    let index = data.join("runs/00000001.idx");
    let mut runs = 0;
    while !index.exists() {
        assert_eq!(post(&url, &format!("{{\"a\":\"{}\"}}", "x".repeat(40_000))).0, 200);
        runs += 1;
        assert!(runs < 1000, "no segment was completed");
    }
    let Host { serving, machine, .. } = host;
    assert_eq!(serving.terminate(), Some(0));
    let mut bytes = std::fs::read(&index).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&index, bytes).unwrap();

    let found = machine.run(&["doctor"]);
    assert_eq!(found.exit, Some(1), "{found:#?}");
    assert!(found.stdout.contains("`tidegate doctor --rebuild-index` makes the index again"), "{found:#?}");
    let rebuilt = machine.run(&["doctor", "--rebuild-index", "--json"]);
    assert_eq!(rebuilt.exit, Some(0), "{rebuilt:#?}");
    // What was asked for is nothing to warn of, and nothing is kept aside.
    assert!(findings(&rebuilt).iter().all(|finding| finding["verdict"] == "ok"), "{rebuilt:#?}");
    let mut left = std::fs::read_dir(data.join("metadata")).unwrap();
    assert!(!left.any(|entry| entry.unwrap().file_name().to_string_lossy().contains("broken")));
    let checked = machine.run(&["doctor"]);
    assert!(checked.ok().contains(&format!("{runs} runs and 1 blob checked")), "{checked:#?}");
    let host = Host::over(machine, &data);
    assert!(host.run(&["list"]).ok().contains("echo"));
}

#[test]
fn a_flipped_bit_costs_one_run_and_is_said_once() {
    let host = Host::start();
    let url = host.run(&["deploy", &guest("echo"), "--kind", "catch"]).ok().trim().to_owned();
    for _ in 0..9 {
        assert_eq!(post(&url, &format!("{{\"a\":\"{}\"}}", "x".repeat(9_000))).0, 200);
    }
    let (data, Host { serving, machine, .. }) = (host.data(), host);
    assert_eq!(serving.terminate(), Some(0));
    let segment = data.join("runs/00000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&segment, bytes).unwrap();

    let found = machine.run(&["doctor"]);
    assert_eq!((found.exit, found.stderr.as_str()), (Some(1), "error: 1 problem found\n"), "{found:#?}");
    assert_eq!(found.stdout.matches("of segment 1 are damaged").count(), 1, "{found:#?}");
    assert!(found.stdout.contains("all else is whole; a backup from before has it"), "{found:#?}");
    let host = Host::over(machine, &data);
    let runs = host.run(&["runs", "echo", "--json"]).json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 8);
}

#[test]
fn a_folder_that_is_not_there_is_a_problem() {
    let machine = Machine::new();
    let ended = machine.run(&["doctor", "--data", "/nonexistent"]);
    assert_eq!(ended.exit, Some(1));
    assert!(ended.stdout.contains("`tidegate serve --data /nonexistent` makes it"), "{ended:#?}");
}
