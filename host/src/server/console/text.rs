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

/// A number of bytes that reads back as it is, for example `64 MiB` or `1500 B`.
pub(super) fn exact_bytes(count: u64) -> String {
    let unit = SIZES.iter().rev().find(|(_, size)| count >= *size && count.is_multiple_of(*size));
    unit.map_or_else(|| format!("{count} B"), |(name, size)| format!("{} {name}", count / size))
}

/// A number of bytes as people write it: `64 MiB`, `64MB`, `1500`; `None` for what is none.
/// Units are powers of 1024, however they are written.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let size = match unit.as_str() {
        "" | "b" | "bytes" => 1,
        other => {
            let found = SIZES.iter().find(|(name, _)| {
                let name = name.to_ascii_lowercase();
                other == name || *other == name.replace('i', "") || *other == name[..1]
            });
            found?.1
        }
    };
    number.parse::<u64>().ok()?.checked_mul(size)
}

const SIZES: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

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
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
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
    fn sizes_read_back_as_they_are_written() {
        for count in [0, 1, 1500, 1 << 10, 3 << 20, (3 << 20) + 1, 10 << 30, 1 << 40] {
            assert_eq!(parse_bytes(&exact_bytes(count)), Some(count));
        }
        for (text, read) in [("64MB", 64 << 20), ("2g", 2 << 30), (" 512 kib ", 512 << 10), ("7 bytes", 7)] {
            assert_eq!(parse_bytes(text), Some(read), "{text}");
        }
        for text in ["", "MiB", "1.5 MiB", "-1", "1 MiBs", "99999999999 TiB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
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
