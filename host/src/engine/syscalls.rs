//! The system calls that the compiler's child may make, and the filter that holds it to them.
//!
//! It computes on several threads, reads one pipe and writes two. Whatever is not in the list
//! ends it with `SIGSYS`; what the libraries below it ask for without need, such as a file
//! that says how many processors there are, is refused instead.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// What it may do: memory, threads, signals, time, and descriptors that it has.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    // The allocator asks where it runs.
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    // Names of threads: what else it can do concerns this process alone.
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_uname,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_clone3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// What asks for a file, which is refused and ends nothing.
const FILES: &[libc::c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

/// Holds all threads of this process to the list, for good.
///
/// # Errors
/// The kernel has no such filters, or refuses them.
pub(super) fn restrict() -> io::Result<()> {
    let failed = |error: BackendError| io::Error::other(error);
    // A thread, not a process: the flags of `clone3` lie in memory, where no filter looks, and
    // who is told that it is not there takes `clone`.
    let new_thread = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64),
        libc::CLONE_THREAD as u64,
    );
    let new_thread = new_thread.and_then(|one| SeccompRule::new(vec![one])).map_err(failed)?;
    let mut allowed = always(ALLOWED);
    allowed.extend(always(FILES));
    allowed.insert(libc::SYS_clone, vec![new_thread]);
    // The strictest of them counts; the last one lets no further one in.
    for (rules, of_others, of_these) in [
        (always(FILES), SeccompAction::Allow, SeccompAction::Errno(libc::EACCES as u32)),
        (always(&[libc::SYS_clone3]), SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32)),
        (allowed, SeccompAction::KillProcess, SeccompAction::Allow),
    ] {
        let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
        let filter = SeccompFilter::new(rules, of_others, of_these, architecture).map_err(failed)?;
        let program: BpfProgram = filter.try_into().map_err(failed)?;
        seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn always(calls: &[libc::c_long]) -> BTreeMap<i64, Vec<SeccompRule>> {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    use super::super::confine::{Bounds, confine};
    use super::super::patience::Priority;

    /// Which call a child of the test tries.
    const TRY: &str = "TIDEGATE_TRY_CALL";
    const BOUNDS: Bounds = Bounds { memory_bytes_max: 16 << 30, cpu_seconds_max: 60 };
    /// The code of a child that was refused something and lives.
    const REFUSED: i32 = 41;
    const DONE: i32 = 42;

    /// What a child that tries this ends with: its code, or its signal.
    fn tries(call: &str) -> (Option<i32>, Option<i32>) {
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "engine::syscalls::tests::child_tries_a_call", "--nocapture"])
            .env(TRY, call)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        (ended.code(), ended.signal())
    }

    #[test]
    fn what_the_child_has_no_need_of_ends_it_and_files_are_refused() {
        for call in
            ["socket", "connect", "fork", "vfork", "exec", "ptrace", "kill", "unlink", "seccomp", "mount"]
        {
            assert_eq!(tries(call), (None, Some(libc::SIGSYS)), "{call}");
        }
        for call in ["open", "clone3"] {
            assert_eq!(tries(call), (Some(REFUSED), None), "{call}");
        }
        for call in ["thread", "memory", "write"] {
            assert_eq!(tries(call), (Some(DONE), None), "{call}: the control");
        }
    }

    /// Not a test by itself: runs in a child.
    #[test]
    fn child_tries_a_call() {
        let Ok(call) = std::env::var(TRY) else { return };
        confine(BOUNDS, Priority::Rest).unwrap();
        let text = c"/etc/passwd".as_ptr();
        // SAFETY: the process is the test's own, and ends here; the pointers are to constants
        // or null, which the kernel checks.
        unsafe {
            let result = match call.as_str() {
                "socket" => libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
                "connect" => libc::syscall(libc::SYS_connect, 0, 0, 0),
                "fork" => libc::c_long::from(libc::fork()),
                "vfork" => libc::syscall(libc::SYS_clone, libc::CLONE_VM | libc::CLONE_VFORK, 0, 0, 0, 0),
                "exec" => libc::syscall(libc::SYS_execve, text, 0, 0),
                "ptrace" => libc::syscall(libc::SYS_ptrace, 0, 0, 0, 0),
                "kill" => libc::syscall(libc::SYS_kill, 1, 0),
                "unlink" => libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, c"/nothing/here".as_ptr(), 0),
                "seccomp" => libc::syscall(libc::SYS_seccomp, 0, 0, 0),
                "mount" => libc::syscall(libc::SYS_mount, 0, 0, 0, 0, 0),
                "open" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, text, libc::O_RDONLY),
                "clone3" => libc::syscall(libc::SYS_clone3, 0, 0),
                "thread" => std::thread::spawn(|| 0).join().unwrap(),
                "memory" => {
                    (vec![1u8; 64 << 20].iter().map(|byte| i64::from(*byte)).sum::<i64>() > 0) as i64 - 1
                }
                "write" => libc::write(1, text.cast(), 1) as libc::c_long,
                other => panic!("{other:?}"),
            };
            libc::_exit(if result < 0 { REFUSED } else { DONE });
        }
    }
}
