//! Times, durations and sizes as people read and write them.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, Unit};

/// `2025-06-01 14:03:22 +02:00`, in the local zone.
pub(crate) fn time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// `06-01 14:03:22+02` for tables, with the year when it is not the one of `now`.
pub(crate) fn short_time(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    // Offsets are whole hours nearly everywhere; the rest show minutes.
    let whole = at.offset().seconds() % 3600 == 0;
    let offset =
        if whole { at.strftime("%z").to_string()[..3].to_owned() } else { at.strftime("%:z").to_string() };
    let day = if at.year() == now.year() { "%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    format!("{}{offset}", at.strftime(day))
}

/// `14:03:22.123`, in the local zone.
pub(crate) fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%H:%M:%S.%3f").to_string()
}

/// `3 min ago`, `in 2 h`, `now`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.duration_since(now).as_secs();
    let size = match seconds.unsigned_abs() {
        0 => return "now".to_owned(),
        s @ 1..60 => format!("{s} s"),
        s @ 60..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    };
    if seconds > 0 { format!("in {size}") } else { format!("{size} ago") }
}

/// `850 µs`, `3.2 ms`, `1.25 s`, `2 min 5 s`, `3 h 20 min`, from milliseconds.
pub(crate) fn duration(ms: f64) -> String {
    let ms = ms.max(0.0);
    if ms == 0.0 {
        return "0 ms".to_owned();
    }
    if ms < 0.9995 {
        return format!("{:.0} µs", ms * 1e3);
    }
    if ms < 99.95 {
        return format!("{ms:.1} ms");
    }
    if ms < 999.5 {
        return format!("{ms:.0} ms");
    }
    let seconds = ms / 1e3;
    if seconds < 59.995 {
        return format!("{seconds:.2} s");
    }
    let seconds = seconds.round() as u64;
    let (large, small) = match seconds {
        0..3600 => ((seconds / 60, "min"), (seconds % 60, "s")),
        3600..172_800 => ((seconds / 3600, "h"), (seconds % 3600 / 60, "min")),
        _ => ((seconds / 86_400, "days"), (seconds % 86_400 / 3600, "h")),
    };
    match small.0 {
        0 => format!("{} {}", large.0, large.1),
        _ => format!("{} {} {} {}", large.0, large.1, small.0, small.1),
    }
}

/// As [`duration`], of a whole number of milliseconds.
pub(crate) fn duration_ms(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { duration(ms as f64) }
}

/// As [`duration`], from microseconds.
pub(crate) fn duration_us(us: u64) -> String {
    duration(us as f64 / 1e3)
}

/// `512 B`, `1.5 KiB`, `12 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{count} B"),
        _ if value < 9.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// `1 run`, `2 runs`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let mut text = format!("{number} {noun}");
    if number != 1 {
        text.push('s');
    }
    text
}

/// The text's first characters, `…` for the rest, at most `columns_max` long.
pub(crate) fn shorten(text: &str, columns_max: usize) -> String {
    if text.chars().count() <= columns_max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(columns_max.saturating_sub(1)).collect();
    let _ = out.write_char('…');
    out
}

/// The instant that `--since` names: so long ago (`90s`, `10m`, `2h`, `7d`), or an
/// instant as RFC 3339 writes it.
///
/// # Errors
/// Says which forms there are.
pub(crate) fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let ago = text.parse::<Span>().ok().and_then(|span| {
        let relative = SpanRelativeTo::days_are_24_hours();
        let seconds = span.total((Unit::Second, relative)).ok()?;
        (seconds >= 0.0).then(|| SignedDuration::try_from_secs_f64(seconds).ok()).flatten()
    });
    let instant = ago.and_then(|ago| now.checked_sub(ago).ok());
    instant.ok_or_else(|| {
        "use a time span such as 10m, 2h or 7d, or an instant such as 2025-06-01T08:00:00Z".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_carry_their_offset() {
        let zone = TimeZone::get("Europe/Paris").unwrap();
        let summer: Timestamp = "2025-06-01T12:03:22.1239Z".parse().unwrap();
        assert_eq!(time(summer, &zone), "2025-06-01 14:03:22 +02:00");
        assert_eq!(clock(summer, &zone), "14:03:22.123");
        let winter: Timestamp = "2025-01-01T12:00:00Z".parse().unwrap();
        assert_eq!(time(winter, &zone), "2025-01-01 13:00:00 +01:00");
    }

    #[test]
    fn short_times_carry_their_offset_and_a_foreign_year() {
        let at: Timestamp = "2025-06-01T12:03:22Z".parse().unwrap();
        let later: Timestamp = "2026-06-01T12:03:22Z".parse().unwrap();
        let zone = |name| TimeZone::get(name).unwrap();
        assert_eq!(short_time(at, at, &zone("Europe/Paris")), "06-01 14:03:22+02");
        assert_eq!(short_time(at, at, &zone("Asia/Kathmandu")), "06-01 17:48:22+05:45");
        assert_eq!(short_time(at, later, &zone("America/New_York")), "2025-06-01 08:03-04");
    }

    #[test]
    fn relative_times_round_down() {
        let now: Timestamp = "2025-06-01T12:00:00Z".parse().unwrap();
        for (seconds, text) in [
            (0, "now"),
            (-1, "1 s ago"),
            (-59, "59 s ago"),
            (-60, "1 min ago"),
            (5399, "in 89 min"),
            (-7200, "2 h ago"),
            (172_799, "in 47 h"),
            (-172_800, "2 days ago"),
        ] {
            assert_eq!(relative(now + SignedDuration::from_secs(seconds), now), text);
        }
    }

    #[test]
    fn durations_keep_two_or_three_digits() {
        for (ms, text) in [
            (-1.0, "0 ms"),
            (0.0, "0 ms"),
            (0.85, "850 µs"),
            (0.9996, "1.0 ms"),
            (3.21, "3.2 ms"),
            (99.96, "100 ms"),
            (999.6, "1.00 s"),
            (59_994.0, "59.99 s"),
            (59_996.0, "1 min"),
            (7_200_000.0, "2 h"),
            (125_000.0, "2 min 5 s"),
            (12_000_000.0, "3 h 20 min"),
            (200_000_000.0, "2 days 7 h"),
        ] {
            assert_eq!(duration(ms), text, "{ms}");
        }
        assert_eq!((duration_us(1500), duration_ms(3)), ("1.5 ms".to_owned(), "3 ms".to_owned()));
    }

    #[test]
    fn sizes_are_binary() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10_240, "10 KiB"),
            (1_048_575, "1.0 MiB"),
            (134_217_728, "128 MiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        assert_eq!((count(1, "run"), count(2, "run")), ("1 run".to_owned(), "2 runs".to_owned()));
    }

    #[test]
    fn since_reads_spans_and_instants() {
        let now: Timestamp = "2025-06-10T12:00:00Z".parse().unwrap();
        for (text, instant) in [
            ("10m", "2025-06-10T11:50:00Z"),
            ("1h30m", "2025-06-10T10:30:00Z"),
            ("7d", "2025-06-03T12:00:00Z"),
            ("90s", "2025-06-10T11:58:30Z"),
            ("2025-06-01T10:00:00+02:00", "2025-06-01T08:00:00Z"),
        ] {
            assert_eq!(since(text, now).unwrap(), instant.parse().unwrap(), "{text}");
        }
        for bad in ["", "10", "yesterday", "-10m", "1mo", "2025-06-01"] {
            assert!(since(bad, now).unwrap_err().contains("10m"), "{bad}");
        }
    }

    #[test]
    fn shortened_text_says_so() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abcd", 3), "ab…");
    }
}
