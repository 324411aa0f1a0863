//! One result of the benchmark as the README shows it: a table and charts, made from the
//! raw data and never typed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::chart::{self, Bar};
use crate::rounds::{Round, Series};
use crate::suite::Results;
use crate::throughput::TIDEGATE;

/// What stands around the part of the README that is made here.
const BEGIN: &str = "<!-- bench: begin. Made by `tidegate-bench publish`; do not edit. -->\n";
const END: &str = "<!-- bench: end -->\n";

/// Writes the raw data, the charts, and the README's part between its marks.
///
/// # Errors
/// When the results cannot be read, or the README has no such marks.
pub fn publish(results: &Path, readme: &Path, charts: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(results).with_context(|| format!("cannot read {}", results.display()))?;
    let results: Results = serde_json::from_str(&text).context("these are no results of this version")?;
    fs::create_dir_all(charts).with_context(|| format!("cannot make {}", charts.display()))?;
    let raw = charts.join("results.json");
    fs::write(&raw, &text).with_context(|| format!("cannot write {}", raw.display()))?;
    let mut links = String::new();
    for (name, title, svg) in drawn(&results) {
        let path = charts.join(format!("{name}.svg"));
        fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
        // Writing to a String does not fail.
        let _ = writeln!(links, "![{title}]({})\n", path.display());
    }
    let old = fs::read_to_string(readme).with_context(|| format!("cannot read {}", readme.display()))?;
    let new = replaced(&old, &format!("{}{links}{}", heading(&results), targets(&results)))
        .with_context(|| format!("{} has no place for results", readme.display()))?;
    fs::write(readme, new).with_context(|| format!("cannot write {}", readme.display()))
}

fn replaced(readme: &str, part: &str) -> anyhow::Result<String> {
    let (before, rest) = readme.split_once(BEGIN).context("the mark at the beginning is missing")?;
    let (_, after) = rest.split_once(END).context("the mark at the end is missing")?;
    ensure!(!after.contains(BEGIN), "there are several places");
    Ok(format!("{before}{BEGIN}\n{part}\n{END}{after}"))
}

fn heading(results: &Results) -> String {
    format!(
        "Measured {} on {} cores of an {}, Linux {}: every peer in the same run, in turns, {} rounds of {} s, \
         medians; whiskers are the rounds' range. The raw data has every round.\n\n",
        results.started_at.strftime("%Y-%m-%d"),
        results.machine.cores,
        results.machine.processor,
        results.machine.kernel,
        results.plan.rounds,
        results.plan.seconds,
    )
}

/// Name, title and text of each chart that the results have data for.
fn drawn(results: &Results) -> Vec<(&'static str, String, String)> {
    let mut charts = Vec::new();
    let mut draw =
        |name: &'static str, title: String, unit: &str, series: &[&Series], value: fn(&Round) -> f64| {
            if !series.is_empty() {
                let svg = chart::bars(&title, unit, &bars(series, value));
                charts.push((name, title, svg));
            }
        };
    let rate = |round: &Round| round.requests_per_s;
    if let Some(throughput) = &results.throughput {
        let most = throughput.series.iter().map(|one| one.connections).max().unwrap_or(0);
        let series = with(&throughput.series, most);
        draw("hello-rust", format!("Hello in Rust, {most} connections"), "requests/s", &series, rate);
    }
    if let Some(python) = &results.python {
        for (name, connections) in [("hello-python-1", 1), ("hello-python-16", 16), ("hello-python-64", 64)] {
            let series: Vec<&Series> = with(&python.series, connections)
                .into_iter()
                .filter(|one| one.peer != "bare hyper")
                .collect();
            let title = format!("Hello in Python, {connections} connections");
            match connections {
                1 => draw(name, "Hello in Python, one connection: p50".to_owned(), "us", &series, |one| {
                    one.p50_us
                }),
                _ => draw(name, title, "requests/s", &series, rate),
            }
        }
    }
    for one in results.functions.iter().flat_map(|functions| &functions.functions) {
        let series: Vec<&Series> = one.series.iter().collect();
        let name = match one.function.as_str() {
            "two HTTP calls" => "function-calls",
            "processor-bound" => "function-compute",
            _ => "function-json",
        };
        let title = format!("Python, {}: processor time of a call", one.function);
        draw(name, title, "us", &series, |round| round.cpu_us_per_request);
    }
    if let Some(cores) = &results.cores {
        let series: Vec<&Series> = cores.python.iter().collect();
        draw("cores", "Hello in Python, by cores".to_owned(), "requests/s", &series, rate);
    }
    charts
}

fn with(series: &[Series], connections: usize) -> Vec<&Series> {
    series.iter().filter(|one| one.connections == connections).collect()
}

fn bars(series: &[&Series], value: fn(&Round) -> f64) -> Vec<Bar> {
    let bar = |one: &&Series| {
        let spread = one.spread(value);
        let is_own = one.peer == TIDEGATE || one.peer.starts_with("on ");
        Bar { label: one.peer.clone(), value: spread.median, range: (spread.min, spread.max), is_own }
    };
    series.iter().map(bar).collect()
}

fn targets(results: &Results) -> String {
    let mut text = "| figure | asked | measured | |\n| --- | --- | --- | --- |\n".to_owned();
    for check in &results.checks {
        let verdict = if check.reached { "reached" } else { "**missed**" };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {verdict} |",
            check.what,
            check.target_text(),
            check.measured_text()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let readme = format!("# A\n{BEGIN}old\n{END}rest\n");
        assert_eq!(replaced(&readme, "new\n").unwrap(), format!("# A\n{BEGIN}\nnew\n\n{END}rest\n"));
        assert!(replaced("# A\n", "new").is_err());
        assert!(replaced(&format!("{readme}{readme}"), "new").is_err());
    }
}
