//! The process dies before, in or after any single step of the store, and again while it
//! opens; a flush fails; the disk is full at any moment.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;

use super::crash_tests::{Acknowledged, progress, soak};
use super::disk::faults::{Fault, plan};
use super::mount::{Mount, skipped};
use super::samples::{component, end, event, input, log, run, set, tick, workflow};
use super::{
    Durability, EmbeddedOptions, EmbeddedStore, EventInput, EventQueue, QueueEntry, Result, Retention,
    RunFilter, Settlement, SpaceLevel, Store, StoreError, TickState, WorkflowRetention,
};
use crate::run::{RunId, Status};
use crate::workflow::{SettingWriter, WorkflowId};

/// Everything that rotates does so at once.
fn restless() -> EmbeddedOptions {
    EmbeddedOptions {
        flush: Duration::from_millis(1),
        segment_rows: 4,
        checkpoint: Duration::from_millis(1),
        garbage: Duration::ZERO,
        // Where tests run there may be little room.
        space_low_bytes: 0,
        space_full_bytes: 0,
        ..EmbeddedOptions::default()
    }
}

async fn open(path: &Path) -> Result<Arc<EmbeddedStore>> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, restless())).await.unwrap()
}

/// Some of everything, until something fails. What was acknowledged is noted.
async fn work(store: &EmbeddedStore, acknowledged: &mut Acknowledged) -> Result<()> {
    let own = workflow(&format!("w-{}", RunId::new()));
    store.create_workflow(own.clone()).await?;
    acknowledged.workflows.insert(own.id);
    let noise = workflow(&format!("n-{}", RunId::new()));
    store.create_workflow(noise.clone()).await?;
    let digest = store.put_blob(Bytes::from(format!("component of {}", own.id))).await?;
    store.add_version(own.id, component(digest), None, String::new()).await?;
    let start = Timestamp::now();
    for number in 0..8 {
        for (id, lines) in [(own.id, 2), (noise.id, 4), (noise.id, 4), (noise.id, 4)] {
            let run = Arc::new(run(id));
            let durability = [Durability::Written, Durability::Durable][number as usize % 2];
            store.append_run(run.clone(), log(lines), durability).await?;
            if id == own.id {
                acknowledged.runs.push(run.id);
            }
        }
        let due = start + SignedDuration::from_secs(number);
        store.claim(tick(own.id, "s", due)).await?;
        acknowledged.claims.insert((own.id, due));
        if number % 2 == 0 {
            store.settle(own.id, "s", due, TickState::Ran, Duration::ZERO).await?;
            acknowledged.settled.insert((own.id, due));
        }
        let changes = vec![set("NUMBER", &number.to_string())];
        store.commit_settings(own.id, changes, SettingWriter::User(None)).await?;
        acknowledged.settings.insert(own.id, number as u64);
    }
    let limits =
        WorkflowRetention { workflow: noise.id, accepted_before: None, bytes_max: None, runs_max: Some(1) };
    store.prune(Retention { workflows: vec![limits], ..Retention::default() }).await?;
    store.archive_workflow(noise.id).await?;
    acknowledged.archived.insert(noise.id);
    store.prune(Retention::default()).await?;
    store.collect_garbage(&[]).await?;
    Ok(())
}

/// Events on each step of their way, until something fails.
async fn queue(store: &EmbeddedStore, own: WorkflowId, acknowledged: &mut Acknowledged) -> Result<()> {
    for steps in 0..3 {
        let event = event(own);
        let id = event.id;
        let now = Timestamp::now();
        store.enqueue(QueueEntry::waiting(event, now), input(&id.to_string())).await?;
        acknowledged.events.push(id);
        if steps > 0 {
            store.take(id).await?;
            let retry = Settlement::Retry { not_before: now, counts: true };
            store.settle_event(id, id, retry).await?;
            acknowledged.retried.insert(id);
        }
        if steps > 1
            && let Some(leased) = store.take(id).await?
        {
            let over = Settlement::End(end(Status::Succeeded, false));
            store.settle_event(id, leased.entry.run, over).await?;
            acknowledged.ended.insert(id);
        }
    }
    Ok(())
}

/// Opens, works and closes with a fault planned. Returns the steps that were taken.
async fn live(path: &Path, fault: Option<(usize, Fault)>, acknowledged: &mut Acknowledged) -> usize {
    let planned = plan(path, fault);
    if let Ok(store) = open(path).await {
        let mut worked = work(&store, acknowledged).await;
        if let Some(own) = acknowledged.workflows.first().copied() {
            worked = worked.and(queue(&store, own, acknowledged).await);
        }
        let closed = store.close().await;
        assert!(fault.is_some() || (worked.is_ok() && closed.is_ok()), "{worked:?} {closed:?}");
    }
    planned.taken()
}

/// What was acknowledged is there, and the store goes on.
async fn check(path: &Path, acknowledged: &Acknowledged, what: &str) {
    let store = match open(path).await {
        Ok(store) => store,
        Err(error) => panic!("{what}: {error}"),
    };
    tracing::info!(what, "checking");
    acknowledged.check(&store, 0).await;
    assert_eq!(store.health().stopped, None);
    store.close().await.unwrap();
}

fn folder() -> tempfile::TempDir {
    // In memory where there is such a place: thousands of flushes come.
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

/// Runs a test of this file in a process of its own, without a `PATH`: sled starts the
/// program `sync` whenever it opens, which flushes the whole machine.
fn in_child(test: &str, variables: &[(&str, &Path)]) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store::fault_tests::{test}"), "--nocapture"])
        .env("PATH", "")
        .env(CHILD, "1")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A store that hangs must not hang the tests.
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let pid = rustix::process::Pid::from_child(&child);
    let watch = std::thread::spawn(move || {
        if is_done.recv_timeout(CHILD_TIME_MAX) == Err(RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watch.join().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let end = |text: &str| text.lines().rev().take(40).map(|line| format!("{line}\n")).collect::<String>();
    assert!(output.status.success(), "{}\n{}", end(&text), end(&errors));
}

/// Time that a child may take for its part: a minute on a machine with nothing else to do.
const CHILD_TIME_MAX: Duration = Duration::from_secs(900);
/// What of a soak a child does: it must not take all night, lest nobody notice that it hangs.
const PART: &str = "TIDEGATE_TEST_FAULT_PART";
const CHILD: &str = "TIDEGATE_TEST_FAULT_CHILD";
const MOUNT: &str = "TIDEGATE_TEST_FAULT_MOUNT";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[test]
fn death_at_any_step_loses_nothing() {
    in_child("child_dies_at_every_step", &[]);
}

/// Not a test by itself: runs in a child.
#[tokio::test(flavor = "multi_thread")]
async fn child_dies_at_every_step() {
    if !is_child() {
        return;
    }
    for at in 0..steps().await {
        for kind in [Fault::Before, Fault::Torn, Fault::After] {
            let temp = folder();
            let data = temp.path().join("data");
            let mut acknowledged = Acknowledged::default();
            live(&data, Some((at, kind)), &mut acknowledged).await;
            check(&data, &acknowledged, &format!("{kind:?} step {at}")).await;
        }
    }
}

#[test]
fn two_deaths_lose_nothing() {
    let rounds = soak(PAIR_ROUNDS_VARIABLE, 1);
    for round in 0..rounds {
        in_child("child_dies_twice", &[(PART, Path::new(&round.to_string()))]);
        progress(rounds - round - 1, "rounds of pairs of deaths");
    }
}

/// Not a test by itself: runs in a child.
#[tokio::test(flavor = "multi_thread")]
async fn child_dies_twice() {
    if !is_child() {
        return;
    }
    let steps = steps().await;
    let kinds = [Fault::Before, Fault::Torn, Fault::After];
    let round = soak(PART, 0);
    for at in 0..steps {
        // The second is likely to come while the store still recovers from the first. One
        // second step for each first one and round, so that many rounds have all pairs.
        let (first, second) = (kinds[(at + round) % 3], kinds[(at / 3 + round / 3) % 3]);
        let (first, second) = ((at, first), ((at + round * 7) % RECOVERY_STEPS, second));
        let temp = folder();
        let data = temp.path().join("data");
        let mut acknowledged = Acknowledged::default();
        live(&data, Some(first), &mut acknowledged).await;
        live(&data, Some(second), &mut acknowledged).await;
        check(&data, &acknowledged, &format!("{first:?} and {second:?}")).await;
    }
}

/// Steps that the work takes, with those of its threads.
async fn steps() -> usize {
    let temp = folder();
    let steps = live(&temp.path().join("data"), None, &mut Acknowledged::default()).await;
    assert!(steps > 100, "only {steps} steps");
    steps + 10
}

/// Set by `make soak` to more than the tests' one round of pairs.
const PAIR_ROUNDS_VARIABLE: &str = "TIDEGATE_SOAK_PAIR_ROUNDS";
/// Steps of a store that opens, and a few more. It shares no factor with the 7 by which the
/// second step moves, nor with the 9 pairs of faults: 180 rounds have every pair of both.
const RECOVERY_STEPS: usize = 20;

#[test]
fn step_that_fails_stops_the_store_or_nothing() {
    in_child("child_fails_at_every_step", &[]);
}

/// Not a test by itself: runs in a child.
#[tokio::test(flavor = "multi_thread")]
async fn child_fails_at_every_step() {
    if !is_child() {
        return;
    }
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    for at in 0..steps().await {
        let temp = folder();
        let data = temp.path().join("data");
        let mut acknowledged = Acknowledged::default();
        let code = if at % 2 == 0 { EIO } else { ENOSPC };
        live(&data, Some((at, Fault::Fails(code))), &mut acknowledged).await;
        check(&data, &acknowledged, &format!("error {code} at step {at}")).await;
    }
}

// ---- disk full ----------------------------------------------------------------------

/// Set by `make soak` to more than the tests' number of fills.
const FILLS_VARIABLE: &str = "TIDEGATE_SOAK_FILLS";
const FILLS: usize = 50;

#[test]
fn full_disk_loses_nothing_and_is_left_behind_by_itself() {
    let Some(mount) = Mount::in_memory(16) else { return skipped() };
    let mut left = soak(FILLS_VARIABLE, FILLS);
    while left > 0 {
        let fills = left.min(FILLS);
        let part = fills.to_string();
        in_child("child_fills_its_disk", &[(MOUNT, mount.path()), (PART, Path::new(&part))]);
        left -= fills;
        progress(left, "fills of the store's disk");
    }
}

/// Not a test by itself: runs in a child.
#[tokio::test(flavor = "multi_thread")]
async fn child_fills_its_disk() {
    let Some(mount) = std::env::var_os(MOUNT).filter(|_| is_child()) else { return };
    let mount = PathBuf::from(mount);
    let mut random = rand::rng();
    for trial in 0..soak(PART, FILLS) {
        let data = mount.join("data");
        let mut acknowledged = Acknowledged::default();
        let store = open(&data).await.unwrap();
        work(&store, &mut acknowledged).await.unwrap();
        // Somebody else fills the file system to the last page, or nearly.
        let ballast = mount.join("ballast");
        let left = random.random_range(0..3) * random.random_range(0..100_000);
        fill(&ballast, left);
        let mut refused = 0;
        for _ in 0..3 {
            match work(&store, &mut acknowledged).await {
                Ok(()) => {}
                Err(StoreError::Full { .. }) => refused += 1,
                Err(StoreError::Io { source, .. }) if super::is_full(&source) => refused += 1,
                Err(error) => panic!("trial {trial}: {error}: {:?}", store.health().stopped),
            }
        }
        assert!(left > 0 || refused > 0, "the disk was not full");
        assert_eq!(store.health().stopped, None, "trial {trial}");
        for id in &acknowledged.runs {
            assert!(store.run(*id).await.unwrap().is_some());
        }
        if trial % 3 == 0 {
            // The host ends while the disk is full, and starts again when it is not.
            let own = *acknowledged.workflows.first().unwrap();
            let _ = tokio::join!(queue(&store, own, &mut acknowledged), store.close());
            std::fs::remove_file(&ballast).unwrap();
            check(&data, &acknowledged, &format!("trial {trial}, closed")).await;
        } else {
            // Events wait for room.
            let own = *acknowledged.workflows.first().unwrap();
            let freeing = async { std::fs::remove_file(&ballast) };
            let (queued, freed) = tokio::join!(queue(&store, own, &mut acknowledged), freeing);
            queued.and(freed.map_err(|source| StoreError::Io { action: String::new(), source })).unwrap();
            // By itself, at once.
            work(&store, &mut acknowledged).await.unwrap();
            store.close().await.unwrap();
            check(&data, &acknowledged, &format!("trial {trial}")).await;
        }
        std::fs::remove_dir_all(&data).unwrap();
    }
}

/// Writes a file until `left` bytes are free.
fn fill(path: &Path, left: u64) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    let chunk = [7; 4096];
    while file.write_all(&chunk).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(left)).unwrap();
}

#[test]
fn little_room_refuses_deploys_first_and_then_records() {
    let Some(mount) = Mount::in_memory(16) else { return skipped() };
    in_child("child_runs_low", &[(MOUNT, mount.path())]);
}

/// Not a test by itself: runs in a child.
#[tokio::test(flavor = "multi_thread")]
async fn child_runs_low() {
    let Some(mount) = std::env::var_os(MOUNT).filter(|_| is_child()) else { return };
    let mount = PathBuf::from(mount);
    let options = EmbeddedOptions { space_low_bytes: 1 << 30, space_full_bytes: 1 << 20, ..restless() };
    let data = mount.join("data");
    let store =
        tokio::task::spawn_blocking(move || EmbeddedStore::open(&data, options)).await.unwrap().unwrap();
    let own = workflow("own");
    store.create_workflow(own.clone()).await.unwrap();
    let put = |text: &'static [u8]| store.put_blob(Bytes::from_static(text));
    let append = || store.append_run(Arc::new(run(own.id)), log(1), Durability::Durable);
    put(b"first").await.unwrap();
    append().await.unwrap();
    let ballast = mount.join("ballast");
    // A tenth of 16 MiB is the first mark, a twentieth the second.
    fill(&ballast, 1_300_000);
    wait_for(&store, SpaceLevel::Low).await;
    assert!(matches!(put(b"second").await, Err(StoreError::Full { .. })));
    append().await.unwrap();
    // Events that may come later are refused, those of callers who wait are not.
    let waiting = || QueueEntry::waiting(event(own.id), Timestamp::now());
    let leased = || QueueEntry::leased(event(own.id));
    assert!(matches!(store.enqueue(waiting(), input("a")).await, Err(StoreError::Full { .. })));
    store.enqueue(leased(), EventInput::Nothing).await.unwrap();
    fill(&ballast, 500_000);
    wait_for(&store, SpaceLevel::Full).await;
    assert!(matches!(append().await, Err(StoreError::Full { .. })));
    let written = store.append_run(Arc::new(run(own.id)), log(1), Durability::Written).await;
    assert!(matches!(written, Err(StoreError::Full { .. })));
    assert!(matches!(store.enqueue(leased(), EventInput::Nothing).await, Err(StoreError::Full { .. })));
    // What must not fail goes on.
    let due = Timestamp::now();
    let retried = EventInput::Tick { schedule: "s".to_owned(), due };
    store.enqueue(leased(), retried).await.unwrap();
    store.claim(tick(own.id, "s", due)).await.unwrap();
    store.settle(own.id, "s", due, TickState::Ran, Duration::ZERO).await.unwrap();
    store.commit_settings(own.id, vec![set("A", "1")], SettingWriter::User(None)).await.unwrap();
    std::fs::remove_file(&ballast).unwrap();
    wait_for(&store, SpaceLevel::Enough).await;
    append().await.unwrap();
    put(b"second").await.unwrap();
    assert_eq!(store.runs(RunFilter::default(), None, 10).await.unwrap().runs.len(), 3);
    store.close().await.unwrap();
}

async fn wait_for(store: &EmbeddedStore, level: SpaceLevel) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while store.health().space != level {
        assert!(std::time::Instant::now() < deadline, "{:?}", store.health());
        tokio::task::yield_now().await;
    }
}
