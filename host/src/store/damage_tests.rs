//! What is left when bytes on the disk are missing or are not what was written.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;

use super::folder::Folder;
use super::logfile::Purpose;
use super::recovery;
use super::rows::{RunRow, Selection, TickRow};
use super::samples::{component, log, run, set, tick, workflow};
use super::segments::Segments;
use super::sidecar::{self, Sidecar};
use super::status::Status;
use super::{
    Claim, Durability, EmbeddedOptions, EmbeddedStore, RunFilter, Store, StoreError, frame, indexing, keys,
    records,
};
use crate::run::{Run, RunId};
use crate::workflow::{SettingWriter, Workflow, WorkflowId};

/// A folder with segments of three runs each, and nothing else.
struct Written {
    temp: tempfile::TempDir,
    folder: Folder,
    /// For each segment its bytes and its runs.
    segments: Vec<(Vec<u8>, Vec<RunRow>)>,
}

fn small_run(workflow: WorkflowId) -> Run {
    Run { request: None, reply: None, ..run(workflow) }
}

fn write(segments: u64) -> Written {
    let temp = tempfile::tempdir().unwrap();
    let folder = Folder::open(&temp.path().join("data")).unwrap();
    let workflow = WorkflowId::new();
    let mut written = Vec::new();
    for number in 1..=segments {
        let (log_file, rows) = write_segment(&folder, number, workflow);
        drop(log_file);
        let bytes = fs::read(Purpose::Runs.path(&folder.runs(), number)).unwrap();
        written.push((bytes, rows));
    }
    Written { temp, folder, segments: written }
}

fn write_segment(
    folder: &Folder,
    number: u64,
    workflow: WorkflowId,
) -> (super::logfile::LogFile, Vec<RunRow>) {
    let file = super::logfile::LogFile::create(&folder.runs(), Purpose::Runs, number, folder.salt()).unwrap();
    let rows = (0..3).map(|lines| {
        let (frame, mut row) = records::encode_run(&small_run(workflow), &log(lines), folder.salt()).unwrap();
        row.place.offset = file.append(&frame).unwrap() as u32;
        row
    });
    let rows = rows.collect();
    (file, rows)
}

fn listed(segments: &Segments) -> Vec<RunId> {
    let selection = Selection::new(&RunFilter::default(), None, Arc::default());
    let rows = segments.select(&selection, 1000).unwrap();
    for (segment, row) in &rows {
        let bytes = segments.read_frame(segment, row.place).unwrap();
        let is_whole =
            frame::body(&bytes, segment.salt).is_some() && frame::tail(&bytes, segment.salt).is_some();
        assert!(is_whole, "run {} is listed but damaged", row.id);
    }
    rows.into_iter().rev().map(|(_, row)| row.id).collect()
}

fn ids<'a>(rows: impl IntoIterator<Item = &'a RunRow>) -> Vec<RunId> {
    rows.into_iter().map(|row| row.id).collect()
}

#[test]
fn torn_tail_of_every_length_loses_only_the_last_run() {
    let written = write(1);
    let (bytes, rows) = &written.segments[0];
    let path = Purpose::Runs.path(&written.folder.runs(), 1);
    let whole = rows[2].place.offset as usize;
    for cut in whole..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let status = Arc::new(Status::default());
        let opened = recovery::runs(&written.folder, &status).unwrap();
        let left = if cut == bytes.len() { 3 } else { 2 };
        assert_eq!(listed(&opened.segments), ids(&rows[..left]), "cut at {cut}");
        assert_eq!(opened.log.written(), if left == 3 { cut } else { whole } as u64);
        assert_eq!(status.warnings(), [] as [String; 0]);
    }
}

#[test]
fn flipped_byte_loses_only_its_run_and_is_reported() {
    let written = write(2);
    let (bytes, rows) = &written.segments[0];
    let runs = written.folder.runs();
    let others = ids(&written.segments[1].1);
    let first = rows[0].place.offset as usize;
    for at in (first..bytes.len()).step_by(11) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(Purpose::Runs.path(&runs, 1), &damaged).unwrap();
        let _ = fs::remove_file(sidecar::path(&runs, 1));
        let status = Arc::new(Status::default());
        let opened = recovery::runs(&written.folder, &status).unwrap();
        let hit = rows.iter().rposition(|row| row.place.offset as usize <= at).unwrap();
        let mut expected = ids(rows);
        expected.remove(hit);
        expected.extend(&others);
        assert_eq!(listed(&opened.segments), expected, "byte {at}");
        assert_eq!(status.warnings().len(), 1);
    }
}

#[test]
fn damage_behind_an_index_is_an_error_of_that_run_alone() {
    let written = write(2);
    let (bytes, rows) = &written.segments[0];
    let runs = written.folder.runs();
    let status = Arc::new(Status::default());
    drop(recovery::runs(&written.folder, &status).unwrap());
    assert!(sidecar::path(&runs, 1).exists());
    let mut damaged = bytes.clone();
    damaged[rows[1].place.offset as usize + 100] ^= 1;
    fs::write(Purpose::Runs.path(&runs, 1), &damaged).unwrap();
    let opened = recovery::runs(&written.folder, &status).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let (segment, found) = opened.segments.run(row.id).unwrap().unwrap();
        let bytes = opened.segments.read_body(&segment, found.place).unwrap();
        assert_eq!(frame::body(&bytes, segment.salt).is_some(), index != 1);
    }
}

#[test]
fn damaged_or_missing_index_is_made_again() {
    let written = write(2);
    let runs = written.folder.runs();
    let expected: Vec<RunId> = written.segments.iter().flat_map(|(_, rows)| ids(rows)).collect();
    let status = Arc::new(Status::default());
    drop(recovery::runs(&written.folder, &status).unwrap());
    let index = fs::read(sidecar::path(&runs, 1)).unwrap();
    for at in (0..index.len()).step_by(13) {
        let mut damaged = index.clone();
        damaged[at] ^= 0x40;
        fs::write(sidecar::path(&runs, 1), &damaged).unwrap();
        let opened = recovery::runs(&written.folder, &Arc::default()).unwrap();
        assert_eq!(listed(&opened.segments), expected, "byte {at}");
        assert_eq!(fs::read(sidecar::path(&runs, 1)).unwrap(), index);
    }
    for cut in [0, 10, 43, 44, index.len() - 1] {
        fs::write(sidecar::path(&runs, 1), &index[..cut]).unwrap();
        let opened = recovery::runs(&written.folder, &Arc::default()).unwrap();
        assert_eq!(listed(&opened.segments), expected, "cut at {cut}");
    }
    fs::remove_file(sidecar::path(&runs, 1)).unwrap();
    fs::write(sidecar::path(&runs, 99), &index).unwrap();
    let opened = recovery::runs(&written.folder, &Arc::default()).unwrap();
    assert_eq!(listed(&opened.segments), expected);
    assert!(!sidecar::path(&runs, 99).exists());
}

#[test]
fn segment_without_a_usable_header_is_kept_and_not_written_on() {
    let written = write(1);
    let (bytes, rows) = &written.segments[0];
    let runs = written.folder.runs();
    let mut damaged = bytes.clone();
    damaged[9] ^= 1;
    fs::write(Purpose::Runs.path(&runs, 1), &damaged).unwrap();
    let status = Arc::new(Status::default());
    let opened = recovery::runs(&written.folder, &status).unwrap();
    assert_eq!(opened.log.number, 2);
    assert_eq!(listed(&opened.segments), ids(rows));
    assert_eq!(status.warnings(), ["the header of segment 1 is damaged"]);
    drop(opened);
    // Created, but never written to: begun again.
    fs::write(Purpose::Runs.path(&runs, 2), &bytes[..17]).unwrap();
    let opened = recovery::runs(&written.folder, &Arc::default()).unwrap();
    assert_eq!((opened.log.number, opened.log.written()), (2, super::logfile::HEADER_BYTES));
    drop(written.temp);
}

proptest! {
    // A quarter of the usual number, which `make fuzz` raises.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn mangled_segments_open_and_show_only_whole_runs(
        mangles in proptest::collection::vec((any::<usize>(), proptest::collection::vec(any::<u8>(), 0..40), 0..60_usize), 1..6)
    ) {
        let written = write(2);
        let runs = written.folder.runs();
        let mut bytes = written.segments[0].0.clone();
        for (at, insert, remove) in mangles {
            let at = at % bytes.len();
            let end = (at + remove).min(bytes.len());
            bytes.splice(at..end, insert);
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        for number in [1, 2] {
            let _ = fs::remove_file(sidecar::path(&runs, 1));
            fs::write(Purpose::Runs.path(&runs, number), &bytes).unwrap();
            let opened = recovery::runs(&written.folder, &Arc::default()).unwrap();
            let known: Vec<RunId> = written.segments.iter().flat_map(|(_, rows)| ids(rows)).collect();
            for id in listed(&opened.segments) {
                prop_assert!(known.contains(&id));
            }
        }
    }

    #[test]
    fn index_with_a_right_checksum_and_wrong_contents_never_panics(
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..20)
    ) {
        let workflow = WorkflowId::new();
        let salt = frame::Salt::new(1);
        let runs: Vec<RunRow> =
            (0..20).map(|_| records::encode_run(&small_run(workflow), &[], salt).unwrap().1).collect();
        let ticks: Vec<TickRow> = (0..20)
            .map(|second| {
                let tick = Arc::new(tick(workflow, "s", Timestamp::from_second(second % 7).unwrap()));
                TickRow { place: records::encode_tick(&tick, salt).unwrap().1, tick }
            })
            .collect();
        let mut file = indexing::build(1, 100, &runs, &ticks);
        let contents = sidecar::FIXED_BYTES..file.len();
        for (at, value) in flips {
            file[contents.start + at % contents.len()] = value;
        }
        sidecar::fix_checksums(&mut file);
        if let Ok(sidecar) = Sidecar::parse(&file, 1, 100) {
            let failed = RunFilter { statuses: vec![crate::run::Status::Failed], ..RunFilter::default() };
            for filter in [
                RunFilter::default(),
                RunFilter { workflow: Some(workflow), ..RunFilter::default() },
                RunFilter { among: Some(Arc::new([workflow].into())), ..RunFilter::default() },
                failed,
            ] {
                let selection = Selection::new(&filter, Some(runs[10].id), Arc::default());
                let _ = sidecar.select(&selection, |_| true);
            }
            let _ = sidecar.run(runs[3].id);
            let _ = sidecar.runs_of(workflow);
            let _ = sidecar.ticks(workflow, None, None, 100);
            let _ = sidecar.tick(&super::rows::TickKey::of(&ticks[3].tick));
        }
    }

    #[test]
    fn arbitrary_changes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = keys::decode_puts(&bytes);
        let _ = keys::Key::decode(&bytes);
        let _ = keys::Position::decode(&bytes);
        let _ = records::decode_run(&bytes);
        let _ = records::decode_log(&bytes);
        let place = super::rows::Place { offset: 0, body_bytes: 0, tail_bytes: 0 };
        let _ = records::run_row(&bytes, place);
    }
}

// ---- the metadata -------------------------------------------------------------------

fn open(path: &Path) -> Result<Arc<EmbeddedStore>, StoreError> {
    let options = EmbeddedOptions { checkpoint: Duration::from_secs(3600), ..EmbeddedOptions::default() };
    tokio::task::block_in_place(|| EmbeddedStore::open(path, options))
}

/// A data folder as a crash leaves it, with `rounds` checkpoints behind it, and changes
/// since.
async fn crashed(rounds: usize) -> (tempfile::TempDir, Vec<Workflow>) {
    let temp = tempfile::tempdir().unwrap();
    let store = open(&temp.path().join("live")).unwrap();
    let mut workflows = Vec::new();
    for round in 0..=rounds {
        let workflow = workflow(&format!("w{round}"));
        store.create_workflow(workflow.clone()).await.unwrap();
        let digest = store.put_blob(Bytes::from_static(b"component")).await.unwrap();
        let (_, workflow) =
            store.add_version(workflow.id, component(digest), None, String::new()).await.unwrap();
        let changes = vec![set("ROUND", &round.to_string())];
        store.commit_settings(workflow.id, changes, SettingWriter::User(None)).await.unwrap();
        store.append_run(Arc::new(run(workflow.id)), log(1), Durability::Written).await.unwrap();
        store.claim(tick(workflow.id, "s", Timestamp::UNIX_EPOCH)).await.unwrap();
        workflows.push(workflow);
        if round < rounds {
            assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
        }
    }
    super::crash_tests::copy(&temp.path().join("live"), &temp.path().join("data"));
    store.close().await.unwrap();
    (temp, workflows)
}

async fn check(store: &dyn Store, workflows: &[Workflow]) {
    let json = |value: &[Workflow]| serde_json::to_value(value).unwrap();
    assert_eq!(json(&store.workflows().await.unwrap()), json(workflows));
    for (round, workflow) in workflows.iter().enumerate() {
        assert_eq!(store.versions(workflow.id).await.unwrap().len(), 1);
        let settings = store.settings(workflow.id).await.unwrap();
        assert_eq!(settings.entries["ROUND"].value.expose(), round.to_string());
        let filter = RunFilter { workflow: Some(workflow.id), ..RunFilter::default() };
        assert_eq!(store.runs(filter, None, 10).await.unwrap().runs.len(), 1);
        let claim = store.claim(tick(workflow.id, "s", Timestamp::UNIX_EPOCH)).await.unwrap();
        assert_eq!(claim, Claim::Taken);
    }
    assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_between_checkpoints_loses_nothing() {
    for rounds in [0, 1, 2] {
        let (temp, workflows) = crashed(rounds).await;
        for _ in 0..2 {
            let store = open(&temp.path().join("data")).unwrap();
            check(&*store, &workflows).await;
            assert_eq!(store.health().warnings, [] as [String; 0]);
            store.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_checkpoint_is_made_again_from_export_and_journal() {
    for rounds in [0, 2] {
        let (temp, workflows) = crashed(rounds).await;
        let data = temp.path().join("data");
        fs::remove_dir_all(data.join("metadata/sled")).unwrap();
        let store = open(&data).unwrap();
        check(&*store, &workflows).await;
        let warnings = store.health().warnings;
        // Before the first checkpoint there is nothing to lose.
        assert_eq!(warnings.len(), rounds.min(1), "{warnings:?}");
        assert!(warnings.iter().all(|line| line.contains("nothing is missing")));
        store.close().await.unwrap();
        let store = open(&data).unwrap();
        check(&*store, &workflows).await;
        assert_eq!(store.health().warnings, [] as [String; 0]);
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_checkpoint_is_kept_aside() {
    let (temp, workflows) = crashed(2).await;
    let data = temp.path().join("data");
    let slabs = data.join("metadata/sled/slabs");
    for entry in fs::read_dir(&slabs).unwrap() {
        let path = entry.unwrap().path();
        let bytes: Vec<u8> = fs::read(&path).unwrap().iter().map(|byte| !byte).collect();
        fs::write(&path, bytes).unwrap();
    }
    let store = open(&data).unwrap();
    check(&*store, &workflows).await;
    let warnings = store.health().warnings;
    assert!(
        warnings[0].contains("nothing is missing") && warnings[0].contains("sled.broken-"),
        "{warnings:?}"
    );
    let names = fs::read_dir(data.join("metadata")).unwrap();
    let aside = names
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("sled.broken-"));
    assert_eq!(aside.count(), 1);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_for_good_is_said() {
    let (temp, workflows) = crashed(2).await;
    let data = temp.path().join("data");
    fs::remove_dir_all(data.join("metadata/sled")).unwrap();
    fs::write(data.join("metadata/export.json"), b"{}").unwrap();
    let store = open(&data).unwrap();
    let warnings = store.health().warnings;
    assert!(warnings.iter().any(|line| line.contains("the export of the metadata cannot be read")));
    assert!(warnings.iter().any(|line| line.contains("older changes are missing")), "{warnings:?}");
    // What came after the last checkpoint is in the journal.
    let left = store.workflows().await.unwrap();
    assert_eq!(left.iter().map(|workflow| workflow.id).collect::<Vec<_>>(), [workflows[2].id]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_damage_wherever_it_is() {
    let (temp, workflows) = crashed(0).await;
    let data = temp.path().join("data");
    let store = open(&data).unwrap();
    let digest = store.versions(workflows[0].id).await.unwrap()[0].code.component();
    let blob = data.join(format!("components/{:02x}/{digest}", digest.as_bytes()[0]));
    fs::write(&blob, b"something else").unwrap();
    let segment = Purpose::Runs.path(&data.join("runs"), 1);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[200] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let problems = store.verify().await.unwrap().problems;
    let has = |text: &str| problems.iter().any(|line| line.contains(text));
    assert!(
        has("used by version 1 of w0") && has("are damaged") && has("is indexed but not there"),
        "{problems:?}"
    );
    // A listing shows the rest, a read says what is wrong.
    let page = store.runs(RunFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.runs.len(), 0);
    assert!(store.health().warnings.iter().any(|line| line.contains("its checksum differs")));
    assert!(matches!(store.blob(digest).await, Err(StoreError::Damaged { .. })));
    store.close().await.unwrap();
}
