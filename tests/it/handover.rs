//! One process takes the place of another on a socket that stays open.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::support::host::Host;
use crate::support::http::Request;
use crate::support::wait;

const CLIENTS: usize = 8;
const RESTARTS: usize = 3;
/// Requests between two restarts, at least.
const REQUESTS: usize = 100;

#[test]
fn restarts_under_load_lose_no_request() {
    let temp = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let start = || Host::on_socket(temp.path(), &[("engine.instances_max", "16")], &socket);
    let mut host = start();
    assert_eq!((host.api, host.catch), (address, address), "it serves on what it was handed");
    let echo = host.deploy_echo("echo", &json!({}));
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let runs: Vec<String> = std::thread::scope(|scope| {
        let client = || call(address, &echo.path, &is_over, &answered);
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        for restart in 1..=RESTARTS {
            wait::until("some requests", || answered.load(Ordering::Relaxed) > restart * REQUESTS);
            host.terminate();
            assert!(host.wait().success());
            host = start();
        }
        wait::until("more requests", || answered.load(Ordering::Relaxed) > (RESTARTS + 1) * REQUESTS);
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    // Each ran once, and nothing else did.
    let (mut recorded, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = host.get(&format!("/api/v1/workflows/echo/runs?limit=500{cursor}")).expect(200).json();
        for run in page["runs"].as_array().unwrap() {
            assert_eq!(run["status"], "succeeded", "{run}");
            assert!(recorded.insert(run["id"].as_str().unwrap().to_owned()), "{run} is there twice");
        }
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(runs.len(), answered.load(Ordering::Relaxed));
    assert_eq!(runs.into_iter().collect::<BTreeSet<_>>(), recorded);
}

/// Calls with a connection each until it is over; every call is answered.
fn call(address: SocketAddr, path: &str, is_over: &AtomicBool, answered: &AtomicUsize) -> Vec<String> {
    let mut runs = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let reply = Request::new("POST", path).json(&json!({ "a": 1 })).send(address).expect(200);
        runs.push(reply.header("tidegate-run").unwrap().to_owned());
        answered.fetch_add(1, Ordering::Relaxed);
    }
    runs
}
