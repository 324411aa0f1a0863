//! Promises about everything that a store holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::{Setup, all_runs, append, create, json, user, values};
use crate::store::samples::{self, component, log, run, set, tick};
use crate::store::{Claim, Durability, Retention, RunFilter, Store, StoreError, TickState};
use crate::workflow::WorkflowId;

pub(crate) async fn archive_leaves_nothing_behind(setup: &impl Setup) {
    let store = setup.open().await;
    let (gone, kept) = (create(&*store, "gone").await, create(&*store, "kept").await);
    let digest = store.put_blob(Bytes::from_static(b"component")).await.unwrap();
    let due = Timestamp::now();
    let mut runs = BTreeMap::new();
    for workflow in [&gone, &kept] {
        store.add_version(workflow.id, component(digest), None, String::new()).await.unwrap();
        store.commit_settings(workflow.id, vec![set("KEY", "1")], user()).await.unwrap();
        store.claim(tick(workflow.id, "s", due)).await.unwrap();
        let run = run(workflow.id);
        append(&*store, &run).await;
        runs.insert(workflow.id, run.id);
    }
    assert_eq!(store.health().runs, 2);
    store.archive_workflow(gone.id).await.unwrap();
    store.close().await.unwrap();
    for _ in 0..2 {
        let store = setup.open().await;
        let is_missing = |result: Result<(), StoreError>| {
            assert!(matches!(result, Err(StoreError::Missing { .. })), "{result:?}");
        };
        is_missing(store.archive_workflow(gone.id).await);
        is_missing(store.versions(gone.id).await.map(drop));
        is_missing(store.settings(gone.id).await.map(drop));
        is_missing(store.ticks(gone.id, None, None, 10).await.map(drop));
        is_missing(store.commit_settings(gone.id, vec![set("KEY", "1")], user()).await.map(drop));
        is_missing(store.claim(tick(gone.id, "s", due)).await.map(drop));
        is_missing(store.settle(gone.id, "s", due, TickState::Ran, Duration::ZERO).await);
        assert!(store.run(runs[&gone.id]).await.unwrap().is_none());
        assert!(store.run_log(runs[&gone.id]).await.unwrap().is_none());
        assert_eq!(all_runs(&*store, RunFilter::default(), 10).await, [runs[&kept.id]]);
        let own = RunFilter { workflow: Some(gone.id), ..RunFilter::default() };
        assert_eq!(all_runs(&*store, own, 10).await, []);
        assert_eq!(store.health().runs, 1);
        let unsettled = store.unsettled_ticks().await.unwrap();
        assert_eq!(unsettled.iter().map(|tick| tick.workflow).collect::<Vec<_>>(), [kept.id]);
        // The neighbour has everything still.
        assert_eq!(store.versions(kept.id).await.unwrap().len(), 1);
        assert_eq!(values(&store.settings(kept.id).await.unwrap()).len(), 1);
        assert_eq!(store.claim(tick(kept.id, "s", due)).await.unwrap(), Claim::Taken);
        store.close().await.unwrap();
    }
}

pub(crate) async fn everything_is_the_same_after_reopening(setup: &impl Setup) {
    let store = setup.open().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let workflow = create(&*store, &format!("w{number}")).await;
        let blob = Bytes::from(format!("component {number}"));
        let digest = store.put_blob(blob).await.unwrap();
        store.add_version(workflow.id, component(digest), None, "first".to_owned()).await.unwrap();
        store.commit_settings(workflow.id, vec![set("A", "[1]"), set("B", "null")], user()).await.unwrap();
        for second in 0..20 {
            append(&*store, &run(workflow.id)).await;
            let due = Timestamp::from_second(second).unwrap();
            store.claim(tick(workflow.id, "s", due)).await.unwrap();
        }
        ids.push(workflow.id);
    }
    store.archive_workflow(ids.remove(2)).await.unwrap();
    let before = contents(&*store, &ids).await;
    for _ in 0..3 {
        store.close().await.unwrap();
        let store = setup.open().await;
        assert_eq!(contents(&*store, &ids).await, before);
        let found = store.verify().await.unwrap();
        assert_eq!(found.problems, [] as [String; 0]);
        assert!(found.runs_checked >= 80);
        assert_eq!(found.blobs_checked, 5);
        let health = store.health();
        assert_eq!((health.runs, health.stopped), (80, None));
        store.close().await.unwrap();
    }
}

async fn contents(store: &dyn Store, ids: &[WorkflowId]) -> serde_json::Value {
    let mut all = vec![json(&store.workflows().await.unwrap())];
    for id in ids {
        all.push(json(&store.versions(*id).await.unwrap()));
        all.push(super::whole(&store.settings(*id).await.unwrap()));
        all.push(json(&store.ticks(*id, None, None, 100).await.unwrap()));
    }
    let page = store.runs(RunFilter::default(), None, 1000).await.unwrap();
    all.push(json(&page.runs));
    for run in page.runs {
        all.push(json(&store.run_log(run.id).await.unwrap()));
    }
    serde_json::Value::Array(all)
}

pub(crate) async fn closed_store_takes_no_changes(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "closed").await;
    store.close().await.unwrap();
    store.close().await.unwrap();
    let is_stopped = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Stopped(_))), "{result:?}");
    };
    let due = Timestamp::now();
    is_stopped(store.create_workflow(samples::workflow("new")).await);
    is_stopped(store.save_workflow(workflow.clone()).await.map(drop));
    is_stopped(store.archive_workflow(workflow.id).await);
    is_stopped(store.put_blob(Bytes::from_static(b"x")).await.map(drop));
    is_stopped(store.commit_settings(workflow.id, vec![set("KEY", "1")], user()).await.map(drop));
    is_stopped(store.append_run(Arc::new(run(workflow.id)), log(0), Durability::Written).await);
    is_stopped(store.claim(tick(workflow.id, "s", due)).await.map(drop));
    is_stopped(store.settle(workflow.id, "s", due, TickState::Ran, Duration::ZERO).await);
    is_stopped(store.prune(Retention { accepted_before: Some(due), ..Retention::default() }).await.map(drop));
    is_stopped(store.collect_garbage(&[]).await.map(drop));
}
