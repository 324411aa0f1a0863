//! The specification is true: each promise names tests that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page() -> String {
    std::fs::read_to_string(root().join("SPECIFICATION.md")).unwrap()
}

/// What stands between backticks and is written `file::test`.
fn tests_named_in(line: &str) -> Vec<(&str, &str)> {
    line.split('`').skip(1).step_by(2).filter_map(|text| text.split_once(".rs::")).collect()
}

#[test]
fn every_promise_has_a_number_of_its_own_and_tests_that_there_are() {
    let page = page();
    let (mut section, mut last, mut promises) = (0, 0, 0);
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            if let Some((number, _)) = title.split_once(". ") {
                let number: u32 = number.parse().unwrap();
                assert_eq!(number, section + 1, "{line}");
                (section, last) = (number, 0);
            }
            continue;
        }
        let named = tests_named_in(line);
        if let Some(rest) = line.strip_prefix("- **") {
            let (number, _) = rest.split_once("** ").unwrap();
            assert_eq!(number, format!("{section}.{}", last + 1), "{line}");
            (last, promises) = (last + 1, promises + 1);
            assert!(!named.is_empty(), "{number} names no test");
        }
        for (file, test) in named {
            let path = root().join(format!("{file}.rs"));
            let code =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{line}\n{file}.rs: {error}"));
            let declared = [format!("fn {test}()"), format!("fn {test}(")];
            let at = declared.iter().find_map(|text| code.find(text));
            let at = at.unwrap_or_else(|| panic!("{file}.rs has no test {test}:\n{line}"));
            let before = &code[at.saturating_sub(200)..at];
            assert!(
                before.contains("#[test]")
                    || before.contains("#[tokio::test")
                    || before.contains("proptest!"),
                "{file}.rs::{test} is no test"
            );
        }
    }
    assert!(promises > 40, "only {promises} promises were read");
}

#[test]
fn the_advisories_are_those_of_the_engine_that_is_built() {
    let version = tidegate::engine::WASMTIME_VERSION;
    let page = page();
    assert!(page.contains(&format!("read for wasmtime {version}")), "read the advisories for {version} anew");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| RUSTSEC-"));
    let ids: Vec<&str> = rows.map(|row| row.split(' ').next().unwrap()).collect();
    let sorted: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids, sorted.into_iter().collect::<Vec<_>>(), "each once, in their order");
    assert!(ids.len() > 20, "{ids:?}");
    // None is open: what is not fixed is not reachable.
    for line in page.lines().filter(|line| line.starts_with("| RUSTSEC-")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert!(cells[3] == "yes" || cells[4].starts_with("no:"), "open and reachable: {line}");
    }
}

#[test]
fn scripts_build_what_is_locked() {
    let mut files = vec![root().join("Makefile")];
    for folder in ["scripts", "scripts/soak.d", ".ci"] {
        files.extend(std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    for path in files.iter().filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(path).unwrap().replace("\\\n", " ");
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            for verb in ["build", "test", "run", "clippy", "metadata"] {
                if line.contains(&format!("cargo {verb} ")) {
                    // The kit's own crate has no dependencies, and so no lock.
                    let is_kit = line.contains("-Zbuild-std");
                    assert!(line.contains("--locked") || is_kit, "{}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn the_bill_of_materials_lists_what_the_binary_is_made_of() {
    let output = Command::new(root().join("scripts/sbom")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bill: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&bill["bomFormat"], &bill["metadata"]["component"]["name"]),
        (&"CycloneDX".into(), &"tidegate".into())
    );
    let components = bill["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|one| one["name"] == name);
    let engine = named("wasmtime").expect("the engine is in it");
    assert_eq!(engine["version"], tidegate::engine::WASMTIME_VERSION);
    assert_eq!(engine["hashes"][0]["content"].as_str().unwrap().len(), 64);
    assert!(components.iter().all(|one| one["licenses"][0]["expression"].is_string()), "each has a licence");
    assert!(named("proptest").is_none(), "tests' needs are not");
    let dependencies = bill["dependencies"].as_array().unwrap();
    assert_eq!(dependencies.len(), components.len() + 1);
}

#[test]
fn an_advisory_that_is_passed_over_is_explained_in_the_specification() {
    let deny: toml::Table = std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let page = page();
    for ignored in deny["advisories"]["ignore"].as_array().unwrap() {
        let id = ignored["id"].as_str().unwrap();
        assert!(page.contains(&format!("| {id} |")), "{id} is ignored in deny.toml alone");
        assert!(!ignored["reason"].as_str().unwrap().is_empty());
    }
}
