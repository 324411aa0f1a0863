//! Project folders as `tidegate new` makes them, on the developer's own machine.

use std::path::Path;
use std::process::Command;

use crate::support::python;

/// The binary, in a folder.
fn tidegate(within: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).current_dir(within).env("HOME", within).env("TIDEGATE_CACHE", python::cache());
    python::succeed(&mut command)
}

fn pytest(project: &Path) -> String {
    let mut command = Command::new(python::with_pytest());
    command.args(["-m", "pytest", "-p", "no:cacheprovider"]).current_dir(project);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    python::succeed(&mut command)
}

#[test]
fn a_new_project_passes_its_own_tests_under_plain_pytest() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, passed) in [("catch", "2 passed"), ("pull", "1 passed")] {
        tidegate(folder.path(), &["new", kind, "--kind", kind]);
        let project = folder.path().join(kind);
        let said = pytest(&project);
        assert!(said.contains(passed), "{said}");
        // What an editor reads names the packages of the stock runtime, and is valid.
        let manifest = std::fs::read_to_string(project.join("pyproject.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let listed: Vec<_> = manifest["project"]["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|one| one.as_str())
            .collect();
        assert!(listed.contains(&"hrflow==2.1.0") && listed.contains(&"pydantic<2"), "{listed:?}");
    }
}

#[test]
fn the_examples_pass_their_tests_under_plain_pytest() {
    let examples = python::repository().join("examples");
    for example in ["python-catch", "python-pull", "signed-webhook"] {
        let mut command = Command::new(python::with_pytest());
        command.args(["-m", "pytest", "-p", "no:cacheprovider", "-q"]).current_dir(examples.join(example));
        command.env("PYTHONPATH", python::repository().join("guest-sdk/python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        python::succeed(&mut command);
    }
}
