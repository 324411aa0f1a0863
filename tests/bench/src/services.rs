//! What the case study with two HTTP calls talks to: an HR service with one profile and a
//! messaging service, both as quick as they can be.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::own_server;
use crate::server::Server;

const PROFILE: &[u8] = br#"{"code": 200, "message": "Profile", "data": {"key": "p-1", "source": {"key": "s-1"}, "info": {"first_name": "Ada", "last_name": "Martin", "email": "p-1@example.com", "phone": "+33 1 00 00 00 01", "summary": ""}, "skills": [{"name": "rust", "type": "hard"}, {"name": "python", "type": "hard"}], "tags": []}}"#;
const SENT: &[u8] = br#"{"code": 200, "message": "sent"}"#;
const UNKNOWN: &[u8] = br#"{"code": 404, "message": "nothing here"}"#;

/// Starts them as a process of their own, so that what they use is nobody else's.
///
/// # Errors
/// When it does not start.
pub fn start() -> anyhow::Result<Server> {
    let own = std::env::current_exe().context("cannot find this very program")?;
    Server::start(Command::new(own).args(["services", "--listen", "127.0.0.1:0"]))
}

/// Serves until it is killed; says where on stdout.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    own_server::serve(listen, answer)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // The whole request is read, so that the connection can stay.
    let _ = body.collect().await;
    let (status, text) = match (&head.method, head.uri.path()) {
        (&Method::GET, "/v1/profile/indexing") => (StatusCode::OK, PROFILE),
        (&Method::POST, "/sms") => (StatusCode::OK, SENT),
        _ => (StatusCode::NOT_FOUND, UNKNOWN),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
