use std::str::FromStr;

use cron::TimeUnitSpec;
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Expression {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn set(values: impl IntoIterator<Item = u64>) -> u64 {
    values.into_iter().fold(0, |set, value| set | 1 << value)
}

#[test]
fn five_and_six_fields_are_read() {
    let five = parse("5,10-12 */6 1-10/3,31 JAN,dec,March mon-wed,5");
    assert_eq!(five.seconds, 1);
    assert_eq!(five.minutes, set([5, 10, 11, 12]));
    assert_eq!(five.hours, set([0, 6, 12, 18]));
    assert_eq!(five.days, set([1, 4, 7, 10, 31]));
    assert_eq!(five.months, set([1, 3, 12]));
    assert_eq!(five.weekdays, set([1, 2, 3, 5]));
    let six = parse("*/20 50/4 22-23 ? * *");
    assert_eq!(six.seconds, set([0, 20, 40]));
    assert_eq!(six.minutes, set([50, 54, 58]));
    assert_eq!(six.hours, set([22, 23]));
    assert_eq!((six.days, six.weekdays), (set(1..=31), set(0..=6)));
}

#[test]
fn sunday_is_0_and_7_and_ends_ranges() {
    for (text, days) in [
        ("0", &[0][..]),
        ("7", &[0]),
        ("SUN", &[0]),
        ("5-7", &[0, 5, 6]),
        ("FRI-SUN", &[0, 5, 6]),
        ("6-0", &[0, 6]),
        ("sun-tue", &[0, 1, 2]),
        ("7-2", &[0, 1, 2]),
        ("0-7", &[0, 1, 2, 3, 4, 5, 6]),
        ("1-7/2", &[0, 1, 3, 5]),
        ("*/2", &[0, 2, 4, 6]),
        ("4/2", &[4, 6]),
    ] {
        assert_eq!(parse(&format!("0 0 * * {text}")).weekdays, set(days.iter().copied()), "{text}");
    }
}

#[test]
fn nicknames_stand_for_their_expressions() {
    for (nickname, text) in [
        ("@hourly", "0 * * * *"),
        (" @Daily ", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ] {
        assert_eq!(parse(nickname), parse(text));
    }
    for unknown in ["@reboot", "@every 5m", "@", "@daily x"] {
        assert_eq!(unknown.parse::<Expression>(), Err(CronError::Nickname(unknown.to_owned())));
    }
    assert!("@every 5m".parse::<Expression>().unwrap_err().hint().contains("--every"));
}

#[test]
fn both_day_fields_restricted_match_either() {
    let dates = |text: &str| -> Vec<i8> {
        let expression = parse(text);
        // September 2026 begins on a Tuesday.
        (1..=30).filter(|day| expression.has_date(jiff::civil::date(2026, 9, *day))).collect()
    };
    // Crontab's rule: the 13th, and every Friday.
    assert_eq!(dates("0 0 13 * 5"), [4, 11, 13, 18, 25]);
    // One of them open: the other decides.
    assert_eq!(dates("0 0 13 * *"), [13]);
    assert_eq!(dates("0 0 ? * 5"), [4, 11, 18, 25]);
    // A step from a star is open: both must match.
    assert_eq!(dates("0 0 */2 * 5"), [11, 25]);
    assert_eq!(dates("0 0 1-31/2 * 5"), [1, 3, 4, 5, 7, 9, 11, 13, 15, 17, 18, 19, 21, 23, 25, 27, 29]);
    assert_eq!(dates("0 0 13 * */5"), [13]);
}

#[test]
fn error_points_at_the_field() {
    let field = |field, number, position, found: &str, allowed: &str| {
        let (found, allowed) = (found.to_owned(), allowed.to_owned());
        CronError::Field { field, number, position, found, allowed }
    };
    let weekday = "0 to 7 (0 and 7 are Sunday) or SUN to SAT";
    for (text, expected) in [
        ("61 * * * *", field("minute", 1, 1, "61", "0 to 59")),
        ("0 24 * * *", field("hour", 2, 3, "24", "0 to 23")),
        ("0  0  0 * *", field("day of month", 3, 7, "0", "1 to 31")),
        ("0 0 1,2,32 * *", field("day of month", 3, 9, "32", "1 to 31")),
        ("0 0 * 13 *", field("month", 4, 7, "13", "1 to 12 or JAN to DEC")),
        ("0 0 * janvier *", field("month", 4, 7, "janvier", "1 to 12 or JAN to DEC")),
        ("0 0 * * 8", field("day of week", 5, 9, "8", weekday)),
        ("0 0 * * mon-fir", field("day of week", 5, 13, "fir", weekday)),
        ("60 * * * * *", field("second", 1, 1, "60", "0 to 59")),
        ("* 99999999999999999999 * * * *", field("minute", 2, 3, "99999999999999999999", "0 to 59")),
        ("* -1 * * *", field("hour", 2, 3, "", "0 to 23")),
        ("1,,2 * * * *", field("minute", 1, 3, "", "0 to 59")),
        ("5- * * * *", field("minute", 1, 3, "", "0 to 59")),
        ("? * * * *", field("minute", 1, 1, "?", "0 to 59")),
        ("*/0 * * * *", field("minute", 1, 3, "0", "a step from 1 to 59")),
        ("*/90 * * * *", field("minute", 1, 3, "90", "a step from 1 to 59")),
        ("*/ * * * *", field("minute", 1, 3, "", "a step from 1 to 59")),
        ("*/5/5 * * * *", field("minute", 1, 1, "*/5/5", "one step, as in */15")),
        ("1-2-3 * * * *", field("minute", 1, 1, "1-2-3", "one range, as in 1-5")),
        ("0 22-4 * * *", field("hour", 2, 3, "22-4", "a range that goes up, here 22-23,0-4")),
        ("é * * * *", field("minute", 1, 1, "é", "0 to 59")),
        ("éé,ü * * * *", field("minute", 1, 1, "éé", "0 to 59")),
    ] {
        assert_eq!(text.parse::<Expression>(), Err(expected), "{text}");
    }
    assert_eq!(
        "30 9 * * 1-9".parse::<Expression>().unwrap_err().to_string(),
        "the day of week field (field 5) has \"9\" at position 12; \
         allowed: 0 to 7 (0 and 7 are Sunday) or SUN to SAT"
    );
}

#[test]
fn extensions_of_other_schedulers_are_refused_by_name() {
    for (text, found, meaning) in [
        ("0 0 L * *", "L", "`L`, the last such day,"),
        ("0 0 15W * *", "15W", "`W`, the nearest weekday,"),
        ("0 0 LW * *", "LW", "`LW`, the last weekday of the month,"),
        ("0 0 * * 5L", "5L", "`L`, the last such day,"),
        ("0 0 * * MON#2", "MON#2", "`#`, the nth such weekday of the month,"),
    ] {
        match text.parse::<Expression>() {
            Err(CronError::Unsupported { found: f, meaning: m, .. }) => {
                assert_eq!((f.as_str(), m), (found, meaning), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn number_of_fields_is_checked() {
    for (text, count) in [("", 0), ("   ", 0), ("* * * *", 4), ("0 0 0 1 1 * 2026", 7)] {
        assert_eq!(text.parse::<Expression>(), Err(CronError::Fields(count)), "{text}");
    }
    assert_eq!("* ".repeat(200).parse::<Expression>(), Err(CronError::TooLong));
}

#[test]
fn days_that_no_calendar_has_are_found_out() {
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 */2"] {
        assert!(parse(never).is_never(), "{never}");
    }
    // The rarest that exists, and an either-day that a weekday rescues.
    for rare in ["0 0 29 2 *", "0 0 29 2 */6", "0 0 30 2 1"] {
        assert!(!parse(rare).is_never(), "{rare}");
    }
}

#[test]
fn shortest_distance_is_measured_within_a_day() {
    for (text, seconds) in [
        ("* * * * * *", 1),
        ("*/20 * * * * *", 20),
        ("* * * * *", 60),
        ("0,59 * * * *", 60),
        ("0 9,10 * * *", 3_600),
        ("0 9 * * 1", 86_400),
        ("*/7 3 * * *", 420),
    ] {
        assert_eq!(parse(text).distance_ms_min(), seconds * 1_000, "{text}");
    }
}

/// A field in the part of the dialect that the `cron` crate reads alike: its text, with
/// `shift` added to the numbers of weekdays, which the crate counts from 1.
fn common_field(min: u32, max: u32, shift: u32) -> impl Strategy<Value = (String, String)> {
    let value = min..=max;
    let item = prop_oneof![
        Just(("*".to_owned(), "*".to_owned())),
        value.clone().prop_map(move |a| (a.to_string(), (a + shift).to_string())),
        (value.clone(), value).prop_map(move |(a, b)| {
            let (a, b) = (a.min(b), a.max(b));
            (format!("{a}-{b}"), format!("{}-{}", a + shift, b + shift))
        }),
    ];
    let item = (item, proptest::option::of(1..=max - min)).prop_map(|((ours, theirs), step)| match step {
        Some(step) => (format!("{ours}/{step}"), format!("{theirs}/{step}")),
        None => (ours, theirs),
    });
    prop::collection::vec(item, 1..4).prop_map(|items| {
        let join = |texts: Vec<&str>| texts.join(",");
        (
            join(items.iter().map(|(ours, _)| ours.as_str()).collect()),
            join(items.iter().map(|(_, theirs)| theirs.as_str()).collect()),
        )
    })
}

proptest! {
    #[test]
    fn sets_agree_with_the_cron_crate(
        fields in (
            common_field(0, 59, 0), common_field(0, 59, 0), common_field(0, 23, 0),
            common_field(1, 31, 0), common_field(1, 12, 0), common_field(0, 6, 1),
        )
    ) {
        let (s, m, h, d, mo, w) = fields;
        let ours = parse(&[s.0, m.0, h.0, d.0, mo.0, w.0].join(" "));
        let theirs = cron::Schedule::from_str(&[s.1, m.1, h.1, d.1, mo.1, w.1].join(" ")).unwrap();
        let values = |field: &dyn Fn(u32) -> bool, range: std::ops::RangeInclusive<u32>, shift: u32| {
            set(range.filter(|value| field(value + shift)).map(u64::from))
        };
        prop_assert_eq!(ours.seconds, values(&|v| theirs.seconds().includes(v), 0..=59, 0));
        prop_assert_eq!(ours.minutes, values(&|v| theirs.minutes().includes(v), 0..=59, 0));
        prop_assert_eq!(ours.hours, values(&|v| theirs.hours().includes(v), 0..=23, 0));
        prop_assert_eq!(ours.days, values(&|v| theirs.days_of_month().includes(v), 1..=31, 0));
        prop_assert_eq!(ours.months, values(&|v| theirs.months().includes(v), 1..=12, 0));
        prop_assert_eq!(ours.weekdays, values(&|v| theirs.days_of_week().includes(v), 0..=6, 1));
    }

    #[test]
    fn garbage_is_refused_without_a_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<Expression>();
    }

    #[test]
    fn near_misses_are_refused_without_a_panic(text in "[0-9*/,LW#?@a-zé -]{0,40}") {
        if let Ok(expression) = text.parse::<Expression>() {
            let _ = expression.at_or_after(jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0));
        }
    }
}
