//! The functions in Python that peers run, each with the request that it is asked with and
//! the response that is right.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::HELLO;
use crate::load::Target;

/// People in the request of [`Function::parse`]: some 10 KB.
const PEOPLE: usize = 50;

/// A function.
#[derive(Debug, Clone)]
pub struct Function {
    /// What results call it.
    pub name: &'static str,
    /// The folder with its module.
    pub folder: PathBuf,
    /// The module.
    pub module: &'static str,
    /// The settings that it is handed.
    pub settings: Value,
    /// The body that it is asked with, JSON.
    pub request: Bytes,
    /// The status of the right response.
    pub status: u16,
    /// The body of the right response.
    pub response: Bytes,
}

impl Function {
    /// Says hello.
    pub fn hello() -> Self {
        Self {
            name: "hello",
            folder: programs(),
            module: "hello",
            settings: json!({}),
            request: Bytes::from_static(b"{}"),
            status: 200,
            response: Bytes::from_static(HELLO),
        }
    }

    /// Reads 10 KB of JSON and answers with other JSON. What is right is what this
    /// machine's own Python makes of it.
    ///
    /// # Errors
    /// When there is no Python.
    pub fn parse() -> anyhow::Result<Self> {
        let person = |number: usize| {
            json!({
                "key": format!("{:032x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                "first_name": format!("First{}", number * 7 % PEOPLE),
                "last_name": format!("Last{number}"),
                "email": format!("person-{number}@example.com"),
                "skills": ["rust", "python", "webassembly", "sql"],
                "score": number as f64 / 7.0,
            })
        };
        let people: Vec<Value> = (0..PEOPLE).map(person).collect();
        let request = json!({ "people": people }).to_string();
        let function =
            Self { name: "10 KB of JSON", module: "parse", request: request.into(), ..Self::hello() };
        function.answered_natively()
    }

    /// Works for some milliseconds.
    ///
    /// # Errors
    /// When there is no Python.
    pub fn compute() -> anyhow::Result<Self> {
        Self { name: "processor-bound", module: "compute", ..Self::hello() }.answered_natively()
    }

    /// The case study that sends a message when a profile was indexed: one request through
    /// the HR service's SDK, one through `requests`, both to a server at this address.
    pub fn message(services: SocketAddr) -> Self {
        Self {
            name: "two HTTP calls",
            folder: repository().join("examples/sms-on-profile"),
            module: "workflow",
            settings: json!({
                "API_KEY": "hr-key",
                "USER_EMAIL": "hr@example.com",
                "API_URL": format!("http://{services}/v1/"),
                "MESSAGE_URL": format!("http://{services}/sms"),
                "MESSAGE_API_KEY": "sms-key",
            }),
            request: json!({ "profile": { "key": "p-1", "source": { "key": "s-1" } } }).to_string().into(),
            status: 201,
            response: Bytes::from_static(br#"{"message": "Message sent"}"#),
        }
    }

    /// Its source.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn source(&self) -> anyhow::Result<String> {
        let path = self.folder.join(format!("{}.py", self.module));
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// How to ask for it where a peer serves it.
    pub fn at(&self, address: SocketAddr, path: &str) -> Target {
        Target::posting(address, path, &self.request, self.status, self.response.clone())
    }

    fn answered_natively(self) -> anyhow::Result<Self> {
        let program = "import importlib, json, sys; \
                       function = importlib.import_module(sys.argv[1]).workflow; \
                       print(function(json.loads(sys.argv[2]), {})['body'], end='')";
        let output = Command::new("python3")
            .args(["-B", "-c", program, self.module])
            .arg(std::str::from_utf8(&self.request)?)
            .env("PYTHONPATH", &self.folder)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start python3")?;
        ensure!(output.status.success(), "python3 cannot run {}", self.module);
        Ok(Self { response: output.stdout.into(), ..self })
    }
}

/// The repository: the programs are read where they are.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder with the peers' programs in Python.
pub fn programs() -> PathBuf {
    repository().join("tests/bench/python")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_size_that_it_is_named_by() {
        let function = Function::parse().unwrap();
        assert!((9_000..11_000).contains(&function.request.len()), "{}", function.request.len());
        let answer: Value = serde_json::from_slice(&function.response).unwrap();
        assert_eq!(answer["count"], PEOPLE);
    }

    #[test]
    fn every_function_has_its_source() {
        let services = ([127, 0, 0, 1], 1).into();
        for function in [Function::hello(), Function::compute().unwrap(), Function::message(services)] {
            assert!(function.source().unwrap().contains("def workflow("), "{}", function.name);
        }
    }
}
