//! Fusing changes nothing that can be seen: every Python program of the tests gives the
//! same, byte for byte, by the runtime as it was built and by the fused one.

use serde_json::{Value, json};
use tidegate::api::Fusion;

use crate::python::{Broken, Case, cases, read};
use crate::support::python_host::{Host, Ran, Server, limits};

/// All that a run shows, but for when things happened.
fn shown(ran: &Ran) -> Value {
    let end = match &ran.report.end {
        Ok(outcome) => json!({
            "reply": outcome.reply.as_ref().map(|reply| json!({
                "status": reply.status,
                "headers": reply.headers,
                "body": reply.body.as_ref().map(|body| body.to_vec()),
            })),
            "value": outcome.value,
            "changes": format!("{:?}", outcome.changes),
        }),
        Err(fault) => json!({
            "kind": fault.kind,
            "message": fault.message,
            "trace": fault.trace.as_deref().map(trace),
        }),
    };
    let log = ran.report.log.iter().map(|line| json!([line.level, line.stream, line.text, line.fields]));
    let exchanges = ran.report.exchanges.iter().map(|one| {
        json!([one.method, one.url, one.status, one.request_bytes, one.response_bytes, one.error, one.reason])
    });
    json!({
        "end": end,
        "log": log.collect::<Vec<_>>(),
        "log_summary": ran.report.log_summary,
        "exchanges": exchanges.collect::<Vec<_>>(),
        "commits": ran.commits,
    })
}

/// A trace as it is, unless it is the sandbox's own: then the functions' names alone,
/// because offsets are others, and without those that only hand on to the next one.
fn trace(text: &str) -> String {
    if !text.contains("wasm backtrace") {
        return text.to_owned();
    }
    let names = text.lines().filter_map(|line| line.split_once(" - ").map(|(_, name)| name));
    let names = names.map(|name| name.rsplit('!').next().unwrap_or(name));
    names.filter(|name| !name.starts_with("<wasm function")).collect::<Vec<_>>().join("\n")
}

/// Replaces what is another thing in each run or on each host, whatever runs it: what the
/// case itself says so of, and the clock.
fn masked(case: &Case, mut shown: Value) -> Value {
    let Some(text) = shown["end"]["value"].as_str() else { return shown };
    let mut value: Value = serde_json::from_str(text).unwrap();
    let varying = case.expect.differs.iter().chain(&case.expect.same).flatten().map(String::as_str);
    let clock = (case.program == "chance").then_some("time");
    for key in varying.chain(clock) {
        assert!(!value[key].is_null(), "{}: {key}", case.name);
        value[key] = json!("masked");
    }
    shown["end"]["value"] = if value.is_object() { value } else { json!(text) };
    shown
}

async fn fusion(host: &Host) -> Fusion {
    host.engine.fusion(host.component.digest()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fused_runtime_gives_the_same_byte_for_byte() {
    let server = Server::start("server.py", &[]);
    let (plain, fused) = (Host::unfused().await, Host::new("").await);
    let (as_it_is, merged) = (fusion(&plain).await, fusion(&fused).await);
    assert!(as_it_is.reason.is_some() && merged.reason.is_none(), "{as_it_is} and {merged}");
    assert!(merged.merged > 10, "{merged}");
    for case in cases() {
        let settings = case.settings_with(&server);
        let file = format!("{}.py", case.program);
        let text = read(&format!("programs/{file}"));
        let mut results = Vec::new();
        for host in [&plain, &fused] {
            let source = host.source(&file, &text).await.unwrap();
            let ran = host.run(case.input(), Some(source), &settings, case.deadline_ms).await;
            results.push(masked(&case, shown(&ran)));
        }
        assert_eq!(results[0], results[1], "{}", case.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fused_runtime_says_the_same_of_broken_programs() {
    let (plain, fused) = (Host::unfused().await, Host::new("").await);
    let cases: Vec<Broken> = serde_json::from_str(&read("broken.json")).unwrap();
    for case in cases {
        let file = format!("{}.py", case.program);
        let text = read(&format!("broken/{file}"));
        let mut said = Vec::new();
        for host in [&plain, &fused] {
            said.push(match host.source(&file, &text).await {
                Err(found) => json!(found),
                Ok(source) => {
                    let engine = &host.engine;
                    let limits = limits(case.deadline_ms);
                    match engine.check_source(&host.component, &source, case.kind, limits).await {
                        Ok(found) => json!(found),
                        // Where the deadline stops it is chance.
                        Err(fault) => json!([fault.kind, fault.message]),
                    }
                }
            });
        }
        assert_eq!(said[0], said[1], "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fused_runtime_compiles_to_the_same_code_and_describes_itself_so() {
    let (plain, fused) = (Host::unfused().await, Host::new("").await);
    let mut said = Vec::new();
    for host in [&plain, &fused] {
        let text = read("programs/hello.py");
        let compiled = host.engine.compile_source(&host.component, "hello.py", &text, limits(None)).await;
        let described = host.engine.describe(&host.component, limits(None)).await;
        said.push((compiled.unwrap().unwrap(), described.unwrap()));
    }
    assert!(said[0] == said[1]);
}
