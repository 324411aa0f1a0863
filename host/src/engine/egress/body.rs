//! Bodies on their way: counted, capped, and given up in time.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error as WasiError, WasiBody};

use super::connection::Lease;
use super::error::{Code, Failure};
use super::ledger::{Ongoing, Sent};

/// Empty frames that are skipped before other tasks get a turn: HTTP/2 can send them
/// without end.
const EMPTY_FRAMES_MAX: u32 = 16;

/// How far the sending of a request's body has come.
#[derive(Debug)]
pub(super) struct Upload {
    sent: Sent,
    bytes_max: u64,
    is_done: AtomicBool,
    moved_at: Mutex<Instant>,
    failure: OnceLock<Failure>,
}

impl Upload {
    pub(super) fn new(sent: Sent, bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            sent,
            bytes_max,
            is_done: AtomicBool::new(false),
            moved_at: Mutex::new(Instant::now()),
            failure: OnceLock::new(),
        })
    }

    /// Whether the connection has taken all of it.
    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// When the connection last took some of it.
    pub(super) fn moved_at(&self) -> Instant {
        *self.moved_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the guest's body could not be sent, which explains what the connection then
    /// fails with.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned()
    }

    pub(super) fn move_on(&self) {
        *self.moved_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn fail(&self, failure: Failure) -> WasiError {
        let error = failure.to_wasi();
        // Only the first one counts.
        let _ = self.failure.set(failure);
        error
    }
}

/// What a body here answers when it is polled.
pub(super) type Polled = Poll<Option<Result<Frame<Bytes>, WasiError>>>;

/// A request's body on its way out.
pub(super) struct RequestBody {
    inner: WasiBody,
    /// What `Content-Length` says.
    declared: Option<u64>,
    bytes: u64,
    upload: Arc<Upload>,
}

impl RequestBody {
    pub(super) fn new(inner: WasiBody, declared: Option<u64>, upload: Arc<Upload>) -> Self {
        let body = Self { inner, declared, bytes: 0, upload };
        body.move_on();
        body
    }

    fn move_on(&self) {
        // Of a body with a length hyper reads no more than that: it never sees the end.
        let is_done = self.inner.is_end_stream() || self.declared == Some(self.bytes);
        self.upload.is_done.store(is_done, Ordering::Release);
        self.upload.move_on();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let upload = self.upload.clone();
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if self.bytes + data.len() as u64 > upload.bytes_max {
                        let failure = Failure::cap(Code::HttpRequestBodySize, upload.bytes_max);
                        return Poll::Ready(Some(Err(upload.fail(failure))));
                    }
                    match upload.sent.add(data.len()) {
                        Ok(bytes) => self.bytes = bytes,
                        Err(failure) => return Poll::Ready(Some(Err(upload.fail(failure)))),
                    }
                }
                self.move_on();
                Some(Ok(frame))
            }
            // The guest dropped it unfinished, or wrote less than it had said.
            Some(Err(_)) => Some(Err(upload.fail(Code::HttpRequestBodySize.into()))),
            // A guest that is cut loses its end of the body too: the server must not take
            // what it got for all.
            None if upload.sent.is_run_ended() => Some(Err(upload.fail(Code::HttpRequestBodySize.into()))),
            None => {
                upload.move_on();
                upload.is_done.store(true, Ordering::Release);
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The limits of one response's body.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseLimits {
    pub(super) bytes_max: u64,
    /// Between two frames, counted while the guest waits.
    pub(super) between: Duration,
    /// End of the whole exchange.
    pub(super) until: Instant,
}

/// A response's body on its way in. Owns the exchange and its connection until one of
/// them ends.
pub(super) struct ResponseBody {
    inner: Incoming,
    exchange: Option<(Ongoing, Lease)>,
    upload: Arc<Upload>,
    limits: ResponseLimits,
    bytes: u64,
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl ResponseBody {
    pub(super) fn new(
        inner: Incoming,
        exchange: (Ongoing, Lease),
        upload: Arc<Upload>,
        limits: ResponseLimits,
    ) -> Self {
        let mut body = Self {
            is_waiting: false,
            timer: None,
            bytes: 0,
            exchange: Some(exchange),
            inner,
            upload,
            limits,
        };
        if body.inner.is_end_stream() {
            body.complete();
        }
        body
    }

    fn complete(&mut self) {
        if let Some((exchange, lease)) = self.exchange.take() {
            exchange.finish();
            // A connection that still waits for the guest's body cannot be used again.
            if self.upload.is_done() {
                lease.release();
            }
        }
    }

    fn fail(&mut self, failure: Failure) -> Poll<Option<Result<Frame<Bytes>, WasiError>>> {
        if let Some((exchange, lease)) = self.exchange.take() {
            lease.retire();
            Poll::Ready(Some(Err(exchange.fail(failure).to_wasi())))
        } else {
            Poll::Ready(None)
        }
    }

    /// Ready with the failure when nothing has come for too long.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let limits = self.limits;
        let mut timer = match self.timer.take() {
            Some(timer) => timer,
            None => Box::pin(tokio::time::sleep_until(limits.until)),
        };
        if !self.is_waiting {
            self.is_waiting = true;
            let silence_ends = Instant::now().checked_add(limits.between).unwrap_or(limits.until);
            timer.as_mut().reset(limits.until.min(silence_ends));
        }
        let fired = timer.as_mut().poll(cx);
        self.timer = Some(timer);
        ready!(fired);
        let is_over = Instant::now() >= limits.until;
        let code = if is_over { Code::HttpResponseTimeout } else { Code::ConnectionReadTimeout };
        Poll::Ready(code.into())
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        for _ in 0..EMPTY_FRAMES_MAX {
            let Some((exchange, _)) = &this.exchange else { return Poll::Ready(None) };
            // A body that never pauses never meets the timer.
            if Instant::now() >= this.limits.until {
                return this.fail(Code::HttpResponseTimeout.into());
            }
            let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
                let failure = ready!(this.poll_timer(cx));
                return this.fail(failure);
            };
            this.is_waiting = false;
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return this.fail(Failure::of_hyper(&error)),
                None => {
                    this.complete();
                    return Poll::Ready(None);
                }
            };
            let bytes = frame.data_ref().map(Bytes::len);
            this.bytes += bytes.unwrap_or(0) as u64;
            if this.bytes > this.limits.bytes_max {
                let bytes_max = this.limits.bytes_max;
                return this.fail(Failure::cap(Code::HttpResponseBodySize, bytes_max));
            }
            if let Err(failure) = exchange.add_received(bytes.unwrap_or(0)) {
                return this.fail(failure);
            }
            if this.inner.is_end_stream() {
                this.complete();
            }
            if bytes != Some(0) {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
