//! The durable queue.

use std::sync::Arc;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::{Setup, create};
use crate::run::{RunId, Status};
use crate::store::samples::{end, event, input, key};
use crate::store::{
    CallbackResult, Enqueued, Event, EventInput, EventState, Leased, Notified, QueueEntry, Redrive, Room,
    Settlement, Store, StoreError, Wanted,
};
use crate::workflow::WorkflowId;

fn any() -> Room {
    Arc::new(|_| usize::MAX)
}

async fn add(store: &dyn Store, event: &Event, body: &str) {
    let entry = QueueEntry::waiting(event.clone(), event.accepted_at);
    assert_eq!(store.enqueue(entry, input(body)).await.unwrap(), Enqueued::New);
}

async fn lease(store: &dyn Store, limit: usize) -> Vec<Leased> {
    store.lease(Timestamp::now(), Wanted::each(limit), any()).await.unwrap().leased
}

fn ids(leased: &[Leased]) -> Vec<RunId> {
    leased.iter().map(|leased| leased.entry.event.id).collect()
}

async fn state(store: &dyn Store, id: RunId) -> Option<EventState> {
    store.event(id).await.unwrap().map(|entry| entry.state)
}

pub(crate) async fn event_is_leased_once_oldest_first_and_when_due(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "queued").await.id;
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    let mut all = Vec::new();
    for number in 0..10 {
        let mut event = event(workflow);
        event.accepted_at = Timestamp::now() - SignedDuration::from_secs(100 - number);
        add(&*store, &event, &format!("body {number}")).await;
        all.push(event.id);
    }
    let late = QueueEntry::waiting(event(workflow), later);
    let late_id = late.event.id;
    store.enqueue(late, EventInput::Nothing).await.unwrap();
    assert_eq!(store.queue_figures().waiting, 11);

    let first = lease(&*store, 4).await;
    assert_eq!(ids(&first), all[..4]);
    assert_eq!(first[3].input, input("body 3"));
    let [a, b] = [lease(&*store, 100), lease(&*store, 100)].map(Box::pin);
    let (a, b) = futures::future::join(a, b).await;
    let mut rest = [ids(&a), ids(&b)].concat();
    rest.sort_unstable();
    let mut expected = all[4..].to_vec();
    expected.sort_unstable();
    assert_eq!(rest, expected, "nobody gets what somebody has");
    let none = store.lease(Timestamp::now(), Wanted::each(100), any()).await.unwrap();
    assert_eq!((none.leased.len(), none.next), (0, Some(later)));
    let then = store.lease(later, Wanted::each(100), any()).await.unwrap();
    assert_eq!((ids(&then.leased), then.next), (vec![late_id], None));
    assert_eq!(store.queue_figures().leased, 11);
}

pub(crate) async fn event_is_leased_as_far_as_its_workflow_has_room(setup: &impl Setup) {
    let store = setup.open().await;
    let (busy, free) = (create(&*store, "busy").await.id, create(&*store, "free").await.id);
    for _ in 0..5 {
        add(&*store, &event(busy), "").await;
    }
    for _ in 0..2 {
        add(&*store, &event(free), "").await;
    }
    let room: Room = Arc::new(move |id| if id == busy { 1 } else { 10 });
    let leased = store.lease(Timestamp::now(), Wanted::each(100), room).await.unwrap().leased;
    let of = |id: WorkflowId| leased.iter().filter(|leased| leased.entry.event.workflow == id).count();
    assert_eq!((of(busy), of(free)), (1, 2));
    let nothing = store.lease(Timestamp::now(), Wanted::each(100), Arc::new(|_| 0)).await.unwrap();
    assert_eq!(nothing.leased, []);
}

pub(crate) async fn one_of_many_events_with_a_key_is_added(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "keyed").await.id;
    let other = create(&*store, "other").await.id;
    let keyed = |workflow| Event { key: key("k"), ..event(workflow) };
    let adds = (0..16).map(|_| {
        let event = keyed(workflow);
        store.enqueue(QueueEntry::waiting(event.clone(), event.accepted_at), input("x"))
    });
    let added: Vec<_> = join_all(adds).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(added.iter().filter(|added| **added == Enqueued::New).count(), 1);
    let leased = lease(&*store, 100).await;
    assert_eq!(leased.len(), 1);
    let (id, run) = (leased[0].entry.event.id, leased[0].entry.run);
    assert!(added.iter().all(|added| match added {
        Enqueued::New => true,
        Enqueued::Known(entry) => entry.event.id == id,
    }));
    add(&*store, &keyed(other), "another workflow's key is another key").await;

    // It is known when it is over, and forgotten when it never was.
    store.settle_event(id, run, Settlement::End(end(Status::Succeeded, false))).await.unwrap();
    let again = keyed(workflow);
    let again = store.enqueue(QueueEntry::waiting(again, Timestamp::now()), input("x")).await.unwrap();
    assert!(matches!(again, Enqueued::Known(entry) if entry.event.id == id && entry.end().is_some()));
    let direct = Event { key: key("d"), is_direct: true, ..event(workflow) };
    store.enqueue(QueueEntry::leased(direct.clone()), EventInput::Nothing).await.unwrap();
    store.settle_event(direct.id, direct.id, Settlement::Forget).await.unwrap();
    assert_eq!(state(&*store, direct.id).await, None);
    let again = Event { key: key("d"), ..event(workflow) };
    add(&*store, &again, "").await;
}

pub(crate) async fn each_attempt_at_an_event_is_a_run_of_its_own(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "retried").await.id;
    let event = event(workflow);
    add(&*store, &event, "again").await;
    let first = lease(&*store, 1).await.remove(0);
    assert_eq!((first.entry.run, first.entry.attempt), (event.id, 1));

    let now = Timestamp::now();
    let unbegun = Settlement::Retry { not_before: now, counts: false };
    let unbegun = store.settle_event(event.id, event.id, unbegun).await.unwrap();
    assert_eq!((unbegun.attempt, unbegun.attempts_spent()), (2, 1));
    let second = lease(&*store, 1).await.remove(0);
    assert!(second.entry.run == unbegun.run && unbegun.run != event.id);

    let then = now + SignedDuration::from_secs(60);
    let retry = Settlement::Retry { not_before: then, counts: true };
    let retried = store.settle_event(event.id, unbegun.run, retry).await.unwrap();
    assert_eq!((retried.attempt, retried.attempts_spent()), (3, 2));
    assert!(retried.run != unbegun.run);
    assert_eq!(lease(&*store, 1).await, [], "it is not due yet");
    let third = store.lease(then, Wanted::each(1), any()).await.unwrap().leased.remove(0);
    assert_eq!((third.entry.run, &third.input), (retried.run, &input("again")));
    // It is found by the run of its attempt too.
    assert_eq!(store.event(retried.run).await.unwrap().unwrap().event, event);
    let settle = Settlement::End(end(Status::Succeeded, false));
    store.settle_event(event.id, retried.run, settle).await.unwrap();
    assert_eq!(store.event_input(event.id).await.unwrap(), Some(EventInput::Nothing));
    assert_eq!(store.queue_figures().input_bytes, 0);
}

pub(crate) async fn lease_is_settled_once_and_by_its_own_run(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "settled").await.id;
    let event = event(workflow);
    add(&*store, &event, "").await;
    let done = Settlement::End(end(Status::Succeeded, false));
    let missing = |result| matches!(result, Err(StoreError::Missing { .. }));
    assert!(missing(store.settle_event(event.id, event.id, done).await), "it waits");
    lease(&*store, 1).await;
    assert!(missing(store.settle_event(event.id, RunId::new(), done).await), "another run");
    assert!(missing(store.settle_event(RunId::new(), event.id, done).await), "another event");
    store.settle_event(event.id, event.id, done).await.unwrap();
    assert!(missing(store.settle_event(event.id, event.id, done).await), "it is over");
    assert!(missing(
        store.settle_callback(event.id, Notified::Told).await.map(|()| QueueEntry::leased(event))
    ));
    let unknown = QueueEntry::waiting(super::super::samples::event(WorkflowId::new()), Timestamp::now());
    assert!(matches!(store.enqueue(unknown, input("")).await, Err(StoreError::Missing { .. })));
}

pub(crate) async fn dead_letter_is_kept_with_its_input_until_it_is_driven_again(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "dead").await.id;
    let other = create(&*store, "other").await.id;
    let mut dead = Vec::new();
    for (number, workflow) in [workflow, workflow, other, workflow].into_iter().enumerate() {
        let event = event(workflow);
        add(&*store, &event, &number.to_string()).await;
        lease(&*store, 1).await;
        let end = Settlement::End(end(Status::Failed, true));
        store.settle_event(event.id, event.id, end).await.unwrap();
        dead.push(event.id);
    }
    let listed = |page: &[QueueEntry]| page.iter().map(|entry| entry.event.id).collect::<Vec<_>>();
    let (page, next) = store.dead_letters(Some(workflow), None, 2).await.unwrap();
    assert_eq!((listed(&page), next), (vec![dead[3], dead[1]], Some(dead[1])));
    let (page, next) = store.dead_letters(Some(workflow), next, 2).await.unwrap();
    assert_eq!((listed(&page), next), (vec![dead[0]], None));
    assert_eq!(store.event_input(dead[1]).await.unwrap(), Some(input("1")));
    assert_eq!(store.queue_figures().dead, 4);

    let one = Redrive::Ids(vec![dead[1], RunId::new()]);
    assert_eq!(store.redrive(one.clone(), 10).await.unwrap(), [dead[1]]);
    assert_eq!(store.redrive(one, 10).await.unwrap(), [], "it is no dead letter any more");
    let again = lease(&*store, 10).await.remove(0);
    assert_eq!((again.entry.attempt, again.entry.attempts_spent()), (2, 1));
    assert_eq!(again.input, input("1"));
    assert_eq!(store.redrive(Redrive::Of(Some(workflow)), 1).await.unwrap(), [dead[0]], "the oldest");
    assert_eq!(store.redrive(Redrive::Of(None), 10).await.unwrap(), [dead[2], dead[3]]);
    assert_eq!(store.queue_figures().dead, 0);
}

pub(crate) async fn callback_is_told_until_it_is_over(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "told").await.id;
    let event = Event { callback: Some("https://a.example/".to_owned()), ..event(workflow) };
    add(&*store, &event, "").await;
    lease(&*store, 1).await;
    let died = end(Status::Failed, true);
    store.settle_event(event.id, event.id, Settlement::End(died)).await.unwrap();
    // Jiff's clock may be behind the instant that the event ended at.
    let telling = store.lease(died.at, Wanted::each(10), Arc::new(|_| 0)).await.unwrap().leased;
    assert!(matches!(telling[0].entry.state, EventState::Notifying { tries: 0, .. }));
    assert_eq!(store.lease(died.at, Wanted::each(10), any()).await.unwrap().leased, [], "it is being told");
    let then = died.at + SignedDuration::from_secs(9);
    let reason = "é".repeat(200);
    store.settle_callback(event.id, Notified::Again { not_before: then, reason }).await.unwrap();
    let told = store.event(event.id).await.unwrap().unwrap().told.unwrap();
    assert_eq!((told.result, told.tries), (CallbackResult::Again, 1));
    assert_eq!(told.reason, Some("é".repeat(150)), "300 bytes of it");
    assert_eq!(store.lease(died.at, Wanted::each(10), any()).await.unwrap().next, Some(then));
    let telling = store.lease(then, Wanted::each(10), any()).await.unwrap().leased;
    assert!(matches!(telling[0].entry.state, EventState::Notifying { tries: 1, .. }));
    store.settle_callback(event.id, Notified::Told).await.unwrap();
    assert_eq!(state(&*store, event.id).await, Some(EventState::Ended { end: died }));
    let told = store.event(event.id).await.unwrap().unwrap().told.unwrap();
    assert_eq!((told.result, told.tries, told.reason), (CallbackResult::Told, 2, None));
    assert_eq!(store.dead_letters(None, None, 10).await.unwrap().0.len(), 1);
    store.redrive(Redrive::Of(None), 10).await.unwrap();
    assert_eq!(store.event(event.id).await.unwrap().unwrap().told, None, "its next end is told");
}

pub(crate) async fn given_up_callback_is_known_after_reopening_and_as_long_as_a_dead_letter(
    setup: &impl Setup,
) {
    let store = setup.open().await;
    let workflow = create(&*store, "given-up").await.id;
    let mut ended = Vec::new();
    for _ in 0..2 {
        let event = Event { callback: Some("https://a.example/".to_owned()), ..event(workflow) };
        add(&*store, &event, "").await;
        lease(&*store, 1).await;
        let end = end(Status::Succeeded, false);
        store.settle_event(event.id, event.id, Settlement::End(end)).await.unwrap();
        store.lease(end.at, Wanted::each(1), any()).await.unwrap();
        ended.push((event.id, end.at));
    }
    let [(told, _), (given_up, at)] = ended[..] else { panic!("two") };
    store.settle_callback(told, Notified::Told).await.unwrap();
    let reason = "it answered 500".to_owned();
    store.settle_callback(given_up, Notified::GivenUp { reason: reason.clone() }).await.unwrap();
    store.close().await.unwrap();

    let store = setup.open().await;
    let known = store.event(given_up).await.unwrap().unwrap().told.unwrap();
    assert_eq!((known.result, known.tries, known.reason), (CallbackResult::GivenUp, 1, Some(reason)));
    assert_eq!(store.queue_figures().remembered, 2);
    let days = |days: i64| at + SignedDuration::from_hours(24 * days);
    store.tidy_queue(days(29)).await.unwrap();
    assert_eq!(store.event(told).await.unwrap(), None);
    assert!(store.event(given_up).await.unwrap().is_some());
    store.tidy_queue(days(31)).await.unwrap();
    assert_eq!(store.event(given_up).await.unwrap(), None);
    assert_eq!(store.queue_figures().dead_dropped, 0, "it was no dead letter");
}

pub(crate) async fn event_that_waits_can_be_taken_out(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "taken").await.id;
    let event = event(workflow);
    add(&*store, &event, "x").await;
    let (a, b) = futures::future::join(store.take(event.id), store.take(event.id)).await;
    let taken: Vec<_> = [a.unwrap(), b.unwrap()].into_iter().flatten().collect();
    assert_eq!((taken.len(), &taken[0].input), (1, &input("x")));
    assert_eq!(lease(&*store, 10).await, []);
    assert_eq!(store.take(RunId::new()).await.unwrap(), None);
    assert_eq!(store.unended(None, 10).await.unwrap(), [taken[0].entry.clone()]);
    store.settle_event(event.id, event.id, Settlement::Forget).await.unwrap();
    assert_eq!(store.unended(None, 10).await.unwrap(), []);
}

pub(crate) async fn queue_is_the_same_after_reopening(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "kept").await.id;
    let events: Vec<Event> =
        (0..4).map(|number| Event { key: key(&format!("k{number}")), ..event(workflow) }).collect();
    for (number, event) in events.iter().enumerate() {
        add(&*store, event, &number.to_string()).await;
    }
    let leased = lease(&*store, 3).await;
    assert_eq!(leased.len(), 3);
    let [running, dead, done] = [0, 1, 2].map(|at: usize| leased[at].entry.event.id);
    store.settle_event(dead, dead, Settlement::End(end(Status::Failed, true))).await.unwrap();
    store.settle_event(done, done, Settlement::End(end(Status::Succeeded, false))).await.unwrap();
    let figures = store.queue_figures();
    let mut before = Vec::new();
    for event in &events {
        before.push((store.event(event.id).await.unwrap(), store.event_input(event.id).await.unwrap()));
    }
    assert_eq!(store.orphans().await.unwrap(), []);
    store.close().await.unwrap();
    assert!(matches!(store.take(running).await, Err(StoreError::Stopped(_))));

    let store = setup.open().await;
    for (event, before) in events.iter().zip(before) {
        let now = (store.event(event.id).await.unwrap(), store.event_input(event.id).await.unwrap());
        assert_eq!(now, before);
        let again = Event { key: event.key.clone(), ..super::super::samples::event(workflow) };
        let again = store.enqueue(QueueEntry::waiting(again, Timestamp::now()), input("")).await.unwrap();
        assert!(matches!(again, Enqueued::Known(entry) if entry.event.id == event.id));
    }
    let after = store.queue_figures();
    assert_eq!((after.waiting, after.dead, after.leased), (figures.waiting, figures.dead, figures.leased));
    assert_eq!(after.input_bytes, figures.input_bytes);
    let orphans = store.orphans().await.unwrap();
    assert_eq!((ids(&orphans), &orphans[0].input), (vec![running], &before_input(&leased, running)));
    store.settle_event(running, running, Settlement::Forget).await.unwrap();
    assert_eq!(store.orphans().await.unwrap(), []);
    store.close().await.unwrap();
    assert_eq!(setup.open().await.event(running).await.unwrap(), None);
}

fn before_input(leased: &[Leased], id: RunId) -> EventInput {
    leased.iter().find(|leased| leased.entry.event.id == id).unwrap().input.clone()
}

pub(crate) async fn archive_forgets_the_events_of_its_workflow(setup: &impl Setup) {
    let store = setup.open().await;
    let (gone, stays) = (create(&*store, "gone").await.id, create(&*store, "stays").await.id);
    let (first, second) = (event(gone), event(stays));
    add(&*store, &first, "").await;
    add(&*store, &second, "").await;
    store.archive_workflow(gone).await.unwrap();
    assert_eq!(state(&*store, first.id).await, None);
    assert_eq!(ids(&lease(&*store, 10).await), [second.id]);
}
