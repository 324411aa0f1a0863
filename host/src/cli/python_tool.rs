//! The Python build tool of `guest-sdk/python`, started as a child process.

use std::path::PathBuf;

use super::error::{Failure, Result};
use super::project::Project;

pub(crate) fn component(project: &Project) -> Result<PathBuf> {
    Err(Failure::new(format!("this build has no tool that makes a component of {}", project.name)))
}
