//! What the compiler's child may do: compute for a while, and write its answer.

use rustix::process::{Resource, Rlimit, Signal};

use super::patience::Priority;
use super::syscalls;

/// The bounds of one child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Address space.
    pub(super) memory_bytes_max: u64,
    /// Processor time of all its threads, in seconds.
    pub(super) cpu_seconds_max: u64,
}

/// Confines this process for good. Only standard input, output and error are left of its
/// descriptors; it can open no file, no pipe and no socket, gains no right by starting a
/// program, leaves no core dump, ends with its parent, and is ended by the system calls that
/// compiling does not need ([`syscalls`]).
///
/// # Errors
/// When the kernel refuses one of them: nothing may be compiled then.
pub(super) fn confine(bounds: Bounds, priority: Priority) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    close_all_but_standard()?;
    limit(Resource::Nofile, 0)?;
    // No byte can be written to a file; pipes are not files.
    limit(Resource::Fsize, 0)?;
    limit(Resource::Core, 0)?;
    limit(Resource::As, bounds.memory_bytes_max)?;
    // At the first it gets SIGXCPU, which tells its parent why it ended.
    let cpu = Rlimit { current: Some(bounds.cpu_seconds_max), maximum: Some(bounds.cpu_seconds_max + 1) };
    rustix::process::setrlimit(Resource::Cpu, cpu)?;
    // Below the runs, which have a caller waiting.
    rustix::process::nice(10)?;
    match priority {
        Priority::Rest => take_the_rest(),
        Priority::Low => {}
    }
    // Last: most of the above is forbidden then.
    syscalls::restrict()
}

/// Takes no processor that anybody else wants; threads that are started later do the same. At
/// nice 10 a thread that computes still holds up those that wake, for milliseconds: two of them
/// make a hello's p99 on four cores 2.4 times what it is without, with this policy 1.7 times.
fn take_the_rest() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // Where a container forbids the call, the nice value has to do.
    // SAFETY: the call reads the structure, and changes this thread's policy only.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) };
}

fn limit(resource: Resource, value: u64) -> rustix::io::Result<()> {
    rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
}

/// Whoever started the host may have left it descriptors that programs inherit.
fn close_all_but_standard() -> std::io::Result<()> {
    // SAFETY: the call touches no memory. Nothing in this process holds a descriptor above
    // standard error: it was started to compile, and has opened nothing yet.
    let code = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
