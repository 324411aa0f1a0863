//! The Python build tool of `guest-sdk/python`, started as a child process.
//!
//! It prints its progress on standard error and one JSON document on standard output:
//! what it made, or what went wrong.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::env::Environment;
use super::error::{Explain, Failure, Result};
use super::output::Output;
use super::project::Project;
use super::sdk;

/// What the tool prints.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Failed { error: ToolError },
    Made { component: String },
}

#[derive(Deserialize)]
struct ToolError {
    message: String,
    #[serde(default)]
    hint: Option<String>,
}

/// The folder where downloads and tools are kept between builds.
///
/// # Errors
/// There is no place for one.
pub(crate) fn cache(env: &Environment) -> Result<PathBuf> {
    env.cache.clone().ok_or_else(|| {
        Failure::configuration(
            "there is no place for a cache: none of TIDEGATE_CACHE, XDG_CACHE_HOME and HOME is set",
        )
    })
}

/// Where runtimes are kept: in `TIDEGATE_RUNTIMES`, or in the cache by the version of the
/// SDK, because they fit the one that they were built with and no other.
///
/// # Errors
/// As [`cache`].
pub(crate) fn runtimes(env: &Environment) -> Result<PathBuf> {
    match &env.runtimes {
        Some(folder) => Ok(folder.clone()),
        None => Ok(cache(env)?.join("runtimes").join(&sdk::digest().to_string()[..16])),
    }
}

/// The requirements of a stock runtime; `None` when there is none of this name.
///
/// # Errors
/// The cache cannot be written.
pub(crate) fn stock_requirements(name: &str, env: &Environment) -> Result<Option<PathBuf>> {
    let path = format!("runtimes/{name}/requirements.txt");
    Ok(Some(sdk::unpacked(&cache(env)?)?.join(path)).filter(|path| path.is_file()))
}

/// The component of a runtime that was built before; a stock runtime is built when it was
/// not.
///
/// # Errors
/// There is no such runtime, or it cannot be built.
pub(crate) fn ready_runtime(name: &str, env: &Environment, out: &mut Output) -> Result<PathBuf> {
    let folder = runtimes(env)?;
    let component = folder.join(format!("{name}.wasm"));
    if component.is_file() {
        return Ok(component);
    }
    let Some(requirements) = stock_requirements(name, env)? else {
        return Err(Failure::new(format!("the runtime {name} was not built on this machine")).hint(format!(
            "`tidegate runtime build --no-install --name {name} -r requirements.txt` builds it"
        )));
    };
    let _lock = only_builder(name, &folder, out)?;
    // Another command may have built it while this one waited.
    if component.is_file() {
        return Ok(component);
    }
    out.note(format!("the runtime {name} is not built yet: this takes a minute, once"));
    runtime(name, Some(&requirements), &folder, env, out)
}

/// Waits until no other command builds this runtime. The lock ends with the file that is
/// returned, or with the process.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn only_builder(name: &str, folder: &Path, out: &mut Output) -> Result<File> {
    std::fs::create_dir_all(folder).context(format!("make {}", folder.display()))?;
    let path = folder.join(format!("{name}.lock"));
    let lock = File::create(&path).context(format!("make {}", path.display()))?;
    if lock.try_lock().is_err() {
        out.note(format!("waiting for another command that builds the runtime {name}"));
        lock.lock().context(format!("lock {}", path.display()))?;
    }
    Ok(lock)
}

/// Builds a runtime from a requirements file and returns its component's path.
///
/// # Errors
/// The tool cannot be run, or says why it failed.
pub(crate) fn runtime(
    name: &str,
    requirements: Option<&Path>,
    folder: &Path,
    env: &Environment,
    out: &mut Output,
) -> Result<PathBuf> {
    out.note(format!("building the runtime {name}"));
    let mut arguments: Vec<&OsStr> = vec!["runtime".as_ref(), "--name".as_ref(), name.as_ref()];
    if let Some(requirements) = requirements {
        arguments.extend(["-r".as_ref(), requirements.as_os_str()]);
    }
    std::fs::create_dir_all(folder).context(format!("make {}", folder.display()))?;
    arguments.extend(["--output".as_ref(), folder.as_os_str()]);
    Ok(folder.join(run(&arguments, env)?))
}

/// Builds a component of a Python project and returns its path.
///
/// # Errors
/// As [`runtime`].
pub(crate) fn component(project: &Project, env: &Environment) -> Result<PathBuf> {
    let output = project.folder.join("target").join(format!("{}.wasm", project.name));
    let folder = output.parent().unwrap_or(&project.folder);
    std::fs::create_dir_all(folder).context(format!("make {}", folder.display()))?;
    let arguments =
        ["workflow".as_ref(), project.folder.as_os_str(), "--output".as_ref(), output.as_os_str()];
    run(&arguments, env)?;
    Ok(output)
}

/// Runs the tool and returns the name of the component that it made.
fn run(arguments: &[&OsStr], env: &Environment) -> Result<String> {
    let cache = cache(env)?;
    let sdk = sdk::unpacked(&cache)?;
    let child = Command::new("python3")
        .arg(sdk.join("guest-sdk/python/tidegate_build"))
        .arg("--cache")
        .arg(&cache)
        .arg("--wit")
        .arg(sdk.join("wit"))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start python3")
        .hint("building Python components needs Python 3.10 or newer")?;
    understand(&child.stdout, child.status.success())
}

fn understand(stdout: &[u8], succeeded: bool) -> Result<String> {
    let last = stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap_or_default();
    match serde_json::from_slice(last) {
        Ok(Said::Made { component }) if succeeded => Ok(component),
        Ok(Said::Failed { error }) => {
            let mut lines = error.message.lines();
            let mut failure = Failure::new(lines.next().unwrap_or_default());
            // What a tool below it printed explains more than its first line.
            for line in lines {
                failure = failure.detail(line);
            }
            Err(match error.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
        _ => Err(Failure::new("the build tool ended without saying what it made")
            .hint("its own messages are above")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tool_says_becomes_a_path_or_a_failure() {
        assert_eq!(
            understand(b"noise\n{\"component\": \"a.wasm\", \"bytes\": 1}\n", true).unwrap(),
            "a.wasm"
        );
        let said = br#"{"error": {"code": "native", "message": "numpy cannot run\nline 2", "hint": "leave it out"}}"#;
        let failure = understand(said, false).unwrap_err();
        assert_eq!(failure.line(), "numpy cannot run");
        assert_eq!(
            (failure.details, failure.hints),
            (vec!["line 2".to_owned()], vec!["leave it out".to_owned()])
        );
        for (stdout, succeeded) in
            [(&b""[..], true), (b"{\"component\": \"a\"}", false), (b"Traceback", false)]
        {
            let failure = understand(stdout, succeeded).unwrap_err();
            assert!(failure.line().contains("without saying"), "{failure}");
        }
    }
}
