//! Small file systems of a test's own, where the machine lets it mount any. The store's
//! tests use this file too.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// `FS_IOC_SHUTDOWN` of Linux's `include/uapi/linux/fs.h`.
const SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
/// How long the kernel may hold a file system of a process that was killed.
const UNMOUNT_TIME_MAX: Duration = Duration::from_secs(30);

/// What of the things that nobody flushed a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing.
    All,
    /// The names and sizes of files, and the bytes that these must not be without: the file
    /// system's own log is written out.
    Data,
}

/// A file system that is mounted until it is dropped.
pub(crate) struct Mount {
    path: PathBuf,
    /// The file that is its disk; `None` for one in memory.
    image: Option<PathBuf>,
    #[allow(dead_code, reason = "removed when it is dropped")]
    temp: TempDir,
}

impl Mount {
    /// One in memory with so many MiB; `None` where mounting is not permitted.
    pub(crate) fn in_memory(megabytes: u32) -> Option<Self> {
        let (path, temp) = folder();
        let options = format!("size={megabytes}m,mode=700");
        let is_mounted =
            succeeds(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path));
        is_mounted.then_some(Self { path, image: None, temp })
    }

    /// One on a disk of so many MiB, whose power can be cut; `None` where the machine has
    /// no ext4, no loop devices, or does not let tests use them.
    pub(crate) fn on_disk(megabytes: u32) -> Option<Self> {
        let (path, temp) = folder();
        let image = temp.path().join("disk");
        File::create(&image).and_then(|file| file.set_len(u64::from(megabytes) << 20)).ok()?;
        if !succeeds(Command::new("mkfs.ext4").args(["-q", "-E", "lazy_itable_init=1"]).arg(&image)) {
            return None;
        }
        let mount = Self { path, image: Some(image), temp };
        mount.mount().then_some(mount)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on nothing reaches the disk, and every access fails.
    pub(crate) fn cut_power(&self, cut: Cut) {
        let flag: u32 = match cut {
            Cut::Data => 1,
            Cut::All => 2,
        };
        let root = File::open(&self.path).unwrap();
        // SAFETY: the descriptor is open, and the request reads one `u32` at the pointer.
        let result = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const flag) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// The power is back: what the disk has is there again. No process may use it.
    pub(crate) fn power_on(&self) {
        let deadline = Instant::now() + UNMOUNT_TIME_MAX;
        while !succeeds(Command::new("umount").arg(&self.path)) {
            assert!(Instant::now() < deadline, "somebody still uses {}", self.path.display());
            std::thread::yield_now();
        }
        assert!(self.mount(), "the file system cannot be mounted again");
    }

    fn mount(&self) -> bool {
        let Some(image) = &self.image else { return false };
        succeeds(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&self.path))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).output();
    }
}

/// Where it is mounted, and what is beneath it: in memory where there is such a place.
fn folder() -> (PathBuf, TempDir) {
    let memory = Path::new("/dev/shm");
    let temp = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let temp = temp.unwrap();
    let path = temp.path().join("mount");
    std::fs::create_dir(&path).unwrap();
    (path, temp)
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Says that a test was left out.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn skipped() {
    eprintln!("skipped: this machine does not let tests mount such a file system");
}
