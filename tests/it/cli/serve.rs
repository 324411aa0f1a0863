//! `serve`, `login` and `logout`.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn serve_says_where_it_is_keeps_a_token_and_leaves_nothing_running() {
    let host = Host::start();
    let (data, read) = (host.data(), |name: &str| std::fs::read_to_string(host.data().join(name)).unwrap());
    let file: Value = serde_json::from_str(&read("host.json")).unwrap();
    assert_eq!((&file["url"], &file["catch_url"]), (&host.url.clone().into(), &host.url.clone().into()));
    let mode = std::fs::metadata(data.join("admin.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(host.run(&["list", "--json"]).json(), serde_json::json!({"workflows": []}));
    let Host { serving, machine, .. } = host;
    assert_eq!(serving.terminate(), Some(0));
    assert!(!data.join("host.json").exists());
    // Where nobody serves: behind the default URL there may be somebody else's host.
    let machine = machine.with("TIDEGATE_URL", "http://127.0.0.1:1");
    machine.run(&["list"]).failed(1, "cannot be reached");
}

#[test]
fn serve_gives_the_catch_endpoints_a_listener_of_their_own() {
    let host = Host::with(&["--catch-listen", "127.0.0.1:0"]);
    let url = host.run(&["deploy", &guest("echo"), "--kind", "catch"]).ok().trim().to_owned();
    assert!(!url.starts_with(&host.url), "{url} and {}", host.url);
    assert_eq!(post(&url, "{}").0, 200);
    let other = url.replacen(url.split("/catch/").next().unwrap(), &host.url, 1);
    assert_eq!(post(&other, "{}").0, 404, "the management API's listener has no endpoints");
}

#[test]
fn serve_prints_one_json_document_when_asked() {
    let machine = Machine::new();
    let data = machine.path("data");
    let arguments = ["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0", "--json"];
    let serving = Going::start(machine.command(&arguments));
    let mut text = serving.line_with("{");
    while !text.ends_with('}') {
        text.push_str(&serving.line_with(""));
    }
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{document}");
    assert_eq!(document["pid"], serving.child.id());
}

#[test]
fn a_folder_or_a_port_in_use_is_said_so() {
    let host = Host::start();
    let data = host.data();
    let second = host.machine.with_its_key();
    let arguments = ["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let stderr = second.run(&arguments).failed(1, "is in use by another tidegate process").to_owned();
    assert!(stderr.contains("hint: ") && stderr.contains("--data"), "{stderr}");
    let port = host.url.strip_prefix("http://").unwrap();
    let stderr = second.run(&["serve", "--data", "d", "--listen", port]).failed(1, port).to_owned();
    assert!(stderr.contains("--listen"), "{stderr}");
    let file = second.path("file");
    std::fs::write(&file, "").unwrap();
    let arguments = ["serve", "--data", file.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    second.run(&arguments).failed(1, "data folder");
}

#[test]
fn bad_configuration_ends_with_64_before_anything_is_made() {
    let machine = Machine::new();
    let file = machine.path("t.toml");
    std::fs::write(&file, "[server]\nlisen = \"127.0.0.1:0\"\n").unwrap();
    let stderr = machine
        .run(&["serve", "--data", "d", "--config", "t.toml"])
        .failed(64, "unknown key server.lisen")
        .to_owned();
    assert!(stderr.contains("hint: did you mean server.listen?"), "{stderr}");
    machine.run(&["serve", "--data", "d", "--config", "none.toml"]).failed(64, "none.toml cannot be read");
    machine.run(&["serve", "--data", "d", "--listen", "nowhere"]).failed(64, "no address with a port");
    machine
        .run(&["serve", "--data", "d", "--listen", "127.0.0.1:0", "--allow-private", "a b"])
        .failed(64, "egress.allow_private");
    let loud = Machine::new().with("TIDEGATE_LOG__LEVEL", "a=b=c");
    loud.run(&["serve", "--data", "d", "--listen", "127.0.0.1:0"]).failed(64, "log.level");
    let wrong = Machine::new().with("TIDEGATE_ENGINE__DEADLINE_MS", "0");
    wrong.run(&["serve", "--data", "d"]).failed(64, "engine.deadline_ms in the environment variable");
    assert!(!machine.path("d/admin.token").exists());
}

#[test]
fn the_default_configuration_can_be_printed_and_used() {
    let machine = Machine::new();
    let printed = machine.run(&["serve", "--print-config"]);
    assert_eq!(printed.ok().trim_end(), tidegate::config::DEFAULTS.trim_end());
    std::fs::write(machine.path("t.toml"), &printed.stdout).unwrap();
    let arguments = ["serve", "--data", "d", "--config", "t.toml", "--listen", "127.0.0.1:0"];
    let serving = Going::start(machine.command(&arguments));
    serving.line_with("listening on http://127.0.0.1:");
}

#[test]
fn login_finds_the_host_until_logout() {
    let host = Host::start();
    let token = std::fs::read_to_string(host.data().join("admin.token")).unwrap();
    let user = Machine::new();
    user.run_with(&["login", &host.url, "--token", "-"], "wrong\n").failed(1, "wants a token");
    assert_eq!(user.run_with(&["login", &host.url, "--token", "-"], &token).exit, Some(0));
    let profile = user.path(".config/tidegate/profile.toml");
    assert_eq!(std::fs::metadata(&profile).unwrap().permissions().mode() & 0o777, 0o600);
    user.run(&["list", "--json"]).json();
    user.run(&["logout"]).ok();
    assert!(!profile.exists());
}
