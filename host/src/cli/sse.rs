//! Server-sent events, as the HTML standard has them (section 9.2.6).

use std::io::{self, BufRead};

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The field `event`, `message` when there was none.
    pub(crate) name: String,
    /// The `data` fields, with line breaks between them.
    pub(crate) data: String,
}

/// Bytes of one line. A longer one is no event of a host.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The next event, or `None` at the end of the stream. Comments, which hosts send to
/// keep connections open, are passed over.
///
/// # Errors
/// The stream broke, or a line is over 1 MiB.
pub(crate) fn next(stream: &mut impl BufRead) -> io::Result<Option<Event>> {
    let mut name = String::new();
    let mut data: Option<String> = None;
    loop {
        let mut line = String::new();
        let read = io::Read::take(&mut *stream, LINE_BYTES_MAX).read_line(&mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if !line.ends_with('\n') && read as u64 == LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an event is over 1 MiB"));
        }
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            match data {
                Some(data) => {
                    let name = if name.is_empty() { "message".to_owned() } else { name };
                    return Ok(Some(Event { name, data }));
                }
                // An event without data is dropped.
                None => name.clear(),
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_comments_are_not() {
        let text = ": hello\n\nevent: run\ndata: {\"a\":\ndata: 1}\nid: 7\n\nevent: none\n\r\ndata:x\r\n\r\ndata: cut";
        let mut stream = text.as_bytes();
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        assert_eq!(next(&mut stream).unwrap(), Some(event("run", "{\"a\":\n1}")));
        assert_eq!(next(&mut stream).unwrap(), Some(event("message", "x")));
        assert_eq!(next(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let text = "data: ".to_owned() + &"x".repeat(LINE_BYTES_MAX as usize);
        assert_eq!(next(&mut text.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
