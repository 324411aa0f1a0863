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
/// The methods that the conventions know (RFC 9110, RFC 5789).
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

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
            let (method, original) = method_of(&exchange.method);
            let (address, port) = server(&exchange.url);
            let failed = exchange.status.is_none_or(|status| status >= 400);
            let status = exchange.status.filter(|_| failed).map(|status| status.to_string());
            let error = exchange.error.clone().or(status);
            spans.push(json!({
                "traceId": trace.trace_id, "spanId": trace.span_of_call(index),
                "parentSpanId": trace.span_id, "kind": 3,
                "name": if original.is_null() { method } else { "HTTP" },
                "startTimeUnixNano": nanos(begun),
                "endTimeUnixNano": nanos(after(begun, exchange.duration_us)),
                "status": { "code": if failed { 2 } else { 0 } },
                "attributes": list([
                    ("http.request.method", json!(method)),
                    ("http.request.method_original", original),
                    ("server.address", json!(address)),
                    ("server.port", json!(port)),
                    ("url.full", json!(exchange.url)),
                    ("http.response.status_code", exchange.status.map_or(Value::Null, |status| json!(status))),
                    ("error.type", error.map_or(Value::Null, |error| json!(error))),
                ]),
            }));
        }
    }
    let scope = json!({ "scope": { "name": "tidegate" }, "spans": spans });
    json!({ "resourceSpans": [{ "resource": resource.0, "scopeSpans": [scope] }] })
}

/// A method as the conventions want it, and as it was where they do not know it.
fn method_of(text: &str) -> (&str, Value) {
    match METHODS.contains(&text) {
        true => (text, Value::Null),
        false => ("_OTHER", json!(text)),
    }
}

/// Host and port of a recorded URL.
fn server(url: &str) -> (&str, u16) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let default = if scheme.eq_ignore_ascii_case("http") { 80 } else { 443 };
    match authority.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, port),
        _ => (authority, default),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Exchange, RunId, Trace};
    use crate::store::samples;
    use crate::workflow::WorkflowId;

    #[test]
    fn a_call_is_a_client_span_by_the_conventions_with_the_id_that_its_callee_got() {
        let mut run = samples::run(WorkflowId::new());
        run.trace = Some(Trace::root(RunId::new()));
        let trace = run.trace.clone().unwrap();
        let call = |method: &str, url: &str, status, error: Option<&str>| Exchange {
            at_us: 5,
            method: method.to_owned(),
            url: url.to_owned(),
            status,
            request_bytes: 0,
            response_bytes: 0,
            duration_us: 1000,
            error: error.map(str::to_owned),
            reason: None,
            sealed: Vec::new(),
        };
        run.exchanges = vec![
            call("GET", "https://api.example.org/a?key=…", Some(200), None),
            call("POST", "http://[2001:db8::1]:8080?x", Some(503), None),
            call("BREW", "http://10.0.0.1/", None, Some("destination-ip-prohibited")),
        ];
        let document = spans(&Resource::new("n"), [&run].into_iter());
        let spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        let of = |span: &Value, key: &str| {
            let all = span["attributes"].as_array().unwrap();
            let value = all.iter().find(|own| own["key"] == key).map(|own| &own["value"]);
            value
                .map(|value| value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap().to_owned())
        };
        let seen: Vec<_> = spans[1..]
            .iter()
            .map(|span| {
                assert_eq!((&span["kind"], &span["parentSpanId"]), (&json!(3), &json!(trace.span_id)));
                let server =
                    format!("{}|{}", of(span, "server.address").unwrap(), of(span, "server.port").unwrap());
                let name = span["name"].as_str().unwrap().to_owned();
                (name, server, of(span, "error.type"), span["status"]["code"].as_u64().unwrap())
            })
            .collect();
        let row = |name: &str, server: &str, error: Option<&str>, code| {
            (name.to_owned(), server.to_owned(), error.map(str::to_owned), code)
        };
        assert_eq!(
            seen,
            [
                row("GET", "api.example.org|443", None, 0),
                row("POST", "[2001:db8::1]|8080", Some("503"), 2),
                row("HTTP", "10.0.0.1|80", Some("destination-ip-prohibited"), 2),
            ]
        );
        assert_eq!(of(&spans[3], "http.request.method_original").unwrap(), "BREW");
        let header = trace.header_of_call(1);
        assert!(header.contains(spans[2]["spanId"].as_str().unwrap()), "{header}");
        assert_ne!(spans[1]["spanId"], spans[2]["spanId"]);
    }
}
