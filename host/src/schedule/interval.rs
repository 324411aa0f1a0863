//! Intervals as people write them: `90m`, `1h30m`, `every 90 minutes`.

/// Units by every way of writing them, with their milliseconds.
const UNITS: [(u64, &str, &[&str]); 6] = [
    (604_800_000, "w", &["w", "week", "weeks"]),
    (86_400_000, "d", &["d", "day", "days"]),
    (3_600_000, "h", &["h", "hr", "hrs", "hour", "hours"]),
    (60_000, "m", &["m", "min", "mins", "minute", "minutes"]),
    (1_000, "s", &["s", "sec", "secs", "second", "seconds"]),
    (1, "ms", &["ms", "millisecond", "milliseconds"]),
];

/// Why a text is no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// There is nothing in it.
    #[error("an interval cannot be empty")]
    Empty,
    /// It is zero.
    #[error("an interval cannot be 0")]
    Zero,
    /// A number stands alone.
    #[error("the interval has no unit behind {0}")]
    NoUnit(String),
    /// A number is missing, negative, fractional or too large.
    #[error("the interval has {found:?} at position {position} where a whole number is needed")]
    Number {
        /// What stands there.
        found: String,
        /// In characters, from 1.
        position: usize,
    },
    /// A unit is not known.
    #[error("the interval has {found:?} at position {position} where a unit is needed")]
    Unit {
        /// What stands there.
        found: String,
        /// In characters, from 1.
        position: usize,
    },
    /// A unit stands in it twice.
    #[error("the interval has {0} twice")]
    Repeated(&'static str),
    /// The sum is too large to be one.
    #[error("the interval is too long")]
    TooLong,
}

impl IntervalError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            IntervalError::NoUnit(number) => {
                format!("write {number}s for seconds, {number}m for minutes, {number}h for hours")
            }
            _ => "write it like 45s, 90m, 1h30m or 2d; units are w, d, h, m, s and ms".to_owned(),
        }
    }
}

/// Reads an interval, in milliseconds: numbers with units, `every` before them if one
/// likes. `every hour` is one hour. Minimum and maximum are checked by
/// [`super::Schedule::validate`].
///
/// # Errors
/// What is wrong, and where; 0 is refused.
pub fn parse(text: &str) -> Result<u64, IntervalError> {
    let mut words = Words { chars: text.chars().collect(), at: 0 };
    words.skip_separators();
    let start = words.at;
    let (first, _) = words.take(char::is_alphabetic);
    if !first.eq_ignore_ascii_case("every") {
        words.at = start;
    }
    words.skip_separators();
    if words.is_done() {
        return Err(IntervalError::Empty);
    }
    // "every minute": the one number that people leave out.
    let mut number_is_optional = true;
    let mut total_ms: u64 = 0;
    let mut seen = [false; UNITS.len()];
    while !words.is_done() {
        let number = match words.number(number_is_optional) {
            Ok(number) => number,
            Err(found_at) => return Err(words.number_error(found_at)),
        };
        words.skip_separators();
        if words.is_done() {
            return Err(IntervalError::NoUnit(number.to_string()));
        }
        let (unit, position) = words.take(char::is_alphabetic);
        let lower = unit.to_lowercase();
        let Some(index) = UNITS.iter().position(|(_, _, names)| names.contains(&lower.as_str())) else {
            let found = if unit.is_empty() { words.rest(position) } else { unit };
            return Err(IntervalError::Unit { found: cut(&found), position: position + 1 });
        };
        let (unit_ms, short, _) = UNITS[index];
        if std::mem::replace(&mut seen[index], true) {
            return Err(IntervalError::Repeated(short));
        }
        total_ms = number
            .checked_mul(unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or(IntervalError::TooLong)?;
        number_is_optional = false;
        words.skip_separators();
    }
    if total_ms == 0 { Err(IntervalError::Zero) } else { Ok(total_ms) }
}

/// Writes an interval the short way, for example `1h30m`: what [`parse`] reads.
pub fn format(mut interval_ms: u64) -> String {
    if interval_ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    // Weeks stay days: "7d" is what people write.
    for (unit_ms, short, _) in &UNITS[1..] {
        let count = interval_ms / unit_ms;
        if count > 0 {
            text.push_str(&format!("{count}{short}"));
            interval_ms %= unit_ms;
        }
    }
    text
}

/// Writes an interval in words, in the largest unit that divides it: `90 minutes`,
/// `hour`.
pub(super) fn words(interval_ms: u64) -> String {
    let (unit_ms, _, names) =
        UNITS[1..].iter().find(|(unit_ms, ..)| interval_ms.is_multiple_of(*unit_ms)).unwrap_or(&UNITS[5]);
    let (one, many) = (names[names.len() - 2], names[names.len() - 1]);
    match interval_ms / unit_ms {
        1 => one.to_owned(),
        count => format!("{count} {many}"),
    }
}

struct Words {
    chars: Vec<char>,
    at: usize,
}

impl Words {
    fn is_done(&self) -> bool {
        self.at == self.chars.len()
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> (String, usize) {
        let start = self.at;
        while self.at < self.chars.len() && belongs(self.chars[self.at]) {
            self.at += 1;
        }
        (self.chars[start..self.at].iter().collect(), start)
    }

    fn skip_separators(&mut self) {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn rest(&self, from: usize) -> String {
        self.chars[from..].iter().collect()
    }

    /// A whole number; 1 where a unit follows and the number may be left out. The error
    /// is the place of what is no number.
    fn number(&mut self, optional: bool) -> Result<u64, usize> {
        let (digits, start) = self.take(|c| c.is_ascii_digit());
        let follows = self.chars.get(self.at).copied();
        if digits.is_empty() {
            return if optional && follows.is_some_and(char::is_alphabetic) { Ok(1) } else { Err(start) };
        }
        if matches!(follows, Some('.' | ',')) {
            return Err(start);
        }
        digits.parse().map_err(|_| start)
    }

    fn number_error(&self, at: usize) -> IntervalError {
        let found: String = self.chars[at..].iter().take_while(|c| !c.is_whitespace()).collect();
        IntervalError::Number { found: cut(&found), position: at + 1 }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    #[test]
    fn intervals_are_read_as_people_write_them() {
        for (text, expected) in [
            ("90m", 90 * MINUTE),
            ("1h30m", 90 * MINUTE),
            ("1h 30m", 90 * MINUTE),
            ("1 hour 30 minutes", 90 * MINUTE),
            (" every 90 minutes ", 90 * MINUTE),
            ("Every 90 Min", 90 * MINUTE),
            ("every minute", MINUTE),
            ("hour", 60 * MINUTE),
            ("45s", 45_000),
            ("1500ms", 1_500),
            ("2d", 2_880 * MINUTE),
            ("1w", 10_080 * MINUTE),
            ("every day", 1_440 * MINUTE),
            ("007s", 7_000),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn error_says_what_is_wrong_and_where() {
        let number = |found: &str, position| Err(IntervalError::Number { found: found.to_owned(), position });
        let unit = |found: &str, position| Err(IntervalError::Unit { found: found.to_owned(), position });
        for (text, expected) in [
            ("", Err(IntervalError::Empty)),
            ("  every  ", Err(IntervalError::Empty)),
            ("0", Err(IntervalError::NoUnit("0".to_owned()))),
            ("90", Err(IntervalError::NoUnit("90".to_owned()))),
            ("0m", Err(IntervalError::Zero)),
            ("0h0m", Err(IntervalError::Zero)),
            ("-5m", number("-5m", 1)),
            ("1.5h", number("1.5h", 1)),
            ("1h -30m", number("-30m", 4)),
            ("1h m", number("m", 4)),
            ("99999999999999999999s", number("99999999999999999999", 1)),
            ("5 fortnights", unit("fortnights", 3)),
            ("5%", unit("%", 2)),
            ("soon", unit("soon", 1)),
            ("5m5m", Err(IntervalError::Repeated("m"))),
            ("9999999999999999999w", Err(IntervalError::TooLong)),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(
            parse("5 fortnights").unwrap_err().to_string(),
            "the interval has \"fortnights\" at position 3 where a unit is needed"
        );
        assert_eq!(parse("90").unwrap_err().hint(), "write 90s for seconds, 90m for minutes, 90h for hours");
    }

    #[test]
    fn formatted_interval_reads_back() {
        for (ms, short, long) in [
            (90 * MINUTE, "1h30m", "90 minutes"),
            (60 * MINUTE, "1h", "hour"),
            (1_440 * MINUTE, "1d", "day"),
            (10_080 * MINUTE, "7d", "7 days"),
            (1_500, "1s500ms", "1500 milliseconds"),
            (45_000, "45s", "45 seconds"),
        ] {
            assert_eq!(format(ms), short);
            assert_eq!(parse(short), Ok(ms));
            assert_eq!(words(ms), long);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_interval_survives_formatting(ms in 1_u64..super::super::INTERVAL_MS_MAX) {
            proptest::prop_assert_eq!(parse(&format(ms)), Ok(ms));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
