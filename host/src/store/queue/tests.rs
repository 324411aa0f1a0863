//! What the contract does not say: limits, files, and what is left of damaged ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::writer::FILE_BYTES;
use super::{Enqueued, Event, EventInput, EventQueue, QueueEntry, QueueLimits, Room, Settlement, Wanted};
use crate::keys::{KeyOrigin, KeyRing, MasterKey};
use crate::run::{RunId, Status};
use crate::store::samples::{end, event, input, key, workflow};
use crate::store::{EmbeddedOptions, EmbeddedStore, Store, StoreError};
use crate::workflow::WorkflowId;

async fn open(path: &Path, events: QueueLimits) -> Arc<EmbeddedStore> {
    let path = path.join("data");
    let options = EmbeddedOptions { events, ..EmbeddedOptions::default() };
    tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, options)).await.unwrap().unwrap()
}

async fn created(store: &EmbeddedStore) -> WorkflowId {
    let workflow = workflow("queued");
    store.create_workflow(workflow.clone()).await.unwrap();
    workflow.id
}

fn any() -> Room {
    Arc::new(|_| usize::MAX)
}

async fn add(store: &EmbeddedStore, event: &Event, body: &str) -> crate::store::Result<Enqueued> {
    store.enqueue(QueueEntry::waiting(event.clone(), event.accepted_at), input(body)).await
}

async fn run_to_end(store: &EmbeddedStore, event: &Event, is_dead: bool) {
    add(store, event, "x").await.unwrap();
    store.take(event.id).await.unwrap().unwrap();
    let end = Settlement::End(end(Status::Failed, is_dead));
    store.settle_event(event.id, event.id, end).await.unwrap();
}

fn files(path: &Path) -> u64 {
    fs::read_dir(path.join("data/queue")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn full_queue_takes_nothing_until_there_is_room() {
    let temp = tempfile::tempdir().unwrap();
    let limits = QueueLimits { events_max: 2, bytes_max: 1000, ..QueueLimits::default() };
    let store = open(temp.path(), limits).await;
    let id = created(&store).await;
    let first = event(id);
    add(&store, &first, "x").await.unwrap();
    add(&store, &event(id), "x").await.unwrap();
    let refused = add(&store, &event(id), "x").await.unwrap_err();
    assert_eq!(refused.to_string(), "the queue is full: 2 events are in the queue, the limit is 2 events");
    // One that is known needs no room.
    store.take(first.id).await.unwrap().unwrap();
    assert!(
        matches!(add(&store, &event(id), "x").await, Err(StoreError::QueueFull { .. })),
        "leased ones count"
    );
    store.settle_event(first.id, first.id, Settlement::End(end(Status::Succeeded, false))).await.unwrap();
    let large = add(&store, &event(id), &"x".repeat(1000)).await.unwrap_err();
    assert!(large.to_string().ends_with("the limit is 1000 bytes"), "{large}");
    add(&store, &event(id), "x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_forgotten_by_age_and_by_number() {
    let temp = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let limits = QueueLimits {
        remember: hour,
        remembered_max: 3,
        dead_keep: 2 * hour,
        dead_max: 2,
        ..QueueLimits::default()
    };
    let store = open(temp.path(), limits).await;
    let id = created(&store).await;
    let keyed = Event { key: key("k"), ..event(id) };
    run_to_end(&store, &keyed, false).await;
    for _ in 0..3 {
        run_to_end(&store, &event(id), false).await;
        run_to_end(&store, &event(id), true).await;
    }
    let figures = store.queue_figures();
    assert_eq!((figures.remembered, figures.dead, figures.dead_dropped), (3, 2, 1));
    assert_eq!(store.event(keyed.id).await.unwrap(), None, "the oldest went first");
    assert_eq!(add(&store, &Event { key: key("k"), ..event(id) }, "").await.unwrap(), Enqueued::New);

    store.tidy_queue(Timestamp::now() + SignedDuration::from_mins(90)).await.unwrap();
    let figures = store.queue_figures();
    assert_eq!((figures.remembered, figures.dead), (0, 2));
    store.tidy_queue(Timestamp::now() + SignedDuration::from_hours(3)).await.unwrap();
    assert_eq!((store.queue_figures().dead, store.queue_figures().waiting), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_an_event_that_is_over_is_free_after_its_time() {
    let temp = tempfile::tempdir().unwrap();
    let limits = QueueLimits { remember: Duration::ZERO, ..QueueLimits::default() };
    let store = open(temp.path(), limits).await;
    let id = created(&store).await;
    let keyed = || Event { key: key("k"), ..event(id) };
    let dead = keyed();
    run_to_end(&store, &dead, true).await;
    assert_eq!(add(&store, &keyed(), "").await.unwrap(), Enqueued::New);
    // The dead letter is there all the same, and goes without taking the key along.
    assert_eq!(store.queue_figures().dead, 1);
    store.tidy_queue(Timestamp::now() + SignedDuration::from_hours(24 * 40)).await.unwrap();
    assert_eq!(store.queue_figures().dead, 0);
    assert!(matches!(add(&store, &keyed(), "").await.unwrap(), Enqueued::Known(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_stay_small_and_nothing_that_lives_is_lost() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), QueueLimits { remembered_max: 10, ..QueueLimits::default() }).await;
    let id = created(&store).await;
    let body = "x".repeat(256 << 10);
    let (kept, dead) = (event(id), event(id));
    add(&store, &kept, "kept").await.unwrap();
    run_to_end(&store, &dead, true).await;
    for _ in 0..200 {
        let event = event(id);
        add(&store, &event, &body).await.unwrap();
        store.take(event.id).await.unwrap().unwrap();
        store.settle_event(event.id, event.id, Settlement::End(end(Status::Succeeded, false))).await.unwrap();
    }
    // 50 MiB were written.
    let bytes = files(temp.path());
    assert!(bytes < 6 * FILE_BYTES, "{bytes}");
    assert!(store.queue_figures().file_bytes <= bytes);
    assert_eq!(store.event_input(kept.id).await.unwrap(), Some(input("kept")));
    store.close().await.unwrap();
    for _ in 0..20 {
        open(temp.path(), QueueLimits::default()).await.close().await.unwrap();
    }
    let store = open(temp.path(), QueueLimits::default()).await;
    let leased = store.lease(Timestamp::now(), Wanted::each(10), any()).await.unwrap().leased;
    assert_eq!((leased.len(), &leased[0].input), (1, &input("kept")));
    assert_eq!(store.event_input(dead.id).await.unwrap(), Some(input("x")));
    assert!(fs::read_dir(temp.path().join("data/queue")).unwrap().count() < 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_event_is_reported_and_the_others_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), QueueLimits::default()).await;
    let id = created(&store).await;
    let events: Vec<Event> = (0..3).map(|_| event(id)).collect();
    for event in &events {
        add(&store, event, "the body of this event").await.unwrap();
    }
    // The bytes change under a store that is open: the frame of the second.
    let path = temp.path().join("data/queue/00000001.log");
    let mut bytes = fs::read(&path).unwrap();
    let third = format!("{{\"event\":{{\"id\":\"{}\"", events[2].id);
    let third = (0..bytes.len()).find(|at| bytes[*at..].starts_with(third.as_bytes())).unwrap();
    // The last bytes of the second's input, which stands right before.
    bytes[third - crate::store::frame::HEADER_BYTES - 8] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(store.verify().await.unwrap().problems.len(), 1);
    let leased = store.lease(Timestamp::now(), Wanted::each(10), any()).await.unwrap().leased;
    let ids: Vec<RunId> = leased.iter().map(|leased| leased.entry.event.id).collect();
    assert_eq!(ids, [events[0].id, events[2].id]);
    assert_eq!(store.queue_figures().dead, 1, "the damaged one is a dead letter");
    assert_eq!(store.health().warnings.len(), 1);
    assert!(matches!(store.event_input(events[1].id).await, Err(StoreError::Damaged { .. })));
    store.close().await.unwrap();

    let store = open(temp.path(), QueueLimits::default()).await;
    assert_eq!(store.orphans().await.unwrap().len(), 2);
    assert!(store.health().warnings.iter().any(|line| line.contains("of queue file 1 are damaged")));
    assert_eq!(store.event_input(events[1].id).await.unwrap(), Some(EventInput::Nothing));
}

const SECRET: &str = "a-secret-of-the-caller";

/// What the queue's files hold, one after the other.
fn on_disk(path: &Path) -> Vec<u8> {
    let files = fs::read_dir(path.join("data/queue")).unwrap();
    files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn calling_back(workflow: WorkflowId) -> Event {
    Event { callback: Some(format!("https://a.example/?token={SECRET}")), ..event(workflow) }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_callbacks_are_not_readable_on_the_disk() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), QueueLimits::default()).await;
    let id = created(&store).await;
    let (waits, dies) = (calling_back(id), calling_back(id));
    add(&store, &waits, SECRET).await.unwrap();
    run_to_end_with(&store, &dies, SECRET).await;
    assert!(!holds(&on_disk(temp.path()), SECRET));
    store.close().await.unwrap();
    drop(store);
    let store = open(temp.path(), QueueLimits::default()).await;
    for event in [&waits, &dies] {
        assert_eq!(store.event_input(event.id).await.unwrap(), Some(input(SECRET)));
    }
    let later = Timestamp::now() + SignedDuration::from_secs(60);
    let told = store.lease(later, Wanted { runs: 0, callbacks: 10 }, any()).await.unwrap().leased;
    assert_eq!(told[0].entry.event.callback, dies.callback, "who tells it knows where");
    store.close().await.unwrap();
}

async fn run_to_end_with(store: &EmbeddedStore, event: &Event, body: &str) {
    add(store, event, body).await.unwrap();
    store.take(event.id).await.unwrap().unwrap();
    let end = Settlement::End(end(Status::Failed, true));
    store.settle_event(event.id, event.id, end).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_build_kept_readable_is_encrypted_by_the_next_start() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), QueueLimits::default()).await;
    let id = created(&store).await;
    // As it was written before: neither the request nor the callback is encrypted.
    let old = calling_back(id);
    let (entry, plain) = (QueueEntry::waiting(old.clone(), old.accepted_at), input(SECRET));
    let bytes = super::log::encode_input(&plain).unwrap();
    store.queue.ask(move |writer| writer.put(entry, Some(&bytes))).await.unwrap();
    // Whatever gives its workflow a key.
    add(&store, &event(id), "another").await.unwrap();
    assert!(holds(&on_disk(temp.path()), SECRET));
    store.close().await.unwrap();
    drop(store);
    let store = open(temp.path(), QueueLimits::default()).await;
    // The thread has taken it over before it answers.
    assert_eq!(store.event_input(old.id).await.unwrap(), Some(plain));
    assert!(!holds(&on_disk(temp.path()), SECRET));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_request_follows_the_master_key_and_belongs_to_its_event() {
    let temp = tempfile::tempdir().unwrap();
    let (old, new) = (MasterKey::random(), MasterKey::random());
    let ring = |keys: &[&MasterKey]| {
        Arc::new(KeyRing::new(keys.iter().map(|key| (*key).clone()).collect(), KeyOrigin::None))
    };
    let open = |keys: Arc<KeyRing>| {
        let (path, options) =
            (temp.path().join("data"), EmbeddedOptions { keys, ..EmbeddedOptions::default() });
        tokio::task::block_in_place(|| EmbeddedStore::open(&path, options)).unwrap()
    };
    let store = open(ring(&[&old]));
    let id = created(&store).await;
    let event = event(id);
    add(&store, &event, SECRET).await.unwrap();
    assert_eq!(store.rewrap(ring(&[&new, &old])).await.unwrap(), 1);
    store.close().await.unwrap();
    drop(store);
    let store = open(ring(&[&new]));
    assert_eq!(store.event_input(event.id).await.unwrap(), Some(input(SECRET)));
    // Another event with the same bytes: they are not what was encrypted for it.
    let other = Event { id: RunId::new(), ..event.clone() };
    let (from, to) = (event.id, QueueEntry::waiting(other.clone(), other.accepted_at));
    let moved = move |writer: &mut super::writer::QueueWriter| writer.copy_input(from, to);
    store.queue.ask(moved).await.unwrap();
    let refused = store.event_input(other.id).await.unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    store.close().await.unwrap();
}
