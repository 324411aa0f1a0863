//! A client's socket: scanned on the way in, and cut when the client keeps it waiting.
//! What hyper answers by itself is replaced on the way out.
//!
//! hyper has one time-out for heads, which also runs while a connection is idle, and none
//! for what it writes. The three are told apart here. A body's time is its reader's.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::framing::{Phase, Scanner, Verdict};
use super::head;

/// How fast a client has to take a reply in the long run, in bytes a second.
const WRITE_BYTES_PER_S_MIN: u32 = 1024;

/// How long a client may keep the host waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For a whole head, from its first byte; also for that byte, from accept.
    pub(super) head: Duration,
    /// For the first byte of the next request.
    pub(super) idle: Duration,
    /// For making room for more bytes of a reply.
    pub(super) write: Duration,
}

/// A client's socket.
pub(super) struct Wire<S> {
    socket: S,
    scanner: Scanner,
    verdict: Arc<Verdict>,
    timeouts: Timeouts,
    read: Wait,
    write: Wait,
    /// What is left of the time that the client may keep the host from writing.
    write_left: Duration,
    /// Since when it does.
    unwritten_since: Option<Instant>,
    refuse: Refuse,
    refusal: Option<Refusal>,
    /// The last write took all that was offered, so that the next one begins with
    /// something new.
    is_between_writes: bool,
}

/// Makes the answer to a head that cannot be read: hyper's status, or `None` when the
/// head took too long.
pub(super) type Refuse = Box<dyn Fn(Option<StatusCode>) -> Vec<u8> + Send>;

/// An answer that is written in hyper's place, and the connection's last.
struct Refusal {
    bytes: Vec<u8>,
    written: usize,
}

/// A wait for the client that has an end.
#[derive(Default)]
struct Wait {
    /// Set while there is something to wait for.
    deadline: Option<Instant>,
    /// Stays armed from one wait to the next: setting a timer anew for every request
    /// would cost more than looking at the clock when an old one fires too early.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    /// Ready when `timeout` has passed since the first call after [`Wait::end`].
    fn poll(&mut self, cx: &mut Context<'_>, timeout: Duration) -> Poll<io::Error> {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + timeout);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            timer.as_mut().reset(deadline);
        }
    }

    fn end(&mut self) {
        self.deadline = None;
    }
}

impl<S> Wire<S> {
    /// What is wrong with the bytes that come in is told to `verdict`. The first head is
    /// waited for since `connected_at`.
    pub(super) fn new(
        socket: S,
        scanner: Scanner,
        verdict: Arc<Verdict>,
        timeouts: Timeouts,
        connected_at: Instant,
        refuse: Refuse,
    ) -> Self {
        let read = Wait { deadline: Some(connected_at + timeouts.head), timer: None };
        let write = Wait::default();
        Self {
            socket,
            scanner,
            verdict,
            timeouts,
            read,
            write,
            write_left: timeouts.write,
            unwritten_since: None,
            refuse,
            refusal: None,
            is_between_writes: true,
        }
    }

    fn scan(&mut self, bytes: &[u8]) {
        let before = self.scanner.phase();
        if let Err(error) = self.scanner.scan(bytes) {
            self.verdict.set(error);
        }
        let now = self.scanner.phase();
        // What has begun and not ended goes on: a client that sends a byte now and then
        // gains no time. A whole request in one read goes from idle to idle.
        if before != now || now == Phase::Idle {
            self.read.end();
        }
    }

    /// The result of a write, or an error when writes have waited for too long.
    ///
    /// A client that takes a byte now and then gains little time: each byte gives back as
    /// much of it as [`WRITE_BYTES_PER_S_MIN`] says.
    fn written(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Poll::Ready(ended) = result else {
            self.unwritten_since.get_or_insert_with(Instant::now);
            return self.write.poll(cx, self.write_left).map(Err);
        };
        if let Some(since) = self.unwritten_since.take() {
            let taken = u32::try_from(*ended.as_ref().unwrap_or(&0)).unwrap_or(u32::MAX);
            let earned = Duration::from_secs(1) * taken / WRITE_BYTES_PER_S_MIN;
            let left = self.write_left.saturating_sub(since.elapsed()).saturating_add(earned);
            self.write_left = left.min(self.timeouts.write);
        }
        self.write.end();
        // Being idle begins when the reply is out.
        self.read.end();
        Poll::Ready(ended)
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Decides for or against writing what hyper offers. Ready when there is nothing to
    /// write in its place any more: then it counts as written.
    fn poll_replaced(&mut self, cx: &mut Context<'_>, offered: &[u8]) -> Poll<io::Result<bool>> {
        if self.refusal.is_none() && self.is_between_writes {
            let status = head::status_of_own_answer(offered);
            self.refusal = status.map(|status| Refusal::new((self.refuse)(Some(status))));
        }
        if self.refusal.is_none() {
            return Poll::Ready(Ok(false));
        }
        self.poll_refusal(cx).map_ok(|()| true)
    }

    /// Writes the refusal to its end.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(refusal) = &mut self.refusal
            && refusal.written < refusal.bytes.len()
        {
            let result = Pin::new(&mut self.socket).poll_write(cx, &refusal.bytes[refusal.written..]);
            if let Poll::Ready(Ok(written)) = result {
                refusal.written += written;
            }
            if ready!(self.written(cx, result))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// A head that was begun and took too long is told so.
    fn poll_too_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.refusal.is_none() && self.scanner.phase() == Phase::Head && self.is_between_writes {
            self.refusal = Some(Refusal::new((self.refuse)(None)));
        }
        // A client that does not take the answer goes without.
        self.poll_refusal(cx).map(|_| ())
    }
}

impl Refusal {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0 }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.socket).poll_read(cx, buf) {
            Poll::Ready(result) => {
                self.scan(&buf.filled()[before..]);
                Poll::Ready(result)
            }
            Poll::Pending => {
                let timeout = match self.scanner.phase() {
                    Phase::Body => return Poll::Pending,
                    Phase::Idle => self.timeouts.idle,
                    Phase::New | Phase::Head => self.timeouts.head,
                };
                let error = ready!(self.read.poll(cx, timeout));
                ready!(self.poll_too_late(cx));
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if ready!(self.poll_replaced(cx, buf))? {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.is_between_writes = matches!(result, Poll::Ready(Ok(written)) if written == buf.len());
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        let is_one = bufs.first().is_some_and(|first| first.len() == offered);
        if is_one && ready!(self.poll_replaced(cx, &bufs[0]))? {
            return Poll::Ready(Ok(offered));
        }
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.is_between_writes = matches!(result, Poll::Ready(Ok(written)) if written == offered);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(5);
    const PATIENT: Timeouts = Timeouts { head: HOUR, idle: HOUR, write: HOUR };

    fn pair(timeouts: Timeouts) -> (Wire<DuplexStream>, DuplexStream, Arc<Verdict>) {
        let (ours, theirs) = tokio::io::duplex(64);
        let verdict = Arc::new(Verdict::default());
        let refuse: Refuse = Box::new(|status| format!("refused {status:?}").into());
        let wire = Wire::new(ours, Scanner::new(8192), verdict.clone(), timeouts, Instant::now(), refuse);
        (wire, theirs, verdict)
    }

    async fn error_after(
        wire: &mut Wire<DuplexStream>,
        client: &mut DuplexStream,
        sent: &str,
    ) -> io::ErrorKind {
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut all = vec![0; sent.len()];
        wire.read_exact(&mut all).await.unwrap();
        wire.read_u8().await.unwrap_err().kind()
    }

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[tokio::test]
    async fn a_head_that_does_not_come_or_end_is_given_up() {
        for begun in ["", "\r\n", "GET / HT"] {
            let (mut wire, mut client, _) = pair(Timeouts { head: SOON, ..PATIENT });
            assert_eq!(error_after(&mut wire, &mut client, begun).await, io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_after_a_time_of_its_own() {
        let (mut wire, mut client, _) = pair(Timeouts { idle: SOON, ..PATIENT });
        assert_eq!(error_after(&mut wire, &mut client, REQUEST).await, io::ErrorKind::TimedOut);

        let (mut wire, mut client, _) = pair(Timeouts { head: SOON, ..PATIENT });
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        wire.read_exact(&mut [0; REQUEST.len()]).await.unwrap();
        assert!(is_waiting(&mut wire).await && wire.read.deadline.unwrap() > Instant::now() + HOUR / 2);
        // The head behind it has little time again, although the timer was set for later.
        assert_eq!(error_after(&mut wire, &mut client, "GET").await, io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn each_byte_of_a_reply_begins_a_new_idle_time() {
        let (mut wire, mut client, _) = pair(PATIENT);
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        wire.read_exact(&mut [0; REQUEST.len()]).await.unwrap();
        assert!(is_waiting(&mut wire).await);
        wire.write_all(b"x").await.unwrap();
        assert_eq!(wire.read.deadline, None);
    }

    #[tokio::test]
    async fn a_timer_that_fires_early_waits_on() {
        let mut wait = Wait { deadline: None, timer: Some(Box::pin(tokio::time::sleep(SOON))) };
        let error = std::future::poll_fn(|cx| wait.poll(cx, SOON * 4)).await;
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(wait.deadline.unwrap() <= Instant::now());
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_is_cut() {
        let (mut wire, _client, _) = pair(Timeouts { write: SOON, ..PATIENT });
        wire.write_all(&[b'x'; 64]).await.unwrap();
        let error = wire.write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_cut_and_one_that_is_fast_enough_is_not() {
        for (bytes_per_s, is_cut) in [(100_usize, true), (2000, false)] {
            let (mut wire, mut client, _) = pair(Timeouts { write: Duration::from_secs(30), ..PATIENT });
            let writing = tokio::spawn(async move { wire.write_all(&[b'x'; 100 << 10]).await });
            let reading = tokio::spawn(async move {
                let mut piece = vec![0; bytes_per_s / 4];
                while client.read_exact(&mut piece).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            });
            let written = writing.await.unwrap();
            assert_eq!(written.is_err(), is_cut, "{bytes_per_s}: {written:?}");
            reading.await.unwrap();
        }
    }

    #[tokio::test]
    async fn each_write_that_succeeds_begins_a_new_wait() {
        let (mut wire, mut client, _) = pair(PATIENT);
        wire.write_all(&[b'y'; 64]).await.unwrap();
        let wait = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut wire).poll_write(cx, b"z"))).await;
        assert!(wait.is_pending() && wire.write.deadline.is_some());
        client.read_exact(&mut [0; 1]).await.unwrap();
        wire.write_all(b"z").await.unwrap();
        assert_eq!(wire.write.deadline, None);
    }

    const OWN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn what_hyper_answers_by_itself_is_replaced_once() {
        let (mut wire, mut client, _) = pair(PATIENT);
        wire.write_all(b"HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\n\r\n").await.unwrap();
        client.read_exact(&mut [0; 45]).await.unwrap();
        wire.write_all(OWN).await.unwrap();
        drop(wire);
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "refused Some(400)");
    }

    #[tokio::test]
    async fn the_rest_of_a_body_is_never_taken_for_hypers_answer() {
        let (mut wire, mut client, _) = pair(PATIENT);
        let reading = tokio::spawn(async move {
            let mut seen = Vec::new();
            client.read_to_end(&mut seen).await.map(|_| seen)
        });
        // 64 bytes fit into the pipe: the second write begins where OWN does.
        let body = [&[b'x'; 64][..], OWN].concat();
        wire.write_all(&body).await.unwrap();
        drop(wire);
        assert_eq!(reading.await.unwrap().unwrap(), body);
    }

    #[tokio::test]
    async fn a_head_that_was_begun_is_told_that_it_took_too_long() {
        for (begun, told) in [("GET / HT", "refused None"), ("", ""), ("\r\n", "")] {
            let (mut wire, mut client, _) = pair(Timeouts { head: SOON, ..PATIENT });
            assert_eq!(error_after(&mut wire, &mut client, begun).await, io::ErrorKind::TimedOut);
            drop(wire);
            let mut seen = String::new();
            client.read_to_string(&mut seen).await.unwrap();
            assert_eq!(seen, told, "{begun:?}");
        }
    }

    #[tokio::test]
    async fn what_comes_in_is_scanned() {
        let (mut wire, mut client, verdict) = pair(PATIENT);
        client.write_all(b"GET / HTTP/1.1\n").await.unwrap();
        let mut read = [0; 15];
        wire.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"GET / HTTP/1.1\n");
        assert!(verdict.check().is_err());
    }

    async fn is_waiting(wire: &mut Wire<DuplexStream>) -> bool {
        let mut byte = [0; 1];
        let mut buf = ReadBuf::new(&mut byte);
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *wire).poll_read(cx, &mut buf)))
            .await
            .is_pending()
    }
}
