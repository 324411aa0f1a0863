//! How the host says that it is well.

use std::time::Duration;

use serde_json::json;

use crate::support::host::Host;
use crate::support::http::Request;
use crate::support::wait;

/// Long enough for what has been sent already to be read.
const INSTANT: Duration = Duration::from_millis(20);

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
fn probes_wait_for_no_worker_that_a_guest_holds() {
    // The only worker is held for a tenth of a second at a time, and what it would serve waits
    // for that at least. So many probes would take longer than the guests are given.
    const PROBES: usize = 800;
    let host = Host::with_workers(
        1,
        &[("engine.epoch_tick_ms", "100"), ("engine.deadline_ms", "60000"), ("engine.cpu_ms_max", "60000")],
    );
    let spin = host.deploy("spin", "catch", "spin");
    let mut callers: Vec<_> = (0..4)
        .map(|_| {
            let mut caller = host.connect();
            caller.send(Request::new("POST", &spin.path).json(&json!({})).bytes());
            caller
        })
        .collect();
    wait::until("all guests to spin", || host.runs(&spin).len() == 4);
    for path in ["/healthz", "/readyz"].into_iter().cycle().take(PROBES) {
        Request::new("GET", path).send(host.api).expect(200);
    }
    let ended = callers.iter_mut().filter_map(|caller| caller.has_answer_within(INSTANT).then_some(()));
    assert_eq!(ended.count(), 0, "guests ended before the probes were answered");
    assert!(host.runs(&spin).iter().all(|run| run["status"] == "running"));
}

#[test]
fn probes_wake_no_worker() {
    const PROBES: u64 = 500;
    let host = Host::start();
    let probe = |path: &str| drop(Request::new("GET", path).send(host.api).expect(200));
    probe("/healthz");
    let before = host.worker_switches();
    assert!(!before.is_empty());
    let woken = || -> u64 {
        let now = host.worker_switches();
        before.iter().filter_map(|(id, switches)| Some(now.get(id)? - switches)).sum()
    };
    ["/healthz", "/readyz"].into_iter().cycle().take(PROBES as usize).for_each(probe);
    // The host has a little to do without being asked.
    let by_probes = woken();
    assert!(by_probes < PROBES / 2, "{by_probes}");
    (0..PROBES).for_each(|_| probe("/"));
    let by_others = woken() - by_probes;
    assert!(by_others > by_probes, "what is no probe is a worker's: {by_others} and {by_probes}");
}

#[test]
fn a_connection_that_began_with_a_probe_takes_any_request() {
    let host = Host::start();
    let echo = host.deploy_echo("echo", &json!({}));
    let call = |a: u32| Request::new("POST", &echo.path).json(&json!({ "a": a })).bytes();
    let probe = Request::new("GET", "/readyz").bytes();
    let mut connection = host.connect();
    for round in 0..3 {
        for _ in 0..2 {
            assert_eq!(connection.send(&probe).reply().unwrap().expect(200).text(), "ready\n");
        }
        let seen = connection.send(call(round)).reply().unwrap().expect(200).json();
        assert_eq!(seen["body"], json!({ "a": round }).to_string());
        let listed = host.request("GET", "/api/v1/workflows").bytes();
        connection.send(listed).reply().unwrap().expect(200);
    }
    // All at once, and in pieces.
    connection = host.connect();
    connection.send([probe.clone(), call(7), probe.clone(), call(8)].concat());
    for status in [200; 4] {
        connection.reply().unwrap().expect(status);
    }
    connection = host.connect();
    connection.send(&probe).reply().unwrap().expect(200);
    let (begun, rest) = probe.split_at(8);
    connection.send(begun);
    assert!(!connection.has_answer_within(INSTANT));
    connection.send(rest).reply().unwrap().expect(200);
    let bytes = call(9);
    let (begun, rest) = bytes.split_at(bytes.len() - 3);
    connection.send(begun);
    assert!(!connection.has_answer_within(INSTANT));
    connection.send(rest).reply().unwrap().expect(200);
    assert_eq!(host.runs(&echo).len(), 6);
}

#[test]
fn a_connection_that_began_with_a_probe_has_the_limits_of_others() {
    let host = Host::with(&[("server.idle_timeout_ms", "200")]);
    let echo = host.deploy_echo("echo", &json!({}));
    let probe = Request::new("GET", "/readyz").bytes();
    let call = Request::new("POST", &echo.path).json(&json!({})).bytes();
    for requests in [vec![&probe], vec![&probe, &call]] {
        let mut connection = host.connect();
        connection.send(requests.iter().copied().flatten().copied().collect::<Vec<u8>>());
        for _ in requests {
            connection.reply().unwrap().expect(200);
        }
        assert!(connection.is_closed(), "it was idle for too long");
    }
    wait::until("the connections to end", || open_connections(&host) == 1);
}

#[test]
fn a_connection_counts_before_it_says_what_it_is_for() {
    let host = Host::with(&[("server.header_timeout_ms", "60000"), ("server.connections_max", "2")]);
    let silent = host.connect();
    wait::until("the silent connection", || open_connections(&host) == 2);
    let other = host.connect();
    let mut probe = host.connect();
    probe.send(Request::new("GET", "/healthz").bytes());
    assert!(!probe.has_answer_within(Duration::from_millis(300)), "there is no room for it");
    drop((silent, other));
    probe.reply().unwrap().expect(200);
}

/// How many connections the host counts, with the one that asks.
fn open_connections(host: &Host) -> u32 {
    let metrics = Request::new("GET", "/metrics").send(host.api).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("tidegate_http_connections_open "));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_probe_is_understood_however_it_is_written() {
    let host = Host::start();
    let origin = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    let absolute = "GET http://a/healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    let late = "\r\nGET /healthz?now HTTP/1.1\r\nhost: a\r\n\r\n";
    for request in [origin, absolute, late, "GET /healthz HTTP/1.0\r\n\r\n"] {
        let mut connection = host.connect();
        assert_eq!(connection.send(request).reply().unwrap().expect(200).text(), "ok\n", "{request:?}");
        // The first bytes do not tell what it is.
        let mut connection = host.connect();
        connection.send(&request[..5]);
        assert!(!connection.has_answer_within(INSTANT));
        assert_eq!(connection.send(&request[5..]).reply().unwrap().expect(200).text(), "ok\n");
    }
    let two_lengths = "GET /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na";
    host.connect().send(two_lengths).reply().unwrap().expect(400);
    host.connect().send("GET /healthz HTTP/1.1\r\n\r\n").reply().unwrap().expect(400);
    Request::new("POST", "/healthz").send(host.api).expect(405);
    Request::new("HEAD", "/healthz").send(host.api).expect(200);
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
