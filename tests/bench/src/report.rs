//! Results as a table.

use comfy_table::{CellAlignment, Table, presets};

use crate::rounds::{Series, Spread};

/// A row for each series.
pub fn table(all: &[Series]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "peer",
        "connections",
        "requests/s",
        "",
        "p50 us",
        "p99 us",
        "cpu us/request",
        "peak MB",
        "of hyper",
    ]);
    for column in 1..=8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for one in all {
        let rate = one.spread(|round| round.requests_per_s);
        let hyper =
            all.iter().find(|other| other.connections == one.connections && other.peer == "bare hyper");
        let share = hyper
            .and_then(|hyper| one.against(hyper, |own, hyper| own.requests_per_s / hyper.requests_per_s));
        table.add_row([
            one.peer.clone(),
            one.connections.to_string(),
            format!("{:.0}", rate.median),
            format!("±{:.0} %", half_range(rate) * 100.0),
            format!("{:.0}", one.spread(|round| round.p50_us).median),
            format!("{:.0}", one.spread(|round| round.p99_us).median),
            format!("{:.1}", one.spread(|round| round.cpu_us_per_request).median),
            format!("{:.1}", one.spread(|round| round.memory.resident_peak_bytes as f64).max / 1e6),
            share.map_or_else(String::new, |share| format!("{:.3}", share.median)),
        ]);
    }
    table
}

/// How far the extremes lie from each other, halved, as a part of the median.
fn half_range(spread: Spread) -> f64 {
    (spread.max - spread.min) / 2.0 / spread.median.max(f64::MIN_POSITIVE)
}
