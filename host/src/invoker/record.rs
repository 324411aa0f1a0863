//! The record of a run, as it begins.

use std::sync::Arc;

use super::{Invocation, Invoker};
use crate::engine::Input;
use crate::registry::Entry;
use crate::run::{Body, FORMAT, Inputs, LogSummary, RequestRecord, Run, Status, Trace, Usage};

/// The header that carries a trace (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";

impl Invoker {
    pub(super) fn record(&self, entry: &Entry, invocation: &Invocation, status: Status) -> Run {
        let request = match &invocation.input {
            Input::Request(request) => Some(Arc::new(RequestRecord {
                method: request.method.clone(),
                path_with_query: request.path_with_query.clone(),
                headers: request.headers.clone(),
                body: Body::cut(request.body.clone(), self.config.run.record_body_bytes_max),
            })),
            Input::Tick { .. } => None,
        };
        let mut run = Run {
            format: FORMAT,
            id: invocation.id,
            workflow: entry.workflow.id,
            workflow_name: entry.workflow.name.clone(),
            version: entry.version.as_ref().map(|version| version.number),
            trigger: invocation.trigger.clone(),
            attempt: invocation.attempt,
            event: invocation.queued.as_ref().map(|queued| queued.event),
            status,
            fault: None,
            accepted_at: invocation.accepted_at,
            started_at: None,
            finished_at: None,
            request,
            reply: None,
            value: None,
            log: LogSummary::default(),
            exchanges: Vec::new(),
            settings_read: Vec::new(),
            settings_changed: Vec::new(),
            lateness_us: None,
            node: Some(self.node.clone()),
            usage: Usage::default(),
            inputs: Inputs::default(),
            trace: self.trace(invocation),
        };
        // Of what never starts this is the last word.
        run.note_lateness(invocation.ready_at, invocation.accepted_at);
        run
    }

    /// The caller's trace, or one of the run's own while somebody collects them.
    fn trace(&self, invocation: &Invocation) -> Option<Trace> {
        let called = match &invocation.input {
            Input::Request(request) => {
                let header = request.headers.iter().find(|(name, _)| name == TRACEPARENT);
                header.and_then(|(_, value)| Trace::called(invocation.id, value))
            }
            Input::Tick { .. } => None,
        };
        called.or_else(|| self.telemetry.is_exported().then(|| Trace::root(invocation.id)))
    }
}
