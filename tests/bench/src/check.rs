//! A figure with its target: what is measured is not only shown but judged.

use serde::{Deserialize, Serialize};

/// One figure that the project wants to reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is measured.
    pub what: String,
    /// The measured figure.
    pub measured: f64,
    /// The figure to reach.
    pub target: f64,
    /// Whether larger is better.
    pub at_least: bool,
    /// The unit of both; empty for a ratio.
    pub unit: String,
    /// Whether it is reached.
    pub reached: bool,
}

impl Check {
    /// A figure that must not be smaller than its target.
    pub fn at_least(what: impl Into<String>, measured: f64, target: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            measured,
            target,
            at_least: true,
            unit: unit.to_owned(),
            reached: measured >= target,
        }
    }

    /// A figure that must not be larger than its target.
    pub fn at_most(what: impl Into<String>, measured: f64, target: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            measured,
            target,
            at_least: false,
            unit: unit.to_owned(),
            reached: measured <= target,
        }
    }

    /// What must be measured, in words.
    pub fn target_text(&self) -> String {
        let bound = if self.at_least { "at least" } else { "at most" };
        format!("{bound} {}", figure(self.target, &self.unit))
    }

    /// What was measured, in words.
    pub fn measured_text(&self) -> String {
        figure(self.measured, &self.unit)
    }
}

/// A number with three significant digits at least, and its unit.
fn figure(number: f64, unit: &str) -> String {
    let digits = match number.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{number:.digits$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_at_its_bound_is_reached() {
        assert!(Check::at_least("a", 2.0, 2.0, "").reached);
        assert!(!Check::at_least("a", 1.99, 2.0, "").reached);
        assert!(Check::at_most("a", 50.0, 50.0, "ms").reached);
        assert!(!Check::at_most("a", 50.1, 50.0, "ms").reached);
        // What could not be measured is not reached.
        assert!(!Check::at_most("a", f64::NAN, 50.0, "ms").reached);
    }

    #[test]
    fn figures_are_short_and_have_their_unit() {
        let check = Check::at_most("a", 1234.56, 0.5, "ms");
        assert_eq!(
            (check.measured_text().as_str(), check.target_text().as_str()),
            ("1235 ms", "at most 0.50 ms")
        );
        assert_eq!(Check::at_least("a", 12.34, 2.0, "").measured_text(), "12.3");
    }
}
