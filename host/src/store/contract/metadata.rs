//! Workflows, versions, blobs and settings.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::join_all;
use jiff::Timestamp;

use super::{Setup, create, json, user, values, whole};
use crate::run::RunId;
use crate::store::StoreError;
use crate::store::samples::{self, component, set, unset, workflow};
use crate::workflow::{
    Digest, Kind, Revision, Runtime, SettingWriter, State, Visibility, Workflow, WorkflowId,
};

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
    let unknown = samples::workflow("unknown");
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
    let born = Workflow { active_version: Some(1), ..samples::workflow("born") };
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
    assert_eq!(whole(&same), whole(&now));
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
