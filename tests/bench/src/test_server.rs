//! A server for the tests of the load generator: answers each request with the same
//! bytes, and counts.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Serves until the test ends.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    answered: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

impl TestServer {
    pub(crate) fn answering(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            answered: Arc::default(),
            connections: Arc::default(),
        };
        let (answered, connections) = (server.answered.clone(), server.connections.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let answered = answered.clone();
                thread::spawn(move || serve(stream, answer, &answered));
            }
        });
        server
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, answer: &[u8], answered: &AtomicU64) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    // The requests of `Target::post` end with a body of two bytes.
    while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line != "\r\n" {
            line.clear();
            continue;
        }
        line.clear();
        let mut body = [0; 2];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        answered.fetch_add(1, Ordering::SeqCst);
        if (&stream).write_all(answer).is_err() || answer.windows(5).any(|bytes| bytes == b"close") {
            return;
        }
    }
}
