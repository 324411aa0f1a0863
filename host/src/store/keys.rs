//! The metadata as keys and values: what a change is, in the journal, in the
//! checkpoint and in memory alike.
//!
//! ```text
//! 1 | workflow id 16               the workflow as JSON
//! 2 | workflow id 16 | number 4    the version as JSON
//! 3 | workflow id 16 | name        the setting as JSON
//! 4 | workflow id 16               the revision of the settings as JSON
//! 5                                the ledger's floor as JSON
//! 6 | name                         the runtime as JSON
//! 7 | workflow id 16               the smallest id of its runs that is shown, as JSON
//! 8 | user id 16                   the user as JSON
//! 9 | token id 16                  the token as JSON, without its secret
//! 10 | digest 32                   the session as JSON
//! 11 | digest 32                   the one-time link as JSON
//! 12 | workflow id 16              the data key of its settings, wrapped, as JSON
//! 0                                the checkpoint's position in the journal
//! ```
//!
//! Numbers in keys are big-endian. Workflows come first in the order of keys, so that
//! whoever reads all of them in order knows a workflow before it reads what it has.

use bytes::Buf;

use crate::account::{TokenId, UserId};
use crate::workflow::{Digest, WorkflowId, WorkflowName};

/// The key of the checkpoint's position; never part of a change.
pub(super) const POSITION: &[u8] = &[0];

/// What a value is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Workflow(WorkflowId),
    Version(WorkflowId, u32),
    Setting(WorkflowId, String),
    SettingsRevision(WorkflowId),
    LedgerFloor,
    Runtime(WorkflowName),
    RunFloor(WorkflowId),
    User(UserId),
    Token(TokenId),
    Session(Digest),
    OneTimeLink(Digest),
    Wrapped(WorkflowId),
}

impl Key {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Key::Workflow(id) => [&[1], id.as_bytes().as_slice()].concat(),
            Key::Version(id, number) => [&[2], id.as_bytes().as_slice(), &number.to_be_bytes()].concat(),
            Key::Setting(id, name) => [&[3], id.as_bytes().as_slice(), name.as_bytes()].concat(),
            Key::SettingsRevision(id) => [&[4], id.as_bytes().as_slice()].concat(),
            Key::LedgerFloor => vec![5],
            Key::Runtime(name) => [&[6], name.as_str().as_bytes()].concat(),
            Key::RunFloor(id) => [&[7], id.as_bytes().as_slice()].concat(),
            Key::User(id) => [&[8], id.as_bytes().as_slice()].concat(),
            Key::Token(id) => [&[9], id.as_bytes().as_slice()].concat(),
            Key::Session(digest) => [&[10], digest.as_bytes().as_slice()].concat(),
            Key::OneTimeLink(digest) => [&[11], digest.as_bytes().as_slice()].concat(),
            Key::Wrapped(id) => [&[12], id.as_bytes().as_slice()].concat(),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        if *first == 5 {
            return rest.is_empty().then_some(Key::LedgerFloor);
        }
        if *first == 6 {
            return std::str::from_utf8(rest).ok()?.parse().ok().map(Key::Runtime);
        }
        if let 10 | 11 = *first {
            let digest = Digest::from_bytes(rest.try_into().ok()?);
            return Some(if *first == 10 { Key::Session(digest) } else { Key::OneTimeLink(digest) });
        }
        let (id, rest) = rest.split_at_checked(16)?;
        if let 8 | 9 = *first {
            let id: [u8; 16] = id.try_into().ok()?;
            let key = if *first == 8 {
                Key::User(UserId::from_bytes(id))
            } else {
                Key::Token(TokenId::from_bytes(id))
            };
            return rest.is_empty().then_some(key);
        }
        let id = WorkflowId::from_bytes(id.try_into().ok()?);
        match first {
            1 => rest.is_empty().then_some(Key::Workflow(id)),
            2 => Some(Key::Version(id, u32::from_be_bytes(rest.try_into().ok()?))),
            3 => Some(Key::Setting(id, String::from_utf8(rest.to_vec()).ok()?)),
            4 => rest.is_empty().then_some(Key::SettingsRevision(id)),
            7 => rest.is_empty().then_some(Key::RunFloor(id)),
            12 => rest.is_empty().then_some(Key::Wrapped(id)),
            _ => None,
        }
    }
}

/// One value that is put, or deleted when it is `None`.
pub(super) type Put = (Key, Option<Vec<u8>>);

/// Appends values to the body of a journal's frame: the number of values, and for each
/// the key's bytes, the value's bytes or `u32::MAX`, the key and the value.
pub(super) fn encode_puts(buffer: &mut Vec<u8>, puts: &[Put]) {
    buffer.extend_from_slice(&(puts.len() as u32).to_le_bytes());
    for (key, value) in puts {
        let key = key.encode();
        buffer.extend_from_slice(&(key.len() as u32).to_le_bytes());
        let size = value.as_ref().map_or(u32::MAX, |value| value.len() as u32);
        buffer.extend_from_slice(&size.to_le_bytes());
        buffer.extend_from_slice(&key);
        buffer.extend_from_slice(value.as_deref().unwrap_or_default());
    }
}

/// The values in the body of a journal's frame; `None` when it is not as it was written.
pub(super) fn decode_puts(mut body: &[u8]) -> Option<Vec<Put>> {
    let count = body.try_get_u32_le().ok()?;
    let mut puts = Vec::new();
    for _ in 0..count {
        let (key, value) = (body.try_get_u32_le().ok()?, body.try_get_u32_le().ok()?);
        let (key, rest) = body.split_at_checked(key as usize)?;
        let (value, rest) = match value {
            u32::MAX => (None, rest),
            size => {
                let (value, rest) = rest.split_at_checked(size as usize)?;
                (Some(value.to_vec()), rest)
            }
        };
        puts.push((Key::decode(key)?, value));
        body = rest;
    }
    body.is_empty().then_some(puts)
}

/// A place in the journal: everything before it is covered.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
pub(super) struct Position {
    /// The journal file's number; 0 before the first.
    pub(super) file: u64,
    /// The place in it.
    pub(super) offset: u64,
}

impl Position {
    pub(super) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.file.to_be_bytes());
        bytes[8..].copy_from_slice(&self.offset.to_be_bytes());
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let position = Self { file: bytes.try_get_u64().ok()?, offset: bytes.try_get_u64().ok()? };
        bytes.is_empty().then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_come_back_and_workflows_come_first() {
        let id = WorkflowId::new();
        let puts = vec![
            (Key::Workflow(id), Some(b"{}".to_vec())),
            (Key::Version(id, 7), Some(Vec::new())),
            (Key::Setting(id, String::new()), None),
            (Key::Setting(id, "KÉY".to_owned()), Some(b"1".to_vec())),
            (Key::SettingsRevision(id), None),
            (Key::LedgerFloor, Some(b"0".to_vec())),
            (Key::Runtime("python".parse().unwrap()), Some(b"{}".to_vec())),
            (Key::RunFloor(id), Some(b"\"x\"".to_vec())),
            (Key::User(UserId::new()), Some(b"{}".to_vec())),
            (Key::Token(TokenId::new()), None),
            (Key::Session(Digest::of(b"s")), Some(b"{}".to_vec())),
            (Key::OneTimeLink(Digest::of(b"l")), None),
            (Key::Wrapped(id), Some(b"{}".to_vec())),
        ];
        let mut body = Vec::new();
        encode_puts(&mut body, &puts);
        assert_eq!(decode_puts(&body).as_ref(), Some(&puts));
        for cut in 0..body.len() {
            assert_eq!(decode_puts(&body[..cut]), None, "cut at {cut}");
        }
        let mut sorted: Vec<_> = puts.iter().map(|(key, _)| key.encode()).collect();
        sorted.sort();
        assert_eq!(sorted, puts.iter().map(|(key, _)| key.encode()).collect::<Vec<_>>());
        assert!(sorted.iter().all(|key| key.as_slice() > POSITION));
    }

    #[test]
    fn foreign_keys_are_none() {
        for bytes in
            [&[][..], &[9], &[5, 0], &[1, 2, 3], &[2; 20], &[0xff; 17], &[8; 18], &[10; 17], &[12; 33]]
        {
            assert_eq!(Key::decode(bytes), None, "{bytes:?}");
        }
    }
}
