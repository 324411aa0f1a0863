//! Bar charts as SVG, readable on a light page and on a dark one.

use std::fmt::Write as _;

/// One bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it stands for.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// What the rounds reached at least and at most.
    pub range: (f64, f64),
    /// Whether it is the one that the chart is about.
    pub is_own: bool,
}

const WIDTH: f64 = 720.0;
const LABELS: f64 = 190.0;
/// Room for the number behind the longest bar.
const NUMBERS: f64 = 90.0;
const TOP: f64 = 44.0;
const STEP: f64 = 30.0;
const THICK: f64 = 18.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.t{font-size:15px;font-weight:600}\
.n{font-variant-numeric:tabular-nums}.b{fill:#9aa4b2}.o{fill:#0a7d6c}.r{stroke:#1f2328;stroke-width:1.5}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.b{fill:#57606a}.o{fill:#2fbfa5}.r{stroke:#e6edf3}}";

/// A chart with one bar for each line, in this order. Whiskers show the rounds' range.
pub fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let height = TOP + STEP * bars.len() as f64 + 8.0;
    let longest = bars.iter().map(|bar| bar.range.1.max(bar.value)).fold(f64::MIN_POSITIVE, f64::max);
    let length = |value: f64| (WIDTH - LABELS - NUMBERS) * value / longest;
    let title = escaped(title);
    let unit = escaped(unit);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
         <text class=\"t\" x=\"0\" y=\"18\">{title}</text><text x=\"{WIDTH}\" y=\"18\" \
         text-anchor=\"end\">{unit}</text>\n"
    );
    for (index, bar) in bars.iter().enumerate() {
        let y = TOP + STEP * index as f64;
        let middle = y + THICK / 2.0;
        let class = if bar.is_own { "o" } else { "b" };
        let (low, high) = (LABELS + length(bar.range.0), LABELS + length(bar.range.1));
        let end = length(bar.value).max(1.0);
        // Writing to a String does not fail.
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{LABELS}\" \
             y=\"{y:.1}\" width=\"{end:.1}\" height=\"{THICK}\" rx=\"2\"/><line class=\"r\" x1=\"{low:.1}\" \
             x2=\"{high:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/><text class=\"n\" x=\"{:.1}\" \
             y=\"{:.1}\">{}</text>",
            LABELS - 10.0,
            middle + 4.5,
            escaped(&bar.label),
            high.max(LABELS + end) + 8.0,
            middle + 4.5,
            grouped(bar.value),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A number as people read it: `43,517`, `382`, `2.84`.
pub fn grouped(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts: Vec<String> = [2.844, 382.4, 1_000.0, 43_517.0, 1_234_567.0].map(grouped).into();
        assert_eq!(texts, ["2.84", "382", "1,000", "43,517", "1,234,567"]);
    }

    #[test]
    fn the_longest_bar_leaves_room_for_its_number_and_names_are_text() {
        let bar = |label: &str, value: f64| Bar {
            label: label.to_owned(),
            value,
            range: (value * 0.9, value * 1.1),
            is_own: label == "own",
        };
        let svg = bars("a < b", "requests/s", &[bar("own", 100.0), bar("\"other\" & co", 50.0)]);
        assert!(svg.contains("a &lt; b") && svg.contains("&quot;other&quot; &amp; co"));
        assert!(svg.contains("class=\"o\" x=\"190\" y=\"44.0\" width=\"400.0\""), "{svg}");
        assert!(svg.contains("class=\"b\" x=\"190\" y=\"74.0\" width=\"200.0\""), "{svg}");
    }
}
