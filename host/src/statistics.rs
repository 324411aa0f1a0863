//! Statistics of runs: what is kept of each workflow and minute, far longer than the
//! runs themselves. Pure.
//!
//! Rollups add up: those of two minutes, of two workflows, or of two parts of a minute
//! make one that is as exact as each of them.

mod host;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use self::host::HostFigures;
use crate::run::{FaultKind, Run, Status};
use crate::workflow::WorkflowId;

/// What a rollup takes of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Whose run.
    pub workflow: WorkflowId,
    /// When it ended.
    pub minute: Minute,
    /// How.
    pub status: Status,
    /// With which fault.
    pub fault: Option<FaultKind>,
    /// From start to end, in microseconds, and its memory at most, in bytes; `None` for
    /// what never started.
    pub used: Option<(u64, u64)>,
    /// How late a pull was, in microseconds.
    pub lateness_us: Option<u64>,
}

impl From<&Run> for Sample {
    fn from(run: &Run) -> Self {
        Self {
            workflow: run.workflow,
            minute: Minute::of(run.finished_at.unwrap_or(run.accepted_at)),
            status: run.status,
            fault: run.fault.as_ref().map(|fault| fault.kind),
            used: run.started_at.map(|_| (run.usage.wall_us, run.usage.memory_peak_bytes)),
            lateness_us: run.lateness_us,
        }
    }
}

/// A minute, counted from the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(pub u32);

impl Minute {
    /// The minute that an instant is in; instants before the epoch are in the first.
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.as_second().div_euclid(60)).unwrap_or(0))
    }

    /// When it begins.
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.0) * 60).unwrap_or(Timestamp::MAX)
    }
}

/// The runs of some minutes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rollup {
    /// Runs by their end.
    pub statuses: BTreeMap<&'static str, u64>,
    /// Runs by their fault.
    pub faults: BTreeMap<&'static str, u64>,
    /// Microseconds from start to end, of those that started.
    pub duration_us: Sketch,
    /// Bytes of memory at most.
    pub memory_bytes: Sketch,
    /// Microseconds that pulls were late.
    pub lateness_us: Sketch,
}

impl Rollup {
    /// Takes a run in.
    pub fn add(&mut self, sample: &Sample) {
        *self.statuses.entry(sample.status.word()).or_default() += 1;
        if let Some(fault) = sample.fault {
            *self.faults.entry(fault.word()).or_default() += 1;
        }
        if let Some((duration_us, memory_bytes)) = sample.used {
            self.duration_us.observe(duration_us);
            self.memory_bytes.observe(memory_bytes);
        }
        if let Some(lateness_us) = sample.lateness_us {
            self.lateness_us.observe(lateness_us);
        }
    }

    /// Takes other runs in.
    pub fn merge(&mut self, other: &Self) {
        for (own, others) in [(&mut self.statuses, &other.statuses), (&mut self.faults, &other.faults)] {
            for (word, count) in others {
                *own.entry(word).or_default() += count;
            }
        }
        self.duration_us.merge(&other.duration_us);
        self.memory_bytes.merge(&other.memory_bytes);
        self.lateness_us.merge(&other.lateness_us);
    }

    /// All runs.
    pub fn runs(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Appends it as bytes.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        for counts in [&self.statuses, &self.faults] {
            put(buffer, counts.len() as u64);
            for (word, count) in counts {
                put(buffer, word.len() as u64);
                buffer.extend_from_slice(word.as_bytes());
                put(buffer, *count);
            }
        }
        for sketch in [&self.duration_us, &self.memory_bytes, &self.lateness_us] {
            sketch.encode(buffer);
        }
    }

    /// Takes one from the front of `bytes`; `None` for bytes that no build wrote. Words of
    /// a later build are left out.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let statuses: Vec<&'static str> = Status::ALL.into_iter().map(Status::word).collect();
        let faults: Vec<&'static str> = FaultKind::ALL.into_iter().map(FaultKind::word).collect();
        Some(Self {
            statuses: decode_counts(bytes, &statuses)?,
            faults: decode_counts(bytes, &faults)?,
            duration_us: Sketch::decode(bytes)?,
            memory_bytes: Sketch::decode(bytes)?,
            lateness_us: Sketch::decode(bytes)?,
        })
    }
}

fn decode_counts(bytes: &mut &[u8], known: &[&'static str]) -> Option<BTreeMap<&'static str, u64>> {
    let mut counts = BTreeMap::new();
    for _ in 0..take(bytes)? {
        let length = usize::try_from(take(bytes)?).ok()?;
        let (word, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        let count = take(bytes)?;
        let known = known.iter().find(|known| known.as_bytes() == word);
        known.map(|word| counts.insert(*word, count));
    }
    Some(counts)
}

/// Numbers by size, in buckets whose bounds are 1/32 of a power of two apart: what is
/// read back is off by less than 1.6 %.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sketch {
    /// Bucket and count, by bucket.
    buckets: Vec<(u16, u64)>,
    sum: u64,
    max: u64,
}

/// Buckets below this hold one number each.
const EXACT: u64 = 32;

fn bucket_of(value: u64) -> u16 {
    if value < EXACT {
        return value as u16;
    }
    let exponent = 63 - value.leading_zeros();
    (((exponent - 4) << 5) | ((value >> (exponent - 5)) & 31) as u32) as u16
}

fn middle_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < EXACT {
        return bucket;
    }
    let shift = ((bucket >> 5) - 1).min(58);
    ((EXACT + (bucket & 31)) << shift) + ((1 << shift) >> 1)
}

impl Sketch {
    /// Takes a number in.
    pub fn observe(&mut self, value: u64) {
        self.add(bucket_of(value), 1);
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    fn add(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(own, _)| *own) {
            Ok(index) => self.buckets[index].1 += count,
            Err(index) => self.buckets.insert(index, (bucket, count)),
        }
    }

    /// Takes other numbers in.
    pub fn merge(&mut self, other: &Self) {
        other.buckets.iter().for_each(|(bucket, count)| self.add(*bucket, *count));
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The largest; 0 when there are none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The number that `share` (0 to 1) of them do not exceed; `None` when there are none.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let rank = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map(|(bucket, _)| middle_of(*bucket).min(self.max))
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        put(buffer, self.buckets.len() as u64);
        let mut before = 0;
        for (bucket, count) in &self.buckets {
            put(buffer, u64::from(bucket - before));
            put(buffer, *count);
            before = *bucket;
        }
        put(buffer, self.sum);
        put(buffer, self.max);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut sketch = Self::default();
        let mut bucket: u64 = 0;
        for index in 0..take(bytes)? {
            let step = take(bytes)?;
            bucket = bucket.checked_add(step).filter(|_| index == 0 || step > 0)?;
            let bucket = u16::try_from(bucket).ok().filter(|bucket| *bucket <= bucket_of(u64::MAX))?;
            sketch.buckets.push((bucket, take(bytes)?));
        }
        (sketch.sum, sketch.max) = (take(bytes)?, take(bytes)?);
        Some(sketch)
    }
}

/// Appends a number in as few bytes as it needs, seven bits in each (LEB128).
pub fn put(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// Takes a number of [`put`] from the front of `bytes`.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for index in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(status: Status, fault: Option<FaultKind>, number: u64) -> Sample {
        let workflow = WorkflowId::from_bytes([7; 16]);
        let used = Some((number * 1000, number << 20));
        Sample { workflow, minute: Minute(1), status, fault, used, lateness_us: Some(number) }
    }

    #[test]
    fn rollups_add_up_and_come_back_from_bytes() {
        let samples: Vec<Sample> = (0..200)
            .map(|number| match number % 5 {
                0 => sample(Status::Failed, Some(FaultKind::ALL[number as usize % 10]), number),
                1 => Sample { used: None, ..sample(Status::Cancelled, Some(FaultKind::Skipped), number) },
                _ => sample(Status::Succeeded, None, number),
            })
            .collect();
        let of = |samples: &[Sample]| {
            let mut rollup = Rollup::default();
            samples.iter().for_each(|sample| rollup.add(sample));
            rollup
        };
        let mut parts = of(&samples[..77]);
        parts.merge(&of(&samples[77..]));
        assert_eq!(parts, of(&samples));
        assert_eq!((parts.runs(), parts.statuses["failed"], parts.duration_us.count()), (200, 40, 160));
        let mut bytes = Vec::new();
        parts.encode(&mut bytes);
        assert!(bytes.len() < 2000, "{}", bytes.len());
        let mut rest = bytes.as_slice();
        assert_eq!(Rollup::decode(&mut rest), Some(parts));
        assert!(rest.is_empty());
        for cut in 0..bytes.len() {
            assert_eq!(Rollup::decode(&mut &bytes[..cut]), None, "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn quantiles_are_off_by_less_than_two_percent(mut values in proptest::collection::vec(0u64..1 << 40, 1..200)) {
            let mut sketch = Sketch::default();
            values.iter().for_each(|value| sketch.observe(*value));
            values.sort_unstable();
            for share in [0.01, 0.5, 0.95, 0.99, 1.0] {
                let rank = ((values.len() as f64 * share).ceil() as usize).max(1) - 1;
                let (exact, found) = (values[rank] as f64, sketch.quantile(share).unwrap() as f64);
                prop_assert!((exact - found).abs() <= exact * 0.016 + 0.5, "{exact} {found}");
            }
            prop_assert_eq!(sketch.max(), *values.last().unwrap());
        }

        #[test]
        fn every_bucket_holds_its_middle(value: u64) {
            let bucket = bucket_of(value);
            prop_assert_eq!(bucket_of(middle_of(bucket)), bucket);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Rollup::decode(&mut bytes.as_slice());
        }
    }
}
