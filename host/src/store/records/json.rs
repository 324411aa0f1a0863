//! A run's record as JSON, written field by field.
//!
//! Every run writes one on its way to its caller's reply. What comes out is what serde
//! writes of a [`Run`], byte for byte, in a third of the time: names need no look for what
//! must be escaped, most texts have nothing of the kind, and instants go straight into the
//! buffer. What is rare is left to serde.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Serialize;
use serde::ser::Error as _;

use crate::run::{Body, Inputs, LogSummary, ReplyRecord, RequestRecord, Run, RunId, Trigger, Usage};
use crate::workflow::WorkflowId;

type Result = serde_json::Result<()>;

/// As in records so far: as many digits of a second as it needs.
const INSTANTS: DateTimePrinter = DateTimePrinter::new();

/// Appends a run.
///
/// # Errors
/// None that can happen while strings are text: serde's.
pub(super) fn put_run(buffer: &mut Vec<u8>, run: &Run) -> Result {
    // Whoever adds a field is told to write it here.
    let Run {
        format,
        id,
        workflow,
        workflow_name,
        version,
        trigger,
        attempt,
        event,
        status,
        fault,
        accepted_at,
        started_at,
        finished_at,
        request,
        reply,
        value,
        log,
        exchanges,
        settings_read,
        settings_changed,
        lateness_us,
        node,
        usage,
        inputs,
        trace,
    } = run;
    put(buffer, "{\"format\":");
    put_value(buffer, format)?;
    put(buffer, ",\"id\":");
    put_run_id(buffer, id);
    put(buffer, ",\"workflow\":");
    put_workflow_id(buffer, workflow);
    put(buffer, ",\"workflow_name\":");
    put_value(buffer, workflow_name)?;
    put(buffer, ",\"version\":");
    put_value(buffer, version)?;
    put(buffer, ",\"trigger\":");
    match trigger {
        Trigger::Catch => put(buffer, "{\"type\":\"catch\"}"),
        Trigger::Pull { .. } | Trigger::Test | Trigger::Replay { .. } => put_value(buffer, trigger)?,
    }
    put(buffer, ",\"attempt\":");
    put_value(buffer, attempt)?;
    if let Some(event) = event {
        put(buffer, ",\"event\":");
        put_run_id(buffer, event);
    }
    put(buffer, ",\"status\":\"");
    put(buffer, status.word());
    put(buffer, "\"");
    put_some(buffer, ",\"fault\":", fault.as_ref())?;
    put(buffer, ",\"accepted_at\":");
    put_instant(buffer, *accepted_at)?;
    for (name, instant) in [(",\"started_at\":", started_at), (",\"finished_at\":", finished_at)] {
        if let Some(instant) = instant {
            put(buffer, name);
            put_instant(buffer, *instant)?;
        }
    }
    if let Some(request) = request {
        put(buffer, ",\"request\":");
        put_request(buffer, request)?;
    }
    if let Some(reply) = reply {
        put(buffer, ",\"reply\":");
        put_reply(buffer, reply)?;
    }
    put_some(buffer, ",\"value\":", value.as_ref())?;
    put(buffer, ",\"log\":");
    put_log_summary(buffer, log)?;
    put_some(buffer, ",\"exchanges\":", (!exchanges.is_empty()).then_some(exchanges))?;
    put_some(buffer, ",\"settings_read\":", (!settings_read.is_empty()).then_some(settings_read))?;
    put_some(buffer, ",\"settings_changed\":", (!settings_changed.is_empty()).then_some(settings_changed))?;
    put_some(buffer, ",\"lateness_us\":", lateness_us.as_ref())?;
    if let Some(node) = node {
        put(buffer, ",\"node\":");
        put_text(buffer, node)?;
    }
    put(buffer, ",\"usage\":");
    put_usage(buffer, usage)?;
    put(buffer, ",\"inputs\":");
    put_inputs(buffer, inputs)?;
    put_some(buffer, ",\"trace\":", trace.as_ref())?;
    put(buffer, "}");
    Ok(())
}

fn put_request(buffer: &mut Vec<u8>, request: &RequestRecord) -> Result {
    let RequestRecord { method, path_with_query, headers, body } = request;
    put(buffer, "{\"method\":");
    put_text(buffer, method)?;
    put(buffer, ",\"path_with_query\":");
    put_text(buffer, path_with_query)?;
    put(buffer, ",\"headers\":");
    put_headers(buffer, headers)?;
    put(buffer, ",\"body\":");
    put_body(buffer, body)?;
    put(buffer, "}");
    Ok(())
}

fn put_reply(buffer: &mut Vec<u8>, reply: &ReplyRecord) -> Result {
    let ReplyRecord { status, headers, body } = reply;
    put(buffer, "{\"status\":");
    put_value(buffer, status)?;
    put(buffer, ",\"headers\":");
    put_headers(buffer, headers)?;
    put(buffer, ",\"body\":");
    put_body(buffer, body)?;
    put(buffer, "}");
    Ok(())
}

fn put_headers(buffer: &mut Vec<u8>, headers: &[(String, String)]) -> Result {
    put(buffer, "[");
    for (index, (name, value)) in headers.iter().enumerate() {
        put(buffer, if index == 0 { "[" } else { ",[" });
        put_text(buffer, name)?;
        put(buffer, ",");
        put_text(buffer, value)?;
        put(buffer, "]");
    }
    put(buffer, "]");
    Ok(())
}

fn put_body(buffer: &mut Vec<u8>, body: &Body) -> Result {
    match std::str::from_utf8(&body.bytes) {
        Ok(text) if !body.is_cut() => {
            put(buffer, "{\"text\":");
            put_text(buffer, text)?;
            put(buffer, "}");
            Ok(())
        }
        Ok(_) | Err(_) => put_value(buffer, body),
    }
}

fn put_log_summary(buffer: &mut Vec<u8>, log: &LogSummary) -> Result {
    let LogSummary { lines, bytes, dropped_bytes } = log;
    put(buffer, "{\"lines\":");
    put_value(buffer, lines)?;
    put(buffer, ",\"bytes\":");
    put_value(buffer, bytes)?;
    put(buffer, ",\"dropped_bytes\":");
    put_value(buffer, dropped_bytes)?;
    put(buffer, "}");
    Ok(())
}

fn put_usage(buffer: &mut Vec<u8>, usage: &Usage) -> Result {
    let Usage { memory_peak_bytes, cpu_us, wall_us, instantiate_us, queue_us } = usage;
    let fields = [
        ("{\"memory_peak_bytes\":", memory_peak_bytes),
        (",\"cpu_us\":", cpu_us),
        (",\"wall_us\":", wall_us),
        (",\"instantiate_us\":", instantiate_us),
        (",\"queue_us\":", queue_us),
    ];
    for (name, number) in fields {
        put(buffer, name);
        put_value(buffer, number)?;
    }
    put(buffer, "}");
    Ok(())
}

fn put_inputs(buffer: &mut Vec<u8>, inputs: &Inputs) -> Result {
    let Inputs { random_seed, clock_start_ns, clock_reads } = inputs;
    put(buffer, "{");
    if !random_seed.is_empty() {
        put(buffer, "\"random_seed\":");
        put_text(buffer, random_seed)?;
        put(buffer, ",");
    }
    put(buffer, "\"clock_start_ns\":");
    put_value(buffer, clock_start_ns)?;
    put(buffer, ",\"clock_reads\":");
    put_value(buffer, clock_reads)?;
    put(buffer, "}");
    Ok(())
}

fn put_some(buffer: &mut Vec<u8>, name: &str, value: Option<&impl Serialize>) -> Result {
    let Some(value) = value else { return Ok(()) };
    put(buffer, name);
    put_value(buffer, value)
}

fn put_instant(buffer: &mut Vec<u8>, instant: Timestamp) -> Result {
    put(buffer, "\"");
    // A buffer in memory takes everything.
    INSTANTS.print_timestamp(&instant, &mut *buffer).map_err(serde_json::Error::custom)?;
    put(buffer, "\"");
    Ok(())
}

fn put_run_id(buffer: &mut Vec<u8>, id: &RunId) {
    put(buffer, "\"");
    id.with_text(|text| put(buffer, text));
    put(buffer, "\"");
}

fn put_workflow_id(buffer: &mut Vec<u8>, id: &WorkflowId) {
    put(buffer, "\"");
    id.with_text(|text| put(buffer, text));
    put(buffer, "\"");
}

fn put_text(buffer: &mut Vec<u8>, text: &str) -> Result {
    if has_escapes(text.as_bytes()) {
        return put_value(buffer, text);
    }
    put(buffer, "\"");
    put(buffer, text);
    put(buffer, "\"");
    Ok(())
}

/// Whether a text has something that JSON wants to be escaped (RFC 8259 section 7). Looks at
/// sixteen bytes in a step, which a short way out after each of them would prevent.
fn has_escapes(text: &[u8]) -> bool {
    let is_escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let (wholes, rest) = text.as_chunks::<16>();
    wholes.iter().any(|whole| whole.iter().fold(false, |found, byte| found | is_escaped(byte)))
        || rest.iter().any(is_escaped)
}

fn put_value<T: Serialize + ?Sized>(buffer: &mut Vec<u8>, value: &T) -> Result {
    serde_json::to_writer(buffer, value)
}

fn put(buffer: &mut Vec<u8>, text: &str) {
    buffer.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;
    use crate::run::{Exchange, Fault, FaultKind, Status, Trace};
    use crate::store::samples;

    fn assert_as_serde(run: &Run) {
        let mut buffer = Vec::new();
        put_run(&mut buffer, run).unwrap();
        let (own, serdes) = (String::from_utf8(buffer).unwrap(), serde_json::to_string(run).unwrap());
        assert_eq!(own, serdes);
    }

    fn bare() -> Run {
        Run {
            version: None,
            started_at: None,
            finished_at: None,
            request: None,
            reply: None,
            settings_read: Vec::new(),
            settings_changed: Vec::new(),
            node: None,
            ..samples::run(WorkflowId::new())
        }
    }

    #[test]
    fn every_field_is_written_as_serde_writes_it() {
        let whole = samples::run(WorkflowId::new());
        assert_as_serde(&whole);
        assert_as_serde(&bare());
        let exchange = Exchange {
            at_us: 1,
            method: "GET".to_owned(),
            url: "https://a.example/\"?x=…".to_owned(),
            status: Some(200),
            request_bytes: 2,
            response_bytes: 3,
            duration_us: 4,
            error: None,
            reason: Some("it\nis".to_owned()),
            sealed: Vec::new(),
        };
        assert_as_serde(&Run {
            event: Some(RunId::new()),
            fault: Some(Fault::new(FaultKind::Exception, "ValueError: \"x\"\n\u{7f}\0")),
            value: Some(RawValue::from_string("{\"a\": [1, 2]}".to_owned()).unwrap()),
            exchanges: vec![exchange],
            lateness_us: Some(u64::MAX),
            usage: Usage {
                memory_peak_bytes: u64::MAX,
                cpu_us: 1,
                wall_us: 2,
                instantiate_us: 3,
                queue_us: 4,
            },
            inputs: Inputs { random_seed: "00ff".to_owned(), clock_start_ns: 5, clock_reads: 6 },
            trace: Some(Trace::root(RunId::new())),
            ..whole
        });
    }

    #[test]
    fn every_status_and_trigger_is_written_as_serde_writes_it() {
        let triggers = [
            Trigger::Catch,
            Trigger::Pull { schedule: "every \"day\"".to_owned(), due: Timestamp::UNIX_EPOCH },
            Trigger::Test,
            Trigger::Replay { of: RunId::new() },
        ];
        for status in Status::ALL {
            for trigger in triggers.clone() {
                assert_as_serde(&Run { status, trigger, ..bare() });
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_body_and_instant_is_written_as_serde_writes_it(
            texts in proptest::collection::vec(any::<String>(), 6),
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            ascii in "[ -~]{0,40}",
            keep in 0_usize..40,
            seconds in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(),
            nanoseconds in 0..1_000_000_000_i32,
        ) {
            let [method, path_with_query, name, value, node, text]: [String; 6] = texts.try_into().unwrap();
            let instant = Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::MAX);
            let headers = vec![(name, value), (ascii.clone(), ascii)];
            assert_as_serde(&Run {
                accepted_at: instant,
                started_at: Some(instant),
                node: Some(node.into()),
                request: Some(Arc::new(RequestRecord {
                    method,
                    path_with_query,
                    headers: headers.clone(),
                    body: Body::cut(Bytes::from(bytes), keep),
                })),
                reply: Some(ReplyRecord { status: 200, headers, body: Body::cut(text.into(), keep) }),
                ..bare()
            });
        }
    }
}
