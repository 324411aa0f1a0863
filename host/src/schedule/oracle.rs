//! The schedule against a brute-force simulator: it steps through ten years, looks at the
//! zone's clock, and asks the rules of the parent module's documentation at each step.
//!
//! Random expressions are made as items, which the simulator tests one value at a time,
//! so that it shares neither the reader nor the search with the code under test. A longer
//! run is asked for by `TIDEGATE_ORACLE_YEARS` (default 10), `TIDEGATE_ORACLE_EXPRESSIONS`
//! (default 20 per zone) and `TIDEGATE_ORACLE_SEED` (default 0), as `make soak` does; a
//! failure names the expression.

mod case;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use self::case::{Case, DAY, Due, HOUR, MINUTE, Random, local_second};
use super::{Cadence, INTERVAL_MS_MAX, INTERVAL_MS_MIN, Rule, Schedule, Shift};

/// Cases with more due instants are compared around the clock changes and at random.
const WALKED_MAX: usize = 800;

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn seeded(salt: u64) -> Random {
    let seed = from_environment("TIDEGATE_ORACLE_SEED", 0) as u64;
    Random(0x7469_6465 + salt + seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn instant(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
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
    rule.next_after(instant(after)).unwrap().as_second()
}

/// The due instants in `[from, to)`.
fn within(due: &[Due], from: i64, to: i64) -> &[Due] {
    let index = |bound| due.partition_point(|due| due.at < bound);
    &due[index(from)..index(to)]
}

/// Compares all due instants in `[from, to)`.
fn compare(case: &Case, zone: &TimeZone, rule: &Rule, due: &[Due], from: i64, to: i64) {
    let mut at = from - 1;
    for expected in within(due, from, to) {
        let found = next_of(rule, at);
        assert_eq!(found, expected.at, "{} in {:?} behind {at}", case.text(), zone.iana_name());
        at = found;
    }
    let found = next_of(rule, at);
    assert!(found >= to, "{} in {:?}: {found} is too much", case.text(), zone.iana_name());
}

/// Compares what is said of a stretch of time as a whole.
fn compare_stretch(case: &Case, rule: &Rule, due: &[Due], after: i64, until: i64) {
    let expected = within(due, after + 1, until + 1);
    let last = rule.last_within(instant(after), instant(until)).map(Timestamp::as_second);
    assert_eq!(last, expected.last().map(|due| due.at), "{}: last in ({after}, {until}]", case.text());
    let count = rule.count_within(instant(after), instant(until), 1_000);
    assert_eq!(count, (expected.len() as u64).min(1_000), "{}: count in ({after}, {until}]", case.text());
}

/// Compares what the preview says of clock changes. `locals` are the clock's readings from
/// `begin` on; instants near their ends are left out.
fn compare_marks(
    case: &Case,
    zone: &TimeZone,
    rule: &Rule,
    due: &[Due],
    begin: i64,
    locals: &[i64],
    step: i64,
) {
    let end = begin + locals.len() as i64 * step;
    let reading = |at: i64| locals[((at - begin) / step) as usize];
    for pair in within(due, begin + DAY / 2, end - DAY / 2).windows(2) {
        let [before, Due { at, is_moved }] = *pair else { continue };
        let shift = rule.preview(instant(before.at), instant(at)).shift;
        let local = reading(at);
        let near = (at - DAY / 4..at + DAY / 4).step_by(step as usize);
        let twice = near.filter(|other| reading(*other) == local).count() > 1;
        let offset = |at: i64| local_second(zone, at) - at;
        let by_s = offset(at) - offset(before.at);
        let is_right = match shift {
            Some(Shift::Moved { .. }) => is_moved,
            Some(Shift::Once) => !is_moved && twice && !case.repeats(),
            Some(Shift::Twice) => !is_moved && twice && case.repeats(),
            Some(Shift::Changed { by_s: found }) => {
                !is_moved && !twice && by_s != 0 && i64::from(found) == by_s
            }
            None => !is_moved && !twice && by_s == 0,
        };
        assert!(is_right, "{} in {:?} at {at}: {shift:?}", case.text(), zone.iana_name());
    }
}

fn against_simulator(zone: &str, first_year: i16) {
    let zone = TimeZone::get(zone).unwrap();
    let years = from_environment("TIDEGATE_ORACLE_YEARS", 10) as i16;
    let count = from_environment("TIDEGATE_ORACLE_EXPRESSIONS", 20);
    let new_year = |year| DateTime::constant(year, 1, 1, 0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
    let begin = new_year(first_year).timestamp().as_second();
    let end = new_year(first_year + years).timestamp().as_second();
    let locals: Vec<i64> =
        (begin..end).step_by(MINUTE as usize).map(|instant| local_second(&zone, instant)).collect();
    let first = instant(begin);
    let changes: Vec<i64> = zone
        .following(first)
        .map(|change| change.timestamp().as_second())
        .take_while(|at| *at < end)
        .collect();
    let mut random = seeded(first_year as u64);

    for _ in 0..count.div_ceil(4) {
        let case = Case::random(&mut random, false);
        let due = case.due(begin, MINUTE, &locals);
        let Some(rule) = rule_of(&case, &zone) else {
            assert!(due.is_empty(), "{} is said to be never due", case.text());
            continue;
        };
        for _ in 0..10 {
            let at = random.within(begin, end - 40 * DAY);
            compare_stretch(&case, &rule, &due, at, at + random.below(40 * DAY));
        }
        if due.len() <= WALKED_MAX {
            compare(&case, &zone, &rule, &due, begin, end);
            continue;
        }
        for &change in &changes {
            compare(&case, &zone, &rule, &due, (change - DAY).max(begin), (change + DAY).min(end));
        }
        for _ in 0..100 {
            let at = random.within(begin, end - 40 * DAY);
            if let Some(expected) = due.get(due.partition_point(|due| due.at <= at)) {
                assert_eq!(next_of(&rule, at), expected.at, "{} behind {at}", case.text());
            }
        }
    }

    // Around each change: every day, so that each case meets it.
    for &change in &changes {
        let (from, to) = (change - DAY, change + 2 * DAY);
        let locals: Vec<i64> =
            (from..to).step_by(MINUTE as usize).map(|instant| local_second(&zone, instant)).collect();
        for _ in 0..count.div_ceil(2) {
            let case = Case::random(&mut random, false).every_day();
            let (rule, due) = (rule_of(&case, &zone).unwrap(), case.due(from, MINUTE, &locals));
            compare(&case, &zone, &rule, &due, from, to);
            compare_marks(&case, &zone, &rule, &due, from, &locals, MINUTE);
        }
    }

    // With seconds: around each change, and on an ordinary day.
    let mut days: Vec<(i64, i64)> =
        changes.iter().map(|change| (change - 3 * HOUR, change + 3 * HOUR)).collect();
    days.push((begin + 40 * DAY, begin + 40 * DAY + 12 * HOUR));
    for (from, to) in days {
        let locals: Vec<i64> = (from..to).map(|instant| local_second(&zone, instant)).collect();
        for _ in 0..count.div_ceil(20) {
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

#[test]
fn intervals_agree_with_adding_one_after_the_other() {
    let mut random = seeded(1);
    let years = from_environment("TIDEGATE_ORACLE_YEARS", 10) as i64;
    for _ in 0..from_environment("TIDEGATE_ORACLE_EXPRESSIONS", 20) {
        // As many of seconds as of months.
        let size = random.within(0, (INTERVAL_MS_MAX / INTERVAL_MS_MIN).ilog2().into());
        let bound_ms = INTERVAL_MS_MAX.min(INTERVAL_MS_MIN << (size + 1));
        let interval_ms = random.within(INTERVAL_MS_MIN as i64, bound_ms as i64);
        let anchor_ms = random.within(1_000_000_000_000, 2_000_000_000_000);
        let anchor = Timestamp::from_millisecond(anchor_ms).unwrap();
        let cadence = Cadence::Every { interval_ms: interval_ms as u64 };
        let rule = Schedule::new("oracle", cadence, anchor).rule().unwrap();
        let step = SignedDuration::from_millis(interval_ms);
        // From the anchor on as far as a loop goes, and each instant from there.
        let end = anchor + SignedDuration::from_hours(years * 8_766);
        let mut due = anchor;
        for count in 1..=5_000 {
            let next = due + step;
            if next > end {
                break;
            }
            let within = SignedDuration::from_nanos(random.below(step.as_nanos() as i64));
            assert_eq!(rule.next_after(due), Some(next), "every {interval_ms} from {anchor}");
            assert_eq!(rule.next_after(due + within), Some(next), "every {interval_ms} from {anchor}");
            assert_eq!(rule.count_within(anchor, next + within, 10_000), count);
            assert_eq!(rule.last_within(anchor, next + within), Some(next));
            due = next;
        }
        let before = anchor - SignedDuration::from_secs(random.within(0, 100 * DAY));
        assert_eq!(rule.next_after(before), Some(anchor + step), "nothing is due before the grid begins");
    }
}
