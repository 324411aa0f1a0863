//! Counters of all exchanges of the process, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::Code;
use super::refusal::Reason;

/// Counts since the process started. They only grow.
#[derive(Debug, Default)]
pub struct EgressCounters {
    /// Requests that guests made, those that were refused included.
    pub requests: AtomicU64,
    /// Connections that were opened.
    pub connections_opened: AtomicU64,
    /// Requests that were sent on a connection that had been opened for an earlier one.
    pub connections_reused: AtomicU64,
    /// Bytes of request bodies that were sent.
    pub bytes_out: AtomicU64,
    /// Bytes of response bodies that guests were given.
    pub bytes_in: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
    failed: [AtomicU64; Code::ALL.len()],
}

impl EgressCounters {
    /// Refusals by reason, all reasons.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let words = Reason::ALL.iter().map(|reason| reason.word());
        words.zip(self.refused.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Failed exchanges by error code, all codes; refusals are among them.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let words = Code::ALL.iter().map(|code| code.word());
        words.zip(self.failed.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(super) fn add_refused(&self, reason: Reason) {
        add(&self.refused[reason as usize], 1);
    }

    pub(super) fn add_failed(&self, code: Code) {
        add(&self.failed[code as usize], 1);
    }
}

/// Counters are independent of each other and of any other memory.
pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_and_code_has_its_own_place() {
        let counters = EgressCounters::default();
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            (0..=index).for_each(|_| counters.add_refused(reason));
        }
        for (index, code) in Code::ALL.iter().enumerate() {
            (0..=index).for_each(|_| counters.add_failed(*code));
        }
        let expected: Vec<_> = Reason::ALL.iter().map(|reason| reason.word()).zip(1..).collect();
        assert_eq!(counters.refused().collect::<Vec<_>>(), expected);
        let expected: Vec<_> = Code::ALL.iter().map(|code| code.word()).zip(1..).collect();
        assert_eq!(counters.failed().collect::<Vec<_>>(), expected);
    }
}
