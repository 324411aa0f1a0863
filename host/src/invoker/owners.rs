//! What the workflows of one owner use together, and may use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::config::{self, Config};
use crate::engine::MemoryBudget;
use crate::engine::egress::OwnerEgress;
use crate::pace::Pace;
use crate::rate::{Meter, Rate};
use crate::workflow::OwnerId;

/// One owner's account.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) id: OwnerId,
    running: AtomicUsize,
    waiting: AtomicUsize,
    /// Runs at the same time.
    running_max: usize,
    /// The same while runs of others wait.
    running_fair_max: usize,
    /// What their instances may have together; `None` has the host's budget only.
    pub(super) memory: Option<Arc<MemoryBudget>>,
    /// What they may send together; `None` for what each may send.
    pub(super) egress: Option<Arc<OwnerEgress>>,
    /// How often its workflows were called lately.
    pub(super) meter: Meter,
    cpu: Option<CpuBudget>,
    /// How long runs hold their slots, and who waits for one.
    pub(super) pace: Pace,
}

impl Owner {
    /// Whether another run may start.
    pub(super) fn has_room(&self) -> bool {
        self.running() < self.running_max
    }

    /// Whether another run may start while runs of other owners wait.
    pub(super) fn has_room_beside_others(&self) -> bool {
        self.running() < self.running_fair_max.min(self.running_max)
    }

    /// Slots that runs which wait can count on: those that it has, or an eighth, which others
    /// leave it.
    pub(super) fn slots(&self) -> usize {
        self.running().max(self.running_fair_max.min(self.running_max) / 4)
    }

    /// Runs that have a slot.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// A place among the runs.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        self.running.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }

    /// A place among those that wait; `None` when so many of them do.
    pub(super) fn wait(self: &Arc<Self>, waiting_max: usize) -> Option<Waiting> {
        let place = Waiting(self.clone());
        (self.waiting.fetch_add(1, Ordering::Relaxed) < waiting_max).then_some(place)
    }

    /// Whether there is processor time left; otherwise how long it takes until there is.
    pub(super) fn cpu_left(&self) -> Result<(), CpuSpent> {
        self.cpu.as_ref().map_or(Ok(()), |budget| budget.left(Instant::now()))
    }

    /// Charges what a run took.
    pub(super) fn spend_cpu(&self, cpu_us: u64) {
        if let Some(budget) = &self.cpu {
            budget.spend(Instant::now(), cpu_us);
        }
    }
}

/// A run of an owner; it has ended when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Owner>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A run of an owner that waits for its slot.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Owner>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No processor time is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuSpent {
    /// What there is each minute.
    pub(super) ms_per_minute: u64,
    /// When there is some again.
    pub(super) again_in: Duration,
}

/// Processor time by the minute: it comes back evenly, up to one minute's worth.
#[derive(Debug)]
struct CpuBudget {
    ms_per_minute: u64,
    /// What is left, in microseconds, and when that was. Below zero once a run took more
    /// than there was.
    left: Mutex<(f64, Instant)>,
}

impl CpuBudget {
    fn new(ms_per_minute: u64, now: Instant) -> Self {
        Self { ms_per_minute, left: Mutex::new((ms_per_minute as f64 * 1e3, now)) }
    }

    /// Microseconds that come back each second.
    fn rate(&self) -> f64 {
        self.ms_per_minute as f64 * 1e3 / 60.0
    }

    fn change(&self, now: Instant, used_us: f64) -> f64 {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let back = now.saturating_duration_since(left.1).as_secs_f64() * self.rate();
        *left = ((left.0 + back).min(self.ms_per_minute as f64 * 1e3) - used_us, now);
        left.0
    }

    fn left(&self, now: Instant) -> Result<(), CpuSpent> {
        let left = self.change(now, 0.0);
        if left > 0.0 {
            return Ok(());
        }
        let again_in = Duration::from_secs_f64((1.0 - left) / self.rate());
        Err(CpuSpent { ms_per_minute: self.ms_per_minute, again_in })
    }

    fn spend(&self, now: Instant, cpu_us: u64) {
        self.change(now, cpu_us as f64);
    }
}

/// All owners whose workflows ran since the start.
pub(super) struct Owners {
    limits: config::Owner,
    running_max: usize,
    running_fair_max: usize,
    memory: Option<Arc<MemoryBudget>>,
    built_in: Arc<Owner>,
    others: RwLock<HashMap<OwnerId, Arc<Owner>>>,
}

impl Owners {
    /// Accounts with the limits of the configuration, within the host's memory.
    pub(super) fn new(config: &Config, memory: Option<Arc<MemoryBudget>>) -> Self {
        let slots = config.engine.instances_max as usize;
        let running_max = match config.owner.instances_max {
            // So that an owner who comes later finds some at once.
            0 => slots - slots / 8,
            limit => limit as usize,
        };
        let running_fair_max = slots.div_ceil(2);
        let limits = config.owner.clone();
        let built_in = account(OwnerId::BUILT_IN, &limits, running_max, running_fair_max, memory.as_ref());
        Self { limits, running_max, running_fair_max, memory, built_in, others: RwLock::default() }
    }

    /// How often the workflows of one owner may be called.
    pub(super) fn rate(&self) -> Option<Rate> {
        Rate::new(self.limits.rate_per_s_max, self.limits.burst_max)
    }

    /// An owner's account.
    pub(super) fn get(&self, id: &OwnerId) -> Arc<Owner> {
        if id.is_built_in() {
            return self.built_in.clone();
        }
        if let Some(owner) = self.others.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return owner.clone();
        }
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            account(id.clone(), &self.limits, self.running_max, self.running_fair_max, self.memory.as_ref())
        };
        others.entry(id.clone()).or_insert_with(make).clone()
    }
}

fn account(
    id: OwnerId,
    limits: &config::Owner,
    running_max: usize,
    running_fair_max: usize,
    memory: Option<&Arc<MemoryBudget>>,
) -> Arc<Owner> {
    let memory = memory
        .filter(|_| limits.memory_bytes_max > 0)
        .map(|host| MemoryBudget::of_owner(host.clone(), limits.memory_bytes_max));
    let cpu = (limits.cpu_ms_per_minute_max > 0)
        .then(|| CpuBudget::new(limits.cpu_ms_per_minute_max, Instant::now()));
    let (running, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (egress, meter) = (OwnerEgress::new(limits), Meter::default());
    Arc::new(Owner {
        id,
        running,
        waiting,
        running_max,
        running_fair_max,
        memory,
        egress,
        meter,
        cpu,
        pace: Pace::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_comes_back_evenly_and_no_more_than_a_minute_of_it() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let budget = CpuBudget::new(6_000, start);
        budget.spend(start, 5_999_999);
        assert_eq!(budget.left(start), Ok(()), "a microsecond is left");
        budget.spend(start, 1);
        let spent = budget.left(start).unwrap_err();
        assert!(spent.ms_per_minute == 6_000 && spent.again_in < Duration::from_millis(1), "{spent:?}");
        // 100 ms come back each second; what a run took beyond the end is owed.
        budget.spend(at(10), 1_500_000);
        assert!(budget.left(at(14)).unwrap_err().again_in > Duration::from_millis(900));
        assert_eq!(budget.left(at(16)), Ok(()));
        // Hours later there is one minute's worth.
        budget.spend(at(36_000), 5_999_999);
        assert_eq!(budget.left(at(36_000)), Ok(()));
        budget.spend(at(36_000), 2);
        assert!(budget.left(at(36_000)).is_err());
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let owners = Owners::new(&Config::defaults(), None);
        let owner = owners.get(&OwnerId::from(Some("one")));
        let places: Vec<_> = (0..2).map(|_| owner.wait(2).expect("room")).collect();
        assert!(owner.wait(2).is_none() && owner.wait(2).is_none());
        drop(places);
        assert!(owner.wait(2).is_some());
        assert!(Arc::ptr_eq(&owner, &owners.get(&OwnerId::from(Some("one")))));
        assert!(!Arc::ptr_eq(&owner, &owners.get(&OwnerId::BUILT_IN)));
    }
}
