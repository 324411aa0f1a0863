//! The data folder: its layout, its format file, its lock, and private files.
//!
//! ```text
//! FORMAT                 the version of the layout, and the salt of the frames
//! LOCK                   locked while a process has the folder open; holds its pid
//! metadata/sled/         the checkpoint of the metadata
//! metadata/journal/      changes since the checkpoint: 00000001.log ...
//! metadata/export.json   the metadata once more, for people and for a rebuild
//! runs/                  run records, logs and ticks: 00000001.seg, and 00000001.idx
//!                        beside each segment that is complete
//! queue/                 events, their inputs and what became of them: 00000001.log ...
//! stats/                 rollups of runs by workflow and minute, a file a day
//! snapshots/             links to files that a backup is being made of
//! components/aa/         blobs by their SHA-256 digest, `aa` being its first two digits
//! ```
//!
//! Everything in here may hold secrets: folders have mode 0700, files 0600.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::disk::{self, Step};
use super::frame::Salt;
use super::status::Status;
use super::{Result, StoreError};

/// The version of the layout that this build writes. It takes older ones over when it
/// opens them, see [`Folder::taken_over`]; a newer one is refused.
pub(super) const FORMAT: u32 = 4;
/// Since this one settings are encrypted.
const ENCRYPTED_FORMAT: u32 = 4;

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_TITLE: &str = "tidegate data folder";
const LOCK_FILE: &str = "LOCK";
/// How long the lock of a process that is gone may stay, and how often it is looked at.
const LOCK_OF_THE_DEAD: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// An open data folder. The lock is held until [`Folder::unlock`], or as long as this
/// lives.
pub(super) struct Folder {
    root: PathBuf,
    salt: Salt,
    /// What the format file said when it was opened.
    found_format: u32,
    lock: Mutex<Option<File>>,
}

impl Folder {
    /// Opens the folder and lays it out where it is new.
    pub(super) fn open(root: &Path) -> Result<Self> {
        if !root.is_dir() {
            if root.exists() {
                return Err(unusable(root, "it is not a folder", None));
            }
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root)
                .map_err(|source| unusable(root, "it cannot be created", Some(source)))?;
            // The names of all folders that may be new. What cannot be opened is not.
            for parent in root.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                let _ = sync_folder(parent);
            }
        }
        refuse_foreign(root)?;
        let lock = lock(root)?;
        // Under the lock: another process may have laid the folder out meanwhile.
        let (found_format, salt) = match read_format(root)? {
            Some(found) => found,
            None => (FORMAT, lay_out(root)?),
        };
        let folder = Self { root: root.to_owned(), salt, found_format, lock: Mutex::new(Some(lock)) };
        for path in [
            folder.metadata(),
            folder.journal(),
            folder.runs(),
            folder.statistics(),
            folder.queue(),
            folder.components(),
        ] {
            create_folder(&path).map_err(|source| unusable(root, "it is not writable", Some(source)))?;
            remove_leftovers(&path);
        }
        // Of a process that was killed while it took one.
        let _ = fs::remove_dir_all(root.join(super::snapshot::FOLDER));
        sync_folder(&folder.metadata())
            .and_then(|()| sync_folder(root))
            .map_err(|source| unusable(root, "it cannot be flushed", Some(source)))?;
        Ok(folder)
    }

    /// Whether settings are still as an older build wrote them.
    pub(super) fn is_older(&self) -> bool {
        self.found_format < FORMAT
    }

    /// Says that everything older was taken over. What is before may be repeated: a crash may
    /// come in between.
    ///
    /// 1 to 2: metadata may have floors of runs and limits of retention, and index files count
    /// bytes; nothing has to be rewritten. 2 to 3: metadata may have users, tokens and sessions,
    /// and workflows have viewers; those without an owner belong to the built-in admin from now
    /// on. 3 to 4: settings are encrypted, see [`super::migration`].
    pub(super) fn taken_over(&self, status: &Status) -> Result<()> {
        write_format(&self.root, self.salt)?;
        let from = self.found_format;
        status.warn(format!(
            "the data folder had format {from} and has format {FORMAT} now: older builds do not open it"
        ));
        Ok(())
    }

    /// Lets others open the folder.
    pub(super) fn unlock(&self) {
        if let Some(file) = super::status::lock(&self.lock).take() {
            // Closing the file is not enough at once: a child process that is just being
            // started has it open until it becomes another program.
            let _ = file.unlock();
        }
    }

    /// The salt of this folder's frames.
    pub(super) fn salt(&self) -> Salt {
        self.salt
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn format(&self) -> PathBuf {
        self.root.join(FORMAT_FILE)
    }

    pub(super) fn metadata(&self) -> PathBuf {
        self.root.join("metadata")
    }

    pub(super) fn sled(&self) -> PathBuf {
        self.root.join("metadata/sled")
    }

    pub(super) fn export(&self) -> PathBuf {
        self.root.join("metadata/export.json")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("metadata/journal")
    }

    pub(super) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(super) fn statistics(&self) -> PathBuf {
        self.root.join("stats")
    }

    pub(super) fn queue(&self) -> PathBuf {
        self.root.join("queue")
    }

    pub(super) fn components(&self) -> PathBuf {
        self.root.join("components")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// Whether there is a data folder whose settings are encrypted.
pub(super) fn is_encrypted(root: &Path) -> bool {
    matches!(read_format(root), Ok(Some((format, _))) if format >= ENCRYPTED_FORMAT)
}

fn unusable(root: &Path, reason: &str, source: Option<io::Error>) -> StoreError {
    StoreError::Folder { path: root.to_owned(), reason: reason.to_owned(), source }
}

/// A folder that has something in it but no format file is not ours: a mistyped
/// `--data` must not fill somebody's home folder.
fn refuse_foreign(root: &Path) -> Result<()> {
    if root.join(FORMAT_FILE).exists() {
        return Ok(());
    }
    let entries = fs::read_dir(root).map_err(|source| unusable(root, "it cannot be listed", Some(source)))?;
    for entry in entries {
        let entry = entry.map_err(|source| unusable(root, "it cannot be listed", Some(source)))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with('.') || name == LOCK_FILE || name == "lost+found") {
            let found = format!("unknown (there is no {FORMAT_FILE} file, but there is {name:?})");
            return Err(StoreError::Format { path: root.to_owned(), found, supported: FORMAT });
        }
    }
    Ok(())
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| unusable(root, "it is not writable", Some(source)))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
                let pid = read.ok().and_then(|_| text.trim().parse().ok());
                // A process that was killed just when it started another one leaves the lock to
                // that one until it runs its own program.
                if pid.is_none_or(is_alive) || begun.elapsed() >= LOCK_OF_THE_DEAD {
                    return Err(StoreError::InUse { path: root.to_owned(), pid });
                }
                std::thread::sleep(LOCK_POLL);
            }
            Err(TryLockError::Error(source)) => {
                return Err(unusable(root, "it cannot be locked", Some(source)));
            }
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|source| unusable(root, "it is not writable", Some(source)))?;
    Ok(file)
}

/// Whether there is such a process, or at least nothing that says otherwise.
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// The version and the salt; `None` where there is no format file.
fn read_format(root: &Path) -> Result<Option<(u32, Salt)>> {
    let path = root.join(FORMAT_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(source) => return Err(unusable(root, "its format file cannot be read", Some(source))),
    };
    let refuse = |found: &str| {
        Err(StoreError::Format { path: root.to_owned(), found: found.to_owned(), supported: FORMAT })
    };
    let mut lines = text.lines();
    if lines.next() != Some(FORMAT_TITLE) {
        return refuse("unknown (its FORMAT file is not Tidegate's)");
    }
    let mut value_of = |key: &str| lines.next().and_then(|line| line.strip_prefix(key)).map(str::trim);
    let version = value_of("format ").unwrap_or("unknown");
    let known = version.parse().ok().filter(|version| (1..=FORMAT).contains(version));
    let Some(known) = known else { return refuse(version) };
    match value_of("salt ").and_then(|text| u64::from_str_radix(text, 16).ok()) {
        Some(salt) => Ok(Some((known, Salt::new(salt)))),
        None => refuse(&format!("{version}, without a salt")),
    }
}

fn lay_out(root: &Path) -> Result<Salt> {
    let salt = Salt::new(rand::random());
    write_format(root, salt)?;
    Ok(salt)
}

fn write_format(root: &Path, salt: Salt) -> Result<()> {
    let text = format!("{FORMAT_TITLE}\nformat {FORMAT}\nsalt {:016x}\n", salt.number());
    write_atomically(&root.join(FORMAT_FILE), text.as_bytes())
        .map_err(|source| unusable(root, "it is not writable", Some(source)))
}

/// Creates a folder that only its owner can enter; one that is there stays.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Creates a file that must not exist yet and that only its owner can read.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    disk::step(path, Step::Create, create)
}

/// Makes the names in a folder survive a power cut.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = File::open(path)?;
    disk::step(path, Step::SyncFolder, || folder.sync_all())
}

/// Writes a file so that, whatever happens, either the old or the new one is there,
/// complete. Concurrent calls for one path do not disturb each other.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = parent.join(format!("{LEFTOVER_PREFIX}{:016x}", rand::random::<u64>()));
    let write = || -> io::Result<()> {
        let file = create_file(&temporary)?;
        disk::write_at(parent, &file, bytes, 0)?;
        disk::step(parent, Step::Sync, || file.sync_all())?;
        disk::step(parent, Step::Rename, || fs::rename(&temporary, path))?;
        sync_folder(parent)
    };
    write().inspect_err(|_| {
        // Best effort: what stays is removed at the next open.
        let _ = disk::step(parent, Step::Remove, || fs::remove_file(&temporary));
    })
}

/// Names of files that are not complete yet begin with this.
pub(super) const LEFTOVER_PREFIX: &str = ".writing-";

/// Removes what [`write_atomically`] left behind when the process was killed.
pub(super) fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(LEFTOVER_PREFIX) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn new_folder_is_laid_out_for_its_owner_only_and_opens_again() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("a/data");
        let first = Folder::open(&root).unwrap();
        for path in [&root, &first.runs(), &first.journal(), &first.components()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700, "{path:?}");
        }
        for name in [FORMAT_FILE, LOCK_FILE] {
            let mode = fs::metadata(root.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let salt = first.salt();
        drop(first);
        let second = Folder::open(&root).unwrap();
        assert_eq!(second.salt(), salt);
    }

    #[test]
    fn folder_in_use_names_the_pid() {
        let temp = tempfile::tempdir().unwrap();
        let _first = Folder::open(temp.path()).unwrap();
        match Folder::open(temp.path()).err() {
            Some(StoreError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn folder_that_a_dead_process_left_locked_is_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let first = Folder::open(temp.path()).unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        fs::write(temp.path().join(LOCK_FILE), format!("{}\n", ended.id())).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Folder::open(temp.path()).map(drop));
            std::thread::sleep(LOCK_POLL * 3);
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn folder_of_a_newer_or_a_foreign_program_is_refused_and_left_alone() {
        let cases: [(&str, &str, &str); 4] = [
            (FORMAT_FILE, "tidegate data folder\nformat 5\nsalt 00000000000000aa\n", "5"),
            (FORMAT_FILE, "something else", "unknown (its FORMAT file is not Tidegate's)"),
            (FORMAT_FILE, "tidegate data folder\nformat 1\n", "1, without a salt"),
            ("photos.zip", "", "unknown (there is no FORMAT file, but there is \"photos.zip\")"),
        ];
        for (name, content, expected) in cases {
            let temp = tempfile::tempdir().unwrap();
            fs::write(temp.path().join(name), content).unwrap();
            match Folder::open(temp.path()).err() {
                Some(StoreError::Format { found, supported, .. }) => {
                    assert_eq!((found.as_str(), supported), (expected, FORMAT));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(fs::read_to_string(temp.path().join(name)).unwrap(), content);
            assert!(!temp.path().join("runs").exists());
        }
    }

    #[test]
    fn folder_that_cannot_be_used_says_why() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        let reason = |path: &Path| match Folder::open(path).err() {
            Some(StoreError::Folder { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&file), "it is not a folder");
        assert_eq!(reason(&file.join("data")), "it cannot be created");
        // Root may write everywhere, so that the mode alone refuses nothing.
        let sealed = temp.path().join("sealed");
        fs::create_dir(&sealed).unwrap();
        fs::set_permissions(&sealed, fs::Permissions::from_mode(0o500)).unwrap();
        if !rustix::process::geteuid().is_root() {
            assert_eq!(reason(&sealed), "it is not writable");
        }
        fs::create_dir(sealed.join(LOCK_FILE)).unwrap_or(());
        if sealed.join(LOCK_FILE).exists() {
            assert_eq!(reason(&sealed), "it is not writable");
        }
    }

    #[test]
    fn interrupted_write_leaves_the_old_file_and_is_swept_up() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        write_atomically(&folder.export(), b"old").unwrap();
        let half = folder.metadata().join(format!("{LEFTOVER_PREFIX}0"));
        fs::write(&half, b"ne").unwrap();
        drop(folder);
        let folder = Folder::open(temp.path()).unwrap();
        assert_eq!(fs::read(folder.export()).unwrap(), b"old");
        assert!(!half.exists());
    }
}
