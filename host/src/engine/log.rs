//! The run's log: what the guest prints and logs, capped.
//!
//! wasmtime's own pipes close at their capacity, which makes `print` raise; this sink
//! takes everything, never blocks, keeps the beginning and the end, and counts the rest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::run::{Level, LogLine, LogSummary, Stream};

/// A line that is longer is kept in pieces.
const LINE_BYTES_MAX: usize = 16 << 10;

/// What a line costs beside its text, so that empty lines are not free.
const LINE_OVERHEAD_BYTES: usize = 16;

/// How much a guest may write in one call; its libc writes again.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// A run's log while it is written. Clones share it.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<Inner>>);

struct Inner {
    started: Instant,
    head: Vec<LogLine>,
    head_left: usize,
    tail: VecDeque<LogLine>,
    tail_left: usize,
    dropped_bytes: u64,
    /// Bytes behind the last line break, of stdout and of stderr.
    open: [Vec<u8>; 2],
}

impl Log {
    /// A log that keeps `bytes_max` bytes: three quarters from its beginning, one from
    /// its end.
    pub(super) fn new(started: Instant, bytes_max: usize) -> Self {
        let tail_left = bytes_max / 4;
        Self(Arc::new(Mutex::new(Inner {
            started,
            head: Vec::new(),
            head_left: bytes_max - tail_left,
            tail: VecDeque::new(),
            tail_left,
            dropped_bytes: 0,
            open: [Vec::new(), Vec::new()],
        })))
    }

    /// Adds one line.
    pub(super) fn line(&self, level: Level, stream: Stream, text: String, fields: Vec<(String, String)>) {
        self.lock().push(level, stream, text, fields);
    }

    /// Adds the host's own remark on something that happened `at` that time of the run.
    pub(super) fn remark(&self, at: Duration, text: String) {
        let mut inner = self.lock();
        let at_us = at.as_micros() as u64;
        inner.keep(LogLine { at_us, level: Level::Warning, stream: Stream::Host, text, fields: Vec::new() });
    }

    /// The sink for the guest's standard output (`Stream::Stdout`) or error.
    pub(super) fn sink(&self, stream: Stream) -> Sink {
        Sink { log: self.clone(), stream }
    }

    /// The lines, and how many bytes were kept and dropped. The log is empty afterwards.
    pub(super) fn finish(&self) -> (Vec<LogLine>, LogSummary) {
        let mut inner = self.lock();
        for stream in [Stream::Stdout, Stream::Stderr] {
            inner.end_line(stream);
        }
        let dropped_bytes = inner.dropped_bytes;
        let mut lines = std::mem::take(&mut inner.head);
        if dropped_bytes > 0 {
            lines.push(LogLine {
                at_us: lines.last().map_or(0, |line| line.at_us),
                level: Level::Warning,
                stream: Stream::Host,
                text: format!("the log was cut here: {dropped_bytes} bytes dropped"),
                fields: Vec::new(),
            });
        }
        lines.extend(std::mem::take(&mut inner.tail));
        let bytes = lines.iter().map(|line| text_bytes(line) as u64).sum();
        let summary = LogSummary { lines: lines.len() as u32, bytes, dropped_bytes };
        (lines, summary)
    }

    // A panic while a line was added cannot leave the log in a state worth refusing.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text_bytes(line: &LogLine) -> usize {
    line.text.len() + line.fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

impl Inner {
    fn push(&mut self, level: Level, stream: Stream, text: String, fields: Vec<(String, String)>) {
        let at_us = self.started.elapsed().as_micros() as u64;
        self.keep(LogLine { at_us, level, stream, text, fields });
    }

    fn keep(&mut self, line: LogLine) {
        let cost = text_bytes(&line) + LINE_OVERHEAD_BYTES;
        if self.tail.is_empty() && self.dropped_bytes == 0 && cost <= self.head_left {
            self.head_left -= cost;
            self.head.push(line);
            return;
        }
        // The head takes no more once something went behind it: the order is kept.
        self.head_left = 0;
        while cost > self.tail_left {
            let Some(oldest) = self.tail.pop_front() else {
                self.dropped_bytes += text_bytes(&line) as u64;
                return;
            };
            self.tail_left += text_bytes(&oldest) + LINE_OVERHEAD_BYTES;
            self.dropped_bytes += text_bytes(&oldest) as u64;
        }
        self.tail_left -= cost;
        self.tail.push_back(line);
    }

    fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(stream, &bytes[..end]);
            self.open_line(stream).push(b'\n');
            self.end_line(stream);
            bytes = &bytes[end + 1..];
        }
        self.extend(stream, bytes);
    }

    fn extend(&mut self, stream: Stream, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.open_line(stream).len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.open_line(stream).extend_from_slice(now);
            if self.open_line(stream).len() == LINE_BYTES_MAX {
                self.end_line(stream);
            }
            bytes = later;
        }
    }

    fn open_line(&mut self, stream: Stream) -> &mut Vec<u8> {
        &mut self.open[usize::from(stream == Stream::Stderr)]
    }

    fn end_line(&mut self, stream: Stream) {
        let mut line = std::mem::take(self.open_line(stream));
        if line.is_empty() {
            return;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = match String::from_utf8(line) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        let level = if stream == Stream::Stderr { Level::Error } else { Level::Info };
        self.push(level, stream, text, Vec::new());
    }
}

/// The guest's standard output or error.
#[derive(Clone)]
pub(super) struct Sink {
    log: Log,
    stream: Stream,
}

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Sink {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.lock().write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[async_trait::async_trait]
impl Pollable for Sink {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(bytes_max: usize) -> Log {
        Log::new(Instant::now(), bytes_max)
    }

    fn write(log: &Log, stream: Stream, text: &str) {
        log.sink(stream).write(Bytes::from(text.to_owned())).unwrap();
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_split_where_the_guest_ends_them() {
        let log = log(10_000);
        write(&log, Stream::Stdout, "a");
        write(&log, Stream::Stderr, "oops\n");
        write(&log, Stream::Stdout, "b\r\n\nlast");
        let (lines, summary) = log.finish();
        assert_eq!(texts(&lines), ["oops", "ab", "", "last"]);
        assert_eq!((lines[0].level, lines[0].stream), (Level::Error, Stream::Stderr));
        assert_eq!((lines[1].level, lines[1].stream), (Level::Info, Stream::Stdout));
        assert_eq!(summary, LogSummary { lines: 4, bytes: 10, dropped_bytes: 0 });
    }

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end_and_says_what_is_missing() {
        let log = log(4096);
        for n in 0..10_000 {
            write(&log, Stream::Stdout, &format!("line {n:05}\n"));
        }
        let (lines, summary) = log.finish();
        assert_eq!(lines[0].text, "line 00000");
        assert_eq!(lines.last().unwrap().text, "line 09999");
        let mark = lines.iter().position(|line| line.stream == Stream::Host).unwrap();
        let kept = lines.len() as u64 - 1;
        assert_eq!(summary.dropped_bytes, (10_000 - kept) * 10);
        assert!(lines[mark].text.contains(&summary.dropped_bytes.to_string()));
        assert!(summary.bytes < 4096, "{summary:?}");
        assert!(lines[..mark].windows(2).all(|pair| pair[0].text < pair[1].text));
        assert!(lines[mark + 1..].windows(2).all(|pair| pair[0].text < pair[1].text));
    }

    #[test]
    fn one_endless_line_takes_no_more_than_the_cap() {
        let log = log(65_536);
        for _ in 0..1000 {
            write(&log, Stream::Stdout, &"x".repeat(10_000));
        }
        let (lines, summary) = log.finish();
        assert!(summary.bytes <= 65_536 + 100);
        let kept: usize =
            lines.iter().filter(|line| line.stream == Stream::Stdout).map(|line| line.text.len()).sum();
        assert_eq!(kept as u64 + summary.dropped_bytes, 10_000_000);
    }

    #[test]
    fn empty_lines_and_a_line_over_the_cap_are_bounded_too() {
        let log = log(1024);
        write(&log, Stream::Stdout, &"\n".repeat(100_000));
        log.line(Level::Info, Stream::Log, "y".repeat(5000), vec![]);
        let (lines, summary) = log.finish();
        assert!(lines.len() <= 1024 / LINE_OVERHEAD_BYTES + 1, "{}", lines.len());
        assert_eq!(summary.dropped_bytes, 5000);
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        let log = log(1024);
        log.sink(Stream::Stdout).write(Bytes::from_static(b"\xffok\n")).unwrap();
        assert_eq!(texts(&log.finish().0), ["\u{fffd}ok"]);
    }
}
