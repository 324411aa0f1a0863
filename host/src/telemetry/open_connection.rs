//! The gauge of open connections.

use prometheus_client::metrics::gauge::Gauge;

/// Counts an open connection until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl OpenConnection {
    pub(super) fn counted_by(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
