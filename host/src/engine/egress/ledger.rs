//! One run's exchanges: what is recorded, and what is counted against its caps.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;

use super::counters::{self, EgressCounters};
use super::error::{Code, Detail, Failure};
use super::owner::{OwnerEgress, Place};
use super::refusal::{Reason, Refusal};
use crate::run::{Exchange, SealedUse};

/// How much of a URL is recorded, in characters.
const URL_CHARS_MAX: usize = 2048;
/// How much of a method is recorded, in characters.
const METHOD_CHARS_MAX: usize = 32;

/// The caps of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    pub(super) requests_max: u32,
    pub(super) concurrent_max: u32,
    /// Of all bodies, in both directions.
    pub(super) bytes_max: u64,
}

/// One run's exchanges, shared by all that may still be going on.
#[derive(Debug)]
pub(super) struct Ledger {
    started: Instant,
    deadline: Instant,
    caps: Caps,
    counters: Arc<EgressCounters>,
    owner: Option<Arc<OwnerEgress>>,
    entries: Mutex<Vec<Arc<Entry>>>,
    requests: AtomicU32,
    open: AtomicU32,
    bytes: AtomicU64,
    ended: AtomicBool,
}

impl Ledger {
    pub(super) fn new(
        started: Instant,
        deadline: Instant,
        caps: Caps,
        counters: Arc<EgressCounters>,
        owner: Option<Arc<OwnerEgress>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            started,
            deadline,
            caps,
            counters,
            owner,
            entries: Mutex::default(),
            requests: AtomicU32::new(0),
            open: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        })
    }

    /// When the run has to be over.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Says that the guest is gone: what it has not finished is not finished.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether [`Ledger::end`] was called.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Writes down that an exchange begins.
    ///
    /// # Errors
    /// The run is over a cap. The first request over the total is recorded, further ones
    /// are only counted, so that the record has a bound.
    pub(super) fn begin(self: &Arc<Self>, method: &http::Method, uri: &Uri) -> Result<Ongoing, Failure> {
        counters::add(&self.counters.requests, 1);
        let earlier = self
            .requests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_add(1)));
        let earlier = earlier.unwrap_or(u32::MAX);
        if earlier > self.caps.requests_max {
            self.counters.add_refused(Reason::Requests);
            self.counters.add_failed(Code::HttpRequestDenied);
            return Err(Refusal::new(Reason::Requests).into());
        }
        let entry = Arc::new(Entry {
            at: self.started.elapsed(),
            begun: Instant::now(),
            method: method.as_str().chars().take(METHOD_CHARS_MAX).collect(),
            url: recorded_url(uri),
            status: AtomicU16::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sealed: OnceLock::new(),
            end: OnceLock::new(),
        });
        let index = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.push(entry.clone());
            entries.len() - 1
        };
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let mut ongoing = Ongoing { entry, index, ledger: self.clone(), _place: None };
        if earlier == self.caps.requests_max {
            return Err(ongoing.fail(Refusal::new(Reason::Requests).into()));
        }
        if self.bytes.load(Ordering::Relaxed) >= self.caps.bytes_max {
            return Err(ongoing.fail(Refusal::new(Reason::Bytes).into()));
        }
        if open >= self.caps.concurrent_max {
            return Err(ongoing.fail(Refusal::new(Reason::Concurrent).into()));
        }
        match self.owner.as_ref().map(OwnerEgress::begin).transpose() {
            Ok(place) => ongoing._place = place,
            Err(refusal) => return Err(ongoing.fail(refusal.into())),
        }
        Ok(ongoing)
    }

    /// Counts bytes of a body.
    ///
    /// # Errors
    /// There are more of them than the run, or its owner, may have: they are not counted then.
    fn count(&self, bytes: usize) -> Result<(), Refusal> {
        let add = |before: u64| before.checked_add(bytes as u64).filter(|sum| *sum <= self.caps.bytes_max);
        let counted = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        counted.map_err(|_| Refusal::new(Reason::Bytes))?;
        let Some(owner) = &self.owner else { return Ok(()) };
        owner.count(bytes as u64).inspect_err(|_| {
            self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        })
    }

    /// What is known now of all exchanges, in the order they began.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|entry| entry.record(self.deadline)).collect()
    }

    /// The failures that one word does not explain, with their times since the start.
    pub(super) fn remarks(&self) -> Vec<(Duration, String)> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let remarks = |entry: &Arc<Entry>| {
            let of_sealed = entry.sealed_remarks().into_iter().chain(entry.remark());
            of_sealed.map(|text| (entry.at, text)).collect::<Vec<_>>()
        };
        entries.iter().flat_map(remarks).collect()
    }
}

/// One exchange as it is recorded.
#[derive(Debug)]
pub(super) struct Entry {
    at: Duration,
    begun: Instant,
    method: String,
    url: String,
    /// 0 before there is one.
    status: AtomicU16,
    sent: AtomicU64,
    received: AtomicU64,
    sealed: OnceLock<Vec<SealedUse>>,
    end: OnceLock<End>,
}

#[derive(Debug)]
struct End {
    duration: Duration,
    failure: Option<Failure>,
}

impl Entry {
    fn record(&self, deadline: Instant) -> Exchange {
        let status = Some(self.status.load(Ordering::Relaxed)).filter(|status| *status != 0);
        let (duration, failure) = match self.end.get() {
            Some(end) => (end.duration, end.failure.clone()),
            None => {
                let cut = status.is_none().then(|| cut_by(deadline).into());
                (self.begun.elapsed(), cut)
            }
        };
        Exchange {
            at_us: micros(self.at),
            method: self.method.clone(),
            url: self.url.clone(),
            status,
            request_bytes: self.sent.load(Ordering::Relaxed),
            response_bytes: self.received.load(Ordering::Relaxed),
            duration_us: micros(duration),
            error: failure.as_ref().map(|failure| failure.code.word().to_owned()),
            reason: failure.and_then(|failure| failure.detail.text()),
            sealed: self.sealed.get().cloned().unwrap_or_default(),
        }
    }

    fn sealed_remarks(&self) -> Vec<String> {
        let uses = self.sealed.get().into_iter().flatten();
        let refused = uses.filter_map(|used| Some((&used.name, used.refused.as_ref()?)));
        let text = |(name, reason)| {
            format!(
                "{} {}: the placeholder of the sealed setting {name} was left as it is: {reason}",
                self.method, self.url
            )
        };
        refused.map(text).collect()
    }

    fn remark(&self) -> Option<String> {
        let failure = self.end.get()?.failure.as_ref()?;
        let hint = match &failure.detail {
            Detail::None => return None,
            Detail::Refused(Refusal { address: Some(_), .. }) => {
                "; the operator can open it with egress.allow_private"
            }
            _ => "",
        };
        Some(format!("{} {}: {failure}{hint}", self.method, self.url))
    }
}

/// How an exchange without a response ended that the guest did not wait for.
fn cut_by(deadline: Instant) -> Code {
    if Instant::now() >= deadline { Code::HttpResponseTimeout } else { Code::ConnectionTerminated }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// An exchange that goes on. Dropped, it is given up: what is known is kept.
#[derive(Debug)]
pub(super) struct Ongoing {
    entry: Arc<Entry>,
    index: usize,
    ledger: Arc<Ledger>,
    /// Among those of its owner.
    _place: Option<Place>,
}

impl Ongoing {
    /// Its place among the exchanges of its run.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn set_status(&self, status: http::StatusCode) {
        self.entry.status.store(status.as_u16(), Ordering::Relaxed);
    }

    /// What became of the placeholders in it.
    pub(super) fn set_sealed(&self, uses: Vec<SealedUse>) {
        // It is set once.
        let _ = self.entry.sealed.set(uses);
    }

    /// Counts bytes of the response.
    ///
    /// # Errors
    /// They are more than the run may have: the guest is not given them.
    pub(super) fn add_received(&self, bytes: usize) -> Result<(), Failure> {
        let over = |refusal| Failure { code: Code::HttpResponseBodySize, detail: Detail::Refused(refusal) };
        self.ledger.count(bytes).map_err(over)?;
        self.entry.received.fetch_add(bytes as u64, Ordering::Relaxed);
        counters::add(&self.ledger.counters.bytes_in, bytes as u64);
        Ok(())
    }

    /// A counter for what is sent, which may outlive the exchange.
    pub(super) fn sent(&self) -> Sent {
        Sent { entry: self.entry.clone(), ledger: self.ledger.clone() }
    }

    /// The response was given to the guest, whole.
    pub(super) fn finish(self) {
        self.close(None);
    }

    /// The exchange failed; hands the failure back.
    pub(super) fn fail(self, failure: Failure) -> Failure {
        if let Detail::Refused(refusal) = &failure.detail {
            self.ledger.counters.add_refused(refusal.reason);
        }
        self.ledger.counters.add_failed(failure.code);
        self.close(Some(failure.clone()));
        failure
    }

    fn close(&self, failure: Option<Failure>) {
        let end = End { duration: self.entry.begun.elapsed(), failure };
        if self.entry.end.set(end).is_ok() {
            self.ledger.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        if self.entry.end.get().is_some() {
            return;
        }
        // Given up before the response began, it failed; in its middle, the guest may
        // just not have wanted the rest.
        let is_begun = self.entry.status.load(Ordering::Relaxed) != 0;
        let failure = (!is_begun).then(|| cut_by(self.ledger.deadline).into());
        self.close(failure);
    }
}

/// Counts the bytes of a request's body that are sent.
#[derive(Debug)]
pub(super) struct Sent {
    entry: Arc<Entry>,
    ledger: Arc<Ledger>,
}

impl Sent {
    /// Counts them and returns how many there are so far.
    ///
    /// # Errors
    /// They are more than the run may have: they are not sent.
    pub(super) fn add(&self, bytes: usize) -> Result<u64, Failure> {
        let over = |refusal| Failure { code: Code::HttpRequestBodySize, detail: Detail::Refused(refusal) };
        self.ledger.count(bytes).map_err(over)?;
        counters::add(&self.ledger.counters.bytes_out, bytes as u64);
        Ok(self.entry.sent.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64)
    }

    pub(super) fn is_run_ended(&self) -> bool {
        self.ledger.is_ended()
    }
}

/// The URL without what may be secret in it: a user name or password, and the values in
/// its query.
fn recorded_url(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let mut url = format!("{scheme}://{authority}{}", uri.path());
    for (index, part) in uri.query().into_iter().flat_map(|query| query.split('&')).enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        // A part without a name is all value.
        if let Some((name, _)) = part.split_once('=') {
            url.push_str(name);
            url.push('=');
        }
        if !part.is_empty() {
            url.push('…');
        }
    }
    match url.char_indices().nth(URL_CHARS_MAX) {
        Some((end, _)) => {
            url.truncate(end);
            url.push('…');
            url
        }
        None => url,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn ledger(requests_max: u32, concurrent_max: u32) -> Arc<Ledger> {
        let now = Instant::now();
        let caps = Caps { requests_max, concurrent_max, bytes_max: 100 };
        Ledger::new(now, now + Duration::from_secs(60), caps, Arc::default(), None)
    }

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn recorded_urls_hold_no_values_and_have_a_bound() {
        for (url, recorded) in [
            ("https://api.example/v1/jobs", "https://api.example/v1/jobs"),
            ("http://api.example:8080", "http://api.example:8080/"),
            ("https://a.example/x?key=s3cret&page=2", "https://a.example/x?key=…&page=…"),
            ("https://a.example/x?s3cret", "https://a.example/x?…"),
            ("https://a.example/x?a=&&b=1=2", "https://a.example/x?a=…&&b=…"),
            ("https://me:s3cret@a.example/x", "https://a.example/x"),
            ("https://a@b:s3cret@a.example/x", "https://a.example/x"),
        ] {
            if let Ok(uri) = url.parse() {
                assert_eq!(recorded_url(&uri), recorded);
            }
        }
        let long = recorded_url(&uri(&format!("https://a.example/{}", "é".repeat(3000))));
        assert_eq!(long.chars().count(), URL_CHARS_MAX + 1);
    }

    #[test]
    fn requests_over_the_total_are_refused_and_the_record_has_a_bound() {
        let ledger = ledger(2, 9);
        for _ in 0..2 {
            ledger.begin(&Method::GET, &uri("http://a.example")).unwrap().finish();
        }
        for _ in 0..5 {
            let failure = ledger.begin(&Method::GET, &uri("http://a.example")).unwrap_err();
            assert_eq!(failure.code, Code::HttpRequestDenied);
        }
        let errors: Vec<_> = ledger.exchanges().into_iter().map(|exchange| exchange.error).collect();
        assert_eq!(errors, [None, None, Some("http-request-denied".to_owned())]);
        assert_eq!(ledger.counters.refused().find(|(word, _)| *word == "requests"), Some(("requests", 5)));
    }

    #[test]
    fn open_exchanges_count_until_they_finish_fail_or_are_dropped() {
        let ledger = ledger(100, 2);
        let begin = || ledger.begin(&Method::GET, &uri("http://a.example"));
        for end in [Ongoing::finish, |one: Ongoing| drop(one.fail(Code::DnsTimeout.into())), drop] {
            let (first, second) = (begin().unwrap(), begin().unwrap());
            assert_eq!(begin().unwrap_err().code, Code::HttpRequestDenied);
            end(first);
            drop(begin().unwrap());
            end(second);
        }
    }

    #[test]
    fn bytes_of_all_exchanges_have_a_cap_together() {
        let ledger = ledger(100, 9);
        let begin = || ledger.begin(&Method::POST, &uri("http://a.example"));
        let first = begin().unwrap();
        first.sent().add(40).unwrap();
        first.add_received(59).unwrap();
        let second = begin().unwrap();
        assert_eq!(second.add_received(2).unwrap_err().code, Code::HttpResponseBodySize);
        assert_eq!(second.sent().add(1).unwrap(), 1);
        assert_eq!(begin().unwrap_err().detail, Detail::Refused(Refusal::new(Reason::Bytes)));
        assert_eq!(second.add_received(1).unwrap_err().code, Code::HttpResponseBodySize);
        assert_eq!(first.sent().add(1).unwrap_err().code, Code::HttpRequestBodySize);
        let seen: Vec<_> =
            ledger.exchanges().iter().map(|one| (one.request_bytes, one.response_bytes)).collect();
        assert_eq!(seen, [(40, 59), (1, 0), (0, 0)], "what is over it is neither sent nor received");
    }

    #[test]
    fn what_is_given_up_is_recorded_as_far_as_it_came() {
        let ledger = ledger(9, 9);
        let begin = || ledger.begin(&Method::POST, &uri("http://a.example")).unwrap();
        drop(begin());
        let begun = begin();
        begun.set_status(http::StatusCode::OK);
        begun.add_received(5).unwrap();
        assert_eq!(begun.sent().add(7).unwrap(), 7);
        drop(begun);
        let _still_open = begin();
        let words: Vec<_> =
            ledger.exchanges().into_iter().map(|one| (one.status, one.response_bytes, one.error)).collect();
        let terminated = Some("connection-terminated".to_owned());
        assert_eq!(words, [(None, 0, terminated.clone()), (Some(200), 5, None), (None, 0, terminated)]);
    }
}
