//! A consistent copy of a store that works, as files that stay as they are until it is
//! dropped.
//!
//! The writer says in one step what there is: the metadata, and the bytes of each
//! segment. Hard links then keep those files, whatever is deleted or written anew
//! meanwhile; of the segment that grows on, only the bytes of that step are taken. The
//! queue stands still during that step: an event that it has settled has its run among
//! the records, as after a crash.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::export::Export;
use super::folder::create_folder;
use super::logfile::Purpose;
use super::metadata;
use super::segment::Segment;
use super::shared::Shared;
use super::sidecar;
use super::{Result, StoreError};

/// The folder of snapshots, below the data folder.
pub(super) const FOLDER: &str = "snapshots";

/// Everything that a store held at one moment.
pub struct Snapshot {
    /// What a data folder of it consists of.
    pub files: Vec<SnapshotFile>,
    /// The moment.
    pub taken_at: Timestamp,
    /// Workflows in it.
    pub workflows: u64,
    /// Runs in it.
    pub runs: u64,
    _links: Links,
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its place below the data folder, with `/` between its parts.
    pub path: String,
    /// Where it can be read.
    pub source: PathBuf,
    /// Its first bytes that belong to the snapshot.
    pub bytes: u64,
}

/// Removes the links when nobody needs them any more.
struct Links(PathBuf);

impl Drop for Links {
    fn drop(&mut self) {
        // What stays is removed when the store opens.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the writer saw in one step.
pub(super) struct Moment {
    pub(super) taken_at: Timestamp,
    pub(super) metadata: metadata::Snapshot,
    /// Each with its bytes at that moment.
    pub(super) segments: Vec<(Arc<Segment>, u64)>,
    pub(super) runs: u64,
}

/// Links the files of a moment. Nothing may delete segments meanwhile. Blocks.
/// `statistics` are the days with their bytes, taken before the moment.
pub(super) fn link(
    shared: &Shared,
    mut taken: Taken,
    moment: &Moment,
    statistics: &[(u64, u64)],
) -> Result<Snapshot> {
    let _reading = shared.segments.reading();
    taken.link("FORMAT", &shared.folder.format(), None).map_err(failed)?;
    let export = Export::of(&moment.metadata).map_err(failed)?;
    let path = taken.links.0.join("export.json");
    export.write(&path).map_err(failed)?;
    taken.add("metadata/export.json", path, None).map_err(failed)?;
    for (segment, bytes) in &moment.segments {
        let (runs, number) = (shared.folder.runs(), segment.number);
        let path = Purpose::Runs.path(&runs, number);
        taken.link(&format!("runs/{number:08}.seg"), &path, Some(*bytes)).map_err(failed)?;
        let index = sidecar::path(&runs, number);
        if segment.live_rows().is_none() && index.exists() {
            taken.link(&format!("runs/{number:08}.idx"), &index, None).map_err(failed)?;
        }
    }
    for (day, bytes) in statistics {
        let path = Purpose::Statistics.path(&shared.folder.statistics(), *day);
        taken.link(&format!("stats/{day:08}.log"), &path, Some(*bytes)).map_err(failed)?;
    }
    for digest in moment.metadata.blobs() {
        let path = shared.blobs.path(digest);
        let name = format!("components/{:02x}/{digest}", digest.as_bytes()[0]);
        taken.link(&name, &path, None).map_err(failed)?;
    }
    let workflows = moment.metadata.kept.len() as u64;
    let Taken { links, files } = taken;
    Ok(Snapshot { files, taken_at: moment.taken_at, workflows, runs: moment.runs, _links: links })
}

/// What a snapshot has so far.
pub(super) struct Taken {
    links: Links,
    files: Vec<SnapshotFile>,
}

fn failed(source: std::io::Error) -> StoreError {
    StoreError::Io { action: "take a snapshot".to_owned(), source }
}

impl Taken {
    /// Begins with the queue's files, each with its bytes. Blocks.
    pub(super) fn of_queue(shared: &Shared, files: &[(u64, u64)]) -> Result<Self> {
        let root = shared.folder.root().join(FOLDER);
        let own = root.join(format!("{:016x}", rand::random::<u64>()));
        create_folder(&root).and_then(|()| create_folder(&own)).map_err(failed)?;
        let mut taken = Self { links: Links(own), files: Vec::new() };
        for (number, bytes) in files {
            let path = Purpose::Queue.path(&shared.folder.queue(), *number);
            taken.link(&format!("queue/{number:08}.log"), &path, Some(*bytes)).map_err(failed)?;
        }
        Ok(taken)
    }

    fn link(&mut self, path: &str, source: &Path, bytes: Option<u64>) -> std::io::Result<()> {
        let link = self.links.0.join(path.replace('/', "-"));
        fs::hard_link(source, &link)?;
        self.add(path, link, bytes)
    }

    fn add(&mut self, path: &str, source: PathBuf, bytes: Option<u64>) -> std::io::Result<()> {
        let length = fs::metadata(&source)?.len();
        let bytes = bytes.unwrap_or(length).min(length);
        self.files.push(SnapshotFile { path: path.to_owned(), source, bytes });
        Ok(())
    }
}
