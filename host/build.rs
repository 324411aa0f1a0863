//! Lists the files that the command line brings along: the guest SDKs and the interface,
//! so that `tidegate new` and `tidegate build` need no checkout of this repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Folders of the repository, and what the files in them end with.
const FOLDERS: &[(&str, &[&str])] = &[
    ("guest-sdk/python/tidegate", &["py"]),
    ("guest-sdk/python/tidegate_build", &["py", "txt"]),
    ("guest-sdk/python/tidegate_runtime", &["py", "txt"]),
    ("guest-sdk/rust", &["rs", "toml"]),
    ("runtimes", &["in", "txt"]),
    ("wit", &["wit"]),
];

fn main() {
    // Asked at run time: a target folder may be shared by several checkouts, and then the
    // path that this program was compiled with is another one's.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let repository = Path::new(&package).join("..");
    let mut files = Vec::new();
    for (folder, endings) in FOLDERS {
        let before = files.len();
        collect(&repository.join(folder), endings, &mut files);
        assert!(files.len() > before, "{folder} has none of the files that the binary brings along");
    }
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&repository).expect("it is in the repository");
        let name = name.to_str().expect("names in the repository are UTF-8");
        // Relative, and completed by the compiler: no checkout's path is in the list.
        println!("cargo::rerun-if-changed=../{name}");
        let path = format!("/../{name}");
        writeln!(list, "({name:?}, include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))),")
            .expect("a text takes everything");
    }
    list.push(']');
    let out = std::env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join("sdk.rs"), list).expect("OUT_DIR can be written");
    println!("cargo::rerun-if-changed=build.rs");
}

fn collect(folder: &Path, endings: &[&str], files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !matches!(name.to_str(), Some("__pycache__" | "tests" | "target")) {
                collect(&path, endings, files);
            }
        } else if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            files.push(path);
        }
    }
}
