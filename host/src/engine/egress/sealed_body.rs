//! Bodies of requests and responses, as far as sealed settings are concerned.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::{Error as WasiError, WasiBody};

use super::body::Polled;
use super::error::{Code, Failure};
use super::sealed::{BodyForm, PutIn, SealedSettings};
use super::sealed_multipart;

/// Bodies up to this size are looked through for placeholders; larger ones go out as they are.
const BODY_BYTES_MAX: usize = 1 << 20;
/// What is kept of a response at most until it is known where a value ends, beside the longest
/// form of one.
const HELD_BYTES_MAX: usize = 64 << 10;

/// What the body of a request is by its content type.
fn form_of(headers: &HeaderMap) -> BodyForm {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => BodyForm::Json,
        "application/x-www-form-urlencoded" => BodyForm::Form,
        "multipart/form-data" => {
            sealed_multipart::boundary(value).map_or(BodyForm::Other, BodyForm::Multipart)
        }
        other if other.ends_with("+json") => BodyForm::Json,
        _ => BodyForm::Other,
    }
}

/// Whether the body is looked through. One of a type that gets no value is read only to say
/// so: not while the guest may still be streaming it.
fn is_read(form: &BodyForm, request: &Request<WasiBody>) -> bool {
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let is_short = declared.is_some_and(|bytes| bytes <= BODY_BYTES_MAX);
    !request.body().is_end_stream() && (is_short || !matches!(form, BodyForm::Other))
}

/// Puts values into the body of a request, which is read whole for it if it is not too large.
///
/// # Errors
/// The guest did not finish its body, or not in time.
pub(super) async fn put_in(
    put_in: &mut PutIn<'_>,
    mut request: Request<WasiBody>,
    until: Instant,
) -> Result<Request<WasiBody>, Failure> {
    let form = form_of(request.headers());
    if !is_read(&form, &request) {
        return Ok(request);
    }
    let (mut read, mut frames) = (Vec::new(), VecDeque::new());
    let mut is_whole = true;
    loop {
        let frame = timeout_at(until, request.body_mut().frame()).await;
        match frame.map_err(|_| Failure::from(Code::HttpResponseTimeout))? {
            None => break,
            Some(Err(_)) => return Err(Code::HttpRequestBodySize.into()),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    read.extend_from_slice(data);
                }
                frames.push_back(frame);
            }
        }
        if read.len() > BODY_BYTES_MAX {
            is_whole = false;
            put_in.too_large(&read);
            break;
        }
    }
    let filled = if is_whole { put_in.body(&form, &read) } else { None };
    let Some(filled) = filled else {
        return Ok(request.map(|rest| Begun { frames, rest }.boxed_unsync()));
    };
    request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(filled.len()));
    let body = Full::new(Bytes::from(filled)).map_err(|never| match never {});
    Ok(request.map(|_| body.boxed_unsync()))
}

/// A body of which some was read already.
struct Begun {
    frames: VecDeque<Frame<Bytes>>,
    rest: WasiBody,
}

impl Body for Begun {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: usize = self.frames.iter().filter_map(|frame| Some(frame.data_ref()?.len())).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + read as u64);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + read as u64);
        }
        hint
    }
}

/// A response's body without the values, wherever its pieces end.
pub(super) struct CleanBody<B> {
    inner: B,
    sealed: Arc<SealedSettings>,
    /// What may be the beginning of a value.
    held: Vec<u8>,
    is_ended: bool,
}

impl<B> CleanBody<B> {
    pub(super) fn new(inner: B, sealed: Arc<SealedSettings>) -> Self {
        Self { inner, sealed, held: Vec::new(), is_ended: false }
    }

    /// What can be handed on now; everything at the end.
    fn taken(&mut self) -> Option<Bytes> {
        let Some(mask) = self.sealed.mask() else { return Some(std::mem::take(&mut self.held).into()) };
        let found = mask.find(&self.held);
        let mut end = self.held.len();
        if !self.is_ended {
            end = end.saturating_sub(mask.longest().saturating_sub(1));
            // A value at the border may go on: it is held back whole, unless it never ends.
            let at_border = found.iter().find(|one| one.range.start < end && one.range.end > end);
            end = match at_border {
                Some(one) if self.held.len() > HELD_BYTES_MAX + mask.longest() => one.range.end,
                Some(one) => one.range.start,
                None => end,
            };
        }
        if end == 0 {
            return None;
        }
        let (mut clean, mut at) = (Vec::with_capacity(end), 0);
        for one in found.into_iter().take_while(|one| one.range.end <= end) {
            clean.extend_from_slice(&self.held[at..one.range.start]);
            clean.extend_from_slice(self.sealed.placeholder_at(one.name).as_bytes());
            at = one.range.end;
        }
        clean.extend_from_slice(&self.held[at..end]);
        self.held.drain(..end);
        Some(clean.into())
    }
}

impl<B: Body<Data = Bytes, Error = WasiError> + Unpin> Body for CleanBody<B> {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        loop {
            if this.is_ended {
                let rest = if this.held.is_empty() { None } else { this.taken() };
                return Poll::Ready(rest.map(|bytes| Ok(Frame::data(bytes))));
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                None => this.is_ended = true,
                Some(Err(error)) => {
                    this.is_ended = true;
                    this.held.clear();
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => {
                    // Trailers are left out: nobody needs them, and they too could hold a value.
                    let Ok(data) = frame.into_data() else { continue };
                    this.held.extend_from_slice(&data);
                    if let Some(bytes) = this.taken() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && (self.is_ended || self.inner.is_end_stream())
    }
}
