//! How long things took.

use std::time::Duration;

/// Latencies of one kind.
#[derive(Debug, Default, Clone)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn push(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The first one, in milliseconds.
    pub(crate) fn first_ms(&self) -> f64 {
        self.0.first().copied().map_or(f64::NAN, ms)
    }

    /// In milliseconds.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().map_or(f64::NAN, ms)
    }

    /// Prints p50, p99 and the largest.
    #[allow(clippy::print_stdout, reason = "a table is what this program is for")]
    pub(crate) fn report(&self, name: &str) {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| self.quantile_ms(share) * 1e3);
        println!("{name:<34} p50 {p50:>9.1}  p99 {p99:>9.1}  max {max:>9.1} µs");
    }
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
