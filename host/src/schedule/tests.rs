use jiff::civil::datetime;
use proptest::prelude::*;

use super::*;

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn every(interval_ms: u64, anchor: &str) -> Schedule {
    Schedule::new("default", Cadence::Every { interval_ms }, instant(anchor))
}

fn cron(expression: &str, timezone: &str) -> Schedule {
    let cadence = Cadence::Cron { expression: expression.to_owned(), timezone: timezone.to_owned() };
    Schedule::new("default", cadence, instant("2020-01-01T00:00:00Z"))
}

/// The due instants from the one behind `after` on, in local time with offset.
fn dues(schedule: &Schedule, after: &str, n: usize) -> Vec<String> {
    let zone = match &schedule.cadence {
        Cadence::Cron { timezone, .. } => jiff::tz::TimeZone::get(timezone).unwrap(),
        Cadence::Every { .. } => jiff::tz::TimeZone::UTC,
    };
    let upcoming = schedule.upcoming(instant(after), n);
    upcoming.iter().map(|u| u.due.to_zoned(zone.clone()).strftime("%m-%d %H:%M%:z").to_string()).collect()
}

#[test]
fn interval_stays_on_its_grid() {
    let schedule = every(5_400_000, "2026-03-01T00:00:00.250Z");
    // The anchor is not due itself.
    let first = instant("2026-03-01T01:30:00.250Z");
    for after in ["2025-01-01T00:00:00Z", "2026-03-01T00:00:00.250Z", "2026-03-01T01:30:00.249999999Z"] {
        assert_eq!(schedule.next_after(instant(after)), Some(first));
    }
    assert_eq!(schedule.next_after(first), Some(instant("2026-03-01T03:00:00.250Z")));
    let midnight = Schedule { anchor: instant("2026-03-01T00:00:00Z"), ..cron("0 0 * * *", "UTC") };
    assert_eq!(midnight.next_after(Timestamp::MIN), Some(instant("2026-03-02T00:00:00Z")));
    // Ten years later it is where 90 minutes times n put it.
    let later = schedule.next_after(instant("2036-03-01T00:10:00Z")).unwrap();
    assert_eq!(later, instant("2036-03-01T01:30:00.250Z"));
    assert_eq!((later.as_millisecond() - schedule.anchor.as_millisecond()) % 5_400_000, 0);
}

#[test]
fn missing_local_time_is_due_once_behind_the_gap() {
    // Paris, 29 March 2026: 02:00 to 03:00 is missing.
    let at_0230 = cron("30 2 * * *", "Europe/Paris");
    assert_eq!(
        dues(&at_0230, "2026-03-27T12:00:00Z", 3),
        ["03-28 02:30+01:00", "03-29 03:00+02:00", "03-30 02:30+02:00"]
    );
    // Several missing times share the one instant; so does a time that exists there.
    let several = cron("5,10,15 2 * * *", "Europe/Paris");
    assert_eq!(dues(&several, "2026-03-28T12:00:00Z", 2), ["03-29 03:00+02:00", "03-30 02:05+02:00"]);
    let meets = cron("0 2,3 * * *", "Europe/Paris");
    assert_eq!(dues(&meets, "2026-03-28T12:00:00Z", 2), ["03-29 03:00+02:00", "03-30 02:00+02:00"]);
    // Half an hour is missing on Lord Howe, a whole day on Samoa.
    let howe = cron("15 2 * * *", "Australia/Lord_Howe");
    assert_eq!(dues(&howe, "2026-10-02T20:00:00Z", 2), ["10-04 02:30+11:00", "10-05 02:15+11:00"]);
    let mut apia = cron("0 12 * * *", "Pacific/Apia");
    apia.anchor = instant("2010-01-01T00:00:00Z");
    assert_eq!(
        dues(&apia, "2011-12-29T00:00:00Z", 3),
        ["12-29 12:00-10:00", "12-31 00:00+14:00", "12-31 12:00+14:00"]
    );
}

#[test]
fn repeated_local_time_is_due_once() {
    // Paris, 25 October 2026: 02:00 to 03:00 occurs twice.
    let at_0230 = cron("30 2 * * *", "Europe/Paris");
    assert_eq!(dues(&at_0230, "2026-10-24T12:00:00Z", 2), ["10-25 02:30+02:00", "10-26 02:30+01:00"]);
    let hours = cron("0 1-3 * * *", "Europe/Paris");
    assert_eq!(
        dues(&hours, "2026-10-24T12:00:00Z", 4),
        ["10-25 01:00+02:00", "10-25 02:00+02:00", "10-25 03:00+01:00", "10-26 01:00+01:00"]
    );
}

#[test]
fn repetitions_follow_elapsed_time() {
    let half_hours = cron("*/30 * * * *", "Europe/Paris");
    assert_eq!(
        dues(&half_hours, "2026-10-24T23:45:00Z", 5),
        [
            "10-25 02:00+02:00",
            "10-25 02:30+02:00",
            "10-25 02:00+01:00",
            "10-25 02:30+01:00",
            "10-25 03:00+01:00"
        ]
    );
    assert_eq!(
        dues(&half_hours, "2026-03-29T00:15:00Z", 3),
        ["03-29 01:30+01:00", "03-29 03:00+02:00", "03-29 03:30+02:00"]
    );
    // Every hour: no substitute at 03:00 for the missing 02:05.
    let hourly = cron("5 * * * *", "Europe/Paris");
    assert_eq!(dues(&hourly, "2026-03-29T00:00:00Z", 2), ["03-29 01:05+01:00", "03-29 03:05+02:00"]);
    assert_eq!(
        dues(&hourly, "2026-10-25T00:00:00Z", 3),
        ["10-25 02:05+02:00", "10-25 02:05+01:00", "10-25 03:05+01:00"]
    );
    // A repetition that the gap swallows whole is made up for once.
    let within = cron("*/15 2 * * *", "Europe/Paris");
    assert_eq!(dues(&within, "2026-03-28T12:00:00Z", 2), ["03-29 03:00+02:00", "03-30 02:00+02:00"]);
}

#[test]
fn preview_marks_clock_changes() {
    let shifts = |schedule: &Schedule, after: &str, n| -> Vec<Option<Shift>> {
        schedule.upcoming(instant(after), n).into_iter().map(|upcoming| upcoming.shift).collect()
    };
    let at_0230 = cron("30 2 * * *", "Europe/Paris");
    let from = datetime(2026, 3, 29, 2, 30, 0, 0);
    assert_eq!(shifts(&at_0230, "2026-03-27T12:00:00Z", 3), [None, Some(Shift::Moved { from }), None]);
    assert_eq!(
        shifts(&at_0230, "2026-10-24T12:00:00Z", 3),
        [Some(Shift::Once), Some(Shift::Changed { by_s: -3_600 }), None]
    );
    let half_hours = cron("*/30 2 * * *", "Europe/Paris");
    assert_eq!(shifts(&half_hours, "2026-10-24T12:00:00Z", 4), [Some(Shift::Twice); 4]);
    let noon = cron("0 12 * * *", "Europe/Paris");
    assert_eq!(shifts(&noon, "2026-03-27T12:00:00Z", 3), [None, Some(Shift::Changed { by_s: 3_600 }), None]);
    assert_eq!(
        noon.upcoming(instant("2026-03-27T12:00:00Z"), 1)[0].local,
        datetime(2026, 3, 28, 12, 0, 0, 0)
    );
}

#[test]
fn last_within_and_count_agree_with_a_walk() {
    for schedule in [
        cron("*/7 3-5 * * 1-5", "America/New_York"),
        cron("30 2 * * *", "Europe/Paris"),
        cron("0 0 29 2 *", "UTC"),
        cron("*/20 30 2 * * *", "Australia/Lord_Howe"),
        every(86_399_999, "2020-01-01T00:00:00.001Z"),
    ] {
        let rule = schedule.rule().unwrap();
        let (after, until) = (instant("2023-06-01T00:00:00.5Z"), instant("2024-10-27T01:30:00Z"));
        let walk: Vec<Timestamp> = std::iter::successors(rule.next_after(after), |due| rule.next_after(*due))
            .take_while(|due| *due <= until)
            .collect();
        assert_eq!(rule.last_within(after, until), walk.last().copied());
        assert_eq!(rule.count_within(after, until, 1_000_000), walk.len() as u64);
        assert_eq!(rule.count_within(after, until, 3), (walk.len() as u64).min(3));
        // The bound itself counts, the start does not.
        let last = *walk.last().unwrap();
        assert_eq!(rule.last_within(after, last), Some(last));
        assert_eq!(rule.last_within(last, last), None);
        assert_eq!(rule.count_within(last, last, 9), 0);
    }
}

#[test]
fn redeployed_schedule_keeps_its_grid_and_a_changed_one_begins_anew() {
    let old = every(60_000, "2026-01-01T00:00:17Z");
    let same = every(60_000, "2026-02-01T00:00:00Z").replacing(Some(&old));
    assert_eq!(same.anchor, old.anchor);
    let changed = every(61_000, "2026-02-01T00:00:00Z").replacing(Some(&old));
    assert_eq!(changed.anchor, instant("2026-02-01T00:00:00Z"));
    assert_eq!(changed.clone().replacing(None), changed);
}

#[test]
fn bad_schedules_are_refused_with_a_reason() {
    let good = every(1_000, "2026-01-01T00:00:00Z");
    assert_eq!(good.validate(1_000), Ok(()));
    let renamed = |name: &str| Schedule { name: name.to_owned(), ..good.clone() };
    for name in ["", "Nightly", "a b", "é", &"x".repeat(64), "a/b", "a\0"] {
        assert!(matches!(renamed(name).validate(1_000), Err(ScheduleError::Name(_))), "{name}");
    }
    assert_eq!(renamed("every_90-min").validate(1_000), Ok(()));
    for (schedule, minimum, message) in [
        (every(0, "2026-01-01T00:00:00Z"), 1, "due every 0s, but at least 1s apart is allowed"),
        (every(999, "2026-01-01T00:00:00Z"), 1, "due every 999ms, but at least 1s apart is allowed"),
        (every(59_000, "2026-01-01T00:00:00Z"), 60_000, "due every 59s, but at least 1m apart is allowed"),
        (
            every(INTERVAL_MS_MAX + 1, "2026-01-01T00:00:00Z"),
            1_000,
            "an interval is at most 366d long, not 366d1ms",
        ),
        (cron("*/5 * * * * *", "UTC"), 60_000, "due every 5s, but at least 1m apart is allowed"),
        (cron("61 * * * *", "UTC"), 1, "the cron expression \"61 * * * *\" cannot be read"),
        (
            cron("0 0 30 2 *", "UTC"),
            1,
            "the cron expression \"0 0 30 2 *\" is never due: no year has such a day",
        ),
        (
            cron("0 0 * * *", "Europe/Pariss"),
            1,
            "there is no time zone \"Europe/Pariss\", the nearest is Europe/Paris",
        ),
    ] {
        let error = schedule.validate(minimum).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(!error.hint().is_empty());
    }
    let with = |policy: Policy| Schedule { policy, ..every(60_000, "2026-01-01T00:00:00Z") };
    for (policy, message) in [
        (
            Policy { missed: Missed::All { max: 0 }, ..Policy::default() },
            "missed runs are made up for 1 to 100 times, not 0",
        ),
        (
            Policy { missed: Missed::All { max: 101 }, ..Policy::default() },
            "missed runs are made up for 1 to 100 times, not 101",
        ),
        (
            Policy { start_deadline_ms: Some(999), ..Policy::default() },
            "a start deadline is at least 1000 ms, not 999 ms",
        ),
        (
            Policy { jitter_ms: 60_000, ..Policy::default() },
            "the jitter is at most 59999 ms here, not 60000 ms",
        ),
    ] {
        assert_eq!(with(policy).validate(1_000).unwrap_err().to_string(), message);
    }
    let sound = Policy {
        overlap: Overlap::QueueOne,
        missed: Missed::All { max: 100 },
        start_deadline_ms: Some(1_000),
        jitter_ms: 59_999,
    };
    assert_eq!(with(sound).validate(1_000), Ok(()));
}

#[test]
fn stored_form_is_stable() {
    let plain = cron("30 9 * * 1-5", "Europe/Paris");
    let json = r#"{"name":"default","cadence":{"cron":{"expression":"30 9 * * 1-5","timezone":"Europe/Paris"}},"anchor":"2020-01-01T00:00:00Z"}"#;
    assert_eq!(serde_json::to_string(&plain).unwrap(), json);
    assert_eq!(serde_json::from_str::<Schedule>(json).unwrap(), plain);
    let policy = Policy {
        overlap: Overlap::QueueOne,
        missed: Missed::All { max: 5 },
        start_deadline_ms: None,
        jitter_ms: 10,
    };
    let json = r#"{"overlap":"queue-one","missed":{"all":{"max":5}},"jitter_ms":10}"#;
    assert_eq!(serde_json::to_string(&policy).unwrap(), json);
    assert_eq!(serde_json::from_str::<Policy>(json).unwrap(), policy);
    let full = Schedule { policy, ..every(90_000, "2026-01-01T00:00:00.5Z") };
    assert_eq!(serde_json::from_str::<Schedule>(&serde_json::to_string(&full).unwrap()).unwrap(), full);
}

#[test]
fn ends_of_the_calendar_are_survived() {
    for schedule in [
        cron("* * * * *", "Pacific/Apia"),
        cron("0 0 29 2 *", "America/New_York"),
        every(1_000, "2026-01-01T00:00:00Z"),
    ] {
        assert_eq!(schedule.next_after(Timestamp::MAX), None);
        assert!(schedule.next_after(Timestamp::MIN).unwrap() >= schedule.anchor);
    }
    let ancient = Schedule { anchor: Timestamp::MIN, ..cron("30 2 * * *", "Europe/Paris") };
    assert!(ancient.next_after(Timestamp::MIN).is_some());
}

proptest! {
    #[test]
    fn next_after_is_the_first_one_behind(
        expression in "([0-5]?[0-9]|[0-2][0-9]-[3-5][0-9])(/[1-9])?|\\*/[1-9]",
        hour in "\\*|\\*/[1-9]|[0-9]|[1-3](-[4-6])?",
        zone in prop::sample::select(&["UTC", "Europe/Paris", "Australia/Lord_Howe", "Africa/Casablanca"]),
        after_ms in 1_577_836_800_000_i64..2_500_000_000_000,
    ) {
        let rule = cron(&format!("{expression} {hour} * * *"), zone).rule().unwrap();
        let after = Timestamp::from_millisecond(after_ms).unwrap();
        let due = rule.next_after(after).unwrap();
        prop_assert!(due > after);
        prop_assert!(rule.next_after(due).unwrap() > due);
        // Nothing between `after` and `due`.
        let just_before = Timestamp::from_millisecond(due.as_millisecond() - 1).unwrap();
        prop_assert_eq!(rule.next_after(just_before), Some(due));
        let middle = (after_ms + due.as_millisecond()) / 2;
        prop_assert_eq!(rule.next_after(Timestamp::from_millisecond(middle).unwrap()), Some(due));
    }

    #[test]
    fn garbage_schedules_never_panic(
        name in "\\PC{0,10}", expression in "\\PC{0,30}", timezone in "\\PC{0,20}", interval_ms: u64,
        after_ns: i64,
    ) {
        let after = Timestamp::from_nanosecond(i128::from(after_ns)).unwrap();
        for cadence in [
            Cadence::Every { interval_ms },
            Cadence::Cron { expression: expression.clone(), timezone: timezone.clone() },
            Cadence::Cron { expression: "* * * * *".to_owned(), timezone },
        ] {
            let schedule = Schedule::new(name.clone(), cadence, after);
            let _ = (schedule.validate(1_000), schedule.describe(), schedule.upcoming(after, 2));
        }
    }
}
