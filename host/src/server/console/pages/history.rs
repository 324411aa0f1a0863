//! Charts of what the host had in use: its pool, its queue, its disk, what it refused.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::monitoring::{chart, steps_of};
use crate::api::{HistoryPoint, HistoryView};
use crate::server::api::statistics::StatisticsParams;
use crate::server::api::{Api, ApiError, history};
use crate::server::console::{parts, text, when};

type Of = fn(&HistoryPoint) -> u64;

/// The charts of some time, with their figures as a table.
pub(super) async fn charts(api: &Api, params: StatisticsParams) -> Result<Markup, ApiError> {
    let seen = history::view(api, &params).await?;
    if seen.points.is_empty() {
        return Ok(parts::empty(
            "Nothing is noted yet",
            html! { p { "The host looks every few seconds what it has in use. Come back in a moment." } },
        ));
    }
    let lines = |unit, series: &[(&str, Of)]| data(&seen, "lines", unit, series);
    Ok(html! {
        div.charts {
            (chart("Pool", "Instances at most, of those that may exist", &lines("count", &[("in use", |p| p.instances), ("room", |p| p.instances_max)])))
            (chart("Runs at a time", "Runs that ran, and that waited for room, at most", &lines("count", &[("running", |p| p.runs_running), ("waiting", |p| p.runs_waiting)])))
            (chart("Memory", "Of all instances together, at most", &lines("bytes", &[("instances", |p| p.instances_memory_bytes)])))
            (chart("Queue", "Events that waited, that were tried, and dead letters, at most", &lines("count", &[("waiting", |p| p.queue_waiting), ("being tried", |p| p.queue_leased), ("dead", |p| p.dead)])))
            (chart("Refused", "Requests to endpoints that became no run", &data(&seen, "bars", "count", &[("refused", |p| p.refused)])))
            (chart("Disk", "What the data folder takes, and what is free", &lines("bytes", &[("taken", |p| p.used_bytes), ("free", |p| p.free_bytes)])))
            (chart("Schedules too slow", "Schedules whose runs last longer than the time between two instants", &lines("count", &[("schedules", |p| p.schedules_overrun)])))
        }
        (table(&seen))
    })
}

/// What a chart draws: nothing where the host did not run.
fn data(seen: &HistoryView, kind: &str, unit: &str, series: &[(&str, Of)]) -> Value {
    let at = steps_of(seen.since, seen.until, seen.step_minutes);
    let step = i64::from(seen.step_minutes) * 60;
    let series: Vec<_> = series
        .iter()
        .map(|(name, of)| {
            let mut values = vec![None; at.len()];
            for point in &seen.points {
                let index = (point.at.as_second() - seen.since.as_second()) / step;
                if let Some(value) = usize::try_from(index).ok().and_then(|index| values.get_mut(index)) {
                    *value = Some(of(point));
                }
            }
            json!({ "name": name, "values": values })
        })
        .collect();
    json!({ "kind": kind, "unit": unit, "at": at, "series": series })
}

fn table(seen: &HistoryView) -> Markup {
    html! {
        details.figures-table { summary { "The host's figures as a table" }
            div.panel.scroll { table.rows {
                thead { tr { th scope="col" { "From" } th scope="col" { "Instances" } th scope="col" { "Waiting" } th scope="col" { "Queue" } th scope="col" { "Dead" } th scope="col" { "Refused" } th scope="col" { "Taken" } th scope="col" { "Free" } } }
                tbody { @for point in seen.points.iter().rev() { tr {
                    th scope="row" { (when::full(point.at)) }
                    td { (text::count(point.instances)) } td { (text::count(point.runs_waiting)) }
                    td { (text::count(point.queue_waiting)) } td { (text::count(point.dead)) } td { (text::count(point.refused)) }
                    td { (text::bytes(point.used_bytes)) } td { (text::bytes(point.free_bytes)) }
                } } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::HostFigures;

    #[test]
    fn minutes_without_the_host_are_drawn_as_none() {
        let at = |text: &str| text.parse().unwrap();
        let figures = HostFigures { instances: 3, ..HostFigures::default() };
        let seen = HistoryView {
            since: at("2026-03-01T12:00:00Z"),
            until: at("2026-03-01T12:03:00Z"),
            step_minutes: 1,
            points: vec![HistoryPoint::new(at("2026-03-01T12:01:00Z"), &figures)],
        };
        let drawn = data(&seen, "lines", "count", &[("in use", |p| p.instances)]);
        assert_eq!(drawn["series"][0]["values"], json!([null, 3, null]));
    }
}
