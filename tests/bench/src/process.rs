//! What a server process and its children use of the machine, read from `/proc`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

/// Memory of a process and its children, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// The most that was resident at once since the last [`Process::forget_peak`].
    pub resident_peak_bytes: u64,
    /// Resident now.
    #[serde(default)]
    pub resident_bytes: u64,
    /// Resident now, shared pages divided among those who share them.
    pub proportional_bytes: u64,
    /// Resident now and nobody else's.
    pub private_bytes: u64,
}

/// A process of ours, with its children.
#[derive(Debug, Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// Processor time, user's and system's, of the process and its children.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu_time(self) -> anyhow::Result<Duration> {
        let ticks_per_s = rustix::param::clock_ticks_per_second();
        let mut ticks = 0;
        for id in self.family() {
            let text = read(id, "stat")?;
            ticks += ticks_of(&text).with_context(|| format!("cannot read /proc/{id}/stat: {text}"))?;
        }
        Ok(Duration::from_nanos(ticks * 1_000_000_000 / ticks_per_s))
    }

    /// Page faults so far that needed no disk, of the process and its children.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn page_faults(self) -> anyhow::Result<u64> {
        let mut faults = 0;
        for id in self.family() {
            let text = read(id, "stat")?;
            faults += faults_of(&text).with_context(|| format!("cannot read /proc/{id}/stat: {text}"))?;
        }
        Ok(faults)
    }

    /// Open descriptors of the process itself.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn descriptors(self) -> anyhow::Result<usize> {
        let listed = fs::read_dir(path(self.0, "fd"));
        Ok(listed.with_context(|| format!("process {} is gone", self.0))?.count())
    }

    /// Memory, now and at its peak.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn memory(self) -> anyhow::Result<Memory> {
        let mut memory = Memory::default();
        for id in self.family() {
            let status = read(id, "status")?;
            let now = read(id, "smaps_rollup")?;
            memory.resident_peak_bytes += bytes_of(&status, "VmHWM:").context("no VmHWM")?;
            memory.resident_bytes += bytes_of(&status, "VmRSS:").context("no VmRSS")?;
            memory.proportional_bytes += bytes_of(&now, "Pss:").context("no Pss")?;
            memory.private_bytes += bytes_of(&now, "Private_Clean:").context("no Private_Clean")?
                + bytes_of(&now, "Private_Dirty:").context("no Private_Dirty")?;
        }
        Ok(memory)
    }

    /// Begins the peak anew from what is resident now.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn forget_peak(self) -> anyhow::Result<()> {
        for id in self.family() {
            // 5 resets the peak, see proc_pid_clear_refs(5).
            fs::write(path(id, "clear_refs"), "5").with_context(|| format!("process {id} is gone"))?;
        }
        Ok(())
    }

    /// The process, its children, theirs, and so on.
    fn family(self) -> Vec<u32> {
        let mut family = vec![self.0];
        let mut next = 0;
        while let Some(&id) = family.get(next) {
            next += 1;
            let Ok(threads) = fs::read_dir(path(id, "task")) else { continue };
            for thread in threads.flatten() {
                let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                family.extend(children.split_ascii_whitespace().filter_map(|id| id.parse::<u32>().ok()));
            }
        }
        family
    }
}

fn path(id: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{id}/{file}"))
}

fn read(id: u32, file: &str) -> anyhow::Result<String> {
    fs::read_to_string(path(id, file)).with_context(|| format!("process {id} is gone"))
}

/// Clock ticks of user and system time in the text of `/proc/<id>/stat`.
fn ticks_of(stat: &str) -> Option<u64> {
    // The name before the last parenthesis may hold anything. Fields 14 and 15.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Minor faults in the text of `/proc/<id>/stat`: field 10.
fn faults_of(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(7)?.parse().ok()
}

/// The value of a line such as `Pss:  1234 kB`, in bytes.
fn bytes_of(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_use_is_seen() {
        let own = Process(std::process::id());
        let memory = own.memory().unwrap();
        assert!(memory.private_bytes > 0);
        assert!(memory.private_bytes <= memory.resident_peak_bytes);
        let before = own.cpu_time().unwrap();
        let mut sum = 0_u64;
        while own.cpu_time().unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
    }

    #[test]
    fn children_are_counted() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(Process(std::process::id()).family().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn an_odd_name_does_not_shift_the_fields() {
        let stat = "12 (a) b (c) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(ticks_of(stat), Some(300));
        assert_eq!(faults_of(stat), Some(100));
        assert_eq!(ticks_of("12 (cut) S 1"), None);
    }

    #[test]
    fn a_missing_line_is_told_apart_from_nothing() {
        assert_eq!(bytes_of("Rss: 8 kB\nPss:   12 kB\n", "Pss:"), Some(12 << 10));
        assert_eq!(bytes_of("Rss: 8 kB\n", "Pss:"), None);
    }
}
