//! What the runs of one owner's workflows may send together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::refusal::{Reason, Refusal};
use crate::config;
use crate::rate::{Allowance, Meter};

/// One owner's account of what is sent. What a limit of 0 stands for has none.
#[derive(Debug, Default)]
pub struct OwnerEgress {
    concurrent_max: u32,
    open: AtomicU32,
    requests: Option<Allowance>,
    requested: Meter,
    bytes: Option<Allowance>,
    moved: Meter,
}

/// An exchange among its owner's. It is over when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<OwnerEgress>);

impl OwnerEgress {
    /// An account with the limits of the configuration; `None` where there are none.
    pub fn new(config: &config::Owner) -> Option<Arc<Self>> {
        let account = Self {
            concurrent_max: config.egress_concurrent_max,
            requests: Allowance::per_minute(config.egress_requests_per_minute_max),
            bytes: Allowance::per_minute(config.egress_bytes_per_minute_max),
            ..Self::default()
        };
        let is_limited = account.concurrent_max > 0 || account.requests.is_some() || account.bytes.is_some();
        is_limited.then(|| Arc::new(account))
    }

    /// A place for an exchange.
    ///
    /// # Errors
    /// The owner's workflows have as many open as they may have, or made as many in a minute.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Place, Refusal> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        // From here on it is counted until it is dropped.
        let place = Place(self.clone());
        if self.concurrent_max > 0 && open >= self.concurrent_max {
            return Err(Refusal::new(Reason::OwnerConcurrent));
        }
        match self.requests.map(|allowance| self.requested.take_of(allowance, 1)) {
            Some(Err(_)) => Err(Refusal::new(Reason::OwnerRequests)),
            Some(Ok(())) | None => Ok(place),
        }
    }

    /// Counts bytes of a body.
    ///
    /// # Errors
    /// The owner's workflows have moved as many in a minute as they may: these are not counted.
    pub(super) fn count(&self, bytes: u64) -> Result<(), Refusal> {
        match self.bytes.map(|allowance| self.moved.take_of(allowance, bytes)) {
            Some(Err(_)) => Err(Refusal::new(Reason::OwnerBytes)),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn account(change: impl FnOnce(&mut config::Owner)) -> Arc<OwnerEgress> {
        let mut config = Config::defaults().owner;
        change(&mut config);
        OwnerEgress::new(&config).unwrap()
    }

    #[test]
    fn places_come_back_and_refused_ones_take_none() {
        let owner = account(|config| config.egress_concurrent_max = 2);
        let (first, _second) = (owner.begin().unwrap(), owner.begin().unwrap());
        for _ in 0..3 {
            assert_eq!(owner.begin().unwrap_err().reason, Reason::OwnerConcurrent);
        }
        drop(first);
        let _third = owner.begin().unwrap();
        assert!(owner.begin().is_err());
    }

    #[test]
    fn a_minutes_requests_and_bytes_are_counted_to_the_last() {
        // So slow that nothing comes back while the test runs.
        let owner = account(|config| {
            config.egress_requests_per_minute_max = 3;
            config.egress_bytes_per_minute_max = 10;
        });
        (0..3).for_each(|_| drop(owner.begin().unwrap()));
        owner.count(9).unwrap();
        assert_eq!(owner.count(2).unwrap_err().reason, Reason::OwnerBytes);
        owner.count(1).unwrap();
        let unlimited = Config::defaults().owner;
        assert!(OwnerEgress::new(&unlimited).is_none());
    }
}
