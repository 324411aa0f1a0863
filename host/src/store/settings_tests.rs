//! Settings at rest: what the files hold, and what becomes of files that somebody changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::checkpoint::Checkpoint;
use super::folder::Folder;
use super::frame::{Builder, Kind};
use super::keys::{self, Key, Position};
use super::logfile::{LogFile, Purpose};
use super::samples::{set, workflow};
use super::{EmbeddedOptions, EmbeddedStore, Store, StoreError};
use crate::keys::{KeyOrigin, KeyRing, MasterKey};
use crate::workflow::{Seal, SettingWriter, Visibility, Workflow};

const VALUE: &str = "hunter2-hunter2-hunter2";

fn open(data: &Path, keys: &KeyRing) -> Result<Arc<EmbeddedStore>, StoreError> {
    let options = EmbeddedOptions { keys: Arc::new(keys.clone()), ..EmbeddedOptions::default() };
    tokio::task::block_in_place(|| EmbeddedStore::open(data, options))
}

fn ring(keys: &[&MasterKey]) -> KeyRing {
    KeyRing::new(keys.iter().map(|key| (*key).clone()).collect(), KeyOrigin::Variable)
}

/// A closed store with a workflow and one sealed setting.
async fn kept(data: &Path, keys: &KeyRing) -> Workflow {
    let store = open(data, keys).unwrap();
    let own = workflow("kept");
    store.create_workflow(own.clone()).await.unwrap();
    let mut change = set("API_KEY", &format!("{VALUE:?}"));
    change.visibility = Some(Visibility::Sealed);
    change.seal = Some(Seal::to(vec!["api.example".parse().unwrap()]));
    let changes = vec![change, set("OTHER", "\"another-value\"")];
    let now = store.commit_settings(own.id, changes, SettingWriter::User(None)).await.unwrap();
    assert_eq!(now.entries["API_KEY"].fingerprint.len(), 8);
    store.close().await.unwrap();
    own
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Files that hold the value.
fn leaks(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(data, &mut found);
    assert!(found.len() >= 4, "{found:?}");
    found.retain(|path| memchr::memmem::find(&fs::read(path).unwrap(), b"hunter2").is_some());
    found
}

async fn value(data: &Path, own: &Workflow, keys: &KeyRing) -> Result<String, StoreError> {
    let store = open(data, keys)?;
    let settings = store.settings(own.id).await;
    store.close().await.unwrap();
    settings.map(|settings| settings.entries["API_KEY"].value.expose().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_holds_a_value_and_the_wrong_key_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (key, other) = (MasterKey::random(), MasterKey::random());
    let own = kept(temp.path(), &ring(&[&key])).await;
    assert_eq!(leaks(temp.path()), [] as [PathBuf; 0]);
    assert_eq!(value(temp.path(), &own, &ring(&[&key])).await.unwrap(), format!("{VALUE:?}"));
    match open(temp.path(), &ring(&[&other])).err() {
        Some(error @ StoreError::Key { wanted, .. }) => {
            assert_eq!(wanted, key.id());
            let text = error.to_string();
            assert!(text.contains(&format!("the variable TIDEGATE_MASTER_KEY has {}", other.id())), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(open(temp.path(), &KeyRing::none()).err(), Some(StoreError::Key { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_the_old_key_is_not_needed() {
    let temp = tempfile::tempdir().unwrap();
    let (old, new) = (MasterKey::random(), MasterKey::random());
    let own = kept(temp.path(), &ring(&[&old])).await;
    let store = open(temp.path(), &ring(&[&old])).unwrap();
    assert_eq!(store.key_ids(), BTreeMap::from([(old.id(), 1)]));
    // Without the old one nothing is changed.
    assert!(store.rewrap(Arc::new(ring(&[&new]))).await.is_err());
    let both = Arc::new(ring(&[&new, &old]));
    assert_eq!(store.rewrap(both.clone()).await.unwrap(), 1);
    assert_eq!(store.rewrap(both).await.unwrap(), 0);
    assert_eq!(store.key_ids(), BTreeMap::from([(new.id(), 1)]));
    // Also a workflow that has its first setting now.
    let second = workflow("second");
    store.create_workflow(second.clone()).await.unwrap();
    store.commit_settings(second.id, vec![set("A", "1")], SettingWriter::User(None)).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(value(temp.path(), &own, &ring(&[&new])).await.unwrap(), format!("{VALUE:?}"));
    assert!(matches!(open(temp.path(), &ring(&[&old])).err(), Some(StoreError::Key { .. })));
}

/// Changes the export, and lets the store start from it.
fn edit(data: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = data.join("metadata/export.json");
    let mut export = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut export);
    fs::write(&path, serde_json::to_vec(&export).unwrap()).unwrap();
    fs::remove_dir_all(data.join("metadata/sled")).unwrap();
    fs::remove_dir_all(data.join("metadata/journal")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_were_exchanged_or_opened_on_the_disk_are_refused() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 6] = [
        ("nothing", |_| {}),
        ("two values exchanged", |settings| {
            let entries = &mut settings["entries"];
            let (first, second) = (entries["API_KEY"]["cipher"].clone(), entries["OTHER"]["cipher"].clone());
            entries["API_KEY"]["cipher"] = second;
            entries["OTHER"]["cipher"] = first;
        }),
        ("a sealed value made plain", |settings| {
            settings["entries"]["API_KEY"]["visibility"] = json!("plain")
        }),
        ("sealed to another host", |settings| {
            settings["entries"]["API_KEY"]["seal"]["hosts"] = json!(["evil.example"]);
        }),
        ("an older version", |settings| settings["entries"]["API_KEY"]["version"] = json!(7)),
        ("a plain value put in", |settings| {
            let entry = &mut settings["entries"]["API_KEY"];
            entry["value"] = json!("chosen");
            entry.as_object_mut().unwrap().remove("cipher");
        }),
    ];
    for (what, change) in changes {
        let temp = tempfile::tempdir().unwrap();
        let keys = KeyRing::local();
        let own = kept(temp.path(), &keys).await;
        edit(temp.path(), |export| change(&mut export["workflows"][0]["settings"]));
        let read = value(temp.path(), &own, &keys).await;
        assert_eq!(read.is_ok(), what == "nothing", "{what}: {read:?}");
        if let Err(error) = read {
            assert!(
                matches!(error, StoreError::Damaged { .. }) && !error.to_string().contains("hunter2"),
                "{error}"
            );
        }
    }
    // The key of one workflow does not open another's settings.
    let temp = tempfile::tempdir().unwrap();
    let own = kept(temp.path(), &KeyRing::local()).await;
    let thief = workflow("thief").id.to_string();
    let stolen = thief.clone();
    edit(temp.path(), |export| export["workflows"][0]["workflow"]["id"] = json!(stolen));
    assert_ne!(thief, own.id.to_string());
    assert!(matches!(open(temp.path(), &KeyRing::local()).err(), Some(StoreError::Damaged { .. })));
}

/// A data folder as format 3 and those before left it: values as they are in checkpoint, export and journal.
fn older(data: &Path) -> Workflow {
    let own = workflow("old");
    let folder = Folder::open(data).unwrap();
    let setting = |value: &str| {
        let setting = json!({"value": value, "visibility": "secret", "updated_at": "2026-01-01T00:00:00Z",
            "updated_by": {"user": null}});
        serde_json::to_vec(&setting).unwrap()
    };
    let journal = LogFile::create(&folder.journal(), Purpose::Journal, 1, folder.salt()).unwrap();
    let before = Position { file: 1, offset: journal.written() };
    let mut builder = Builder::new(Kind::Change, 1024);
    let put = (Key::Setting(own.id, "NEWER".to_owned()), Some(setting("hunter2-in-journal")));
    keys::encode_puts(builder.buffer(), &[put]);
    journal.append(&builder.finish(folder.salt()).unwrap()).unwrap();
    journal.sync().unwrap();
    let values = [
        (Key::Workflow(own.id), serde_json::to_vec(&own).unwrap()),
        (Key::Setting(own.id, "API_KEY".to_owned()), setting(VALUE)),
        (Key::Setting(own.id, "NOTHING".to_owned()), {
            let text = String::from_utf8(setting("x")).unwrap();
            text.replace("\"x\"", "null").into_bytes()
        }),
        (Key::SettingsRevision(own.id), b"3".to_vec()),
    ];
    let (checkpoint, _) = Checkpoint::open(&folder.sled()).unwrap();
    checkpoint
        .write(values.into_iter().map(|(key, value)| (key.encode(), Some(value))).collect(), before)
        .unwrap();
    drop(checkpoint);
    let export = json!({"format": 1, "written_at": "2026-01-01T00:00:00Z", "journal": before, "ledger_floor": null,
        "workflows": [{"workflow": own, "versions": [], "settings": {"revision": 3, "entries": {"API_KEY":
            serde_json::from_slice::<serde_json::Value>(&setting(VALUE)).unwrap()}}}]});
    fs::write(folder.export(), serde_json::to_vec(&export).unwrap()).unwrap();
    fs::create_dir(folder.metadata().join("sled.broken-1")).unwrap();
    fs::write(folder.metadata().join("sled.broken-1/slab"), VALUE).unwrap();
    drop(folder);
    say_format(data, 3);
    own
}

fn say_format(data: &Path, format: u32) {
    let path = data.join("FORMAT");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| match line.starts_with("format ") {
        true => format!("format {format}\n"),
        false => format!("{line}\n"),
    });
    fs::write(&path, lines.collect::<String>()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_folder_is_encrypted_when_it_is_opened_wherever_that_was_cut_short() {
    for cut in ["never", "before the end", "without its checkpoint", "without its journals"] {
        let temp = tempfile::tempdir().unwrap();
        let own = older(temp.path());
        // The checkpoint is compressed, and does not show.
        assert_eq!(leaks(temp.path()).len(), 3, "{:?}", leaks(temp.path()));
        let keys = KeyRing::local();
        let store = open(temp.path(), &keys).unwrap();
        store.close().await.unwrap();
        match cut {
            "never" => {}
            "without its checkpoint" => fs::remove_dir_all(temp.path().join("metadata/sled")).unwrap(),
            "without its journals" => fs::remove_dir_all(temp.path().join("metadata/journal")).unwrap(),
            _ => {}
        }
        if cut != "never" {
            say_format(temp.path(), 2);
        }
        let store = open(temp.path(), &keys).unwrap();
        let settings = store.settings(own.id).await.unwrap();
        let found: Vec<_> =
            settings.entries.iter().map(|(name, setting)| (name.as_str(), setting.value.expose())).collect();
        let value = format!("{VALUE:?}");
        let expected =
            [("API_KEY", value.as_str()), ("NEWER", "\"hunter2-in-journal\""), ("NOTHING", "null")];
        assert_eq!(found, expected, "{cut}");
        assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
        store.close().await.unwrap();
        assert_eq!(leaks(temp.path()), [] as [PathBuf; 0], "{cut}");
        assert!(super::is_encrypted(temp.path()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_folder_without_a_key_is_left_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    older(temp.path());
    assert!(matches!(open(temp.path(), &KeyRing::none()).err(), Some(StoreError::Damaged { .. })));
    assert!(!super::is_encrypted(temp.path()));
    assert!(open(temp.path(), &KeyRing::local()).is_ok());
}
