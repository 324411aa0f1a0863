//! The schedule against a brute-force simulator: it steps through time, looks at the
//! zone's clock, and asks the rules of the parent module's documentation at each step.
//!
//! Random expressions are made as items, which the simulator tests one value at a time,
//! so that it shares neither the reader nor the search with the code under test. A longer
//! run is asked for by `TIDEGATE_ORACLE_YEARS` (default 2) and
//! `TIDEGATE_ORACLE_EXPRESSIONS` (default 40 per zone); a failure names the expression.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

use super::{Cadence, Rule, Schedule};

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// Cases with more due instants are compared around the clock changes and at random.
const WALKED_MAX: usize = 800;

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// SplitMix64: the same numbers everywhere and for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: i64) -> i64 {
        (self.next() % bound as u64) as i64
    }

    fn within(&mut self, min: i64, max: i64) -> i64 {
        min + self.below(max - min + 1)
    }

    fn percent(&mut self, chance: i64) -> bool {
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
struct Case {
    second: Option<Field>,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Case {
    fn random(random: &mut Random, with_seconds: bool) -> Self {
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

    fn text(&self) -> String {
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

    fn repeats(&self) -> bool {
        let several = |field: &Field| !field.is_single_values();
        self.second.as_ref().is_some_and(several)
            || several(&self.minute)
            || (0..24).all(|hour| self.hour.has(hour))
    }

    /// All due instants among the steps, whose local clock readings are `locals`.
    fn due(&self, begin: i64, step: i64, locals: &[i64]) -> Vec<i64> {
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
                due.push(instant);
            }
            latest = latest.max(local);
            last = local;
            instant += step;
        }
        due
    }
}

/// The clock's reading in seconds, as if it were UTC.
fn local_second(zone: &TimeZone, instant: i64) -> i64 {
    let instant = Timestamp::from_second(instant).unwrap();
    instant.as_second() + i64::from(zone.to_offset(instant).seconds())
}

fn date_of(local: i64) -> Date {
    let read: DateTime = Offset::UTC.to_datetime(Timestamp::from_second(local).unwrap());
    read.date()
}

fn rule_of(case: &Case, zone: &TimeZone) -> Option<Rule> {
    let timezone = zone.iana_name().unwrap().to_owned();
    let cadence = Cadence::Cron { expression: case.text(), timezone };
    match Schedule::new("oracle", cadence, Timestamp::from_second(0).unwrap()).rule() {
        Ok(rule) => Some(rule),
        Err(super::ScheduleError::Never(_)) => None,
        Err(error) => panic!("{}: {error:?}", case.text()),
    }
}

fn next_of(rule: &Rule, after: i64) -> i64 {
    rule.next_after(Timestamp::from_second(after).unwrap()).unwrap().as_second()
}

/// Compares all due instants in `[from, to)`.
fn compare(case: &Case, zone: &TimeZone, rule: &Rule, due: &[i64], from: i64, to: i64) {
    let mut at = from - 1;
    let index = |bound| due.partition_point(|at| *at < bound);
    for &expected in &due[index(from)..index(to)] {
        let found = next_of(rule, at);
        assert_eq!(found, expected, "{} in {:?} behind {at}", case.text(), zone.iana_name());
        at = found;
    }
    let found = next_of(rule, at);
    assert!(found >= to, "{} in {:?}: {found} is too much", case.text(), zone.iana_name());
}

fn against_simulator(zone: &str, first_year: i16) {
    let zone = TimeZone::get(zone).unwrap();
    let years = from_environment("TIDEGATE_ORACLE_YEARS", 2) as i16;
    let count = from_environment("TIDEGATE_ORACLE_EXPRESSIONS", 40);
    let new_year = |year| DateTime::constant(year, 1, 1, 0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
    let begin = new_year(first_year).timestamp().as_second();
    let end = new_year(first_year + years).timestamp().as_second();
    let locals: Vec<i64> =
        (begin..end).step_by(MINUTE as usize).map(|instant| local_second(&zone, instant)).collect();
    let first = Timestamp::from_second(begin).unwrap();
    let changes: Vec<i64> = zone
        .following(first)
        .map(|change| change.timestamp().as_second())
        .take_while(|at| *at < end)
        .collect();
    let mut random = Random(0x7469_6465 + first_year as u64);

    for _ in 0..count {
        let case = Case::random(&mut random, false);
        let due = case.due(begin, MINUTE, &locals);
        let Some(rule) = rule_of(&case, &zone) else {
            assert!(due.is_empty(), "{} is said to be never due", case.text());
            continue;
        };
        if due.len() <= WALKED_MAX {
            compare(&case, &zone, &rule, &due, begin, end);
            continue;
        }
        for &change in &changes {
            compare(&case, &zone, &rule, &due, (change - DAY).max(begin), (change + DAY).min(end));
        }
        for _ in 0..100 {
            let at = random.within(begin, end - 40 * DAY);
            if let Some(&expected) = due.get(due.partition_point(|due| *due <= at)) {
                assert_eq!(next_of(&rule, at), expected, "{} behind {at}", case.text());
            }
        }
    }

    // Around each change: every day, so that each case meets it.
    for &change in &changes {
        let (from, to) = (change - DAY, change + 2 * DAY);
        let locals: Vec<i64> =
            (from..to).step_by(MINUTE as usize).map(|instant| local_second(&zone, instant)).collect();
        for _ in 0..count * 2 {
            let every_day = (Field::star(1, 31), Field::star(1, 12), Field::star(0, 6));
            let mut case = Case::random(&mut random, false);
            (case.day, case.month, case.weekday) = every_day;
            let rule = rule_of(&case, &zone).unwrap();
            compare(&case, &zone, &rule, &case.due(from, MINUTE, &locals), from, to);
        }
    }

    // With seconds: around each change, and on an ordinary day.
    let mut days: Vec<(i64, i64)> =
        changes.iter().map(|change| (change - 3 * HOUR, change + 3 * HOUR)).collect();
    days.push((begin + 40 * DAY, begin + 40 * DAY + 12 * HOUR));
    for (from, to) in days {
        let locals: Vec<i64> = (from..to).map(|instant| local_second(&zone, instant)).collect();
        for _ in 0..count.div_ceil(10) {
            let case = Case::random(&mut random, true);
            if let Some(rule) = rule_of(&case, &zone) {
                compare(&case, &zone, &rule, &case.due(from, 1, &locals), from, to);
            }
        }
    }
}

#[test]
fn utc_agrees_with_the_simulator() {
    against_simulator("UTC", 2023);
}

#[test]
fn paris_agrees_with_the_simulator() {
    against_simulator("Europe/Paris", 2024);
}

#[test]
fn new_york_agrees_with_the_simulator() {
    against_simulator("America/New_York", 2025);
}

#[test]
fn lord_howe_agrees_with_the_simulator() {
    // Clocks move by half an hour.
    against_simulator("Australia/Lord_Howe", 2026);
}

#[test]
fn apia_agrees_with_the_simulator() {
    // Samoa had no 30 December 2011, and an hour of summer time.
    against_simulator("Pacific/Apia", 2011);
}

#[test]
fn kathmandu_agrees_with_the_simulator() {
    // A quarter of an hour was skipped at the beginning of 1986.
    against_simulator("Asia/Kathmandu", 1985);
}

#[test]
fn casablanca_agrees_with_the_simulator() {
    // Clocks go back for the month of Ramadan: changes that are weeks apart.
    against_simulator("Africa/Casablanca", 2022);
}
