//! The counter of requests that became no run.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::add;

/// The codes that tell somebody at work, which are there before they count.
const WATCHED: [&str; 8] = [
    "address-rate",
    "endpoint-rate",
    "owner-rate",
    "signature-missing",
    "signature-malformed",
    "signature-expired",
    "signature-mismatch",
    "signature-unset",
];

/// Requests to catch endpoints that became no run, and those of any kind that came from an
/// address with too many, by the code that their callers got.
#[derive(Debug)]
pub struct RefusalMetrics {
    by_code: Family<CodeLabels, Counter>,
    total: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: &'static str,
}

impl RefusalMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family: Family<CodeLabels, Counter> =
            add(registry, "catch_refusals", "Requests to catch endpoints that became no run, by code");
        for code in WATCHED {
            family.get_or_create_owned(&CodeLabels { code });
        }
        Self { by_code: family, total: AtomicU64::new(0) }
    }

    /// Counts a refusal; `code` is a word of this program.
    pub fn refused(&self, code: &'static str) {
        self.by_code.get_or_create(&CodeLabels { code }).inc();
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}
