//! The peer that everything is measured against: hyper that answers `hello`, and nothing
//! else.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};

use crate::HELLO;
use crate::own_server;

/// Serves until it is killed; says where on stdout.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    own_server::serve(listen, hello)
}

async fn hello(_request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(HELLO)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}
