//! Whether failed work is tried again, and when.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::FaultKind;

/// Whether and when failed work is tried again: events that were accepted with
/// `Prefer: respond-async`, replays of many runs, and ticks of a pull. A caller who waits
/// for an answer tries again himself.
///
/// With one attempt, work is run *at most once*: what was running when the host died
/// stays interrupted. With more, and `interrupted` among the faults, it is run *at least
/// once*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts at one piece of work, the first included; 1 tries nothing again.
    pub attempts: u32,
    /// Time before the second attempt, in milliseconds; it doubles with each further one.
    pub backoff_ms: u64,
    /// The longest such time, in milliseconds.
    pub backoff_max_ms: u64,
    /// How much of that time is left to chance, in percent: 20 takes 80 to 100 % of it.
    pub jitter_percent: u8,
    /// The faults after which there is another attempt: `exception`, `trap`, `memory`,
    /// `deadline`, `cpu`, `result`, `interrupted`, `host`.
    pub on: Vec<FaultKind>,
}

impl RetryPolicy {
    /// The faults that can be followed by another attempt: others are decisions.
    pub const FAULTS: [FaultKind; 8] = [
        FaultKind::Exception,
        FaultKind::Trap,
        FaultKind::Memory,
        FaultKind::Deadline,
        FaultKind::Cpu,
        FaultKind::Result,
        FaultKind::Interrupted,
        FaultKind::Host,
    ];

    /// Whether work that was attempted `spent` times, the last time with this fault, is
    /// attempted again.
    pub fn tries_again(&self, spent: u32, fault: FaultKind) -> bool {
        spent < self.attempts && self.on.contains(&fault)
    }

    /// The time between the attempt with the number `spent` and the next one. `chance` is
    /// 0 to 1.
    pub fn delay(&self, spent: u32, chance: f64) -> Duration {
        let doublings = spent.saturating_sub(1).min(63);
        let whole = self.backoff_ms.saturating_mul(1 << doublings).min(self.backoff_max_ms);
        let off = f64::from(self.jitter_percent.min(100)) / 100.0 * chance.clamp(0.0, 1.0);
        Duration::from_millis((whole as f64 * (1.0 - off)).round() as u64)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 1,
            backoff_ms: 1_000,
            backoff_max_ms: 300_000,
            jitter_percent: 20,
            on: vec![
                FaultKind::Exception,
                FaultKind::Trap,
                FaultKind::Memory,
                FaultKind::Deadline,
                FaultKind::Cpu,
                FaultKind::Interrupted,
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_double_their_distance_up_to_a_longest() {
        let policy = RetryPolicy {
            attempts: 4,
            backoff_ms: 100,
            backoff_max_ms: 350,
            jitter_percent: 50,
            ..RetryPolicy::default()
        };
        let delays = |chance| [1, 2, 3, 4, 200].map(|spent| policy.delay(spent, chance).as_millis());
        assert_eq!(delays(0.0), [100, 200, 350, 350, 350]);
        assert_eq!(delays(1.0), [50, 100, 175, 175, 175]);
        assert!(policy.tries_again(3, FaultKind::Trap) && !policy.tries_again(4, FaultKind::Trap));
        assert!(!policy.tries_again(1, FaultKind::Host), "it is not in the list");
        let twice = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
        assert!(twice.tries_again(1, FaultKind::Cpu), "a limit of the host, as the deadline is");
        assert!(!RetryPolicy::default().tries_again(1, FaultKind::Trap));
    }
}
