//! How much memory a run may have, and how much all of them may have together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use super::tuning::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};

/// The memory that all instances share out among them.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: u64,
    used_bytes: AtomicU64,
}

impl Budget {
    /// A budget of so many bytes; 0 means none but the pool's own.
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        let bytes_max = if bytes_max == 0 { u64::MAX } else { bytes_max };
        Arc::new(Self { bytes_max, used_bytes: AtomicU64::new(0) })
    }

    /// Bytes that are taken now.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let grown = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One run's memory. Gives everything back when it is dropped.
#[derive(Debug)]
pub(super) struct Account {
    budget: Arc<Budget>,
    bytes_max: u64,
    used_bytes: u64,
    peak_bytes: u64,
    /// What the growth that is under way was charged, should it fail after all.
    pending_bytes: u64,
    refused: bool,
}

impl Account {
    /// An account that may hold `bytes_max` bytes of linear memory in sum.
    pub(super) fn new(budget: Arc<Budget>, bytes_max: u64) -> Self {
        Self { budget, bytes_max, used_bytes: 0, peak_bytes: 0, pending_bytes: 0, refused: false }
    }

    /// The largest sum so far.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Whether memory was ever refused.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.give_back(self.used_bytes);
    }
}

impl ResourceLimiter for Account {
    // Asked for the initial size of a memory too, with `current` 0.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current) as u64;
        self.pending_bytes = 0;
        let fits_type = maximum.is_none_or(|maximum| desired <= maximum);
        if !fits_type || self.used_bytes + growth > self.bytes_max || !self.budget.take(growth) {
            self.refused = true;
            return Ok(false);
        }
        self.used_bytes += growth;
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
        self.pending_bytes = growth;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.used_bytes -= self.pending_bytes;
        self.budget.give_back(std::mem::take(&mut self.pending_bytes));
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_gets_its_cap_and_not_a_byte_more() {
        let budget = Budget::new(0);
        let mut account = Account::new(budget.clone(), 100);
        assert!(account.memory_growing(0, 60, None).unwrap());
        assert!(account.memory_growing(60, 100, None).unwrap());
        assert!(!account.refused());
        assert!(!account.memory_growing(100, 101, None).unwrap());
        assert!(account.refused());
        assert_eq!((account.peak_bytes(), budget.used_bytes()), (100, 100));
        drop(account);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn all_runs_share_one_budget_and_a_failed_growth_is_given_back() {
        let budget = Budget::new(150);
        let mut one = Account::new(budget.clone(), 100);
        let mut two = Account::new(budget.clone(), 100);
        assert!(one.memory_growing(0, 100, None).unwrap());
        assert!(!two.memory_growing(0, 51, None).unwrap());
        assert!(two.memory_growing(0, 50, None).unwrap());
        two.memory_grow_failed(wasmtime::Error::msg("mmap")).unwrap();
        assert_eq!(budget.used_bytes(), 100);
        drop(one);
        assert!(two.memory_growing(0, 100, None).unwrap());
    }
}
