//! The sandbox at its own border: a guest program in, an outcome out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tidegate::config::{Config, Reset};
use tidegate::engine::egress::Egress;
use tidegate::engine::{
    Call, CallLimits, CommitRefusal, CommitSettings, Compiler, Engine, EngineOptions, Input, InstallError,
    Outcome, Program, Report, Request, ScanError,
};
use tidegate::run::{Fault, FaultKind, Level, Stream};
use tidegate::workflow::{Digest, Setting, SettingChange, SettingWriter, Settings, Visibility, WorkflowId};

use crate::support::guests;

const MEMORY_BYTES_MAX: usize = 32 << 20;
const INSTANCES_MAX: u32 = 8;

struct Host {
    engine: Engine,
    workflow: WorkflowId,
    _folder: tempfile::TempDir,
}

struct CallBuilder<'a> {
    host: &'a Host,
    program: &'a Program,
    call: Call,
}

/// These tests are there twice: as they are, and in `engine_pool`.
fn reset() -> Reset {
    if module_path!().ends_with("_pool") { Reset::Pool } else { Reset::InPlace }
}

fn options(folder: &Path) -> EngineOptions {
    EngineOptions {
        artefacts: folder.to_owned(),
        artefact_key: [7; 32],
        compiler: Compiler::Child {
            program: env!("CARGO_BIN_EXE_tidegate").into(),
            timeout: Duration::from_secs(60),
            memory_bytes_max: 4 << 30,
        },
        compiles_max: 1,
        compiles_waiting_max: 16,
        instances_max: INSTANCES_MAX,
        memory_bytes_max: MEMORY_BYTES_MAX,
        memory_total_bytes_max: 0,
        fuse: true,
        epoch_tick: Duration::from_millis(2),
        reset: reset(),
        idle_bytes_max: 1 << 30,
        idle_max: Duration::from_secs(60),
        on_compiled: Box::new(|_, _| ()),
    }
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let egress = Egress::new(&Config::defaults().egress).unwrap();
        let engine = Engine::new(options(folder.path()), egress).unwrap();
        Self { engine, workflow: WorkflowId::new(), _folder: folder }
    }

    async fn program(&self, name: &str) -> Program {
        self.engine.install(guests::component(name)).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn call<'a>(&'a self, program: &'a Program, body: Value) -> CallBuilder<'a> {
        let request = Request {
            method: "POST".to_owned(),
            path_with_query: "/hook?a=1".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) },
        };
        let limits = CallLimits {
            deadline: Duration::from_secs(20),
            cpu_max: Duration::from_secs(20),
            memory_bytes_max: MEMORY_BYTES_MAX as u64,
            log_bytes_max: 64 << 10,
        };
        let call = Call {
            workflow: self.workflow,
            input: Input::Request(request),
            attempt: 1,
            settings: Arc::default(),
            source: None,
            commit: None,
            trace: None,
            memory: None,
            destinations: None,
            outbound: Default::default(),
            limits,
        };
        CallBuilder { host: self, program, call }
    }

    async fn run(&self, name: &str, body: Value) -> Report {
        let program = self.program(name).await;
        self.call(&program, body).run().await
    }
}

impl CallBuilder<'_> {
    fn deadline_ms(mut self, ms: u64) -> Self {
        self.call.limits.deadline = Duration::from_millis(ms);
        self
    }

    fn settings(mut self, settings: Value) -> Self {
        let entries = settings.as_object().unwrap().iter().map(|(name, value)| {
            let setting = Setting {
                value: serde_json::value::to_raw_value(value).unwrap().into(),
                visibility: Visibility::Secret,
                seal: None,
                fingerprint: String::new(),
                updated_at: jiff::Timestamp::now(),
                updated_by: SettingWriter::User(None),
            };
            (name.clone(), setting)
        });
        self.call.settings = Arc::new(Settings::new(entries.collect(), Default::default()));
        self
    }

    fn commit(mut self, commit: Arc<dyn CommitSettings>) -> Self {
        self.call.commit = Some(commit);
        self
    }

    fn input(mut self, input: Input) -> Self {
        self.call.input = input;
        self
    }

    async fn run(self) -> Report {
        let permit = self.host.engine.permits().clone().acquire_owned().await.unwrap();
        self.host.engine.run(self.program, self.call, permit).await.0
    }
}

fn outcome(report: Report) -> Outcome {
    report.end.unwrap_or_else(|fault| panic!("{fault:?}"))
}

fn body(report: Report) -> Value {
    let reply = outcome(report).reply.expect("a reply");
    serde_json::from_slice(&reply.body.expect("a body")).expect("JSON")
}

fn fault(report: &Report) -> &Fault {
    report.end.as_ref().expect_err("a fault")
}

fn texts(report: &Report, stream: Stream) -> Vec<&str> {
    report.log.iter().filter(|line| line.stream == stream).map(|line| line.text.as_str()).collect()
}

#[tokio::test]
async fn a_guest_gets_the_request_and_its_reply_comes_back() {
    let host = Host::new();
    let got = body(host.run("echo", json!({ "name": "Ada" })).await);
    assert_eq!(got["method"], "POST");
    assert!(got.to_string().contains("hook"), "{got}");
    assert!(got.to_string().contains("Ada"), "{got}");
    let report = host.run("hello", Value::Null).await;
    assert!(report.usage.memory_peak_bytes > 1 << 20, "{:?}", report.usage);
    assert!(
        report.usage.cpu_us > 0 && report.usage.wall_us >= report.usage.instantiate_us,
        "{:?}",
        report.usage
    );
    assert_eq!(report.inputs.random_seed, "", "it read nothing random");
    assert_eq!(outcome(report).reply.unwrap().status, 200);
}

#[tokio::test]
async fn ways_to_end_badly_are_told_apart() {
    let host = Host::new();
    let report = host.run("trap", Value::Null).await;
    assert_eq!(fault(&report).kind, FaultKind::Trap);
    assert!(fault(&report).message.contains("unreachable"), "{:?}", fault(&report));
    assert_eq!(texts(&report, Stream::Stdout), ["about to trap"]);

    let report = host.run("panic", Value::Null).await;
    assert_eq!(fault(&report).kind, FaultKind::Trap);
    let stderr = texts(&report, Stream::Stderr).join("\n");
    assert!(stderr.contains("panicked at") && stderr.contains("on purpose"), "{stderr}");

    let report = host.run("exit", json!({ "code": 0 })).await;
    assert_eq!(fault(&report).kind, FaultKind::Trap);
    assert!(fault(&report).message.contains("exit status 0"));

    let report = host.run("deep-recursion", Value::Null).await;
    assert_eq!(fault(&report).kind, FaultKind::Trap);
    assert!(fault(&report).message.contains("call stack exhausted"), "{:?}", fault(&report));

    let report = host.run("settings", json!({ "fail": "no such profile" })).await;
    assert_eq!(fault(&report).kind, FaultKind::Exception);
    assert!(fault(&report).message.contains("no such profile"), "{:?}", fault(&report));
}

#[tokio::test]
async fn deadline_stops_a_guest_that_computes_and_one_that_waits() {
    let host = Host::new();
    for (name, seed) in [
        ("spin", Value::Null),
        ("slow-host-call", json!({ "via": "block" })),
        ("slow-host-call", json!({ "via": "poll" })),
    ] {
        let program = host.program(name).await;
        let report = host.call(&program, seed).deadline_ms(200).run().await;
        assert_eq!(fault(&report).kind, FaultKind::Deadline, "{name}: {:?}", report.end);
        assert!(report.usage.wall_us >= 200_000, "{:?}", report.usage);
    }
    assert_eq!(host.engine.gauges().memory_bytes, 0, "all memory came back");
    assert_eq!(host.engine.gauges().instances, 0, "all permits came back");
}

#[tokio::test]
async fn memory_is_refused_at_the_limit_and_a_death_of_it_is_no_plain_trap() {
    let host = Host::new();
    let report = host.run("memory-hog", json!({ "mode": "abort" })).await;
    assert_eq!(fault(&report).kind, FaultKind::Memory);
    assert!(fault(&report).message.contains(&MEMORY_BYTES_MAX.to_string()), "{:?}", fault(&report));
    let report = host.run("memory-hog", json!({ "mode": "report", "mib": 8 })).await;
    let peak = report.usage.memory_peak_bytes;
    assert!(peak >= 8 << 20 && peak <= MEMORY_BYTES_MAX as u64, "{peak}");
    outcome(report);
    let report = host.run("memory-hog", json!({ "mode": "report" })).await;
    assert!(report.usage.memory_peak_bytes <= MEMORY_BYTES_MAX as u64);
    outcome(report);
}

#[tokio::test]
async fn a_flood_of_log_is_cut_counted_and_does_not_fail_the_run() {
    let host = Host::new();
    let report = host.run("log-flood", json!({ "stdout": 1_000_000, "stderr": 1_000_000, "lines": 500, "line_bytes": 1000, "fields": 2 })).await;
    assert!(report.log_summary.dropped_bytes > 2_000_000, "{:?}", report.log_summary);
    assert!(report.log_summary.bytes <= 66 << 10, "{:?}", report.log_summary);
    assert_eq!(texts(&report, Stream::Host).len(), 1, "it says so");
    let last = report.log.last().unwrap();
    assert_eq!((last.level, last.stream, last.fields.len()), (Level::Warning, Stream::Log, 2));
    assert_eq!(body(report), json!({ "stdout_error": null, "stderr_error": null }));
}

#[derive(Default)]
struct Committed(Mutex<Vec<(String, Option<String>)>>);

impl CommitSettings for Committed {
    fn commit(self: Arc<Self>, changes: Vec<SettingChange>) -> BoxFuture<'static, Result<(), CommitRefusal>> {
        let changes = changes
            .into_iter()
            .map(|change| (change.name, change.value.map(|value| value.expose().to_owned())));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn settings_keep_their_types_and_only_changes_come_back() {
    let host = Host::new();
    let program = host.program("settings").await;
    let settings = json!({ "N": 1.5, "LIST": [1, null], "S": "x", "_B": true });
    let got = body(host.call(&program, Value::Null).settings(settings.clone()).run().await);
    assert_eq!(got["settings"], settings);

    let steps = json!({ "set": { "S": "x", "N": 2 }, "delete": ["LIST", "NONE"] });
    let end = outcome(host.call(&program, steps).settings(settings.clone()).run().await);
    let changes: BTreeMap<_, _> = end
        .changes
        .iter()
        .map(|change| (change.name.as_str(), change.value.as_ref().map(|value| value.expose())))
        .collect();
    assert_eq!(changes, BTreeMap::from([("N", Some("2")), ("LIST", None)]));

    let report = host.call(&program, json!({ "set_json": { "BAD": "{" } })).run().await;
    assert_eq!(fault(&report).kind, FaultKind::Result);
    assert!(fault(&report).message.contains("\"BAD\""), "{:?}", fault(&report));
}

#[tokio::test]
async fn early_saves_reach_the_host_at_once_and_only_then() {
    let host = Host::new();
    let program = host.program("settings").await;
    let committed = Arc::new(Committed::default());
    let steps =
        json!({ "set": { "CURSOR": 7 }, "save": true, "set_late": { "LATE": 1 }, "fail": "afterwards" });
    let report = host.call(&program, steps.clone()).commit(committed.clone()).run().await;
    assert_eq!(fault(&report).kind, FaultKind::Exception);
    assert_eq!(*committed.0.lock().unwrap(), [("CURSOR".to_owned(), Some("7".to_owned()))]);
    // A run that keeps none is told so.
    let got = body(host.call(&program, json!({ "set": { "A": 1 }, "save": true })).run().await);
    assert!(
        got["refused"].as_str().is_some_and(|refusal| refusal.contains("does not keep settings")),
        "{got}"
    );
}

#[tokio::test]
async fn runs_differ_by_chance_alone() {
    let host = Host::new();
    let program = host.program("clock-random").await;
    let one = host.call(&program, json!({ "sleep_ms": 5 })).run().await;
    let two = host.call(&program, json!({ "sleep_ms": 5 })).run().await;
    assert_eq!(one.inputs.random_seed.len(), 64);
    assert_ne!(one.inputs.random_seed, two.inputs.random_seed);
    assert!(one.inputs.clock_reads >= 4, "{:?}", one.inputs);
    let (one, two) = (body(one), body(two));
    for source in ["random", "insecure", "insecure_seed", "hash"] {
        assert_ne!(one[source][0], two[source][0], "{source}");
    }
    assert_ne!(one["random"][0], one["random"][1]);
    let ns = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    assert!(ns(&one["monotonic_ns"][1]) - ns(&one["monotonic_ns"][0]) >= 4_000_000, "{one}");
    assert!(ns(&two["wall_ns"][0]) >= ns(&one["wall_ns"][1]), "{one} {two}");
}

#[tokio::test]
async fn files_sockets_and_the_environment_are_refused() {
    let host = Host::new();
    let tried = body(host.run("files-and-sockets", Value::Null).await);
    let tried = tried.as_object().unwrap();
    assert!(tried.len() >= 13, "{tried:?}");
    for (name, result) in tried {
        match name.as_str() {
            "environment" | "arguments" => assert_eq!(result["got"], "[]", "{name}"),
            "stdin" => assert!(result["got"] == "0" || result.get("error").is_some(), "{result}"),
            _ => assert!(result.get("error").is_some(), "{name} was not refused: {result}"),
        }
    }
}

#[tokio::test]
async fn a_pull_gets_its_tick_and_returns_a_value() {
    let host = Host::new();
    let program = host.program("pull").await;
    let due = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let input = Input::Tick { schedule: "nightly".to_owned(), due };
    let end = outcome(host.call(&program, Value::Null).settings(json!({})).input(input).run().await);
    assert!(end.value.is_some_and(|value| value.contains("nightly")), "the value names the schedule");
    assert!(!end.changes.is_empty(), "it counted");
}

#[tokio::test]
async fn egress_refuses_loopback_and_records_the_attempt() {
    let host = Host::new();
    let report = host.run("outbound", json!({ "url": "http://127.0.0.1:9/x?key=secret" })).await;
    assert_eq!(report.exchanges.len(), 1, "{:?}", report.exchanges);
    let exchange = &report.exchanges[0];
    assert_eq!(exchange.error.as_deref(), Some("destination-ip-prohibited"));
    assert!(!exchange.url.contains("secret") && exchange.url.contains("127.0.0.1"), "{exchange:?}");
}

async fn refusal(host: &Host, wasm: Bytes) -> InstallError {
    match host.engine.install(wasm).await {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn what_is_no_workflow_is_refused_and_told_why() {
    let host = Host::new();
    let garbage = refusal(&host, Bytes::from_static(b"garbage")).await;
    assert!(matches!(garbage, InstallError::Scan(ScanError::NotWasm)), "{garbage}");
    let core = refusal(&host, Bytes::from_static(b"\0asm\x01\0\0\0")).await;
    assert!(matches!(core, InstallError::Scan(ScanError::CoreModule)), "{core}");
    let whole = guests::component("hello");
    for part in [100, whole.len() / 2, whole.len() - 1] {
        let cut = refusal(&host, whole.slice(..part)).await;
        assert!(matches!(cut, InstallError::Scan(ScanError::Truncated { .. })), "{part}: {cut}");
    }
    let other = refusal(&host, guests::component("no-export")).await;
    assert!(
        matches!(&other, InstallError::Scan(ScanError::OtherWorld { exports }) if !exports.is_empty()),
        "{other}"
    );
    let odd = refusal(&host, guests::component("odd-import")).await;
    assert!(matches!(&odd, InstallError::Scan(ScanError::Imports { names }) if names.len() == 1), "{odd}");
    let typed = refusal(&host, guests::component("wrong-type")).await;
    assert!(matches!(&typed, InstallError::Link(_)), "{typed}");
}

#[tokio::test]
async fn an_artefact_that_was_changed_on_disk_is_never_loaded() {
    let host = Host::new();
    let wasm = guests::component("hello");
    let digest = host.program("hello").await.digest();
    assert_eq!(digest, Digest::of(&wasm));
    assert!(host.engine.load(digest).await.unwrap().is_some());
    let mut artefacts = Vec::new();
    for folder in std::fs::read_dir(host._folder.path()).unwrap() {
        artefacts.extend(std::fs::read_dir(folder.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    let part = |name| artefacts.iter().find(|path| path.extension().is_some_and(|end| end == name));
    let images = part("image").into_iter();
    assert_eq!(images.len(), usize::from(reset() == Reset::InPlace));
    for part in images.chain([part("cwasm").unwrap()]) {
        let good = std::fs::read(part).unwrap();
        for at in [0, good.len() / 3, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(part, &bad).unwrap();
            assert!(host.engine.load(digest).await.unwrap().is_none(), "a flipped bit in byte {at}");
        }
        // Neither without a part of it, nor with one that it never had.
        std::fs::remove_file(part).unwrap();
        assert!(host.engine.load(digest).await.unwrap().is_none(), "{part:?} is gone");
        std::fs::write(part, &good).unwrap();
        assert!(host.engine.load(digest).await.unwrap().is_some(), "{part:?} is as it was");
    }
    if reset() == Reset::Pool {
        let odd = part("cwasm").unwrap().with_extension("image");
        std::fs::write(&odd, [0; 4096]).unwrap();
        assert!(host.engine.load(digest).await.unwrap().is_none(), "with a strange image");
        std::fs::remove_file(odd).unwrap();
    }
    // It is made again from the component, and another key's artefact counts as none.
    host.engine.install(wasm).await.unwrap();
    assert!(host.engine.load(digest).await.unwrap().is_some());
    let other_key = EngineOptions { artefact_key: [8; 32], ..options(host._folder.path()) };
    let stranger = Engine::new(other_key, Egress::new(&Config::defaults().egress).unwrap()).unwrap();
    assert!(stranger.load(digest).await.unwrap().is_none());
}

#[tokio::test]
async fn memory_is_reset_in_place_where_that_is_asked_for() {
    let host = Host::new();
    let program = host.program("hello").await;
    let is_in_place = reset() == Reset::InPlace;
    assert_eq!(program.is_reset_in_place(), is_in_place);
    for _ in 0..3 {
        outcome(host.call(&program, Value::Null).run().await);
    }
    match host.engine.gauges().slots {
        Some(slots) => {
            assert!(is_in_place, "{slots:?}");
            assert_eq!((slots.slots, slots.idle, slots.resets, slots.discarded), (1, 1, 3, 0));
            assert!(slots.restored_bytes > 0 && slots.idle_bytes > 0, "{slots:?}");
        }
        None => assert!(!is_in_place),
    }
}

/// What the pool would not have, a component in a slot of its own cannot have either.
#[tokio::test]
async fn tables_are_limited_with_the_pool_and_without() {
    let host = Host::new();
    let with_tables = |count: usize| {
        let table = "(table 1 funcref)";
        let text = format!(
            "(component (core module $a (memory 1) {} (func (export \"f\"))) (core module $b {})
               (core module $c {}) (core instance $i (instantiate $a)) (core instance (instantiate $b))
               (core instance (instantiate $c)) (func (export \"workflow\") (canon lift (core func $i \"f\"))))",
            table.repeat(4),
            table.repeat(4),
            table.repeat(count - 8)
        );
        Bytes::from(wat::parse_str(text).unwrap())
    };
    let said = |error: InstallError| match error {
        InstallError::Link(reason) => reason,
        other => panic!("{other}"),
    };
    let fits = said(refusal(&host, with_tables(8)).await);
    assert!(fits.contains("workflow"), "its only fault is its type: {fits}");
    for _ in 0..2 {
        let too_many = said(refusal(&host, with_tables(9)).await);
        assert!(too_many.contains("cannot be loaded"), "{too_many}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_runs_as_permits_succeed_at_the_same_time() {
    let host = Arc::new(Host::new());
    let program = Arc::new(host.program("hello").await);
    let mut runs = Vec::new();
    for _ in 0..INSTANCES_MAX * 20 {
        let (host, program) = (host.clone(), program.clone());
        runs.push(tokio::spawn(async move { host.call(&program, Value::Null).run().await.end.is_ok() }));
    }
    for run in runs {
        assert!(run.await.unwrap());
    }
    assert_eq!(host.engine.gauges().instances, 0);
}

/// What ended runs leave waits in batches before it is free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_run_lacks_a_slot_however_many_came_before() {
    let host = Arc::new(Host::new());
    let tasks: Vec<_> = (0..2 * INSTANCES_MAX)
        .map(|task| {
            let host = host.clone();
            tokio::spawn(async move {
                let (hello, hog) = (host.program("hello").await, host.program("memory-hog").await);
                for round in 0..30 {
                    let report = match (task + round) % 3 {
                        0 => host.call(&hog, json!({ "mib": 10 })).run().await,
                        _ => host.call(&hello, Value::Null).run().await,
                    };
                    outcome(report);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(host.engine.gauges().instances, 0, "all permits came back");
}
