//! Deploying: an upload becomes a version that runs.
//!
//! A component is compiled; source is compiled by its runtime, inside the sandbox, and
//! imported there once, so that what would fail at the first call fails here, with file
//! and line. Only when all of that is durable does the new version take over.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use crate::api::{Diagnostic, Fusion, PackageView, RuntimeView};
use crate::config::Config;
use crate::engine::{CallLimits, Engine, InstallError, Program, ScanError, Source, World};
use crate::programs::{LoadError, Programs};
use crate::registry::{Entry, Registry, RegistryError};
use crate::run::{Fault, FaultKind};
use crate::store::{Store, StoreError};
use crate::tasks::to_the_end;
use crate::workflow::{Code, Digest, NameError, Runtime};

/// Largest source file, in bytes.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Longest name of a source file, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;
/// Longest message of a version, in bytes.
const MESSAGE_BYTES_MAX: usize = 2000;

/// Why nothing was deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The workflow, or a field of the request.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The runtime's name is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The upload is no component that this host runs.
    #[error(transparent)]
    Scan(ScanError),
    /// The component does not fit, or could not be compiled or kept.
    #[error(transparent)]
    Install(InstallError),
    /// The component was built for the other world.
    #[error("this component is {found}, {needed} is needed here")]
    World {
        /// What it is.
        found: &'static str,
        /// What was needed.
        needed: &'static str,
    },
    /// The source is wrong.
    #[error("the source was refused")]
    Source(Vec<Diagnostic>),
    /// The source is too long.
    #[error("the source has more than {SOURCE_BYTES_MAX} bytes")]
    SourceTooLarge,
    /// Compiling and importing the source did not end.
    #[error("importing the source took longer than {} ms", limit.as_millis())]
    CheckTimeout {
        /// The time that it may take.
        limit: Duration,
    },
    /// Compiling or importing the source failed in the sandbox.
    #[error("compiling and importing the source failed: {}", .0.message)]
    Check(Fault),
    /// There is no such runtime.
    #[error("there is no runtime {name:?}")]
    NoRuntime {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The runtime cannot be made ready.
    #[error("the runtime cannot be loaded")]
    Load(#[source] LoadError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

impl From<InstallError> for DeployError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Scan(refusal) => DeployError::Scan(refusal),
            other => DeployError::Install(other),
        }
    }
}

/// Deploys.
pub struct Deployer {
    config: Arc<Config>,
    engine: Arc<Engine>,
    programs: Arc<Programs>,
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    /// Last steps, whose callers may be gone.
    finishing: TaskTracker,
}

impl Deployer {
    /// A deployer over the host's parts.
    pub fn new(
        config: Arc<Config>,
        engine: Arc<Engine>,
        programs: Arc<Programs>,
        registry: Arc<Registry>,
        store: Arc<dyn Store>,
    ) -> Self {
        Self { config, engine, programs, registry, store, finishing: TaskTracker::new() }
    }

    /// Waits until what is being deployed is known.
    pub async fn close(&self) {
        self.finishing.close();
        self.finishing.wait().await;
    }

    /// Deploys a component as the next version of a workflow, for the account with the login
    /// `by`.
    ///
    /// # Errors
    /// Why it was refused.
    pub async fn component(
        &self,
        name: &str,
        wasm: Bytes,
        message: String,
        by: Option<String>,
    ) -> Result<Arc<Entry>, DeployError> {
        let (entry, program) = self.accept_component(name, wasm.clone(), &message).await?;
        let component_bytes = wasm.len() as u64;
        let component = self.store.put_blob(wasm).await.map_err(DeployError::Store)?;
        self.programs.keep(Arc::new(program));
        self.finish(&entry, Code::Component { component, component_bytes }, message, by).await
    }

    /// Does what [`Deployer::component`] does but for keeping a version of it: whether it
    /// would be accepted.
    ///
    /// # Errors
    /// Why it would be refused.
    pub async fn check_component(&self, name: &str, wasm: Bytes, message: &str) -> Result<(), DeployError> {
        self.accept_component(name, wasm, message).await.map(drop)
    }

    async fn accept_component(
        &self,
        name: &str,
        wasm: Bytes,
        message: &str,
    ) -> Result<(Arc<Entry>, Program), DeployError> {
        let entry = self.registry.find(name)?;
        check_message(message)?;
        let program = self.engine.install(wasm).await?;
        if program.world() != World::Workflow {
            return Err(DeployError::World { found: "a language runtime", needed: "a workflow" });
        }
        Ok((entry, program))
    }

    /// Deploys source as the next version of a workflow, for the account with the login `by`.
    /// `runtime` is the default one when it is left out.
    ///
    /// # Errors
    /// Why it was refused; [`DeployError::Source`] with what is wrong where.
    pub async fn source(
        &self,
        name: &str,
        file: String,
        source: Bytes,
        runtime: Option<String>,
        message: String,
        by: Option<String>,
    ) -> Result<Arc<Entry>, DeployError> {
        let accepted = self.accept_source(name, file, source.clone(), runtime, &message).await?;
        let AcceptedSource { entry, file, runtime, code } = accepted;
        let source = self.store.put_blob(source).await.map_err(DeployError::Store)?;
        let code = self.store.put_blob(code.into()).await.map_err(DeployError::Store)?;
        let runtime_name = runtime.name.to_string();
        let code = Code::Source { file, source, code, runtime_name, runtime: runtime.component };
        self.finish(&entry, code, message, by).await
    }

    /// Does what [`Deployer::source`] does but for keeping a version of it: whether it
    /// would be accepted.
    ///
    /// # Errors
    /// Why it would be refused.
    pub async fn check_source(
        &self,
        name: &str,
        file: String,
        source: Bytes,
        runtime: Option<String>,
        message: &str,
    ) -> Result<(), DeployError> {
        self.accept_source(name, file, source, runtime, message).await.map(drop)
    }

    async fn accept_source(
        &self,
        name: &str,
        file: String,
        source: Bytes,
        runtime: Option<String>,
        message: &str,
    ) -> Result<AcceptedSource, DeployError> {
        let entry = self.registry.find(name)?;
        check_message(message)?;
        let text = check_source(&file, &source)?;
        let runtime = self.runtime(runtime).await?;
        let program = self.programs.program(runtime.component).await.map_err(DeployError::Load)?;
        let limits = self.check_limits();
        let unchecked = |fault: Fault| match fault.kind {
            FaultKind::Deadline => DeployError::CheckTimeout { limit: limits.deadline },
            _ => DeployError::Check(fault),
        };
        let compiled = self.engine.compile_source(&program, &file, text, limits).await;
        let code = compiled.map_err(unchecked)?.map_err(DeployError::Source)?;
        let checked = Arc::new(Source::new(file.clone(), &code, source.clone()));
        let found = self.engine.check_source(&program, &checked, entry.workflow.kind, limits).await;
        let found = found.map_err(unchecked)?;
        if !found.is_empty() {
            return Err(DeployError::Source(found));
        }
        Ok(AcceptedSource { entry, file, runtime, code })
    }

    /// Installs a language runtime, or replaces the one of that name. Versions that were
    /// deployed to the old one keep it.
    ///
    /// # Errors
    /// Why it was refused.
    pub async fn install_runtime(&self, name: &str, wasm: Bytes) -> Result<RuntimeView, DeployError> {
        let name = name.parse()?;
        let program = self.engine.install(wasm.clone()).await?;
        if program.world() != World::Runtime {
            return Err(DeployError::World { found: "a workflow", needed: "a language runtime" });
        }
        let said = self.engine.describe(&program, self.check_limits()).await.map_err(DeployError::Check)?;
        let component = self.store.put_blob(wasm).await.map_err(DeployError::Store)?;
        self.programs.keep(Arc::new(program));
        let packages = said.packages.into_iter().map(|package| (package.name, package.version)).collect();
        let runtime = Runtime {
            name,
            component,
            language: said.language,
            version: said.version,
            packages,
            installed_at: Timestamp::now(),
        };
        self.store.put_runtime(runtime.clone()).await.map_err(DeployError::Store)?;
        self.view(runtime).await
    }

    /// The runtimes that source can be deployed to.
    ///
    /// # Errors
    /// When the store fails, or what is noted of a compiled component cannot be read.
    pub async fn runtimes(&self) -> Result<Vec<RuntimeView>, DeployError> {
        let mut views = Vec::new();
        for runtime in self.store.runtimes().await.map_err(DeployError::Store)? {
            views.push(self.view(runtime).await?);
        }
        Ok(views)
    }

    /// How a component was compiled; `None` while it is not compiled on this host.
    ///
    /// # Errors
    /// When what is noted of it cannot be read.
    pub async fn fusion(&self, component: Digest) -> Result<Option<Fusion>, DeployError> {
        Ok(self.engine.fusion(component).await?)
    }

    /// Deletes compiled components, older than `age_min`, that no version of a workflow
    /// and no runtime can need, and those of other configurations of the sandbox. Returns
    /// the bytes that were freed.
    ///
    /// # Errors
    /// When the store fails, or a file cannot be deleted.
    pub async fn sweep_artefacts(&self, age_min: Duration) -> Result<u64, DeployError> {
        let runtimes = self.store.runtimes().await.map_err(DeployError::Store)?;
        let mut live: HashSet<Digest> = runtimes.iter().map(|runtime| runtime.component).collect();
        for workflow in self.store.workflows().await.map_err(DeployError::Store)? {
            match self.store.versions(workflow.id).await {
                Ok(versions) => live.extend(versions.iter().map(|version| version.code.component())),
                // Archived since.
                Err(StoreError::Missing { .. }) => {}
                Err(error) => return Err(DeployError::Store(error)),
            }
        }
        Ok(self.engine.sweep(live, age_min).await?)
    }

    async fn runtime(&self, name: Option<String>) -> Result<Runtime, DeployError> {
        let name = name.unwrap_or_else(|| self.config.runtime.default.clone());
        let runtimes = self.store.runtimes().await.map_err(DeployError::Store)?;
        let known = runtimes.iter().map(|runtime| runtime.name.to_string()).collect();
        let found = runtimes.into_iter().find(|runtime| runtime.name.as_str() == name);
        found.ok_or(DeployError::NoRuntime { name, known })
    }

    async fn finish(
        &self,
        entry: &Arc<Entry>,
        code: Code,
        message: String,
        by: Option<String>,
    ) -> Result<Arc<Entry>, DeployError> {
        // Who hangs up now leaves no version in the store that the registry does not know.
        let (store, registry, entry) = (self.store.clone(), self.registry.clone(), entry.clone());
        let finished = to_the_end(&self.finishing, async move {
            let added = store.add_version(entry.workflow.id, code, by, message).await;
            let (version, workflow) = added.map_err(|error| match error {
                StoreError::Missing { what } => DeployError::Registry(RegistryError::Missing { what }),
                other => DeployError::Store(other),
            })?;
            Ok(registry.deployed(&entry, workflow, version))
        });
        finished
            .await
            .unwrap_or_else(|| Err(DeployError::Store(StoreError::Stopped("the host stopped".to_owned()))))
    }

    fn check_limits(&self) -> CallLimits {
        CallLimits {
            deadline: Duration::from_millis(self.config.runtime.check_timeout_ms),
            cpu_max: Duration::from_millis(self.config.engine.cpu_ms_max),
            memory_bytes_max: self.config.engine.memory_bytes_max as u64,
            log_bytes_max: self.config.run.log_bytes_max,
        }
    }

    async fn view(&self, runtime: Runtime) -> Result<RuntimeView, DeployError> {
        Ok(RuntimeView {
            fusion: self.fusion(runtime.component).await?,
            default: runtime.name.as_str() == self.config.runtime.default,
            name: runtime.name.into(),
            language: runtime.language,
            version: runtime.version,
            digest: runtime.component,
            packages: runtime
                .packages
                .into_iter()
                .map(|(name, version)| PackageView { name, version })
                .collect(),
        })
    }
}

/// Source that can be deployed.
struct AcceptedSource {
    entry: Arc<Entry>,
    file: String,
    runtime: Runtime,
    /// What the runtime compiled it to.
    code: Vec<u8>,
}

fn check_message(message: &str) -> Result<(), RegistryError> {
    if message.len() > MESSAGE_BYTES_MAX {
        let what = format!("a message of {} bytes", message.len());
        return Err(RegistryError::Limit { what, limit: format!("{MESSAGE_BYTES_MAX} bytes") });
    }
    Ok(())
}

/// The source as text, without a byte order mark.
fn check_source<'a>(file: &str, source: &'a Bytes) -> Result<&'a str, DeployError> {
    let plain = !file.is_empty()
        && file.len() <= FILE_NAME_BYTES_MAX
        && !file.chars().any(|found| found.is_control() || found == '/' || found == '\\');
    if !plain {
        let reason = format!("{file:?} is not a plain file name");
        return Err(DeployError::Registry(RegistryError::Invalid { field: "file", reason }));
    }
    if source.len() > SOURCE_BYTES_MAX {
        return Err(DeployError::SourceTooLarge);
    }
    let text = std::str::from_utf8(source).map_err(|error| {
        let line = 1 + source[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        DeployError::Source(vec![Diagnostic {
            file: file.to_owned(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: 0,
            message: "the file is not UTF-8 text".to_owned(),
            text: None,
            hint: Some("save it as UTF-8".to_owned()),
        }])
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}
