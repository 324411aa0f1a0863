//! Why a verb did not do what it was asked.

use crate::schedule::{IntervalError, ScheduleError};
use crate::store::StoreError;
use crate::workflow::{Kind, NameError, WorkflowName};

/// Why a verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The name is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A workflow of that name exists.
    #[error("a workflow named {0} exists already")]
    NameTaken(WorkflowName),
    /// The thing does not exist.
    #[error("{what} does not exist")]
    Missing {
        /// What was looked for, for example `the workflow sms`.
        what: String,
    },
    /// A schedule is wrong.
    #[error("the schedule {name:?} is wrong: {source}")]
    Schedule {
        /// The schedule's name.
        name: String,
        /// What is wrong.
        source: ScheduleError,
    },
    /// An interval cannot be read.
    #[error("the interval {text:?} is wrong: {source}")]
    Interval {
        /// What was given.
        text: String,
        /// What is wrong.
        source: IntervalError,
    },
    /// A field has a value that is not allowed.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, as the API names it.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The workflow's kind does not allow it.
    #[error("{what} is for {needed} workflows, {name} is a {kind}")]
    WrongKind {
        /// The workflow.
        name: WorkflowName,
        /// Its kind.
        kind: Kind,
        /// What was asked for.
        what: &'static str,
        /// The kind it would need.
        needed: Kind,
    },
    /// Somebody else changed it at the same time.
    #[error("the workflow {0} was changed by somebody else at the same time")]
    Conflict(WorkflowName),
    /// A limit was reached.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// What is over the limit, with its size.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

impl RegistryError {
    /// That there is no such workflow.
    pub fn missing(name: &str) -> Self {
        RegistryError::Missing { what: format!("the workflow {name:?}") }
    }

    /// That a workflow has no such schedule.
    pub fn missing_schedule(name: &str, schedule: &str) -> Self {
        RegistryError::Missing { what: format!("the schedule {schedule:.64?} of the workflow {name}") }
    }

    /// Whether there was no room on the file system.
    pub fn is_full(&self) -> bool {
        matches!(self, RegistryError::Store(error) if error.is_full())
    }

    pub(super) fn of_store(name: &WorkflowName, error: StoreError) -> Self {
        match error {
            StoreError::NameTaken(name) => RegistryError::NameTaken(name),
            StoreError::Missing { .. } => RegistryError::missing(name.as_str()),
            StoreError::Conflict { .. } => RegistryError::Conflict(name.clone()),
            StoreError::Limit { what, limit } => RegistryError::Limit { what, limit },
            other => RegistryError::Store(other),
        }
    }
}
