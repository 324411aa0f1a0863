//! What others said, made fit to be read.

use std::fmt::Write as _;

/// A text of which every character can be seen: control characters, and those that
/// reorder or hide others, are written as escapes. Line breaks and tabs stay.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' => shown.push_str("\\r"),
            c if is_unseen(c) => write!(shown, "\\u{{{:x}}}", u32::from(c)).expect("a text takes everything"),
            c => shown.push(c),
        }
    }
    shown
}

/// The same on one line.
pub(super) fn line(text: &str) -> String {
    visible(text).replace('\n', "\\n")
}

/// Controls, and what changes the direction or hides: Unicode's categories Cc and the parts
/// of Cf that spoof (UTR 36).
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c), 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe007f)
}

/// A number of bytes for people, for example `1.4 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ if value < 10.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// Milliseconds for people, for example `12.3 ms` or `1.4 s`.
pub(super) fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 1e3 => format!("{ms:.0} ms"),
        ms if ms < 60e3 => format!("{:.1} s", ms / 1e3),
        ms if ms < 3600e3 => format!("{:.0} min {:.0} s", (ms / 60e3).floor(), ms % 60e3 / 1e3),
        ms => format!("{:.1} h", ms / 3600e3),
    }
}

/// A number with its thousands apart, for example `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A number and its noun, for example `1 run` or `2 runs`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// JSON over several lines, or the text as it is when it is no JSON.
pub(super) fn pretty(text: &str) -> String {
    let parsed = serde_json::from_str::<serde_json::Value>(text);
    let written = parsed.ok().filter(|value| value.is_object() || value.is_array());
    written.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        assert_eq!(visible("a\tb\nc\u{1b}[31m\u{0}\r\n"), "a\tb\nc\\u{1b}[31m\\u{0}\\r\n");
        assert_eq!(visible("x\u{202e}gnp.exe\u{200b}é漢"), "x\\u{202e}gnp.exe\\u{200b}é漢");
        assert_eq!(line("a\nb"), "a\\nb");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            ["0 B", "1.5 KiB", "12 MiB"],
            [bytes(0), bytes(1536), bytes(12 << 20)].each_ref().map(String::as_str)
        );
        assert_eq!(
            ["0.50 ms", "12.3 ms", "1.4 s"],
            [millis(0.5), millis(12.34), millis(1400.0)].each_ref().map(String::as_str)
        );
        assert_eq!([count(999), count(1000), count(1234567)], ["999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "run"), counted(2, "run")], ["1 run", "2 runs"]);
    }
}
