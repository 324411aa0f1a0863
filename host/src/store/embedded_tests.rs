//! The embedded store against the contract, and what is its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::contract::{Setup, contract_tests};
use super::samples::{component, log, run, set, tick, unset, workflow};
use super::{
    Claim, Durability, EmbeddedOptions, EmbeddedStore, Retention, RunFilter, Store, StoreError, TickState,
};
use crate::config::Config;
use crate::workflow::SettingWriter;

struct Embedded {
    temp: tempfile::TempDir,
    options: EmbeddedOptions,
}

impl Embedded {
    fn new(options: EmbeddedOptions) -> Self {
        Self { temp: tempfile::tempdir().unwrap(), options }
    }

    async fn store(&self) -> Arc<EmbeddedStore> {
        let (path, options) = (self.temp.path().join("data"), self.options.clone());
        tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, options)).await.unwrap().unwrap()
    }

    fn data(&self) -> std::path::PathBuf {
        self.temp.path().join("data")
    }
}

#[async_trait]
impl Setup for Embedded {
    async fn open(&self) -> Arc<dyn Store> {
        self.store().await
    }
}

/// Everything that a large store does happens in a small one too.
fn small() -> EmbeddedOptions {
    EmbeddedOptions {
        segment_rows: 7,
        checkpoint: Duration::from_millis(1),
        queue_max: 2,
        queue_bytes_max: 1000,
        ..EmbeddedOptions::default()
    }
}

contract_tests!(as_configured, Embedded::new(EmbeddedOptions::from_config(&Config::defaults())));
contract_tests!(in_many_small_segments, Embedded::new(small()));

fn files(folder: &Path, extension: &str) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn second_store_in_one_folder_is_refused() {
    let setup = Embedded::new(EmbeddedOptions::default());
    let _store = setup.store().await;
    match EmbeddedStore::open(&setup.data(), EmbeddedOptions::default()).err() {
        Some(StoreError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_for_its_owner_only() {
    let setup = Embedded::new(small());
    let store = setup.store().await;
    let workflow = workflow("private");
    store.create_workflow(workflow.clone()).await.unwrap();
    store.put_blob(Bytes::from_static(b"component")).await.unwrap();
    for _ in 0..20 {
        store.append_run(Arc::new(run(workflow.id)), log(1), Durability::Durable).await.unwrap();
    }
    store.close().await.unwrap();
    let mut folders = vec![setup.data()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{folder:?}");
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // sled makes its own files; their folder is closed to others.
            if path.ends_with("metadata/sled") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{path:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 8, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_have_limits_of_number_and_size() {
    let options = EmbeddedOptions { settings_max: 2, setting_bytes_max: 4, ..EmbeddedOptions::default() };
    let setup = Embedded::new(options);
    let store = setup.store().await;
    let workflow = workflow("limited");
    store.create_workflow(workflow.clone()).await.unwrap();
    let commit = |changes| store.commit_settings(workflow.id, changes, SettingWriter::User(None));
    commit(vec![set("A", "1234"), set("B", "2")]).await.unwrap();
    for (changes, what) in [
        (vec![set("C", "3")], "3 settings of one workflow"),
        (vec![set("A", "12345")], "the value of setting \"A\" with 5 bytes"),
    ] {
        match commit(changes).await {
            Err(StoreError::Limit { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{other:?}"),
        }
    }
    commit(vec![unset("A"), set("C", "3")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_collected_and_what_is_used_stays() {
    let setup = Embedded::new(EmbeddedOptions { garbage: Duration::ZERO, ..EmbeddedOptions::default() });
    let store = setup.store().await;
    let workflow = workflow("deployed");
    store.create_workflow(workflow.clone()).await.unwrap();
    let put = |bytes: &'static [u8]| store.put_blob(Bytes::from_static(bytes));
    let (used, kept, garbage) =
        (put(b"used").await.unwrap(), put(b"kept").await.unwrap(), put(b"garbage").await.unwrap());
    store.add_version(workflow.id, component(used), None, String::new()).await.unwrap();
    assert_eq!(store.collect_garbage(&[kept]).await.unwrap(), 7);
    assert!(matches!(store.blob(garbage).await, Err(StoreError::Missing { .. })));
    store.archive_workflow(workflow.id).await.unwrap();
    assert_eq!(store.collect_garbage(&[]).await.unwrap(), 8);
    assert_eq!(store.health().blob_bytes, 0);
    assert!(matches!(store.blob(used).await, Err(StoreError::Missing { .. })));
    assert!(matches!(store.blob(kept).await, Err(StoreError::Missing { .. })));
}

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
    let by_age = Retention { accepted_before: Some(cut), bytes_max: None };
    assert_eq!(store.prune(by_age).await.unwrap(), 20);
    assert_eq!(files(&runs, "seg"), 4);
    assert!(store.health().run_bytes < before * 4 / 5);
    // By size: what stays is at least what the policy says.
    let by_size = Retention { accepted_before: None, bytes_max: Some(before / 3) };
    assert_eq!(store.prune(by_size).await.unwrap(), 10);
    assert!(store.health().run_bytes >= before / 3);
    // The segment that is written is ended when everything in it is old.
    let all = Retention { accepted_before: Some(start + SignedDuration::from_hours(1)), bytes_max: None };
    assert_eq!(store.prune(all).await.unwrap(), 25);
    assert_eq!((files(&runs, "seg"), store.health().runs), (1, 0));
    assert!(store.run(ids[54]).await.unwrap().is_none());
    store.append_run(Arc::new(run(workflow.id)), log(1), Durability::Written).await.unwrap();
    store.close().await.unwrap();
    let store = setup.store().await;
    assert_eq!(store.runs(RunFilter::default(), None, 10).await.unwrap().runs.len(), 1);
    assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn journals_go_when_a_checkpoint_covers_them() {
    let setup = Embedded::new(EmbeddedOptions::default());
    let store = setup.store().await;
    let workflow = workflow("rotated");
    store.create_workflow(workflow.clone()).await.unwrap();
    let commit =
        |json: &str| store.commit_settings(workflow.id, vec![set("SECRET", json)], SettingWriter::User(None));
    commit("\"former secret\"").await.unwrap();
    commit("\"present secret\"").await.unwrap();
    assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
    let journal = setup.data().join("metadata/journal");
    let texts: Vec<Vec<u8>> =
        fs::read_dir(&journal).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert_eq!(texts.len(), 1);
    let has = |text: &[u8], word: &[u8]| text.windows(word.len()).any(|part| part == word);
    assert!(!has(&texts[0], b"former secret"));
    let export = fs::read(setup.data().join("metadata/export.json")).unwrap();
    assert!(has(&export, b"present secret") && !has(&export, b"former secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_write_stops_the_store_and_reads_go_on() {
    let setup = Embedded::new(EmbeddedOptions { segment_rows: 1, ..EmbeddedOptions::default() });
    let store = setup.store().await;
    let workflow = workflow("stopped");
    store.create_workflow(workflow.clone()).await.unwrap();
    let first = Arc::new(run(workflow.id));
    // The next segment cannot be created: a folder has its name.
    fs::create_dir(setup.data().join("runs/00000002.seg")).unwrap();
    store.append_run(first.clone(), log(1), Durability::Written).await.unwrap();
    let second = store.append_run(Arc::new(run(workflow.id)), log(1), Durability::Written).await;
    assert!(matches!(second, Err(StoreError::Stopped(_))), "{second:?}");
    let saved = store.commit_settings(workflow.id, vec![set("A", "1")], SettingWriter::User(None)).await;
    assert!(matches!(saved, Err(StoreError::Stopped(_))));
    assert!(store.health().stopped.is_some_and(|reason| reason.contains("00000002.seg")));
    assert!(store.run(first.id).await.unwrap().is_some());
    assert_eq!(store.workflows().await.unwrap().len(), 1);
    assert!(matches!(store.close().await, Err(StoreError::Stopped(_))));
    fs::remove_dir(setup.data().join("runs/00000002.seg")).unwrap();
    let store = setup.store().await;
    assert!(store.run(first.id).await.unwrap().is_some());
    assert_eq!(store.health().stopped, None);
}

/// A file that cannot be written, and one that cannot be flushed.
fn bad_files() -> [fs::File; 2] {
    [fs::File::open("/dev/null").unwrap(), fs::File::options().write(true).open("/dev/null").unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_append_or_flush_of_a_segment_stops_the_store() {
    for file in bad_files() {
        let setup = Embedded::new(EmbeddedOptions::default());
        let store = setup.store().await;
        let workflow = workflow("stopped");
        store.create_workflow(workflow.clone()).await.unwrap();
        let first = Arc::new(run(workflow.id));
        store.append_run(first.clone(), log(1), Durability::Durable).await.unwrap();
        let replace = |writer: &mut super::writer::Writer, reply| {
            writer.log = Arc::new(writer.log.over(file));
            super::writer::answer(reply, Ok(()));
        };
        store.ask(replace).await.unwrap();
        let lost = Arc::new(run(workflow.id));
        for durability in [Durability::Durable, Durability::Written] {
            let result = store.append_run(lost.clone(), log(1), durability).await;
            assert!(matches!(result, Err(StoreError::Stopped(_))), "{result:?}");
        }
        let claim = store.claim(tick(workflow.id, "s", Timestamp::now())).await;
        assert!(matches!(claim, Err(StoreError::Stopped(_))));
        assert!(store.health().stopped.is_some());
        assert!(store.run(first.id).await.unwrap().is_some());
        assert!(store.close().await.is_err());
        let store = setup.store().await;
        assert_eq!(store.runs(RunFilter::default(), None, 10).await.unwrap().runs.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_append_or_flush_of_the_journal_stops_the_store() {
    for file in bad_files() {
        let setup = Embedded::new(EmbeddedOptions::default());
        let store = setup.store().await;
        let workflow = workflow("stopped");
        store.create_workflow(workflow.clone()).await.unwrap();
        let replace = |writer: &mut super::writer::Writer, reply| {
            writer.journal = Arc::new(writer.journal.over(file));
            super::writer::answer(reply, Ok(()));
        };
        store.ask(replace).await.unwrap();
        for _ in 0..2 {
            let changes = vec![set("A", "1")];
            let result = store.commit_settings(workflow.id, changes, SettingWriter::User(None)).await;
            assert!(matches!(result, Err(StoreError::Stopped(_))), "{result:?}");
        }
        let result = store.append_run(Arc::new(run(workflow.id)), log(1), Durability::Written).await;
        assert!(matches!(result, Err(StoreError::Stopped(_))));
        assert_eq!(store.workflows().await.unwrap().len(), 1);
        assert!(store.close().await.is_err());
        let store = setup.store().await;
        assert_eq!(store.settings(workflow.id).await.unwrap().entries.len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_one_batch_know_of_each_other() {
    let setup = Embedded::new(EmbeddedOptions { queue_max: 1000, ..small() });
    let store = setup.store().await;
    let workflow = workflow("hourly");
    store.create_workflow(workflow.clone()).await.unwrap();
    let due = |number: i64| Timestamp::from_second(number % 10 * 37 % 10).unwrap();
    let claims = (0..200).map(|number| store.claim(tick(workflow.id, "s", due(number))));
    let claims = futures::future::join_all(claims).await;
    let claimed = claims.into_iter().filter(|claim| matches!(claim, Ok(Claim::Claimed))).count();
    assert_eq!(claimed, 10);
    for number in 0..10 {
        store.settle(workflow.id, "s", due(number), TickState::Ran, Duration::ZERO).await.unwrap();
    }
    assert_eq!(store.ticks(workflow.id, None, None, 100).await.unwrap().len(), 10);
}
