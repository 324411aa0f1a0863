//! Retention of the embedded store: what goes, what stays, and the space that comes back.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::embedded_tests::{Embedded, files};
use super::frame::Salt;
use super::samples::{log, run, tick, workflow};
use super::segment::{Portion, Segment};
use super::sidecar::Summary;
use super::{
    Claim, Durability, EmbeddedOptions, EmbeddedStore, Retention, RunFilter, Store, WorkflowRetention,
};
use crate::workflow::WorkflowId;

#[tokio::test(flavor = "multi_thread")]
async fn prune_gives_space_back_by_whole_segments() {
    let setup = Embedded::new(EmbeddedOptions { segment_rows: 10, ..EmbeddedOptions::default() });
    let store = setup.store().await;
    let workflow = workflow("pruned");
    store.create_workflow(workflow.clone()).await.unwrap();
    let start = Timestamp::now();
    let mut ids = Vec::new();
    for number in 0..55 {
        let mut run = run(workflow.id);
        run.accepted_at = start + SignedDuration::from_secs(number);
        ids.push(run.id);
        store.append_run(Arc::new(run), log(1), Durability::Written).await.unwrap();
    }
    let runs = setup.data().join("runs");
    assert_eq!(files(&runs, "seg"), 6);
    let before = store.health().run_bytes;
    let cut = start + SignedDuration::from_secs(25);
    let by_age = Retention { accepted_before: Some(cut), ..Retention::default() };
    assert_eq!(store.prune(by_age).await.unwrap().runs, 20);
    assert_eq!(files(&runs, "seg"), 4);
    assert!(store.health().run_bytes < before * 4 / 5);
    // By size: what stays is at least what the policy says.
    let by_size = Retention { bytes_max: Some(before / 3), ..Retention::default() };
    assert_eq!(store.prune(by_size).await.unwrap().runs, 10);
    assert!(store.health().run_bytes >= before / 3);
    // The segment that is written is ended when everything in it is old.
    let all =
        Retention { accepted_before: Some(start + SignedDuration::from_hours(1)), ..Retention::default() };
    assert_eq!(store.prune(all).await.unwrap().runs, 25);
    assert_eq!((files(&runs, "seg"), store.health().runs), (1, 0));
    assert!(store.run(ids[54]).await.unwrap().is_none());
    store.append_run(Arc::new(run(workflow.id)), log(1), Durability::Written).await.unwrap();
    store.close().await.unwrap();
    let store = setup.store().await;
    assert_eq!(store.runs(RunFilter::default(), None, 10).await.unwrap().runs.len(), 1);
    assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
}

/// Index files of all complete segments are there when this returns.
async fn settle_keeper(store: &EmbeddedStore) {
    assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
}

pub(super) fn keep(workflow: WorkflowId, runs_max: u64) -> Retention {
    let own =
        WorkflowRetention { workflow, accepted_before: None, bytes_max: None, runs_max: Some(runs_max) };
    Retention { workflows: vec![own], ..Retention::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn space_of_a_workflows_runs_comes_back_out_of_shared_segments() {
    let setup = Embedded::new(EmbeddedOptions { segment_rows: 20, ..EmbeddedOptions::default() });
    let store = setup.store().await;
    let (chatty, quiet, archived) = (workflow("chatty"), workflow("quiet"), workflow("archived"));
    for workflow in [&chatty, &quiet, &archived] {
        store.create_workflow(workflow.clone()).await.unwrap();
    }
    let mut kept = Vec::new();
    for number in 0..200 {
        let id = [chatty.id, quiet.id, chatty.id, chatty.id, archived.id][number % 5];
        let run = run(id);
        kept.extend((id == quiet.id).then_some(run.id));
        store.append_run(Arc::new(run), log(3), Durability::Written).await.unwrap();
        let due = Timestamp::from_second(number as i64).unwrap();
        store.claim(tick(quiet.id, "s", due)).await.unwrap();
    }
    settle_keeper(&store).await;
    let before = store.health();
    let pruned = store.prune(keep(chatty.id, 6)).await.unwrap();
    assert_eq!(pruned.runs, 114);
    store.archive_workflow(archived.id).await.unwrap();
    // With the archived runs every old segment is four fifths dead.
    let pruned = store.prune(Retention::default()).await.unwrap().bytes + pruned.bytes;
    let after = store.health();
    assert!(
        pruned > before.run_bytes / 2 && after.run_bytes <= before.run_bytes - pruned,
        "{pruned}: {after:?}"
    );
    assert!(after.dead_bytes * 2 < after.run_bytes.max(1), "{after:?}");
    settle_keeper(&store).await;
    let on_disk: u64 = fs::read_dir(setup.data().join("runs"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "seg"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert_eq!(on_disk, after.run_bytes);
    store.close().await.unwrap();
    for _ in 0..2 {
        let store = setup.store().await;
        assert_eq!(store.health().runs, 46);
        for id in &kept {
            assert_eq!(store.run(*id).await.unwrap().unwrap().id, *id);
            assert_eq!(store.run_log(*id).await.unwrap().unwrap(), log(3).to_vec());
        }
        let of_chatty = RunFilter { workflow: Some(chatty.id), ..RunFilter::default() };
        assert_eq!(store.runs(of_chatty, None, 100).await.unwrap().runs.len(), 6);
        // The ledger is whole: nothing can be claimed twice.
        assert_eq!(store.ticks(quiet.id, None, None, 1000).await.unwrap().len(), 200);
        let claim = store.claim(tick(quiet.id, "s", Timestamp::from_second(17).unwrap())).await.unwrap();
        assert_eq!(claim, Claim::Taken);
        assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_found_while_their_segment_is_written_anew() {
    let setup = Embedded::new(EmbeddedOptions { segment_rows: 50, ..EmbeddedOptions::default() });
    let store = setup.store().await;
    let (dropped, kept) = (workflow("dropped"), workflow("kept"));
    store.create_workflow(dropped.clone()).await.unwrap();
    store.create_workflow(kept.clone()).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..600 {
        let run = run(if number % 3 == 0 { kept.id } else { dropped.id });
        ids.extend((number % 3 == 0).then_some(run.id));
        store.append_run(Arc::new(run), log(1), Durability::Written).await.unwrap();
    }
    settle_keeper(&store).await;
    let before = store.health().run_bytes;
    let done = std::sync::atomic::AtomicBool::new(false);
    let reading = async {
        let mut rounds = 0;
        while rounds < 2 || !done.load(std::sync::atomic::Ordering::Relaxed) {
            let filter = RunFilter { workflow: Some(kept.id), ..RunFilter::default() };
            assert_eq!(store.runs(filter.clone(), None, 1000).await.unwrap().runs.len(), 200);
            let text = Some("line 0".to_owned());
            let found = store.runs(RunFilter { text, ..filter }, None, 1000).await.unwrap();
            assert_eq!(found.runs.len(), 200);
            for id in &ids {
                assert_eq!(store.run(*id).await.unwrap().unwrap().id, *id);
                assert_eq!(store.run_log(*id).await.unwrap().unwrap(), log(1).to_vec());
            }
            rounds += 1;
        }
    };
    let pruning = async {
        for runs_max in (0..8).rev() {
            store.prune(keep(dropped.id, 50 * runs_max)).await.unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(reading, pruning);
    assert_eq!(store.health().warnings, [] as [String; 0]);
    assert!(store.health().run_bytes < before / 2);
}

/// The survey may have the segment from before it got its index.
#[test]
fn what_is_counted_dead_while_a_segment_gets_its_index_stays_counted() {
    let live = Segment::live(1, Salt::new(7), 100);
    let before = HashMap::from([(WorkflowId::new(), Portion { runs: 1, bytes: 10 })]);
    live.set_dead(before.clone());
    let complete = live.with_index(Summary::default(), 20);
    assert_eq!((complete.dead(), complete.bytes(), complete.number), (before, 100, 1));
    let later = HashMap::from([(WorkflowId::new(), Portion { runs: 5, bytes: 50 })]);
    live.set_dead(later.clone());
    assert_eq!(complete.dead(), later);
}
