//! Why the store did not do what it was asked.

use std::path::PathBuf;

use crate::account::Login;
use crate::keys::{KeyId, KeyOrigin};
use crate::workflow::{Revision, WorkflowName};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder cannot be used.
    #[error("the data folder {path} cannot be used: {reason}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The system's error, if there was one.
        #[source]
        source: Option<std::io::Error>,
    },
    /// Another process has the data folder open.
    #[error("the data folder {path} is in use by another tidegate process{}", pid.map(|p| format!(" (pid {p})")).unwrap_or_default())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other process, where it is known.
        pid: Option<u32>,
    },
    /// The data was written by a newer or a foreign program.
    #[error("the data folder {path} has format {found}, this build reads {supported}")]
    Format {
        /// The folder.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this build reads.
        supported: u32,
    },
    /// Settings are encrypted with a master key that is not here.
    #[error("the settings in {path} are encrypted with the key {wanted}; {origin} has {}", list(found))]
    Key {
        /// The folder.
        path: PathBuf,
        /// The key that is needed.
        wanted: KeyId,
        /// Where it was looked for.
        origin: KeyOrigin,
        /// The keys that are there.
        found: Vec<KeyId>,
    },
    /// A workflow of that name exists.
    #[error("a workflow named {0} exists already")]
    NameTaken(WorkflowName),
    /// A user with that login exists.
    #[error("a user with the login {0} exists already")]
    LoginTaken(Login),
    /// The thing does not exist.
    #[error("{what} does not exist")]
    Missing {
        /// What was looked for.
        what: String,
    },
    /// Somebody else changed it first.
    #[error("{what} was changed by somebody else: revision {expected:?} was expected, {found:?} is stored")]
    Conflict {
        /// What was to be saved.
        what: String,
        /// The revision that the change was based on.
        expected: Revision,
        /// The revision in the store.
        found: Revision,
    },
    /// A limit of the store was reached.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// What is over the limit, with its size.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The queue takes no more events now.
    #[error("the queue is full: {what}, the limit is {limit}")]
    QueueFull {
        /// How full it is.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// Stored bytes do not match their checksum.
    #[error("{what} is damaged: {reason}")]
    Damaged {
        /// What was read.
        what: String,
        /// How it is damaged.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("{action} failed")]
    Io {
        /// What was tried, for example `write segment 000017.log`.
        action: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file system has no room left for this. The store goes on by itself when there
    /// is room again.
    #[error("the disk is full: {free_bytes} bytes are free")]
    Full {
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// An earlier write or flush failed: nothing is written any more until restart,
    /// because what the disk holds is unknown.
    #[error("the store stopped writing after an error: {0}")]
    Stopped(String),
}

impl StoreError {
    /// Whether a file was gone: its segment was deleted since it was found.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// Whether there was no room on the file system.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Full { .. } => true,
            StoreError::Io { source, .. } => is_full(source),
            _ => false,
        }
    }
}

/// Whether the system says that there is no room, or no quota, left.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn list(ids: &[KeyId]) -> String {
    match ids {
        [] => "no key".to_owned(),
        ids => ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", "),
    }
}
