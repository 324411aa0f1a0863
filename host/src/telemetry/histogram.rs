//! A histogram that is observed without a lock.
//!
//! The library's own takes a write lock for each observation; three of them are
//! observed at the end of every run.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds for times, in microseconds: 100 µs to 60 s.
pub(super) const TIMES_US: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// Microseconds in the unit that is shown, the second.
pub(super) const US_PER_SECOND: f64 = 1e6;

/// Upper bounds for memory, in bytes: 256 KiB to 4 GiB.
pub(super) const MEMORY_BYTES: &[u64] = &[
    1 << 18,
    1 << 20,
    1 << 21,
    1 << 22,
    1 << 23,
    1 << 24,
    1 << 25,
    1 << 26,
    1 << 27,
    1 << 28,
    1 << 30,
    1 << 32,
];

/// Counts whole numbers by size. Clones share their counts.
#[derive(Clone)]
pub(super) struct Histogram(Arc<Inner>);

struct Inner {
    bounds: &'static [u64],
    /// How many of the observed unit are one of the shown unit.
    per_unit: f64,
    /// One for each bound, and one for what is above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// `bounds` ascend; `per_unit` of what is observed are one of what is shown.
    pub(super) fn new(bounds: &'static [u64], per_unit: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { bounds, per_unit, counts, sum: AtomicU64::new(0) }))
    }

    pub(super) fn observe(&self, value: u64) {
        let index = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.counts[index].fetch_add(1, Relaxed);
        self.0.sum.fetch_add(value, Relaxed);
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("sum", &self.0.sum).finish_non_exhaustive()
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        // The encoder adds the counts up, and wants infinity as the last bound.
        let bounds = self.0.bounds.iter().map(|bound| *bound as f64 / self.0.per_unit).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            bounds.zip(self.0.counts.iter().map(|count| count.load(Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.sum.load(Relaxed) as f64 / self.0.per_unit;
        type NoExemplars<'a> = Option<&'a HashMap<usize, Exemplar<[(&'static str, &'static str); 0], f64>>>;
        encoder.encode_histogram(sum, count, &buckets, NoExemplars::None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_bound_counts_what_is_equal_to_it_and_the_last_bucket_what_is_above() {
        let histogram = Histogram::new(&[1_000, 2_500_000], US_PER_SECOND);
        for value in [0, 1_000, 1_001, 2_500_000, 2_500_001, 90_000_000] {
            histogram.observe(value);
        }
        let mut registry = Registry::default();
        registry.register("t", "Time", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "t_bucket{le=\"0.001\"} 2",
            "t_bucket{le=\"2.5\"} 4",
            "t_bucket{le=\"+Inf\"} 6",
            "t_count 6",
            "t_sum 95.002002",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
