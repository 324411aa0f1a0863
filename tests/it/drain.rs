//! The end of a host that is asked to end.

use serde_json::json;

use crate::support::host::Host;
use crate::support::http::{Connection, Request};
use crate::support::wait;

#[test]
fn requests_in_flight_are_answered_and_nothing_new_is_accepted() {
    let mut host = Host::start();
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let mut idle = host.connect();
    idle.send(Request::new("GET", "/readyz").bytes()).reply().unwrap().expect(200);
    let mut busy = host.connect();
    busy.send(Request::new("POST", &slow.path).json(&json!({ "seconds": 3 })).bytes());
    host.wait_for_run(&slow, "running");

    host.terminate();
    assert!(idle.is_closed(), "a connection that stays idle is closed");
    wait::until("a refused connection", || std::net::TcpStream::connect(host.catch).is_err());
    let reply = busy.reply().expect("the answer").expect(200);
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(busy.is_closed());
    assert!(host.wait().success());
    assert!(!host.data().join("host.json").exists(), "the note where the host is, is gone");
}

#[test]
fn a_request_that_is_on_its_way_on_an_open_connection_is_answered() {
    // A hundredth of this is how long one more request is waited for.
    let mut host = Host::with(&[("server.drain_ms", "6000000")]);
    let echo = host.deploy_echo("echo", &json!({}));
    let call = Request::new("POST", &echo.path).json(&json!({ "a": 1 })).bytes();
    let mut kept = host.connect();
    assert_eq!(kept.send(call.clone()).reply().unwrap().expect(200).header("connection"), None);
    host.terminate();
    wait::until("a refused connection", || std::net::TcpStream::connect(host.catch).is_err());
    let last = kept.send(call).reply().expect("the answer").expect(200);
    assert_eq!(last.header("connection"), Some("close"), "it is told not to send another one");
    assert!(kept.is_closed());
    assert!(host.wait().success());
}

#[test]
fn requests_that_take_longer_than_the_drain_are_cut() {
    let mut host = Host::with(&[("server.drain_ms", "300")]);
    let slow = host.deploy("slow", "catch", "slow-host-call");
    let mut busy = host.connect();
    busy.send(Request::new("POST", &slow.path).json(&json!({ "seconds": 20 })).bytes());
    host.wait_for_run(&slow, "running");
    host.terminate();
    // Answered that it was interrupted, or cut.
    assert!(busy.reply().is_none_or(|reply| reply.status == 503));
    assert!(host.wait().success());
}

#[test]
fn the_host_is_not_ready_while_it_drains() {
    let mut host = Host::start();
    let slow = host.deploy("slow", "catch", "slow-host-call");
    // A request whose body comes later: its connection stays open, and is asked nothing.
    let mut busy = host.connect();
    busy.send(Request::new("POST", &slow.path).json(&json!({ "seconds": 2 })).bytes());
    host.wait_for_run(&slow, "running");
    // The head of this one is under way when the host is asked to end.
    let mut probe = Connection::open(host.api);
    probe.send("GET /readyz HTTP/1.1\r\nHost: a\r\n");
    host.terminate();
    wait::until("a refused connection", || std::net::TcpStream::connect(host.catch).is_err());
    if let Some(reply) = probe.send("\r\n").reply() {
        assert_eq!((reply.status, reply.text().as_str()), (503, "stopping\n"));
    }
    busy.reply().unwrap().expect(200);
    assert!(host.wait().success());
}
