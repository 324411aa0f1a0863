//! A client for HTTP/1.1 that sends exactly the bytes it is told to, and reads one reply
//! at a time.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::wait;

/// A reply.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body without its framing.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?} {}", self.text()))
    }

    /// A text in the body's JSON object; empty when it is not there.
    pub(crate) fn field(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_default().to_owned()
    }

    /// The reply, if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }
}

/// An open connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Connects; `None` when nobody listens.
    pub(crate) fn try_open(address: SocketAddr) -> Option<Self> {
        TcpStream::connect(address).ok().map(Self::over)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
        stream.set_write_timeout(Some(wait::LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends these bytes. A peer that has closed is no error: its reply may be there.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
        self
    }

    /// Says that nothing more is sent.
    pub(crate) fn shut_write(&mut self) -> &mut Self {
        self.stream.get_mut().shutdown(Shutdown::Write).unwrap();
        self
    }

    /// The same, where the peer may have closed.
    pub(crate) fn try_shut_write(&mut self) -> std::io::Result<()> {
        self.stream.get_mut().shutdown(Shutdown::Write)
    }

    /// The next reply to a request that was not `HEAD`; `None` when the peer has closed.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        self.reply_to("GET")
    }

    /// The next reply to a request of this method; `None` when the peer has closed.
    pub(crate) fn reply_to(&mut self, method: &str) -> Option<Reply> {
        let line = self.line()?;
        let status: u16 =
            line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?}"));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        let length = reply.header("content-length").map(|length| length.parse::<usize>().unwrap());
        if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
            return Some(reply);
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                reply.body.extend(chunk);
            }
        } else {
            reply.body = vec![0; length.unwrap_or(0)];
            self.stream.read_exact(&mut reply.body).ok()?;
        }
        Some(reply)
    }

    /// The next chunk of a reply that has no end yet; `None` at its end, or when the peer
    /// has closed.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line()?, 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).ok()?;
        chunk.truncate(size);
        Some(chunk).filter(|chunk| !chunk.is_empty())
    }

    /// The next line without its end; `None` when the peer has closed.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(_) if !line.ends_with(b"\n") => None,
            Ok(_) => Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => None,
            Err(error) => panic!("waiting for a line: {error}"),
        }
    }

    /// Whether the peer has closed, once everything it sent was read.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.line().is_none()
    }

    /// Whether the peer has sent anything within `patience`.
    pub(crate) fn has_answer_within(&mut self, patience: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(patience)).unwrap();
        let found = self.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        self.stream.get_ref().set_read_timeout(Some(wait::LIMIT)).unwrap();
        found
    }
}

/// A request as text.
#[derive(Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// With another header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body and content type.
    pub(crate) fn body(mut self, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self.header("content-type", content_type)
    }

    /// With a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// The bytes of it. `host` and `content-length` are there unless they were given.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let has = |name: &str| self.headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !has("host") {
            head.push_str("host: localhost\r\n");
        }
        if !has("content-length") && !has("transfer-encoding") && !self.body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }

    /// Sends its head and these bytes as they are.
    pub(crate) fn send_raw(self, address: SocketAddr, body: &[u8]) -> Reply {
        let head = self.header("connection", "close").bytes();
        Connection::open(address).send(head).send(body).reply().expect("a reply before the connection ends")
    }

    /// Sends it on a connection of its own and waits for the reply.
    pub(crate) fn send(self, address: SocketAddr) -> Reply {
        let method = self.method.clone();
        let bytes = self.header("connection", "close").bytes();
        let mut connection = Connection::open(address);
        connection.send(bytes).reply_to(&method).expect("a reply before the connection ends")
    }
}
