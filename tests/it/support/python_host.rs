//! The engine with a Python component, as the tests of Python use it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Map, Value};
use tidegate::api::Diagnostic;
use tidegate::config::{Config, Reset};
use tidegate::engine::egress::Egress;
use tidegate::engine::{
    Call, CallLimits, CommitRefusal, CommitSettings, Compiler, Engine, EngineOptions, Input, Program, Report,
    Request, Source,
};
use tidegate::workflow::{Setting, SettingChange, SettingWriter, Settings, Visibility, WorkflowId};

use super::python;

const MEMORY_BYTES_MAX: usize = 128 << 20;
const DEADLINE: Duration = Duration::from_secs(60);

/// A server that is a Python file in `tests/python`.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: String,
}

impl Server {
    pub(crate) fn start(name: &str, arguments: &[&Path]) -> Self {
        let script = python::repository().join("tests/python").join(name);
        let mut child =
            Command::new("python3").arg(script).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, port: port.trim().to_owned() }
    }
}

/// A server with TLS, the authority that it is trusted by, and the folder of their files.
pub(crate) struct SecureServer {
    pub(crate) server: Server,
    pub(crate) ca_file: PathBuf,
    _files: tempfile::TempDir,
}

impl SecureServer {
    /// `server.py` behind a certificate for 127.0.0.1.
    pub(crate) fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let server = server.signed_by(&server_key, &issuer).unwrap();
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let ca_file = file("ca.pem", authority.pem());
        let server = Server::start(
            "server.py",
            &[&file("server.pem", server.pem()), &file("server.key", server_key.serialize_pem())],
        );
        Self { server, ca_file, _files: files }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has no state, and nobody waits for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An engine with one component: a runtime, or a workflow.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) component: Program,
    /// Whose runs they are: connections are kept for one workflow.
    workflow: WorkflowId,
}

/// Keeps what a run saves early.
#[derive(Default)]
struct Commits(Mutex<Vec<Value>>);

impl CommitSettings for Commits {
    fn commit(self: Arc<Self>, changes: Vec<SettingChange>) -> BoxFuture<'static, Result<(), CommitRefusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(changed(&changes));
        Box::pin(async { Ok(()) })
    }
}

impl Host {
    /// With the default runtime.
    pub(crate) async fn new(ca_file: &str) -> Self {
        Self::with(python::runtime(), ca_file).await
    }

    /// With the default runtime, as it was built.
    pub(crate) async fn unfused() -> Self {
        Self::fusing(python::runtime(), "", false).await
    }

    /// With this component. `ca_file` is empty, or has authorities to trust.
    pub(crate) async fn with(component: Bytes, ca_file: &str) -> Self {
        Self::fusing(component, ca_file, true).await
    }

    async fn fusing(component: Bytes, ca_file: &str, fuse: bool) -> Self {
        let mut config = Config::defaults().egress;
        config.allow_private = vec!["127.0.0.1".to_owned()];
        config.ca_file = ca_file.to_owned();
        let options = EngineOptions {
            // Compiling takes long, and the artefact is the same for each test.
            artefacts: python::cache().join("test-artefacts"),
            artefact_key: [7; 32],
            compiler: Compiler::Child {
                program: env!("CARGO_BIN_EXE_tidegate").into(),
                timeout: Duration::from_secs(300),
                memory_bytes_max: 4 << 30,
            },
            compiles_max: 1,
            compiles_waiting_max: 16,
            instances_max: 8,
            memory_bytes_max: MEMORY_BYTES_MAX,
            memory_total_bytes_max: 0,
            fuse,
            epoch_tick: Duration::from_millis(2),
            reset: Reset::InPlace,
            idle_bytes_max: 1 << 30,
            idle_max: Duration::from_secs(60),
            on_compiled: Box::new(|_, _| ()),
        };
        let engine = Engine::new(options, Egress::new(&config).unwrap()).unwrap();
        let component = engine.install(component).await.unwrap_or_else(|error| panic!("{error}"));
        Self { engine, component, workflow: WorkflowId::new() }
    }

    /// A program for the runtime, compiled.
    pub(crate) async fn source(&self, file: &str, text: &str) -> Result<Arc<Source>, Vec<Diagnostic>> {
        let compiled = self.engine.compile_source(&self.component, file, text, limits(None)).await;
        let code = compiled.unwrap_or_else(|fault| panic!("{file}: {fault:?}"))?;
        Ok(Arc::new(Source::new(file.to_owned(), &code, Bytes::from(text.to_owned()))))
    }

    /// Runs once. `input` is what starts it, `source` its program if the component is a
    /// runtime.
    pub(crate) async fn run(
        &self,
        input: Input,
        source: Option<Arc<Source>>,
        settings: &Map<String, Value>,
        deadline_ms: Option<u64>,
    ) -> Ran {
        let commits = Arc::new(Commits::default());
        let call = Call {
            workflow: self.workflow,
            input,
            attempt: 1,
            settings: Arc::new(stored(settings)),
            source,
            commit: Some(commits.clone()),
            trace: None,
            memory: None,
            destinations: None,
            outbound: Default::default(),
            limits: limits(deadline_ms),
        };
        let permit = self.engine.permits().clone().acquire_owned().await.unwrap();
        let report = self.engine.run(&self.component, call, permit).await.0;
        let commits = commits.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ran { report, commits }
    }
}

/// A due instant.
pub(crate) fn tick() -> Input {
    Input::Tick { schedule: "hourly".to_owned(), due: jiff::Timestamp::UNIX_EPOCH }
}

/// A run that has ended.
pub(crate) struct Ran {
    pub(crate) report: Report,
    /// Settings saved early, by name.
    pub(crate) commits: Vec<Value>,
}

pub(crate) fn limits(deadline_ms: Option<u64>) -> CallLimits {
    CallLimits {
        deadline: deadline_ms.map_or(DEADLINE, Duration::from_millis),
        cpu_max: DEADLINE,
        memory_bytes_max: MEMORY_BYTES_MAX as u64,
        log_bytes_max: 64 << 10,
    }
}

/// A request as the data files have it.
pub(crate) fn request(given: &Value) -> Input {
    let headers = given["headers"].as_object().into_iter().flatten();
    Input::Request(Request {
        method: given["method"].as_str().unwrap_or("POST").to_owned(),
        path_with_query: given["path"].as_str().unwrap_or("/catch/k").to_owned(),
        headers: headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect(),
        body: match &given["body"] {
            Value::String(text) => Bytes::from(text.clone()),
            Value::Null => Bytes::new(),
            json => Bytes::from(json.to_string()),
        },
    })
}

fn stored(settings: &Map<String, Value>) -> Settings {
    let entries = settings.iter().map(|(name, value)| {
        let setting = Setting {
            value: serde_json::value::to_raw_value(value).unwrap().into(),
            visibility: Visibility::Secret,
            seal: None,
            fingerprint: String::new(),
            updated_at: jiff::Timestamp::now(),
            updated_by: SettingWriter::User(None),
        };
        (name.clone(), setting)
    });
    Settings::new(entries.collect(), Default::default())
}

/// Changed settings by name; a deleted one is null.
pub(crate) fn changed(changes: &[SettingChange]) -> Value {
    let pairs = changes.iter().map(|change| {
        let value = change.value.as_ref().map(|value| serde_json::from_str(value.expose()).unwrap());
        (change.name.clone(), value.unwrap_or(Value::Null))
    });
    Value::Object(pairs.collect())
}
