//! Random expressions, and what they name, found by trying every step of time.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 3_600;
pub(super) const DAY: i64 = 86_400;

/// SplitMix64: the same numbers everywhere and for ever.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: i64) -> i64 {
        (self.next() % bound as u64) as i64
    }

    pub(super) fn within(&mut self, min: i64, max: i64) -> i64 {
        min + self.below(max - min + 1)
    }

    pub(super) fn percent(&mut self, chance: i64) -> bool {
        self.below(100) < chance
    }
}

/// One item of a field.
#[derive(Clone, Copy)]
struct Item {
    /// `None` is a star.
    range: Option<(i64, i64)>,
    step: Option<i64>,
}

struct Field {
    min: i64,
    max: i64,
    items: Vec<Item>,
}

impl Field {
    fn star(min: i64, max: i64) -> Self {
        Self { min, max, items: vec![Item { range: None, step: None }] }
    }

    fn random(random: &mut Random, min: i64, max: i64, plain: i64) -> Self {
        let count = if random.percent(70) { 1 } else { random.within(2, 3) };
        let is_plain = random.percent(plain);
        let item = |random: &mut Random| {
            let (a, b) = (random.within(min, max), random.within(min, max));
            let step = random.within(1, ((max - min) / 2).max(1));
            let (range, step) = match if is_plain { 0 } else { random.below(4) } {
                0 => (Some((a, a)), None),
                1 => (Some((a.min(b), a.max(b))), None),
                2 => (Some((a.min(b), a.max(b))), Some(step)),
                _ => (None, Some(step)),
            };
            Item { range, step }
        };
        Self { min, max, items: (0..count).map(|_| item(random)).collect() }
    }

    fn has(&self, value: i64) -> bool {
        self.items.iter().any(|item| {
            let (first, last) = item.range.unwrap_or((self.min, self.max));
            (first..=last).contains(&value) && (value - first) % item.step.unwrap_or(1) == 0
        })
    }

    fn is_open(&self) -> bool {
        self.items[0].range.is_none()
    }

    fn is_single_values(&self) -> bool {
        self.items.iter().all(|item| item.step.is_none() && item.range.is_some_and(|(a, b)| a == b))
    }

    fn text(&self) -> String {
        let texts: Vec<String> = self
            .items
            .iter()
            .map(|item| {
                let range = match item.range {
                    None => "*".to_owned(),
                    Some((a, b)) if a == b && item.step.is_none() => a.to_string(),
                    Some((a, b)) => format!("{a}-{b}"),
                };
                item.step.map_or(range.clone(), |step| format!("{range}/{step}"))
            })
            .collect();
        texts.join(",")
    }
}

/// A random expression.
pub(super) struct Case {
    second: Option<Field>,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

/// A due instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: i64,
    /// It stands for local times that a gap swallowed.
    pub(super) is_moved: bool,
}

impl Case {
    pub(super) fn random(random: &mut Random, with_seconds: bool) -> Self {
        let mut maybe = |min, max, open: i64, plain: i64| {
            if random.percent(open) { Field::star(min, max) } else { Field::random(random, min, max, plain) }
        };
        let second = with_seconds.then(|| maybe(0, 59, 10, 40));
        let minute = maybe(0, 59, 10, 50);
        // Half of them in the small hours, where clocks change.
        let small_hours = maybe(0, 4, 0, 50);
        let any_hours = maybe(0, 23, 40, 30);
        let day = maybe(1, 31, 65, 60);
        let month = maybe(1, 12, 80, 30);
        let weekday = maybe(0, 6, 65, 40);
        let mut hour = if random.percent(50) { small_hours } else { any_hours };
        // "*/2" of a field with the bounds 0 to 4 is 0-4/2.
        if hour.max == 4 {
            for item in &mut hour.items {
                item.range = item.range.or(Some((0, 4)));
            }
            hour.max = 23;
        }
        Self { second, minute, hour, day, month, weekday }
    }

    /// The same case on every day, so that it meets a change of clocks.
    pub(super) fn every_day(self) -> Self {
        let (day, month, weekday) = (Field::star(1, 31), Field::star(1, 12), Field::star(0, 6));
        Self { day, month, weekday, ..self }
    }

    pub(super) fn text(&self) -> String {
        let fields = [&self.minute, &self.hour, &self.day, &self.month, &self.weekday];
        let texts: Vec<String> = self.second.iter().chain(fields).map(Field::text).collect();
        texts.join(" ")
    }

    fn has_date(&self, date: Date) -> bool {
        let day = self.day.has(date.day().into());
        let weekday = self.weekday.has(date.weekday().to_sunday_zero_offset().into());
        let both_restricted = !self.day.is_open() && !self.weekday.is_open();
        self.month.has(date.month().into()) && if both_restricted { day || weekday } else { day && weekday }
    }

    fn has_time(&self, second_of_day: i64) -> bool {
        self.hour.has(second_of_day / HOUR)
            && self.minute.has(second_of_day / MINUTE % 60)
            && match &self.second {
                Some(second) => second.has(second_of_day % MINUTE),
                None => second_of_day % MINUTE == 0,
            }
    }

    pub(super) fn repeats(&self) -> bool {
        let several = |field: &Field| !field.is_single_values();
        self.second.as_ref().is_some_and(several)
            || several(&self.minute)
            || (0..24).all(|hour| self.hour.has(hour))
    }

    /// All due instants among the steps, whose local clock readings are `locals`.
    pub(super) fn due(&self, begin: i64, step: i64, locals: &[i64]) -> Vec<Due> {
        let repeats = self.repeats();
        let times: Vec<bool> = (0..DAY).map(|second| second % step == 0 && self.has_time(second)).collect();
        let has_time = |local: i64| times[local.rem_euclid(DAY) as usize];
        let has_date = |local: i64| self.has_date(date_of(local));
        let mut due = Vec::new();
        let mut today = (i64::MIN, false);
        let (mut latest, mut last) = (locals[0] - step, locals[0] - step);
        let mut instant = begin;
        for &local in locals {
            let is_gap = local > last + step;
            let stands_for_missing = is_gap && {
                let mut missing = (last + step..local).step_by(step as usize);
                let goes_on = has_date(local) && self.hour.has(local.rem_euclid(DAY) / HOUR);
                missing.any(|local| has_time(local) && has_date(local)) && !(repeats && goes_on)
            };
            let mut is_due = stands_for_missing;
            if has_time(local) {
                let day = local.div_euclid(DAY);
                if today.0 != day {
                    today = (day, has_date(local));
                }
                is_due |= today.1 && (repeats || local > latest);
            }
            if is_due {
                due.push(Due { at: instant, is_moved: stands_for_missing });
            }
            latest = latest.max(local);
            last = local;
            instant += step;
        }
        due
    }
}

/// The clock's reading in seconds, as if it were UTC.
pub(super) fn local_second(zone: &TimeZone, instant: i64) -> i64 {
    let instant = Timestamp::from_second(instant).unwrap();
    instant.as_second() + i64::from(zone.to_offset(instant).seconds())
}

fn date_of(local: i64) -> Date {
    let read: DateTime = Offset::UTC.to_datetime(Timestamp::from_second(local).unwrap());
    read.date()
}
