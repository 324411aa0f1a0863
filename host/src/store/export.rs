//! The metadata as one JSON document beside the checkpoint: readable by people, and
//! together with the journal enough to make the checkpoint again.
//!
//! It holds catch keys, hashes of passwords, and settings encrypted: mode 0600, like everything
//! here.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::accounts::Accounts;
use super::folder::write_atomically;
use super::keys::{Key, Position};
use super::metadata::{Metadata, Snapshot};
use super::settings::StoredSettings;
use crate::run::RunId;
use crate::workflow::{Runtime, Version, Workflow};

/// The version of the document's format.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    written_at: Timestamp,
    /// The journal is covered up to here.
    journal: Position,
    ledger_floor: Option<Timestamp>,
    workflows: Vec<Entry>,
    #[serde(default)]
    runtimes: Vec<Runtime>,
    #[serde(default)]
    accounts: Accounts,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    workflow: Workflow,
    versions: Vec<Version>,
    settings: StoredSettings,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_floor: Option<RunId>,
}

/// The export of some metadata.
pub(super) struct Export {
    json: Vec<u8>,
}

impl Export {
    pub(super) fn of(snapshot: &Snapshot) -> io::Result<Self> {
        let entries = snapshot.kept.iter().map(|kept| Entry {
            workflow: kept.workflow.clone(),
            versions: kept.versions.values().cloned().collect(),
            settings: kept.settings.clone(),
            run_floor: kept.run_floor,
        });
        let document = Document {
            format: FORMAT,
            written_at: Timestamp::now(),
            journal: snapshot.position,
            ledger_floor: snapshot.ledger_floor,
            workflows: entries.collect(),
            runtimes: snapshot.runtimes.clone(),
            accounts: snapshot.accounts.clone(),
        };
        Ok(Self { json: serde_json::to_vec_pretty(&document)? })
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        write_atomically(path, &self.json)
    }
}

/// Reads an export.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when there is none; [`io::ErrorKind::InvalidData`].
pub(super) fn read(path: &Path) -> io::Result<Metadata> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    // Not the parser's own message: it may quote a secret.
    let document: Document = serde_json::from_slice(&std::fs::read(path)?)
        .map_err(|error| invalid(format!("no export at line {}", error.line())))?;
    if document.format > FORMAT {
        return Err(invalid(format!("an export of format {}", document.format)));
    }
    let mut metadata = Metadata::default();
    let mut load = |key: Key, value: Vec<u8>| {
        metadata.load(key, &value, document.journal).map_err(|error| invalid(error.to_string()))
    };
    for entry in &document.workflows {
        let id = entry.workflow.id;
        load(Key::Workflow(id), serde_json::to_vec(&entry.workflow)?)?;
        for version in &entry.versions {
            load(Key::Version(id, version.number), serde_json::to_vec(version)?)?;
        }
        for (name, setting) in &entry.settings.entries {
            load(Key::Setting(id, name.clone()), serde_json::to_vec(setting)?)?;
        }
        load(Key::SettingsRevision(id), serde_json::to_vec(&entry.settings.revision)?)?;
        if let Some(key) = &entry.settings.key {
            load(Key::Wrapped(id), serde_json::to_vec(key)?)?;
        }
        if let Some(floor) = entry.run_floor {
            load(Key::RunFloor(id), serde_json::to_vec(&floor)?)?;
        }
    }
    for runtime in &document.runtimes {
        load(Key::Runtime(runtime.name.clone()), serde_json::to_vec(runtime)?)?;
    }
    for (key, value) in document.accounts.puts().map_err(io::Error::other)? {
        load(key, value.unwrap_or_default())?;
    }
    if let Some(floor) = document.ledger_floor {
        load(Key::LedgerFloor, serde_json::to_vec(&floor)?)?;
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::super::metadata::SettingLimits;
    use super::super::samples;
    use super::*;
    use crate::keys::KeyRing;
    use crate::workflow::{Digest, SettingWriter};

    #[test]
    fn export_holds_all_metadata_and_its_position() {
        let limits = SettingLimits { settings_max: 10, setting_bytes_max: 100 };
        let mut metadata = Metadata::default();
        let position = |offset| Position { file: 2, offset };
        for name in ["first", "second"] {
            let workflow = samples::workflow(name);
            metadata.apply(metadata.plan_create(&workflow).unwrap(), position(1)).unwrap();
            let code = samples::component(Digest::of(b"abc"));
            let (puts, _) = metadata.plan_version(workflow.id, code, None, "m".to_owned()).unwrap();
            metadata.apply(puts, position(2)).unwrap();
            let changes = vec![samples::set("A", "1"), samples::set("b", r#"{"c": [null]}"#)];
            let by = SettingWriter::User(Some("ada".to_owned()));
            let (puts, _) =
                metadata.plan_settings(workflow.id, changes, &by, &KeyRing::local(), limits).unwrap();
            metadata.apply(puts, position(3)).unwrap();
        }
        let floor = Timestamp::from_second(5).unwrap();
        metadata.apply(metadata.plan_floor(floor).unwrap(), position(4)).unwrap();
        let runtime = Runtime {
            name: "python".parse().unwrap(),
            component: Digest::of(b"runtime"),
            language: "python".to_owned(),
            version: "3.14.0".to_owned(),
            packages: vec![("requests".to_owned(), "2.32.5".to_owned())],
            installed_at: floor,
        };
        metadata.apply(metadata.plan_runtime(&runtime).unwrap(), position(4)).unwrap();
        let changes = samples::account("ada");
        metadata.apply(metadata.plan_accounts(changes).unwrap().0, position(4)).unwrap();

        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("export.json");
        let export = Export::of(&metadata.snapshot()).unwrap();
        export.write(&path).unwrap();
        let read = read(&path).unwrap();
        assert_eq!(read.snapshot().puts().unwrap(), metadata.snapshot().puts().unwrap());
        assert_eq!(read.position(), position(4));
    }

    #[test]
    fn what_is_no_export_is_refused_without_quoting_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("export.json");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        for (text, expected) in [
            ("{\"secret\": 1}", "no export at line 1"),
            (
                "{\"format\": 9, \"written_at\": \"2026-01-01T00:00:00Z\", \"journal\": {\"file\": 1, \"offset\": 1},
                  \"ledger_floor\": null, \"workflows\": []}",
                "an export of format 9",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::InvalidData, expected));
        }
    }
}
