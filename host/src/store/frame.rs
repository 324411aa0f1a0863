//! Frames: the unit of the append-only files.
//!
//! ```text
//! marker 4 | kind 1 | version 1 | zero 2 | body bytes 4 | tail bytes 4
//! | checksum of all that and the body 4 | checksum of the tail 4 | body | tail
//! ```
//!
//! Integers are little-endian, checksums CRC32C. The body can be read and checked
//! without the tail. Marker and checksums are salted with a random number of the data
//! folder: when a reader searches for the next frame behind damaged bytes, nothing that
//! a guest or a caller got recorded can pass for a frame.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Bytes in front of the body.
pub(super) const HEADER_BYTES: usize = 24;

/// Largest frame, header included. A record has bodies and a log that are capped
/// elsewhere to far less.
pub(super) const FRAME_BYTES_MAX: usize = 32 << 20;

const VERSION: u8 = 1;
const WINDOW_BYTES: usize = 1 << 20;

/// The salt of a file's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Salt(u64);

impl Salt {
    pub(super) const fn new(number: u64) -> Self {
        // A marker of zeros would be found in every hole of a file.
        Self(number | 1)
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }

    fn marker(self) -> [u8; 4] {
        (self.0 as u32).to_le_bytes()
    }

    fn seed(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The record of a run, with its log as the tail.
    Run,
    /// An entry of the schedule's ledger.
    Tick,
    /// A change of the metadata.
    Change,
    /// An event of the queue, with its input as the tail when it is there.
    Event,
    /// An event that the queue forgot.
    Gone,
    /// Statistics.
    Rollups,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Kind::Run => 1,
            Kind::Tick => 2,
            Kind::Change => 3,
            Kind::Event => 4,
            Kind::Gone => 5,
            Kind::Rollups => 8,
        }
    }

    /// The kind; `None` for one of a later build, whose frames are skipped.
    fn of(code: u8) -> Option<Self> {
        let all = [Kind::Run, Kind::Tick, Kind::Change, Kind::Event, Kind::Gone, Kind::Rollups];
        all.into_iter().find(|kind| kind.code() == code)
    }
}

/// A frame over [`FRAME_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) bytes: usize,
}

/// Builds a frame in one buffer: first the body, then, behind
/// [`Builder::end_body`], the tail.
pub(super) struct Builder {
    buffer: Vec<u8>,
    body_end: Option<usize>,
}

impl Builder {
    pub(super) fn new(kind: Kind, capacity: usize) -> Self {
        Self::over(Vec::with_capacity(HEADER_BYTES + capacity), kind)
    }

    /// Builds it in a buffer that was used before.
    pub(super) fn over(mut buffer: Vec<u8>, kind: Kind) -> Self {
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        buffer[4] = kind.code();
        buffer[5] = VERSION;
        Self { buffer, body_end: None }
    }

    /// Where body and tail are appended.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    pub(super) fn end_body(&mut self) {
        self.body_end = Some(self.buffer.len());
    }

    pub(super) fn finish(self, salt: Salt) -> Result<Vec<u8>, TooLarge> {
        let Self { mut buffer, body_end } = self;
        if buffer.len() > FRAME_BYTES_MAX {
            return Err(TooLarge { bytes: buffer.len() });
        }
        let body_end = body_end.unwrap_or(buffer.len());
        let (body_bytes, tail_bytes) = ((body_end - HEADER_BYTES) as u32, (buffer.len() - body_end) as u32);
        buffer[0..4].copy_from_slice(&salt.marker());
        buffer[8..12].copy_from_slice(&body_bytes.to_le_bytes());
        buffer[12..16].copy_from_slice(&tail_bytes.to_le_bytes());
        let body_sum = checksum(salt, &buffer[..16], &buffer[HEADER_BYTES..body_end]);
        let tail_sum = checksum(salt, &[], &buffer[body_end..]);
        buffer[16..20].copy_from_slice(&body_sum.to_le_bytes());
        buffer[20..24].copy_from_slice(&tail_sum.to_le_bytes());
        Ok(buffer)
    }
}

fn checksum(salt: Salt, head: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt.seed(), head), rest)
}

/// A header that looks like one.
#[derive(Clone, Copy)]
struct Header {
    kind: u8,
    body_bytes: usize,
    tail_bytes: usize,
    body_sum: u32,
    tail_sum: u32,
}

impl Header {
    fn parse(bytes: &[u8], salt: Salt) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        if bytes.get(..4)? != salt.marker() || bytes.get(5..8)? != [VERSION, 0, 0] {
            return None;
        }
        let header = Self {
            kind: *bytes.get(4)?,
            body_bytes: word(8)? as usize,
            tail_bytes: word(12)? as usize,
            body_sum: word(16)?,
            tail_sum: word(20)?,
        };
        (header.bytes() <= FRAME_BYTES_MAX).then_some(header)
    }

    fn bytes(&self) -> usize {
        HEADER_BYTES.saturating_add(self.body_bytes).saturating_add(self.tail_bytes)
    }
}

/// The body of the frame at the beginning of `bytes`, checked.
pub(super) fn body(bytes: &[u8], salt: Salt) -> Option<&[u8]> {
    let header = Header::parse(bytes, salt)?;
    let body = bytes.get(HEADER_BYTES..HEADER_BYTES + header.body_bytes)?;
    (checksum(salt, &bytes[..16], body) == header.body_sum).then_some(body)
}

/// The tail of the frame at the beginning of `bytes`, checked.
pub(super) fn tail(bytes: &[u8], salt: Salt) -> Option<&[u8]> {
    let header = Header::parse(bytes, salt)?;
    let tail = bytes.get(HEADER_BYTES + header.body_bytes..header.bytes())?;
    (checksum(salt, &[], tail) == header.tail_sum).then_some(tail)
}

/// A frame that a scan found.
pub(super) struct Found<'a> {
    /// Where its header begins in the file.
    pub(super) offset: u64,
    /// `None` for a kind of a later build.
    pub(super) kind: Option<Kind>,
    /// The frame as it stands in the file.
    pub(super) whole: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) tail: &'a [u8],
}

/// What a scan saw.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Scan {
    /// Where the last whole frame ends. What is behind it was never written completely.
    pub(super) end: u64,
    /// Bytes between whole frames that are no frame: damage.
    pub(super) gaps: Vec<Range<u64>>,
}

/// Something that can be read at any place.
pub(super) trait ReadAt {
    /// Reads at least one byte into `buffer`, or none at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

/// Reads exactly the bytes `offset..offset + bytes`; a file that ends before is
/// [`io::ErrorKind::UnexpectedEof`].
pub(super) fn read_exactly(file: &File, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer)
}

/// Hands every whole frame in `from..end` to `each`, in order, and searches on behind
/// damaged bytes.
pub(super) fn scan(
    source: &impl ReadAt,
    range: Range<u64>,
    salt: Salt,
    mut each: impl FnMut(Found<'_>),
) -> io::Result<Scan> {
    let mut window = Window { source, start: 0, bytes: Vec::new(), limit: range.end };
    let mut seen = Scan { end: range.start, gaps: Vec::new() };
    let mut at = range.start;
    loop {
        let header = window.get(at, HEADER_BYTES)?.and_then(|bytes| Header::parse(bytes, salt));
        if let Some(header) = header
            && let Some(bytes) = window.get(at, header.bytes())?
            && let (Some(body), Some(tail)) = (body(bytes, salt), tail(bytes, salt))
        {
            if at > seen.end {
                seen.gaps.push(seen.end..at);
            }
            each(Found { offset: at, kind: Kind::of(header.kind), whole: bytes, body, tail });
            at += header.bytes() as u64;
            seen.end = at;
        } else if let Some(next) = window.find(at + 1, &salt.marker())? {
            at = next;
        } else {
            return Ok(seen);
        }
    }
}

struct Window<'a, R> {
    source: &'a R,
    start: u64,
    bytes: Vec<u8>,
    limit: u64,
}

impl<R: ReadAt> Window<'_, R> {
    /// The bytes `at..at + count`; `None` when the file ends before.
    fn get(&mut self, at: u64, count: usize) -> io::Result<Option<&[u8]>> {
        if at.saturating_add(count as u64) > self.limit {
            return Ok(None);
        }
        let held = self.start..self.start + self.bytes.len() as u64;
        if !(held.start <= at && at + count as u64 <= held.end) {
            self.fill(at, count)?;
        }
        let first = (at - self.start) as usize;
        Ok(self.bytes.get(first..first + count))
    }

    fn fill(&mut self, at: u64, count: usize) -> io::Result<()> {
        let wanted = count.max(WINDOW_BYTES).min((self.limit - at) as usize);
        self.start = at;
        self.bytes.resize(wanted, 0);
        let mut filled = 0;
        while filled < wanted {
            match self.source.read_at(&mut self.bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }

    /// The first place at or behind `at` where `marker` stands.
    fn find(&mut self, mut at: u64, marker: &[u8; 4]) -> io::Result<Option<u64>> {
        while at < self.limit {
            let count = ((self.limit - at) as usize).min(WINDOW_BYTES);
            let Some(bytes) = self.get(at, count)? else { return Ok(None) };
            if let Some(found) = bytes.windows(4).position(|four| four == marker) {
                return Ok(Some(at + found as u64));
            }
            if count <= 4 {
                return Ok(None);
            }
            at += count as u64 - 3;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl ReadAt for &[u8] {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.get(offset as usize..).unwrap_or(&[]);
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
    }

    const SALT: Salt = Salt(0x0123_4567_89ab_cdef);

    fn frame(body: &[u8], tail: &[u8]) -> Vec<u8> {
        let mut builder = Builder::new(Kind::Run, 0);
        builder.buffer().extend_from_slice(body);
        builder.end_body();
        builder.buffer().extend_from_slice(tail);
        builder.finish(SALT).unwrap()
    }

    /// Offset, body and tail.
    type Whole = (u64, Vec<u8>, Vec<u8>);

    fn scan_all(bytes: &[u8]) -> (Vec<Whole>, Scan) {
        let mut found = Vec::new();
        let seen = scan(&bytes, 0..bytes.len() as u64, SALT, |frame| {
            found.push((frame.offset, frame.body.to_vec(), frame.tail.to_vec()));
        })
        .unwrap();
        (found, seen)
    }

    #[test]
    fn frames_come_back_in_order() {
        let parts: Vec<_> = (0..50).map(|n| (vec![n as u8; n], vec![!(n as u8); 2 * n])).collect();
        let bytes: Vec<u8> = parts.iter().flat_map(|(body, tail)| frame(body, tail)).collect();
        let (found, seen) = scan_all(&bytes);
        let found: Vec<_> = found.into_iter().map(|(_, body, tail)| (body, tail)).collect();
        assert_eq!(found, parts);
        assert_eq!(seen, Scan { end: bytes.len() as u64, gaps: vec![] });
    }

    #[test]
    fn every_cut_of_the_last_frame_loses_only_that_frame() {
        let whole = [frame(b"first", b"log"), frame(b"second", b"")].concat();
        let mut bytes = whole.clone();
        bytes.extend(frame(b"third", b"its log"));
        for cut in whole.len()..bytes.len() {
            let (found, seen) = scan_all(&bytes[..cut]);
            assert_eq!(found.len(), 2, "cut at {cut}");
            assert_eq!(seen, Scan { end: whole.len() as u64, gaps: vec![] });
        }
    }

    #[test]
    fn every_flipped_bit_loses_only_its_frame() {
        let (first, second, third) = (frame(b"a", b"x"), frame(b"body", b"tail"), frame(b"c", b""));
        let gap = first.len() as u64..(first.len() + second.len()) as u64;
        let whole = [first.clone(), second.clone(), third].concat();
        for bit in 0..second.len() * 8 {
            let mut bytes = whole.clone();
            bytes[first.len() + bit / 8] ^= 1 << (bit % 8);
            let (found, seen) = scan_all(&bytes);
            let bodies: Vec<_> = found.iter().map(|(_, body, _)| body.as_slice()).collect();
            assert_eq!(bodies, [b"a", b"c"], "bit {bit}");
            assert_eq!(seen.gaps, std::slice::from_ref(&gap));
        }
    }

    #[test]
    fn recorded_bytes_cannot_pass_for_a_frame() {
        // A frame of another folder inside a body: the caller saw that folder's salt.
        let foreign = {
            let mut builder = Builder::new(Kind::Run, 0);
            builder.buffer().extend_from_slice(b"forged");
            builder.finish(Salt(77)).unwrap()
        };
        let mut bytes = frame(&foreign, b"");
        bytes[20] ^= 1;
        bytes.extend(frame(b"real", b""));
        let (found, _) = scan_all(&bytes);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, b"real");
    }

    #[test]
    fn frame_over_the_limit_is_refused() {
        let mut builder = Builder::new(Kind::Run, 0);
        builder.buffer().resize(FRAME_BYTES_MAX + 1, 0);
        assert_eq!(builder.finish(SALT), Err(TooLarge { bytes: FRAME_BYTES_MAX + 1 }));
    }

    #[test]
    fn scan_crosses_windows_and_holes() {
        let big = vec![7; WINDOW_BYTES + 5];
        let mut bytes = frame(b"a", b"");
        bytes.resize(bytes.len() + 3 * WINDOW_BYTES, 0);
        bytes.extend(frame(&big, &big));
        let (found, seen) = scan_all(&bytes);
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].1.len(), found[1].2.len()), (big.len(), big.len()));
        assert_eq!(seen.gaps.len(), 1);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_hide_no_frame(
            parts in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| (false, bytes)),
                    proptest::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| (true, bytes)),
                    Just((false, SALT.marker().to_vec())),
                ],
                0..12,
            )
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (is_frame, part) in parts {
                if is_frame {
                    expected.push((bytes.len() as u64, part.clone()));
                    bytes.extend(frame(&part, &part));
                } else {
                    bytes.extend(part);
                }
            }
            let (found, seen) = scan_all(&bytes);
            let found: Vec<_> = found.into_iter().map(|(offset, body, _)| (offset, body)).collect();
            prop_assert_eq!(found, expected);
            prop_assert!(seen.end <= bytes.len() as u64);
        }
    }
}
