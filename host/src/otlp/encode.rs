//! The documents of OTLP in JSON. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::run::{FaultKind, Level, LogLine, Run, Status, Trigger};

/// Upper bounds of durations, in seconds (the conventions' own).
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Upper bounds of memory, in bytes.
const BYTES: [f64; 8] = [1e6, 2e6, 4e6, 8e6, 16e6, 32e6, 64e6, 128e6];
const CUMULATIVE: u8 = 2;

/// Who sends.
pub(super) struct Resource(Value);

impl Resource {
    pub(super) fn new(node: &str) -> Self {
        let attributes = [
            ("service.name", json!("tidegate")),
            ("service.version", json!(env!("CARGO_PKG_VERSION"))),
            ("service.instance.id", json!(node)),
        ];
        Self(json!({ "attributes": list(attributes) }))
    }
}

/// Attributes in OTLP's form; null ones are left out.
fn list<'a>(attributes: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let one = |(key, value): (&str, Value)| {
        let value = match value {
            Value::Null => return None,
            Value::String(text) => json!({ "stringValue": text }),
            Value::Bool(flag) => json!({ "boolValue": flag }),
            number => json!({ "intValue": number.to_string() }),
        };
        Some(json!({ "key": key, "value": value }))
    };
    attributes.into_iter().filter_map(one).collect()
}

fn nanos(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

fn after(start: Timestamp, us: u64) -> Timestamp {
    start + SignedDuration::from_micros(i64::try_from(us).unwrap_or(i64::MAX / 2))
}

/// The conventions' word for what started a run.
fn trigger(run: &Run) -> &'static str {
    match run.trigger {
        Trigger::Catch => "http",
        Trigger::Pull { .. } => "timer",
        _ => "other",
    }
}

fn fault(run: &Run) -> Value {
    run.fault.as_ref().map_or(Value::Null, |fault| json!(fault.kind.word()))
}

/// A span for each run, and one for each of its exchanges.
pub(super) fn spans<'a>(resource: &Resource, runs: impl Iterator<Item = &'a Run>) -> Value {
    let mut spans = Vec::new();
    for run in runs {
        let Some(trace) = &run.trace else { continue };
        let start = run.started_at.unwrap_or(run.accepted_at);
        let has_failed = run.status != Status::Succeeded;
        let method = run.request.as_ref().map_or(Value::Null, |request| json!(request.method));
        spans.push(json!({
            "traceId": trace.trace_id, "spanId": trace.span_id,
            "parentSpanId": trace.parent_span_id.as_deref().unwrap_or_default(),
            "name": run.workflow_name.as_str(), "kind": if run.request.is_some() { 2 } else { 1 },
            "startTimeUnixNano": nanos(start),
            "endTimeUnixNano": nanos(run.finished_at.unwrap_or(start).max(start)),
            "status": { "code": if has_failed { 2 } else { 1 } },
            "attributes": list([
                ("faas.name", json!(run.workflow_name.as_str())),
                ("faas.version", run.version.map_or(Value::Null, |version| json!(version.to_string()))),
                ("faas.invocation_id", json!(run.id.to_string())),
                ("faas.trigger", json!(trigger(run))),
                ("http.request.method", method),
                ("http.response.status_code", run.reply.as_ref().map_or(Value::Null, |reply| json!(reply.status))),
                ("error.type", fault(run)),
                ("tidegate.status", json!(run.status.word())),
                ("tidegate.attempt", json!(run.attempt)),
                ("tidegate.queue_us", json!(run.usage.queue_us)),
            ]),
        }));
        for (index, exchange) in run.exchanges.iter().enumerate() {
            let begun = after(start, exchange.at_us);
            spans.push(json!({
                "traceId": trace.trace_id, "spanId": child_id(&trace.span_id, index),
                "parentSpanId": trace.span_id, "name": exchange.method, "kind": 3,
                "startTimeUnixNano": nanos(begun),
                "endTimeUnixNano": nanos(after(begun, exchange.duration_us)),
                "status": { "code": if exchange.status.is_none_or(|status| status >= 400) { 2 } else { 0 } },
                "attributes": list([
                    ("http.request.method", json!(exchange.method)),
                    ("url.full", json!(exchange.url)),
                    ("http.response.status_code", exchange.status.map_or(Value::Null, |status| json!(status))),
                    ("error.type", exchange.error.as_ref().map_or(Value::Null, |error| json!(error))),
                ]),
            }));
        }
    }
    let scope = json!({ "scope": { "name": "tidegate" }, "spans": spans });
    json!({ "resourceSpans": [{ "resource": resource.0, "scopeSpans": [scope] }] })
}

/// An id of its own for each exchange of a run.
fn child_id(span_id: &str, index: usize) -> String {
    let own = u64::from_str_radix(span_id, 16).unwrap_or(1);
    let mixed = own ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:016x}", mixed.max(1))
}

/// A record for each line of a run's log, and one for its end.
pub(super) fn logs<'a>(resource: &Resource, runs: impl Iterator<Item = (&'a Run, &'a [LogLine])>) -> Value {
    let mut records = Vec::new();
    for (run, log) in runs {
        let start = run.started_at.unwrap_or(run.accepted_at);
        let mut record = |at: Timestamp, severity: (u8, &str), text: &str, mut more: Vec<(&str, Value)>| {
            more.push(("faas.name", json!(run.workflow_name.as_str())));
            more.push(("faas.invocation_id", json!(run.id.to_string())));
            let trace = run.trace.as_ref();
            records.push(json!({
                "timeUnixNano": nanos(at), "severityNumber": severity.0, "severityText": severity.1,
                "body": { "stringValue": text }, "attributes": list(more),
                "traceId": trace.map_or("", |trace| trace.trace_id.as_str()),
                "spanId": trace.map_or("", |trace| trace.span_id.as_str()),
            }));
        };
        for line in log {
            let fields = line.fields.iter().map(|(name, value)| (name.as_str(), json!(value)));
            record(after(start, line.at_us), severity(line.level), &line.text, fields.collect());
        }
        let level = if run.status == Status::Succeeded { Level::Info } else { Level::Error };
        let text = match &run.fault {
            Some(fault) => format!("run {}: {}", run.status, fault.message),
            None => format!("run {}", run.status),
        };
        record(run.finished_at.unwrap_or(start), severity(level), &text, vec![("error.type", fault(run))]);
    }
    let scope = json!({ "scope": { "name": "tidegate" }, "logRecords": records });
    json!({ "resourceLogs": [{ "resource": resource.0, "scopeLogs": [scope] }] })
}

fn severity(level: Level) -> (u8, &'static str) {
    match level {
        Level::Debug => (5, "DEBUG"),
        Level::Info => (9, "INFO"),
        Level::Warning => (13, "WARN"),
        Level::Error => (17, "ERROR"),
    }
}

/// What is counted since the host started, by workflow and trigger.
pub(super) struct Metrics {
    since: Timestamp,
    series: BTreeMap<(String, &'static str), Series>,
}

#[derive(Default)]
struct Series {
    invocations: u64,
    errors: u64,
    timeouts: u64,
    duration: Distribution<14>,
    memory: Distribution<8>,
    cpu: Distribution<14>,
}

struct Distribution<const N: usize> {
    counts: [u64; N],
    above: u64,
    sum: f64,
}

impl<const N: usize> Default for Distribution<N> {
    fn default() -> Self {
        Self { counts: [0; N], above: 0, sum: 0.0 }
    }
}

impl<const N: usize> Distribution<N> {
    fn observe(&mut self, bounds: &[f64; N], value: f64) {
        self.sum += value;
        match bounds.iter().position(|bound| value <= *bound) {
            Some(index) => self.counts[index] += 1,
            None => self.above += 1,
        }
    }

    fn point(&self, bounds: &[f64; N], common: &Value) -> Value {
        let mut point = common.clone();
        let counts: Vec<String> = self.counts.iter().chain([&self.above]).map(ToString::to_string).collect();
        let count: u64 = self.counts.iter().sum::<u64>() + self.above;
        point["count"] = json!(count.to_string());
        point["sum"] = json!(self.sum);
        point["bucketCounts"] = json!(counts);
        point["explicitBounds"] = json!(bounds.as_slice());
        point
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self { since: Timestamp::now(), series: BTreeMap::new() }
    }

    /// Counts a run.
    pub(super) fn add(&mut self, run: &Run) {
        let own = self.series.entry((run.workflow_name.to_string(), trigger(run))).or_default();
        own.invocations += 1;
        own.errors += u64::from(run.status != Status::Succeeded);
        own.timeouts += u64::from(run.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::Deadline));
        if run.started_at.is_some() {
            own.duration.observe(&SECONDS, run.usage.wall_us as f64 / 1e6);
            own.memory.observe(&BYTES, run.usage.memory_peak_bytes as f64);
            own.cpu.observe(&SECONDS, run.usage.cpu_us as f64 / 1e6);
        }
    }

    pub(super) fn encode(&self, resource: &Resource) -> Value {
        let now = nanos(Timestamp::now());
        let common: Vec<(Value, &Series)> = self
            .series
            .iter()
            .map(|((workflow, trigger), series)| {
                let attributes = list([("faas.name", json!(workflow)), ("faas.trigger", json!(trigger))]);
                let point = json!({
                    "startTimeUnixNano": nanos(self.since), "timeUnixNano": now, "attributes": attributes,
                });
                (point, series)
            })
            .collect();
        let sum = |name: &str, of: fn(&Series) -> u64| {
            let points = common.iter().map(|(common, series)| {
                let mut point = common.clone();
                point["asInt"] = json!(of(series).to_string());
                point
            });
            let points: Vec<Value> = points.collect();
            let sum =
                json!({ "aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points });
            json!({ "name": name, "unit": "{run}", "sum": sum })
        };
        let histogram = |name: &str, unit: &str, of: &dyn Fn(&Series, &Value) -> Value| {
            let points: Vec<Value> = common.iter().map(|(common, series)| of(series, common)).collect();
            let histogram = json!({ "aggregationTemporality": CUMULATIVE, "dataPoints": points });
            json!({ "name": name, "unit": unit, "histogram": histogram })
        };
        let metrics = json!([
            sum("faas.invocations", |series| series.invocations),
            sum("faas.errors", |series| series.errors),
            sum("faas.timeouts", |series| series.timeouts),
            histogram("faas.invoke_duration", "s", &|series, common| series.duration.point(&SECONDS, common)),
            histogram("faas.mem_usage", "By", &|series, common| series.memory.point(&BYTES, common)),
            histogram("faas.cpu_usage", "s", &|series, common| series.cpu.point(&SECONDS, common)),
        ]);
        let scope = json!({ "scope": { "name": "tidegate" }, "metrics": metrics });
        json!({ "resourceMetrics": [{ "resource": resource.0, "scopeMetrics": [scope] }] })
    }
}
