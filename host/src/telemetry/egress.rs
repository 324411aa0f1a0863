//! What workflows were refused on their way out, by the rule that they broke.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::add;

/// Outbound requests that were refused, by reason: counted elsewhere, read when the metrics
/// are.
#[derive(Debug)]
pub(super) struct EgressMetrics(Family<ReasonLabels, Counter<u64, AtomicU64>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

impl EgressMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self(add(registry, "egress_refusals", "Outbound requests that policy or a cap refused, by reason"))
    }

    /// Takes over what was counted, all reasons.
    pub(super) fn set(&self, refused: &[(&'static str, u64)]) {
        for (reason, count) in refused {
            self.0.get_or_create(&ReasonLabels { reason }).inner().store(*count, Ordering::Relaxed);
        }
    }
}
