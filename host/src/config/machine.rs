//! How much memory the machine has for this process.

use std::path::{Path, PathBuf};

/// Bytes of memory that this process may have: the machine's, or what a control group that
/// it is in leaves it.
pub(super) fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = (info.totalram as u64).saturating_mul(info.mem_unit.into());
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&own).into_iter().filter_map(|file| std::fs::read_to_string(file).ok());
    least(machine, limits)
}

/// The files that may hold a limit, for what `/proc/self/cgroup` says.
fn limit_files(own: &str) -> Vec<PathBuf> {
    let version_2 = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let version_1 = own.lines().find_map(|line| line.split_once(":memory:")).map_or("/", |(_, path)| path);
    let all = |root: &str, path: &str, file: &str| -> Vec<PathBuf> {
        // A group has no more than the groups that it is in. What looks like a path upwards
        // is outside of what this process sees.
        let own = Path::new(path.trim_start_matches('/'));
        own.ancestors().map(|group| Path::new(root).join(group).join(file)).collect()
    };
    let mut files = all("/sys/fs/cgroup", version_2, "memory.max");
    files.extend(all("/sys/fs/cgroup/memory", version_1, "memory.limit_in_bytes"));
    files
}

/// The least of the machine's memory and what files of limits say; `max` is none.
fn least(machine: u64, limits: impl Iterator<Item = String>) -> u64 {
    limits.filter_map(|text| text.trim().parse().ok()).fold(machine, u64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_all_groups_counts() {
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>().into_iter();
        assert_eq!(least(100, texts(&[])), 100);
        assert_eq!(least(100, texts(&["max\n", "50\n", "70\n", "rubbish"])), 50);
        assert_eq!(least(100, texts(&["9223372036854771712\n"])), 100);
        let files = limit_files("0::/a/b\n");
        for file in
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        {
            assert!(files.contains(&PathBuf::from(file)), "{file} is not in {files:?}");
        }
        let files = limit_files("9:cpu:/x\n4:memory:/c\n");
        assert!(files.contains(&PathBuf::from("/sys/fs/cgroup/memory/c/memory.limit_in_bytes")), "{files:?}");
        assert!(memory_bytes() > 64 << 20, "this machine has memory");
    }
}
