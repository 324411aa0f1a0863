//! Rules in words, where they fit into a short phrase.

use super::expression::{Expression, WEEKDAYS, members};
use super::{Cadence, interval};

const ALL_MINUTES: u64 = (1 << 60) - 1;
const ALL_HOURS: u64 = (1 << 24) - 1;
const ALL_DAYS: u64 = ((1 << 31) - 1) << 1;
const ALL_MONTHS: u64 = ((1 << 12) - 1) << 1;
const ALL_WEEKDAYS: u64 = (1 << 7) - 1;
const WORKING_DAYS: u64 = 0b011_1110;
const WEEKEND: u64 = 0b100_0001;
/// Most clock times and most days that a phrase lists.
const LISTED_MAX: usize = 3;

const MONTH_NAMES: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) fn cadence(cadence: &Cadence) -> String {
    match cadence {
        Cadence::Every { interval_ms } => format!("every {}", interval::words(*interval_ms)),
        Cadence::Cron { expression, timezone } => {
            let phrase = expression.parse().ok().and_then(|parsed| phrase(&parsed));
            format!("{}, {timezone}", phrase.unwrap_or_else(|| expression.trim().to_owned()))
        }
    }
}

fn phrase(expression: &Expression) -> Option<String> {
    let days = days(expression)?;
    let (text, is_daily) = match repetition(expression) {
        Some(text) => (text, false),
        None => (times(expression)?, true),
    };
    Some(match (days.is_empty(), is_daily) {
        (true, true) => format!("{text} every day"),
        (true, false) => text,
        (false, _) => format!("{text} {days}"),
    })
}

/// `every 15 minutes` and its like: what goes on all day.
fn repetition(expression: &Expression) -> Option<String> {
    let Expression { seconds, minutes, hours, .. } = *expression;
    let every = |count: u64, unit: &str| match count {
        1 => format!("every {unit}"),
        _ => format!("every {count} {unit}s"),
    };
    let is_zero = |set: u64| set == 1;
    if hours == ALL_HOURS && minutes == ALL_MINUTES {
        return step(seconds, 60).map(|count| every(count, "second")).or_else(|| {
            (seconds.count_ones() == 1).then(|| match seconds.trailing_zeros() {
                0 => "every minute".to_owned(),
                second => format!("at second {second} of every minute"),
            })
        });
    }
    if !is_zero(seconds) {
        return None;
    }
    if hours == ALL_HOURS {
        return step(minutes, 60).map(|count| every(count, "minute")).or_else(|| {
            (minutes.count_ones() == 1).then(|| match minutes.trailing_zeros() {
                0 => "every hour".to_owned(),
                minute => format!("at minute {minute} of every hour"),
            })
        });
    }
    // Every other hour as the clock shows it: 12 of the day's 24, from midnight.
    step(hours, 24).filter(|_| is_zero(minutes)).map(|count| every(count, "hour"))
}

/// The distance of values that fill a cycle evenly from 0.
fn step(set: u64, cycle: u64) -> Option<u64> {
    let count = u64::from(set.count_ones());
    let distance = cycle / count;
    let is_even =
        count > 1 && cycle.is_multiple_of(count) && members(set).eq((0..count).map(|n| n * distance));
    is_even.then_some(distance)
}

/// `at 09:30 and 18:30`.
fn times(expression: &Expression) -> Option<String> {
    let Expression { seconds, minutes, hours, .. } = *expression;
    let count = seconds.count_ones() * minutes.count_ones() * hours.count_ones();
    if count as usize > LISTED_MAX {
        return None;
    }
    let mut times = Vec::new();
    for hour in members(hours) {
        for minute in members(minutes) {
            for second in members(seconds) {
                times.push(match seconds {
                    1 => format!("{hour:02}:{minute:02}"),
                    _ => format!("{hour:02}:{minute:02}:{second:02}"),
                });
            }
        }
    }
    Some(format!("at {}", listed(&times)))
}

/// `on weekdays`, `on day 1 of the month in January`; empty for every day.
fn days(expression: &Expression) -> Option<String> {
    let Expression { days, months, weekdays, .. } = *expression;
    let mut text = match (days, weekdays) {
        (ALL_DAYS, ALL_WEEKDAYS) => String::new(),
        (ALL_DAYS, WORKING_DAYS) => "on weekdays".to_owned(),
        (ALL_DAYS, WEEKEND) => "at weekends".to_owned(),
        (ALL_DAYS, _) => format!("on {}", listed(&weekday_names(weekdays))),
        (_, ALL_WEEKDAYS) if days.count_ones() as usize <= LISTED_MAX => {
            let numbers: Vec<String> = members(days).map(|day| day.to_string()).collect();
            let word = if numbers.len() == 1 { "day" } else { "days" };
            format!("on {word} {} of the month", listed(&numbers))
        }
        _ => return None,
    };
    if months != ALL_MONTHS {
        let names: Vec<String> =
            members(months).map(|month| MONTH_NAMES[month as usize - 1].to_owned()).collect();
        if names.len() > LISTED_MAX {
            return None;
        }
        if text.is_empty() {
            text = "every day".to_owned();
        }
        text = match text.strip_suffix(" of the month") {
            Some(days) => format!("{days} of {}", listed(&names)),
            None => format!("{text} in {}", listed(&names)),
        };
    }
    Some(text)
}

fn weekday_names(weekdays: u64) -> Vec<String> {
    // Monday first, Sunday last.
    let in_order = (1..=7).map(|day| day % 7).filter(|day| weekdays >> day & 1 == 1);
    in_order
        .map(|day| {
            let name = WEEKDAYS[day];
            format!("{}{}s", name[..1].to_uppercase(), &name[1..])
        })
        .collect()
}

fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_people_say_them() {
        let cron = |expression: &str| {
            cadence(&Cadence::Cron { expression: expression.to_owned(), timezone: "Europe/Paris".to_owned() })
        };
        for (expression, expected) in [
            ("* * * * *", "every minute"),
            ("*/15 * * * *", "every 15 minutes"),
            ("0,30 * * * *", "every 30 minutes"),
            ("@hourly", "every hour"),
            ("5 * * * *", "at minute 5 of every hour"),
            ("0 */2 * * *", "every 2 hours"),
            ("*/10 * * * * *", "every 10 seconds"),
            ("* * * * * *", "every second"),
            ("30 * * * * *", "at second 30 of every minute"),
            ("@daily", "at 00:00 every day"),
            ("30 9 * * *", "at 09:30 every day"),
            ("15 30 9 * * *", "at 09:30:15 every day"),
            ("30 9 * * 1-5", "at 09:30 on weekdays"),
            ("30 9,18 * * 0,6", "at 09:30 and 18:30 at weekends"),
            ("0 9 * * FRI-SUN", "at 09:00 on Fridays, Saturdays and Sundays"),
            ("*/5 * * * 1", "every 5 minutes on Mondays"),
            ("@monthly", "at 00:00 on day 1 of the month"),
            ("0 6 1,15 * *", "at 06:00 on days 1 and 15 of the month"),
            ("@yearly", "at 00:00 on day 1 of January"),
            ("0 12 * 7,8 *", "at 12:00 every day in July and August"),
            ("0 12 * 7,8 1-5", "at 12:00 on weekdays in July and August"),
            // Not in a short phrase:
            ("7-50/13 * * * *", "7-50/13 * * * *"),
            ("0 9 1 * 1", "0 9 1 * 1"),
            ("*/15 9-17 * * 1-5", "*/15 9-17 * * 1-5"),
            (" 1-7 3 * * * ", "1-7 3 * * *"),
        ] {
            assert_eq!(cron(expression), format!("{expected}, Europe/Paris"), "{expression}");
        }
        assert_eq!(cadence(&Cadence::Every { interval_ms: 5_400_000 }), "every 90 minutes");
        assert_eq!(cadence(&Cadence::Every { interval_ms: 60_000 }), "every minute");
    }
}
