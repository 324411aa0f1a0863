//! `user`, `token`, `share`, `audit`, and signing in with a password.

use super::*;

const PASSWORD: &str = "correct horse\n";

#[test]
fn users_and_tokens_are_made_and_taken_back() {
    let host = Host::start();
    let machine = &host.machine;
    assert!(
        host.run_with(&["user", "add", "ada", "--name", "Ada L."], PASSWORD)
            .stderr
            .contains("ada is added as member")
    );
    host.run_with(&["user", "add", "ada"], PASSWORD).failed(1, "exists already");
    host.run_with(&["user", "add", "eve"], "short\n").failed(1, "at least 10 are needed");
    let added = host.run(&["user", "add", "eve", "--role", "admin", "--link", "--json"]).json();
    assert!(added["link"]["url"].as_str().unwrap().contains("/sign-in?link=tdgo_"), "{added}");
    assert_eq!(host.run(&["user", "show", "eve", "--json"]).json()["role"], "admin");
    host.run(&["user", "role", "eve", "member"]).ok();
    let list = host.run(&["user", "list"]);
    assert!(
        list.ok().contains("ada")
            && list.stdout.contains("Ada L.")
            && list.stdout.contains("a link or a token")
    );

    // Ada's own machine.
    let own = Machine::new();
    own.run_with(&["login", &host.url, "--user", "ada"], "wrong password\n").failed(1, "password is wrong");
    own.run_with(&["login", &host.url, "--user", "ada"], PASSWORD).ok();
    assert_eq!(own.run(&["list", "--json"]).json(), serde_json::json!({"workflows": []}));
    own.run(&["user", "list"]).failed(1, "may not do that");
    let made = own.run(&["token", "create", "--label", "ci", "--scope", "read", "--expires", "30d"]);
    let secret = made.ok().trim().to_owned();
    assert!(secret.starts_with("tdgt_") && made.stderr.contains("it may read for ada, until "), "{made:?}");
    let program = Machine::new().with("TIDEGATE_URL", &host.url).with("TIDEGATE_TOKEN", &secret);
    program.run(&["list"]).ok();
    program.run(&["deploy", &guest("echo"), "--kind", "catch"]).failed(1, "the scope write");
    let tokens = own.run(&["token", "list", "--json"]).json();
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), 2, "{tokens}");
    assert!(!tokens.to_string().contains("tdgt_"));
    let id = tokens["tokens"][1]["id"].as_str().unwrap();
    own.run(&["token", "revoke", id]).ok();
    assert!(own.run(&["token", "list"]).ok().contains("revoked"));
    program.run(&["list"]).failed(1, "wants a token");

    // Logging out takes the token back, not only the profile.
    own.run(&["logout"]).ok();
    let tokens = machine.run(&["token", "list", "--user", "ada", "--json"]).json();
    assert!(tokens["tokens"].as_array().unwrap().iter().all(|token| token["works"] == false), "{tokens}");
    host.run(&["user", "disable", "ada"]).ok();
    own.run_with(&["login", &host.url, "--user", "ada"], PASSWORD).failed(1, "password is wrong");
    host.run(&["user", "enable", "ada"]).ok();
    host.run_with(&["user", "password", "ada"], "another password\n").ok();
    own.run_with(&["login", &host.url, "--user", "ada"], "another password\n").ok();
}

#[test]
fn workflow_is_shared_and_taken_back() {
    let host = Host::start();
    for login in ["ada", "eve"] {
        host.run_with(&["user", "add", login], PASSWORD).ok();
    }
    host.run(&["deploy", &guest("echo"), "--kind", "catch"]).ok();
    let eve = Machine::new();
    eve.run_with(&["login", &host.url, "--user", "eve"], PASSWORD).ok();
    eve.run(&["runs", "echo"]).failed(1, "may not do that");
    let shared =
        host.run(&["share", "echo", "--manager", "ada", "--viewer", "eve", "--private", "--json"]).json();
    assert_eq!(
        shared,
        serde_json::json!({"name": "echo", "owner": "admin", "managers": ["ada"], "viewers": ["eve"], "private": true})
    );
    eve.run(&["runs", "echo"]).ok();
    eve.run(&["share", "echo", "--public"]).failed(1, "may not do that");
    let shown = host.run(&["share", "echo", "--remove", "eve"]);
    assert!(shown.ok().contains("nobody") && shown.stdout.contains("it is private"), "{shown:?}");
    eve.run(&["runs", "echo"]).failed(1, "does not exist");
}

#[test]
fn audit_log_is_listed_verified_and_in_the_backup() {
    let host = Host::start();
    host.run_with(&["user", "add", "ada"], PASSWORD).ok();
    let list = host.run(&["audit", "list"]);
    assert!(list.ok().contains("user.create") && list.stdout.contains("host.start"), "{list:?}");
    assert!(host.run(&["audit", "verify"]).stderr.contains("all is as it was written"));
    let backup = host.machine.path("backup");
    host.run(&["backup", backup.to_str().unwrap()]).ok();

    let machine = host.machine.with_its_key();
    let data = machine.path("restored");
    machine.run(&["restore", backup.to_str().unwrap(), "--data", data.to_str().unwrap()]).ok();
    let log = data.join("audit/00000001.jsonl");
    let restored = Host::over(machine, &data);
    let entries = restored.run(&["audit", "list", "--json"]).json()["entries"].as_array().unwrap().clone();
    let words = entries.iter().rev().map(|entry| entry["what"].as_str().unwrap());
    // The entry of the backup itself is written while the backup is: it may be in it.
    let words: Vec<_> = words.filter(|what| *what != "backup.take").collect();
    assert_eq!(words, ["host.start", "user.create", "host.start"]);
    restored.run(&["audit", "verify"]).ok();
    // Only the entry of the user: a signature may have the same letters by chance.
    let text = std::fs::read_to_string(&log).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert!(lines[1].contains("user.create") && lines[1].contains("\"ada\""), "{}", lines[1]);
    lines[1] = lines[1].replace("\"ada\"", "\"eve\"");
    std::fs::write(&log, lines.join("\n") + "\n").unwrap();
    restored.run(&["audit", "verify"]).failed(1, "the audit log was changed: 00000001.jsonl, line 2");
    let found = restored.run(&["audit", "verify", "--json"]);
    assert_eq!(found.exit, Some(1));
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found["entries"], 1);
    // Whoever had an account there has it here.
    let own = Machine::new();
    own.run_with(&["login", &restored.url, "--user", "ada"], PASSWORD).ok();
}

#[test]
fn host_that_others_can_reach_needs_an_admin_who_can_sign_in() {
    let machine = Machine::new();
    let serve = ["serve", "--data", "d", "--listen", "0.0.0.0:0"];
    let stderr = machine.run(&serve).failed(64, "nobody can sign in yet").to_owned();
    assert!(stderr.contains("hint: `tidegate user add LOGIN --role admin --data DIR`"), "{stderr}");
    machine.run_with(&["user", "add", "ada", "--data", "d"], PASSWORD).ok();
    machine.run(&serve).failed(64, "nobody can sign in yet");
    machine.run_with(&["user", "add", "root", "--role", "admin", "--data", "d"], PASSWORD).ok();
    let serving = Going::start(machine.command(&serve));
    serving.line_with("listening on http://0.0.0.0:");
    machine.run_with(&["user", "add", "eve", "--data", "d"], PASSWORD).failed(1, "leave --data out");
}

#[test]
fn first_start_prints_a_link_and_later_ones_do_not() {
    let machine = Machine::new();
    let arguments = ["serve", "--data", "d", "--listen", "127.0.0.1:0", "--json"];
    let document = || {
        let serving = Going::start(machine.command(&arguments));
        let mut text = serving.line_with("{");
        while !text.ends_with('}') {
            text.push_str(&serving.line_with(""));
        }
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serving.terminate(), Some(0));
        document
    };
    let first = document();
    let url = first["sign_in_url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}/sign-in?link=tdgo_", first["url"].as_str().unwrap())), "{url}");
    assert_eq!(document()["sign_in_url"], Value::Null);
}
