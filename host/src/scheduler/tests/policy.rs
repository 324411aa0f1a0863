//! Overlap, pauses, missed instants, deadlines and jitter.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;

use super::world::{HOUR, MINUTE, World, instant};
use crate::schedule::{Cadence, Missed, Overlap, Policy};
use crate::store::TickState::{
    Backfilled, Claimed, Missed as MissedState, Ran, SkippedPaused, SkippedRunning,
};

const EVERY_MINUTE: Cadence = Cadence::Every { interval_ms: MINUTE };

fn entry(due: &str, state: crate::store::TickState) -> (String, crate::store::TickState, u64) {
    (due.to_owned(), state, 1)
}

#[tokio::test(start_paused = true)]
async fn instant_that_meets_a_running_run_is_skipped_and_visible() {
    let world = World::new();
    world.state().run_takes = Duration::from_secs(150);
    world.every(MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:05:40Z").await;
    assert_eq!(
        world.book(),
        [
            entry("00:00:00", Ran),
            entry("00:01:00", SkippedRunning),
            entry("00:02:00", SkippedRunning),
            entry("00:03:00", Ran),
            entry("00:04:00", SkippedRunning),
            entry("00:05:00", SkippedRunning),
        ]
    );
    assert_eq!(world.state().unrun[0].message, "the run of an earlier instant was still going");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn queue_one_lets_one_instant_wait() {
    let world = World::new();
    world.state().run_takes = Duration::from_secs(150);
    world.add(EVERY_MINUTE, Policy { overlap: Overlap::QueueOne, ..Policy::default() });
    let running = world.start();
    world.until("2026-03-01T00:04:40Z").await;
    // The second began when the first ended, at 2:30, the third then waits to 5:00.
    assert_eq!(
        world.book(),
        [
            entry("00:00:00", Ran),
            entry("00:01:00", Claimed),
            entry("00:02:00", SkippedRunning),
            entry("00:03:00", Claimed),
            entry("00:04:00", SkippedRunning),
        ]
    );
    assert_eq!(world.state().runs[1].0.lateness, Duration::from_secs(90));
    assert_eq!(world.state().running_max, 1);
    // What waits when the host stops is not run, and says so.
    running.stop().await;
    assert_eq!(world.book()[1], entry("00:01:00", Ran));
    assert_eq!(world.book()[3], entry("00:03:00", MissedState));
    let last = world.state().unrun.last().cloned().unwrap();
    assert_eq!(last.message, "the host stopped before its turn came");
}

#[tokio::test(start_paused = true)]
async fn instant_that_waits_respects_pause_and_removal() {
    let world = World::new();
    world.state().run_takes = Duration::from_secs(150);
    let policy = Policy { overlap: Overlap::QueueOne, ..Policy::default() };
    let paused = world.add(EVERY_MINUTE, policy);
    let removed = world.add(EVERY_MINUTE, policy);
    let running = world.start();
    world.until("2026-03-01T00:01:30Z").await;
    world.pause(paused, true);
    world.change(|schedules| schedules.retain(|pull| pull.workflow != removed));
    world.until("2026-03-01T00:02:45Z").await;
    let state = |workflow| {
        let due = instant("2026-03-01T00:01:00Z");
        world.state().ticks[&(workflow, "default".to_owned(), due)].state
    };
    assert_eq!((state(paused), state(removed)), (SkippedPaused, MissedState));
    assert_eq!(world.state().runs.len(), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn allowed_runs_go_beside_each_other() {
    let world = World::new();
    world.state().run_takes = Duration::from_secs(150);
    world.add(EVERY_MINUTE, Policy { overlap: Overlap::Allow, ..Policy::default() });
    let running = world.start();
    world.until("2026-03-01T00:04:30Z").await;
    assert_eq!(world.ran(), ["00:00:00", "00:01:00", "00:02:00", "00:03:00", "00:04:00"]);
    assert_eq!(world.state().running_max, 3);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pause_is_recorded_without_a_flood() {
    let world = World::new();
    let begin = instant("2026-02-28T23:59:59Z");
    let workflow = world.every(1_000);
    let running = world.start();
    world.until("2026-03-01T00:00:02.2Z").await;
    world.pause(workflow, true);
    world.until("2026-03-01T00:02:30.2Z").await;
    world.pause(workflow, false);
    world.until("2026-03-01T00:02:32.2Z").await;
    assert_eq!(
        world.book(),
        [
            entry("00:00:00", Ran),
            entry("00:00:01", Ran),
            entry("00:00:02", Ran),
            entry("00:00:03", SkippedPaused),
            ("00:01:03".to_owned(), SkippedPaused, 60),
            ("00:02:03".to_owned(), SkippedPaused, 60),
            ("00:02:30".to_owned(), SkippedPaused, 27),
            entry("00:02:31", Ran),
            entry("00:02:32", Ran),
        ]
    );
    assert_eq!(
        world.state().unrun[1].message,
        "the workflow was paused; this stands for 60 instants since 2026-03-01T00:00:04Z"
    );
    world.check_all_accounted_for(workflow, begin, instant("2026-03-01T00:02:32.2Z")).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn instants_of_a_slow_schedule_are_each_recorded_while_paused() {
    let world = World::new();
    let workflow = world.every(6 * HOUR);
    world.pause(workflow, true);
    let running = world.start();
    world.until("2026-03-01T13:00:00Z").await;
    let expected = ["00:00:00", "06:00:00", "12:00:00"].map(|due| entry(due, SkippedPaused));
    assert_eq!(world.book(), expected);
    running.stop().await;
}

/// A world in which a schedule of minutes was up to 00:00 and the host then down.
async fn down_until(policy: Policy, until: &str) -> Vec<(String, crate::store::TickState, u64)> {
    let world = World::new();
    let workflow = world.add(EVERY_MINUTE, policy);
    let running = world.start();
    world.until("2026-03-01T00:00:30Z").await;
    running.kill().await;
    world.until(until).await;
    let running = world.start();
    world.pass(SignedDuration::from_secs(1)).await;
    world.check_nothing_twice();
    world.check_all_accounted_for(workflow, instant("2026-02-28T23:59:59Z"), instant(until)).await;
    running.stop().await;
    world.book()
}

#[tokio::test(start_paused = true)]
async fn missed_instants_are_made_up_for_once() {
    let book = down_until(Policy::default(), "2026-03-01T03:00:30Z").await;
    let mut expected = vec![entry("00:00:00", Ran), ("02:49:00".to_owned(), MissedState, 169)];
    expected.extend((50..60).map(|minute| entry(&format!("02:{minute}:00"), MissedState)));
    expected.push(entry("03:00:00", Backfilled));
    assert_eq!(book, expected);
    // Up to the limit, each has an entry of its own.
    let book = down_until(Policy::default(), "2026-03-01T00:11:30Z").await;
    assert_eq!(book.len(), 12);
    assert!(book[1..11].iter().all(|(_, state, count)| (*state, *count) == (MissedState, 1)));
    assert_eq!(book[11], entry("00:11:00", Backfilled));
}

#[tokio::test(start_paused = true)]
async fn missed_instants_can_be_skipped() {
    let policy = Policy { missed: Missed::Skip, ..Policy::default() };
    let book = down_until(policy, "2026-03-01T00:03:30Z").await;
    assert_eq!(
        book,
        [
            entry("00:00:00", Ran),
            entry("00:01:00", MissedState),
            entry("00:02:00", MissedState),
            entry("00:03:00", MissedState)
        ]
    );
    // Those that cannot start in time are missed, whatever else holds.
    let strict = Policy { start_deadline_ms: Some(10_000), ..Policy::default() };
    let book = down_until(strict, "2026-03-01T00:02:30Z").await;
    assert_eq!(
        book,
        [entry("00:00:00", Ran), entry("00:01:00", MissedState), entry("00:02:00", MissedState)]
    );
}

#[tokio::test(start_paused = true)]
async fn missed_instants_can_all_be_made_up_for() {
    let policy = Policy { missed: Missed::All { max: 3 }, ..Policy::default() };
    let book = down_until(policy, "2026-03-01T00:05:30Z").await;
    assert_eq!(
        book,
        [
            entry("00:00:00", Ran),
            entry("00:01:00", MissedState),
            entry("00:02:00", MissedState),
            entry("00:03:00", Backfilled),
            entry("00:04:00", Backfilled),
            entry("00:05:00", Backfilled),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn made_up_runs_go_one_after_the_other() {
    let world = World::new();
    let policy = Policy { missed: Missed::All { max: 5 }, ..Policy::default() };
    world.add_anchored(EVERY_MINUTE, policy, instant("2026-02-28T23:00:00Z"));
    world.state().run_takes = Duration::from_secs(5);
    let running = world.start();
    world.until("2026-03-01T00:00:23Z").await;
    assert_eq!(world.ran(), ["23:56:00", "23:57:00", "23:58:00", "23:59:00", "00:00:00"]);
    assert_eq!(world.state().running_max, 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn made_up_runs_end_with_the_host() {
    let world = World::new();
    let policy = Policy { missed: Missed::All { max: 5 }, ..Policy::default() };
    let anchor = instant("2026-02-28T23:00:00Z");
    let workflow = world.add_anchored(EVERY_MINUTE, policy, anchor);
    world.state().run_takes = Duration::from_secs(5);
    let running = world.start();
    world.until("2026-03-01T00:00:07Z").await;
    running.stop().await;
    assert_eq!(world.ran(), ["23:56:00", "23:57:00"]);
    let latest = world.states().split_off(world.states().len() - 5);
    assert_eq!(latest, [Backfilled, Backfilled, MissedState, MissedState, MissedState]);
    world.check_all_accounted_for(workflow, anchor, world.now()).await;
}

#[tokio::test(start_paused = true)]
async fn start_deadline_gives_up_on_late_instants() {
    let world = World::new();
    let policy = Policy { start_deadline_ms: Some(60_000), ..Policy::default() };
    let hourly = Cadence::Every { interval_ms: HOUR };
    world.add_anchored(hourly.clone(), policy, instant("2026-02-28T22:58:00Z"));
    world.add_anchored(hourly, policy, instant("2026-02-28T22:59:30Z"));
    let running = world.start();
    world.until("2026-03-01T00:00:10Z").await;
    assert_eq!(world.ran(), ["23:59:30"]);
    assert_eq!(world.states().iter().filter(|state| **state == MissedState).count(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_schedules_and_keeps_their_distance() {
    let world = World::new();
    let policy = Policy { jitter_ms: 30_000, ..Policy::default() };
    for _ in 0..50 {
        world.add(EVERY_MINUTE, policy);
    }
    let running = world.start();
    world.until("2026-03-01T00:02:59Z").await;
    {
        let state = world.state();
        assert_eq!(state.runs.len(), 150);
        let mut delays = std::collections::BTreeMap::<_, BTreeSet<i64>>::new();
        for (due, at) in &state.runs {
            let delay_ms = at.duration_since(due.tick.due).as_millis() as i64;
            assert!((0..=30_000).contains(&delay_ms));
            assert_eq!((due.lateness, due.ready), (Duration::ZERO, *at), "{:?}", due.tick.due);
            delays.entry(due.tick.workflow).or_default().insert(delay_ms);
        }
        assert!(delays.values().all(|own| own.len() == 1), "a schedule's delay is always the same");
        let different: BTreeSet<_> = delays.values().flatten().collect();
        assert!(different.len() > 40, "delays differ between schedules");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn schedule_whose_runs_outlast_it_is_flagged_until_they_do_not() {
    let world = World::new();
    world.state().run_takes = Duration::from_secs(90);
    let skipping = world.every(MINUTE);
    let beside = world.add(EVERY_MINUTE, Policy { overlap: Overlap::Allow, ..Policy::default() });
    let hourly = world.every(HOUR);
    let running = world.start();
    let flagged = |workflow| running.scheduler.overrun(workflow, "default").map(|overrun| overrun.took);
    world.until("2026-03-01T00:00:59Z").await;
    assert_eq!([skipping, beside, hourly].map(flagged), [None; 3]);
    world.until("2026-03-01T00:01:30.5Z").await;
    let took = Some(Some(Duration::from_secs(90)));
    assert_eq!([skipping, beside, hourly].map(flagged), [took, took, None]);
    assert_eq!(running.scheduler.overruns(), 2);
    assert_eq!(
        running.scheduler.overrun(skipping, "default").map(|overrun| (overrun.due, overrun.distance)),
        Some((instant("2026-03-01T00:00:00Z"), Duration::from_secs(60)))
    );
    // A run that goes on and on is flagged before it ends.
    world.state().run_takes = Duration::from_secs(7_200);
    world.until("2026-03-01T00:06:01Z").await;
    let still = flagged(skipping).flatten().unwrap();
    assert!(still >= Duration::from_secs(180), "{still:?}");
    running.kill().await;
    // What the ledger says is remembered, until a run keeps the pace.
    world.state().run_takes = Duration::from_secs(1);
    let running = world.start();
    world.until("2026-03-01T00:06:01.5Z").await;
    let remembered = running.scheduler.overrun(skipping, "default").unwrap();
    assert_eq!((remembered.due, remembered.took), (instant("2026-03-01T00:06:00Z"), None));
    world.until("2026-03-01T00:07:30Z").await;
    assert_eq!(running.scheduler.overruns(), 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn removed_schedule_leaves_no_instant_without_an_entry() {
    let world = World::new();
    let workflow = world.every(1_000);
    world.pause(workflow, true);
    let running = world.start();
    world.until("2026-03-01T00:00:20.5Z").await;
    world.change(Vec::clear);
    world.pass(SignedDuration::from_secs(1)).await;
    let due = world.history(workflow, 7).await.iter().map(|tick| tick.due).collect::<BTreeSet<_>>();
    let seconds = (0..=20).map(|second| instant("2026-03-01T00:00:00Z") + SignedDuration::from_secs(second));
    assert_eq!(due, seconds.collect());
    running.stop().await;
}
