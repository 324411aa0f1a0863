//! Refuses requests whose end two parsers could see in different places.
//!
//! hyper answers a request that has both `Transfer-Encoding` and `Content-Length`, a
//! repeated `Content-Length`, or lines that end in a bare line feed. A proxy in front
//! may read such bytes differently, which is how requests are smuggled (RFC 9112
//! sections 2.2, 6.3 and 11.2). hyper does not tell its service about them, so this
//! scanner looks at the bytes on their way in. It can only refuse: what it lets
//! through is still parsed and judged by hyper.

use std::sync::atomic::{AtomicU8, Ordering};

/// Longest line of a chunk's size with its extensions, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// What was wrong with the bytes of a connection. Once something is, it stays.
#[derive(Debug, Default)]
pub(super) struct Verdict(AtomicU8);

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub(super) enum FramingError {
    /// A line feed without a carriage return, or the reverse.
    #[error("a line of the request does not end in CR LF")]
    LineBreak = 1,
    /// `Transfer-Encoding` and `Content-Length`.
    #[error("the request has both Transfer-Encoding and Content-Length")]
    TwoLengths,
    /// Several `Content-Length` headers, or one that is no number.
    #[error("the request's Content-Length is not one number")]
    Length,
    /// A `Transfer-Encoding` other than one `chunked`.
    #[error("the request's Transfer-Encoding is not chunked alone")]
    Coding,
    /// A chunk without a proper size line or end.
    #[error("a chunk of the request's body is malformed")]
    Chunk,
    /// Longer than hyper accepts, which refuses it too.
    #[error("the request's head is too long")]
    HeadSize,
    /// A trailer without a proper name, or with one that frames or routes a request.
    #[error("a trailer of the request's body is not one that may stand there")]
    Trailer,
}

impl Verdict {
    /// # Errors
    /// What the scanner found so far.
    pub(super) fn check(&self) -> Result<(), FramingError> {
        match self.0.load(Ordering::Acquire) {
            0 => Ok(()),
            1 => Err(FramingError::LineBreak),
            2 => Err(FramingError::TwoLengths),
            3 => Err(FramingError::Length),
            4 => Err(FramingError::Coding),
            5 => Err(FramingError::Chunk),
            6 => Err(FramingError::HeadSize),
            _ => Err(FramingError::Trailer),
        }
    }

    pub(super) fn set(&self, error: FramingError) {
        self.0.store(error as u8, Ordering::Release);
    }
}

/// Follows the requests of one connection through its bytes.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    /// The part of a head that came with earlier reads, empty in the common case of a
    /// head that comes in one piece; or of a trailer.
    head: Vec<u8>,
    lines: HeadLines,
    head_bytes_max: usize,
    /// A whole head has been seen.
    is_used: bool,
}

/// Where in a head the scanner is.
#[derive(Debug)]
struct HeadLines {
    after_cr: bool,
    line_empty: bool,
    /// Whether the request line has begun.
    started: bool,
}

const HEAD_START: HeadLines = HeadLines { after_cr: false, line_empty: true, started: false };

/// What a client is in the middle of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing yet.
    New,
    /// Nothing: the next request has not begun.
    Idle,
    /// A request's head.
    Head,
    /// A request's body, or bytes that are no longer looked at.
    Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body {
        left: u64,
    },
    ChunkSize {
        size: u64,
        digits: u8,
        line: usize,
        at: ChunkLine,
    },
    ChunkData {
        left: u64,
    },
    ChunkEnd {
        cr: bool,
    },
    Trailer {
        line: usize,
        cr: bool,
    },
    /// Refused: nothing is looked at any more.
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkLine {
    Digits,
    Extension,
    Cr,
}

impl Scanner {
    /// A scanner for a new connection, which keeps at most `head_bytes_max` bytes and
    /// what one read brings.
    pub(super) fn new(head_bytes_max: usize) -> Self {
        Self { state: State::Head, head: Vec::new(), lines: HEAD_START, head_bytes_max, is_used: false }
    }

    /// Looks at the next bytes.
    ///
    /// # Errors
    /// The first thing that is wrong; afterwards nothing is looked at.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        let result = self.advance(bytes);
        if result.is_err() {
            self.state = State::Off;
            self.head = Vec::new();
        }
        result
    }

    /// Where the client is.
    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Head if !self.lines.started && self.is_used => Phase::Idle,
            State::Head if !self.lines.started => Phase::New,
            State::Head => Phase::Head,
            _ => Phase::Body,
        }
    }

    fn advance(&mut self, mut bytes: &[u8]) -> Result<(), FramingError> {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Off => return Ok(()),
                State::Head => self.head(bytes)?,
                State::Body { left } => {
                    let used = at_most(bytes.len(), left);
                    let left = left - used as u64;
                    self.state = if left == 0 { State::Head } else { State::Body { left } };
                    used
                }
                State::ChunkData { left } => {
                    let used = at_most(bytes.len(), left);
                    let left = left - used as u64;
                    self.state =
                        if left == 0 { State::ChunkEnd { cr: false } } else { State::ChunkData { left } };
                    used
                }
                State::ChunkSize { .. } | State::ChunkEnd { .. } | State::Trailer { .. } => {
                    if let State::Trailer { cr: false, .. } = self.state {
                        self.trailer(bytes[0])?;
                    }
                    self.state = chunk_byte(self.state, bytes[0])?;
                    1
                }
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Takes a byte of a trailer's line, which is kept up to its end.
    fn trailer(&mut self, byte: u8) -> Result<(), FramingError> {
        if byte != b'\r' {
            self.head.push(byte);
            return if self.head.len() > self.head_bytes_max { Err(FramingError::HeadSize) } else { Ok(()) };
        }
        let is_proper = self.head.is_empty() || is_trailer(&self.head);
        self.head.clear();
        if is_proper { Ok(()) } else { Err(FramingError::Trailer) }
    }

    /// Takes bytes up to the end of the head, and returns their number.
    fn head(&mut self, bytes: &[u8]) -> Result<usize, FramingError> {
        let Some(end) = self.lines.end(bytes)? else {
            self.head.extend_from_slice(bytes);
            if self.head.len() > self.head_bytes_max {
                return Err(FramingError::HeadSize);
            }
            return Ok(bytes.len());
        };
        self.lines = HEAD_START;
        self.is_used = true;
        self.state = if self.head.is_empty() {
            body_after(&bytes[..end])?
        } else {
            self.head.extend_from_slice(&bytes[..end]);
            let state = body_after(&self.head)?;
            self.head.clear();
            state
        };
        Ok(end)
    }
}

fn at_most(available: usize, left: u64) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

impl HeadLines {
    /// The number of `bytes` that belong to the head; `None` when it goes on behind
    /// them. Empty lines before the request line are part of the head.
    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, FramingError> {
        for (index, byte) in bytes.iter().copied().enumerate() {
            match (byte, self.after_cr) {
                (b'\n', false) => return Err(FramingError::LineBreak),
                (b'\n', true) if self.line_empty && self.started => return Ok(Some(index + 1)),
                (b'\n', true) => self.line_empty = true,
                (_, true) => return Err(FramingError::LineBreak),
                (b'\r', false) => {}
                (_, false) => (self.line_empty, self.started) = (false, true),
            }
            self.after_cr = byte == b'\r';
        }
        Ok(None)
    }
}

/// What follows a complete head.
fn body_after(head: &[u8]) -> Result<State, FramingError> {
    let mut length: Option<u64> = None;
    let mut chunked = false;
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let number = decimal(value).ok_or(FramingError::Length)?;
            if length.replace(number).is_some() {
                return Err(FramingError::Length);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(FramingError::Coding);
            }
            chunked = true;
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(FramingError::TwoLengths),
        (None, true) => Ok(CHUNK_START),
        (None | Some(0), false) => Ok(State::Head),
        (Some(left), false) => Ok(State::Body { left }),
    }
}

/// Whether a line may stand behind a body's chunks: a field, and none of those that say
/// where a message ends or where it goes (RFC 9110, 6.5.1).
fn is_trailer(line: &[u8]) -> bool {
    const NEVER: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let name = &line[..colon];
    let is_token = hyper::header::HeaderName::from_bytes(name).is_ok();
    is_token && !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
}

/// A number in digits alone: no sign, no space, no list.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

const CHUNK_START: State = State::ChunkSize { size: 0, digits: 0, line: 0, at: ChunkLine::Digits };

/// One byte of a chunk's size line, of the line break behind its data, or of a trailer.
fn chunk_byte(state: State, byte: u8) -> Result<State, FramingError> {
    match state {
        State::ChunkSize { size, digits, line, at } => match (at, byte) {
            _ if line >= CHUNK_LINE_BYTES_MAX => Err(FramingError::Chunk),
            (ChunkLine::Cr, b'\n') if size == 0 => Ok(State::Trailer { line: 0, cr: false }),
            (ChunkLine::Cr, b'\n') => Ok(State::ChunkData { left: size }),
            (ChunkLine::Cr, _) | (_, b'\n') => Err(FramingError::LineBreak),
            (_, b'\r') if digits > 0 => {
                Ok(State::ChunkSize { size, digits, line: line + 1, at: ChunkLine::Cr })
            }
            (ChunkLine::Digits, b';') if digits > 0 => {
                Ok(State::ChunkSize { size, digits, line: line + 1, at: ChunkLine::Extension })
            }
            (ChunkLine::Digits, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(FramingError::Chunk)?;
                // 15 digits cannot overflow, and are more than any body.
                if digits == 15 {
                    return Err(FramingError::Chunk);
                }
                let size = size << 4 | u64::from(digit);
                Ok(State::ChunkSize { size, digits: digits + 1, line: line + 1, at })
            }
            (ChunkLine::Extension, _) => Ok(State::ChunkSize { size, digits, line: line + 1, at }),
        },
        State::ChunkEnd { cr: false } if byte == b'\r' => Ok(State::ChunkEnd { cr: true }),
        State::ChunkEnd { cr: true } if byte == b'\n' => Ok(CHUNK_START),
        State::ChunkEnd { .. } => Err(FramingError::Chunk),
        State::Trailer { line: 0, cr: true } if byte == b'\n' => Ok(State::Head),
        State::Trailer { cr: true, .. } if byte == b'\n' => Ok(State::Trailer { line: 0, cr: false }),
        State::Trailer { cr: true, .. } => Err(FramingError::LineBreak),
        State::Trailer { .. } if byte == b'\n' => Err(FramingError::LineBreak),
        State::Trailer { line, .. } if byte == b'\r' => Ok(State::Trailer { line, cr: true }),
        State::Trailer { line, .. } => Ok(State::Trailer { line: line + 1, cr: false }),
        State::Head | State::Body { .. } | State::ChunkData { .. } | State::Off => Ok(state),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The verdict on these bytes, the same however they are cut into reads.
    fn verdict(bytes: &[u8]) -> Result<(), FramingError> {
        let whole = Scanner::new(32768).scan(bytes);
        let mut scanner = Scanner::new(32768);
        let mut single = Ok(());
        for byte in bytes {
            single = single.and(scanner.scan(&[*byte]));
        }
        assert_eq!(whole, single, "{:?}", String::from_utf8_lossy(bytes));
        whole
    }

    const GOOD: [&str; 8] = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-LENGTH:  11  \r\n\r\na\nb\n\n\r\nabcd",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n2;a=b\r\n\n\n\r\n0a\r\n0\r\n\r\n56789\r\n000\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\nExpires: 0\r\nA:b\r\n\r\n",
    ];

    const BAD: [(&str, FramingError); 27] = [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", FramingError::LineBreak),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", FramingError::LineBreak),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", FramingError::LineBreak),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", FramingError::LineBreak),
        ("\nGET / HTTP/1.1\r\n\r\n", FramingError::LineBreak),
        ("P / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", FramingError::TwoLengths),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", FramingError::TwoLengths),
        ("P / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", FramingError::Length),
        ("P / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", FramingError::Length),
        ("P / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", FramingError::Length),
        ("P / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n", FramingError::Length),
        ("P / HTTP/1.1\r\nContent-Length:\r\n\r\n", FramingError::Length),
        ("P / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", FramingError::Length),
        ("P / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", FramingError::Coding),
        ("P / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", FramingError::Coding),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            FramingError::Coding,
        ),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", FramingError::Chunk),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\n", FramingError::Chunk),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\n", FramingError::LineBreak),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;\n", FramingError::LineBreak),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", FramingError::Chunk),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n", FramingError::LineBreak),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA\r\n\r\n", FramingError::Trailer),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA : b\r\n\r\n", FramingError::Trailer),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c: d\r\n\r\n",
            FramingError::Trailer,
        ),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: x\r\n\r\n",
            FramingError::Trailer,
        ),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nB: c\r\ncontent-LENGTH: 5\r\n\r\n",
            FramingError::Trailer,
        ),
    ];

    #[test]
    fn proper_requests_pass_alone_and_behind_each_other() {
        for first in GOOD {
            assert_eq!(verdict(first.as_bytes()), Ok(()), "{first:?}");
            for second in GOOD {
                assert_eq!(verdict(format!("{first}{second}").as_bytes()), Ok(()), "{first:?} {second:?}");
            }
        }
    }

    #[test]
    fn ambiguous_requests_are_refused_behind_any_proper_one() {
        for (bad, error) in BAD {
            assert_eq!(verdict(bad.as_bytes()), Err(error), "{bad:?}");
            for good in GOOD {
                assert_eq!(verdict(format!("{good}{bad}").as_bytes()), Err(error), "{good:?} {bad:?}");
            }
        }
    }

    #[test]
    fn the_phase_tells_where_the_client_is() {
        let mut scanner = Scanner::new(8192);
        for (bytes, phase) in [
            ("", Phase::New),
            ("\r\n", Phase::New),
            ("P", Phase::Head),
            (" / HTTP/1.1\r\nContent-Length: 2\r\n\r", Phase::Head),
            ("\na", Phase::Body),
            ("b", Phase::Idle),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Phase::Body),
            ("1\r\na\r\n0\r\n", Phase::Body),
            ("\r\n", Phase::Idle),
        ] {
            scanner.scan(bytes.as_bytes()).unwrap();
            assert_eq!(scanner.phase(), phase, "{bytes:?}");
        }
    }

    #[test]
    fn chunk_lines_have_a_longest_length() {
        let request = |extension: usize| {
            let line = format!("1;{}", "x".repeat(extension));
            format!("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{line}\r\na\r\n0\r\n\r\n")
        };
        assert_eq!(verdict(request(CHUNK_LINE_BYTES_MAX - 4).as_bytes()), Ok(()));
        assert_eq!(verdict(request(CHUNK_LINE_BYTES_MAX).as_bytes()), Err(FramingError::Chunk));
        let size = "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n";
        assert_eq!(verdict(size.as_bytes()), Err(FramingError::Chunk));
    }

    #[test]
    fn an_endless_head_is_not_kept() {
        let mut scanner = Scanner::new(8192);
        let results: Vec<_> = (0..100).map(|_| scanner.scan(&[b'a'; 1000])).collect();
        assert_eq!(results.iter().position(Result::is_err), Some(8));
        assert_eq!(results[8], Err(FramingError::HeadSize));
        assert_eq!((scanner.head.capacity(), scanner.state), (0, State::Off));
    }

    #[test]
    fn a_verdict_stays() {
        let verdict = Verdict::default();
        assert_eq!(verdict.check(), Ok(()));
        for error in [
            FramingError::LineBreak,
            FramingError::TwoLengths,
            FramingError::Length,
            FramingError::Coding,
            FramingError::Chunk,
            FramingError::HeadSize,
        ] {
            verdict.set(error);
            assert_eq!(verdict.check(), Err(error));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_cuts_get_one_verdict(
            pieces in prop::collection::vec(
                prop_oneof![
                    Just(b"POST / HTTP/1.1\r\n".to_vec()),
                    Just(b"Content-Length: 3\r\n".to_vec()),
                    Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
                    Just(b"\r\n".to_vec()),
                    Just(b"\r".to_vec()),
                    Just(b"\n".to_vec()),
                    Just(b"3\r\nabc\r\n".to_vec()),
                    Just(b"0\r\n\r\n".to_vec()),
                    prop::collection::vec(any::<u8>(), 0..6),
                ],
                0..12,
            ),
            cuts in prop::collection::vec(1usize..20, 0..12),
        ) {
            let bytes = pieces.concat();
            let whole = Scanner::new(32768).scan(&bytes);
            let mut scanner = Scanner::new(32768);
            let (mut rest, mut result) = (&bytes[..], Ok(()));
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                result = result.and(scanner.scan(now));
                rest = later;
            }
            prop_assert_eq!(result.and(scanner.scan(rest)), whole);
        }
    }
}
