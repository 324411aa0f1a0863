//! Workflows in Python, as their users write them, in the sandbox.
//!
//! The programs and what is expected of them are data: `tests/python`.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidegate::api::Diagnostic;
use tidegate::engine::{Input, Outcome};
use tidegate::run::Fault;
use tidegate::workflow::Kind;

use crate::support::python;
use crate::support::python_host::{Host, Ran, SecureServer, Server, changed, limits, request, tick};

/// A program of `tests/python/programs` and what must come of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) program: String,
    kind: Kind,
    #[serde(default)]
    request: Value,
    #[serde(default)]
    settings: Map<String, Value>,
    /// Whether it is given the addresses of a server, as `URL`, and of none, as `CLOSED`.
    #[serde(default)]
    server: bool,
    pub(crate) deadline_ms: Option<u64>,
    /// Whether it runs twice, and must come to the same end.
    #[serde(default)]
    twice: bool,
    pub(crate) expect: Expect,
}

impl Case {
    pub(crate) fn input(&self) -> Input {
        match self.kind {
            Kind::Catch => request(&self.request),
            Kind::Pull => tick(),
        }
    }

    /// Its settings, and the addresses that it asks for.
    pub(crate) fn settings_with(&self, server: &Server) -> Map<String, Value> {
        let mut settings = self.settings.clone();
        if self.server {
            settings.insert("URL".to_owned(), format!("http://127.0.0.1:{}", server.port).into());
            settings.insert("CLOSED".to_owned(), "http://127.0.0.1:1/".into());
        }
        settings
    }
}

/// The programs that run.
pub(crate) fn cases() -> Vec<Case> {
    serde_json::from_str(&read("programs.json")).unwrap()
}

/// What is absent is not looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    #[serde(default, deserialize_with = "present")]
    reply: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
    changes: Option<Value>,
    commits: Option<Value>,
    /// Level and a part of the text of each line.
    log: Option<Vec<(String, String)>>,
    log_cut: Option<bool>,
    fault: Option<Value>,
    /// Keys of the returned value that differ in a second run.
    pub(crate) differs: Option<Vec<String>>,
    /// Keys of the returned value that are the same in a second run.
    pub(crate) same: Option<Vec<String>>,
}

/// A program of `tests/python/broken` and what must be said of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Broken {
    pub(crate) program: String,
    pub(crate) kind: Kind,
    pub(crate) deadline_ms: Option<u64>,
    #[serde(default)]
    diagnostic: Value,
    fault: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// Notes what differs from what was expected.
fn judge(expect: &Expect, ran: &Ran, problems: &mut Vec<String>) {
    let mut same = |what: &str, got: Value, wanted: &Value| {
        if got != *wanted {
            problems.push(format!("{what}: got {got:#}\nand not {wanted:#}"));
        }
    };
    match (&ran.report.end, &expect.fault) {
        (Ok(outcome), None) => judge_outcome(expect, outcome, &mut same),
        (Err(fault), Some(wanted)) => judge_fault(fault, wanted, &mut same),
        (Ok(outcome), Some(_)) => same("end", json!(format!("{outcome:?}")), &json!("a fault")),
        (Err(fault), None) => same("end", json!(format!("{fault:?}")), &json!("an outcome")),
    }
    if let Some(wanted) = &expect.commits {
        same("commits", Value::Array(ran.commits.clone()), wanted);
    }
    if let Some(cut) = expect.log_cut {
        same("log cut", json!(ran.report.log_summary.dropped_bytes > 0), &json!(cut));
    }
    if let Some(wanted) = &expect.log {
        let lines: Vec<_> = ran.report.log.iter().map(|line| (line.level, line.text.as_str())).collect();
        let fits = lines.len() == wanted.len()
            && lines.iter().zip(wanted).all(|((level, text), (wanted_level, part))| {
                json!(level) == json!(wanted_level) && text.contains(part.as_str())
            });
        if !fits {
            same("log", json!(lines), &json!(wanted));
        }
    }
}

fn judge_outcome(expect: &Expect, outcome: &Outcome, same: &mut impl FnMut(&str, Value, &Value)) {
    let body = outcome.reply.as_ref().and_then(|reply| reply.body.as_ref());
    let text = body.map(|body| String::from_utf8_lossy(body).into_owned());
    match (&expect.reply, &outcome.reply) {
        (None, _) | (Some(Value::Null), None) => {}
        (Some(Value::Object(wanted)), Some(reply)) => {
            for (key, value) in wanted {
                let got = match key.as_str() {
                    "status" => json!(reply.status),
                    "headers" => json!(reply.headers),
                    "text" | "body" => json!(text),
                    "json" => serde_json::from_str(text.as_deref().unwrap_or_default()).unwrap_or_default(),
                    other => panic!("a reply has no {other:?}"),
                };
                same(key, got, value);
            }
        }
        (Some(wanted), reply) => same("reply", json!(format!("{reply:?}")), wanted),
    }
    if let Some(wanted) = &expect.value {
        let value = outcome.value.as_ref().map(|value| serde_json::from_str(value).unwrap());
        same("value", value.unwrap_or(Value::Null), wanted);
    }
    if let Some(wanted) = &expect.changes {
        same("changes", changed(&outcome.changes), wanted);
    }
}

fn judge_fault(fault: &Fault, wanted: &Value, same: &mut impl FnMut(&str, Value, &Value)) {
    same("kind", json!(fault.kind), &wanted["kind"]);
    let message = wanted["message"].as_str().unwrap_or_default();
    if !fault.message.contains(message) {
        same("message", json!(fault.message), &json!(message));
    }
    let trace = fault.trace.as_deref().unwrap_or_default();
    if wanted.get("trace") == Some(&Value::Null) {
        same("trace", json!(fault.trace), &Value::Null);
    }
    for (key, has) in [("trace", true), ("trace_lacks", false)] {
        for part in wanted[key].as_array().into_iter().flatten() {
            if trace.contains(part.as_str().unwrap()) != has {
                same(key, json!(trace), part);
            }
        }
    }
}

pub(crate) fn read(path: &str) -> String {
    let path = python::repository().join("tests/python").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn report(failures: Vec<String>, count: usize) {
    assert!(failures.is_empty(), "{} of {count} failed\n\n{}", failures.len(), failures.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_behave_as_their_authors_expect() {
    let server = Server::start("server.py", &[]);
    let host = Host::new("").await;
    let cases = cases();
    let count = cases.len();
    let mut failures = Vec::new();
    for case in cases {
        let settings = case.settings_with(&server);
        let file = format!("{}.py", case.program);
        let source = host.source(&file, &read(&format!("programs/{file}"))).await;
        let source = source.unwrap_or_else(|found| panic!("{}: {found:?}", case.name));
        let mut problems = Vec::new();
        let first = host.run(case.input(), Some(source.clone()), &settings, case.deadline_ms).await;
        judge(&case.expect, &first, &mut problems);
        if case.twice || case.expect.differs.is_some() || case.expect.same.is_some() {
            let second = host.run(case.input(), Some(source), &settings, case.deadline_ms).await;
            judge(&case.expect, &second, &mut problems);
            let value = |ran: &Ran| -> Value {
                let value = ran.report.end.as_ref().ok().and_then(|outcome| outcome.value.clone());
                value.map_or(Value::Null, |value| serde_json::from_str(&value).unwrap())
            };
            let (first, second) = (value(&first), value(&second));
            for key in case.expect.differs.iter().flatten() {
                if first[key] == second[key] || first[key].is_null() {
                    problems.push(format!("{key} is {} in both runs", first[key]));
                }
            }
            for key in case.expect.same.iter().flatten() {
                if first[key] != second[key] || first[key].is_null() {
                    problems.push(format!("{key} is {}, then {}", first[key], second[key]));
                }
            }
        }
        failures.extend(problems.into_iter().map(|problem| format!("{}: {problem}", case.name)));
    }
    report(failures, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_programs_are_told_apart_before_they_are_deployed() {
    let host = Host::new("").await;
    let cases: Vec<Broken> = serde_json::from_str(&read("broken.json")).unwrap();
    let count = cases.len();
    let mut failures = Vec::new();
    for case in cases {
        let file = format!("{}.py", case.program);
        let checked = match host.source(&file, &read(&format!("broken/{file}"))).await {
            Err(found) => Ok(found),
            Ok(source) => {
                host.engine.check_source(&host.component, &source, case.kind, limits(case.deadline_ms)).await
            }
        };
        let fits = match (&checked, &case.fault) {
            (Err(fault), Some(kind)) => json!(fault.kind) == json!(kind),
            (Ok(found), None) => matches!(found.as_slice(), [one] if has(one, &file, &case.diagnostic)),
            _ => false,
        };
        if !fits {
            failures.push(format!("{file}: {checked:?}\nand not {:#}", case.diagnostic));
        }
    }
    report(failures, count);
}

fn has(found: &Diagnostic, file: &str, wanted: &Value) -> bool {
    let found = json!(found);
    let wanted = wanted.as_object().into_iter().flatten();
    found["file"] == json!(file) && wanted.into_iter().all(|(key, value)| found[key] == *value)
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_encrypted_and_verified_by_the_host() {
    let SecureServer { server, ca_file, .. } = &SecureServer::start();
    let mut settings = Map::new();
    settings.insert("URL".to_owned(), format!("https://127.0.0.1:{}", server.port).into());
    let refused = json!(["SSLError", true]);
    for (trusted, wanted) in [
        (ca_file.to_str().unwrap(), json!({ "plain": 200, "unverified": 200, "bundle": 200, "urllib": 200 })),
        (
            "",
            json!({ "plain": refused, "unverified": refused, "bundle": refused, "urllib": ["URLError", true] }),
        ),
    ] {
        let host = Host::new(trusted).await;
        let source = host.source("secure.py", &read("programs/secure.py")).await.unwrap();
        let ran = host.run(tick(), Some(source), &settings, None).await;
        let value = ran.report.end.unwrap_or_else(|fault| panic!("{fault:?}")).value.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&value).unwrap(), wanted);
    }
}

/// Programs that leave marks wherever they can, and look for those of others.
const CANARY: &str = r#"
import builtins, json, os, sys

def workflow(_request, settings):
    mark = "left-by-" + _request["name"]
    found = [name for place in (builtins, json, os, sys) for name in vars(place) if name.startswith("left-by-")]
    found += [name for name in os.environ if name.startswith("left-by-")]
    found += [name for name in sys.modules if name.startswith("left-by-")]
    for place in (builtins, json, os, sys):
        setattr(place, mark, bytearray(mark.encode() * 20000))
    os.environ[mark] = mark
    sys.modules[mark] = json
    sys.intern(mark)
    if found:
        return {"status_code": 500, "body": ", ".join(found)}
    match _request["end"]:
        case "raise": raise ValueError(mark)
        case "recursion": workflow.__wrapped__ = lambda n: workflow.__wrapped__(n + 1); workflow.__wrapped__(0)
        case "memory": bytearray(1 << 30)
        case "endless":
            while True: pass
    return {"status_code": 200, "body": "clean"}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_python_run_sees_marks_of_another() {
    let host = std::sync::Arc::new(Host::new("").await);
    assert!(host.component.is_reset_in_place(), "the runtime has the form for it");
    let source = host.source("canary.py", CANARY).await.unwrap();
    let ends = ["return", "raise", "recursion", "memory", "return", "endless", "return"];
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let (host, source) = (host.clone(), source.clone());
            tokio::spawn(async move {
                for round in 0..14 {
                    let end = ends[(task + round) % ends.len()];
                    let given = json!({ "body": { "name": format!("{task}-{round}"), "end": end },
                        "headers": { "content-type": "application/json" } });
                    let deadline_ms = (end == "endless").then_some(500);
                    let ran = host.run(request(&given), Some(source.clone()), &Map::new(), deadline_ms).await;
                    match (end, ran.report.end) {
                        ("return", Ok(Outcome { reply: Some(reply), .. })) => {
                            let body = String::from_utf8(reply.body.unwrap().to_vec()).unwrap();
                            assert_eq!((reply.status, body.as_str()), (200, "clean"));
                        }
                        ("return", other) => panic!("{other:?}"),
                        (_, Ok(Outcome { reply, .. })) => panic!("{end}: {reply:?}"),
                        (_, Err(fault)) => {
                            assert!(!fault.message.contains("left-by-") || end == "raise", "{fault:?}")
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let slots = host.engine.gauges().slots.unwrap();
    assert_eq!((slots.discarded, slots.slots), (0, slots.idle));
    assert!(slots.resets >= 4 * 14, "{slots:?}");
}
