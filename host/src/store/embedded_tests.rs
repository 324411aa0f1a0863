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
use super::retention_tests::keep;
use super::samples::{component, end, event, input, log, run, set, tick, unset, workflow};
use super::{
    Claim, Durability, EmbeddedOptions, EmbeddedStore, EventQueue, EventState, PAGE_MAX, QueueEntry,
    Retention, RunFilter, Settlement, Store, StoreError, TickState,
};
use crate::config::Config;
use crate::run::Status;
use crate::workflow::SettingWriter;

pub(super) struct Embedded {
    temp: tempfile::TempDir,
    options: EmbeddedOptions,
}

impl Embedded {
    pub(super) fn new(options: EmbeddedOptions) -> Self {
        Self { temp: tempfile::tempdir().unwrap(), options }
    }

    pub(super) async fn store(&self) -> Arc<EmbeddedStore> {
        let (path, options) = (self.temp.path().join("data"), self.options.clone());
        tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, options)).await.unwrap().unwrap()
    }

    pub(super) fn data(&self) -> std::path::PathBuf {
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

contract_tests!(
    as_configured,
    Embedded::new(EmbeddedOptions::from_config(&Config::defaults(), Arc::new(crate::keys::KeyRing::local())))
);
contract_tests!(in_many_small_segments, Embedded::new(small()));

pub(super) fn files(folder: &Path, extension: &str) -> usize {
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
async fn snapshot_holds_what_was_there_whatever_comes_afterwards() {
    let setup = Embedded::new(small());
    let store = setup.store().await;
    let (own, busy) = (workflow("own"), workflow("busy"));
    store.create_workflow(own.clone()).await.unwrap();
    store.create_workflow(busy.clone()).await.unwrap();
    let digest = store.put_blob(Bytes::from_static(b"component")).await.unwrap();
    store.add_version(own.id, component(digest), None, String::new()).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..30 {
        let run = run(own.id);
        ids.push(run.id);
        store.append_run(Arc::new(run), log(2), Durability::Written).await.unwrap();
    }
    let appending = async {
        for _ in 0..200 {
            store.append_run(Arc::new(run(busy.id)), log(1), Durability::Written).await.unwrap();
        }
    };
    let (snapshot, ()) = tokio::join!(store.snapshot(), appending);
    let snapshot = snapshot.unwrap();
    // Everything of it goes, and its space.
    store.archive_workflow(own.id).await.unwrap();
    store.prune(keep(busy.id, 0)).await.unwrap();
    store.verify().await.unwrap();
    store.prune(Retention::default()).await.unwrap();
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    for file in &snapshot.files {
        let target = data.join(&file.path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let bytes = fs::read(&file.source).unwrap();
        fs::write(target, &bytes[..file.bytes as usize]).unwrap();
    }
    let links = setup.data().join("snapshots");
    assert_eq!(fs::read_dir(&links).unwrap().count(), 1);
    let (workflows, runs) = (snapshot.workflows, snapshot.runs);
    drop(snapshot);
    assert_eq!(fs::read_dir(&links).unwrap().count(), 0);
    let copy =
        tokio::task::spawn_blocking(move || EmbeddedStore::open(&data, small())).await.unwrap().unwrap();
    assert_eq!((copy.workflows().await.unwrap().len() as u64, copy.health().runs), (workflows, runs));
    assert!((30..=230).contains(&runs));
    for id in &ids {
        assert_eq!(copy.run_log(*id).await.unwrap().unwrap(), log(2).to_vec());
    }
    assert_eq!(copy.blob(digest).await.unwrap(), "component");
    assert_eq!(copy.verify().await.unwrap().problems, [] as [String; 0]);
    copy.close().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn index_is_made_again_from_records_export_and_journal() {
    let setup = Embedded::new(small());
    let store = setup.store().await;
    let own = workflow("own");
    store.create_workflow(own.clone()).await.unwrap();
    for _ in 0..30 {
        store.append_run(Arc::new(run(own.id)), log(2), Durability::Written).await.unwrap();
    }
    store.close().await.unwrap();
    for entry in fs::read_dir(setup.data().join("runs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            fs::write(path, "damaged").unwrap();
        }
    }
    let rebuilt = Embedded { temp: setup.temp, options: EmbeddedOptions { rebuild_index: true, ..small() } };
    let store = rebuilt.store().await;
    assert_eq!((store.health().runs, store.workflows().await.unwrap().len()), (30, 1));
    assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_took_of_the_statistics_is_counted_again() {
    let setup = Embedded::new(small());
    let store = setup.store().await;
    let own = workflow("own");
    store.create_workflow(own.clone()).await.unwrap();
    let (mut images, mut appended) = (Vec::new(), 0);
    for round in 0..4 {
        for _ in 0..23 {
            store.append_run(Arc::new(run(own.id)), log(1), Durability::Durable).await.unwrap();
            appended += 1;
        }
        // With some of it in files, and some in memory only.
        if round % 2 == 0 {
            store.prune(Retention::default()).await.unwrap();
        }
        let image = setup.temp.path().join(format!("image-{round}"));
        super::crash_tests::copy(&setup.data(), &image);
        images.push((image, appended));
    }
    store.close().await.unwrap();
    for (image, appended) in images {
        for _ in 0..2 {
            let path = image.clone();
            let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, small()))
                .await
                .unwrap()
                .unwrap();
            let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::now() + SignedDuration::from_mins(2));
            let all = store.statistics(Some(own.id), from, to, u32::MAX).await.unwrap();
            assert_eq!(all.iter().map(|(_, rollup)| rollup.runs()).sum::<u64>(), appended);
            store.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_of_the_first_format_is_taken_over() {
    let setup = Embedded::new(EmbeddedOptions::default());
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/fixtures/format-1");
    super::crash_tests::copy(&fixture, &setup.data());
    for is_taken_over in [true, false] {
        let store = setup.store().await;
        let warnings = store.health().warnings;
        assert_eq!(warnings.iter().any(|line| line.contains("had format 1")), is_taken_over, "{warnings:?}");
        assert_eq!(store.health().runs, 20);
        let workflows = store.workflows().await.unwrap();
        assert_eq!(workflows.len(), 2);
        for workflow in &workflows {
            assert_eq!(store.versions(workflow.id).await.unwrap().len(), 1);
            let settings = store.settings(workflow.id).await.unwrap();
            assert_eq!(settings.entries["CURSOR"].value.expose(), "[1, 2]");
            let states: Vec<_> = store
                .ticks(workflow.id, None, None, 10)
                .await
                .unwrap()
                .iter()
                .map(|tick| tick.state)
                .collect();
            assert_eq!(states, [TickState::Claimed, TickState::Ran, TickState::Ran]);
            let filter = RunFilter { workflow: Some(workflow.id), ..RunFilter::default() };
            let runs = store.runs(filter, None, 100).await.unwrap().runs;
            assert_eq!(runs.len(), 10);
            assert_eq!(store.run_log(runs[0].id).await.unwrap().unwrap().len(), 2);
        }
        assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
        store.close().await.unwrap();
        let format = fs::read_to_string(setup.data().join("FORMAT")).unwrap();
        assert!(format.contains("\nformat 4\n"), "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn journals_go_when_a_checkpoint_covers_them() {
    let setup = Embedded::new(EmbeddedOptions::default());
    let store = setup.store().await;
    let workflow = workflow("rotated");
    store.create_workflow(workflow.clone()).await.unwrap();
    let commit =
        |name: &str| store.commit_settings(workflow.id, vec![set(name, "1")], SettingWriter::User(None));
    commit("former secret").await.unwrap();
    let gone = vec![unset("former secret"), set("present secret", "1")];
    store.commit_settings(workflow.id, gone, SettingWriter::User(None)).await.unwrap();
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
async fn lists_of_runs_are_read_before_anybody_asks() {
    let setup = Embedded::new(EmbeddedOptions { segment_rows: 20, ..EmbeddedOptions::default() });
    let store = setup.store().await;
    let workflow = workflow("listed");
    store.create_workflow(workflow.clone()).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..110 {
        let run = Arc::new(run(workflow.id));
        ids.push(run.id);
        store.append_run(run, log(1), Durability::Written).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    // What is damaged is left to whoever asks: it is made again once.
    let damaged = setup.data().join("runs/00000002.idx");
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, &bytes).unwrap();

    let store = setup.store().await;
    // Statistics are there after the lists.
    let far = Timestamp::now() + SignedDuration::from_hours(1);
    store.statistics(None, Timestamp::UNIX_EPOCH, far, 1).await.unwrap();
    let warm = store.shared.segments.cached_numbers();
    assert!(warm.len() >= 3 && !warm.contains(&2), "{warm:?}");
    assert_eq!(store.health().warnings, Vec::<String>::new());
    let page = store.runs(RunFilter::default(), None, 200).await.unwrap();
    ids.reverse();
    assert_eq!(page.runs.iter().map(|run| run.id).collect::<Vec<_>>(), ids);
    assert_eq!(store.health().warnings.len(), 1, "{:?}", store.health().warnings);
    store.close().await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_has_the_queue_and_the_records_of_one_moment() {
    let setup = Embedded::new(small());
    let store = setup.store().await;
    let own = workflow("own");
    store.create_workflow(own.clone()).await.unwrap();
    let before = event(own.id);
    let entry = QueueEntry::waiting(before.clone(), Timestamp::now());
    store.enqueue(entry, input("kept")).await.unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let driving = async {
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            let event = event(own.id);
            let id = event.id;
            store.enqueue(QueueEntry::waiting(event, Timestamp::now()), input("x")).await.unwrap();
            store.take(id).await.unwrap().unwrap();
            let run = crate::run::Run { id, ..run(own.id) };
            store.append_run(Arc::new(run), log(1), Durability::Durable).await.unwrap();
            store.settle_event(id, id, Settlement::End(end(Status::Succeeded, false))).await.unwrap();
        }
    };
    let copying = async {
        for _ in 0..10 {
            let snapshot = store.snapshot().await.unwrap();
            let temp = tempfile::tempdir().unwrap();
            let data = temp.path().join("data");
            for file in &snapshot.files {
                let target = data.join(&file.path);
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                let bytes = fs::read(&file.source).unwrap();
                fs::write(target, &bytes[..file.bytes as usize]).unwrap();
            }
            drop(snapshot);
            let open = move || EmbeddedStore::open(&data, small());
            let copy = tokio::task::spawn_blocking(open).await.unwrap().unwrap();
            assert_eq!(copy.event_input(before.id).await.unwrap(), Some(input("kept")));
            let runs = copy.runs(RunFilter::default(), None, PAGE_MAX).await.unwrap().runs;
            for run in &runs {
                let entry = copy.event(run.id).await.unwrap().expect("an event whose run is recorded");
                assert!(!matches!(entry.state, EventState::Waiting { .. }), "{entry:?}");
            }
            let (ended, recorded) = (copy.queue_figures().remembered, copy.health().runs);
            assert!(ended <= recorded, "{ended} events are over, {recorded} runs are there");
            assert_eq!(copy.verify().await.unwrap().problems, [] as [String; 0]);
            copy.close().await.unwrap();
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(driving, copying);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_come_while_somebody_writes_are_written_by_them() {
    let temp = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&temp.path().join("data"), EmbeddedOptions::default()).unwrap();
    let workflow = workflow("w");
    store.create_workflow(workflow.clone()).await.unwrap();
    let append = || {
        let (store, id) = (store.clone(), workflow.id);
        tokio::spawn(async move { store.append_run(Arc::new(run(id)), log(1), Durability::Written).await })
    };
    let seat = store.desk.sit();
    let left: Vec<_> = (0..20).map(|_| append()).collect();
    while store.desk.left() < left.len() {
        std::thread::yield_now();
    }
    assert!(left.iter().all(|task| !task.is_finished()));
    drop(seat);
    for task in left {
        task.await.unwrap().unwrap();
    }
    assert_eq!(store.health().runs, 20);
    store.close().await.unwrap();
    assert!(append().await.unwrap().is_err(), "a closed store takes nothing");
}
