//! Listeners that whoever starts this process opened before, and keeps open behind it
//! (systemd's socket activation, `sd_listen_fds(3)`): while one process takes the place of
//! another, clients wait in the system's queue instead of being refused.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd as _, RawFd};

/// The first descriptor that is handed over: `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;
/// Those that this program can use: one for everything and one for catch requests.
const COUNT_MAX: u32 = 2;

/// Takes over so many listeners. To be called once, before other descriptors are opened:
/// they belong to the caller from then on, and not to the processes it starts.
///
/// # Errors
/// There are too many, or one is no listening TCP socket.
pub fn take(count: u32) -> io::Result<Vec<TcpListener>> {
    if count > COUNT_MAX {
        return Err(io::Error::other(format!(
            "{count} sockets are too many: there is a use for {COUNT_MAX}"
        )));
    }
    (0..count).map(|number| take_one(FIRST + number as RawFd)).collect()
}

fn take_one(descriptor: RawFd) -> io::Result<TcpListener> {
    // SAFETY: the call takes no pointers, and fails for a descriptor that is not open.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by the protocol it is this process's own: nothing else in here
    // knows of it.
    let listener = unsafe { TcpListener::from_raw_fd(descriptor) };
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_sockets_than_there_is_a_use_for_are_refused() {
        let error = take(COUNT_MAX + 1).unwrap_err();
        assert_eq!(error.to_string(), "3 sockets are too many: there is a use for 2");
        assert!(take(0).unwrap().is_empty());
    }
}
