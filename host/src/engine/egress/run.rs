//! One run's way out: `wasi:http/outgoing-handler` as the guest sees it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error as WasiError, RequestOptions, Result as WasiResult, WasiBody, WasiHttpHooks};

use super::client::{self, Times};
use super::destinations;
use super::ledger::{Caps, Ledger, Ongoing};
use super::sealed::SealedSettings;
use super::sealed_body::CleanBody;
use super::target::Target;
use super::{Egress, Failure, OwnerEgress};
use crate::run::{Exchange, Trace};
use crate::workflow::{Destination, WorkflowId};

/// Most bytes of a request's body that a guest hands over at once.
const BODY_CHUNK_BYTES: usize = 64 << 10;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a run brings along.
#[derive(Clone)]
pub struct RunEgressOptions {
    /// Whose run it is. Only runs of one workflow share connections.
    pub workflow: WorkflowId,
    /// When the run started: the record's times count from here.
    pub started: Instant,
    /// When the run is cut: no exchange outlives it.
    pub deadline: Instant,
    /// Whether it may send anything at all; importing a program may not.
    pub open: bool,
    /// The workflow's own list of destinations; `None` for wherever the host lets
    /// workflows go.
    pub destinations: Option<Arc<[Destination]>>,
    /// What goes on with requests that have no `traceparent`: each gets a span of its own.
    pub trace: Option<Trace>,
    /// What it may send.
    pub limits: OutboundLimits,
    /// Its sealed settings.
    pub sealed: Option<Arc<SealedSettings>>,
}

/// What a run may send, where that is less than what the host lets any run send.
#[derive(Debug, Clone, Default)]
pub struct OutboundLimits {
    /// Requests.
    pub requests_max: Option<u32>,
    /// Requests at the same time.
    pub concurrent_max: Option<u32>,
    /// Bytes of all bodies, in both directions.
    pub bytes_max: Option<u64>,
    /// What the workflows of its owner may send together.
    pub owner: Option<Arc<OwnerEgress>>,
}

impl OutboundLimits {
    fn within(&self, caps: Caps) -> Caps {
        Caps {
            requests_max: self.requests_max.unwrap_or(u32::MAX).min(caps.requests_max),
            concurrent_max: self.concurrent_max.unwrap_or(u32::MAX).min(caps.concurrent_max),
            bytes_max: self.bytes_max.unwrap_or(u64::MAX).min(caps.bytes_max),
        }
    }
}

/// The hooks of one run's store.
///
/// Put it in front of the resource table among the store's fields, or call
/// [`RunEgress::end`] before the store is dropped: a body that the guest had not finished
/// is then not taken for a finished one.
pub struct RunEgress {
    egress: Arc<Egress>,
    workflow: WorkflowId,
    destinations: Option<Arc<[Destination]>>,
    trace: Option<Trace>,
    ledger: Arc<Ledger>,
    sealed: Option<Arc<SealedSettings>>,
}

/// The future by which `wasi:http` gets a response.
type Sending = Box<dyn Future<Output = WasiResult<(http::Response<WasiBody>, Processing)>> + Send>;
/// The future by which a request's own end could be told. Ours has nothing to tell.
type Processing = Box<dyn Future<Output = WasiResult<()>> + Send>;

impl RunEgress {
    pub(super) fn new(egress: Arc<Egress>, options: RunEgressOptions) -> Self {
        let RunEgressOptions { workflow, started, deadline, open, destinations, trace, limits, sealed } =
            options;
        let caps = limits.within(egress.limits.caps);
        let caps = if open { caps } else { Caps { requests_max: 0, ..caps } };
        let ledger = Ledger::new(started, deadline, caps, egress.counters.clone(), limits.owner);
        Self { egress, workflow, destinations, trace, ledger, sealed }
    }

    /// The run's exchanges as far as they came, in the order they began. May be called at
    /// any time; those that still go on are shown as if they were given up now.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.ledger.exchanges()
    }

    /// What the log should say about exchanges that were refused or failed, with the time
    /// since the run started: the words of the record do not name rule and address.
    pub fn remarks(&self) -> Vec<(Duration, String)> {
        self.ledger.remarks()
    }

    /// The setting whose placeholder stands in a text.
    pub fn placeholder_in(&self, text: &str) -> Option<&str> {
        self.sealed.as_ref()?.held_in(text)
    }

    /// The guest is gone: what it had not finished to send is not sent.
    pub fn end(&mut self) {
        self.ledger.end();
    }

    /// Writes down that a request begins, if the workflow's own list lets it out.
    fn begin(&self, request: &Request<WasiBody>) -> Result<Ongoing, Failure> {
        let (method, uri) = (request.method(), request.uri());
        let ongoing = self.ledger.begin(method, uri)?;
        let Some(list) = &self.destinations else { return Ok(ongoing) };
        let target = Target::parse(uri, &self.egress.policy.allowed);
        match target.and_then(|target| destinations::check(list, &target, method, uri)) {
            Ok(()) => Ok(ongoing),
            Err(refusal) => Err(ongoing.fail(refusal.into())),
        }
    }

    fn times(&self, options: Option<RequestOptions>) -> Times {
        let limits = &self.egress.limits;
        let options = options.unwrap_or_default();
        let clamp = |wish: Option<Duration>, limit: Duration| wish.map_or(limit, |wish| wish.min(limit));
        let now = Instant::now();
        let until = now.checked_add(limits.exchange_timeout).unwrap_or(self.ledger.deadline());
        Times {
            connect: clamp(options.connect_timeout, limits.connect_timeout),
            first_byte: clamp(options.first_byte_timeout, limits.first_byte_timeout),
            between: clamp(options.between_bytes_timeout, limits.first_byte_timeout),
            until: until.min(self.ledger.deadline()).into(),
        }
    }
}

impl Drop for RunEgress {
    fn drop(&mut self) {
        self.end();
    }
}

impl WasiHttpHooks for RunEgress {
    /// It is set from the URL, whatever the guest says.
    fn set_host_header(&mut self) -> bool {
        false
    }

    /// One chunk is buffered for each body that is being sent.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), WasiError>> + Send>,
    ) -> Sending {
        let begun = self.begin(&request);
        if let (Some(trace), Ok(ongoing)) = (&self.trace, &begun)
            && let header::Entry::Vacant(vacant) = request.headers_mut().entry(TRACEPARENT)
            && let Ok(header) = trace.header_of_call(ongoing.index()).parse::<HeaderValue>()
        {
            vacant.insert(header);
        }
        let times = self.times(options);
        let (egress, workflow, sealed) = (self.egress.clone(), self.workflow, self.sealed.clone());
        Box::new(async move {
            let ongoing = begun.map_err(|failure| failure.to_wasi())?;
            let response =
                client::exchange(&egress, ongoing, workflow, sealed.as_deref(), request, times).await;
            let response = response.map_err(|failure| failure.to_wasi())?;
            let processing: Processing = Box::new(async { Ok(()) });
            let response = match sealed {
                None => response.map(BodyExt::boxed_unsync),
                Some(sealed) => {
                    let (mut parts, body) = response.into_parts();
                    sealed.clean_headers(&mut parts.headers);
                    // A placeholder has another length than the value.
                    if !body.is_end_stream() {
                        parts.headers.remove(header::CONTENT_LENGTH);
                    }
                    Response::from_parts(parts, CleanBody::new(body, sealed).boxed_unsync())
                }
            };
            Ok((response, processing))
        })
    }
}
