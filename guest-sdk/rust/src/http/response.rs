//! A response, read as far as it is wanted.

use std::io::{self, Read};

use serde::de::DeserializeOwned;

use super::Error;
use crate::Headers;
use crate::bindings::wasi::http::types::{ErrorCode, IncomingBody, IncomingResponse, http_error_code};
use crate::bindings::wasi::io::streams::{InputStream, StreamError};

/// How much is asked of the host at once, in bytes.
const CHUNK_BYTES: u64 = 64 * 1024;

/// The response to a request: status, headers, and a body that is read when it is asked
/// for. Dropping it gives up the rest.
#[derive(Debug)]
pub struct Response {
    authority: String,
    status: u16,
    headers: Headers,
    bytes_max: u64,
    bytes_read: u64,
    // Dropped in this order: WASI wants children to go before their parents.
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
}

impl Response {
    pub(super) fn new(response: IncomingResponse, authority: &str, bytes_max: u64) -> Result<Self, Error> {
        let body = response.consume().map_err(|()| Error::protocol(authority, "the body is taken"))?;
        let stream = body.stream().map_err(|()| Error::protocol(authority, "the body's stream is taken"))?;
        let mut headers = Headers::default();
        for (name, value) in response.headers().entries() {
            headers.append(name, String::from_utf8_lossy(&value));
        }
        Ok(Self {
            authority: authority.to_owned(),
            status: response.status(),
            headers,
            bytes_max,
            bytes_read: 0,
            stream,
            _body: body,
            _response: response,
        })
    }

    /// The status, 100 to 599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The headers. Bytes in their values that are not UTF-8 are replaced.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The value of the first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The response itself if its status is under 400.
    ///
    /// # Errors
    /// [`Error::Status`] otherwise; the body is given up.
    pub fn error_for_status(self) -> Result<Self, Error> {
        match self.status {
            ..400 => Ok(self),
            status => Err(Error::Status { authority: self.authority, status }),
        }
    }

    /// The next piece of the body, as it arrives; none at its end. Reading this way
    /// holds one piece in memory, at most 64 KiB.
    ///
    /// # Errors
    /// [`Error::Exchange`] if the body breaks off, and [`Error::BodySize`] if it is
    /// longer than the client reads.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.read_up_to(CHUNK_BYTES)
    }

    /// The whole body.
    ///
    /// # Errors
    /// Those of [`chunk`](Self::chunk).
    pub fn bytes(mut self) -> Result<Vec<u8>, Error> {
        self.read_all()
    }

    /// The whole body as text.
    ///
    /// # Errors
    /// [`Error::ResponseText`] if it is not UTF-8, and those of [`chunk`](Self::chunk).
    pub fn text(mut self) -> Result<String, Error> {
        let body = self.read_all()?;
        String::from_utf8(body).map_err(|source| Error::ResponseText { authority: self.authority, source })
    }

    /// The whole body, read as JSON, whatever its content type says.
    ///
    /// # Errors
    /// [`Error::ResponseJson`] if it is not JSON or does not have the form of `T`, and
    /// those of [`chunk`](Self::chunk).
    pub fn json<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        let body = self.read_all()?;
        serde_json::from_slice(&body)
            .map_err(|source| Error::ResponseJson { authority: self.authority, source })
    }

    fn read_all(&mut self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk()? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn read_up_to(&mut self, bytes: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.stream.blocking_read(bytes) {
            Ok(chunk) => {
                self.bytes_read += chunk.len() as u64;
                if self.bytes_read > self.bytes_max {
                    let authority = self.authority.clone();
                    return Err(Error::BodySize { authority, bytes_max: self.bytes_max });
                }
                Ok(Some(chunk))
            }
            Err(StreamError::Closed) => Ok(None),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = http_error_code(&error).unwrap_or_else(|| {
                    let text = error.to_debug_string();
                    // What follows, if anything, is the host's own stack.
                    ErrorCode::InternalError(text.lines().next().map(ToOwned::to_owned))
                });
                Err(Error::exchange(&self.authority, code))
            }
        }
    }
}

/// Reads the body piece by piece, under the same limit as [`Response::chunk`].
impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let wanted = CHUNK_BYTES.min(buffer.len() as u64);
            match self.read_up_to(wanted).map_err(io::Error::other)? {
                None => return Ok(0),
                // A host may wake the reader with nothing to read: that is not the end.
                Some(chunk) if chunk.is_empty() => {}
                Some(chunk) => {
                    buffer[..chunk.len()].copy_from_slice(&chunk);
                    return Ok(chunk.len());
                }
            }
        }
    }
}
