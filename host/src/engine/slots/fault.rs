//! Where tests let a system call fail.

/// The system calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Reserve,
    Open,
    Close,
    Show,
    Forget,
    View,
    Scan,
}

#[cfg(not(test))]
#[inline]
pub(super) fn check(_call: Call) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use self::tests::{check, failing};

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::Call;

    thread_local! {
        static FAILS: Cell<Option<Call>> = const { Cell::new(None) };
    }

    /// Fails when this thread was told so.
    pub(in super::super) fn check(call: Call) -> std::io::Result<()> {
        match FAILS.get() {
            Some(fails) if fails == call => Err(std::io::Error::from_raw_os_error(libc::ENOMEM)),
            _ => Ok(()),
        }
    }

    /// Does something while each such call of this thread fails.
    pub(in super::super) fn failing<T>(call: Call, what: impl FnOnce() -> T) -> T {
        FAILS.set(Some(call));
        let done = what();
        FAILS.set(None);
        done
    }
}
