//! Encrypting: XChaCha20-Poly1305 with random nonces, whose 192 bits need no counter.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use data_encoding::BASE64_NOPAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{KEY_BYTES, KeyId, KeyRing};
use crate::workflow::{Secret, WorkflowId};

const NONCE_BYTES: usize = 24;
/// Values are padded to a multiple of this, so that a size says little about a value.
const BUCKET_BYTES: usize = 64;
/// The value's own length, before it.
const LENGTH_BYTES: usize = 4;
/// Bytes of a fingerprint.
const FINGERPRINT_BYTES: usize = 4;

/// Why something cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// It was encrypted with a key that is not here.
    #[error("it is encrypted with the key {0}, which is not here")]
    UnknownKey(KeyId),
    /// No key is here.
    #[error("there is no key to encrypt with")]
    NoKey,
    /// It is not as it was encrypted, or stands in another's place.
    #[error("it is not what was encrypted here: it was changed, moved or exchanged")]
    NotAuthentic,
}

/// The key of one workflow's settings and of its events.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

/// A data key as it is kept: encrypted with a master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The master key.
    pub key: KeyId,
    /// Nonce and ciphertext in base64.
    wrapped: String,
}

impl KeyRing {
    /// A new data key for a workflow.
    ///
    /// # Errors
    /// There is no master key.
    pub fn new_data_key(&self, workflow: WorkflowId) -> Result<(DataKey, WrappedKey), CipherError> {
        let key = DataKey(Zeroizing::new(rand::random()));
        let wrapped = self.wrap(&key, workflow)?;
        Ok((key, wrapped))
    }

    fn wrap(&self, key: &DataKey, workflow: WorkflowId) -> Result<WrappedKey, CipherError> {
        let master = self.keys.first().ok_or(CipherError::NoKey)?;
        let bytes = encrypt(&master.wrapping, &wrapping_context(workflow), &*key.0);
        Ok(WrappedKey { key: master.id, wrapped: BASE64_NOPAD.encode(&bytes) })
    }

    /// A workflow's data key.
    ///
    /// # Errors
    /// The master key is not here, or it is not what was wrapped for this workflow.
    pub fn unwrap_key(&self, wrapped: &WrappedKey, workflow: WorkflowId) -> Result<DataKey, CipherError> {
        let master = self.find(wrapped.key).ok_or(CipherError::UnknownKey(wrapped.key))?;
        let bytes = BASE64_NOPAD.decode(wrapped.wrapped.as_bytes()).map_err(|_| CipherError::NotAuthentic)?;
        let plain = decrypt(&master.wrapping, &wrapping_context(workflow), &bytes)?;
        let key = plain.as_slice().try_into().map_err(|_| CipherError::NotAuthentic)?;
        Ok(DataKey(Zeroizing::new(key)))
    }

    /// The same data key, wrapped with the current master key; `None` when it is already.
    ///
    /// # Errors
    /// As [`KeyRing::unwrap_key`].
    pub fn rewrap(
        &self,
        wrapped: &WrappedKey,
        workflow: WorkflowId,
    ) -> Result<Option<WrappedKey>, CipherError> {
        if self.current() == Some(wrapped.key) {
            return Ok(None);
        }
        let key = self.unwrap_key(wrapped, workflow)?;
        self.wrap(&key, workflow).map(Some)
    }
}

impl KeyRing {
    /// A key of the host's own for one purpose, encrypted with the current master key.
    ///
    /// # Errors
    /// There is no master key.
    pub fn seal_key(&self, purpose: &str, key: &[u8; KEY_BYTES]) -> Result<WrappedKey, CipherError> {
        let master = self.keys.first().ok_or(CipherError::NoKey)?;
        let bytes = encrypt(&master.wrapping, &host_context(purpose), key);
        Ok(WrappedKey { key: master.id, wrapped: BASE64_NOPAD.encode(&bytes) })
    }

    /// The key that was sealed for this purpose.
    ///
    /// # Errors
    /// The master key is not here, or it was sealed for another purpose.
    pub fn open_key(&self, purpose: &str, sealed: &WrappedKey) -> Result<[u8; KEY_BYTES], CipherError> {
        let master = self.find(sealed.key).ok_or(CipherError::UnknownKey(sealed.key))?;
        let bytes = BASE64_NOPAD.decode(sealed.wrapped.as_bytes()).map_err(|_| CipherError::NotAuthentic)?;
        let plain = decrypt(&master.wrapping, &host_context(purpose), &bytes)?;
        plain.as_slice().try_into().map_err(|_| CipherError::NotAuthentic)
    }
}

impl DataKey {
    /// A value, encrypted for this context only; in base64.
    pub fn encrypt(&self, context: &[u8], value: &Secret) -> String {
        let value = value.expose().as_bytes();
        let bytes = (LENGTH_BYTES + value.len()).next_multiple_of(BUCKET_BYTES);
        let mut padded = Zeroizing::new(Vec::with_capacity(bytes));
        padded.extend_from_slice(&(value.len() as u32).to_le_bytes());
        padded.extend_from_slice(value);
        padded.resize(bytes, 0);
        BASE64_NOPAD.encode(&encrypt(&self.0, context, &padded))
    }

    /// The value that was encrypted for this context.
    ///
    /// # Errors
    /// It is not authentic.
    pub fn decrypt(&self, context: &[u8], text: &str) -> Result<Secret, CipherError> {
        let bytes = BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| CipherError::NotAuthentic)?;
        let padded = decrypt(&self.0, context, &bytes)?;
        let (length, rest) = padded.split_first_chunk::<LENGTH_BYTES>().ok_or(CipherError::NotAuthentic)?;
        let value = rest.get(..u32::from_le_bytes(*length) as usize).ok_or(CipherError::NotAuthentic)?;
        let text = std::str::from_utf8(value).map_err(|_| CipherError::NotAuthentic)?;
        Ok(Secret::new(text.to_owned()))
    }

    /// Bytes, encrypted for this context only.
    pub fn seal(&self, context: &[u8], bytes: &[u8]) -> Vec<u8> {
        encrypt(&self.0, context, bytes)
    }

    /// The bytes that were sealed for this context.
    ///
    /// # Errors
    /// They are not authentic.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        // Who asks hands them on to a guest: there is no copy of them to wipe.
        decrypt(&self.0, context, sealed).map(|plain| plain.to_vec())
    }

    /// Tells two values of a setting apart, and says nothing else of them: 8 hexadecimal
    /// digits of an HMAC over name and value.
    pub fn fingerprint(&self, name: &str, value: &Secret) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("any length will do");
        for part in [b"tidegate fingerprint 1", name.as_bytes(), value.expose().as_bytes()] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes()[..FINGERPRINT_BYTES])
    }
}

fn wrapping_context(workflow: WorkflowId) -> Vec<u8> {
    [b"tidegate data key 1", workflow.as_bytes().as_slice()].concat()
}

/// So that a key of one purpose, or of a workflow, is none of another.
fn host_context(purpose: &str) -> Vec<u8> {
    [b"tidegate host key 1 ", purpose.as_bytes()].concat()
}

fn encrypt(key: &[u8; KEY_BYTES], context: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let payload = Payload { msg: plain, aad: context };
    let sealed = XChaCha20Poly1305::new(key.into()).encrypt(&XNonce::from(nonce), payload);
    [nonce.as_slice(), &sealed.expect("it is shorter than 256 GiB")].concat()
}

fn decrypt(key: &[u8; KEY_BYTES], context: &[u8], bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, CipherError> {
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(CipherError::NotAuthentic)?;
    let payload = Payload { msg: sealed, aad: context };
    let plain = XChaCha20Poly1305::new(key.into()).decrypt(&XNonce::from(*nonce), payload);
    plain.map(Zeroizing::new).map_err(|_| CipherError::NotAuthentic)
}

#[cfg(test)]
mod tests {
    use super::super::{KeyOrigin, MasterKey};
    use super::*;

    fn ring(keys: &[&MasterKey]) -> KeyRing {
        KeyRing::new(keys.iter().map(|key| (*key).clone()).collect(), KeyOrigin::None)
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_key_of_the_host_is_opened_for_its_purpose_only() {
        let new = || KeyRing::new(vec![crate::keys::MasterKey::random()], crate::keys::KeyOrigin::Local);
        let (ring, other, key) = (new(), new(), [7; KEY_BYTES]);
        let sealed = ring.seal_key("audit", &key).unwrap();
        assert_eq!(ring.open_key("audit", &sealed), Ok(key));
        assert_eq!(ring.open_key("artefacts", &sealed), Err(CipherError::NotAuthentic));
        assert_eq!(other.open_key("audit", &sealed), Err(CipherError::UnknownKey(sealed.key)));
        assert_eq!(KeyRing::none().seal_key("audit", &key).unwrap_err(), CipherError::NoKey);
        assert!(ring.unwrap_key(&sealed, WorkflowId::new()).is_err(), "it is no workflow's key");
    }

    #[test]
    fn values_come_back_in_their_own_context_only_and_no_bit_can_change() {
        let (key, _) = KeyRing::local().new_data_key(WorkflowId::new()).unwrap();
        for text in ["", "\"x\"", &"é".repeat(1000)] {
            let sealed = key.encrypt(b"context", &secret(text));
            assert_eq!(key.decrypt(b"context", &sealed).ok().unwrap().expose(), text);
            assert_ne!(sealed, key.encrypt(b"context", &secret(text)), "the nonce is fresh");
            assert_eq!(key.decrypt(b"contexT", &sealed).err(), Some(CipherError::NotAuthentic));
            let bytes = BASE64_NOPAD.decode(sealed.as_bytes()).unwrap();
            assert_eq!((bytes.len() - NONCE_BYTES - 16) % BUCKET_BYTES, 0);
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                assert!(key.decrypt(b"context", &BASE64_NOPAD.encode(&flipped)).is_err(), "byte {at}");
            }
            for cut in [0, 10, bytes.len() - 1] {
                assert!(key.decrypt(b"context", &BASE64_NOPAD.encode(&bytes[..cut])).is_err());
            }
        }
    }

    #[test]
    fn data_keys_belong_to_a_workflow_and_follow_the_master_key() {
        let (old, new, workflow) = (MasterKey::random(), MasterKey::random(), WorkflowId::new());
        let (key, wrapped) = ring(&[&old]).new_data_key(workflow).unwrap();
        let sealed = key.encrypt(b"c", &secret("v"));
        let other = ring(&[&old]).unwrap_key(&wrapped, WorkflowId::new());
        assert_eq!(other.err(), Some(CipherError::NotAuthentic));
        let unknown = ring(&[&new]).unwrap_key(&wrapped, workflow);
        assert_eq!(unknown.err(), Some(CipherError::UnknownKey(old.id())));
        assert_eq!(KeyRing::none().new_data_key(workflow).err(), Some(CipherError::NoKey));

        let both = ring(&[&new, &old]);
        let again = both.rewrap(&wrapped, workflow).unwrap().unwrap();
        assert_eq!((again.key, both.rewrap(&again, workflow)), (new.id(), Ok(None)));
        let key = ring(&[&new]).unwrap_key(&again, workflow).unwrap();
        assert_eq!(key.decrypt(b"c", &sealed).ok().unwrap().expose(), "v");
    }

    #[test]
    fn fingerprints_tell_values_and_names_apart() {
        let (key, _) = KeyRing::local().new_data_key(WorkflowId::new()).unwrap();
        let print = |name, value| key.fingerprint(name, &secret(value));
        assert_eq!(print("A", "1"), print("A", "1"));
        assert_ne!(print("A", "1"), print("A", "2"));
        assert_ne!(print("A", "1"), print("B", "1"));
        assert_ne!(print("A1", ""), print("A", "1"));
        assert_eq!(print("A", "1").len(), 2 * FINGERPRINT_BYTES);
    }
}
