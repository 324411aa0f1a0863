//! The guest SDKs and the interface, as this binary brings them along.

use std::path::{Path, PathBuf};

use super::error::{Explain, Result};
use crate::workflow::Digest;

/// Files by their path in the repository.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The files below `folder`, with their paths from there on.
pub(crate) fn below(folder: &str) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    FILES.iter().filter_map(move |(path, bytes)| {
        let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
        Some((rest, *bytes))
    })
}

/// A folder with all the files, laid out as in the repository, made in `cache` unless
/// this version of it is there.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn unpacked(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(format!("sdk-{}", &digest().to_string()[..16]));
    if folder.is_dir() {
        return Ok(folder);
    }
    let doing = || format!("unpack the SDK into {}", cache.display());
    std::fs::create_dir_all(cache).context(doing())?;
    let draft = tempfile::Builder::new().prefix(".sdk-").tempdir_in(cache).context(doing())?;
    for (path, bytes) in FILES {
        write(&draft.path().join(path), bytes).context(doing())?;
    }
    match std::fs::rename(draft.path(), &folder) {
        // Somebody else was faster.
        Err(_) if folder.is_dir() => {}
        renamed => renamed.context(doing())?,
    }
    Ok(folder)
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(path))?;
    std::fs::write(path, bytes)
}

/// Names this version of the files.
pub(crate) fn digest() -> Digest {
    let mut all = Vec::new();
    for (path, bytes) in FILES {
        all.extend_from_slice(format!("{path}\0{}\0", bytes.len()).as_bytes());
        all.extend_from_slice(bytes);
    }
    Digest::of(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_unpacked_once() {
        let cache = tempfile::tempdir().unwrap();
        let folder = unpacked(cache.path()).unwrap();
        for (path, bytes) in FILES {
            assert_eq!(std::fs::read(folder.join(path)).unwrap(), *bytes, "{path}");
        }
        let marker = folder.join("marker");
        std::fs::write(&marker, "").unwrap();
        assert_eq!(unpacked(cache.path()).unwrap(), folder);
        assert!(marker.exists(), "what is there stays");
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn the_interface_is_there() {
        assert!(below("wit").any(|(path, _)| path == "world.wit"));
        assert!(below("wit").any(|(path, _)| path.starts_with("deps/")));
        assert_eq!(below("wi").count(), 0, "folders, not beginnings of names");
    }
}
