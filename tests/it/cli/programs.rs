//! Folders that are built.

use super::*;

#[test]
fn a_folder_with_a_broken_project_shows_where() {
    let machine = Machine::new();
    std::fs::create_dir(machine.path("p")).unwrap();
    std::fs::write(
        machine.path("p/workflow.toml"),
        "name = \"p\"\nkind = \"catch\"\nlanguage = \"python\"\n",
    )
    .unwrap();
    let stderr =
        machine.run(&["build", "p"]).failed(64, "p/workflow.toml:3:1: unknown key language").to_owned();
    assert!(stderr.contains("= did you mean lang?"), "{stderr}");
    machine.run(&["build", "none"]).failed(1, "none/workflow.toml");
}

/// Building takes a compiler for the target: the one that the guests of the tests are
/// built with.
#[test]
fn a_new_rust_folder_builds_and_runs() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/guest-toolchain");
    let toolchain = Command::new(script).output().unwrap();
    assert!(toolchain.status.success(), "{}", String::from_utf8_lossy(&toolchain.stderr));
    let rustc = String::from_utf8(toolchain.stdout).unwrap();
    // Kept, so that the SDK's own dependencies are compiled once; not for another compiler, or
    // one that was installed again, whose standard library differs.
    let installed = std::fs::metadata(rustc.trim()).unwrap().modified().unwrap();
    let installed = installed.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("new-rust-{installed}"));
    let own = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let homes = ["CARGO_HOME", "RUSTUP_HOME"].map(|name| {
        let usual = own.join(if name == "CARGO_HOME" { ".cargo" } else { ".rustup" });
        (name, std::env::var(name).unwrap_or_else(|_| usual.to_str().unwrap().to_owned()))
    });
    let mut machine = Machine::new().with("RUSTC", rustc.trim());
    machine.variables.extend(homes);
    let machine = machine.with("CARGO_TARGET_DIR", target.to_str().unwrap());

    machine.run(&["new", "hello", "--kind", "catch", "--lang", "rust"]).ok();
    let built = machine.run(&["build", "hello"]);
    let component = built.ok().trim();
    assert!(std::fs::read(component).unwrap().starts_with(b"\0asm\x0d\0\x01\0"), "{built:#?}");
    let ran = machine.run(&[
        "run",
        "hello",
        "--request",
        "hello/request.json",
        "--settings",
        "hello/settings.json",
    ]);
    assert!(ran.ok().contains(r#"{"greeting":"Good morning, Ada!"}"#), "{ran:#?}");

    machine.run(&["new", "tick", "--kind", "pull", "--lang", "rust"]).ok();
    assert!(machine.run(&["run", "tick"]).ok().contains("RUNS = 1"));
}
