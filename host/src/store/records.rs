//! How runs, logs and ticks stand in frames.
//!
//! The body of a run's frame begins with what the index needs, so that a segment can be
//! indexed again without parsing a record:
//!
//! ```text
//! run id 16 | workflow id 16 | accepted at: seconds 8, nanoseconds 4 | class 1 | zero 3
//! | the record as JSON
//! ```
//!
//! The tail is the log, one JSON object a line. A tick's frame is the tick as JSON.

mod json;

use jiff::Timestamp;

use super::frame::{Builder, Kind, Salt, TooLarge};
use super::rows::{Class, Place, RunRow};
use super::{Result, StoreError, Tick};
use crate::run::{LogLine, Run, RunId};
use crate::workflow::WorkflowId;

/// Bytes of a run's body in front of the record.
const HEAD_BYTES: usize = 48;

/// A frame for the run and its log, and its index row, whose place has no offset yet.
#[cfg(test)]
pub(super) fn encode_run(run: &Run, log: &[LogLine], salt: Salt) -> Result<(Vec<u8>, RunRow)> {
    encode_run_over(Vec::new(), run, log, salt)
}

/// A frame for the run and its log, in a buffer that may have been used before, and its index
/// row, whose place has no offset yet.
///
/// # Errors
/// [`StoreError::Limit`] for a record that does not fit into a frame.
pub(super) fn encode_run_over(
    mut buffer: Vec<u8>,
    run: &Run,
    log: &[LogLine],
    salt: Salt,
) -> Result<(Vec<u8>, RunRow)> {
    // Most records are smaller than this.
    buffer.reserve(2048);
    let class = Class::of(run.status, &run.trigger);
    let mut builder = Builder::over(buffer, Kind::Run);
    let buffer = builder.buffer();
    buffer.extend_from_slice(run.id.as_bytes());
    buffer.extend_from_slice(run.workflow.as_bytes());
    put_instant(buffer, run.accepted_at);
    buffer.extend_from_slice(&[class.code(), 0, 0, 0]);
    json::put_run(buffer, run)
        .map_err(|error| StoreError::Io { action: "encode a run record".to_owned(), source: error.into() })?;
    let body_bytes = buffer.len();
    builder.end_body();
    let buffer = builder.buffer();
    for line in log {
        to_json(buffer, line, "encode a log line")?;
        buffer.push(b'\n');
    }
    let frame = builder.finish(salt).map_err(|error| too_large("a run record", &error))?;
    let header_bytes = super::frame::HEADER_BYTES;
    let place = Place {
        offset: 0,
        body_bytes: (body_bytes - header_bytes) as u32,
        tail_bytes: (frame.len() - body_bytes) as u32,
    };
    let row = RunRow { id: run.id, workflow: run.workflow, accepted_at: run.accepted_at, class, place };
    Ok((frame, row))
}

/// The index row of a run's frame; `None` when the body is none of a run.
pub(super) fn run_row(body: &[u8], place: Place) -> Option<RunRow> {
    let head = body.get(..HEAD_BYTES)?;
    Some(RunRow {
        id: RunId::from_bytes(head[..16].try_into().ok()?),
        workflow: WorkflowId::from_bytes(head[16..32].try_into().ok()?),
        accepted_at: instant(&head[32..44])?,
        class: Class::from_code(head[44])?,
        place,
    })
}

/// The record in a run's frame.
pub(super) fn decode_run(body: &[u8]) -> std::result::Result<Run, String> {
    let record = body.get(HEAD_BYTES..).ok_or("it is too short")?;
    serde_json::from_slice(record).map_err(|error| format!("it is no record: {error}"))
}

/// The log in a run's frame.
pub(super) fn decode_log(tail: &[u8]) -> std::result::Result<Vec<LogLine>, String> {
    tail.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).map_err(|error| format!("it is no log: {error}")))
        .collect()
}

/// A frame for a tick, and its place without an offset.
pub(super) fn encode_tick(tick: &Tick, salt: Salt) -> Result<(Vec<u8>, Place)> {
    let mut builder = Builder::new(Kind::Tick, 256);
    to_json(builder.buffer(), tick, "encode a tick")?;
    let frame = builder.finish(salt).map_err(|error| too_large("a tick", &error))?;
    let body_bytes = (frame.len() - super::frame::HEADER_BYTES) as u32;
    Ok((frame, Place { offset: 0, body_bytes, tail_bytes: 0 }))
}

/// The tick in a frame.
pub(super) fn decode_tick(body: &[u8]) -> std::result::Result<Tick, String> {
    serde_json::from_slice(body).map_err(|error| format!("it is no tick: {error}"))
}

/// Appends an instant in 12 bytes, exactly.
pub(super) fn put_instant(buffer: &mut Vec<u8>, instant: Timestamp) {
    buffer.extend_from_slice(&instant.as_second().to_le_bytes());
    buffer.extend_from_slice(&instant.subsec_nanosecond().to_le_bytes());
}

/// The instant in 12 bytes of [`put_instant`].
pub(super) fn instant(bytes: &[u8]) -> Option<Timestamp> {
    let seconds = i64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let nanoseconds = i32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?);
    Timestamp::new(seconds, nanoseconds).ok()
}

fn to_json(buffer: &mut Vec<u8>, value: &impl serde::Serialize, action: &str) -> Result<()> {
    serde_json::to_writer(buffer, value)
        .map_err(|error| StoreError::Io { action: action.to_owned(), source: error.into() })
}

fn too_large(what: &str, error: &TooLarge) -> StoreError {
    StoreError::Limit {
        what: format!("{what} of {} bytes", error.bytes),
        limit: format!("{} bytes", super::frame::FRAME_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::frame;
    use super::super::samples;
    use super::*;
    use crate::run::{Body, RequestRecord};

    const SALT: Salt = Salt::new(0x1234_5678_9abc_def0);

    #[test]
    fn run_log_and_row_come_back_from_a_frame() {
        let run = samples::run(WorkflowId::new());
        let log = samples::log(3);
        let (bytes, row) = encode_run(&run, &log, SALT).unwrap();
        let body = frame::body(&bytes, SALT).unwrap();
        assert_eq!(run_row(body, row.place), Some(row));
        let decoded = decode_run(body).unwrap();
        assert_eq!(serde_json::to_value(&decoded).unwrap(), serde_json::to_value(&run).unwrap());
        assert_eq!(decode_log(frame::tail(&bytes, SALT).unwrap()).unwrap(), log.to_vec());
    }

    #[test]
    fn instants_keep_every_nanosecond() {
        for instant in [Timestamp::MIN, Timestamp::MAX, Timestamp::new(-1, -999_999_999).unwrap()] {
            let mut buffer = Vec::new();
            put_instant(&mut buffer, instant);
            assert_eq!(super::instant(&buffer), Some(instant));
        }
        assert_eq!(super::instant(&[0x7f; 12]), None);
    }

    #[test]
    fn record_over_the_limit_is_refused() {
        let mut run = samples::run(WorkflowId::new());
        run.request = Some(Arc::new(RequestRecord {
            method: "POST".to_owned(),
            path_with_query: "/".to_owned(),
            headers: Vec::new(),
            body: Body::cut(Bytes::from(vec![b'x'; frame::FRAME_BYTES_MAX]), usize::MAX),
        }));
        assert!(matches!(encode_run(&run, &[], SALT), Err(StoreError::Limit { .. })));
    }
}
