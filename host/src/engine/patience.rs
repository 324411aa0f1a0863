//! How long a compilation may try to do with what others leave of the processors.
//!
//! What nobody else wants can be nothing at all, for as long as the machine is full: a compilation
//! that gets nowhere is begun anew with a part of its own. No process without privileges can be
//! given that part later ([`Priority`]), and to begin anew costs what was done, so it happens once at
//! most, and after as much time in vain as there had been before it.

use std::time::Duration;

/// What a compilation gets of the processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// What nobody else wants (`SCHED_IDLE`). A process without privileges never leaves that again:
    /// sched(7), "SCHED_IDLE".
    Rest,
    /// A tenth of what others get that compute as much (nice 10).
    Low,
}

/// The first look, and the time that a short time-out is divided by for it.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(1);
const FIRST_LOOK_PART: u32 = 4;
/// A compilation is begun anew only while so much of its time is left.
const LEFT_MIN_PART: u32 = 2;
/// Less than this part of one core is getting nowhere: on a machine that is full, honest
/// components of some size would take minutes. [`Priority::Low`] has at least about a tenth of each
/// core that one other thread wants.
const CORE_PART_MIN: u32 = 4;

/// Looks at a compilation that has [`Priority::Rest`]: each at twice the time of the one before.
#[derive(Debug)]
pub(super) struct Patience {
    timeout: Duration,
    looked_at: Duration,
    used: Duration,
}

impl Patience {
    /// For a compilation that begins, and may take so long.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, looked_at: Duration::ZERO, used: Duration::ZERO }
    }

    /// When to look again, counted from the beginning; `None` when beginning anew would come too
    /// late to be of use.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let first = FIRST_LOOK_MAX.min(self.timeout / FIRST_LOOK_PART);
        let next = if self.looked_at.is_zero() { first } else { self.looked_at * 2 };
        (next <= self.timeout / LEFT_MIN_PART).then_some(next)
    }

    /// Whether it got nowhere since the last look: at this time of its life it has used so much
    /// processor time, `None` if nobody can tell.
    pub(super) fn is_in_vain(&mut self, at: Duration, used: Option<Duration>) -> bool {
        let Some(used) = used else { return true };
        let (passed, got) = (at.saturating_sub(self.looked_at), used.saturating_sub(self.used));
        (self.looked_at, self.used) = (at, used);
        got < passed / CORE_PART_MIN
    }
}

/// Processor time of all threads of a process so far; `None` when it is gone.
pub(super) fn processor_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, can have anything in it. Behind it, proc_pid_stat(5) counts from 3.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(14 - 3);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let ticks_per_s = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis((user + system).saturating_mul(1000) / ticks_per_s.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The looks of a compilation that uses so much of a core; whether the last found it in vain.
    fn looks(timeout: Duration, core_part: impl Fn(Duration) -> f64) -> (Vec<u64>, bool) {
        let (mut patience, mut looks, mut used) = (Patience::new(timeout), Vec::new(), Duration::ZERO);
        let mut before = Duration::ZERO;
        while let Some(at) = patience.next_look() {
            looks.push(at.as_millis() as u64);
            used += (at - before).mul_f64(core_part(at));
            before = at;
            if patience.is_in_vain(at, Some(used)) {
                return (looks, true);
            }
        }
        (looks, false)
    }

    #[test]
    fn a_compilation_that_gets_on_is_left_alone() {
        let two_minutes = Duration::from_secs(120);
        assert_eq!(looks(two_minutes, |_| 0.3), (vec![1000, 2000, 4000, 8000, 16_000, 32_000], false));
        assert_eq!(looks(Duration::from_secs(4), |_| 2.0), (vec![1000, 2000], false));
    }

    #[test]
    fn a_compilation_that_gets_nowhere_is_begun_anew_while_there_is_time() {
        let two_minutes = Duration::from_secs(120);
        assert_eq!(looks(two_minutes, |_| 0.2), (vec![1000], true));
        assert_eq!(looks(Duration::from_millis(3000), |_| 0.0), (vec![750], true));
        // The machine fills up later: after as much time again, and not in the last half.
        let until = |s: u64| move |at: Duration| if at > Duration::from_secs(s) { 0.0 } else { 1.0 };
        assert_eq!(looks(two_minutes, until(4)), (vec![1000, 2000, 4000, 8000], true));
        assert!(!looks(two_minutes, until(32)).1);
        // However short the time is, one look is in its first half.
        assert_eq!(looks(Duration::from_millis(8), |_| 0.0), (vec![2], true));
    }

    #[test]
    fn what_cannot_be_watched_is_not_left_to_the_rest() {
        assert!(Patience::new(Duration::from_secs(4)).is_in_vain(Duration::from_secs(1), None));
    }

    #[test]
    fn a_process_is_asked_what_it_used() {
        let own = processor_time(std::process::id()).unwrap();
        let thread = std::thread::spawn(|| {
            let used = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            while used().tv_sec == 0 && used().tv_nsec < 50_000_000 {}
        });
        thread.join().unwrap();
        let more = processor_time(std::process::id()).unwrap() - own;
        assert!(more >= Duration::from_millis(30), "{more:?} with a thread that used 50 ms");
        assert_eq!(processor_time(u32::MAX), None);
    }
}
