//! Project folders as `tidegate new` makes them, on the developer's own machine.

use std::path::Path;
use std::process::Command;

use crate::support::python;
use crate::support::python_host::Server;

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

#[test]
fn run_shows_reply_log_calls_settings_and_trace() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("server.py", &[]);
    let url = format!("http://127.0.0.1:{}", server.port);
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("settings.json", &format!("{{\"URL\": \"{url}\", \"CURSOR\": 3}}"));
    write("sample.json", r#"{"headers": {"content-type": "application/json"}, "body": {"name": "Ada"}}"#);
    let source = "import logging\n\nimport requests\n\n\ndef workflow(_request, settings):\n    \
                  logging.getLogger().warning(\"asked by %s\", _request[\"name\"])\n    \
                  got = requests.get(settings[\"URL\"] + \"/echo\", timeout=10)\n    \
                  settings[\"CURSOR\"] += 1\n    \
                  return dict(status_code=201, body=got.json()[\"path\"])\n";
    write("workflow.py", source);
    let arguments = ["run", "workflow.py", "--request", "sample.json", "--settings", "settings.json"];
    let arguments = [&arguments[..], &["--allow-private", "127.0.0.1"]].concat();
    let said = run(folder.path(), &arguments);
    for part in [
        "Reply\n  201",
        "/echo",
        "warning  asked by Ada",
        &format!("GET {url}/echo"),
        "200 in ",
        "Settings changed\n  CURSOR = 4",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }

    write("workflow.py", &source.replace("settings[\"CURSOR\"] += 1", "settings[\"CURSER\"] += 1"));
    let said = run(folder.path(), &arguments);
    for part in [
        "exception: KeyError: 'CURSER'",
        "Trace\n  Traceback (most recent call last):\n    File \"workflow.py\", line 9, in workflow\n",
        "      settings[\"CURSER\"] += 1\n      ~~~~~~~~^^^^^^^^^^\n  KeyError: 'CURSER'\n",
        "error: the run failed: KeyError: 'CURSER'",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(!said.contains("Settings changed") && !said.contains("tidegate_runtime"), "{said}");
}

/// What `tidegate run` says, whether the run succeeds or not.
fn run(within: &Path, arguments: &[&str]) -> String {
    python::stock_runtime("python");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).current_dir(within).env("HOME", within).env("TIDEGATE_CACHE", python::cache());
    command.env("TIDEGATE_RUNTIMES", python::cache().join("runtimes"));
    let ended = command.output().unwrap();
    String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap()
}

#[test]
fn a_runtime_of_ones_own_is_built_and_native_code_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let build = |requirements: &str| {
        std::fs::write(folder.path().join("requirements.txt"), requirements).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let arguments = ["runtime", "build", "--no-install", "--name", "small", "-r", "requirements.txt"];
        command.args(arguments).args(["--output", "made"]).current_dir(folder.path());
        command.env("HOME", folder.path()).env("TIDEGATE_CACHE", python::cache()).output().unwrap()
    };
    // Pinned, but not hashed: the build finds out the hash, and writes it down.
    let ended = build("six==1.17.0\n");
    let (stdout, stderr) =
        (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert!(ended.status.success(), "{stderr}");
    assert_eq!(stdout, "made/small.wasm\n");
    for step in ["building the runtime small", "making the component small.wasm ...", "small.wasm: done in "]
    {
        assert!(stderr.contains(step), "{step:?} is not in {stderr}");
    }
    let wasm = std::fs::read(folder.path().join("made/small.wasm")).unwrap();
    assert!(wasm.starts_with(b"\0asm\x0d\0\x01\0"), "a component");
    let locked = std::fs::read_to_string(folder.path().join("made/small.requirements.txt")).unwrap();
    assert!(locked.contains("six==1.17.0 --hash=sha256:4721f391ed90"), "{locked}");

    let ended = build("six==1.17.0\nujson==5.10.0\n");
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(1), &b""[..]), "{stderr}");
    for part in [
        "error: ujson 5.10.0 holds native code for one kind of machine (ujson.",
        "which cannot run in WebAssembly",
        "hint: use a package that is Python only",
    ] {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
}
