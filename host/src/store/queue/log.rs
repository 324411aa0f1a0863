//! The queue's files: frames of events, and of events that are gone.
//!
//! The body of an event's frame is its entry as JSON; the last frame of an event counts.
//! The tail, where there is one, is the input, and stays valid when later frames have
//! none:
//!
//! ```text
//! 0                                          nothing
//! 1 | head's bytes 4 | head as JSON | body   a request
//! 2 | JSON                                   a tick
//! 3 | nonce 24 | ciphertext                  a request, encrypted: all that 1 would be
//! ```
//!
//! Requests are encrypted (see [`super::sealing`]); 1 is what older builds wrote.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::book::{Book, InputPlace};
use super::{EventInput, QueueEntry, sealing};
use crate::run::{Body, RequestRecord, RunId};
use crate::store::frame::{self, Builder, FRAME_BYTES_MAX, HEADER_BYTES, Kind, Salt};
use crate::store::logfile::{self, Purpose};
use crate::store::status::Status;
use crate::store::{Result, StoreError};

/// The first byte of a request's input.
pub(super) const PLAIN_REQUEST: u8 = 1;
/// The first byte of one that is encrypted.
pub(super) const SEALED_REQUEST: u8 = 3;

#[derive(Serialize, Deserialize)]
struct RequestHead {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct TickInput {
    schedule: String,
    due: Timestamp,
}

/// A frame of an event, and the bytes of its input.
///
/// # Errors
/// [`StoreError::Limit`] for an input that does not fit into a frame.
pub(super) fn encode(entry: &QueueEntry, input: Option<&[u8]>, salt: Salt) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Kind::Event, 512 + input.map_or(0, <[u8]>::len));
    serde_json::to_writer(builder.buffer(), entry).map_err(unencodable)?;
    builder.end_body();
    builder.buffer().extend_from_slice(input.unwrap_or_default());
    builder.finish(salt).map_err(|error| StoreError::Limit {
        what: format!("an event of {} bytes", error.bytes),
        limit: format!("{FRAME_BYTES_MAX} bytes"),
    })
}

/// A frame that says that an event is gone.
pub(super) fn encode_gone(id: RunId, salt: Salt) -> Vec<u8> {
    let mut builder = Builder::new(Kind::Gone, 16);
    builder.buffer().extend_from_slice(id.as_bytes());
    builder.finish(salt).expect("a frame of 16 bytes is not too large")
}

/// An input as it stands in a frame.
pub(in crate::store) fn encode_input(input: &EventInput) -> Result<Vec<u8>> {
    match input {
        EventInput::Nothing => Ok(vec![0]),
        EventInput::Request(request) => {
            let head = RequestHead {
                method: request.method.clone(),
                path: request.path_with_query.clone(),
                headers: request.headers.clone(),
            };
            let head = serde_json::to_vec(&head).map_err(unencodable)?;
            let mut bytes = Vec::with_capacity(5 + head.len() + request.body.bytes.len());
            bytes.push(PLAIN_REQUEST);
            bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(&request.body.bytes);
            Ok(bytes)
        }
        EventInput::Tick { schedule, due } => {
            let mut bytes = vec![2];
            let tick = TickInput { schedule: schedule.clone(), due: *due };
            serde_json::to_writer(&mut bytes, &tick).map_err(unencodable)?;
            Ok(bytes)
        }
    }
}

fn unencodable(error: serde_json::Error) -> StoreError {
    StoreError::Io { action: "encode an event".to_owned(), source: error.into() }
}

fn decode_input(bytes: &[u8]) -> Option<EventInput> {
    let (&tag, rest) = bytes.split_first()?;
    match tag {
        0 => Some(EventInput::Nothing),
        PLAIN_REQUEST => {
            let (bytes, rest) = rest.split_at_checked(4)?;
            let head_bytes = u32::from_le_bytes(bytes.try_into().ok()?) as usize;
            let (head, body) = rest.split_at_checked(head_bytes)?;
            let head: RequestHead = serde_json::from_slice(head).ok()?;
            Some(EventInput::Request(RequestRecord {
                method: head.method,
                path_with_query: head.path,
                headers: head.headers,
                body: Body::cut(body.to_vec().into(), usize::MAX),
            }))
        }
        2 => {
            let tick: TickInput = serde_json::from_slice(rest).ok()?;
            Some(EventInput::Tick { schedule: tick.schedule, due: tick.due })
        }
        _ => None,
    }
}

/// A file that is not written to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct OldFile {
    pub(in crate::store) number: u64,
    pub(in crate::store) bytes: u64,
    /// It holds requests that are not encrypted: an older build wrote it.
    pub(in crate::store) has_plain: bool,
}

/// Applies every file to a new book.
pub(in crate::store) fn read_all(folder: &Path, salt: Salt, status: &Status) -> Result<(Book, Vec<OldFile>)> {
    let mut book = Book::default();
    let mut files = Vec::new();
    for number in Purpose::Queue.numbers(folder)? {
        files.push(read_file(folder, number, salt, &mut book, status)?);
    }
    book.orphan_all();
    Ok((book, files))
}

fn read_file(folder: &Path, number: u64, salt: Salt, book: &mut Book, status: &Status) -> Result<OldFile> {
    let read = logfile::open(folder, Purpose::Queue, number, salt)?;
    let (mut unreadable, mut has_plain) = (0, false);
    let each = |found: frame::Found<'_>| match found.kind {
        Some(Kind::Event) => match serde_json::from_slice::<QueueEntry>(found.body) {
            Ok(entry) => {
                has_plain |= sealing::is_plain(&entry, found.tail);
                let frame_bytes = HEADER_BYTES + found.body.len() + found.tail.len();
                let input = (!found.tail.is_empty()).then_some(InputPlace {
                    file: number,
                    offset: found.offset,
                    frame_bytes: frame_bytes as u32,
                    input_bytes: found.tail.len() as u32,
                });
                book.put(entry, number, input);
            }
            Err(_) => unreadable += 1,
        },
        Some(Kind::Gone) => match found.body.try_into() {
            Ok(id) => book.remove(RunId::from_bytes(id)),
            Err(_) => unreadable += 1,
        },
        Some(Kind::Run | Kind::Tick | Kind::Change | Kind::Rollups) | None => unreadable += 1,
    };
    let range = logfile::HEADER_BYTES.min(read.bytes)..read.bytes;
    let scan = frame::scan(&read.file, range, read.salt, each)
        .map_err(|source| StoreError::Io { action: format!("read queue file {number}"), source })?;
    // What is behind the last whole frame was never acknowledged.
    for gap in scan.gaps {
        status.warn(format!("bytes {} to {} of queue file {number} are damaged", gap.start, gap.end));
    }
    if unreadable > 0 {
        status.warn(format!("{unreadable} entries of queue file {number} cannot be understood"));
    }
    Ok(OldFile { number, bytes: read.bytes, has_plain })
}

/// The bytes of an input.
///
/// # Errors
/// [`StoreError::Damaged`], [`StoreError::Io`].
pub(super) fn read_bytes(folder: &Path, place: InputPlace, salt: Salt) -> Result<Vec<u8>> {
    let number = place.file;
    let failed = |source| StoreError::Io { action: format!("read queue file {number}"), source };
    let read = logfile::open(folder, Purpose::Queue, number, salt)?;
    let bytes = frame::read_exactly(&read.file, place.offset, place.frame_bytes as usize).map_err(failed)?;
    let tail = frame::tail(&bytes, read.salt).ok_or_else(|| damaged(place, "its checksum differs"))?;
    Ok(tail.to_vec())
}

/// The input that these bytes are.
///
/// # Errors
/// [`StoreError::Damaged`].
pub(super) fn parse_input(bytes: &[u8], place: InputPlace) -> Result<EventInput> {
    decode_input(bytes).ok_or_else(|| damaged(place, "it is not as it was written"))
}

fn damaged(place: InputPlace, reason: &str) -> StoreError {
    StoreError::Damaged {
        what: format!("the event at {} of queue file {}", place.offset, place.file),
        reason: reason.to_owned(),
    }
}

/// What is wrong with the files: damaged bytes, one line for each place.
pub(in crate::store) fn verify(folder: &Path, salt: Salt) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let numbers = Purpose::Queue.numbers(folder)?;
    for number in &numbers {
        let Ok(read) = logfile::open(folder, Purpose::Queue, *number, salt) else { continue };
        let range = logfile::HEADER_BYTES.min(read.bytes)..read.bytes;
        let scan = frame::scan(&read.file, range, read.salt, |_| {})
            .map_err(|source| StoreError::Io { action: format!("read queue file {number}"), source })?;
        let place = |gap: &std::ops::Range<u64>| {
            format!("bytes {} to {} of queue file {number} are damaged", gap.start, gap.end)
        };
        problems.extend(scan.gaps.iter().map(place));
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_come_back_and_garbage_is_none() {
        let request = RequestRecord {
            method: "POST".to_owned(),
            path_with_query: "/?a=1".to_owned(),
            headers: vec![("x-a".to_owned(), "é".to_owned())],
            body: Body::cut(vec![0, 255, 10].into(), usize::MAX),
        };
        let tick = EventInput::Tick { schedule: "hourly".to_owned(), due: Timestamp::UNIX_EPOCH };
        for input in [EventInput::Request(request), tick, EventInput::Nothing] {
            let bytes = encode_input(&input).unwrap();
            assert_eq!(decode_input(&bytes), Some(input));
            for cut in 0..bytes.len().min(20) {
                assert!(decode_input(&bytes[..cut]).is_none(), "cut at {cut}");
            }
        }
        assert_eq!(decode_input(&[9, 9]), None);
    }
}
