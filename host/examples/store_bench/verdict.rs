//! Figures with their targets, and the table at the end that judges them.

use std::fmt;

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// A figure of the list.
#[derive(Debug)]
struct Verdict {
    what: String,
    measured: f64,
    target: Target,
    unit: &'static str,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Vec<Verdict>);

impl Verdict {
    /// What could not be measured is missed.
    fn is_reached(&self) -> bool {
        match self.target {
            Target::AtMost(most) => self.measured <= most,
            Target::AtLeast(least) => self.measured >= least,
        }
    }
}

impl Verdicts {
    pub(crate) fn judge(
        &mut self,
        what: impl Into<String>,
        measured: f64,
        target: Target,
        unit: &'static str,
    ) {
        self.0.push(Verdict { what: what.into(), measured, target, unit });
    }

    /// How many figures were missed.
    pub(crate) fn missed(&self) -> usize {
        self.0.iter().filter(|verdict| !verdict.is_reached()).count()
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in &self.0 {
            let word = if verdict.is_reached() { "PASS" } else { "MISSED" };
            let (bound, target) = match verdict.target {
                Target::AtMost(most) => ("at most", most),
                Target::AtLeast(least) => ("at least", least),
            };
            let Verdict { what, measured, unit, .. } = verdict;
            writeln!(f, "{word:<7}{what:<44}{measured:>10.2} {unit:<6}{bound} {target}")?;
        }
        Ok(())
    }
}
