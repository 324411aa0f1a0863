//! Claims: restarts, other hosts, a store that fails.

use std::time::Duration;

use jiff::SignedDuration;

use super::world::{MINUTE, World, instant};
use crate::run::RunId;
use crate::store::{Tick, TickState};

#[tokio::test(start_paused = true)]
async fn runs_that_the_end_of_the_host_cut_are_settled_at_the_next_start() {
    let world = World::new();
    world.state().run_takes = Duration::from_secs(40);
    let workflow = world.every(MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:01:10Z").await;
    running.kill().await;
    assert_eq!(world.states(), [TickState::Ran, TickState::Claimed]);
    let running = world.start();
    world.until("2026-03-01T00:01:30Z").await;
    // It is not run again; its record is the workflow's business.
    assert_eq!(world.states(), [TickState::Ran, TickState::Interrupted]);
    assert_eq!(world.state().recovered.len(), 1);
    assert_eq!(world.state().runs.len(), 2);
    world.until("2026-03-01T00:02:50Z").await;
    assert_eq!(world.ran(), ["00:00:00", "00:01:00", "00:02:00"]);
    world
        .check_all_accounted_for(workflow, instant("2026-02-28T23:59:59Z"), instant("2026-03-01T00:02:50Z"))
        .await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn later_instant_is_not_claimed_before_an_earlier_one_on_a_slow_disk() {
    let world = World::new();
    let workflow = world.every(MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:01:10Z").await;
    running.kill().await;
    world.until("2026-03-01T00:10:10Z").await;
    // What was missed takes two claims, and the next instant comes between them.
    world.state().claim_takes = Duration::from_secs(90);
    let running = world.start();
    world.until("2026-03-01T00:12:50Z").await;
    running.kill().await;
    world.state().claim_takes = Duration::ZERO;
    let running = world.start();
    world.until("2026-03-01T00:15:30Z").await;
    world
        .check_all_accounted_for(workflow, instant("2026-02-28T23:59:59Z"), instant("2026-03-01T00:15:30Z"))
        .await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn instants_that_another_host_claimed_do_not_run() {
    let world = World::new();
    let workflow = world.every(MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:00:30Z").await;
    for minute in [1, 3] {
        let due = instant("2026-03-01T00:00:00Z") + SignedDuration::from_mins(minute);
        let (schedule, run, state) = ("default".to_owned(), RunId::new(), TickState::Ran);
        let (lateness_us, stretch) = (0, None);
        let tick = Tick {
            workflow,
            schedule: schedule.clone(),
            due,
            run,
            claimed_at: due,
            state,
            lateness_us,
            stretch,
        };
        world.state().ticks.insert((workflow, schedule, due), tick);
    }
    world.until("2026-03-01T00:04:30Z").await;
    assert_eq!(world.ran(), ["00:00:00", "00:02:00", "00:04:00"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_hosts_share_the_work_without_doing_it_twice() {
    let world = World::new();
    let workflows: Vec<_> = (0..20).map(|n| world.every(MINUTE + n)).collect();
    let (first, second) = (world.start(), world.start());
    world.until("2026-03-01T01:00:00Z").await;
    first.stop().await;
    world.until("2026-03-01T01:30:00.5Z").await;
    second.stop().await;
    world.check_nothing_twice();
    for workflow in workflows {
        world.check_all_accounted_for(workflow, instant("2026-02-28T23:59:59Z"), world.now()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_unclaimed_and_nothing_is_lost_while_the_store_fails() {
    let world = World::new();
    let workflow = world.every(MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:01:30Z").await;
    world.state().store_fails = true;
    // A schedule that is new meanwhile cannot even be looked up.
    let new = world.every(5 * MINUTE);
    world.until("2026-03-01T00:10:40Z").await;
    assert_eq!(world.ran(), ["00:00:00", "00:01:00"]);
    assert_eq!(running.scheduler.next_due(new), []);
    world.state().store_fails = false;
    world.until("2026-03-01T00:12:30Z").await;
    assert_eq!(
        world.state().runs.iter().filter(|(due, _)| due.tick.workflow == workflow).count(),
        2 + 1 + 2,
        "two before, the latest of those missed, two after"
    );
    world.check_nothing_twice();
    for workflow in [workflow, new] {
        let until = instant("2026-03-01T00:12:30Z");
        world.check_all_accounted_for(workflow, instant("2026-02-28T23:59:59Z"), until).await;
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn later_instant_is_not_claimed_before_one_at_which_the_store_failed() {
    let world = World::new();
    let workflow = world.every(MINUTE);
    let running = world.start();
    world.until("2026-03-01T00:01:10Z").await;
    running.kill().await;
    world.until("2026-03-01T00:10:10Z").await;
    // What was missed takes a while, and the next instant waits behind it.
    world.state().claim_takes = Duration::from_secs(90);
    let running = world.start();
    world.until("2026-03-01T00:11:30Z").await;
    world.state().claim_takes = Duration::ZERO;
    world.state().claims_fail = 1;
    world.until("2026-03-01T00:11:42Z").await;
    assert_eq!(world.state().claims_fail, 0, "one claim has failed, and the store works again");
    running.kill().await;
    let running = world.start();
    world.until("2026-03-01T00:15:30Z").await;
    world
        .check_all_accounted_for(workflow, instant("2026-02-28T23:59:59Z"), instant("2026-03-01T00:15:30Z"))
        .await;
    world.check_nothing_twice();
    running.stop().await;
}
