//! Content-addressed files: components, sources and code objects.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, RwLock};
use std::time::{Duration, SystemTime};

use super::disk::{self, Step};
use super::folder::{create_folder, remove_leftovers, sync_folder, write_atomically};
use super::status::{lock, read, write};
use super::{Result, StoreError};
use crate::workflow::Digest;

/// All blobs of a data folder.
pub(super) struct Blobs {
    folder: PathBuf,
    present: RwLock<HashMap<Digest, Blob>>,
    /// Held while the file of a blob appears or goes.
    files: Mutex<()>,
}

#[derive(Clone, Copy)]
struct Blob {
    bytes: u64,
    /// When it was put last.
    put_at: SystemTime,
}

impl Blobs {
    /// Finds the blobs in a folder. Files with other names are left alone.
    pub(super) fn open(folder: PathBuf) -> Result<Self> {
        let failed = |source| StoreError::Io { action: format!("list {}", folder.display()), source };
        // A crash may have come between a group's creation and its flush.
        sync_folder(&folder).map_err(failed)?;
        let mut present = HashMap::new();
        for group in fs::read_dir(&folder).map_err(failed)? {
            let group = group.map_err(failed)?.path();
            if !group.is_dir() {
                continue;
            }
            remove_leftovers(&group);
            for entry in fs::read_dir(&group).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let Ok(digest) = Digest::try_from(name) else { continue };
                let file = entry.metadata().map_err(failed)?;
                let put_at = file.modified().map_err(failed)?;
                present.insert(digest, Blob { bytes: file.len(), put_at });
            }
        }
        Ok(Self { folder, present: RwLock::new(present), files: Mutex::new(()) })
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        read(&self.present).contains_key(digest)
    }

    /// Bytes of all blobs.
    pub(super) fn bytes(&self) -> u64 {
        read(&self.present).values().map(|blob| blob.bytes).sum()
    }

    /// The digests of all blobs.
    pub(super) fn digests(&self) -> BTreeSet<Digest> {
        read(&self.present).keys().copied().collect()
    }

    /// Keeps these bytes. Blocks.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let put_at = SystemTime::now();
        let failed = |source| StoreError::Io { action: format!("write blob {digest}"), source };
        let _files = lock(&self.files);
        // A damaged file is replaced by whoever puts the right bytes again.
        let is_there = self.contains(&digest) && self.read_checked(digest).is_ok();
        if is_there {
            // So that the collector sees that somebody is about to use it.
            let file = File::options().write(true).open(self.path(digest)).map_err(failed)?;
            file.set_modified(put_at).map_err(failed)?;
        } else {
            let group = self.group(digest);
            if !group.is_dir() {
                create_folder(&group).and_then(|()| sync_folder(&self.folder)).map_err(failed)?;
            }
            write_atomically(&self.path(digest), bytes).map_err(failed)?;
        }
        write(&self.present).insert(digest, Blob { bytes: bytes.len() as u64, put_at });
        Ok(digest)
    }

    /// The bytes with this digest, checked. Blocks.
    pub(super) fn get(&self, digest: Digest) -> Result<Vec<u8>> {
        if !self.contains(&digest) {
            return Err(missing(digest));
        }
        self.read_checked(digest)
    }

    fn read_checked(&self, digest: Digest) -> Result<Vec<u8>> {
        let bytes = fs::read(self.path(digest)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => missing(digest),
            _ => StoreError::Io { action: format!("read blob {digest}"), source },
        })?;
        if Digest::of(&bytes) != digest {
            let reason = "its bytes have another digest".to_owned();
            return Err(StoreError::Damaged { what: format!("blob {digest}"), reason });
        }
        Ok(bytes)
    }

    /// Blobs that were put longer than `age` ago.
    pub(super) fn older_than(&self, age: Duration) -> Vec<Digest> {
        let now = SystemTime::now();
        let present = read(&self.present);
        let is_old = |blob: &Blob| now.duration_since(blob.put_at).is_ok_and(|since| since >= age);
        present.iter().filter(|(_, blob)| is_old(blob)).map(|(digest, _)| *digest).collect()
    }

    /// Forgets those of `candidates` that are not in `used` and that nobody put again
    /// within `age`. Only the thread that adds versions may call this, so that no
    /// version can name a blob that is being forgotten.
    pub(super) fn forget(
        &self,
        candidates: &[Digest],
        used: &BTreeSet<Digest>,
        age: Duration,
    ) -> Vec<Digest> {
        let old: BTreeSet<Digest> = self.older_than(age).into_iter().collect();
        let mut present = write(&self.present);
        let is_unused = |digest: &&Digest| old.contains(digest) && !used.contains(digest);
        let unused = candidates.iter().filter(is_unused);
        unused.filter(|digest| present.remove(digest).is_some()).copied().collect()
    }

    /// Deletes the files of forgotten blobs and returns their bytes. Blocks.
    pub(super) fn delete(&self, forgotten: &[Digest]) -> Result<u64> {
        let mut freed = 0;
        for digest in forgotten {
            let _files = lock(&self.files);
            if self.contains(digest) {
                continue; // It was put again in between.
            }
            let path = self.path(*digest);
            let failed = |source| StoreError::Io { action: format!("delete blob {digest}"), source };
            let bytes = match fs::metadata(&path) {
                Ok(file) => file.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(failed(source)),
            };
            disk::step(&self.folder, Step::Remove, || fs::remove_file(&path)).map_err(failed)?;
            freed += bytes;
        }
        Ok(freed)
    }

    fn group(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{:02x}", digest.as_bytes()[0]))
    }

    /// Where a blob is.
    pub(super) fn path(&self, digest: Digest) -> PathBuf {
        self.group(digest).join(digest.to_string())
    }
}

fn missing(digest: Digest) -> StoreError {
    StoreError::Missing { what: format!("blob {digest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (Blobs, tempfile::TempDir) {
        let temp = tempfile::tempdir().unwrap();
        (Blobs::open(temp.path().to_owned()).unwrap(), temp)
    }

    #[test]
    fn damaged_blob_is_refused_and_mended_by_putting_it_again() {
        let (blobs, temp) = blobs();
        let digest = blobs.put(b"component").unwrap();
        fs::write(blobs.path(digest), b"c0mponent").unwrap();
        assert!(matches!(blobs.get(digest), Err(StoreError::Damaged { .. })));
        assert_eq!(blobs.put(b"component").unwrap(), digest);
        assert_eq!(blobs.get(digest).unwrap(), b"component");
        let again = Blobs::open(temp.path().to_owned()).unwrap();
        assert_eq!((again.get(digest).unwrap(), again.bytes()), (b"component".to_vec(), 9));
    }

    #[test]
    fn collector_takes_only_what_is_old_and_unused() {
        let (blobs, _temp) = blobs();
        let [used, unused, fresh] = [b"used", b"nope", b"new!"].map(|bytes| blobs.put(bytes).unwrap());
        let age = Duration::from_secs(3600);
        for digest in [used, unused] {
            let mut present = write(&blobs.present);
            present.get_mut(&digest).unwrap().put_at -= age;
        }
        let candidates = blobs.older_than(age);
        assert_eq!(candidates.len(), 2);
        let forgotten = blobs.forget(&candidates, &BTreeSet::from([used]), age);
        assert_eq!(forgotten, [unused]);
        assert_eq!(blobs.delete(&forgotten).unwrap(), 4);
        assert!(matches!(blobs.get(unused), Err(StoreError::Missing { .. })));
        assert!(blobs.get(used).is_ok() && blobs.get(fresh).is_ok());
    }

    #[test]
    fn blob_that_is_put_again_is_not_collected() {
        let (blobs, _temp) = blobs();
        let digest = blobs.put(b"twice").unwrap();
        let age = Duration::from_secs(3600);
        write(&blobs.present).get_mut(&digest).unwrap().put_at -= age;
        let candidates = blobs.older_than(age);
        blobs.put(b"twice").unwrap();
        assert!(blobs.forget(&candidates, &BTreeSet::new(), age).is_empty());
        // Put again after it was forgotten: its file stays.
        write(&blobs.present).get_mut(&digest).unwrap().put_at -= age;
        let forgotten = blobs.forget(&candidates, &BTreeSet::new(), age);
        blobs.put(b"twice").unwrap();
        assert_eq!(blobs.delete(&forgotten).unwrap(), 0);
        assert_eq!(blobs.get(digest).unwrap(), b"twice");
    }
}
