//! The steps by which the store's own files change. Each goes through here, so that
//! tests can let the process die before or after any of them, or let it fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Write,
    Truncate,
    Sync,
    SyncFolder,
    Rename,
    Remove,
}

/// Takes a step in a folder.
#[inline]
pub(super) fn step<T>(folder: &Path, step: Step, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(test)]
    return faults::step(folder, step, action);
    #[cfg(not(test))]
    {
        let _ = (folder, step);
        action()
    }
}

/// Writes bytes at a place of a file in a folder.
#[inline]
pub(super) fn write_at(folder: &Path, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    #[cfg(test)]
    if faults::is_torn(folder) {
        file.write_all_at(&bytes[..bytes.len() / 2], at)?;
    }
    step(folder, Step::Write, || file.write_all_at(bytes, at))
}

/// Faults that tests plan.
#[cfg(test)]
pub(super) mod faults {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::store::status::lock;

    /// What happens at the chosen step.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// The process dies before it.
        Before,
        /// A write is half done when the process dies.
        Torn,
        /// The process dies after it, before anybody is told.
        After,
        /// It fails, with this error of the system.
        Fails(i32),
    }

    /// A plan for the files below a folder; it ends with this value.
    pub(crate) struct Plan {
        root: PathBuf,
        fault: Option<(usize, Fault)>,
        taken: AtomicUsize,
        is_dead: AtomicBool,
    }

    static PLANS: Mutex<Vec<Arc<Plan>>> = Mutex::new(Vec::new());

    pub(crate) struct Planned(Arc<Plan>);

    /// Plans a fault at the step with this number, from 0; `None` only counts.
    pub(crate) fn plan(root: &Path, fault: Option<(usize, Fault)>) -> Planned {
        let plan = Arc::new(Plan {
            root: root.to_owned(),
            fault,
            taken: AtomicUsize::new(0),
            is_dead: AtomicBool::new(false),
        });
        lock(&PLANS).push(plan.clone());
        Planned(plan)
    }

    impl Planned {
        /// Steps that were taken or tried.
        pub(crate) fn taken(&self) -> usize {
            self.0.taken.load(Ordering::SeqCst)
        }
    }

    impl Drop for Planned {
        fn drop(&mut self) {
            lock(&PLANS).retain(|plan| !Arc::ptr_eq(plan, &self.0));
        }
    }

    fn find(folder: &Path) -> Option<Arc<Plan>> {
        lock(&PLANS).iter().find(|plan| folder.starts_with(&plan.root)).cloned()
    }

    pub(super) fn is_torn(folder: &Path) -> bool {
        find(folder).is_some_and(|plan| {
            plan.fault == Some((plan.taken.load(Ordering::SeqCst), Fault::Torn))
                && !plan.is_dead.load(Ordering::SeqCst)
        })
    }

    pub(super) fn step<T>(
        folder: &Path,
        _step: Step,
        action: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(plan) = find(folder) else { return action() };
        let dead = || Err(io::Error::other("the process is dead"));
        if plan.is_dead.load(Ordering::SeqCst) {
            return dead();
        }
        let number = plan.taken.fetch_add(1, Ordering::SeqCst);
        let Some((_, fault)) = plan.fault.filter(|(at, _)| *at == number) else { return action() };
        match fault {
            Fault::Fails(code) => Err(io::Error::from_raw_os_error(code)),
            Fault::Before | Fault::Torn => {
                plan.is_dead.store(true, Ordering::SeqCst);
                dead()
            }
            Fault::After => {
                let _ = action();
                plan.is_dead.store(true, Ordering::SeqCst);
                dead()
            }
        }
    }
}
