//! A host that answers what a test says, for the client's side of each exchange.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::address::{Address, FoundIn};
use super::client::Client;
use super::env::Token;

/// What the host received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// For example `GET /api/v1/workflows?x=1`.
    pub(crate) line: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the host answers to one request.
pub(crate) enum Answer {
    /// A status and a document.
    Json(u16, Value),
    /// A status and bytes of a type.
    Bytes(u16, &'static str, Vec<u8>),
    /// A status, without reading the request's body.
    Unread(u16, Value),
    /// Nothing, for ever.
    Silence,
}

/// A host with a queue of answers. A request beyond them gets 599.
pub(crate) struct FakeHost {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    _runtime: tokio::runtime::Runtime,
}

impl FakeHost {
    pub(crate) fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let answers: Arc<Mutex<VecDeque<Answer>>> = Arc::new(Mutex::new(answers.into_iter().collect()));
        let log = received.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answers) = (log.clone(), answers.clone());
                let service =
                    hyper::service::service_fn(move |request| answer(request, log.clone(), answers.clone()));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, received, _runtime: runtime }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address())
    }

    pub(crate) fn address(&self) -> Address {
        Address { url: self.url.clone(), token: Token::new("t0k"), found_in: FoundIn::Variable }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.received().into_iter().map(|received| received.line).collect()
    }
}

type Reply = Response<BoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
) -> Result<Reply, Infallible> {
    let answer = answers.lock().unwrap().pop_front();
    let (head, body) = request.into_parts();
    let unread = matches!(answer, Some(Answer::Unread(..)));
    let body = if unread { Bytes::new() } else { body.collect().await.unwrap().to_bytes() };
    log.lock().unwrap().push(Received {
        line: format!("{} {}", head.method, head.uri),
        headers: head.headers,
        body,
    });
    let (status, content_type, bytes) = match answer {
        Some(Answer::Json(status, document) | Answer::Unread(status, document)) => {
            (status, "application/json", document.to_string().into_bytes())
        }
        Some(Answer::Bytes(status, content_type, bytes)) => (status, content_type, bytes),
        Some(Answer::Silence) => std::future::pending().await,
        None => (599, "text/plain", b"this request was not expected".to_vec()),
    };
    let reply = Response::builder().status(status).header("content-type", content_type);
    Ok(reply.body(Full::new(Bytes::from(bytes)).boxed()).unwrap())
}
