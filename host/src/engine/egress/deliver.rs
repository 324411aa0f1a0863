//! A request of the host's own: telling a callback.
//!
//! It goes the guests' way: the same policy, resolver, connector and limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};

use super::Egress;
use super::client::{self, Times};
use super::error::Failure;
use super::ledger::{Caps, Ledger};
use crate::workflow::WorkflowId;

impl Egress {
    /// Sends a request on behalf of a workflow and returns the response's status; its body
    /// is not read. Ends within `patience`.
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn deliver(
        self: &Arc<Self>,
        workflow: WorkflowId,
        request: Request<Bytes>,
        patience: Duration,
    ) -> Result<u16, Failure> {
        let now = Instant::now();
        let deadline = now + patience.min(self.limits.exchange_timeout);
        let caps = Caps { requests_max: 1, concurrent_max: 1, bytes_max: u64::MAX };
        let ledger = Ledger::new(now, deadline, caps, self.counters.clone(), None);
        let begun = ledger.begin(request.method(), request.uri());
        let request = request.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
        let times = Times {
            connect: self.limits.connect_timeout.min(patience),
            first_byte: self.limits.first_byte_timeout.min(patience),
            between: patience,
            until: deadline.into(),
        };
        let response = client::exchange(self, begun?, workflow, None, request, times).await?;
        Ok(response.status().as_u16())
    }
}
