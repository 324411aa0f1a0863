//! What every implementation of [`Store`] must do: one case for each promise of the
//! trait.
//!
//! An implementation says with [`Setup`] how its store is opened, and has all cases as
//! tests of its own with `contract_tests!`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::samples::{component, log, run, set, tick, unset, workflow};
use super::{Claim, Durability, Retention, RunFilter, RunPage, Store, StoreError, TickState};
use crate::run::{Run, RunId, Status, Trigger};
use crate::workflow::{
    Digest, Kind, Revision, Runtime, SettingWriter, Settings, State, Visibility, Workflow, WorkflowId,
};

/// How a store is opened.
#[async_trait]
pub(crate) trait Setup: Send + Sync {
    /// Opens the store: empty the first time, and with what it held when it was closed
    /// after that. It is closed in between.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Declares one test for each case, in a module of its own.
macro_rules! contract_tests {
    ($module:ident, $setup:expr) => {
        mod $module {
            use super::*;
            $crate::store::contract::contract_tests! { @cases $setup,
                workflows_are_listed_by_name
                taken_name_is_refused_until_its_workflow_is_archived
                one_of_many_saves_of_a_revision_wins
                save_keeps_name_kind_and_creation
                archive_leaves_nothing_behind
                versions_are_numbered_without_gaps
                version_needs_its_blobs_and_its_workflow
                only_a_version_that_is_there_can_be_active
                blobs_come_back_and_the_same_bytes_are_one_blob
                collector_spares_blobs_that_are_used_kept_or_fresh
                runtime_is_kept_under_its_name_with_its_component
                commits_of_different_settings_all_win
                later_commit_of_a_setting_wins
                commit_of_settings_is_all_or_nothing
                appended_run_is_read_at_once
                run_needs_its_workflow
                runs_are_listed_newest_first_through_every_filter
                pages_have_every_run_once_while_others_are_appended
                prune_deletes_what_it_counts_and_nothing_younger
                instant_is_claimed_once_for_ever
                older_instant_can_be_claimed_after_a_newer_one
                ledger_shows_what_became_of_each_instant
                prune_never_makes_an_instant_free_again
                everything_is_the_same_after_reopening
                closed_store_takes_no_changes
            }
        }
    };
    (@cases $setup:expr, $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                $crate::store::contract::$case(&$setup).await;
            }
        )*
    };
}
pub(crate) use contract_tests;

async fn create(store: &dyn Store, name: &str) -> Workflow {
    let workflow = workflow(name);
    store.create_workflow(workflow.clone()).await.unwrap();
    workflow
}

async fn append(store: &dyn Store, run: &Run) {
    store.append_run(Arc::new(run.clone()), log(2), Durability::Written).await.unwrap();
}

fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap()
}

fn values(settings: &Settings) -> BTreeMap<String, String> {
    let entries = settings.entries.iter();
    entries.map(|(name, setting)| (name.clone(), setting.value.get().to_owned())).collect()
}

fn user() -> SettingWriter {
    SettingWriter::User(None)
}

async fn all_runs(store: &dyn Store, filter: RunFilter, page: usize) -> Vec<RunId> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let RunPage { runs, next } = store.runs(filter.clone(), cursor, page).await.unwrap();
        assert!(runs.len() <= page);
        ids.extend(runs.iter().map(|run| run.id));
        match next {
            None => return ids,
            Some(next) => {
                assert_eq!(ids.last(), Some(&next));
                cursor = Some(next);
            }
        }
    }
}

pub(crate) async fn workflows_are_listed_by_name(setup: &impl Setup) {
    let store = setup.open().await;
    let mut expected = BTreeMap::new();
    for name in ["pear", "apple", "fig-2", "fig"] {
        expected.insert(name.to_owned(), json(&create(&*store, name).await));
    }
    for _ in 0..2 {
        let listed = store.workflows().await.unwrap();
        let names: Vec<_> = listed.iter().map(|workflow| workflow.name.as_str()).collect();
        assert_eq!(names, ["apple", "fig", "fig-2", "pear"]);
        listed.iter().for_each(|workflow| assert_eq!(json(workflow), expected[workflow.name.as_str()]));
    }
}

pub(crate) async fn taken_name_is_refused_until_its_workflow_is_archived(setup: &impl Setup) {
    let store = setup.open().await;
    let creations = (0..16).map(|_| store.create_workflow(workflow("once")));
    let results = join_all(creations).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for result in results.into_iter().filter_map(Result::err) {
        assert!(matches!(result, StoreError::NameTaken(name) if name.as_str() == "once"));
    }
    let first = store.workflows().await.unwrap().remove(0);
    let second = Workflow { name: "other".parse().unwrap(), ..first.clone() };
    assert!(matches!(store.create_workflow(second).await, Err(StoreError::Conflict { .. })));
    store.archive_workflow(first.id).await.unwrap();
    let again = create(&*store, "once").await;
    assert_ne!(again.id, first.id);
}

pub(crate) async fn one_of_many_saves_of_a_revision_wins(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "shared").await;
    let saves = (0..16)
        .map(|number| store.save_workflow(Workflow { description: number.to_string(), ..workflow.clone() }));
    let results = join_all(saves).await;
    let saved: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(saved.len(), 1);
    assert!(saved[0].revision > workflow.revision);
    assert!(saved[0].updated_at >= workflow.updated_at);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        match error {
            StoreError::Conflict { expected, found, .. } => {
                assert_eq!((*expected, *found), (workflow.revision, saved[0].revision));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(json(&store.workflows().await.unwrap()[0]), json(saved[0]));
    let unknown = super::samples::workflow("unknown");
    assert!(matches!(store.save_workflow(unknown).await, Err(StoreError::Missing { .. })));
}

pub(crate) async fn save_keeps_name_kind_and_creation(setup: &impl Setup) {
    let store = setup.open().await;
    let before = create(&*store, "fixed").await;
    let saved = store
        .save_workflow(Workflow {
            name: "renamed".parse().unwrap(),
            kind: Kind::Pull,
            created_at: Timestamp::UNIX_EPOCH,
            state: State::Paused,
            private: true,
            ..before.clone()
        })
        .await
        .unwrap();
    assert_eq!((saved.name, saved.kind, saved.created_at), (before.name, before.kind, before.created_at));
    assert_eq!((saved.state, saved.private), (State::Paused, true));
}

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
        is_missing(store.ticks(gone.id, None, 10).await.map(drop));
        is_missing(store.commit_settings(gone.id, vec![set("KEY", "1")], user()).await.map(drop));
        is_missing(store.claim(tick(gone.id, "s", due)).await.map(drop));
        is_missing(store.settle(gone.id, "s", due, TickState::Ran).await);
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

pub(crate) async fn versions_are_numbered_without_gaps(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "deployed").await;
    let digest = store.put_blob(Bytes::from_static(b"component")).await.unwrap();
    assert_eq!(store.versions(workflow.id).await.unwrap(), []);
    let added = (0..16).map(|number| {
        store.add_version(workflow.id, component(digest), Some("ada".to_owned()), number.to_string())
    });
    let added: Vec<_> = join_all(added).await.into_iter().map(Result::unwrap).collect();
    let numbers: BTreeSet<u32> = added.iter().map(|(version, _)| version.number).collect();
    assert_eq!(numbers, (1..=16).collect());
    for (version, now) in &added {
        assert_eq!(now.active_version, Some(version.number));
    }
    store.close().await.unwrap();
    let store = setup.open().await;
    let versions = store.versions(workflow.id).await.unwrap();
    assert_eq!(
        versions.iter().map(|version| version.number).collect::<Vec<_>>(),
        (1..=16).collect::<Vec<_>>()
    );
    for (version, _) in &added {
        assert_eq!(versions[version.number as usize - 1], *version);
    }
    let (next, now) = store.add_version(workflow.id, component(digest), None, String::new()).await.unwrap();
    assert_eq!((next.number, now.active_version), (17, Some(17)));
    assert_eq!(json(&store.workflows().await.unwrap()[0]), json(&now));
}

pub(crate) async fn version_needs_its_blobs_and_its_workflow(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "deployed").await;
    let absent = component(Digest::of(b"absent"));
    let result = store.add_version(workflow.id, absent, None, String::new()).await;
    assert!(matches!(result, Err(StoreError::Missing { .. })));
    let digest = store.put_blob(Bytes::from_static(b"component")).await.unwrap();
    let result = store.add_version(WorkflowId::new(), component(digest), None, String::new()).await;
    assert!(matches!(result, Err(StoreError::Missing { .. })));
    assert_eq!(store.versions(workflow.id).await.unwrap(), []);
}

pub(crate) async fn only_a_version_that_is_there_can_be_active(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "deployed").await;
    let digest = store.put_blob(Bytes::from_static(b"component")).await.unwrap();
    store.add_version(workflow.id, component(digest), None, String::new()).await.unwrap();
    let (_, now) = store.add_version(workflow.id, component(digest), None, String::new()).await.unwrap();
    let back = store.save_workflow(Workflow { active_version: Some(1), ..now }).await.unwrap();
    assert_eq!(back.active_version, Some(1));
    let result = store.save_workflow(Workflow { active_version: Some(3), ..back }).await;
    assert!(matches!(result, Err(StoreError::Missing { .. })));
    let born = Workflow { active_version: Some(1), ..super::samples::workflow("born") };
    assert!(matches!(store.create_workflow(born).await, Err(StoreError::Missing { .. })));
}

pub(crate) async fn blobs_come_back_and_the_same_bytes_are_one_blob(setup: &impl Setup) {
    let store = setup.open().await;
    let (small, large) = (Bytes::new(), Bytes::from(vec![7; 3 << 20]));
    let digest = store.put_blob(large.clone()).await.unwrap();
    assert_eq!(digest, Digest::of(&large));
    let bytes = store.health().blob_bytes;
    let puts = join_all((0..8).map(|_| store.put_blob(large.clone()))).await;
    puts.into_iter().for_each(|put| assert_eq!(put.unwrap(), digest));
    assert_eq!(store.health().blob_bytes, bytes);
    let empty = store.put_blob(small.clone()).await.unwrap();
    store.close().await.unwrap();
    let store = setup.open().await;
    assert_eq!(store.blob(digest).await.unwrap(), large);
    assert_eq!(store.blob(empty).await.unwrap(), small);
    let absent = store.blob(Digest::of(b"absent")).await;
    assert!(matches!(absent, Err(StoreError::Missing { .. })));
}

pub(crate) async fn collector_spares_blobs_that_are_used_kept_or_fresh(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "deployed").await;
    let put = |bytes: &'static [u8]| store.put_blob(Bytes::from_static(bytes));
    let (used, kept, fresh) =
        (put(b"used").await.unwrap(), put(b"kept").await.unwrap(), put(b"fresh").await.unwrap());
    store.add_version(workflow.id, component(used), None, String::new()).await.unwrap();
    assert_eq!(store.collect_garbage(&[kept]).await.unwrap(), 0);
    for digest in [used, kept, fresh] {
        store.blob(digest).await.unwrap();
    }
}

pub(crate) async fn runtime_is_kept_under_its_name_with_its_component(setup: &impl Setup) {
    let store = setup.open().await;
    assert_eq!(store.runtimes().await.unwrap(), []);
    let component = store.put_blob(Bytes::from_static(b"one")).await.unwrap();
    let runtime = |name: &str, component, version: &str| Runtime {
        name: name.parse().unwrap(),
        component,
        language: "python".to_owned(),
        version: version.to_owned(),
        packages: vec![("requests".to_owned(), "2.32.5".to_owned())],
        installed_at: Timestamp::UNIX_EPOCH,
    };
    store.put_runtime(runtime("python", component, "1")).await.unwrap();
    store.put_runtime(runtime("other", component, "1")).await.unwrap();
    store.put_runtime(runtime("python", component, "2")).await.unwrap();
    let expected = [runtime("other", component, "1"), runtime("python", component, "2")];
    assert_eq!(store.runtimes().await.unwrap(), expected);
    store.collect_garbage(&[]).await.unwrap();
    assert_eq!(store.blob(component).await.unwrap(), &b"one"[..]);
    store.close().await.unwrap();
    drop(store);
    assert_eq!(setup.open().await.runtimes().await.unwrap(), expected);
}

pub(crate) async fn commits_of_different_settings_all_win(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "settled").await;
    assert_eq!(values(&store.settings(workflow.id).await.unwrap()), BTreeMap::new());
    let commits = (0..16).map(|number| {
        let change = set(&format!("_KEY {number}"), &number.to_string());
        store.commit_settings(workflow.id, vec![change], user())
    });
    join_all(commits).await.into_iter().for_each(|commit| drop(commit.unwrap()));
    store.close().await.unwrap();
    let settings = setup.open().await.settings(workflow.id).await.unwrap();
    assert_eq!(values(&settings), (0..16).map(|n| (format!("_KEY {n}"), n.to_string())).collect());
    assert_eq!(settings.revision, Revision(16));
}

pub(crate) async fn later_commit_of_a_setting_wins(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "settled").await;
    let text = r#"{"b": 1.50, "a": [null, "é"]}"#;
    let mut plain = set("KEY", "1");
    plain.visibility = Some(Visibility::Plain);
    store.commit_settings(workflow.id, vec![plain, set("OTHER", "2")], user()).await.unwrap();
    let run = RunId::new();
    let changes = vec![set("KEY", text), unset("OTHER"), unset("NEVER")];
    let now = store.commit_settings(workflow.id, changes, SettingWriter::Run(run)).await.unwrap();
    // The JSON text stays as it is, order and number included.
    assert_eq!(values(&now), BTreeMap::from([("KEY".to_owned(), text.to_owned())]));
    assert_eq!(now.entries["KEY"].visibility, Visibility::Plain);
    assert_eq!(now.entries["KEY"].updated_by, SettingWriter::Run(run));
    let same = store.commit_settings(workflow.id, Vec::new(), user()).await.unwrap();
    assert_eq!(json(&same), json(&now));
    let hidden = store.commit_settings(workflow.id, vec![set("NEW", "0")], user()).await.unwrap();
    assert_eq!(hidden.entries["NEW"].visibility, Visibility::Secret);
    assert!(hidden.revision > now.revision);
}

pub(crate) async fn commit_of_settings_is_all_or_nothing(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "settled").await;
    store.commit_settings(workflow.id, vec![set("KEY", "1")], user()).await.unwrap();
    for name in [String::new(), "x".repeat(257)] {
        let changes = vec![set("KEY", "2"), set("NEW", "2"), set(&name, "2")];
        let result = store.commit_settings(workflow.id, changes, user()).await;
        assert!(matches!(result, Err(StoreError::Limit { .. })), "{result:?}");
    }
    let settings = store.settings(workflow.id).await.unwrap();
    assert_eq!(values(&settings), BTreeMap::from([("KEY".to_owned(), "1".to_owned())]));
    assert_eq!(settings.revision, Revision(1));
    let longest = vec![set(&"x".repeat(256), "2")];
    store.commit_settings(workflow.id, longest, user()).await.unwrap();
}

pub(crate) async fn appended_run_is_read_at_once(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "called").await;
    for durability in [Durability::Written, Durability::Durable] {
        for lines in [0, 1, 500] {
            let run = Arc::new(run(workflow.id));
            store.append_run(run.clone(), log(lines), durability).await.unwrap();
            let stored = store.run(run.id).await.unwrap().unwrap();
            assert_eq!(json(&stored), json(&*run));
            assert_eq!(store.run_log(run.id).await.unwrap().unwrap(), log(lines).to_vec());
            let newest = store.runs(RunFilter::default(), None, 1).await.unwrap();
            assert_eq!(newest.runs[0].id, run.id);
        }
    }
    assert!(store.run(RunId::new()).await.unwrap().is_none());
    assert!(store.run_log(RunId::new()).await.unwrap().is_none());
}

pub(crate) async fn run_needs_its_workflow(setup: &impl Setup) {
    let store = setup.open().await;
    let orphan = Arc::new(run(WorkflowId::new()));
    let result = store.append_run(orphan.clone(), log(0), Durability::Durable).await;
    assert!(matches!(result, Err(StoreError::Missing { .. })));
    assert!(store.run(orphan.id).await.unwrap().is_none());
}

pub(crate) async fn runs_are_listed_newest_first_through_every_filter(setup: &impl Setup) {
    let store = setup.open().await;
    let workflows = [create(&*store, "a").await.id, create(&*store, "b").await.id];
    let start = Timestamp::now();
    let at = |second: i64| start + SignedDuration::from_secs(second);
    let mut runs = Vec::new();
    for number in 0..60 {
        let mut run = run(workflows[number % 3 / 2]);
        run.accepted_at = at(number as i64);
        run.status = [Status::Succeeded, Status::Failed, Status::Interrupted][number % 5 % 3];
        run.trigger = match number % 4 {
            0 => Trigger::Catch,
            1 => Trigger::Test,
            2 => Trigger::Pull { schedule: "s".to_owned(), due: run.accepted_at },
            _ => Trigger::Replay { of: RunId::new() },
        };
        runs.push(run);
    }
    // Runs end in another order than they began.
    for index in 0..runs.len() {
        append(&*store, &runs[index * 7 % runs.len()]).await;
    }
    let filters = [
        RunFilter::default(),
        RunFilter { workflow: Some(workflows[1]), ..RunFilter::default() },
        RunFilter { workflow: Some(WorkflowId::new()), ..RunFilter::default() },
        RunFilter { statuses: vec![Status::Failed], ..RunFilter::default() },
        RunFilter { statuses: vec![Status::Interrupted, Status::Failed], ..RunFilter::default() },
        RunFilter { statuses: vec![Status::Cancelled], ..RunFilter::default() },
        RunFilter { trigger: Some("pull".to_owned()), ..RunFilter::default() },
        RunFilter { trigger: Some("unknown".to_owned()), ..RunFilter::default() },
        RunFilter { since: Some(at(20)), until: Some(at(40)), ..RunFilter::default() },
        RunFilter {
            workflow: Some(workflows[0]),
            statuses: vec![Status::Succeeded],
            trigger: Some("catch".to_owned()),
            since: Some(at(5)),
            until: Some(at(55)),
        },
    ];
    for filter in filters {
        let passes = |run: &&Run| {
            filter.workflow.is_none_or(|workflow| run.workflow == workflow)
                && (filter.statuses.is_empty() || filter.statuses.contains(&run.status))
                && filter.trigger.as_ref().is_none_or(|trigger| run.trigger.word() == trigger)
                && filter.since.is_none_or(|since| run.accepted_at >= since)
                && filter.until.is_none_or(|until| run.accepted_at < until)
        };
        let expected: Vec<RunId> = runs.iter().rev().filter(passes).map(|run| run.id).collect();
        for page in [1, 7, 60, 100] {
            assert_eq!(all_runs(&*store, filter.clone(), page).await, expected, "{filter:?} by {page}");
        }
    }
}

pub(crate) async fn pages_have_every_run_once_while_others_are_appended(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "busy").await;
    let mut before = Vec::new();
    for _ in 0..100 {
        let run = run(workflow.id);
        append(&*store, &run).await;
        before.push(run.id);
    }
    let appending = async {
        for _ in 0..100 {
            append(&*store, &run(workflow.id)).await;
        }
    };
    let listing = async {
        let mut lists = Vec::new();
        for page in [3, 10, 40] {
            lists.push(all_runs(&*store, RunFilter::default(), page).await);
        }
        lists
    };
    let (lists, ()) = futures::future::join(listing, appending).await;
    for ids in lists {
        assert!(ids.windows(2).all(|pair| pair[0] > pair[1]));
        let seen: HashSet<RunId> = ids.into_iter().collect();
        assert!(before.iter().all(|id| seen.contains(id)));
    }
    assert_eq!(all_runs(&*store, RunFilter::default(), 33).await.len(), 200);
}

pub(crate) async fn prune_deletes_what_it_counts_and_nothing_younger(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "pruned").await;
    let start = Timestamp::now();
    let mut runs = Vec::new();
    for number in 0..100 {
        let mut run = run(workflow.id);
        run.accepted_at = start + SignedDuration::from_secs(number);
        append(&*store, &run).await;
        runs.push(run);
    }
    let none = Retention { accepted_before: Some(start), bytes_max: Some(u64::MAX) };
    assert_eq!(store.prune(none).await.unwrap(), 0);
    let cut = start + SignedDuration::from_secs(60);
    let by_age = Retention { accepted_before: Some(cut), bytes_max: None };
    let bytes_max = store.health().run_bytes;
    let by_size = Retention { accepted_before: None, bytes_max: Some(bytes_max) };
    let deleted = store.prune(by_age).await.unwrap() + store.prune(by_size).await.unwrap();
    store.close().await.unwrap();
    for _ in 0..2 {
        let store = setup.open().await;
        let left = all_runs(&*store, RunFilter::default(), 50).await;
        assert_eq!(left.len() as u64, 100 - deleted);
        assert_eq!(store.health().runs, left.len() as u64);
        // The oldest went, and nothing that the policy spares.
        let expected: Vec<RunId> = runs[deleted as usize..].iter().rev().map(|run| run.id).collect();
        assert_eq!(left, expected);
        assert!(deleted <= 60);
        assert!(store.run(runs[60].id).await.unwrap().is_some());
        store.close().await.unwrap();
    }
}

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
    store.settle(workflow.id, "s", start, TickState::Ran).await.unwrap();
    store.close().await.unwrap();
    let store = setup.open().await;
    for number in 0..20 {
        let due = start + SignedDuration::from_millis(number);
        assert_eq!(store.claim(tick(workflow.id, "s", due)).await.unwrap(), Claim::Taken);
    }
    assert_eq!(store.ticks(workflow.id, Some("s"), 100).await.unwrap().len(), 20);
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
    let listed = store.ticks(workflow.id, None, 3).await.unwrap();
    assert_eq!(listed.iter().map(|tick| tick.due).collect::<Vec<_>>(), [due(50), due(49), due(30)]);
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
        }
        assert_eq!(store.claim(claimed.clone()).await.unwrap(), Claim::Claimed);
        expected.push(claimed);
    }
    for entry in expected.iter_mut().filter(|tick| tick.state == TickState::Claimed).take(15) {
        store.settle(workflow.id, &entry.schedule, entry.due, TickState::Ran).await.unwrap();
        entry.state = TickState::Ran;
    }
    let missing = store.settle(workflow.id, "a", due(1), TickState::Ran).await;
    assert!(matches!(missing, Err(StoreError::Missing { .. })));
    expected.reverse();
    store.close().await.unwrap();
    let store = setup.open().await;
    assert_eq!(store.ticks(workflow.id, None, 100).await.unwrap(), expected);
    assert_eq!(store.ticks(workflow.id, None, 7).await.unwrap(), expected[..7]);
    let own: Vec<_> = expected.iter().filter(|tick| tick.schedule == "b").take(5).cloned().collect();
    assert_eq!(store.ticks(workflow.id, Some("b"), 5).await.unwrap(), own);
    let open: HashSet<_> =
        expected.iter().filter(|tick| tick.state == TickState::Claimed).map(|tick| tick.due).collect();
    let unsettled = store.unsettled_ticks().await.unwrap();
    assert_eq!(unsettled.iter().map(|tick| tick.due).collect::<HashSet<_>>(), open);
    for tick in unsettled {
        store.settle(workflow.id, &tick.schedule, tick.due, TickState::Ran).await.unwrap();
    }
    assert_eq!(store.unsettled_ticks().await.unwrap(), []);
    store.close().await.unwrap();
    let store = setup.open().await;
    assert_eq!(store.unsettled_ticks().await.unwrap(), []);
    let states: HashSet<_> = store
        .ticks(workflow.id, None, 100)
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
            store.settle(workflow.id, "s", due(number), TickState::Ran).await.unwrap();
        }
    }
    let everything = Timestamp::now() + SignedDuration::from_hours(1);
    store.prune(Retention { accepted_before: Some(everything), bytes_max: Some(0) }).await.unwrap();
    store.close().await.unwrap();
    let store = setup.open().await;
    for number in 0..50 {
        assert_eq!(store.claim(tick(workflow.id, "s", due(number))).await.unwrap(), Claim::Taken);
    }
    assert_eq!(store.claim(tick(workflow.id, "s", due(50))).await.unwrap(), Claim::Claimed);
    // What nobody settled yet can still be settled.
    store.settle(workflow.id, "s", due(7), TickState::Ran).await.unwrap();
    let open = store.unsettled_ticks().await.unwrap();
    assert_eq!(open.iter().map(|tick| tick.due).collect::<Vec<_>>(), [due(50)]);
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
        all.push(json(&store.settings(*id).await.unwrap()));
        all.push(json(&store.ticks(*id, None, 100).await.unwrap()));
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
    is_stopped(store.create_workflow(super::samples::workflow("new")).await);
    is_stopped(store.save_workflow(workflow.clone()).await.map(drop));
    is_stopped(store.archive_workflow(workflow.id).await);
    is_stopped(store.put_blob(Bytes::from_static(b"x")).await.map(drop));
    is_stopped(store.commit_settings(workflow.id, vec![set("KEY", "1")], user()).await.map(drop));
    is_stopped(store.append_run(Arc::new(run(workflow.id)), log(0), Durability::Written).await);
    is_stopped(store.claim(tick(workflow.id, "s", due)).await.map(drop));
    is_stopped(store.settle(workflow.id, "s", due, TickState::Ran).await);
    is_stopped(store.prune(Retention { accepted_before: Some(due), bytes_max: None }).await.map(drop));
    is_stopped(store.collect_garbage(&[]).await.map(drop));
}
