//! Results as tables for people.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use crate::check::Check;
use crate::process::Memory;
use crate::rounds::{Series, Spread};
use crate::suite::Results;
use crate::throughput::HYPER;

/// Everything that was measured.
pub fn report(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = format!(
        "{}: {} cores, {}, Linux {}\n",
        results.started_at.strftime("%Y-%m-%d %H:%M UTC"),
        machine.cores,
        machine.processor,
        machine.kernel,
    );
    if let Some(throughput) = &results.throughput {
        section(&mut text, "Hello, in turns", &comparison(&throughput.series));
    }
    if let Some(recording) = &results.recording {
        section(&mut text, "Recording", &comparison(&recording.series));
    }
    if let Some(controls) = &results.controls {
        section(&mut text, "Controls that can be switched", &comparison(&controls.series));
    }
    if let Some(python) = &results.python {
        section(&mut text, "Hello in Python, in turns", &comparison(&python.series));
        section(&mut text, "Hello in Python, with and without imports", &comparison(&python.imports));
    }
    for one in results.functions.iter().flat_map(|functions| &functions.functions) {
        section(&mut text, &format!("In Python: {}", one.function), &comparison(&one.series));
    }
    if let Some(cores) = &results.cores {
        section(&mut text, "Hello in Rust, by cores", &comparison(&cores.rust));
        section(&mut text, "Hello in Python, by cores", &comparison(&cores.python));
    }
    let single = single_figures(results);
    if single.row_count() > 0 {
        section(&mut text, "Tidegate alone", &single);
    }
    section(&mut text, "Targets", &targets(&results.checks));
    text
}

fn section(text: &mut String, title: &str, table: &Table) {
    // Writing to a String does not fail.
    let _ = write!(text, "\n{title}\n{}\n", table.trim_fmt());
}

/// A table whose columns after the first `left` are numbers.
fn table(header: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    for index in left..header.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn comparison(all: &[Series]) -> Table {
    let header = [
        "peer",
        "connections",
        "requests/s",
        "",
        "of hyper",
        "p50 us",
        "p99 us",
        "cpu us/request",
        "faults/request",
        "peak MB",
    ];
    let mut table = table(&header, 1);
    for one in all {
        let rate = one.spread(|round| round.requests_per_s);
        let hyper = all.iter().find(|other| other.connections == one.connections && other.peer == HYPER);
        let share = hyper
            .and_then(|hyper| one.against(hyper, |own, hyper| own.requests_per_s / hyper.requests_per_s));
        table.add_row([
            one.peer.clone(),
            one.connections.to_string(),
            format!("{:.0}", rate.median),
            format!("±{:.0} %", half_range(rate) * 100.0),
            share.map_or_else(String::new, |share| format!("{:.1} %", share.median * 100.0)),
            format!("{:.0}", one.spread(|round| round.p50_us).median),
            format!("{:.0}", one.spread(|round| round.p99_us).median),
            format!("{:.1}", one.spread(|round| round.cpu_us_per_request).median),
            format!("{:.1}", one.spread(|round| round.faults_per_request).median),
            megabytes(one.spread(|round| round.memory.resident_peak_bytes as f64).max),
        ]);
    }
    table
}

fn single_figures(results: &Results) -> Table {
    let mut table = table(&["", "median", "smallest", "largest", ""], 1);
    let mut spread = |what: &str, of: Spread, unit: &str| {
        let digits = if of.max < 10.0 { 2 } else { 0 };
        let number = |value: f64| format!("{value:.digits$}");
        table.add_row([what.to_owned(), number(of.median), number(of.min), number(of.max), unit.to_owned()]);
    };
    if let Some(deploying) = &results.deploying {
        spread("deploy of a new component to first reply", deploying.new_component_ms, "ms");
        spread("deploy of a known component to first reply", deploying.known_component_ms, "ms");
    }
    if let Some(starting) = &results.starting {
        spread("start to ready with 1,000 workflows", starting.ready_ms, "ms");
    }
    if let Some(spinning) = &results.spinning {
        spread("stop of a spinning guest behind its deadline", spinning.late_ms, "ms");
        spread("p99 of a neighbour, idle", spinning.idle_p99_us, "us");
        spread("p99 of a neighbour, beside the spinning guest", spinning.beside_p99_us, "us");
    }
    for one in results.hostile.iter().flat_map(|hostile| &hostile.beside) {
        spread(&format!("p99 of a hello before {}", one.what), one.idle_p99_us, "us");
        spread(&format!("p99 of a hello beside {}", one.what), one.beside_p99_us, "us");
    }
    if let Some(overload) = &results.overload {
        spread("answers at ten times the capacity, over it", overload.goodput, "");
        spread("p99 of refusals meanwhile", overload.refused_p99_ms, "ms");
        spread("p99 of health checks meanwhile", overload.healthy_p99_ms, "ms");
    }
    for load in results.accepting.iter().flat_map(|accepting| &accepting.loads) {
        let with = |what: &str| format!("{what}, {} connections", load.connections);
        spread(&with("p50 to a durable 202"), load.p50_ms, "ms");
        spread(&with("p99 to a durable 202"), load.p99_ms, "ms");
        spread(&with("events accepted a second"), load.accepted_per_s, "");
        spread(&with("events run a second"), load.run_per_s, "");
    }
    if let Some(python) = &results.python {
        spread("paste of Python source to first reply, beside a load", python.paste_ms, "ms");
        spread("instantiation of the Python runtime", python.instantiate_us, "us");
    }
    if let Some(cold) = &results.cold {
        spread("first call of new Python source", cold.deployed_python_ms, "ms");
        spread("second call of the same", cold.second_python_ms, "ms");
        spread("first call after a start, Python", cold.started_python_ms, "ms");
        spread("first call after that, Rust", cold.started_rust_ms, "ms");
    }
    let mut one = |what: &str, value: String, unit: &str| {
        table.add_row([what, &value, "", "", unit]);
    };
    if let Some(hostile) = &results.hostile {
        let late = hostile.late_ms.map(|ms| format!("{ms:.1}")).join(", ");
        let what = format!("stop of {} spinning guests: median, p99.9, largest", hostile.stopped);
        one(&what, late, "ms");
        one("memory granted to guests at once", megabytes(hostile.granted_bytes), "MB");
        one("resident memory of the host then", megabytes(hostile.resident_bytes), "MB");
    }
    if let Some(starting) = &results.starting {
        let resident = |memory: Memory| megabytes(memory.resident_peak_bytes as f64);
        one("memory with 1,000 workflows, idle", resident(starting.idle_memory), "MB");
        one("memory with 1,000 workflows, each called once", resident(starting.called_memory), "MB");
        one(
            "processor with 1,000 workflows, idle",
            format!("{:.2}", starting.idle_cores * 100.0),
            "% of a core",
        );
    }
    if let Some(schedules) = &results.schedules {
        one("runs of 10,000 schedules in a minute", schedules.runs.to_string(), "");
        one("lateness of their starts, p50", format!("{:.1}", schedules.late_p50_ms), "ms");
        one("lateness of their starts, p99", format!("{:.1}", schedules.late_p99_ms), "ms");
        one("lateness of their starts, largest", format!("{:.1}", schedules.late_max_ms), "ms");
        one("processor meanwhile", format!("{:.0}", schedules.cores * 100.0), "% of a core");
        one("lateness of 10,000 at one instant, p50", format!("{:.0}", schedules.at_once_p50_ms), "ms");
        one("lateness of 10,000 at one instant, p99", format!("{:.0}", schedules.at_once_p99_ms), "ms");
    }
    if let Some(stored) = &results.stored {
        for page in &stored.pages {
            let what = format!("page of 50, {}: first, next", page.query);
            one(&what, format!("{:.1}, {:.1}", page.first_ms, page.next_ms.median), "ms");
        }
        one("start to ready with a million runs", format!("{:.0}", stored.ready_ms.median), "ms");
        let from_to = |calm: f64, busy: f64| format!("{calm:.0} -> {busy:.0}");
        one("p99, calm and while two thirds are cut", from_to(stored.calm_p99_us, stored.cut_p99_us), "us");
        one("until their space was back", format!("{:.0}", stored.cut_s), "s");
        let deleted = format!("p99 after a start, and while {} runs are deleted", stored.pruned);
        one(&deleted, from_to(stored.started_p99_us, stored.pruned_p99_us), "us");
    }
    if let Some(memory) = &results.python_memory {
        let megabytes = |bytes: f64| format!("{:.2}", bytes / 1e6);
        for together in &memory.together {
            let what = format!("private memory of each of {} waiting Python instances", together.instances);
            one(&what, megabytes(together.each_bytes()), "MB");
        }
        one("memory of 500 Python workflows over none", megabytes(memory.workflows_bytes), "MB");
        one("the same, once each was called", megabytes(memory.called_bytes), "MB");
    }
    if let Some(steady) = &results.steady
        && let (Ok(rate), Ok(private)) =
            (steady.ends(|one| one.requests_per_s), steady.ends(|one| one.private_bytes as f64))
    {
        let minutes = steady.windows.last().map_or(0.0, |last| last.at_s / 60.0);
        let from_to = |(first, last): (f64, f64)| format!("{first:.0} -> {last:.0}");
        one(&format!("requests/s over {minutes:.0} minutes, start and end"), from_to(rate), "");
        let private = (private.0 / 1e6, private.1 / 1e6);
        one("private memory meanwhile", from_to(private), "MB");
    }
    table
}

fn targets(checks: &[Check]) -> Table {
    let mut table = table(&["figure", "target", "measured", ""], 1);
    for check in checks {
        let verdict = if check.reached { "ok" } else { "MISSED" };
        table.add_row([check.what.clone(), check.target_text(), check.measured_text(), verdict.to_owned()]);
    }
    table
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

/// How far the extremes lie from each other, halved, as a part of the median.
fn half_range(spread: Spread) -> f64 {
    (spread.max - spread.min) / 2.0 / spread.median.max(f64::MIN_POSITIVE)
}
