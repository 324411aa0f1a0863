//! Clients that ask a host for everything it acknowledges, until it is gone.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use serde_json::json;

use super::ledger::{Ledger, Note};
use crate::support::guests;
use crate::support::host::{Client, Host};
use crate::support::http::{Connection, Reply, Request};

/// Notes that wait to be taken.
const NOTES_MAX: usize = 100_000;

/// Clients at work.
pub(super) struct Load {
    notes: Receiver<Note>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the clients; `round` makes their keys and names new.
    pub(super) fn start(host: &Host, round: usize) -> Self {
        let (sender, notes) = sync_channel(NOTES_MAX);
        let client = |work: fn(&Client, usize, &SyncSender<Note>) -> Option<()>, number: usize| {
            let (own, sender) = (host.client(), sender.clone());
            std::thread::spawn(move || {
                // It ends when the host does.
                let _: Option<()> = work(&own, number, &sender);
            })
        };
        let number = round * 10;
        let clients = vec![
            client(call, number),
            client(call, number),
            client(call_later, number),
            client(call_later, number),
            client(call_once, number),
            client(call_once, number + 1),
            client(change, number),
            client(deploy, number),
        ];
        Self { notes, clients }
    }

    /// Takes so many notes.
    pub(super) fn take(&mut self, count: usize, ledger: &mut Ledger) {
        for _ in 0..count {
            let note = self.notes.recv_timeout(crate::support::wait::LIMIT);
            ledger.take(note.expect("the host goes on acknowledging"));
        }
    }

    /// Takes what the clients have noted by now.
    pub(super) fn take_what_is_there(&mut self, ledger: &mut Ledger) {
        self.notes.try_iter().for_each(|note| ledger.take(note));
    }

    /// Takes the last notes of clients whose host is gone.
    pub(super) fn finish(self, ledger: &mut Ledger) {
        let Self { notes, clients } = self;
        notes.iter().for_each(|note| ledger.take(note));
        clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

fn say(sender: &SyncSender<Note>, note: Note) -> Option<()> {
    sender.send(note).ok()
}

/// A reply that acknowledges, or a note of one that does not.
fn acknowledged(reply: Reply, status: u16, sender: &SyncSender<Note>) -> Option<Reply> {
    if reply.status == status && reply.header("tidegate-recorded").is_none() {
        return Some(reply);
    }
    let _ = sender.send(Note::Refused(reply));
    None
}

fn run_of(reply: &Reply) -> String {
    reply.header("tidegate-run").expect("an answer names its run").to_owned()
}

/// Calls and waits for the answer.
fn call(client: &Client, _: usize, sender: &SyncSender<Note>) -> Option<()> {
    let request = Request::new("POST", &client.path("sync")?).json(&json!({ "a": 1 })).bytes();
    let mut connection = Connection::try_open(client.catch)?;
    loop {
        let reply = connection.send(&request).reply()?;
        if let Some(reply) = acknowledged(reply, 200, sender) {
            say(sender, Note::Called(run_of(&reply)))?;
        }
    }
}

/// Calls, and leaves.
fn call_later(client: &Client, _: usize, sender: &SyncSender<Note>) -> Option<()> {
    let request = Request::new("POST", &client.path("later")?).header("prefer", "respond-async");
    let request = request.json(&json!({ "a": 1 })).bytes();
    let mut connection = Connection::try_open(client.catch)?;
    loop {
        let reply = connection.send(&request).reply()?;
        if let Some(reply) = acknowledged(reply, 202, sender) {
            say(sender, Note::Accepted(run_of(&reply)))?;
        }
    }
}

/// Calls with a key each.
fn call_once(client: &Client, number: usize, sender: &SyncSender<Note>) -> Option<()> {
    let path = client.path("once")?;
    let mut connection = Connection::try_open(client.catch)?;
    for count in 0.. {
        let key = format!("{number}-{count}");
        let request = Request::new("POST", &path).header("idempotency-key", &key).json(&json!({ "a": 1 }));
        say(sender, Note::Keyed(key.clone()))?;
        let reply = connection.send(request.bytes()).reply()?;
        if let Some(reply) = acknowledged(reply, 200, sender) {
            say(sender, Note::Answered(key, run_of(&reply)))?;
        }
    }
    None
}

/// Changes settings, and creates and archives workflows.
fn change(client: &Client, number: usize, sender: &SyncSender<Note>) -> Option<()> {
    let mut connection = Connection::try_open(client.api)?;
    for count in 0.. {
        let value = number as u64 * 1_000_000 + count;
        let patch = client.request("PATCH", "/api/v1/workflows/sync/settings?visibility=plain");
        say(sender, Note::Setting(value))?;
        let reply = connection.send(patch.json(&json!({ "NUMBER": value })).bytes()).reply()?;
        if acknowledged(reply, 200, sender).is_some() {
            say(sender, Note::Set(value))?;
        }
        let name = format!("w-{value}");
        let create = client.request("POST", "/api/v1/workflows");
        let create = create.json(&json!({ "name": name, "kind": "catch" }));
        let reply = connection.send(create.bytes()).reply()?;
        if acknowledged(reply, 201, sender).is_none() {
            continue;
        }
        say(sender, Note::Created(name.clone()))?;
        // Else every listing gets longer.
        if count % 8 != 0 {
            say(sender, Note::Archiving(name.clone()))?;
            let archive = client.request("DELETE", &format!("/api/v1/workflows/{name}"));
            let reply = connection.send(archive.bytes()).reply_to("DELETE")?;
            if acknowledged(reply, 204, sender).is_some() {
                say(sender, Note::Archived(name))?;
            }
        }
    }
    None
}

/// Deploys one program after the other.
fn deploy(client: &Client, _: usize, sender: &SyncSender<Note>) -> Option<()> {
    let mut connection = Connection::try_open(client.api)?;
    for guest in ["echo", "hello"].into_iter().cycle() {
        let upload = client.request("POST", "/api/v1/workflows/deployed/versions");
        let upload = upload.body("application/wasm", guests::component(guest));
        let reply = connection.send(upload.bytes()).reply()?;
        if let Some(reply) = acknowledged(reply, 201, sender) {
            let version = reply.json()["version"].as_u64().expect("a deploy says its version");
            say(sender, Note::Deployed(version))?;
        }
    }
    None
}
