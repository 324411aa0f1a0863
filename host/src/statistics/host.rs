//! What the host itself had in use, minute by minute. Pure.

use super::{put, take};

/// Numbers of a figure, in the order in which they are written. Later builds add behind.
const NUMBERS: usize = 12;

/// What the host had in use in some minutes. Figures of two moments make one: the larger of
/// each, but for what is free, where it is the smaller, and for what is counted, which adds
/// up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostFigures {
    /// Instances that existed, at most.
    pub instances: u64,
    /// Instances that may exist.
    pub instances_max: u64,
    /// Runs in their sandbox, at most.
    pub running: u64,
    /// Runs that waited for room, at most.
    pub waiting: u64,
    /// Bytes of the instances' memory, at most.
    pub memory_bytes: u64,
    /// Events of the queue that waited for an attempt, at most.
    pub queue_waiting: u64,
    /// Events whose attempt went on, at most.
    pub queue_leased: u64,
    /// Dead letters, at most.
    pub dead: u64,
    /// Bytes that the data folder took, at most.
    pub used_bytes: u64,
    /// Bytes free on its file system, at least.
    pub free_bytes: u64,
    /// Requests to endpoints that were refused before they became runs.
    pub refused: u64,
    /// Schedules whose runs outlasted the distance of their instants, at most.
    pub overruns: u64,
}

impl HostFigures {
    /// Takes other figures in.
    pub fn merge(&mut self, other: &Self) {
        let (own, others) = (self.numbers(), other.numbers());
        let mut merged = std::array::from_fn(|at| own[at].max(others[at]));
        merged[9] = self.free_bytes.min(other.free_bytes);
        merged[10] = self.refused.saturating_add(other.refused);
        *self = Self::of(merged);
    }

    fn numbers(&self) -> [u64; NUMBERS] {
        let Self { instances, instances_max, running, waiting, memory_bytes, queue_waiting, .. } = *self;
        let Self { queue_leased, dead, used_bytes, free_bytes, refused, overruns, .. } = *self;
        [
            instances,
            instances_max,
            running,
            waiting,
            memory_bytes,
            queue_waiting,
            queue_leased,
            dead,
            used_bytes,
            free_bytes,
            refused,
            overruns,
        ]
    }

    fn of(numbers: [u64; NUMBERS]) -> Self {
        let [instances, instances_max, running, waiting, memory_bytes, queue_waiting, rest @ ..] = numbers;
        let [queue_leased, dead, used_bytes, free_bytes, refused, overruns] = rest;
        Self {
            instances,
            instances_max,
            running,
            waiting,
            memory_bytes,
            queue_waiting,
            queue_leased,
            dead,
            used_bytes,
            free_bytes,
            refused,
            overruns,
        }
    }

    /// Appends it as bytes.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        put(buffer, NUMBERS as u64);
        self.numbers().into_iter().for_each(|number| put(buffer, number));
    }

    /// Takes one from the front of `bytes`; `None` for bytes that no build wrote. Numbers of
    /// a later build are left out.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let count = take(bytes)?;
        let mut numbers = [0; NUMBERS];
        for at in 0..count {
            let number = take(bytes)?;
            let own = usize::try_from(at).ok().and_then(|at| numbers.get_mut(at));
            own.into_iter().for_each(|own| *own = number);
        }
        (count >= NUMBERS as u64).then(|| Self::of(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_merge_by_what_they_mean_and_read_back() {
        let mut all =
            HostFigures { instances: 3, free_bytes: 100, refused: 2, dead: 1, ..Default::default() };
        all.merge(&HostFigures {
            instances: 2,
            free_bytes: 90,
            refused: 5,
            running: 7,
            ..Default::default()
        });
        let (free_bytes, refused) = (90, 7);
        assert_eq!(
            all,
            HostFigures { instances: 3, free_bytes, refused, dead: 1, running: 7, ..Default::default() }
        );
        let mut bytes = Vec::new();
        all.encode(&mut bytes);
        assert_eq!(HostFigures::decode(&mut bytes.as_slice()), Some(all));
        for cut in 0..bytes.len() {
            assert_eq!(HostFigures::decode(&mut &bytes[..cut]), None, "cut at {cut}");
        }
        // A later build has one more.
        bytes[0] += 1;
        bytes.push(9);
        assert_eq!(HostFigures::decode(&mut bytes.as_slice()), Some(all));
    }
}
