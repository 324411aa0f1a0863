//! Callbacks: told, signed, tried again, and refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::async_request;
use crate::support::host::Host;

/// A receiver on a port of its own.
struct Receiver(TcpListener);

impl Receiver {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Takes one request, answers it with this status, and returns its head and body.
    fn take(&self, status: u16) -> (Vec<String>, Vec<u8>) {
        let (stream, _) = self.0.accept().unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let length: usize = header(&head, "content-length").parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let reply = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.get_mut().write_all(reply.as_bytes()).unwrap();
        (head, body)
    }
}

fn header(head: &[String], name: &str) -> String {
    let found =
        head.iter().find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)));
    found.unwrap_or_else(|| panic!("no {name} in {head:?}")).1.to_owned()
}

#[test]
fn callback_is_told_signed_and_again_until_it_is_taken() {
    let receiver = Receiver::new();
    let host = Host::with(&[("egress.allow_private", &receiver.address())]);
    let echo = host.deploy_echo("echo", &json!({ "callback_hosts": ["127.0.0.1"] }));
    let url = format!("http://{}/hook?a=b", receiver.address());
    let reply = async_request(&echo, &json!({ "n": 1 }))
        .header("tidegate-callback", &url)
        .send(host.catch)
        .expect(202);
    let run = reply.field("run");
    let (first, body) = receiver.take(500);
    assert_eq!(first[0], "POST /hook?a=b HTTP/1.1");
    assert_eq!(header(&first, "webhook-id"), run);
    let key = echo.path.rsplit('/').next().unwrap();
    let seconds = header(&first, "webhook-timestamp");
    let signed = [run.as_bytes(), b".", seconds.as_bytes(), b".", &body].concat();
    assert_eq!(header(&first, "webhook-signature"), format!("v1,{}", hmac(key.as_bytes(), &signed)));
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&told["run"], &told["status"], &told["workflow"]),
        (&json!(run), &json!("succeeded"), &json!("echo"))
    );
    assert_eq!((&told["reply"]["status"], &told["attempts"]), (&json!(200), &json!(1)));

    let (second, again) = receiver.take(204);
    assert_eq!((header(&second, "webhook-id"), again), (run.clone(), body), "the same, told once more");
    crate::support::wait::until("the end of it", || super::metric(&host, "tidegate_queue_notifying ") == 0);
    let callback =
        host.request("GET", &format!("/api/v1/runs/{run}")).send(host.api).expect(200).json()["callback"]
            .take();
    assert_eq!(
        (&callback["state"], &callback["tries"], &callback["error"]),
        (&json!("told"), &json!(2), &json!(null))
    );
    for (result, times) in [("again", 1), ("told", 1), ("given-up", 0)] {
        let name = format!("tidegate_queue_callbacks_total{{result=\"{result}\"}}");
        assert_eq!(super::metric(&host, &name), times, "{result}");
    }
}

#[test]
fn callback_goes_only_where_workflow_and_policy_let_it() {
    let receiver = Receiver::new();
    let host = Host::with(&[("queue.callback_attempts", "1")]);
    let echo = host.deploy_echo("echo", &json!({ "callback_hosts": ["127.0.0.1", "a.example"] }));
    let call = |url: &str| async_request(&echo, &json!({})).header("tidegate-callback", url).send(host.catch);
    assert_eq!(call("http://b.example/").expect(403).field("code"), "callback-refused");
    assert_eq!(call("b.example").expect(400).field("code"), "invalid-callback");
    // The workflow names it; the address is private all the same.
    let run = call(&format!("http://{}/", receiver.address())).expect(202).field("run");
    crate::support::wait::until("the callback to be given up", || {
        super::metric(&host, "tidegate_queue_callbacks_total{result=\"given-up\"}") == 1
    });
    let detail = host.request("GET", &format!("/api/v1/runs/{run}")).send(host.api).expect(200).json();
    let callback = &detail["callback"];
    assert_eq!((&callback["state"], &callback["tries"]), (&json!("given-up"), &json!(1)));
    assert!(callback["error"].as_str().is_some_and(|error| error.contains("127.0.0.1")), "{callback}");
    let hosts = |host_name: &str| json!({ "endpoint": { "callback_hosts": [host_name] } });
    for wrong in ["127.0.0.1:80", "http://a.example", "me@a.example", "a b", ""] {
        let reply =
            host.request("PATCH", "/api/v1/workflows/echo").json(&hosts(wrong)).send(host.api).expect(422);
        assert!(reply.field("message").starts_with("endpoint.callback_hosts"), "{wrong}");
    }
    for right in ["*", "a.example", "10.0.0.1", "[2001:db8::1]"] {
        host.request("PATCH", "/api/v1/workflows/echo").json(&hosts(right)).send(host.api).expect(200);
    }
    receiver.0.set_nonblocking(true).unwrap();
    assert!(receiver.0.accept().is_err(), "nothing came");
}

/// HMAC-SHA256 in base64, from the definition (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let mut block = [0u8; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    let outer = Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
    data_encoding::BASE64.encode(&outer)
}
