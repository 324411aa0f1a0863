//! Due instants on ordinary days: run once, on time, woken by changes, bounded, stopped.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::super::{Options, RunEnd};
use super::world::{BEGIN, HOUR, MINUTE, World, instant};
use crate::schedule::{Cadence, Policy};
use crate::store::TickState;

#[tokio::test(start_paused = true)]
async fn interval_runs_on_its_grid_without_drift() {
    let world = World::new();
    world.state().run_takes = Duration::from_millis(700);
    let workflow = world.every(90_000);
    let running = world.start();
    world.until("2026-03-01T00:06:30Z").await;
    assert_eq!(world.ran(), ["00:00:00", "00:01:30", "00:03:00", "00:04:30", "00:06:00"]);
    assert_eq!(world.states(), [TickState::Ran; 5]);
    for (due, at) in &world.state().runs {
        assert_eq!(*at, due.tick.due);
        assert_eq!(due.lateness, Duration::ZERO);
    }
    assert_eq!(
        running.scheduler.next_due(workflow),
        [("default".to_owned(), instant("2026-03-01T00:07:30Z"))]
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn instant_is_claimed_before_it_is_due_and_starts_when_it_is() {
    let world = World::new();
    let first = world.every(MINUTE);
    let (paused, archived) = (world.every(MINUTE), world.every(MINUTE));
    let running = world.start();
    world.until("2026-03-01T00:00:59.4Z").await;
    assert_eq!(world.states(), [TickState::Ran; 3]);
    world.until("2026-03-01T00:00:59.6Z").await;
    assert_eq!(world.states().iter().filter(|state| **state == TickState::Claimed).count(), 3);
    assert_eq!(world.state().runs.len(), 3);
    // Its time has not come: a pause, an archive and a shutdown are respected.
    world.pause(paused, true);
    world.change(|schedules| schedules.retain(|pull| pull.workflow != archived));
    world.until("2026-03-01T00:00:59.8Z").await;
    running.stop().await;
    assert_eq!(world.now(), instant("2026-03-01T00:01:00Z"));
    let state = |workflow| {
        let due = instant("2026-03-01T00:01:00Z");
        let tick = world.state().ticks[&(workflow, "default".to_owned(), due)].clone();
        assert_eq!(tick.claimed_at, due);
        tick.state
    };
    assert_eq!(
        [first, paused, archived].map(state),
        [TickState::Ran, TickState::SkippedPaused, TickState::Missed]
    );
    assert_eq!(world.state().runs[3].1, instant("2026-03-01T00:01:00Z"));
}

#[tokio::test(start_paused = true)]
async fn run_that_ends_just_in_time_lets_the_next_one_start() {
    let world = World::new();
    world.state().run_takes = Duration::from_millis(59_900);
    world.every(MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:03:30Z").await;
    assert_eq!(world.ran(), ["00:00:00", "00:01:00", "00:02:00", "00:03:00"]);
    assert!(world.state().unrun.is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn years_of_days_run_once_each_through_all_clock_changes() {
    let world = World::new();
    let cadence = Cadence::Cron { expression: "30 2 * * *".to_owned(), timezone: "Europe/Paris".to_owned() };
    let workflow = world.add(cadence, Policy::default());
    let running = world.scheduler(Options { sleep_max: Duration::from_secs(86_400), ..Options::default() });
    world.until("2031-03-01T00:00:00Z").await;
    let paris = TimeZone::get("Europe/Paris").unwrap();
    let dates: Vec<_> =
        world.state().runs.iter().map(|(due, _)| due.tick.due.to_zoned(paris.clone()).date()).collect();
    assert_eq!(dates.len(), 5 * 365 + 1);
    assert!(dates.windows(2).all(|pair| pair[0].tomorrow().unwrap() == pair[1]));
    world.check_all_accounted_for(workflow, instant(BEGIN), instant("2031-03-01T00:00:00Z")).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_schedules_due_together_all_run_within_bounds() {
    const SCHEDULES: usize = 10_000;
    let world = World::new();
    world.state().run_takes = Duration::from_millis(10);
    let begin = world.now();
    for n in 0..SCHEDULES {
        // A third is due at the same instant, the others are spread over the minute.
        let offset = if n % 3 == 0 { 0 } else { n as i64 * 6 };
        let anchor = begin + SignedDuration::from_millis(1_000 + offset - MINUTE as i64);
        world.add_anchored(Cadence::Every { interval_ms: MINUTE }, Policy::default(), anchor);
    }
    let running = world.scheduler(Options { running_max: 500, ..Options::default() });
    world.until("2026-03-01T00:03:00.998Z").await;
    world.check_nothing_twice();
    {
        let state = world.state();
        assert_eq!(state.runs.len(), 3 * SCHEDULES);
        assert_eq!(state.running_max, 500);
        assert!(state.unrun.is_empty());
        // 3,334 together at 500 a time and 10 ms each: the last begins after 60 ms.
        let latest = state.runs.iter().map(|(due, _)| due.lateness).max().unwrap();
        assert_eq!(latest.as_millis(), 60);
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn instants_without_a_place_wait_and_then_start_late() {
    let world = World::new();
    world.state().run_takes = Duration::from_secs(10);
    for _ in 0..6 {
        world.every(10 * MINUTE);
    }
    let policy = Policy { start_deadline_ms: Some(15_000), ..Policy::default() };
    let impatient = world.add(Cadence::Every { interval_ms: 10 * MINUTE }, policy);
    // Two of them are not even claimed before others have ended.
    let running = world.scheduler(Options { running_max: 2, claimed_max: 5, ..Options::default() });
    world.until("2026-03-01T00:00:05Z").await;
    assert_eq!((world.states().len(), world.state().running), (5, 2));
    world.until("2026-03-01T00:01:00Z").await;
    {
        let state = world.state();
        assert_eq!(state.running_max, 2);
        let late: Vec<u64> = state.runs.iter().map(|(due, _)| due.lateness.as_secs()).collect();
        assert_eq!(late, [0, 0, 10, 10, 20, 20]);
        let given_up = state.unrun.iter().find(|unrun| unrun.tick.workflow == impatient).unwrap();
        assert_eq!(given_up.tick.state, TickState::Missed);
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn place_is_free_when_a_run_has_left_it_and_not_when_it_is_on_record() {
    let world = World::new();
    world.state().run_takes = Duration::from_secs(1);
    world.state().record_takes = Duration::from_secs(30);
    for _ in 0..4 {
        world.every(10 * MINUTE);
    }
    let running = world.scheduler(Options { running_max: 2, ..Options::default() });
    world.until("2026-03-01T00:00:20Z").await;
    let late: Vec<u64> = world.state().runs.iter().map(|(due, _)| due.lateness.as_secs()).collect();
    let running_max = world.state().running_max;
    assert_eq!((late, running_max), (vec![0, 0, 1, 1], 2));
    assert_eq!(world.states(), [TickState::Claimed; 4]);
    running.stop().await;
    assert_eq!(world.states(), [TickState::Ran; 4]);
}

#[tokio::test(start_paused = true)]
async fn changes_wake_the_sleeper() {
    let world = World::new();
    let running = world.scheduler(Options { sleep_max: Duration::from_secs(86_400), ..Options::default() });
    world.until("2026-03-01T05:00:00Z").await;
    // A new schedule that is due long before the sleep would have ended.
    let workflow = world.every(10 * MINUTE);
    world.pass(SignedDuration::from_mins(11)).await;
    assert_eq!(world.ran(), ["05:00:00", "05:10:00"]);
    // A changed one begins anew.
    world.change(|schedules| {
        schedules[0].schedule.cadence = Cadence::Every { interval_ms: HOUR };
        schedules[0].schedule.anchor = instant("2026-03-01T05:12:00Z");
    });
    world.until("2026-03-01T06:13:00Z").await;
    assert_eq!(world.ran(), ["05:00:00", "05:10:00", "06:12:00"]);
    // An archived one is gone.
    world.change(Vec::clear);
    world.until("2026-03-01T09:00:00Z").await;
    assert_eq!(world.ran().len(), 3);
    assert_eq!(running.scheduler.next_due(workflow), []);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn instants_before_the_first_version_are_not_missed() {
    let world = World::new();
    let anchored = instant("2026-02-28T12:00:00Z");
    world.add_anchored(Cadence::Every { interval_ms: MINUTE }, Policy::default(), anchored);
    world.change(|schedules| schedules[0].since = instant("2026-02-28T23:59:30Z"));
    let running = world.start();
    world.until("2026-03-01T00:01:30Z").await;
    assert_eq!(world.ran(), ["00:00:00", "00:01:00"]);
    assert_eq!(world.states().len(), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn several_schedules_of_a_workflow_are_independent() {
    let world = World::new();
    world.state().run_takes = Duration::from_secs(150);
    let workflow = world.every(2 * MINUTE);
    world.change(|schedules| {
        let mut other = schedules[0].clone();
        other.schedule.name = "other".to_owned();
        other.schedule.anchor = instant("2026-02-28T23:59:00Z");
        schedules.push(other);
    });
    let running = world.start();
    world.until("2026-03-01T00:01:00Z").await;
    // The run of `default` is still going.
    assert_eq!(world.ran(), ["00:00:00", "00:01:00"]);
    assert_eq!(world.state().running, 2);
    let next = running.scheduler.next_due(workflow);
    assert_eq!(
        next,
        [
            ("default".to_owned(), instant("2026-03-01T00:02:00Z")),
            ("other".to_owned(), instant("2026-03-01T00:03:00Z"))
        ]
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refused_and_cut_runs_are_settled_as_such() {
    let world = World::new();
    world.every(MINUTE);
    let running = world.start();
    for (at, end) in [("00:30", RunEnd::Refused), ("01:30", RunEnd::Interrupted), ("02:30", RunEnd::Ended)] {
        world.until(&format!("2026-03-01T00:{at}Z")).await;
        world.state().run_ends = Some(end);
    }
    world.until("2026-03-01T00:03:30Z").await;
    assert_eq!(world.states(), [TickState::Ran, TickState::Refused, TickState::Interrupted, TickState::Ran]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_panics_costs_itself_only() {
    let world = World::new();
    world.state().run_panics = true;
    world.every(MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:00:30Z").await;
    world.state().run_panics = false;
    world.until("2026-03-01T00:02:30Z").await;
    assert_eq!(world.ran(), ["00:00:00", "00:01:00", "00:02:00"]);
    running.stop().await;
    // What it left is settled at the next start.
    let running = world.start();
    world.pass(SignedDuration::ZERO).await;
    assert_eq!(world.states()[0], TickState::Interrupted);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_runs_and_claims_nothing_more() {
    let world = World::new();
    world.state().run_takes = Duration::from_secs(600);
    world.every(MINUTE);
    world.every(7 * MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:00:30Z").await;
    let before = world.now();
    running.stop().await;
    let waited = world.now().duration_since(before);
    assert_eq!(waited.as_secs(), 600 - 30 - 1);
    assert_eq!(world.states(), [TickState::Ran; 2]);
    assert_eq!(world.state().running, 0);
    world.pass(SignedDuration::from_hours(1)).await;
    assert_eq!(world.states().len(), 2);
}
