//! Rules that the tree keeps.

use std::path::{Path, PathBuf};

use tidegate::config::DEFAULTS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// The code of each file of the host, without its tests and comments.
fn host_code() -> Vec<(String, String)> {
    let folder = root().join("host/src");
    let mut found = Vec::new();
    sources(&folder, &mut found);
    assert!(found.len() > 50, "only {} files were found", found.len());
    let code = found.into_iter().map(|(path, text)| {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        (name, lines.collect::<Vec<_>>().join("\n"))
    });
    code.filter(|(name, _)| !name.contains("tests") && name != "cli/fake.rs").collect()
}

#[test]
fn each_library_is_used_in_its_own_module_only() {
    for (word, home) in [
        ("wasmtime::", &["engine/"][..]),
        ("wasmtime_wasi", &["engine/"]),
        ("sled::", &["store/"]),
        ("axum::", &["server/", "cli/demo/"]),
        ("hyper::server", &["server/"]),
        ("ureq::", &["cli/", "otlp", "oidc/"]),
        ("cron::", &["schedule/"]),
        ("maud::", &["server/console/"]),
    ] {
        let mut used = false;
        for (name, code) in host_code() {
            let here = code.contains(word);
            let at_home = home.iter().any(|home| name.starts_with(home));
            assert!(!here || at_home, "{name} uses {word}, which belongs to {home:?}");
            used |= here && at_home;
        }
        assert!(used, "{word} is used nowhere: the rule is out of date");
    }
}

#[test]
fn every_route_of_the_api_is_in_its_document() {
    // `routes!` takes a handler with its description; axum's own verbs take one without.
    // The console's pages are no part of the API.
    let is_api = |name: &str| name.starts_with("server/") && !name.starts_with("server/console/");
    let server: Vec<_> = host_code().into_iter().filter(|(name, _)| is_api(name)).collect();
    assert!(server.iter().any(|(_, code)| code.contains("routes!(")));
    for (name, code) in server {
        for word in [".route(", ".route_service(", ".nest(", ".nest_service(", ".fallback_service("] {
            assert!(!code.contains(word), "{name} has {word}: use routes!");
        }
    }
}

#[test]
fn modules_import_only_what_stands_below_them() {
    // From the ground up; a module may use those before it, and its own rank.
    let ranks: [&[&str]; 7] = [
        &["allocator", "workflow", "run", "schedule", "statistics", "rate", "pace", "account", "tasks"],
        &["audit", "api", "config", "keys", "oidc", "store", "otlp", "telemetry"],
        &["engine", "data", "accounts"],
        &["answer", "programs", "registry"],
        &["invoker", "deploy", "scheduler"],
        &["queue", "pulls", "app", "server"],
        &["cli", "main", "lib"],
    ];
    let rank = |module: &str| ranks.iter().position(|names| names.contains(&module));
    for (name, code) in host_code() {
        let module = name.split(['/', '.']).next().unwrap();
        let own = rank(module).unwrap_or_else(|| panic!("{name}: give the module {module} a rank"));
        for used in code.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if let Some(below) = rank(&used) {
                assert!(below <= own, "{name} uses crate::{used}, which stands above it");
            }
        }
    }
}

#[test]
fn channels_are_bounded() {
    for (name, code) in host_code() {
        assert!(!code.contains("unbounded_channel"), "{name} has a channel without a bound");
    }
}

#[test]
fn the_readmes_limits_are_the_defaults() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    let mut rows = 0;
    for line in readme.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, _, key, value, _] = cells[..] else { continue };
        let Some((section, key)) = key.trim_matches('`').split_once('.') else { continue };
        let default = &defaults[section][key];
        assert_eq!(default.as_integer(), Some(value.parse().unwrap()), "{section}.{key}");
        rows += 1;
    }
    assert!(rows >= 30, "only {rows} rows were read");
}

#[test]
fn the_readmes_links_lead_somewhere() {
    for page in ["README.md", "ARCHITECTURE.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            assert!(target.starts_with("http") || root().join(target).exists(), "{page} links to {target}");
        }
    }
}
