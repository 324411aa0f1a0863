//! Values in bodies of type `multipart/form-data`: in what a part holds, never in its head.
//!
//! The guest chooses the text around a value, and the boundary. So a value may never become
//! a part of a line that could be a boundary: whether it did would tell the guest about it,
//! guess by guess. What decides is therefore the guest's text and the value each alone,
//! never what they are together.

use std::ops::Range;

/// Where the lines of a multipart body are that values may stand in.
pub(super) struct Lines {
    /// Ranges of the body, in their order; each is one line without its end.
    contents: Vec<Range<usize>>,
}

/// The boundary that a content type names (RFC 2046, 5.1.1).
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';').skip(1).filter_map(|one| one.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?;
    let value = value.trim();
    let plain = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    ((1..=70).contains(&plain.len()) && plain.is_ascii()).then(|| plain.to_owned())
}

/// Whether a value can stand in a line of its own: it begins no boundary and ends no line.
pub(super) fn fits(value: &str) -> bool {
    !value.starts_with('-') && !value.contains(['\r', '\n'])
}

impl Lines {
    pub(super) fn of(body: &[u8], boundary: &str) -> Self {
        let delimiter = [b"--", boundary.as_bytes()].concat();
        let mut contents = Vec::new();
        // What stands before the first boundary is of nobody.
        let (mut is_content, mut is_head) = (false, false);
        let mut from = 0;
        while from < body.len() {
            let length = body[from..].iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let to = length.map_or(body.len(), |length| from + length);
            let line = &body[from..to];
            if line.starts_with(&delimiter) {
                // The last one has two more dashes, and nothing behind it counts.
                is_head = !line[delimiter.len()..].starts_with(b"--");
                is_content = false;
            } else if is_head && line.is_empty() {
                (is_head, is_content) = (false, true);
            } else if is_content && !line.starts_with(b"--") {
                contents.push(from..to);
            }
            // CR LF is one end of a line.
            from = to + if body[to..].starts_with(b"\r\n") { 2 } else { 1 };
        }
        Self { contents }
    }

    /// The body with `placeholder` replaced by `value` where it may be, and whether it stands
    /// elsewhere too.
    pub(super) fn fill(&self, body: &[u8], placeholder: &str, value: &str) -> (Vec<u8>, bool) {
        let (mut filled, mut at, mut is_elsewhere) = (Vec::with_capacity(body.len()), 0, false);
        for found in memchr::memmem::find_iter(body, placeholder) {
            let end = found + placeholder.len();
            let line = self.contents.partition_point(|line| line.end < end);
            let may = self.contents.get(line).is_some_and(|line| line.start <= found && end <= line.end);
            if may {
                filled.extend_from_slice(&body[at..found]);
                filled.extend_from_slice(value.as_bytes());
                at = end;
            } else {
                is_elsewhere = true;
            }
        }
        filled.extend_from_slice(&body[at..]);
        (filled, is_elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sealed_0";

    fn filled(body: &str) -> (String, bool) {
        let (filled, is_elsewhere) = Lines::of(body.as_bytes(), "b+1").fill(body.as_bytes(), KEY, "V");
        (String::from_utf8(filled).unwrap(), is_elsewhere)
    }

    #[test]
    fn only_what_a_part_holds_is_filled() {
        let head = "--b+1\r\ncontent-disposition: form-data; name=\"k\"\r\n\r\n";
        for (body, expected, is_elsewhere) in [
            (format!("{head}{KEY}\r\n--b+1--\r\n"), format!("{head}V\r\n--b+1--\r\n"), false),
            (format!("{head}a {KEY} {KEY}\r\n--b+1--"), format!("{head}a V V\r\n--b+1--"), false),
            // Before the first boundary, in a head, behind the last one.
            (format!("{KEY}\r\n--b+1--"), format!("{KEY}\r\n--b+1--"), true),
            (format!("--b+1\r\nx: {KEY}\r\n\r\n{KEY}"), format!("--b+1\r\nx: {KEY}\r\n\r\nV"), true),
            (format!("{head}a\r\n--b+1--\r\n\r\n{KEY}"), format!("{head}a\r\n--b+1--\r\n\r\n{KEY}"), true),
            // What may be a boundary with it, also for who takes a bare end of a line for one.
            (format!("{head}a\r\n--b{KEY}"), format!("{head}a\r\n--b{KEY}"), true),
            (format!("{head}a\n--b{KEY}"), format!("{head}a\n--b{KEY}"), true),
            (format!("{head}a\r--{KEY}"), format!("{head}a\r--{KEY}"), true),
            ("nothing".to_owned(), "nothing".to_owned(), false),
        ] {
            assert_eq!(filled(&body), (expected, is_elsewhere), "{body:?}");
        }
    }

    #[test]
    fn a_value_that_begins_a_boundary_or_ends_a_line_fits_nowhere() {
        assert!(fits("sk_live-4242") && fits(""));
        assert!(!fits("-a") && !fits("a\r\n--b") && !fits("a\nb"));
    }

    #[test]
    fn a_boundary_is_read_with_and_without_quotes() {
        for (text, expected) in [
            ("multipart/form-data; boundary=b1", Some("b1")),
            ("multipart/form-data; charset=utf-8; Boundary=\"b 1\"", Some("b 1")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
        ] {
            assert_eq!(boundary(text).as_deref(), expected);
        }
    }
}
