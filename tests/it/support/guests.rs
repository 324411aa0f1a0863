//! The guest programs that tests deploy: built once for all of them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use bytes::Bytes;

/// The component of the program in `tests/programs/<name>` or `examples/<name>`.
pub(crate) fn component(name: &str) -> Bytes {
    let path = path(name);
    Bytes::from(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The file of a component.
pub(crate) fn path(name: &str) -> PathBuf {
    folder().join(format!("{name}.wasm"))
}

/// The folder with all components: `TIDEGATE_GUESTS`, or what `scripts/build-guests` says
/// after it has built them.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("TIDEGATE_GUESTS") {
            return folder.into();
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/build-guests");
        let built = Command::new(script).output().unwrap_or_else(|error| panic!("{script}: {error}"));
        assert!(built.status.success(), "{script} failed:\n{}", String::from_utf8_lossy(&built.stderr));
        let said = String::from_utf8_lossy(&built.stdout);
        said.lines().last().expect("the script prints the folder").into()
    })
}
