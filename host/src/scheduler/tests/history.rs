//! The ledger, listed instant by instant.

use jiff::{SignedDuration, Timestamp};

use super::super::history::{self, Filter};
use super::world::{BEGIN, Book, MINUTE, World, instant};
use crate::run::RunId;
use crate::schedule::Cadence;
use crate::store::{Stretch, Tick, TickState};
use crate::workflow::WorkflowId;

/// So many minutes behind the beginning.
fn minute(minutes: i64) -> Timestamp {
    instant(BEGIN) + SignedDuration::from_mins(minutes)
}

/// A world whose ledger holds these entries of a schedule of minutes: the instant, its
/// state, and the first instant that shares the entry.
fn kept(world: &World, schedule: &str, entries: &[(i64, TickState, Option<i64>)]) -> WorkflowId {
    let workflow = WorkflowId::from_bytes([7; 16]);
    for &(at, state, first) in entries {
        let stretch = first.map(|first| Stretch {
            first: minute(first),
            count: (at - first + 1) as u64,
            cadence: Cadence::Every { interval_ms: MINUTE },
        });
        let (due, run, schedule) = (minute(at), RunId::new(), schedule.to_owned());
        let (claimed_at, lateness_us) = (due, 500);
        let tick =
            Tick { workflow, schedule: schedule.clone(), due, run, claimed_at, state, lateness_us, stretch };
        world.state().ticks.insert((workflow, schedule, due), tick);
    }
    workflow
}

async fn listed(
    world: &std::sync::Arc<World>,
    filter: &Filter,
    limit: usize,
) -> Vec<(String, i64, TickState)> {
    let (ledger, workflow) = (Book(world.clone()), WorkflowId::from_bytes([7; 16]));
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let page = history::page(&ledger, workflow, filter, cursor, limit, world.now()).await.unwrap();
        items.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let minutes = |tick: &Tick| tick.due.duration_since(instant(BEGIN)).as_mins();
    items.iter().map(|tick| (tick.schedule.clone(), minutes(tick), tick.state)).collect()
}

use TickState::{Missed, Ran, SkippedPaused};

#[tokio::test(start_paused = true)]
async fn members_of_stretches_stand_between_other_entries() {
    let world = World::new();
    world.set_clock(SignedDuration::from_hours(10));
    kept(&world, "a", &[(1, Ran, None), (9, SkippedPaused, Some(2)), (10, Ran, None)]);
    // The clock was set back, and 5 came again; the stretch around it stays.
    kept(&world, "b", &[(5, Ran, None), (8, Missed, Some(3))]);
    let mut expected = Vec::new();
    for minute in (1..=10).rev() {
        if (3..=8).contains(&minute) {
            expected.push(("b".to_owned(), minute, if minute == 5 { Ran } else { Missed }));
        }
        let state = if minute == 1 || minute == 10 { Ran } else { SkippedPaused };
        expected.push(("a".to_owned(), minute, state));
    }
    for limit in [1, 2, 3, 5, 100] {
        assert_eq!(listed(&world, &Filter::default(), limit).await, expected, "pages of {limit}");
        let one = Filter { schedule: Some("b".to_owned()), ..Filter::default() };
        let own: Vec<_> = expected.iter().filter(|(name, ..)| name == "b").cloned().collect();
        assert_eq!(listed(&world, &one, limit).await, own);
        let missed = Filter { states: vec![Missed], ..Filter::default() };
        let own: Vec<_> = expected.iter().filter(|(_, _, state)| *state == Missed).cloned().collect();
        assert_eq!(listed(&world, &missed, limit).await, own);
    }
}

#[tokio::test(start_paused = true)]
async fn instants_to_come_are_not_shown_as_missed() {
    let world = World::new();
    world.set_clock(SignedDuration::from_secs(4 * 60 + 1));
    // Written while the clock was days ahead.
    kept(&world, "a", &[(3, Ran, None), (5_000, Missed, Some(4))]);
    let shown = listed(&world, &Filter::default(), 10).await;
    assert_eq!(
        shown,
        [("a".to_owned(), 5_000, Missed), ("a".to_owned(), 4, Missed), ("a".to_owned(), 3, Ran)]
    );
}

#[tokio::test(start_paused = true)]
async fn members_are_as_late_as_the_decision_was() {
    let world = World::new();
    world.set_clock(SignedDuration::from_hours(1));
    let workflow = kept(&world, "a", &[(3, Missed, Some(1))]);
    let page = history::page(&Book(world.clone()), workflow, &Filter::default(), None, 10, world.now()).await;
    let items = page.unwrap().items;
    let late: Vec<u64> = items.iter().map(|tick| tick.lateness_us).collect();
    assert_eq!(late, [500, 60_000_500, 120_000_500]);
    assert!(items.iter().all(|tick| tick.run == items[0].run));
}

#[tokio::test(start_paused = true)]
async fn long_ledgers_that_a_filter_leaves_empty_come_in_bounded_pages() {
    let world = World::new();
    world.set_clock(SignedDuration::from_hours(1_000));
    let entries: Vec<_> = (1..=12_000).map(|at| (at, if at == 1 { Missed } else { Ran }, None)).collect();
    let workflow = kept(&world, "a", &entries);
    let filter = Filter { states: vec![Missed], ..Filter::default() };
    let first = history::page(&Book(world.clone()), workflow, &filter, None, 10, world.now()).await.unwrap();
    assert!(first.items.is_empty() && first.next.is_some());
    assert_eq!(listed(&world, &filter, 10).await, [("a".to_owned(), 1, Missed)]);
}
