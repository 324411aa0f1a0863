//! The hello of `tests/programs/hello` for the world `wasi:http/proxy`, which is what
//! `wasmtime serve` runs. Nothing in it is slower than it need be: no framework, and the
//! body's length is known from the start.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    reason = "what wit-bindgen generates is not ours to write"
)]

use exports::wasi::http::incoming_handler::{Guest, IncomingRequest, ResponseOutparam};
use wasi::http::types::{Fields, OutgoingBody, OutgoingResponse};

wit_bindgen::generate!({
    path: "../../../../wit",
    inline: "
        package tidegate:bench;
        world serve-hello { export wasi:http/incoming-handler@0.2.12; }
    ",
    generate_all,
});

const HELLO: &[u8] = b"hello\n";

struct Hello;

export!(Hello);

impl Guest for Hello {
    fn handle(_request: IncomingRequest, response_out: ResponseOutparam) {
        let headers = [
            ("content-type".to_owned(), b"text/plain; charset=utf-8".to_vec()),
            ("content-length".to_owned(), HELLO.len().to_string().into_bytes()),
        ];
        let headers = Fields::from_list(&headers).expect("both headers may be set");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("nobody has asked for the body yet");
        ResponseOutparam::set(response_out, Ok(response));
        {
            let stream = body.write().expect("nobody has asked for the stream yet");
            stream.blocking_write_and_flush(HELLO).expect("the host takes six bytes");
        }
        OutgoingBody::finish(body, None).expect("the body has the length announced");
    }
}
