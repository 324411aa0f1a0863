//! Masks secrets in what is recorded of a run: its log, its error, request, reply, value and
//! exchanges. What the caller gets and what the guest was handed stay as they are.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::run::{Body, LogLine, Run, Stream};
use crate::workflow::Mask;

/// The longest piece of a line in a log: one that is longer goes on in the next.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Masks a run and its log.
pub(super) fn mask(mask: &Mask, run: &mut Run, log: &mut [LogLine]) {
    mask_log(mask, log);
    if let Some(fault) = &mut run.fault {
        text(mask, &mut fault.message, true);
        fault.trace.iter_mut().for_each(|trace| text(mask, trace, true));
    }
    if let Some(request) = &mut run.request {
        let request = Arc::make_mut(request);
        text(mask, &mut request.path_with_query, false);
        headers(mask, &mut request.headers);
        body(mask, &mut request.body);
    }
    if let Some(reply) = &mut run.reply {
        headers(mask, &mut reply.headers);
        body(mask, &mut reply.body);
    }
    if let Some(value) = &mut run.value
        && let Some(masked) = mask.text(value.get(), false)
    {
        // A number that was masked is JSON no more.
        let raw = RawValue::from_string(masked)
            .or_else(|_| serde_json::value::to_raw_value("[the value held a secret]"));
        if let Ok(raw) = raw {
            *value = raw;
        }
    }
    for exchange in &mut run.exchanges {
        text(mask, &mut exchange.url, true);
        text(mask, &mut exchange.method, true);
        exchange.reason.iter_mut().for_each(|reason| text(mask, reason, true));
    }
}

/// Masks each line, and what several lines of a stream hold together: a long line that was
/// kept in pieces, or a secret that was printed piece by piece.
fn mask_log(mask: &Mask, log: &mut [LogLine]) {
    for stream in [Stream::Stdout, Stream::Stderr, Stream::Log] {
        mask_across(mask, log, stream);
    }
    for line in log {
        let is_cut = line.text.len() >= LINE_BYTES_MAX - 4;
        text(mask, &mut line.text, is_cut);
        for (name, value) in &mut line.fields {
            text(mask, name, true);
            text(mask, value, true);
        }
    }
}

fn mask_across(mask: &Mask, log: &mut [LogLine], stream: Stream) {
    let mut whole = String::new();
    let mut ends = Vec::new();
    for (at, line) in log.iter().enumerate().filter(|(_, line)| line.stream == stream) {
        whole.push_str(&line.text);
        ends.push((whole.len(), at));
    }
    let found = mask.find(whole.as_bytes());
    // From the end on, so that the places before stay what they are.
    for one in found.into_iter().rev() {
        let first = ends.partition_point(|(end, _)| *end <= one.range.start);
        let last = ends.partition_point(|(end, _)| *end < one.range.end);
        if first == last {
            // Within one line, where the other pass finds it.
            continue;
        }
        for index in (first..=last.min(ends.len().saturating_sub(1))).rev() {
            let begin = index.checked_sub(1).map_or(0, |before| ends[before].0);
            let (end, at) = ends[index];
            let from = one.range.start.max(begin) - begin;
            let to = one.range.end.min(end) - begin;
            let line = &mut log[at].text;
            // A match can end within a character only where the value does.
            if line.is_char_boundary(from) && line.is_char_boundary(to) {
                line.replace_range(from..to, &mask.marker(one.name));
            }
        }
    }
}

fn text(mask: &Mask, text: &mut String, is_cut: bool) {
    if let Some(masked) = mask.text(text, is_cut) {
        *text = masked;
    }
}

fn headers(mask: &Mask, headers: &mut [(String, String)]) {
    for (name, value) in headers {
        text(mask, name, false);
        text(mask, value, false);
    }
}

fn body(mask: &Mask, body: &mut Body) {
    let is_cut = body.full_bytes > body.bytes.len() as u64;
    if let Some(masked) = mask.masked(&body.bytes, is_cut) {
        // It is a body that was not kept as it was.
        body.full_bytes = if is_cut { body.full_bytes.max(masked.len() as u64) } else { masked.len() as u64 };
        body.bytes = Bytes::from(masked);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::run::Level;
    use crate::workflow::{Secret, Setting, SettingWriter, Visibility};

    fn one(value: &str) -> Mask {
        let setting = Setting {
            value: Secret::new(format!("{value:?}")),
            visibility: Visibility::Secret,
            seal: None,
            fingerprint: String::new(),
            updated_at: Timestamp::UNIX_EPOCH,
            updated_by: SettingWriter::User(None),
        };
        Mask::of(&BTreeMap::from([("K".to_owned(), setting)])).unwrap()
    }

    fn lines(texts: &[&str]) -> Vec<LogLine> {
        let line = |text: &&str| LogLine {
            at_us: 0,
            level: Level::Info,
            stream: Stream::Stdout,
            text: (*text).to_owned(),
            fields: vec![("field".to_owned(), (*text).to_owned())],
        };
        texts.iter().map(line).collect()
    }

    fn texts(log: &[LogLine]) -> Vec<&str> {
        log.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_secret_is_found_across_lines() {
        let mask = one("0123456789abcdef");
        let mut log = lines(&["é 01234567", "89abcdef end", "", "whole 0123456789abcdef", "0123456789"]);
        mask_log(&mask, &mut log);
        assert_eq!(texts(&log), ["é [masked K]", "[masked K] end", "", "whole [masked K]", "0123456789"]);
        assert_eq!(log[3].fields[0].1, "whole [masked K]");
        let letters: Vec<String> = "0123456789abcdef".chars().map(String::from).collect();
        let mut log = lines(&letters.iter().map(String::as_str).collect::<Vec<_>>());
        mask_log(&mask, &mut log);
        assert!(log.iter().all(|line| line.text == "[masked K]"), "{:?}", texts(&log));
    }

    #[test]
    fn bodies_are_masked_also_where_they_were_cut() {
        let mask = one("0123456789abcdef");
        let mut cut = Body { bytes: Bytes::from_static(b"k=0123456789"), full_bytes: 100 };
        body(&mask, &mut cut);
        assert_eq!((&cut.bytes[..], cut.full_bytes), (&b"k=[masked K]"[..], 100));
        let mut whole = Body { bytes: Bytes::from_static(b"\xff0123456789abcdef"), full_bytes: 17 };
        body(&mask, &mut whole);
        assert_eq!((&whole.bytes[..], whole.full_bytes), (&b"\xff[masked K]"[..], 11));
    }
}
