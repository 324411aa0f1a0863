//! Compiled components on disk: native code that the host maps into its own process.
//!
//! An artefact is executed without further checks, so it is trusted only when its tag
//! says that this host wrote exactly these bytes, for exactly this engine. Anything else
//! counts as missing and is compiled again from the component.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::component::Component;

use super::compile::Compiled;
use super::slots::Image;
use crate::api::Fusion;
use crate::workflow::Digest;

/// Bytes of the key that tags are made with.
pub const KEY_BYTES: usize = 32;

/// Bytes of a tag. What is noted of the artefact follows it, as JSON, and is part of what
/// the tag is made of.
const TAG_BYTES: usize = 32;

/// An artefact's native code, what its memory shows at first (not all have that), and the
/// tag of both.
const EXTENSIONS: [&str; 3] = ["cwasm", "image", "tag"];

/// Files are written and checked in pieces of so many bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// What an artefact is made of.
pub(super) struct Loaded {
    /// The native code.
    pub(super) component: Component,
    /// What its memory shows at first, unless the code says that itself.
    pub(super) image: Option<Image>,
}

/// The artefacts of one engine configuration.
pub(super) struct Artefacts {
    /// Has a folder for each engine.
    root: PathBuf,
    folder: PathBuf,
    /// What the tag is bound to beside the bytes: the engine's version and settings.
    engine: String,
    key: [u8; KEY_BYTES],
}

impl Artefacts {
    /// The artefacts below `folder` for the engine that `engine` describes; the folder
    /// is made.
    pub(super) fn open(folder: &Path, engine: String, key: [u8; KEY_BYTES]) -> std::io::Result<Self> {
        let (root, folder) = (folder.to_owned(), folder.join(&engine));
        std::fs::create_dir_all(&folder)?;
        Ok(Self { root, folder, engine, key })
    }

    /// Keeps an artefact.
    pub(super) fn save(&self, digest: Digest, compiled: &Compiled) -> std::io::Result<()> {
        // The tag goes last: an artefact without one counts as missing. All are renamed
        // into place, because a running instance may have the old file mapped.
        self.write(&self.path(digest, "cwasm"), &compiled.artefact)?;
        match &compiled.image {
            Some(image) => self.write(&self.path(digest, "image"), image)?,
            None => match std::fs::remove_file(self.path(digest, "image")) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
        self.write(&self.path(digest, "tag"), &self.tag(digest, compiled)?)
    }

    /// What is noted of an artefact, for people; `None` when there is none.
    pub(super) fn fusion(&self, digest: Digest) -> std::io::Result<Option<Fusion>> {
        match std::fs::read(self.path(digest, "tag")) {
            // What does not read is damaged: the artefact counts as missing.
            Ok(file) => Ok(file.get(TAG_BYTES..).and_then(|note| serde_json::from_slice(note).ok())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Maps an artefact, for the engine `in_place` if it has an image and for `pool` if not;
    /// `None` when there is none that can be trusted and that `pool` takes.
    pub(super) fn load(
        &self,
        pool: &wasmtime::Engine,
        in_place: &wasmtime::Engine,
        digest: Digest,
    ) -> std::io::Result<Option<Loaded>> {
        let (path, tag_path) = (self.path(digest, "cwasm"), self.path(digest, "tag"));
        let (mut file, tag) = match (File::open(&path), std::fs::read(&tag_path)) {
            (Ok(file), Ok(tag)) => (file, tag),
            (Err(error), _) | (_, Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let mut image = match File::open(self.path(digest, "image")) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            opened => Some(opened?),
        };
        let Some((tag, note)) = tag.split_at_checked(TAG_BYTES) else { return Ok(None) };
        let mut mac = self.mac(digest, note);
        mac.update(&image_mark(image.as_ref().map(|image| image.metadata()).transpose()?.map(|of| of.len())));
        let mut chunk = vec![0; CHUNK_BYTES];
        for file in image.iter_mut().chain([&mut file]) {
            loop {
                match file.read(&mut chunk)? {
                    0 => break,
                    read => mac.update(&chunk[..read]),
                }
            }
        }
        if mac.verify_slice(tag).is_err() {
            tracing::warn!(%digest, "artefact changed on disk, it is compiled again");
            return Ok(None);
        }
        // By its descriptor, so that it is the file that was checked.
        let checked = format!("/proc/self/fd/{}", file.as_raw_fd());
        let map = |engine| {
            // SAFETY: the bytes come from `Engine::precompile_component` of this very engine
            // configuration: only a holder of our key can make the tag, and the key never
            // leaves this host. The folder belongs to the host alone and files in it are
            // replaced by rename, never written in place.
            unsafe { Component::deserialize_file(engine, &checked) }
        };
        let mapped = match &image {
            None => map(pool),
            Some(_) => map(pool).and_then(|_| map(in_place)),
        };
        let component = match mapped {
            Ok(component) => component,
            Err(error) => {
                tracing::warn!(%digest, %error, "artefact does not fit this engine, it is compiled again");
                return Ok(None);
            }
        };
        // SAFETY: the descriptor is of the file that was checked, and what was said of the
        // folder holds for it too: it is never written in place or cut off.
        let image = image.map(|image| unsafe { Image::of(image) }).transpose()?;
        Ok(Some(Loaded { component, image }))
    }

    /// Makes an artefact young again: somebody is about to need it.
    pub(super) fn touch(&self, digest: Digest) -> std::io::Result<()> {
        for extension in EXTENSIONS {
            match File::options().append(true).open(self.path(digest, extension)) {
                Err(error) if error.kind() == ErrorKind::NotFound && extension == "image" => {}
                opened => opened?.set_modified(SystemTime::now())?,
            }
        }
        Ok(())
    }

    /// Deletes what was not written or touched for `age_min`: artefacts of components that
    /// are not in `live`, and everything of other engines, whose artefacts this one cannot
    /// load. Returns the bytes that were freed. What runs has its file mapped, and keeps
    /// it.
    pub(super) fn sweep(&self, live: &HashSet<Digest>, age_min: Duration) -> std::io::Result<u64> {
        let mut freed_bytes = 0;
        for engine in std::fs::read_dir(&self.root)? {
            let folder = engine?.path();
            if !folder.is_dir() {
                continue;
            }
            let is_own = folder == self.folder;
            for file in std::fs::read_dir(&folder)? {
                let file = file?;
                let is_live = is_own && digest_of(&file.path()).is_some_and(|digest| live.contains(&digest));
                let metadata = file.metadata()?;
                let is_old = metadata.modified()?.elapsed().is_ok_and(|age| age >= age_min);
                if metadata.is_file() && is_old && !is_live {
                    std::fs::remove_file(file.path())?;
                    freed_bytes += metadata.len();
                }
            }
            // Stays while there is anything in it.
            if !is_own
                && let Err(error) = std::fs::remove_dir(&folder)
                && error.kind() != ErrorKind::DirectoryNotEmpty
            {
                return Err(error);
            }
        }
        Ok(freed_bytes)
    }

    fn path(&self, digest: Digest, extension: &str) -> PathBuf {
        self.folder.join(format!("{digest}.{extension}"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            // An image is zero in large parts: they take no room.
            if chunk.iter().all(|byte| *byte == 0) {
                file.seek_relative(chunk.len() as i64)?;
            } else {
                file.write_all(chunk)?;
            }
        }
        file.as_file().set_len(bytes.len() as u64)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
    }

    fn mac(&self, digest: Digest, note: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(self.engine.as_bytes());
        mac.update(b"\0");
        mac.update(digest.as_bytes());
        mac.update(&(note.len() as u64).to_le_bytes());
        mac.update(note);
        mac
    }

    /// The tag, and what is noted behind it.
    fn tag(&self, digest: Digest, compiled: &Compiled) -> std::io::Result<Vec<u8>> {
        let note = serde_json::to_vec(&compiled.fusion)?;
        let mut mac = self.mac(digest, &note);
        mac.update(&image_mark(compiled.image.as_ref().map(|image| image.len() as u64)));
        mac.update(compiled.image.as_deref().unwrap_or_default());
        mac.update(&compiled.artefact);
        Ok([&mac.finalize().into_bytes()[..], &note].concat())
    }
}

/// Tells artefacts with and without an image apart, and where an image ends.
fn image_mark(length: Option<u64>) -> [u8; 9] {
    let mut mark = [u8::from(length.is_some()); 9];
    mark[1..].copy_from_slice(&length.unwrap_or_default().to_le_bytes());
    mark
}

/// The component that a file belongs to; `None` for one that was never finished.
fn digest_of(path: &Path) -> Option<Digest> {
    let extension = path.extension()?.to_str()?;
    let stem = path.file_stem()?.to_str()?;
    EXTENSIONS.contains(&extension).then(|| Digest::try_from(stem.to_owned()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn code() -> Compiled {
        let fusion = Fusion { modules: 3, merged: 2, reason: None };
        Compiled { artefact: b"code".to_vec(), image: Some(b"image".to_vec()), fusion }
    }

    fn age(path: &Path) {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
    }

    #[test]
    fn what_no_version_can_need_is_deleted_once_it_is_old() {
        let root = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::open(root.path(), "new".to_owned(), [1; KEY_BYTES]).unwrap();
        let [live, dead, young, touched] =
            ["live", "dead", "young", "touched"].map(|name| Digest::of(name.as_bytes()));
        for digest in [live, dead, young, touched] {
            artefacts.save(digest, &code()).unwrap();
            EXTENSIONS.iter().filter(|_| digest != young).for_each(|one| age(&artefacts.path(digest, one)));
        }
        artefacts.touch(touched).unwrap();
        let unfinished = artefacts.folder.join(".tmpXYZ");
        std::fs::write(&unfinished, "cut").unwrap();
        age(&unfinished);
        let other = Artefacts::open(root.path(), "old".to_owned(), [1; KEY_BYTES]).unwrap();
        let used = Artefacts::open(root.path(), "used".to_owned(), [1; KEY_BYTES]).unwrap();
        other.save(live, &code()).unwrap();
        used.save(live, &code()).unwrap();
        EXTENSIONS.iter().for_each(|one| age(&other.path(live, one)));

        let note = serde_json::to_vec(&code().fusion).unwrap().len() as u64;
        let bytes = 4 + 5 + 32 + note;
        assert_eq!(artefacts.sweep(&HashSet::from([live]), HOUR).unwrap(), 2 * bytes + 3);
        for (digest, stays) in [(live, true), (dead, false), (young, true), (touched, true)] {
            for one in EXTENSIONS {
                assert_eq!(artefacts.path(digest, one).exists(), stays, "{digest} {one}");
            }
        }
        assert!(!unfinished.exists() && !other.folder.exists());
        assert!(used.path(live, "tag").exists(), "another engine's, but young");
        assert_eq!(artefacts.sweep(&HashSet::from([live]), HOUR).unwrap(), 0);
    }
}
