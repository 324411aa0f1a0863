//! How much memory a run may have, and how much all of them may have together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use super::tuning::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};

/// The linear memory that instances share out among them: all of the host, or those of one
/// owner within it.
#[derive(Debug)]
pub struct MemoryBudget {
    bytes_max: u64,
    used_bytes: AtomicU64,
    /// The host's, for an owner's.
    within: Option<Arc<MemoryBudget>>,
}

/// Why a run got no more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoMemory {
    /// It has what one run may have.
    Run,
    /// The runs of its owner have what they may have.
    Owner {
        /// How much that is.
        bytes_max: u64,
    },
    /// All runs have what there is.
    Host {
        /// How much that is.
        bytes_max: u64,
    },
}

impl MemoryBudget {
    /// The host's, of so many bytes; 0 means none but the pool's own.
    pub(super) fn of_host(bytes_max: u64) -> Arc<Self> {
        let bytes_max = if bytes_max == 0 { u64::MAX } else { bytes_max };
        Arc::new(Self { bytes_max, used_bytes: AtomicU64::new(0), within: None })
    }

    /// An owner's, of so many bytes, all of which are the host's too.
    pub fn of_owner(host: Arc<Self>, bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, used_bytes: AtomicU64::new(0), within: Some(host) })
    }

    /// Bytes that are taken now.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> Result<(), NoMemory> {
        let grown = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        if self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_err() {
            let bytes_max = self.bytes_max;
            return Err(match self.within {
                Some(_) => NoMemory::Owner { bytes_max },
                None => NoMemory::Host { bytes_max },
            });
        }
        let Some(host) = &self.within else { return Ok(()) };
        host.take(bytes).inspect_err(|_| {
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(host) = &self.within {
            host.give_back(bytes);
        }
    }
}

/// One run's memory. Gives everything back when it is dropped.
#[derive(Debug)]
pub(super) struct Account {
    budget: Arc<MemoryBudget>,
    bytes_max: u64,
    used_bytes: u64,
    peak_bytes: u64,
    /// What the growth that is under way was charged, should it fail after all.
    pending_bytes: u64,
    refused: Option<NoMemory>,
}

impl Account {
    /// An account that may hold `bytes_max` bytes of linear memory in sum.
    pub(super) fn new(budget: Arc<MemoryBudget>, bytes_max: u64) -> Self {
        Self { budget, bytes_max, used_bytes: 0, peak_bytes: 0, pending_bytes: 0, refused: None }
    }

    /// The largest sum so far.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Why memory was refused the last time; `None` when it never was.
    pub(super) fn refused(&self) -> Option<NoMemory> {
        self.refused
    }

    fn take(&self, growth: u64) -> Result<(), NoMemory> {
        if self.used_bytes.saturating_add(growth) > self.bytes_max {
            return Err(NoMemory::Run);
        }
        self.budget.take(growth)
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
        if let Err(reason) = if fits_type { self.take(growth) } else { Err(NoMemory::Run) } {
            self.refused = Some(reason);
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
        self.refused = Some(NoMemory::Run);
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
        let budget = MemoryBudget::of_host(0);
        let mut account = Account::new(budget.clone(), 100);
        assert!(account.memory_growing(0, 60, None).unwrap());
        assert!(account.memory_growing(60, 100, None).unwrap());
        assert_eq!(account.refused(), None);
        assert!(!account.memory_growing(100, 101, None).unwrap());
        assert_eq!(account.refused(), Some(NoMemory::Run));
        assert_eq!((account.peak_bytes(), budget.used_bytes()), (100, 100));
        drop(account);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn all_runs_share_one_budget_and_a_failed_growth_is_given_back() {
        let budget = MemoryBudget::of_host(150);
        let mut one = Account::new(budget.clone(), 100);
        let mut two = Account::new(budget.clone(), 100);
        assert!(one.memory_growing(0, 100, None).unwrap());
        assert!(!two.memory_growing(0, 51, None).unwrap());
        assert_eq!(two.refused(), Some(NoMemory::Host { bytes_max: 150 }));
        assert!(two.memory_growing(0, 50, None).unwrap());
        two.memory_grow_failed(wasmtime::Error::msg("mmap")).unwrap();
        assert_eq!(budget.used_bytes(), 100);
        drop(one);
        assert!(two.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn an_owners_runs_share_theirs_within_the_hosts() {
        let host = MemoryBudget::of_host(150);
        let owner = MemoryBudget::of_owner(host.clone(), 100);
        let mut one = Account::new(owner.clone(), 100);
        let mut two = Account::new(owner.clone(), 100);
        let mut other = Account::new(host.clone(), 100);
        assert!(one.memory_growing(0, 60, None).unwrap() && two.memory_growing(0, 40, None).unwrap());
        assert!(!two.memory_growing(40, 41, None).unwrap());
        assert_eq!(two.refused(), Some(NoMemory::Owner { bytes_max: 100 }));
        assert!(other.memory_growing(0, 50, None).unwrap(), "others have theirs");
        drop(one);
        assert!(!two.memory_growing(40, 101, None).unwrap(), "but no more than there is");
        assert!(two.memory_growing(40, 100, None).unwrap());
        assert!(!other.memory_growing(50, 51, None).unwrap());
        assert_eq!((owner.used_bytes(), host.used_bytes()), (100, 150));
        two.memory_grow_failed(wasmtime::Error::msg("mmap")).unwrap();
        assert_eq!((owner.used_bytes(), host.used_bytes()), (40, 90));
        drop((two, other));
        assert_eq!((owner.used_bytes(), host.used_bytes()), (0, 0));
    }
}
