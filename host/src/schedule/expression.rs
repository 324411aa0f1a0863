//! Cron expressions: which local times one names.
//!
//! The dialect is crontab's: five fields, minute first; or six, second first.
//!
//! | field | values |
//! | --- | --- |
//! | second (six fields only) | 0 to 59 |
//! | minute | 0 to 59 |
//! | hour | 0 to 23 |
//! | day of month | 1 to 31 |
//! | month | 1 to 12, `JAN` to `DEC` |
//! | day of week | 0 to 7 (0 and 7 are Sunday), `SUN` to `SAT` |
//!
//! A field is `*`, a value, a range `a-b`, a step `*/n`, `a-b/n` or `a/n` (from `a` to the
//! field's end), or a list of these with commas. Names are short or full, in any case.
//! `?` stands for `*` in the two day fields. `@hourly`, `@daily`, `@midnight`, `@weekly`,
//! `@monthly`, `@yearly` and `@annually` are known.
//!
//! **Both day fields.** As in crontab, an expression whose day of month *and* day of week
//! are both restricted is due on days that match *either*; when one of them begins with
//! `*` (or `?`), both must match, so that `0 9 */2 * 1` means Mondays on odd days.
//!
//! The `cron` crate reads the fields' values. Before it, every field is checked and
//! normalised here: crontab has five fields and counts Sunday as 0, and an error has to
//! point at its character. What the crate cannot tell is kept beside its values: how the
//! fields were written decides which days match and which rule holds at clock changes.

use std::str::FromStr;

use cron::TimeUnitSpec;
use jiff::civil::{Date, DateTime, Time};

/// Longest expression, in characters.
pub const CHARS_MAX: usize = 256;
/// 29 February falls on a given weekday at least once in 40 years (1880 to 1920, and
/// each such century end), and nothing else in the calendar is rarer.
const YEARS_MAX: i16 = 41;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
pub(super) const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// A cron expression, as the sets of values that its fields name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    // Bit n is set when the value n is named.
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u64,
    pub(super) days: u64,
    pub(super) months: u64,
    /// Bit 0 is Sunday.
    pub(super) weekdays: u64,
    /// Days that match one of the two day fields are enough.
    pub(super) either_day: bool,
    /// It repeats within the hour or every hour, and so follows elapsed time at clock
    /// changes.
    pub(super) repeats: bool,
}

/// Why a text is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It has neither five nor six fields.
    #[error(
        "it has {0} fields; five (minute, hour, day of month, month, day of week) or six (second first) are needed"
    )]
    Fields(usize),
    /// It is longer than [`CHARS_MAX`].
    #[error("it has more than {CHARS_MAX} characters")]
    TooLong,
    /// A field has something that does not belong there.
    #[error("the {field} field (field {number}) has {found:?} at position {position}; allowed: {allowed}")]
    Field {
        /// The field's name, for example `minute`.
        field: &'static str,
        /// The field's number in the expression, from 1.
        number: usize,
        /// Where it stands in the expression, in characters from 1.
        position: usize,
        /// What stands there.
        found: String,
        /// What can stand there.
        allowed: String,
    },
    /// A field uses an extension of other schedulers.
    #[error(
        "the {field} field (field {number}) has {found:?} at position {position}: {meaning} is not supported"
    )]
    Unsupported {
        /// The field's name.
        field: &'static str,
        /// The field's number in the expression, from 1.
        number: usize,
        /// Where it stands in the expression, in characters from 1.
        position: usize,
        /// What stands there.
        found: String,
        /// What other schedulers mean by it.
        meaning: &'static str,
    },
    /// The `cron` crate refuses what passed all checks before it.
    #[error("{0}")]
    Library(String),
    /// A word with `@` is not known.
    #[error("{0:?} is not known")]
    Nickname(String),
}

impl CronError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            CronError::Nickname(word) if word.starts_with("@every") => {
                "give an interval instead, for example `--every 90m`".to_owned()
            }
            CronError::Nickname(_) => {
                "known are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually".to_owned()
            }
            CronError::Unsupported { .. } => {
                "use a list of days, and return at once in the function on the others".to_owned()
            }
            CronError::Fields(_) | CronError::TooLong | CronError::Field { .. } | CronError::Library(_) => {
                "for example `30 9 * * 1-5`: at 09:30 on weekdays".to_owned()
            }
        }
    }
}

impl Expression {
    /// Whether it names this day.
    pub fn has_date(&self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset() as u32;
        let (day, weekday) = (has(self.days, date.day() as u32), has(self.weekdays, weekday));
        has(self.months, date.month() as u32) && if self.either_day { day || weekday } else { day && weekday }
    }

    /// Whether it names this hour of this day, at some minute.
    pub fn has_hour(&self, at: DateTime) -> bool {
        self.has_date(at.date()) && has(self.hours, at.hour() as u32)
    }

    /// The first local time that it names, at or behind `from`; fractions of a second are
    /// cut off. `None` when there is none within 41 years.
    pub fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let mut earliest = Some(from.time());
        let last_year = from.year().saturating_add(YEARS_MAX);
        while date.year() <= last_year {
            if !has(self.months, date.month() as u32) {
                date = date.last_of_month().tomorrow().ok()?;
                earliest = None;
                continue;
            }
            if self.has_date(date)
                && let Some(time) = self.time_at_or_after(earliest.unwrap_or(Time::midnight()))
            {
                return Some(date.to_datetime(time));
            }
            date = date.tomorrow().ok()?;
            earliest = None;
        }
        None
    }

    /// Whether no calendar has a day that it names.
    pub fn is_never(&self) -> bool {
        self.at_or_after(DateTime::constant(2000, 1, 1, 0, 0, 0, 0)).is_none()
    }

    /// The shortest distance between two times that it names on one day, in milliseconds;
    /// a day when it names one time a day.
    pub fn distance_ms_min(&self) -> u64 {
        let mut shortest = 86_400;
        let mut last: Option<u64> = None;
        for hour in members(self.hours) {
            for minute in members(self.minutes) {
                for second in members(self.seconds) {
                    let at = hour * 3_600 + minute * 60 + second;
                    if let Some(last) = last.replace(at) {
                        shortest = shortest.min(at - last);
                    }
                }
            }
        }
        shortest * 1_000
    }

    fn time_at_or_after(&self, from: Time) -> Option<Time> {
        let (from_hour, from_minute, from_second) =
            (from.hour() as u32, from.minute() as u32, from.second() as u32);
        let hour = next(self.hours, from_hour)?;
        if hour > from_hour {
            return Some(self.first_of_hour(hour));
        }
        let minute = next(self.minutes, from_minute);
        if minute == Some(from_minute)
            && let Some(second) = next(self.seconds, from_second)
        {
            return Some(time(hour, from_minute, second));
        }
        if let Some(minute) = next(self.minutes, from_minute + 1) {
            return Some(time(hour, minute, self.seconds.trailing_zeros()));
        }
        next(self.hours, from_hour + 1).map(|hour| self.first_of_hour(hour))
    }

    fn first_of_hour(&self, hour: u32) -> Time {
        time(hour, self.minutes.trailing_zeros(), self.seconds.trailing_zeros())
    }
}

fn has(set: u64, value: u32) -> bool {
    set >> value & 1 == 1
}

fn next(set: u64, from: u32) -> Option<u32> {
    let rest = set.checked_shr(from)?;
    (rest != 0).then(|| from + rest.trailing_zeros())
}

pub(super) fn members(set: u64) -> impl Iterator<Item = u64> {
    (0..64).filter(move |value| set >> value & 1 == 1)
}

fn time(hour: u32, minute: u32, second: u32) -> Time {
    // Every field was read against its range: below 24, 60 and 60.
    Time::constant(hour as i8, minute as i8, second as i8, 0)
}

/// One of the six fields.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
    /// What error messages say can stand there.
    allowed: &'static str,
}

const DAY: usize = 3;
const WEEKDAY: usize = 5;
const FIELDS: [Field; 6] = [
    Field { name: "second", min: 0, max: 59, names: &[], allowed: "0 to 59" },
    Field { name: "minute", min: 0, max: 59, names: &[], allowed: "0 to 59" },
    Field { name: "hour", min: 0, max: 23, names: &[], allowed: "0 to 23" },
    Field { name: "day of month", min: 1, max: 31, names: &[], allowed: "1 to 31" },
    Field { name: "month", min: 1, max: 12, names: &MONTHS, allowed: "1 to 12 or JAN to DEC" },
    Field {
        name: "day of week",
        min: 0,
        max: 6,
        names: &WEEKDAYS,
        allowed: "0 to 7 (0 and 7 are Sunday) or SUN to SAT",
    },
];

impl FromStr for Expression {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        if text.chars().count() > CHARS_MAX {
            return Err(CronError::TooLong);
        }
        let trimmed = text.trim();
        if trimmed.starts_with('@') {
            return nickname(trimmed)?.parse();
        }
        let mut words = words(text);
        let without_seconds = words.len() == 5;
        if without_seconds {
            words.insert(0, Word { text: "0", position: 1 });
        }
        if words.len() != FIELDS.len() {
            return Err(CronError::Fields(words.len()));
        }
        let mut normal = Vec::with_capacity(FIELDS.len());
        for (index, word) in words.iter().enumerate() {
            let number = if without_seconds { index } else { index + 1 };
            normal.push(Normalizer { field: &FIELDS[index], index, number }.field(word)?);
        }
        let read: cron::Schedule = normal
            .join(" ")
            .parse()
            .map_err(|error: cron::error::Error| CronError::Library(error.to_string()))?;
        let hours = set_of(read.hours());
        let is_open = |index: usize| words[index].text.starts_with(['*', '?']);
        let is_plain = |index: usize| !words[index].text.contains(['*', '-', '/']);
        Ok(Self {
            seconds: set_of(read.seconds()),
            minutes: set_of(read.minutes()),
            hours,
            days: set_of(read.days_of_month()),
            months: set_of(read.months()),
            // The library counts Sunday as 1.
            weekdays: set_of(read.days_of_week()) >> 1,
            either_day: !is_open(DAY) && !is_open(WEEKDAY),
            repeats: !is_plain(0) || !is_plain(1) || hours == (1 << 24) - 1,
        })
    }
}

fn set_of(values: &impl TimeUnitSpec) -> u64 {
    values.iter().fold(0, |set, value| set | 1 << value)
}

fn nickname(text: &str) -> Result<&'static str, CronError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        _ => return Err(CronError::Nickname(cut(text))),
    })
}

/// A part of the expression, with its place in characters from 1.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Word<'a> {
    /// The parts between the separators, each with its own place.
    fn split(self, is_separator: impl Fn(char) -> bool) -> Vec<Word<'a>> {
        let mut parts = Vec::new();
        let (mut start, mut position) = (0, self.position);
        for (count, (at, c)) in self.text.char_indices().enumerate() {
            if is_separator(c) {
                parts.push(Word { text: &self.text[start..at], position });
                start = at + c.len_utf8();
                position = self.position + count + 1;
            }
        }
        parts.push(Word { text: &self.text[start..], position });
        parts
    }
}

fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Word { text, position: 1 }.split(char::is_whitespace);
    words.retain(|word| !word.text.is_empty());
    words
}

/// Checks one field and writes it as the `cron` crate reads it.
struct Normalizer {
    field: &'static Field,
    index: usize,
    number: usize,
}

impl Normalizer {
    fn field(&self, word: &Word<'_>) -> Result<String, CronError> {
        let items = word.split(|c| c == ',').into_iter().map(|item| self.item(item));
        Ok(items.collect::<Result<Vec<_>, _>>()?.join(","))
    }

    /// `*`, a value or a range, each perhaps with a step.
    fn item(&self, item: Word<'_>) -> Result<String, CronError> {
        let parts = item.split(|c| c == '/');
        let base = parts[0];
        let step = match parts[1..] {
            [] => 1,
            [step] => self.step(step)?,
            [..] => return Err(self.error(item, "one step, as in */15")),
        };
        let (first, last) = self.range(base, parts.len() > 1)?;
        if self.index != WEEKDAY {
            return Ok(format!("{first}-{last}/{step}"));
        }
        // The library counts Sunday as 1, and has no range across the week's end.
        let days = (first..=last).step_by(step as usize).map(|day| (day % 7 + 1).to_string());
        Ok(days.collect::<Vec<_>>().join(","))
    }

    /// First and last value of what stands before a step.
    fn range(&self, base: Word<'_>, has_step: bool) -> Result<(u32, u32), CronError> {
        let is_day = matches!(self.index, DAY | WEEKDAY);
        if base.text == "*" || (base.text == "?" && is_day) {
            return Ok((self.field.min, self.field.max));
        }
        let ends = base.split(|c| c == '-');
        let first = self.value(ends[0])?;
        let last = match ends[1..] {
            [] if has_step => self.field.max.max(first),
            [] => first,
            [last] => self.value(last)?,
            [..] => return Err(self.error(base, "one range, as in 1-5")),
        };
        // Sunday is 0 where a range begins and 7 where it ends: FRI-SUN, 7-2.
        let (first, last) = match (first, last) {
            (first @ 1.., 0) if self.index == WEEKDAY => (first, 7),
            (7, last @ ..7) if self.index == WEEKDAY => (0, last),
            ends => ends,
        };
        if first > last {
            let (min, max) = (self.field.min, self.field.max);
            let as_list = format!("a range that goes up, here {first}-{max},{min}-{last}");
            return Err(self.error(base, &as_list));
        }
        Ok((first, last))
    }

    fn value(&self, word: Word<'_>) -> Result<u32, CronError> {
        let max = if self.index == WEEKDAY { 7 } else { self.field.max };
        if !word.text.is_empty() && word.text.bytes().all(|b| b.is_ascii_digit()) {
            let value = word.text.parse().ok().filter(|value| (self.field.min..=max).contains(value));
            return value.ok_or_else(|| self.error(word, self.field.allowed));
        }
        let lower = word.text.to_ascii_lowercase();
        let names = self.field.names.iter();
        let named = names.zip(self.field.min..).find(|(name, _)| lower == name[..3] || lower == **name);
        if let Some((_, value)) = named {
            return Ok(value);
        }
        Err(self.unsupported(word, &lower).unwrap_or_else(|| self.error(word, self.field.allowed)))
    }

    fn step(&self, word: Word<'_>) -> Result<u32, CronError> {
        let span = self.field.max - self.field.min;
        let step = Some(word.text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        // A step beyond the field's span would quietly mean "once": */90 minutes.
        let step = step.and_then(|text| text.parse().ok()).filter(|step| (1..=span).contains(step));
        step.ok_or_else(|| self.error(word, &format!("a step from 1 to {span}")))
    }

    fn error(&self, word: Word<'_>, allowed: &str) -> CronError {
        CronError::Field {
            field: self.field.name,
            number: self.number,
            position: word.position,
            found: cut(word.text),
            allowed: allowed.to_owned(),
        }
    }

    /// The error for what Quartz and its like write in the day fields.
    fn unsupported(&self, word: Word<'_>, lower: &str) -> Option<CronError> {
        let meaning = match self.index {
            WEEKDAY if lower.contains('#') => "`#`, the nth such weekday of the month,",
            DAY if lower == "lw" || lower == "wl" => "`LW`, the last weekday of the month,",
            DAY if lower.ends_with('w') => "`W`, the nearest weekday,",
            DAY | WEEKDAY if lower.starts_with('l') || lower.ends_with('l') => "`L`, the last such day,",
            _ => return None,
        };
        Some(CronError::Unsupported {
            field: self.field.name,
            number: self.number,
            position: word.position,
            found: cut(word.text),
            meaning,
        })
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
