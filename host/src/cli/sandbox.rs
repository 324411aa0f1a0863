//! Running a workflow on this machine without a host: the same parts, the same path,
//! over a store of its own.
//!
//! The store lives in the cache folder, so that components are compiled once. Nothing
//! in it outlasts a run but installed runtimes and compiled components.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::error::{Explain, Failure, Result};
use super::in_process::{of_app, runtime};
use super::program::Program;
use crate::api::{CreateWorkflow, PatchSettings, RunDetail, RunLog, TestRequest};
use crate::app::Core;
use crate::config::Config;
use crate::data::DataFolder;
use crate::deploy::DeployError;
use crate::engine::Input;
use crate::invoker::Invocation;
use crate::keys::KeyRing;
use crate::registry::Entry;
use crate::run::Trigger;
use crate::server::local::{self, Told};
use crate::store::{EmbeddedOptions, EmbeddedStore, Store, StoreError};
use crate::workflow::{Kind, Visibility};

/// The parts that run workflows.
pub(crate) struct Sandbox {
    runtime: Runtime,
    core: Core,
    /// The store's folder, when somebody else has the usual one open.
    _temporary: Option<tempfile::TempDir>,
}

/// What is run.
pub(crate) struct Job {
    /// The workflow; its schedules do not matter.
    pub(crate) workflow: CreateWorkflow,
    /// Its code.
    pub(crate) program: Program,
    /// The runtime for its source; `None` is the default one.
    pub(crate) runtime: Option<String>,
    /// What a catch is handed.
    pub(crate) request: TestRequest,
    /// Its settings.
    pub(crate) settings: BTreeMap<String, Value>,
}

/// What a run left behind.
pub(crate) struct Ran {
    /// The record.
    pub(crate) detail: RunDetail,
    /// Its log.
    pub(crate) log: RunLog,
    /// The settings that it changed; `None` for one that it deleted.
    pub(crate) settings: BTreeMap<String, Option<Value>>,
}

/// How long a compiled component is kept. Each change of a program makes another one.
const ARTEFACT_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The schedule's name that a local run of a pull is given.
const SCHEDULE: &str = "test";

impl Sandbox {
    /// Opens the parts over a store below `cache`.
    ///
    /// # Errors
    /// The cache cannot be written, or the sandbox not set up.
    pub(crate) fn open(config: Config, cache: &Path) -> Result<Self> {
        let runtime = runtime()?;
        // Several builds of this program may share a cache.
        let usual = DataFolder::create(&cache.join(format!("local-{}", EmbeddedStore::FORMAT)))?;
        let options = EmbeddedOptions::from_config(&config, Arc::new(KeyRing::local()));
        // The store starts threads of the runtime.
        let opened = runtime.block_on(async { EmbeddedStore::open(usual.path(), options.clone()) });
        let (store, temporary): (Arc<dyn Store>, _) = match opened {
            Ok(store) => (store, None),
            // Another `run`, or another version of this program: this one does without
            // what is kept there.
            Err(StoreError::InUse { .. } | StoreError::Format { .. }) => {
                let folder = tempfile::tempdir().context("make a temporary folder")?;
                let store = runtime.block_on(async { EmbeddedStore::open(folder.path(), options) })?;
                (store, Some(folder))
            }
            Err(error) => return Err(error).context(format!("open the cache in {}", cache.display())),
        };
        let program = std::env::current_exe().context("find this program")?;
        let core = Core::open(Arc::new(config), store, &usual, program, Vec::<SocketAddr>::new());
        let core = runtime.block_on(core).map_err(of_app)?;
        let sandbox = Self { runtime, core, _temporary: temporary };
        sandbox.sweep()?;
        // What cannot be deleted is in nobody's way.
        let _ = delete_older(&usual.artefacts(), ARTEFACT_AGE_MAX);
        Ok(sandbox)
    }

    /// The runtime that source gets when nobody names one.
    pub(crate) fn default_runtime(&self) -> &str {
        &self.core.config.runtime.default
    }

    /// Whether the runtime is installed from this component file, as it is now.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) fn has_runtime(&self, name: &str, component: &Path) -> Result<bool> {
        let installed = self.runtime.block_on(self.core.store.runtimes())?;
        let Some(installed) = installed.into_iter().find(|runtime| runtime.name.as_str() == name) else {
            return Ok(false);
        };
        let changed = std::fs::metadata(component).and_then(|metadata| metadata.modified());
        let changed = changed.context(format!("read {}", component.display()))?;
        Ok(Timestamp::try_from(changed).is_ok_and(|changed| changed <= installed.installed_at))
    }

    /// Installs a runtime.
    ///
    /// # Errors
    /// It is none, or cannot be compiled.
    pub(crate) fn install_runtime(&self, name: &str, component: &Path) -> Result<()> {
        let bytes = std::fs::read(component).context(format!("read {}", component.display()))?;
        let installed = self.runtime.block_on(self.core.deployer.install_runtime(name, bytes.into()));
        installed.map(drop).map_err(|error| refused(&error))
    }

    /// Runs it once.
    ///
    /// # Errors
    /// It never ran: the program, the request or a setting is wrong.
    pub(crate) fn run(&self, job: Job) -> Result<Ran> {
        self.runtime.block_on(async {
            let name = job.workflow.name.clone();
            self.core.registry.create(job.workflow.clone(), None).await?;
            let ran = self.run_created(job).await;
            self.core.registry.archive(&name).await?;
            ran
        })
    }

    async fn run_created(&self, job: Job) -> Result<Ran> {
        let Core { registry, deployer, invoker, config, .. } = &self.core;
        let Job { workflow, program, runtime, request, settings } = job;
        let name = workflow.name;
        let patch: PatchSettings = settings.into_iter().map(|(name, value)| (name, Some(value))).collect();
        registry.change_settings(&name, patch, Some(Visibility::Plain), None).await?;
        let deployed = match program {
            Program::Component(wasm) => {
                deployer.component(&name, Bytes::from(wasm), String::new(), None).await
            }
            Program::Python { file, source } => {
                deployer.source(&name, file, Bytes::from(source), runtime, String::new(), None).await
            }
        };
        let entry: Arc<Entry> = deployed.map_err(|error| refused(&error))?;
        let input = match workflow.kind {
            Kind::Pull => Input::Tick { schedule: SCHEDULE.to_owned(), due: Timestamp::now() },
            Kind::Catch => {
                let endpoint = &entry.workflow.endpoint;
                let checked = local::request(request, endpoint, config.server.body_bytes_max);
                Input::Request(
                    checked
                        .map_err(|told| of_told(told).context("the endpoint would refuse this request"))?,
                )
            }
        };
        let finished = invoker.invoke(&entry, Invocation::new(Trigger::Test, input)).await;
        let after = registry.settings(&name).await?;
        let changed = finished.run.settings_changed.iter().map(|name| {
            let value = after.entries.get(name).map(|setting| serde_json::from_str(setting.value.expose()));
            Ok((name.clone(), value.transpose()?))
        });
        Ok(Ran {
            settings: changed.collect::<std::result::Result<_, serde_json::Error>>()?,
            detail: RunDetail::from(&*finished.run),
            log: RunLog { lines: finished.log.to_vec(), dropped_bytes: finished.run.log.dropped_bytes },
        })
    }

    /// Removes what a run that was killed left in the store.
    fn sweep(&self) -> Result<()> {
        self.runtime.block_on(async {
            for entry in self.core.registry.list() {
                self.core.registry.archive(entry.workflow.name.as_str()).await?;
            }
            self.core.store.collect_garbage(&[]).await?;
            Ok(())
        })
    }

    /// Closes the store.
    ///
    /// # Errors
    /// What could not be written.
    pub(crate) fn close(self) -> Result<()> {
        self.runtime.block_on(async {
            self.core.egress.close().await;
            self.core.store.close().await
        })?;
        Ok(())
    }
}

/// Deletes the files below a folder that were written so long ago.
fn delete_older(folder: &Path, age_max: Duration) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if metadata.is_dir() {
            delete_older(&path, age_max)?;
        } else if metadata.modified()?.elapsed().is_ok_and(|age| age > age_max) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn refused(error: &DeployError) -> Failure {
    of_told(local::explain(error))
}

fn of_told(told: Told) -> Failure {
    let failure = Failure::new(told.message).diagnostics(told.diagnostics);
    match told.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_old_files_are_deleted_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("engine")).unwrap();
        let (old, new) = (folder.path().join("engine/old"), folder.path().join("engine/new"));
        for path in [&old, &new] {
            std::fs::write(path, "").unwrap();
        }
        let day = Duration::from_secs(24 * 3600);
        let file = std::fs::File::options().write(true).open(&old).unwrap();
        file.set_modified(SystemTime::now() - 2 * day).unwrap();
        delete_older(folder.path(), day).unwrap();
        assert!(!old.exists() && new.exists());
    }
}
