//! What is deployed or run: a folder, a `.py` or a `.wasm`, loaded.

use std::path::{Path, PathBuf};

use super::build;
use super::env::Environment;
use super::error::{Explain, Failure, Result};
use super::output::Output;
use super::project::{Lang, Project};
use super::python;
use crate::workflow::Kind;

/// The code of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Program {
    /// A component.
    Component(Vec<u8>),
    /// Python source, for a runtime.
    Python {
        /// The file's name.
        file: String,
        /// Its bytes: whether they are UTF-8 is for the host to say.
        source: Vec<u8>,
    },
}

/// A program, and what its folder says of it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The code.
    pub(crate) program: Program,
    /// The file that it was read from.
    pub(crate) file: PathBuf,
    /// The project, when the path was a folder.
    pub(crate) project: Option<Project>,
}

/// Loads what stands at `path`, and builds it first where it needs that.
///
/// # Errors
/// There is nothing that can be deployed, or it cannot be built.
pub(crate) fn load(path: &Path, env: &Environment, out: &mut Output) -> Result<Loaded> {
    if path.is_dir() {
        let project = Project::read(path)?;
        let (file, is_source) = match project.lang {
            Lang::Python if project.requirements().is_none() => (project.python_file()?, true),
            Lang::Python | Lang::Rust => (build::component(&project, None, env, out)?, false),
        };
        let program = if is_source { source(&file)? } else { Program::Component(read(&file)?) };
        return Ok(Loaded { program, file, project: Some(project) });
    }
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("py") => source(path)?,
        Some("wasm") => Program::Component(read(path)?),
        _ => {
            let what =
                if path.exists() { "is neither a folder nor a .py or .wasm file" } else { "does not exist" };
            return Err(Failure::new(format!("{} {what}", path.display())));
        }
    };
    Ok(Loaded { program, file: path.to_owned(), project: None })
}

fn source(path: &Path) -> Result<Program> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Program::Python { file, source: read(path)? })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).context(format!("read {}", path.display()))
}

impl Loaded {
    /// The kind that the folder or the source says; `None` when neither does.
    pub(crate) fn kind(&self) -> Option<Kind> {
        if let Some(project) = &self.project {
            return Some(project.kind);
        }
        match &self.program {
            Program::Python { source, .. } => python::kind_of(&String::from_utf8_lossy(source)),
            Program::Component(_) => None,
        }
    }

    /// The runtime that the folder asks for.
    pub(crate) fn runtime(&self) -> Option<&str> {
        self.project.as_ref().and_then(|project| project.runtime.as_deref())
    }
}
