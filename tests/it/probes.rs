//! How the host says that it is well.

use serde_json::json;

use crate::support::host::Host;
use crate::support::http::Request;
use crate::support::wait;

#[test]
fn probes_need_no_token_and_tell_nothing() {
    let host = Host::start();
    for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        assert_eq!(Request::new("GET", path).send(host.api).expect(200).text(), text);
    }
    let root = Request::new("GET", "/").send(host.api).expect(200);
    assert!(root.text().contains("/api/v1/openapi.json"));
}

#[test]
fn probes_answer_while_guests_spin_on_every_thread() {
    let host = Host::with(&[("engine.deadline_ms", "120000"), ("engine.cpu_ms_max", "120000")]);
    let spin = host.deploy("spin", "catch", "spin");
    let guests = 3 * std::thread::available_parallelism().map_or(1, usize::from);
    let callers: Vec<_> = (0..guests)
        .map(|_| {
            let mut caller = host.connect();
            caller.send(Request::new("POST", &spin.path).json(&json!({})).bytes());
            caller
        })
        .collect();
    let running = || {
        let runs = host.runs(&spin);
        runs.iter().filter(|run| run["status"] == "running").count()
    };
    wait::until("all guests to spin", || running() == guests);
    for path in ["/healthz", "/readyz"].repeat(5) {
        Request::new("GET", path).send(host.api).expect(200);
    }
    assert_eq!(running(), guests, "none of them had to end for that");
    for run in host.runs(&spin) {
        let id = run["id"].as_str().unwrap();
        host.request("POST", &format!("/api/v1/runs/{id}/cancel")).send(host.api).expect(200);
    }
    for mut caller in callers {
        assert_eq!(caller.reply().unwrap().expect(503).field("code"), "cancelled");
    }
}

#[test]
fn metrics_count_what_happened_without_names() {
    let host = Host::start();
    let hello = host.deploy("hello-secret-name", "catch", "hello");
    for _ in 0..3 {
        host.call(&hello, &json!({})).expect(200);
    }
    host.call(&hello, &json!([])).expect(400);
    Request::new("POST", "/catch/unknown").send(host.catch).expect(404);
    let reply = Request::new("GET", "/metrics").send(host.api).expect(200);
    assert!(reply.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = reply.text();
    for line in [
        "tidegate_runs_total{trigger=\"catch\",status=\"succeeded\",fault=\"\"} 3",
        "tidegate_runs_total{trigger=\"catch\",status=\"cancelled\",fault=\"refused\"} 1",
        "tidegate_http_requests_total{route=\"/catch/{key}\",status=\"200\"} 3",
        "tidegate_http_requests_total{route=\"/catch/{key}\",status=\"400\"} 1",
        "tidegate_http_requests_total{route=\"/catch/{key}\",status=\"404\"} 1",
        "tidegate_http_requests_total{route=\"/api/v1/workflows\",status=\"201\"} 1",
        "tidegate_run_duration_seconds_count{trigger=\"catch\"} 3",
        "tidegate_compiles_total{result=\"compiled\"} 1",
        "tidegate_compile_duration_seconds_count 1",
        "tidegate_workflows 1",
        "tidegate_instances_max 256",
        "tidegate_store_stopped 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("secret-name") && !text.contains(hello.path.trim_start_matches("/catch/")));
}

#[test]
fn metrics_need_a_token_behind_a_proxy() {
    let host = Host::start();
    Request::new("GET", "/metrics").header("x-forwarded-for", "10.0.0.1").send(host.api).expect(401);
    host.request("GET", "/metrics").header("x-forwarded-for", "10.0.0.1").send(host.api).expect(200);
}

#[test]
fn the_version_and_the_health_are_told_to_who_may_know() {
    let host = Host::start();
    host.deploy("hello", "catch", "hello");
    let about = host.get("/api/v1/version").expect(200).json();
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert!(about["wasmtime"].as_str().unwrap().starts_with("48."));
    let health = host.get("/api/v1/health").expect(200).json();
    assert_eq!((&health["ready"], &health["workflows"]), (&json!(true), &json!(1)));
    assert!(health["store"]["free_bytes"].as_u64().unwrap() > 0);
    for path in ["/api/v1/version", "/api/v1/health"] {
        Request::new("GET", path).send(host.api).expect(401);
    }
}
