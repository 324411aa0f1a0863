//! Runs that are given up at every point at which they wait.

use std::collections::HashSet;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tidegate::config::{Config, Reset};
use tidegate::engine::egress::Egress;
use tidegate::engine::{
    Call, CallLimits, Compiler, Effort, Engine, EngineOptions, Input, Program, Report, Request,
};
use tidegate::workflow::WorkflowId;

use crate::support::guests;

const MEMORY_BYTES_MAX: usize = 32 << 20;

/// An engine whose artefacts stay in memory where the system has a place for that.
pub(super) struct Sandbox {
    pub(super) engine: Engine,
    _folder: tempfile::TempDir,
}

impl Sandbox {
    pub(super) fn new() -> Self {
        Self::with(Effort::Full)
    }

    pub(super) fn with(effort: Effort) -> Self {
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let options = EngineOptions {
            artefacts: folder.path().to_owned(),
            artefact_key: [7; 32],
            compiler: Compiler::InProcess(effort),
            compiles_max: 4,
            compiles_waiting_max: 16,
            instances_max: 8,
            memory_bytes_max: MEMORY_BYTES_MAX,
            memory_total_bytes_max: 0,
            fuse: false,
            epoch_tick: Duration::from_millis(1),
            reset: Reset::InPlace,
            idle_bytes_max: 1 << 30,
            idle_max: Duration::from_secs(60),
            on_compiled: Box::new(|_, _| ()),
        };
        let egress = Egress::new(&Config::defaults().egress).unwrap();
        Self { engine: Engine::new(options, egress).unwrap(), _folder: folder }
    }

    pub(super) async fn run(&self, program: &Program, body: &'static [u8], deadline: Duration) -> Report {
        let permit = self.engine.permits().clone().acquire_owned().await.unwrap();
        self.engine.run(program, call(body, deadline), permit).await.0
    }

    /// Forgets what was compiled.
    pub(super) async fn sweep(&self) {
        self.engine.sweep(HashSet::new(), Duration::ZERO).await.unwrap();
    }

    pub(super) fn has_everything_back(&self) {
        let gauges = self.engine.gauges();
        assert_eq!((gauges.instances, gauges.memory_bytes), (0, 0), "slots and bytes of memory");
    }
}

fn call(body: &'static [u8], deadline: Duration) -> Call {
    let request = Request {
        method: "POST".to_owned(),
        path_with_query: "/".to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from_static(body),
    };
    Call {
        workflow: WorkflowId::new(),
        input: Input::Request(request),
        attempt: 1,
        settings: Arc::default(),
        source: None,
        commit: None,
        trace: None,
        memory: None,
        destinations: None,
        outbound: Default::default(),
        limits: CallLimits {
            deadline,
            cpu_max: deadline,
            memory_bytes_max: MEMORY_BYTES_MAX as u64,
            log_bytes_max: 64 << 10,
        },
    }
}

/// Polls a run so many times at most, and drops it. Whether it ended by itself.
async fn given_up_after(sandbox: &Sandbox, program: &Program, body: &'static [u8], polls: u32) -> bool {
    let permit = sandbox.engine.permits().clone().acquire_owned().await.unwrap();
    let mut run = pin!(sandbox.engine.run(program, call(body, Duration::from_secs(20)), permit));
    let mut left = polls;
    poll_fn(|context| match run.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending if left == 0 => Poll::Ready(false),
        Poll::Pending => {
            left -= 1;
            // Whether anything woke it or not.
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_run_that_is_given_up_anywhere_gives_everything_back() {
    let sandbox = Sandbox::new();
    let scenarios: [(&str, &'static [u8]); 7] = [
        ("hello", b"{}"),
        ("spin", b"{}"),
        ("clock-random", br#"{ "sleep_ms": 2 }"#),
        ("slow-host-call", br#"{ "via": "poll" }"#),
        ("memory-hog", br#"{ "mib": 16 }"#),
        ("outbound", br#"{ "url": "http://127.0.0.1:9/", "times": 3 }"#),
        ("hostile", br#"{ "mode": "spin-timers" }"#),
    ];
    for (name, body) in scenarios {
        let program = sandbox.engine.install(guests::component(name)).await.unwrap();
        let (mut polls, mut given_up) = (0, 0);
        // Until it ends before it is given up; those that never end are given up at these.
        while polls < 40 {
            if given_up_after(&sandbox, &program, body, polls).await {
                break;
            }
            (polls, given_up) = (polls + 1, given_up + 1);
            sandbox.has_everything_back();
        }
        sandbox.has_everything_back();
        assert!(given_up > 0 || name == "hello", "{name} was never given up");
    }
}
