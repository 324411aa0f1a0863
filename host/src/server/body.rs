//! Bodies: reading a request's within its limits, and what a reply's is made of.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

/// How many bytes of a refused request are still read, so that a client that only reads
/// after it has written everything gets the refusal and not a reset connection.
const LINGER_BYTES_MAX: u64 = 128 << 20;
/// How long they are read.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request's body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// It is longer than allowed.
    #[error("the body is over the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It did not come in time.
    #[error("the body did not come within {} ms", timeout.as_millis())]
    TimedOut {
        /// The time that it had.
        timeout: Duration,
    },
    /// The client went away, or sent something that is no body.
    #[error("the body ended early or is malformed")]
    Broken(#[source] BoxError),
}

/// Any error, as axum's and hyper's bodies have it.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body. When it is dropped before its end, the rest is read and thrown away
/// for a while.
pub(super) struct RequestBody {
    incoming: Option<Incoming>,
    linger: TaskTracker,
    /// The client waits for `100 Continue`, which reading would send: it has nothing
    /// under way that would have to be read.
    held_back: bool,
}

impl RequestBody {
    /// The body as it comes from hyper.
    pub(super) fn new(incoming: Incoming, held_back: bool, linger: &TaskTracker) -> Self {
        Self { incoming: Some(incoming), linger: linger.clone(), held_back }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.held_back = false;
        let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
        let result = Pin::new(incoming).poll_frame(cx);
        if matches!(result, Poll::Ready(None | Some(Err(_)))) {
            self.incoming = None;
        }
        result
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take().filter(|body| !self.held_back && !body.is_end_stream())
        else {
            return;
        };
        // Bodies are only dropped on the runtime's threads; without one, as in a
        // process that is ending, there is nobody left to be polite to.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.linger.spawn_on(throw_away(incoming), &runtime);
        }
    }
}

async fn throw_away(mut incoming: Incoming) {
    let read = async {
        let mut left = LINGER_BYTES_MAX;
        while let Some(Ok(frame)) = next_frame(&mut incoming).await {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            left = left.saturating_sub(bytes);
            if left == 0 {
                break;
            }
        }
    };
    // Neither outcome changes anything: the rest stays unread and hyper closes.
    let _ = tokio::time::timeout(LINGER_TIMEOUT, read).await;
}

async fn next_frame<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// For all of it.
    Whole(Duration),
    /// For each piece of it: for uploads, whose size is no secret and whose sender is
    /// known.
    Piece(Duration),
}

/// The whole body, at most `limit` bytes. Trailers are thrown away.
///
/// # Errors
/// [`BodyError`]; a declared length over the limit is refused before anything is read.
pub(super) async fn read<B>(body: B, limit: usize, patience: Patience) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge { limit });
    }
    match patience {
        Patience::Whole(timeout) => tokio::time::timeout(timeout, collect(body, limit, None))
            .await
            .unwrap_or(Err(BodyError::TimedOut { timeout })),
        Patience::Piece(timeout) => collect(body, limit, Some(timeout)).await,
    }
}

async fn collect<B>(mut body: B, limit: usize, piece: Option<Duration>) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while !body.is_end_stream() {
        let frame = match piece {
            None => next_frame(&mut body).await,
            Some(timeout) => tokio::time::timeout(timeout, next_frame(&mut body))
                .await
                .map_err(|_| BodyError::TimedOut { timeout })?,
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|error| BodyError::Broken(error.into()))?.into_data() else { continue };
        let so_far = all.len() + first.as_ref().map_or(0, Bytes::len);
        if data.len() > limit - so_far {
            return Err(BodyError::TooLarge { limit });
        }
        // The usual body is one piece, and is not copied. Several are copied into one
        // buffer at once: a kept piece would keep the buffer alive that it was read
        // into, which for a body in pieces of one byte is many times its size.
        match first.take() {
            None if all.is_empty() => first = Some(data),
            Some(one) => {
                all.extend_from_slice(&one);
                all.extend_from_slice(&data);
            }
            None => all.extend_from_slice(&data),
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// A reply's body.
pub(super) enum ReplyBody {
    /// All of it.
    Bytes(Option<Bytes>),
    /// What the API's router answers, perhaps without an end.
    Api(axum::body::Body),
}

impl ReplyBody {
    /// These bytes.
    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Bytes(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }

    /// Nothing.
    pub(super) fn empty() -> Self {
        Self::Bytes(None)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            ReplyBody::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            ReplyBody::Api(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Bytes(bytes) => bytes.is_none(),
            ReplyBody::Api(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Bytes(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            ReplyBody::Api(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body_util::StreamBody;

    use super::*;

    fn pieces(
        list: &'static [&'static [u8]],
    ) -> StreamBody<impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Unpin> {
        StreamBody::new(stream::iter(list.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece))))))
    }

    const MINUTE: Patience = Patience::Whole(Duration::from_secs(60));

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit_and_not_beyond() {
        for list in [&[b"abcdef" as &[u8]] as &[&[u8]], &[b"abc", b"", b"def"], &[b"a", b"b", b"c", b"def"]] {
            assert_eq!(read(pieces(list), 6, MINUTE).await.unwrap(), "abcdef");
            let error = read(pieces(list), 5, MINUTE).await.unwrap_err();
            assert_eq!(error.to_string(), "the body is over the limit of 5 bytes");
        }
        assert_eq!(read(pieces(&[]), 0, MINUTE).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_unread() {
        let body = http_body_util::Full::new(Bytes::from_static(b"abc"));
        assert!(matches!(read(body, 2, MINUTE).await, Err(BodyError::TooLarge { limit: 2 })));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        for patience in [Patience::Whole(Duration::from_millis(5)), Patience::Piece(Duration::from_millis(5))]
        {
            let never: stream::Pending<Result<Frame<Bytes>, Infallible>> = stream::pending();
            let error = read(StreamBody::new(never), 10, patience).await.unwrap_err();
            assert_eq!(error.to_string(), "the body did not come within 5 ms");
        }
    }
}
