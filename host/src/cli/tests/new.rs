//! `new`: what it writes is a project that the other commands understand.

use std::path::Path;

use super::*;
use crate::api::TestRequest;
use crate::cli::project::{Lang, Project};
use crate::cli::python;
use crate::workflow::Kind;

fn made(folder: &Path, kind: &str, lang: &str) -> Project {
    let within = folder.to_str().unwrap();
    let name = format!("{lang}-{kind}");
    let host = FakeHost::answering([]);
    let ended = tidegate(&host, "", &["new", &name, "--kind", kind, "--lang", lang, "--within", within]);
    assert_eq!((ended.exit, ended.stdout.as_str()), (0, ""), "{}", ended.stderr);
    Project::read(&folder.join(name)).unwrap()
}

#[test]
fn each_kind_and_language_is_a_project_with_samples() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, word) in [(Kind::Catch, "catch"), (Kind::Pull, "pull")] {
        let rust = made(folder.path(), word, "rust");
        assert_eq!(
            (rust.kind, rust.lang, rust.name.as_str()),
            (kind, Lang::Rust, format!("rust-{word}").as_str())
        );
        let python = made(folder.path(), word, "python");
        assert_eq!((python.kind, python.lang, python.requirements()), (kind, Lang::Python, None));
        let source = std::fs::read_to_string(python.python_file().unwrap()).unwrap();
        assert_eq!(python::kind_of(&source), Some(kind));
        for project in [rust, python] {
            assert_eq!(project.schedules.len(), usize::from(kind == Kind::Pull));
            let read = |name: &str| std::fs::read_to_string(project.folder.join(name)).unwrap();
            let request: TestRequest = serde_json::from_str(&read("request.json")).unwrap();
            assert_eq!(request == TestRequest::default(), kind == Kind::Pull);
            assert!(serde_json::from_str::<Value>(&read("settings.json")).unwrap().is_object());
            assert!(read("README.md").starts_with(&format!("# {}\n", project.name)));
        }
    }
}

#[test]
fn a_rust_folder_brings_the_sdk_and_the_interface_where_the_sdk_looks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let project = made(folder.path(), "catch", "rust");
    let sdk = project.folder.join("vendor/guest-sdk/rust");
    let bindings = std::fs::read_to_string(sdk.join("src/bindings.rs")).unwrap();
    let wit = bindings.split("path: \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(sdk.join(wit).join("world.wit").is_file(), "{wit}");
    // The SDK's own manifest and the one that is written must name the same crates.
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/rust/Cargo.toml");
    let crates = |path: &Path| {
        let manifest: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        manifest["dependencies"].as_table().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(crates(&sdk.join("Cargo.toml")), crates(&here));
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine/notes.txt");
    std::fs::create_dir(folder.path().join("mine")).unwrap();
    std::fs::write(&file, "kept").unwrap();
    let within = folder.path().to_str().unwrap();
    let arguments = ["new", "mine", "--kind", "catch", "--within", within];
    let ended = tidegate(&FakeHost::answering([]), "", &arguments);
    assert_eq!(ended.exit, 1);
    assert!(ended.stderr.contains("exists and is not empty"), "{}", ended.stderr);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(tidegate(&FakeHost::answering([]), "", &arguments).exit, 0, "an empty one is as good as new");
}
