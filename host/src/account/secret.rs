//! What a token, a session and a one-time link have in common: a secret text that is
//! recognised when it leaks, and of which only the digest is kept.

use std::fmt;

use crate::workflow::Digest;

/// Random bytes of a secret.
const BYTES: usize = 32;
/// Characters of the random part, and of its checksum.
const RANDOM_CHARS: usize = 52;
const CHECK_CHARS: usize = 7;

/// What a secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// A token for programs.
    Token,
    /// A session of a browser.
    Session,
    /// A link by which a user signs in once.
    OneTimeLink,
}

impl SecretKind {
    /// What secrets of this kind begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            SecretKind::Token => "tdgt_",
            SecretKind::Session => "tdgs_",
            SecretKind::OneTimeLink => "tdgo_",
        }
    }
}

/// A secret as its owner has it: a prefix, 256 random bits in 52 characters, and the
/// CRC-32C of both in 7, so that scanners tell a leaked one from look-alikes.
///
/// It has no `Display`, its `Debug` shows nothing, and nothing keeps it: what is kept is
/// [`Secret::digest`]. That is a plain SHA-256: 256 random bits cannot be guessed, and need
/// no slow hash as passwords do.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new one.
    pub fn random(kind: SecretKind) -> Self {
        let bytes: [u8; BYTES] = rand::random();
        let mut text = format!("{}{}", kind.prefix(), data_encoding::BASE32_DNSSEC.encode(&bytes));
        text.push_str(&checksum(&text));
        Self(text)
    }

    /// The secret of this kind in a text; `None` when it is none, without a look at what is
    /// kept.
    pub fn parse(kind: SecretKind, text: &str) -> Option<Self> {
        let random = text.strip_prefix(kind.prefix())?;
        if random.len() != RANDOM_CHARS + CHECK_CHARS || !random.is_ascii() {
            return None;
        }
        let (signed, check) = text.split_at(text.len() - CHECK_CHARS);
        (checksum(signed) == check).then(|| Self(text.to_owned()))
    }

    /// The secret as its owner is shown it, once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

fn checksum(text: &str) -> String {
    data_encoding::BASE32_DNSSEC.encode(&crc32c::crc32c(text.as_bytes()).to_be_bytes())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_recognised_by_prefix_and_checksum() {
        let secret = Secret::random(SecretKind::Token);
        let text = secret.expose();
        assert_eq!((text.len(), &text[..5]), (5 + 52 + 7, "tdgt_"));
        assert_eq!(Secret::parse(SecretKind::Token, text), Some(secret.clone()));
        assert_eq!(Secret::parse(SecretKind::Session, text), None);
        for at in 0..text.len() {
            let mut other = text.to_owned().into_bytes();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(Secret::parse(SecretKind::Token, &other), None, "{at}");
        }
        for text in ["", "tdgt_", &text[..63], &format!("{text}0"), &"é".repeat(32)] {
            assert_eq!(Secret::parse(SecretKind::Token, text), None, "{text}");
        }
    }

    #[test]
    fn no_two_are_the_same_and_none_is_shown() {
        let (one, other) = (Secret::random(SecretKind::Session), Secret::random(SecretKind::Session));
        assert_ne!(one.digest(), other.digest());
        assert_eq!(format!("{one:?}"), "Secret(..)");
    }
}
