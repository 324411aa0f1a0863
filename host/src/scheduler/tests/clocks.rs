//! Wall clocks that jump, and everything at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;

use super::super::{MISSED_ENTRIES_MAX, Options};
use super::world::{BEGIN, HOUR, MINUTE, World, instant};
use crate::schedule::{Cadence, Missed, Overlap, Policy};
use crate::store::TickState;

/// A linear congruential generator: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test(start_paused = true)]
async fn forward_jump_is_noticed_and_makes_up_once() {
    let world = World::new();
    world.every(10 * MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:05:00Z").await;
    world.set_clock(SignedDuration::from_mins(60));
    // It slept, and was to sleep for five more minutes; the cap is ten seconds.
    world.pass(Options::default().sleep_max.try_into().unwrap()).await;
    assert_eq!(world.ran(), ["00:00:00", "01:00:00"]);
    let late = world.state().runs[1].0.lateness;
    assert!(late > Duration::from_secs(300) && late <= Duration::from_secs(311), "{late:?}");
    assert_eq!(world.states()[1..6], [TickState::Missed; 5]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn backward_jump_repeats_nothing_and_stops_nothing() {
    let world = World::new();
    world.every(10 * MINUTE);
    let running = world.start();
    world.until("2026-03-01T02:05:00Z").await;
    assert_eq!(world.ran().len(), 13);
    world.set_clock(SignedDuration::from_hours(-1));
    // 01:10 to 02:00 come again.
    world.until("2026-03-01T02:09:00Z").await;
    assert_eq!(world.ran().len(), 13);
    world.until("2026-03-01T02:21:00Z").await;
    assert_eq!(world.ran()[13..], ["02:10:00", "02:20:00"]);
    world.check_nothing_twice();
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn clock_that_was_years_ahead_does_not_silence_schedules() {
    let world = World::new();
    let ten_years = SignedDuration::from_hours(24 * 3_652);
    let workflow = world.every(10 * MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:05:00Z").await;
    world.set_clock(ten_years);
    world.pass(SignedDuration::from_mins(1)).await;
    let ahead = world.states().len();
    assert!(ahead <= 1 + MISSED_ENTRIES_MAX + 2, "no flood");
    world.set_clock(-ten_years);
    world.until("2026-03-01T00:31:00Z").await;
    assert_eq!(world.ran()[2..], ["00:10:00", "00:20:00", "00:30:00"]);
    assert_eq!(
        running.scheduler.next_due(workflow),
        [("default".to_owned(), instant("2026-03-01T00:40:00Z"))]
    );
    running.stop().await;
    // Nor does a restart believe the ledger's far future.
    let running = world.start();
    world.until("2026-03-01T00:51:00Z").await;
    assert_eq!(world.ran()[5..], ["00:40:00", "00:50:00"]);
    running.stop().await;
}

/// Seeds of random tests: so many, or as many as `TIDEGATE_JUMP_SEEDS` says, other ones for
/// each `TIDEGATE_ORACLE_SEED`.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let from_environment = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = from_environment("TIDEGATE_ORACLE_SEED").unwrap_or(0) * 1_000_000;
    first..first + from_environment("TIDEGATE_JUMP_SEEDS").unwrap_or(default)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_jumps_repeat_and_flood_nothing() {
    for seed in seeds(1) {
        jumps(seed).await;
    }
}

async fn jumps(seed: u64) {
    const JUMPS: usize = 1_000;
    let world = World::new();
    let workflows = [
        world.every(MINUTE),
        world.every(7 * MINUTE + 3),
        world.add(
            Cadence::Cron {
                expression: "*/5 * * * *".to_owned(),
                timezone: "Australia/Lord_Howe".to_owned(),
            },
            Policy::default(),
        ),
    ];
    let running = world.start();
    let mut random = Random(seed + 2);
    for _ in 0..JUMPS {
        let by = SignedDuration::from_secs(random.below(2 * 7_200) as i64 - 7_200);
        world.set_clock(by);
        world.pass(SignedDuration::from_secs(random.below(600) as i64)).await;
    }
    world.check_nothing_twice();
    let runs = world.state().runs.len();
    // Each jump can make up for one instant a schedule; the rest runs on time.
    let on_time = JUMPS * 300 / 60 * 2;
    assert!(runs < JUMPS * workflows.len() + on_time, "{runs}");
    // The ledger shows each instant once, and what ran as such, wherever the clock went.
    for workflow in workflows {
        let listed = world.history(workflow, 101).await;
        assert!(listed.windows(2).all(|pair| pair[0].due > pair[1].due));
        let own: BTreeMap<_, _> = listed.iter().map(|tick| (tick.due, tick.state)).collect();
        let state = world.state();
        let ticks = state.ticks.values().filter(|tick| tick.workflow == workflow);
        assert!(ticks.clone().all(|tick| own.get(&tick.due) == Some(&tick.state)));
        let known: BTreeSet<_> = ticks.map(|tick| tick.due).collect();
        drop(state);
        // An instant without an entry of its own is the member of a stretch.
        assert!(listed.iter().all(|tick| known.contains(&tick.due) || tick.stretch.is_some()));
    }
    // And all go on afterwards.
    world.set_clock(SignedDuration::from_hours(24 * 400));
    world.pass(SignedDuration::from_mins(1)).await;
    let from = world.now();
    let before = world.state().runs.len();
    world.pass(SignedDuration::from_hours(1)).await;
    let until = world.now() - SignedDuration::from_millis(1);
    let rules = world.state().schedules.iter().map(|pull| pull.schedule.rule().unwrap()).collect::<Vec<_>>();
    let due: u64 = rules.iter().map(|rule| rule.count_within(from, until, 100)).sum();
    assert_eq!((world.state().runs.len() - before) as u64, due);
    running.stop().await;
}

/// Pauses, restarts, suspensions, long runs and every policy, at random: in the end each
/// due instant has exactly one entry, and none ran twice.
async fn everything_at_once(seed: u64) {
    let world = World::new();
    let mut random = Random(seed);
    let mut workflows = Vec::new();
    for n in 0..8 {
        let policy = Policy {
            overlap: [Overlap::Forbid, Overlap::QueueOne, Overlap::Allow][n % 3],
            missed: [Missed::Once, Missed::Skip, Missed::All { max: 4 }][random.below(3) as usize],
            start_deadline_ms: (random.below(2) == 0).then_some(90_000),
            jitter_ms: random.below(2) * 20_000,
        };
        let expression = ["* * * * *", "*/7 * * * *", "30 2 * * *", "13 */3 * * *"][random.below(4) as usize];
        let cadence = match random.below(2) {
            0 => Cadence::Every { interval_ms: 30_000 + random.below(HOUR) },
            _ => Cadence::Cron { expression: expression.to_owned(), timezone: "Europe/Paris".to_owned() },
        };
        workflows.push(world.add(cadence, policy));
    }
    let options = Options { running_max: 3, claimed_max: 7, ..Options::default() };
    let mut running = world.scheduler(options);
    for _ in 0..60 {
        let workflow = workflows[random.below(8) as usize];
        match random.below(6) {
            0 => world.pause(workflow, true),
            1 | 2 => world.pause(workflow, false),
            3 => world.set_clock(SignedDuration::from_secs(random.below(20_000) as i64)),
            4 => {
                running.stop().await;
                world.pass(SignedDuration::from_secs(random.below(10_000) as i64)).await;
                running = world.scheduler(options);
            }
            _ => world.state().run_takes = Duration::from_millis(random.below(200_000)),
        }
        world.pass(SignedDuration::from_secs(random.below(2_000) as i64)).await;
    }
    workflows.iter().for_each(|workflow| world.pause(*workflow, false));
    world.state().run_takes = Duration::ZERO;
    world.pass(SignedDuration::from_hours(1)).await;
    running.stop().await;
    let until = world.now() - SignedDuration::from_secs(21);
    world.check_nothing_twice();
    for workflow in workflows {
        // Those within the last seconds may wait for their delay.
        let last = world.state().ticks.keys().filter(|key| key.0 == workflow).map(|key| key.2).max();
        world
            .check_all_accounted_for(workflow, instant(BEGIN) - SignedDuration::from_secs(1), last.unwrap())
            .await;
        let rule = world.state().schedules.iter().find(|pull| pull.workflow == workflow).unwrap().clone();
        assert!(rule.schedule.next_after(last.unwrap()).unwrap() > until, "{}", rule.schedule.describe());
    }
}

#[tokio::test(start_paused = true)]
async fn every_instant_has_one_entry_whatever_happens() {
    for seed in seeds(20) {
        everything_at_once(seed).await;
    }
}
