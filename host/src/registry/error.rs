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

    /// The error of a change that gives no endpoint: what is wrong with the endpoint was stored
    /// by a build that took it, and the caller did not write it.
    pub(super) fn told_for(self, gives_endpoint: bool, name: &str) -> Self {
        match self {
            RegistryError::Invalid { field: field @ "endpoint.callback_hosts", reason }
                if !gives_endpoint =>
            {
                let reason = format!(
                    "{reason}; that is not of this change: {name} was stored with it before it was refused, \
                     and can be changed again once `callback_hosts` is right: give the endpoint along"
                );
                RegistryError::Invalid { field, reason }
            }
            other => other,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_before_it_was_refused_is_told_apart_from_what_the_caller_wrote() {
        let wrong = |field| RegistryError::Invalid { field, reason: "\"a:80\" is no host".to_owned() };
        let told = wrong("endpoint.callback_hosts").told_for(false, "sync").to_string();
        for part in [
            "endpoint.callback_hosts",
            "\"a:80\" is no host",
            "not of this change",
            "sync",
            "give the endpoint",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
        for (field, gives_endpoint) in [("endpoint.callback_hosts", true), ("description", false)] {
            let told = wrong(field).told_for(gives_endpoint, "sync").to_string();
            assert_eq!(told, wrong(field).to_string());
        }
    }
}
