//! The host's data folder, as far as it is not the store's: keys, the operator's token,
//! and the note by which local commands find the host.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::KEY_BYTES;
use crate::keys::{KeyRing, WrappedKey};

/// The file with the operator's token.
pub const TOKEN_FILE: &str = "admin.token";
/// The file that says where the host listens, while it runs.
pub const HOST_FILE: &str = "host.json";
/// The file with the key that audit entries are signed with.
pub const AUDIT_KEY_FILE: &str = "audit.key";
/// What the audit key is encrypted for.
const AUDIT_PURPOSE: &str = "audit";
const ARTEFACT_KEY_FILE: &str = "artefact.key";

/// Tokens begin with this, so that a leaked one is recognised.
const TOKEN_PREFIX: &str = "tdg_";
const TOKEN_BYTES: usize = 32;

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path} failed")]
pub struct DataError {
    /// What was tried.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's error.
    #[source]
    pub source: std::io::Error,
}

/// A data folder that exists.
#[derive(Debug, Clone)]
pub struct DataFolder {
    path: PathBuf,
}

/// Where a running host is, for commands on the same machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFile {
    /// The management API.
    pub url: String,
    /// The catch endpoints.
    pub catch_url: String,
    /// The process.
    pub pid: u32,
}

impl DataFolder {
    /// The folder at `path`, made (0700) when it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path) -> Result<Self, DataError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        // The system says of a file in its place that it exists.
        let made = made.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => ErrorKind::NotADirectory.into(),
            _ => source,
        });
        made.map_err(|source| DataError { action: "making the data folder", path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where compiled components are kept.
    pub fn artefacts(&self) -> PathBuf {
        self.path.join("artefacts")
    }

    /// The operator's token, made at the first start (0600).
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub fn admin_token(&self) -> Result<String, DataError> {
        let bytes: [u8; TOKEN_BYTES] = rand::random();
        let fresh = format!("{TOKEN_PREFIX}{}", data_encoding::BASE32_DNSSEC.encode(&bytes));
        let text = self.read_or_make(TOKEN_FILE, format!("{fresh}\n").as_bytes())?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// The key that tells our own artefacts from others, made at the first start (0600).
    ///
    /// # Errors
    /// When it can be neither read nor made, or has another size.
    pub fn artefact_key(&self) -> Result<[u8; KEY_BYTES], DataError> {
        let fresh: [u8; KEY_BYTES] = rand::random();
        let bytes = self.read_or_make(ARTEFACT_KEY_FILE, &fresh)?;
        bytes.try_into().map_err(|_| DataError {
            action: "reading the artefact key",
            path: self.path.join(ARTEFACT_KEY_FILE),
            source: std::io::Error::new(
                ErrorKind::InvalidData,
                "the key does not have 32 bytes; delete the file and components are compiled again",
            ),
        })
    }

    /// The key that audit entries are signed with: what `file` holds, or where that is
    /// empty, one in the data folder, made at the first start (0600) and encrypted there with
    /// the current master key. One that lies there as it is, as earlier builds kept it, or that
    /// another master key encrypts, is written anew; the chain goes on with it.
    ///
    /// # Errors
    /// When it can be neither read nor made, has another size than 32 bytes, or the master key
    /// that encrypts it is not in the ring.
    pub fn audit_key(&self, file: &str, ring: &KeyRing) -> Result<[u8; KEY_BYTES], DataError> {
        let path = match file {
            "" => self.path.join(AUDIT_KEY_FILE),
            file => PathBuf::from(file),
        };
        let failed = |action| {
            let path = path.clone();
            move |source| DataError { action, path, source }
        };
        let invalid = |reason: &dyn std::fmt::Display| {
            failed("reading the audit key")(std::io::Error::new(ErrorKind::InvalidData, reason.to_string()))
        };
        let kept = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound && file.is_empty() => None,
            Err(error) => return Err(failed("reading the audit key")(error)),
        };
        if !file.is_empty() {
            let bytes = kept.unwrap_or_default();
            return bytes.try_into().map_err(|_| invalid(&"the key does not have 32 bytes"));
        }
        let (key, is_current) = match kept {
            None => (rand::random(), false),
            Some(bytes) => match <[u8; KEY_BYTES]>::try_from(bytes.as_slice()) {
                Ok(key) => {
                    tracing::warn!(
                        "the audit key lay in the data folder as it was, and is encrypted from now on: backups from before hold it"
                    );
                    (key, false)
                }
                Err(_) => {
                    let sealed: WrappedKey = serde_json::from_slice(&bytes)
                        .map_err(|_| invalid(&"it is neither a key nor an encrypted one"))?;
                    let key = ring.open_key(AUDIT_PURPOSE, &sealed).map_err(|error| invalid(&error))?;
                    (key, ring.current() == Some(sealed.key))
                }
            },
        };
        if !is_current {
            let sealed = ring.seal_key(AUDIT_PURPOSE, &key).map_err(|error| invalid(&error))?;
            let text = serde_json::to_vec(&sealed).map_err(|error| failed("writing")(error.into()))?;
            let write = || {
                let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
                file.write_all(&text)?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|error| error.error)?;
                File::open(&self.path)?.sync_all()
            };
            write().map_err(failed("writing"))?;
        }
        Ok(key)
    }

    /// Says where the host is.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self, host: &HostFile) -> Result<(), DataError> {
        let path = self.path.join(HOST_FILE);
        let failed = |source| DataError { action: "writing", path: path.clone(), source };
        let text = serde_json::to_vec_pretty(host).map_err(|error| failed(error.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(&self.path).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Takes the note back.
    pub fn withdraw(&self) {
        // A note that stays names a process that is gone, which its readers notice.
        let _ = std::fs::remove_file(self.path.join(HOST_FILE));
    }

    fn read_or_make(&self, name: &'static str, fresh: &[u8]) -> Result<Vec<u8>, DataError> {
        let path = self.path.join(name);
        let failed = |action| {
            let path = path.clone();
            move |source| DataError { action, path, source }
        };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                file.write_all(fresh).and_then(|()| file.sync_all()).map_err(failed("writing"))?;
                Ok(fresh.to_vec())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let mut bytes = Vec::new();
                File::open(&path)
                    .and_then(|mut file| file.read_to_end(&mut bytes))
                    .map_err(failed("reading"))?;
                Ok(bytes)
            }
            Err(error) => Err(failed("writing")(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::keys::{KeyOrigin, MasterKey};

    #[test]
    fn the_audit_key_is_encrypted_and_follows_the_master_key() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::create(&folder.path().join("data")).unwrap();
        let path = data.path().join(AUDIT_KEY_FILE);
        let (old, new) = (MasterKey::random(), MasterKey::random());
        let ring =
            |keys: &[&MasterKey]| KeyRing::new(keys.iter().copied().cloned().collect(), KeyOrigin::Local);
        // As an earlier build left it.
        std::fs::write(&path, [7; KEY_BYTES]).unwrap();
        assert_eq!(data.audit_key("", &ring(&[&old])).unwrap(), [7; KEY_BYTES]);
        let first = std::fs::read(&path).unwrap();
        assert!(!first.windows(KEY_BYTES).any(|window| window == [7; KEY_BYTES]));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(data.audit_key("", &ring(&[&old])).unwrap(), [7; KEY_BYTES]);
        assert_eq!(std::fs::read(&path).unwrap(), first, "it is written once");
        // Another master key encrypts it, and alone is enough from then on.
        assert_eq!(data.audit_key("", &ring(&[&new, &old])).unwrap(), [7; KEY_BYTES]);
        assert_eq!(data.audit_key("", &ring(&[&new])).unwrap(), [7; KEY_BYTES]);
        let error = data.audit_key("", &ring(&[&old])).unwrap_err();
        assert!(error.source.to_string().contains("is not here"), "{error:?}");
        std::fs::write(&path, b"short").unwrap();
        assert!(data.audit_key("", &ring(&[&old])).is_err());
        std::fs::remove_file(&path).unwrap();
        let made = data.audit_key("", &ring(&[&old])).unwrap();
        assert_eq!(data.audit_key("", &ring(&[&old])).unwrap(), made);
        let own = folder.path().join("own");
        std::fs::write(&own, [9; KEY_BYTES]).unwrap();
        assert_eq!(data.audit_key(own.to_str().unwrap(), &KeyRing::none()).unwrap(), [9; KEY_BYTES]);
    }

    #[test]
    fn secrets_are_made_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::create(&folder.path().join("data")).unwrap();
        let (token, key) = (data.admin_token().unwrap(), data.artefact_key().unwrap());
        assert!(token.starts_with("tdg_") && token.len() == 4 + 52, "{token}");
        assert_eq!((data.admin_token().unwrap(), data.artefact_key().unwrap()), (token, key));
        for name in [TOKEN_FILE, ARTEFACT_KEY_FILE] {
            let mode = std::fs::metadata(data.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        std::fs::write(data.path().join(ARTEFACT_KEY_FILE), b"short").unwrap();
        assert!(data.artefact_key().is_err());
    }
}
