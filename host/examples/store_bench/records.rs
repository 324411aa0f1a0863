//! What is stored: workflows, and runs of about 1.3 KB each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tidegate::run::{
    Body, Fault, FaultKind, Inputs, Level, LogLine, LogSummary, ReplyRecord, RequestRecord, Run, RunId,
    Status, Stream, Trigger, Usage,
};
use tidegate::workflow::{
    Endpoint, Kind, LimitOverrides, RetryPolicy, Revision, State, Workflow, WorkflowId,
};

/// Runs that were made.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// A workflow of the usual kind.
pub(crate) fn workflow(number: usize) -> anyhow::Result<Workflow> {
    let now = Timestamp::now();
    Ok(Workflow {
        id: WorkflowId::new(),
        name: format!("workflow-{number}").parse()?,
        description: String::new(),
        kind: Kind::Catch,
        owner: None,
        managers: Vec::new(),
        viewers: Vec::new(),
        private: false,
        state: State::Active,
        catch_key: None,
        endpoint: Endpoint::default(),
        signature: None,
        egress: None,
        schedules: Vec::new(),
        limits: LimitOverrides::default(),
        retry: RetryPolicy::default(),
        samples: Vec::new(),
        active_version: None,
        created_at: now,
        updated_at: now,
        revision: Revision(1),
    })
}

/// A run of about 1.3 KB with its log; one of 1,000 failed, and some are rarer.
pub(crate) fn run(workflow: WorkflowId, number: usize) -> anyhow::Result<Run> {
    let now = Timestamp::now();
    let fails = number % 1000 == 999;
    let serial = RUNS.fetch_add(1, Ordering::Relaxed);
    // Rare ones are spread over all segments.
    let (is_cancelled, is_test) = (serial % 100_000 == 99_999, serial % 20_000 == 19_999);
    Ok(Run {
        format: tidegate::run::FORMAT,
        id: RunId::new(),
        workflow,
        workflow_name: "workflow".parse()?,
        version: Some(1),
        trigger: if is_test { Trigger::Test } else { Trigger::Catch },
        attempt: 1,
        event: None,
        status: match (is_cancelled, fails) {
            (true, _) => Status::Cancelled,
            (false, true) => Status::Failed,
            (false, false) => Status::Succeeded,
        },
        fault: fails.then(|| Fault::new(FaultKind::Trap, "wasm trap: unreachable")),
        accepted_at: now,
        started_at: Some(now),
        finished_at: Some(now),
        request: Some(Arc::new(RequestRecord {
            method: "POST".to_owned(),
            path_with_query: "/catch/key".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Body::cut(vec![b'x'; 200].into(), 1 << 16),
        })),
        reply: Some(ReplyRecord {
            status: 200,
            headers: Vec::new(),
            body: Body::cut(vec![b'y'; 100].into(), 1 << 16),
        }),
        value: None,
        log: LogSummary { lines: 2, bytes: 20, dropped_bytes: 0 },
        exchanges: Vec::new(),
        settings_read: Vec::new(),
        settings_changed: Vec::new(),
        lateness_us: None,
        node: Some("bench".into()),
        usage: Usage {
            memory_peak_bytes: 1 << 20,
            cpu_us: 300,
            wall_us: 400,
            instantiate_us: 20,
            queue_us: 2,
        },
        inputs: Inputs::default(),
        trace: None,
    })
}

/// The log of each run.
pub(crate) fn log() -> Arc<[LogLine]> {
    (0..2)
        .map(|number| LogLine {
            at_us: number,
            level: Level::Info,
            stream: Stream::Stdout,
            text: "hello from a log line".to_owned(),
            fields: Vec::new(),
        })
        .collect()
}
