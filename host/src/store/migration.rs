//! Taking over a data folder of format 3 or older: its settings are not encrypted.
//!
//! Encrypting what is in memory is not enough. Checkpoint, journals and export hold values as
//! they were, and the checkpoint keeps overwritten ones in its files: all three are made anew
//! and the old ones deleted. A crash at any step leaves a folder of the older format that is taken
//! over by the next start: what is not encrypted by then is encrypted, and the rest is left.

use std::fs;

use super::checkpoint::Checkpoint;
use super::export::Export;
use super::folder::{Folder, sync_folder};
use super::keys::Position;
use super::logfile::{self, Purpose};
use super::recovery::OpenedMetadata;
use super::{Result, StoreError};
use crate::keys::KeyRing;

/// Encrypts the settings, and leaves no file behind that holds them otherwise.
///
/// # Errors
/// There is no key, or a file cannot be written.
pub(super) fn encrypt_settings(
    folder: &Folder,
    opened: OpenedMetadata,
    keys: &KeyRing,
) -> Result<OpenedMetadata> {
    let OpenedMetadata { mut metadata, checkpoint, journal } = opened;
    metadata.encrypt_plain(keys)?;
    let position = Position { file: journal.number, offset: logfile::HEADER_BYTES };
    metadata.move_to(position);
    metadata.make_dirty()?;
    // From here on the export is what the next start would begin with.
    Export::of(&metadata.snapshot())
        .and_then(|export| export.write(&folder.export()))
        .map_err(|source| StoreError::Io { action: "write the export".to_owned(), source })?;
    drop(checkpoint);
    let removed = |source| StoreError::Io { action: "delete what is not encrypted".to_owned(), source };
    for entry in fs::read_dir(folder.metadata()).map_err(removed)? {
        let entry = entry.map_err(removed)?;
        // Beside the checkpoint, those that were damaged once and kept for a look.
        if entry.file_name().to_string_lossy().starts_with("sled") {
            fs::remove_dir_all(entry.path()).map_err(removed)?;
        }
    }
    for number in Purpose::Journal.numbers(&folder.journal())? {
        if number < position.file {
            fs::remove_file(Purpose::Journal.path(&folder.journal(), number)).map_err(removed)?;
        }
    }
    sync_folder(&folder.journal()).and_then(|()| sync_folder(&folder.metadata())).map_err(removed)?;
    let failed = |error| StoreError::Io {
        action: "create a new checkpoint".to_owned(),
        source: std::io::Error::other(error),
    };
    let (checkpoint, _) = Checkpoint::open(&folder.sled()).map_err(failed)?;
    let (values, position) = metadata.take_dirty();
    checkpoint.write(values, position).map_err(failed)?;
    Ok(OpenedMetadata { metadata, checkpoint, journal })
}
