//! Through `wasmtime-wasi-http`, as its bindings call it for a component.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError};
use wasmtime_wasi_http::p2::HttpError;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode, Scheme};
use wasmtime_wasi_http::p2::types::HostFutureIncomingResponse;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView};

use super::server::{Server, read_head};
use super::{FakeDns, Guest, egress, egress_with, soon};
use crate::engine::egress::{Egress, RunEgress, error_code};

/// A store's data, in the order that [`RunEgress`] asks for.
struct State {
    egress: RunEgress,
    table: ResourceTable,
    http: WasiHttpCtx,
}

type Pending = Resource<HostFutureIncomingResponse>;

impl State {
    fn new(egress: &std::sync::Arc<Egress>) -> Self {
        Self { egress: Guest::new(egress).hooks, table: ResourceTable::new(), http: WasiHttpCtx::new() }
    }

    fn view(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.egress, table: &mut self.table, ctx: &mut self.http }
    }

    /// Begins a request, and its body when there is one to write.
    fn handle(&mut self, method: Method, authority: &str) -> (Pending, Resource<types::OutgoingBody>) {
        use types::{HostFields, HostOutgoingRequest};
        let mut view = self.view();
        let headers = HostFields::from_list(&mut view, vec![("x-a".to_owned(), b"1".to_vec())]).ok().unwrap();
        let request = HostOutgoingRequest::new(&mut view, headers).unwrap();
        let again = || Resource::new_borrow(request.rep());
        view.set_method(again(), method.into()).unwrap().unwrap();
        view.set_scheme(again(), Some(Scheme::Http)).unwrap().unwrap();
        view.set_authority(again(), Some(authority.to_owned())).unwrap().unwrap();
        view.set_path_with_query(again(), Some("/x?y=z".to_owned())).unwrap().unwrap();
        let body = HostOutgoingRequest::body(&mut view, again()).unwrap().unwrap();
        let pending = view.handle(request, None).unwrap_or_else(|error: HttpError| panic!("{error}"));
        (pending, body)
    }

    async fn write(&mut self, body: &Resource<types::OutgoingBody>, text: &'static str) {
        let again = Resource::new_borrow(body.rep());
        let stream = types::HostOutgoingBody::write(&mut self.view(), again).unwrap().unwrap();
        let mut stream = self.table.delete(stream).unwrap();
        stream.ready().await;
        assert!(stream.check_write().unwrap() >= text.len());
        stream.write(text.into()).unwrap();
    }

    async fn response(&mut self, pending: Pending) -> Result<Resource<types::IncomingResponse>, ErrorCode> {
        soon(self.table.get_mut(&pending).unwrap().ready()).await;
        types::HostFutureIncomingResponse::get(&mut self.view(), pending).unwrap().unwrap().unwrap()
    }

    /// The body's bytes, and what its reading ended with.
    async fn read(&mut self, response: Resource<types::IncomingResponse>) -> (Vec<u8>, StreamError) {
        let mut view = self.view();
        let body = types::HostIncomingResponse::consume(&mut view, response).unwrap().unwrap();
        let stream = types::HostIncomingBody::stream(&mut view, body).unwrap().unwrap();
        let stream: &mut dyn InputStream = &mut **self.table.get_mut(&stream).unwrap();
        let mut all = Vec::new();
        loop {
            soon(stream.ready()).await;
            match stream.read(1024) {
                Ok(bytes) => all.extend_from_slice(&bytes),
                Err(error) => return (all, error),
            }
        }
    }
}

#[tokio::test]
async fn a_component_sends_and_receives_bodies() {
    let server = Server::raw(|_, mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("POST /x?y=z HTTP/1.1\r\n") && head.contains("\r\nhost: 127.0.0.1:"));
        let mut body = [0; 14];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"4\r\nping\r\n0\r\n\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npong").await.unwrap();
    })
    .await;
    let mut state = State::new(&egress(&[&server.entry()]));
    let (pending, body) = state.handle(Method::POST, &server.entry());
    state.write(&body, "ping").await;
    types::HostOutgoingBody::finish(&mut state.view(), body, None).ok().unwrap();
    let response = state.response(pending).await.unwrap();
    let (bytes, end) = state.read(response).await;
    assert_eq!(bytes, b"pong");
    assert!(matches!(end, StreamError::Closed), "{end}");
    let record = state.egress.exchanges().pop().unwrap();
    assert_eq!((record.status, record.request_bytes, record.response_bytes), (Some(200), 4, 4));
}

#[tokio::test]
async fn a_component_learns_the_codes_of_requests_and_of_bodies() {
    let server = Server::script("HTTP/1.1 200 OK\r\n\r\n0123456789").await;
    let capped = egress_with(&[&server.entry()], FakeDns::default(), |config| config.response_bytes_max = 5);
    let mut state = State::new(&capped);
    let (pending, body) = state.handle(Method::GET, "127.0.0.1:1");
    types::HostOutgoingBody::finish(&mut state.view(), body, None).ok().unwrap();
    assert!(matches!(state.response(pending).await, Err(ErrorCode::DestinationIpProhibited)));

    let (pending, body) = state.handle(Method::GET, &server.entry());
    types::HostOutgoingBody::finish(&mut state.view(), body, None).ok().unwrap();
    let response = state.response(pending).await.unwrap();
    let (_, StreamError::LastOperationFailed(error)) = state.read(response).await else {
        panic!("it is whole")
    };
    assert!(matches!(error_code(&error), Some(ErrorCode::HttpResponseBodySize(Some(5)))), "{error:?}");
}

#[tokio::test]
async fn a_store_that_is_dropped_leaves_no_upload_that_looks_complete() {
    let (ended, mut seen) = mpsc::channel(1);
    let server = Server::raw(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            read_head(&mut stream).await;
            let mut all = Vec::new();
            // A reset is an end too.
            let _ = stream.read_to_end(&mut all).await;
            ended.send(all).await.unwrap();
        }
    })
    .await;
    let egress = egress(&[&server.entry()]);
    for _ in 0..20 {
        let mut state = State::new(&egress);
        let (_pending, body) = state.handle(Method::POST, &server.entry());
        state.write(&body, "half").await;
        tokio::task::yield_now().await;
        drop(state);
        if server.accepted() > 0 {
            break;
        }
    }
    let sent = soon(seen.recv()).await.unwrap();
    assert!(!sent.ends_with(b"0\r\n\r\n"), "{sent:?}");
}
