//! A line of the log: an entry as JSON, with a tag over it and the tag before it.

use std::io;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::Sha256;

use super::{AuditEntry, LINE_BYTES_MAX};

/// What stands between an entry and its tag, and behind it.
const MAC_FIELD: &[u8] = b",\"mac\":\"";
const MAC_CHARS: usize = 64;
const END: &[u8] = b"\"}";
/// So that a tag of one thing is none of another.
const ENTRY_DOMAIN: &[u8] = b"tidegate audit entry 1";
const HEAD_DOMAIN: &[u8] = b"tidegate audit head 1";

pub(super) type Mac = [u8; 32];

/// What tags are made with. Its `Debug` is not there: nothing shows it.
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn tag(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| hmac.update(part));
        hmac
    }

    pub(super) fn entry(&self, before: &Mac, json: &[u8]) -> Mac {
        self.tag(&[ENTRY_DOMAIN, before, json]).finalize().into_bytes().into()
    }

    pub(super) fn head(&self, bytes: &[u8]) -> Mac {
        self.tag(&[HEAD_DOMAIN, bytes]).finalize().into_bytes().into()
    }
}

/// A line that is to be written.
pub(super) struct NewLine {
    pub(super) bytes: Vec<u8>,
    pub(super) mac: Mac,
}

/// A line that was read.
pub(super) struct Line {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) mac: Mac,
    json: Vec<u8>,
}

impl Line {
    /// Whether it is as it was written behind the entry with this tag.
    pub(super) fn follows(&self, before: &Mac, key: &Key) -> bool {
        key.tag(&[ENTRY_DOMAIN, before, &self.json]).verify_slice(&self.mac).is_ok()
    }
}

/// The line of an entry, its line break included.
pub(super) fn line(entry: &AuditEntry, before: &Mac, key: &Key) -> io::Result<NewLine> {
    let mut bytes = serde_json::to_vec(entry)?;
    // All but the closing brace is what the tag covers.
    bytes.pop();
    if bytes.len() > LINE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the entry is too long"));
    }
    let mac = key.entry(before, &bytes);
    bytes.extend_from_slice(MAC_FIELD);
    bytes.extend_from_slice(data_encoding::HEXLOWER.encode(&mac).as_bytes());
    bytes.extend_from_slice(END);
    bytes.push(b'\n');
    Ok(NewLine { bytes, mac })
}

/// The parts of a line without its line break; `None` when it is no line of the log.
pub(super) fn parse(line: &[u8]) -> Option<Line> {
    #[derive(Deserialize)]
    struct Head {
        seq: u64,
        at: Timestamp,
    }
    let rest = line.strip_suffix(END)?;
    let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(MAC_CHARS)?)?;
    let json = rest.strip_suffix(MAC_FIELD)?;
    // Not in upper case: then it is not as it was written.
    let mac = data_encoding::HEXLOWER.decode(mac).ok()?.try_into().ok()?;
    let Head { seq, at } = serde_json::from_slice(line).ok()?;
    Some(Line { seq, at, mac, json: json.to_vec() })
}
