//! Components of Python that tests run: built once, kept in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::Value;

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host is in the repository").to_owned()
}

/// The default runtime, with all its packages.
pub(crate) fn runtime() -> Bytes {
    static RUNTIME: OnceLock<Bytes> = OnceLock::new();
    RUNTIME.get_or_init(|| read(&stock_runtime("python"))).clone()
}

/// The component of a stock runtime, built unless it was.
pub(crate) fn stock_runtime(name: &str) -> PathBuf {
    let folder = cache().join("runtimes");
    let requirements = repository().join(format!("runtimes/{name}/requirements.txt"));
    let arguments = ["runtime", "--name", name, "-r", path(&requirements), "--output", path(&folder)];
    folder.join(made(&arguments))
}

/// A component of its own, of a project folder.
pub(crate) fn component(project: &Path) -> Bytes {
    let name = project.file_name().expect("a folder has a name").to_str().expect("UTF-8");
    let file = cache().join("components").join(format!("{name}.wasm"));
    made(&["workflow", path(project), "--output", path(&file)]);
    read(&file)
}

/// The component of `tests/python/foreign`, made by componentize-py alone.
pub(crate) fn foreign_component() -> Bytes {
    let app = repository().join("tests/python/foreign");
    let file = cache().join("components").join(format!("foreign-{}.wasm", digest_of(&app.join("app.py"))));
    if !file.exists() {
        std::fs::create_dir_all(cache().join("components")).unwrap();
        // The build of any runtime installs the tools.
        stock_runtime("python");
        let tools = std::fs::read_dir(cache()).unwrap().map(|entry| entry.unwrap().path());
        let tools = tools.filter(|path| path.join("complete").exists());
        let program = tools.map(|path| path.join("bin/componentize-py")).find(|program| program.exists());
        let mut command = Command::new(program.expect("the tools are installed"));
        command.args(["--wit-path", path(&repository().join("wit")), "--world", "workflow"]);
        command.args(["componentize", "app", "--python-path", path(&app), "--output", path(&file)]);
        succeed(&mut command);
    }
    read(&file)
}

/// A Python with pytest, in a virtual environment of its own.
pub(crate) fn with_pytest() -> PathBuf {
    let requirements = repository().join("tests/python/pytest.txt");
    let folder = cache().join(format!("pytest-{}", digest_of(&requirements)));
    let python = folder.join("bin/python");
    if !folder.join("complete").exists() {
        succeed(Command::new("python3").args(["-m", "venv", "--clear", path(&folder)]));
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"];
        succeed(Command::new(&python).args(install).args(["--requirement", path(&requirements)]));
        std::fs::write(folder.join("complete"), "").unwrap();
    }
    python
}

/// A Python with what this file lists, in a virtual environment of its own.
pub(crate) fn with(requirements: &Path) -> PathBuf {
    let name = requirements.file_stem().expect("a file has a name").to_str().expect("UTF-8");
    let folder = cache().join(format!("{name}-{}", digest_of(requirements)));
    let python = folder.join("bin/python");
    if !folder.join("complete").exists() {
        succeed(Command::new("python3").args(["-m", "venv", "--clear", path(&folder)]));
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        succeed(Command::new(&python).args(install).arg(requirements));
        std::fs::write(folder.join("complete"), "").unwrap();
    }
    python
}

/// Runs a program; it must succeed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let ended = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [&ended.stdout[..], &ended.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(ended.status.success(), "{command:?}:\n{said}");
    said
}

fn digest_of(file: &Path) -> String {
    tidegate::workflow::Digest::of(&read(file)).to_string()[..12].to_owned()
}

/// What the build tool answers, whether it succeeded or not.
pub(crate) fn tool(arguments: &[&str]) -> Value {
    let tool = repository().join("guest-sdk/python/tidegate_build");
    let built = Command::new("python3").arg(&tool).arg("--cache").arg(cache()).args(arguments).output();
    let built = built.unwrap_or_else(|error| panic!("python3: {error}"));
    serde_json::from_slice(&built.stdout)
        .unwrap_or_else(|error| panic!("{error}:\n{}", String::from_utf8_lossy(&built.stderr)))
}

fn made(arguments: &[&str]) -> String {
    let said = tool(arguments);
    let name = said["component"].as_str();
    name.unwrap_or_else(|| panic!("the build failed: {said:#}")).to_owned()
}

/// The folder that `TIDEGATE_CACHE` names, else that of the repository.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("TIDEGATE_CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from)
}

/// The bytes of a file that must be there.
pub(crate) fn read(file: &Path) -> Bytes {
    Bytes::from(std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}
