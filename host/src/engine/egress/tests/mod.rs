//! The way out against real servers on this machine, as a guest would use it.

mod corpus;
mod destinations;
mod endless;
mod http1;
mod limits;
mod misbehaviour;
mod resolver;
mod runs;
mod sealed;
mod server;
mod tls;
mod wasi;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::{Error as WasiError, RequestOptions, WasiBody, WasiHttpHooks};

use super::{Code, Egress, Failure, Resolve, RunEgress, RunEgressOptions, Sources};
use crate::config::{self, Config};
use crate::run::Exchange;
use crate::workflow::WorkflowId;

/// On either side of what is refused of IPv4.
pub(super) const NEIGHBOURS: [&str; 26] = [
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "168.63.129.15",
    "168.63.129.17",
];

/// Answers of DNS, as the test wants them. The last answer of a name is repeated.
#[derive(Default)]
struct FakeDns(Mutex<HashMap<String, Vec<Answer>>>);

type Answer = Result<Vec<IpAddr>, Failure>;

impl FakeDns {
    fn answer(self, name: &str, answer: Result<&[&str], Code>) -> Self {
        let answer = match answer {
            Ok(addresses) => Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()),
            Err(code) => Err(code.into()),
        };
        self.0.lock().unwrap().entry(name.to_owned()).or_default().push(answer);
        self
    }
}

impl Resolve for FakeDns {
    fn resolve<'a>(&'a self, name: &'a str, _: Sources) -> BoxFuture<'a, Answer> {
        let mut answers = self.0.lock().unwrap();
        let answers = answers.get_mut(name).unwrap_or_else(|| panic!("{name} was looked up"));
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Box::pin(std::future::ready(answer))
    }
}

/// An egress that may reach these destinations, with otherwise default limits.
fn egress(allowed: &[&str]) -> Arc<Egress> {
    egress_with(allowed, FakeDns::default(), |_| {})
}

fn egress_with(allowed: &[&str], dns: impl Resolve, change: impl FnOnce(&mut config::Egress)) -> Arc<Egress> {
    let mut config = Config::defaults().egress;
    config.allow_private = allowed.iter().map(|entry| (*entry).to_owned()).collect();
    change(&mut config);
    Egress::with_resolver(&config, Arc::new(dns)).unwrap()
}

/// What the guest side of a run does.
struct Guest {
    hooks: RunEgress,
    options: RequestOptions,
}

impl Guest {
    /// The only run of a workflow of its own.
    fn new(egress: &Arc<Egress>) -> Self {
        Self::of(egress, WorkflowId::new())
    }

    fn of(egress: &Arc<Egress>, workflow: WorkflowId) -> Self {
        Self::until(egress, workflow, Duration::from_secs(60))
    }

    fn until(egress: &Arc<Egress>, workflow: WorkflowId, deadline: Duration) -> Self {
        let started = Instant::now();
        let options = RunEgressOptions {
            workflow,
            started,
            deadline: started + deadline,
            open: true,
            destinations: None,
            trace: None,
            limits: Default::default(),
            sealed: None,
        };
        Self { hooks: egress.for_run(options), options: RequestOptions::default() }
    }

    /// Begins a request; the future goes on with it.
    fn begin(
        &mut self,
        request: Request<WasiBody>,
    ) -> impl Future<Output = Result<Response<WasiBody>, WasiError>> + Send + use<> {
        let sending = self.hooks.send_request(request, Some(self.options), Box::new(async { Ok(()) }));
        async move { Ok(Pin::from(sending).await?.0) }
    }

    /// The head of the response.
    async fn send(&mut self, request: Request<WasiBody>) -> Result<Response<WasiBody>, WasiError> {
        self.begin(request).await
    }

    /// The whole response.
    async fn fetch(&mut self, request: Request<WasiBody>) -> Result<Response<Bytes>, WasiError> {
        whole(self.send(request).await?).await
    }

    async fn get(&mut self, url: &str) -> Result<Response<Bytes>, WasiError> {
        self.fetch(request("GET", url, "")).await
    }

    /// The record of the exchange that began last.
    fn last(&self) -> Exchange {
        self.hooks.exchanges().pop().unwrap()
    }

    /// Fails unless the last exchange failed with this word, for the guest and in the
    /// record.
    #[track_caller]
    fn assert_failed<T: std::fmt::Debug>(&self, result: Result<T, WasiError>, word: &str) {
        self.assert_failed_by(result, word, "");
    }

    /// The same, and tells in its panic which of several causes it was.
    #[track_caller]
    fn assert_failed_by<T: std::fmt::Debug>(&self, result: Result<T, WasiError>, word: &str, cause: &str) {
        let cause: String = cause.chars().take(60).collect();
        let error = result.expect_err(&cause);
        assert_eq!(word_of(&error), word, "{cause:?}: {error:?}");
        assert_eq!(self.last().error.as_deref(), Some(word), "{cause:?}");
    }
}

/// `HttpRequestBodySize(Some(5))` as `http-request-body-size`.
fn word_of(error: &WasiError) -> String {
    let name = format!("{error:?}");
    let mut word = String::new();
    for letter in name.chars().take_while(|letter| letter.is_ascii_alphanumeric()) {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

fn body(bytes: impl Into<Bytes>) -> WasiBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn request(method: &str, url: &str, bytes: impl Into<Bytes>) -> Request<WasiBody> {
    Request::builder().method(method).uri(url).body(body(bytes)).unwrap()
}

async fn whole(response: Response<WasiBody>) -> Result<Response<Bytes>, WasiError> {
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}

/// A body that the test writes piece by piece, as a guest does.
fn channel() -> (futures::channel::mpsc::Sender<Result<Bytes, WasiError>>, WasiBody) {
    use futures::StreamExt;
    let (sender, receiver) = futures::channel::mpsc::channel(0);
    let frames = receiver.map(|piece: Result<Bytes, WasiError>| piece.map(http_body::Frame::data));
    (sender, http_body_util::StreamBody::new(frames).boxed_unsync())
}

/// `http://ADDRESS/PATH`.
fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

/// Bounds a wait for a state that must come.
async fn soon<T>(state: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), state).await.expect("the state comes")
}
