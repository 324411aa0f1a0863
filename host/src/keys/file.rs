//! The key file: private, made once, and changed in one step.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::MasterKey;
use super::source::{KeysError, parse};

/// Largest key file, in bytes: some hundred keys.
const FILE_BYTES_MAX: u64 = 16 << 10;

const HEADER: &str = "\
# The master key of a Tidegate host: it encrypts the settings of the workflows in the data folder.
# Back this file up, apart from the data folder. Without it the settings are lost.
# The first key encrypts; those below it still decrypt what was not encrypted anew, and backups.
";

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    move |source| KeysError::File { action, path: path.to_owned(), source }
}

/// The keys of a file; `None` when there is no file.
///
/// # Errors
/// It is in the data folder, others may read it, or it holds no keys.
pub(super) fn read(path: &Path, data: &Path) -> Result<Option<Vec<MasterKey>>, KeysError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("reading", path)(source)),
    };
    refuse_inside(path, data)?;
    let unsafe_file = |reason| Err(KeysError::Unsafe { path: path.to_owned(), reason });
    let user = rustix::process::geteuid().as_raw();
    if !metadata.is_file() {
        return unsafe_file("it is not a file");
    }
    // What root made is as good as one's own: a service's manager hands files over like this.
    if metadata.uid() != user && metadata.uid() != 0 {
        return unsafe_file("it belongs to another user");
    }
    if metadata.mode() & 0o077 != 0 {
        return unsafe_file("others may read it");
    }
    if metadata.len() > FILE_BYTES_MAX {
        return unsafe_file("it is too large");
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed("reading", path))?);
    parse(&text, || path.display().to_string()).map(Some)
}

/// The keys of a file, which is made with a new key when it is missing. Of all who make it at
/// the same time one does, and the others get its key.
///
/// # Errors
/// As [`read`], or it cannot be made.
pub(super) fn read_or_make(path: &Path, data: &Path) -> Result<(Vec<MasterKey>, bool), KeysError> {
    if let Some(keys) = read(path, data)? {
        return Ok((keys, false));
    }
    let folder = folder_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed("making", &folder))?;
    refuse_inside(path, data)?;
    let key = MasterKey::random();
    let file = written(path, std::slice::from_ref(&key))?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            sync(&folder).map_err(failed("flushing", &folder))?;
            Ok((vec![key], true))
        }
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            // It was whole before it had its name.
            let keys = read(path, data)?;
            keys.map(|keys| (keys, false)).ok_or_else(|| KeysError::Missing { path: path.to_owned() })
        }
        Err(error) => Err(failed("making", path)(error.error)),
    }
}

/// Keeps other hosts from changing the same file, until it is dropped.
///
/// # Errors
/// There is no lock file, and none can be made.
pub(super) fn lock(path: &Path) -> Result<File, KeysError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let open = || OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let file = open().map_err(failed("locking", &beside))?;
    file.lock().map_err(failed("locking", &beside))?;
    Ok(file)
}

/// Replaces the keys of a file: whatever happens, it holds the old ones or the new ones.
///
/// # Errors
/// It cannot be written.
pub(super) fn replace(path: &Path, keys: &[MasterKey]) -> Result<(), KeysError> {
    let folder = folder_of(path);
    let file = written(path, keys)?;
    file.persist(path).map_err(|error| failed("writing", path)(error.error))?;
    sync(&folder).map_err(failed("flushing", &folder))
}

/// A new file beside `path` (0600), flushed.
fn written(path: &Path, keys: &[MasterKey]) -> Result<NamedTempFile, KeysError> {
    let mut file = NamedTempFile::new_in(folder_of(path)).map_err(failed("writing", path))?;
    let mut text = Zeroizing::new(HEADER.to_owned());
    for key in keys {
        text.push_str(key.text().expose());
        text.push('\n');
    }
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(failed("writing", path))?;
    Ok(file)
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A key beside what it encrypts protects nothing: both are taken at once.
fn refuse_inside(path: &Path, data: &Path) -> Result<(), KeysError> {
    // The folder of a file that is about to be made exists, and the file's own links count too.
    let place = fs::canonicalize(path).or_else(|_| fs::canonicalize(folder_of(path)));
    let (Ok(place), Ok(data)) = (place, fs::canonicalize(data)) else { return Ok(()) };
    if place.starts_with(&data) {
        return Err(KeysError::Unsafe { path: path.to_owned(), reason: "it is inside the data folder" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn of_many_who_make_it_at_once_all_have_the_same_key() {
        let temp = tempfile::tempdir().unwrap();
        let (path, data) = (temp.path().join("config/tidegate/master.key"), temp.path().join("data"));
        let results: Vec<_> = std::thread::scope(|scope| {
            let make =
                || scope.spawn(|| read_or_make(&path, &data).map(|(keys, is_made)| (keys[0].id(), is_made)));
            let threads: Vec<_> = (0..16).map(|_| make()).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|(_, is_made)| *is_made).count(), 1);
        assert!(results.iter().all(|(id, _)| *id == results[0].0));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn a_file_that_others_can_read_or_that_lies_with_the_data_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("data");
        fs::create_dir(&data).unwrap();
        let path = temp.path().join("master.key");
        read_or_make(&path, &data).unwrap();
        let reason = |path: &Path| match read(path, &data).err() {
            Some(KeysError::Unsafe { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(reason(&path), "others may read it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let inside = data.join("master.key");
        fs::copy(&path, &inside).unwrap();
        assert_eq!(reason(&inside), "it is inside the data folder");
        let link = temp.path().join("link.key");
        symlink(&inside, &link).unwrap();
        assert_eq!(reason(&link), "it is inside the data folder");
        let fresh = data.join("keys/fresh.key");
        assert!(read_or_make(&fresh, &data).is_err() && !fresh.exists());
        assert_eq!(reason(temp.path()), "it is not a file");
        fs::write(&path, "no key\n").unwrap();
        assert!(matches!(read(&path, &data), Err(KeysError::Text { line: 1, .. })));
        fs::write(&path, "# nothing\n").unwrap();
        assert!(matches!(read(&path, &data), Err(KeysError::Empty { .. })));
    }
}
