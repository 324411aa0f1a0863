//! Compiled components on disk: native code that the host maps into its own process.
//!
//! An artefact is executed without further checks, so it is trusted only when its tag
//! says that this host wrote exactly these bytes, for exactly this engine. Anything else
//! counts as missing and is compiled again from the component.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::component::Component;

use crate::workflow::Digest;

/// Bytes of the key that tags are made with.
pub const KEY_BYTES: usize = 32;

/// The artefacts of one engine configuration.
pub(super) struct Artefacts {
    folder: PathBuf,
    /// What the tag is bound to beside the bytes: the engine's version and settings.
    engine: String,
    key: [u8; KEY_BYTES],
}

impl Artefacts {
    /// The artefacts below `folder` for the engine that `engine` describes; the folder
    /// is made.
    pub(super) fn open(folder: &Path, engine: String, key: [u8; KEY_BYTES]) -> std::io::Result<Self> {
        let folder = folder.join(&engine);
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, engine, key })
    }

    /// Keeps an artefact.
    pub(super) fn save(&self, digest: Digest, artefact: &[u8]) -> std::io::Result<()> {
        // The tag goes last: an artefact without one counts as missing. Both are renamed
        // into place, because a running instance may have the old file mapped.
        self.write(&self.path(digest, "cwasm"), artefact)?;
        self.write(&self.path(digest, "tag"), &self.tag(digest, artefact))
    }

    /// Maps an artefact; `None` when there is none that can be trusted.
    pub(super) fn load(
        &self,
        engine: &wasmtime::Engine,
        digest: Digest,
    ) -> std::io::Result<Option<Component>> {
        let (path, tag_path) = (self.path(digest, "cwasm"), self.path(digest, "tag"));
        let (mut file, tag) = match (File::open(&path), std::fs::read(&tag_path)) {
            (Ok(file), Ok(tag)) => (file, tag),
            (Err(error), _) | (_, Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let mut mac = self.mac(digest);
        let mut chunk = vec![0; 256 << 10];
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => mac.update(&chunk[..read]),
            }
        }
        if mac.verify_slice(&tag).is_err() {
            tracing::warn!(%digest, "artefact changed on disk, it is compiled again");
            return Ok(None);
        }
        // By its descriptor, so that it is the file that was checked.
        let checked = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: the bytes come from `Engine::precompile_component` of this very engine
        // configuration: only a holder of our key can make the tag, and the key never
        // leaves this host. The folder belongs to the host alone and files in it are
        // replaced by rename, never written in place.
        match unsafe { Component::deserialize_file(engine, checked) } {
            Ok(component) => Ok(Some(component)),
            Err(error) => {
                tracing::warn!(%digest, %error, "artefact does not fit this engine, it is compiled again");
                Ok(None)
            }
        }
    }

    fn path(&self, digest: Digest, extension: &str) -> PathBuf {
        self.folder.join(format!("{digest}.{extension}"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
    }

    fn mac(&self, digest: Digest) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(self.engine.as_bytes());
        mac.update(b"\0");
        mac.update(digest.as_bytes());
        mac
    }

    fn tag(&self, digest: Digest, artefact: &[u8]) -> Vec<u8> {
        let mut mac = self.mac(digest);
        mac.update(artefact);
        mac.finalize().into_bytes().to_vec()
    }
}
