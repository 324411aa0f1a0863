//! One keep-alive connection of the load generator: raw HTTP/1.1 over TCP, because a
//! client library would take more of the machine than the servers it measures.

use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Headers of one response, at most.
const HEADERS_MAX: usize = 64;
/// Head and body of one response, at most.
const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// Why an exchange failed, in a word that results count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No connection.
    Connect,
    /// The connection broke, or was closed before the whole response came.
    Broken,
    /// What came is not HTTP/1.1.
    Malformed,
    /// Another status or body than expected.
    Unexpected,
}

impl Trouble {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Malformed => "malformed",
            Self::Unexpected => "unexpected",
        }
    }
}

/// A response, as much of it as a benchmark looks at.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, without any chunk heads.
    pub body: Vec<u8>,
    /// Whether the server keeps the connection.
    pub keep_alive: bool,
    /// Whether it says when to come again.
    pub has_retry_after: bool,
}

/// A connection and what was read from it beyond the last response.
pub struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`Trouble::Connect`].
    pub async fn open(address: SocketAddr) -> Result<Self, Trouble> {
        let stream = TcpStream::connect(address).await.map_err(|_| Trouble::Connect)?;
        stream.set_nodelay(true).map_err(|_| Trouble::Connect)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(16 << 10) })
    }

    /// Sends a whole request and reads the response to it.
    ///
    /// # Errors
    /// [`Trouble::Broken`] or [`Trouble::Malformed`]; the connection is of no use then.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Response, Trouble> {
        self.stream.write_all(request).await.map_err(|_| Trouble::Broken)?;
        loop {
            if let Some((response, used)) = parse(&self.buffer)? {
                self.buffer.advance(used);
                return Ok(response);
            }
            if self.buffer.len() > RESPONSE_BYTES_MAX {
                return Err(Trouble::Malformed);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Trouble::Broken),
                Ok(_) => {}
            }
        }
    }
}

/// The response at the head of the buffer and how many bytes it takes; `None` while some
/// of it is missing.
fn parse(buffer: &[u8]) -> Result<Option<(Response, usize)>, Trouble> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let start = match head.parse(buffer) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Trouble::Malformed),
    };
    let status = head.code.ok_or(Trouble::Malformed)?;
    let mut length = None;
    let mut chunked = false;
    let mut keep_alive = true;
    let mut has_retry_after = false;
    for header in head.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(|_| Trouble::Malformed)?;
            length = Some(text.trim().parse::<usize>().map_err(|_| Trouble::Malformed)?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = header.value.eq_ignore_ascii_case(b"chunked");
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep_alive = !header.value.eq_ignore_ascii_case(b"close");
        } else if header.name.eq_ignore_ascii_case("retry-after") {
            has_retry_after = true;
        }
    }
    let rest = &buffer[start..];
    if chunked {
        let response = |body| Response { status, body, keep_alive, has_retry_after };
        return Ok(dechunk(rest)?.map(|(body, used)| (response(body), start + used)));
    }
    // Without a length the body would end with the connection: no peer does that.
    let length = if status == 204 || status == 304 { 0 } else { length.ok_or(Trouble::Malformed)? };
    if rest.len() < length {
        return Ok(None);
    }
    let body = rest[..length].to_vec();
    Ok(Some((Response { status, body, keep_alive, has_retry_after }, start + length)))
}

fn dechunk(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Trouble> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let (head, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete((head, size))) => (head, size as usize),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Trouble::Malformed),
        };
        at += head;
        // No peer sends trailers: what follows the data, or the last head, is one line end.
        let Some(end) = at.checked_add(size).and_then(|end| end.checked_add(2)) else {
            return Err(Trouble::Malformed);
        };
        let Some(data) = bytes.get(at..end) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err(Trouble::Malformed);
        }
        body.extend_from_slice(&data[..size]);
        at = end;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
    const CHUNKED: &[u8] = b"HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        3\r\nhel\r\n3;x=y\r\nlo\n\r\n0\r\n\r\n";

    fn response(status: u16, keep_alive: bool) -> Response {
        Response { status, body: b"hello\n".to_vec(), keep_alive, has_retry_after: false }
    }

    #[test]
    fn a_response_is_read_by_its_length_and_the_next_is_left() {
        let two = [PLAIN, PLAIN].concat();
        assert_eq!(parse(&two), Ok(Some((response(200, true), PLAIN.len()))));
    }

    #[test]
    fn a_chunked_response_is_put_together() {
        assert_eq!(parse(CHUNKED), Ok(Some((response(502, false), CHUNKED.len()))));
    }

    #[test]
    fn a_response_in_pieces_is_waited_for() {
        for whole in [PLAIN, CHUNKED] {
            for end in 0..whole.len() {
                assert_eq!(parse(&whole[..end]), Ok(None), "{end} bytes of {}", whole.len());
            }
        }
    }

    #[test]
    fn what_is_not_http_is_refused() {
        let bad: [&[u8]; 5] = [
            b"HELLO\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: six\r\n\r\nhello\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ];
        for bytes in bad {
            assert_eq!(parse(bytes), Err(Trouble::Malformed), "{}", bytes.escape_ascii());
        }
    }
}
