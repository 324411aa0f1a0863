//! Tidegate under test: the release binary on a data folder of its own, and the few
//! calls of its management API that the cases need.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::HELLO;
use crate::function::Function;
use crate::load::Target;
use crate::server::Server;

/// Longest answer that the API gives us.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// A deploy compiles.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where the binary and the components are.
#[derive(Debug, Clone)]
pub struct Built {
    /// The binary `tidegate`.
    pub program: PathBuf,
    /// The folder with the Rust guests' components.
    pub guests: PathBuf,
    /// The folder with the stock Python runtimes' components.
    pub runtimes: PathBuf,
}

impl Built {
    /// The bytes of a guest's component.
    ///
    /// # Errors
    /// When it was not built.
    pub fn guest(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.guests.join(format!("{name}.wasm"));
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The bytes of a Python runtime's component.
    ///
    /// # Errors
    /// When it was not built.
    pub fn runtime(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.runtimes.join(format!("{name}.wasm"));
        std::fs::read(&path)
            .with_context(|| format!("cannot read {}: `make runtime` makes it", path.display()))
    }
}

/// A running host.
pub struct Tidegate {
    /// Its process.
    pub server: Server,
    agent: ureq::Agent,
    url: String,
    token: String,
}

impl Tidegate {
    /// Starts a host on a data folder; `overrides` are keys and values of its
    /// configuration.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(built: &Built, data: &Path, overrides: &[(&str, String)]) -> anyhow::Result<Self> {
        Self::serve(Command::new(&built.program), data, overrides)
    }

    /// The same on the first so many cores only.
    ///
    /// # Errors
    /// When it does not start; without util-linux's `taskset`, for example.
    pub fn start_on(built: &Built, data: &Path, cores: usize) -> anyhow::Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &format!("0-{}", cores.saturating_sub(1))]).arg(&built.program);
        Self::serve(command, data, &[])
    }

    fn serve(mut command: Command, data: &Path, overrides: &[(&str, String)]) -> anyhow::Result<Self> {
        command.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
        for (key, value) in overrides {
            command.env(format!("TIDEGATE_{}", key.replace('.', "__").to_uppercase()), value);
        }
        let server = Server::start(&mut command)?;
        let path = data.join("admin.token");
        let token =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
        Ok(Self {
            agent: config.build().into(),
            url: format!("http://{}", server.address),
            token: format!("Bearer {}", token.trim()),
            server,
        })
    }

    /// Creates a workflow; `body` as in `POST /api/v1/workflows`.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn create(&self, body: &Value) -> anyhow::Result<()> {
        let request = self.agent.post(format!("{}/api/v1/workflows", self.url));
        let request = request.header("authorization", &self.token);
        answer("creating a workflow", request.send_json(body)).map(drop)
    }

    /// Deploys a component to a workflow and returns the answer.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn deploy(&self, name: &str, component: &[u8]) -> anyhow::Result<Value> {
        let request = self.agent.post(format!("{}/api/v1/workflows/{name}/versions", self.url));
        let request = request.header("authorization", &self.token).content_type("application/wasm");
        answer("deploying", request.send(component))
    }

    /// Creates a user, whom workflows can be given to.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn create_user(&self, login: &str) -> anyhow::Result<()> {
        let request = self.agent.post(format!("{}/api/v1/users", self.url));
        let request = request.header("authorization", &self.token);
        let user = json!({"login": login, "password": "correct horse battery", "role": "member"});
        answer("creating a user", request.send_json(user)).map(drop)
    }

    /// Changes a workflow; `body` as in `PATCH /api/v1/workflows/{name}`.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn change(&self, name: &str, body: &Value) -> anyhow::Result<()> {
        let request = self.agent.patch(format!("{}/api/v1/workflows/{name}", self.url));
        let request = request.header("authorization", &self.token);
        answer("changing a workflow", request.send_json(body)).map(drop)
    }

    /// Sets settings of a workflow, secret ones.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn set(&self, name: &str, settings: &Value) -> anyhow::Result<()> {
        let request = self.agent.patch(format!("{}/api/v1/workflows/{name}/settings", self.url));
        let request = request.header("authorization", &self.token);
        answer("changing settings", request.send_json(settings)).map(drop)
    }

    /// A counter or gauge without labels of the metrics.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let request = self.agent.get(format!("{}/metrics", self.url));
        let mut response = request.header("authorization", &self.token).call()?;
        let text = response.body_mut().read_to_string()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .with_context(|| format!("there is no {name}"))?
            .parse()
            .with_context(|| format!("{name} is no number"))
    }

    /// Installs a language runtime.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn install_runtime(&self, name: &str, component: &[u8]) -> anyhow::Result<()> {
        let request = self.agent.put(format!("{}/api/v1/runtimes/{name}", self.url));
        let request = request.header("authorization", &self.token).content_type("application/wasm");
        answer("installing a runtime", request.send(component)).map(drop)
    }

    /// Deploys Python source to a workflow and returns the answer.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn paste(&self, name: &str, source: &str) -> anyhow::Result<Value> {
        let request = self.agent.post(format!("{}/api/v1/workflows/{name}/versions", self.url));
        let request = request.header("authorization", &self.token).content_type("text/x-python");
        answer("deploying source", request.send(source))
    }

    /// Creates a catch workflow, deploys Python source to it, and returns how to ask it
    /// for a hello.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn python_catch(&self, name: &str, source: &str) -> anyhow::Result<Target> {
        self.create(&json!({"name": name, "kind": "catch"}))?;
        target_of(&self.paste(name, source)?)
    }

    /// Creates a catch workflow with this function and its settings, and returns how to
    /// ask it.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn function(&self, name: &str, function: &Function) -> anyhow::Result<Target> {
        self.create(&json!({"name": name, "kind": "catch"}))?;
        self.set(name, &json!(function.settings))?;
        let workflow = self.paste(name, &function.source()?)?;
        let (address, path) = place_of(&workflow)?;
        Ok(function.at(address, path))
    }

    /// Deploys a component to a catch workflow, and returns how to ask it for a hello.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn deploy_catch(&self, name: &str, component: &[u8]) -> anyhow::Result<Target> {
        target_of(&self.deploy(name, component)?)
    }

    /// Creates a catch workflow and deploys a component to it.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn catch(&self, name: &str, component: &[u8]) -> anyhow::Result<Target> {
        self.create(&json!({"name": name, "kind": "catch"}))?;
        self.deploy_catch(name, component)
    }

    /// How to ask a deployed catch workflow for a hello.
    ///
    /// # Errors
    /// When the host does not know it.
    pub fn target(&self, name: &str) -> anyhow::Result<Target> {
        target_of(&self.get(&format!("/api/v1/workflows/{name}"))?)
    }

    /// Changes something by the management API, and returns the answer.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.agent.patch(format!("{}{path}", self.url));
        answer(path, request.header("authorization", &self.token).send_json(body))
    }

    /// An answer of the management API.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.agent.get(format!("{}{path}", self.url));
        answer(path, request.header("authorization", &self.token).call())
    }
}

fn answer(what: &str, sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Value> {
    let mut response = sent.with_context(|| format!("{what} failed"))?;
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let text = body.read_to_string().with_context(|| format!("{what}: no answer"))?;
    if !response.status().is_success() {
        bail!("{what} was refused with {}: {text}", response.status());
    }
    serde_json::from_str(&text).with_context(|| format!("{what}: the answer is not JSON: {text}"))
}

fn target_of(workflow: &Value) -> anyhow::Result<Target> {
    let (address, path) = place_of(workflow)?;
    Ok(Target::post(address, path, HELLO))
}

/// Where a catch workflow is called.
fn place_of(workflow: &Value) -> anyhow::Result<(SocketAddr, &str)> {
    let url = workflow["url"].as_str().context("a catch has a URL")?;
    parts(url).with_context(|| format!("{url:?} is no URL of ours"))
}

/// Address and path of a URL with a numeric host.
fn parts(url: &str) -> Option<(SocketAddr, &str)> {
    let rest = url.strip_prefix("http://")?;
    let slash = rest.find('/')?;
    Some((rest[..slash].parse().ok()?, &rest[slash..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_an_address_and_a_path() {
        assert_eq!(parts("http://127.0.0.1:81/catch/k"), Some((([127, 0, 0, 1], 81).into(), "/catch/k")));
        assert_eq!(parts("http://example.com/catch/k"), None);
        assert_eq!(parts("http://127.0.0.1:81"), None);
    }
}
