//! The only way out of the sandbox. Refuses everything until the guarded client lands.

use std::sync::Arc;
use std::time::Instant;

use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

use crate::run::Exchange;

/// The host's way out.
pub struct Egress;

/// What a run's way out is made from.
pub struct RunEgressOptions {
    /// When the run started.
    pub started: Instant,
    /// When it must have ended.
    pub deadline: Instant,
}

impl Egress {
    /// The way out of one run.
    pub fn for_run(self: &Arc<Self>, _options: RunEgressOptions) -> RunEgress {
        RunEgress
    }
}

/// The way out of one run.
pub struct RunEgress;

impl RunEgress {
    /// The exchanges so far.
    pub fn take_exchanges(&mut self) -> Vec<Exchange> {
        Vec::new()
    }

    /// Refuses every request from now on.
    pub fn refuse_all(&mut self) {}
}

type Io = Box<dyn Future<Output = std::result::Result<(), Error>> + Send>;

impl WasiHttpHooks for RunEgress {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _processed: Io,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io)>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied.into()) })
    }
}
