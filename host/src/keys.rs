//! The keys that settings are encrypted with.
//!
//! A *master key* wraps one *data key* for each workflow; the data key encrypts the workflow's
//! settings. Another master key so means wrapping data keys anew, and nothing else. Where the
//! master key comes from is [`KeySource`]'s business; it is never in the data folder.

mod cipher;
mod file;
mod source;

use std::fmt;
use std::str::FromStr;

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

pub use self::cipher::{CipherError, DataKey, WrappedKey};
pub use self::source::{KeyOrigin, KeySource, KeysError, Loaded};
use crate::workflow::Secret;

const KEY_BYTES: usize = 32;
/// What a master key's text begins with, so that a leaked one is recognised.
const PREFIX: &str = "tdgkey_";

/// Names a master key without telling anything about it: 64 bits, derived from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 8]);

/// A text that is no key's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a key: 16 hexadecimal digits")]
pub struct KeyIdError;

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| KeyIdError)?;
        bytes.try_into().map(Self).map_err(|_| KeyIdError)
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;

    fn try_from(text: String) -> Result<Self, KeyIdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

/// A master key: 256 random bits.
///
/// What encrypts is derived from it (HKDF-SHA256, RFC 5869), so that it has one purpose only.
#[derive(Clone)]
pub struct MasterKey {
    id: KeyId,
    secret: Zeroizing<[u8; KEY_BYTES]>,
    wrapping: Zeroizing<[u8; KEY_BYTES]>,
}

/// A text that is no master key. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a master key: {PREFIX} and 52 letters and digits, as `tidegate key new` prints")]
pub struct MasterKeyError;

impl MasterKey {
    /// A new one.
    pub fn random() -> Self {
        Self::of(Zeroizing::new(rand::random()))
    }

    fn of(secret: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let derive = |label: &[u8], bytes: &mut [u8]| {
            let expanded = Hkdf::<Sha256>::new(None, &*secret).expand(label, bytes);
            expanded.expect("less than 255 hashes are asked for");
        };
        let (mut id, mut wrapping) = ([0; 8], Zeroizing::new([0; KEY_BYTES]));
        derive(b"tidegate key id 1", &mut id);
        derive(b"tidegate settings 1", &mut *wrapping);
        Self { id: KeyId(id), secret, wrapping }
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// As it is kept in a file, a variable or a vault.
    pub fn text(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}", data_encoding::BASE32_DNSSEC.encode(&*self.secret)))
    }
}

impl FromStr for MasterKey {
    type Err = MasterKeyError;

    fn from_str(text: &str) -> Result<Self, MasterKeyError> {
        let digits = text.strip_prefix(PREFIX).ok_or(MasterKeyError)?;
        let bytes = data_encoding::BASE32_DNSSEC.decode(digits.as_bytes());
        let bytes = Zeroizing::new(bytes.map_err(|_| MasterKeyError)?);
        let secret: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| MasterKeyError)?;
        Ok(Self::of(Zeroizing::new(secret)))
    }
}

/// The master keys of a host: the first encrypts, the others still decrypt.
#[derive(Clone)]
pub struct KeyRing {
    keys: Vec<MasterKey>,
    /// Where they were found, for messages.
    pub origin: KeyOrigin,
}

impl KeyRing {
    /// These keys.
    pub fn new(keys: Vec<MasterKey>, origin: KeyOrigin) -> Self {
        Self { keys, origin }
    }

    /// No key at all: settings can neither be read nor written.
    pub fn none() -> Self {
        Self::new(Vec::new(), KeyOrigin::None)
    }

    /// The key of what a command on this machine runs without a host. It is known to
    /// everybody: what such a run is handed stands in a file that the command was given.
    pub fn local() -> Self {
        Self::new(vec![MasterKey::of(Zeroizing::new([0; KEY_BYTES]))], KeyOrigin::Local)
    }

    /// The key that encrypts.
    pub fn current(&self) -> Option<KeyId> {
        self.keys.first().map(MasterKey::id)
    }

    /// The ids of all keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(MasterKey::id)
    }

    fn find(&self, id: KeyId) -> Option<&MasterKey> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.ids().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl PartialEq for KeyRing {
    fn eq(&self, other: &Self) -> bool {
        self.ids().eq(other.ids())
    }
}

impl Eq for KeyRing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_is_read_as_it_is_written_and_nothing_else_is() {
        let key = MasterKey::random();
        let text = key.text();
        let read: MasterKey = text.expose().parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((read.id(), text.expose().len()), (key.id(), PREFIX.len() + 52));
        assert_eq!(key.id().to_string().parse(), Ok(key.id()));
        let cut = &text.expose()[..text.expose().len() - 1];
        for wrong in ["", PREFIX, cut, &format!("{}a", text.expose()), &text.expose()[1..]] {
            assert!(wrong.parse::<MasterKey>().is_err());
        }
    }
}
