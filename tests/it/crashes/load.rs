//! Clients that ask a host for everything it acknowledges, until it is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the clients; `round` makes their keys and names new.
    pub(super) fn start(host: &Host, round: usize) -> Self {
        let (sender, notes) = sync_channel(NOTES_MAX);
        let is_over = Arc::new(AtomicBool::new(false));
        let client = |work: fn(&Client, usize, &Notes) -> Option<()>, number: usize| {
            let own = host.client();
            let notes = Notes { sender: sender.clone(), is_over: is_over.clone() };
            std::thread::spawn(move || {
                // It ends when the host does, or when it is told to.
                let _: Option<()> = work(&own, number, &notes);
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
        Self { notes, is_over, clients }
    }

    /// Takes so many notes.
    pub(super) fn take(&mut self, count: usize, ledger: &mut Ledger) {
        for _ in 0..count {
            let note = self.notes.recv_timeout(crate::support::wait::LIMIT);
            ledger.take(note.expect("the host goes on acknowledging"));
        }
    }

    /// Takes the last notes of clients whose host is gone.
    pub(super) fn finish(self, ledger: &mut Ledger) {
        let Self { notes, clients, .. } = self;
        notes.iter().for_each(|note| ledger.take(note));
        clients.into_iter().for_each(|client| client.join().unwrap());
    }

    /// Ends the clients of a host that goes on.
    pub(super) fn stop(self, ledger: &mut Ledger) {
        self.is_over.store(true, Ordering::Relaxed);
        self.finish(ledger);
    }
}

/// Where clients note what they see.
struct Notes {
    sender: SyncSender<Note>,
    is_over: Arc<AtomicBool>,
}

impl Notes {
    /// `None` when it is over.
    fn say(&self, note: Note) -> Option<()> {
        self.sender.send(note).ok()?;
        (!self.is_over.load(Ordering::Relaxed)).then_some(())
    }

    /// A reply that acknowledges, or a note of one that does not.
    fn acknowledged(&self, reply: Reply, status: u16) -> Option<Reply> {
        if reply.status == status && reply.header("tidegate-recorded").is_none() {
            return Some(reply);
        }
        let _: Option<()> = self.say(Note::Refused(reply));
        None
    }
}

fn run_of(reply: &Reply) -> String {
    reply.header("tidegate-run").expect("an answer names its run").to_owned()
}

/// Calls and waits for the answer.
fn call(client: &Client, _: usize, notes: &Notes) -> Option<()> {
    let request = Request::new("POST", &client.path("sync")?).json(&json!({ "a": 1 })).bytes();
    let mut connection = Connection::try_open(client.catch)?;
    loop {
        let reply = connection.send(&request).reply()?;
        if let Some(reply) = notes.acknowledged(reply, 200) {
            notes.say(Note::Called(run_of(&reply)))?;
        }
    }
}

/// Calls, and leaves.
fn call_later(client: &Client, _: usize, notes: &Notes) -> Option<()> {
    let request = Request::new("POST", &client.path("later")?).header("prefer", "respond-async");
    let request = request.json(&json!({ "a": 1 })).bytes();
    let mut connection = Connection::try_open(client.catch)?;
    loop {
        let reply = connection.send(&request).reply()?;
        if let Some(reply) = notes.acknowledged(reply, 202) {
            notes.say(Note::Accepted(run_of(&reply)))?;
        }
    }
}

/// Calls with a key each.
fn call_once(client: &Client, number: usize, notes: &Notes) -> Option<()> {
    let path = client.path("once")?;
    let mut connection = Connection::try_open(client.catch)?;
    for count in 0.. {
        let key = format!("{number}-{count}");
        let request = Request::new("POST", &path).header("idempotency-key", &key).json(&json!({ "a": 1 }));
        notes.say(Note::Keyed(key.clone()))?;
        let reply = connection.send(request.bytes()).reply()?;
        if let Some(reply) = notes.acknowledged(reply, 200) {
            notes.say(Note::Answered(key, run_of(&reply)))?;
        }
    }
    None
}

/// Changes settings, and creates and archives workflows.
fn change(client: &Client, number: usize, notes: &Notes) -> Option<()> {
    let mut connection = Connection::try_open(client.api)?;
    for count in 0.. {
        let value = number as u64 * 1_000_000 + count;
        let patch = client.request("PATCH", "/api/v1/workflows/sync/settings?visibility=plain");
        notes.say(Note::Setting(value))?;
        let reply = connection.send(patch.json(&json!({ "NUMBER": value })).bytes()).reply()?;
        if notes.acknowledged(reply, 200).is_some() {
            notes.say(Note::Set(value))?;
        }
        let name = format!("w-{value}");
        let create = client.request("POST", "/api/v1/workflows");
        let create = create.json(&json!({ "name": name, "kind": "catch" }));
        let reply = connection.send(create.bytes()).reply()?;
        if notes.acknowledged(reply, 201).is_none() {
            continue;
        }
        notes.say(Note::Created(name.clone()))?;
        // Else every listing gets longer.
        if count % 8 != 0 {
            notes.say(Note::Archiving(name.clone()))?;
            let archive = client.request("DELETE", &format!("/api/v1/workflows/{name}"));
            let reply = connection.send(archive.bytes()).reply_to("DELETE")?;
            if notes.acknowledged(reply, 204).is_some() {
                notes.say(Note::Archived(name))?;
            }
        }
    }
    None
}

/// Deploys one program after the other.
fn deploy(client: &Client, _: usize, notes: &Notes) -> Option<()> {
    let mut connection = Connection::try_open(client.api)?;
    for guest in ["echo", "hello"].into_iter().cycle() {
        let upload = client.request("POST", "/api/v1/workflows/deployed/versions");
        let upload = upload.body("application/wasm", guests::component(guest));
        let reply = connection.send(upload.bytes()).reply()?;
        if let Some(reply) = notes.acknowledged(reply, 201) {
            let version = reply.json()["version"].as_u64().expect("a deploy says its version");
            notes.say(Note::Deployed(version))?;
        }
    }
    None
}
