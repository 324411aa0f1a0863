//! The schedule's ledger.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::{Setup, create};
use crate::schedule::Cadence;
use crate::store::samples::tick;
use crate::store::{Claim, Retention, StoreError, Stretch, Tick, TickPlace, TickState};
use crate::workflow::WorkflowId;

pub(crate) async fn instant_is_claimed_once_for_ever(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "hourly").await;
    let start = Timestamp::now();
    for number in 0..20 {
        let due = start + SignedDuration::from_millis(number);
        let claims = (0..16).map(|_| store.claim(tick(workflow.id, "s", due)));
        let claims: Vec<_> = join_all(claims).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(claims.iter().filter(|claim| **claim == Claim::Claimed).count(), 1);
    }
    assert_eq!(store.claim(tick(workflow.id, "other", start)).await.unwrap(), Claim::Claimed);
    store.settle(workflow.id, "s", start, TickState::Ran, Duration::ZERO).await.unwrap();
    store.close().await.unwrap();
    let store = setup.open().await;
    for number in 0..20 {
        let due = start + SignedDuration::from_millis(number);
        assert_eq!(store.claim(tick(workflow.id, "s", due)).await.unwrap(), Claim::Taken);
    }
    assert_eq!(store.ticks(workflow.id, Some("s"), None, 100).await.unwrap().len(), 20);
}

pub(crate) async fn older_instant_can_be_claimed_after_a_newer_one(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "backfilled").await;
    let start = Timestamp::now();
    let due = |number: i64| start + SignedDuration::from_secs(number);
    for number in [50, 10, 30, 49, 0] {
        let claims = (0..4).map(|_| store.claim(tick(workflow.id, "s", due(number))));
        let claims = join_all(claims).await;
        let claimed = claims.iter().filter(|claim| matches!(claim, Ok(Claim::Claimed))).count();
        assert_eq!(claimed, 1, "{number}");
    }
    let listed = store.ticks(workflow.id, None, None, 3).await.unwrap();
    assert_eq!(listed.iter().map(|tick| tick.due).collect::<Vec<_>>(), [due(50), due(49), due(30)]);
}

pub(crate) async fn claims_of_a_batch_are_like_single_ones(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "many").await;
    let start = Timestamp::now();
    let due = |number: i64| start + SignedDuration::from_secs(number);
    store.claim(tick(workflow.id, "s", due(3))).await.unwrap();
    assert_eq!(store.claim_all(Vec::new()).await.unwrap(), []);
    let numbers = [0, 1, 2, 3, 4, 2, 0];
    let ticks = || numbers.map(|number| tick(workflow.id, "s", due(number))).to_vec();
    let (first, second) = futures::future::join(store.claim_all(ticks()), store.claim_all(ticks())).await;
    let claimed = |claims: Vec<Claim>| -> Vec<i64> {
        let pairs = numbers.into_iter().zip(claims);
        pairs.filter(|(_, claim)| *claim == Claim::Claimed).map(|(number, _)| number).collect()
    };
    let mut all = [claimed(first.unwrap()), claimed(second.unwrap())].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 4]);
    let many = (0..3000).map(|number| tick(workflow.id, &format!("s{number}"), start)).collect();
    let claims = store.claim_all(many).await.unwrap();
    assert!(claims.len() == 3000 && claims.iter().all(|claim| *claim == Claim::Claimed));
    store.close().await.unwrap();
    let store = setup.open().await;
    assert_eq!(store.unsettled_ticks().await.unwrap().len(), 3005);
    assert_eq!(store.claim_all(ticks()).await.unwrap(), [Claim::Taken; 7]);
    let unknown = vec![tick(workflow.id, "new", start), tick(WorkflowId::new(), "s", start)];
    assert!(matches!(store.claim_all(unknown).await, Err(StoreError::Missing { .. })));
}

pub(crate) async fn ledger_shows_what_became_of_each_instant(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "hourly").await;
    let start = Timestamp::now();
    let due = |number: i64| start + SignedDuration::from_secs(number);
    let mut expected = Vec::new();
    for number in 0..30 {
        let mut claimed = tick(workflow.id, ["a", "b"][number % 2], due(number as i64));
        if number % 3 == 0 {
            claimed.state = TickState::SkippedPaused;
            let cadence = Cadence::Every { interval_ms: 1_000 };
            claimed.stretch = Some(Stretch { first: due(-5), count: 6, cadence });
        }
        assert_eq!(store.claim(claimed.clone()).await.unwrap(), Claim::Claimed);
        expected.push(claimed);
    }
    for entry in expected.iter_mut().filter(|tick| tick.state == TickState::Claimed).take(15) {
        let lateness = Duration::from_micros(1_500);
        store.settle(workflow.id, &entry.schedule, entry.due, TickState::Ran, lateness).await.unwrap();
        entry.state = TickState::Ran;
        entry.lateness_us = 1_500;
    }
    let missing = store.settle(workflow.id, "a", due(1), TickState::Ran, Duration::ZERO).await;
    assert!(matches!(missing, Err(StoreError::Missing { .. })));
    expected.reverse();
    store.close().await.unwrap();
    let store = setup.open().await;
    assert_eq!(store.ticks(workflow.id, None, None, 100).await.unwrap(), expected);
    assert_eq!(store.ticks(workflow.id, None, None, 7).await.unwrap(), expected[..7]);
    let own: Vec<_> = expected.iter().filter(|tick| tick.schedule == "b").take(5).cloned().collect();
    assert_eq!(store.ticks(workflow.id, Some("b"), None, 5).await.unwrap(), own);
    let place = |tick: &Tick| TickPlace { due: tick.due, schedule: tick.schedule.clone() };
    for (from, limit) in [(0, 30), (4, 3), (29, 10)] {
        let up_to = place(&expected[from]);
        let page = store.ticks(workflow.id, None, Some(&up_to), limit).await.unwrap();
        assert_eq!(page, expected[from..(from + limit).min(30)], "from {from}");
    }
    let open: HashSet<_> =
        expected.iter().filter(|tick| tick.state == TickState::Claimed).map(|tick| tick.due).collect();
    let unsettled = store.unsettled_ticks().await.unwrap();
    assert_eq!(unsettled.iter().map(|tick| tick.due).collect::<HashSet<_>>(), open);
    for tick in unsettled {
        store.settle(workflow.id, &tick.schedule, tick.due, TickState::Ran, Duration::ZERO).await.unwrap();
    }
    assert_eq!(store.unsettled_ticks().await.unwrap(), []);
    store.close().await.unwrap();
    let store = setup.open().await;
    assert_eq!(store.unsettled_ticks().await.unwrap(), []);
    let states: HashSet<_> = store
        .ticks(workflow.id, None, None, 100)
        .await
        .unwrap()
        .iter()
        .map(|tick| format!("{:?}", tick.state))
        .collect();
    assert_eq!(states, HashSet::from(["Ran".to_owned(), "SkippedPaused".to_owned()]));
}

pub(crate) async fn prune_never_makes_an_instant_free_again(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "hourly").await;
    let start = Timestamp::now() - SignedDuration::from_hours(1);
    let due = |number: i64| start + SignedDuration::from_secs(number);
    for number in 0..50 {
        let claimed = tick(workflow.id, "s", due(number));
        assert_eq!(store.claim(claimed).await.unwrap(), Claim::Claimed);
        if number != 7 {
            store.settle(workflow.id, "s", due(number), TickState::Ran, Duration::ZERO).await.unwrap();
        }
    }
    let everything = Timestamp::now() + SignedDuration::from_hours(1);
    store
        .prune(Retention { accepted_before: Some(everything), bytes_max: Some(0), ..Retention::default() })
        .await
        .unwrap();
    store.close().await.unwrap();
    let store = setup.open().await;
    for number in 0..50 {
        assert_eq!(store.claim(tick(workflow.id, "s", due(number))).await.unwrap(), Claim::Taken);
    }
    assert_eq!(store.claim(tick(workflow.id, "s", due(50))).await.unwrap(), Claim::Claimed);
    // What nobody settled yet can still be settled.
    store.settle(workflow.id, "s", due(7), TickState::Ran, Duration::ZERO).await.unwrap();
    let open = store.unsettled_ticks().await.unwrap();
    assert_eq!(open.iter().map(|tick| tick.due).collect::<Vec<_>>(), [due(50)]);
}
