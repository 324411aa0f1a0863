//! A closed-loop load: so many keep-alive connections, each sending its next request as
//! soon as it has the response to the last.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::task::LocalSet;

use crate::connection::{Connection, Response, Trouble};

/// Latencies are counted in nanoseconds up to this; longer ones count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// How long the last responses may take once the time is up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one connection sends, over and over.
#[derive(Clone)]
pub struct Target {
    /// Where to.
    pub address: SocketAddr,
    /// The whole request, head and body.
    pub request: Bytes,
    /// The status that every response must have.
    pub status: u16,
    /// The body that every response must have; `None`: any.
    pub body: Option<Bytes>,
}

impl Target {
    /// A `POST` of an empty JSON object, as a webhook's sender would post it, answered
    /// with 200 and this body.
    pub fn post(address: SocketAddr, path: &str, body: &'static [u8]) -> Self {
        Self::posting(address, path, b"{}", 200, Bytes::from_static(body))
    }

    /// A `POST` of this JSON, answered with this status and body.
    pub fn posting(address: SocketAddr, path: &str, json: &[u8], status: u16, body: Bytes) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            json.len()
        );
        Self { address, request: [head.as_bytes(), json].concat().into(), status, body: Some(body) }
    }

    /// The path that it asks for.
    ///
    /// # Errors
    /// When its request is none.
    pub fn path(&self) -> anyhow::Result<&str> {
        let line = self.request.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let path = std::str::from_utf8(line).ok().and_then(|line| line.split(' ').nth(1));
        path.context("a request has a path")
    }

    /// Sends one request, on a connection of its own, and tells whether the response is as
    /// expected.
    ///
    /// # Errors
    /// When there is no response within a minute.
    pub fn ask_once(&self) -> anyhow::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = async { tokio::time::timeout(PATIENCE, exchange(self, &mut None)).await };
        match runtime.block_on(asked).context("no response within a minute")? {
            Ok(()) => Ok(true),
            Err(Trouble::Unexpected) => Ok(false),
            Err(trouble) => anyhow::bail!("no response: {}", trouble.word()),
        }
    }

    pub(crate) fn accepts(&self, response: &Response) -> bool {
        response.status == self.status && self.body.as_ref().is_none_or(|body| response.body == *body)
    }
}

/// How much load, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections, each with one request on its way.
    pub connections: usize,
    /// Load before anything is counted.
    pub warm_up: Duration,
    /// Time in which responses are counted.
    pub measured: Duration,
}

/// What came back.
pub struct Sample {
    /// Time in which responses were counted.
    pub elapsed: Duration,
    /// Nanoseconds from the request's first byte written to the response's last byte
    /// read, of the responses as expected.
    pub latency_ns: Histogram<u64>,
    /// Responses as expected, warm-up included.
    pub answered: u64,
    /// Exchanges that failed, warm-up included, by what went wrong.
    pub troubles: BTreeMap<Trouble, u64>,
}

impl Sample {
    /// Responses as expected in the time measured.
    pub fn requests(&self) -> u64 {
        self.latency_ns.len()
    }

    /// Responses as expected a second.
    pub fn requests_per_s(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64()
    }

    /// A quantile of the latency in microseconds, 0.5 for the median.
    pub fn latency_us(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1e3
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latency_ns.add(&other.latency_ns)?;
        self.answered += other.answered;
        for (trouble, count) in &other.troubles {
            *self.troubles.entry(*trouble).or_default() += count;
        }
        Ok(())
    }
}

impl Load {
    /// Puts the load on the target and waits until it is over.
    ///
    /// # Errors
    /// When a thread cannot be started, or responses are missing a minute after the end.
    pub fn put_on(self, target: &Target) -> anyhow::Result<Sample> {
        ensure!(self.connections > 0, "a load needs a connection");
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = self.connections.min(cores);
        // All threads agree on the window, whenever they come up.
        let counted_from = Instant::now() + self.warm_up;
        let mut sample = empty(self.measured)?;
        thread::scope(|scope| -> anyhow::Result<()> {
            let mut running = Vec::new();
            for index in 0..threads {
                let share = (self.connections + threads - 1 - index) / threads;
                let thread = thread::Builder::new().name(format!("load-{index}"));
                running
                    .push(thread.spawn_scoped(scope, move || self.one_thread(target, share, counted_from))?);
            }
            for thread in running {
                let part = thread.join().map_err(|_| anyhow::anyhow!("a load thread panicked"))??;
                sample.add(&part)?;
            }
            Ok(())
        })?;
        Ok(sample)
    }

    fn one_thread(
        self,
        target: &Target,
        connections: usize,
        counted_from: Instant,
    ) -> anyhow::Result<Sample> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sample = Rc::new(RefCell::new(empty(self.measured)?));
        let tasks = LocalSet::new();
        for _ in 0..connections {
            let (sample, target) = (sample.clone(), target.clone());
            tasks.spawn_local(async move {
                let until = counted_from + self.measured;
                one_connection(&target, counted_from, until, &sample).await;
            });
        }
        let over = (counted_from + self.measured + PATIENCE).saturating_duration_since(Instant::now());
        runtime
            .block_on(async { tokio::time::timeout(over, tasks).await })
            .context("responses are missing a minute after the load's end")?;
        let sample = Rc::try_unwrap(sample).ok().context("a connection is still running")?;
        Ok(sample.into_inner())
    }
}

fn empty(elapsed: Duration) -> anyhow::Result<Sample> {
    let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?;
    Ok(Sample { elapsed, latency_ns, answered: 0, troubles: BTreeMap::new() })
}

async fn one_connection(target: &Target, counted_from: Instant, until: Instant, sample: &RefCell<Sample>) {
    let mut connection = None;
    let mut start = Instant::now();
    while start < until {
        match exchange(target, &mut connection).await {
            Ok(()) => {
                let end = Instant::now();
                let mut sample = sample.borrow_mut();
                sample.answered += 1;
                if end >= counted_from && end < until {
                    sample.latency_ns.saturating_record((end - start).as_nanos() as u64);
                }
                start = end;
            }
            Err(trouble) => {
                *sample.borrow_mut().troubles.entry(trouble).or_default() += 1;
                connection = None;
                // A server that is away must not be asked in a busy loop.
                tokio::time::sleep(Duration::from_millis(1)).await;
                start = Instant::now();
            }
        }
    }
}

async fn exchange(target: &Target, kept: &mut Option<Connection>) -> Result<(), Trouble> {
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(Connection::open(target.address).await?),
    };
    let response = connection.exchange(&target.request).await?;
    if !response.keep_alive {
        *kept = None;
    }
    if target.accepts(&response) { Ok(()) } else { Err(Trouble::Unexpected) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::test_server::TestServer;

    const BRIEF: Load =
        Load { connections: 3, warm_up: Duration::from_millis(20), measured: Duration::from_secs(1) };

    #[test]
    fn every_expected_response_in_the_window_is_counted() {
        let server = TestServer::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let sample = BRIEF.put_on(&Target::post(server.address, "/", b"ok")).unwrap();
        assert!(sample.requests() > 0);
        assert!(sample.requests() <= server.answered());
        assert_eq!(sample.troubles, BTreeMap::new());
        assert!(sample.latency_us(0.5) <= sample.latency_us(0.99));
        assert_eq!(server.connections(), 3);
    }

    #[test]
    fn a_response_of_another_status_or_body_is_trouble() {
        for answer in [
            b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nok".as_slice(),
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        ] {
            let server = TestServer::answering(answer);
            let sample = BRIEF.put_on(&Target::post(server.address, "/", b"ok")).unwrap();
            assert_eq!(sample.requests(), 0);
            assert!(sample.troubles[&Trouble::Unexpected] > 0);
        }
    }

    #[test]
    fn one_request_tells_whether_the_response_is_right() {
        let server = TestServer::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert!(Target::post(server.address, "/", b"ok").ask_once().unwrap());
        assert!(!Target::post(server.address, "/", b"no").ask_once().unwrap());
        assert_eq!(server.answered(), 2);
    }

    #[test]
    fn a_closing_server_is_connected_to_again() {
        let server =
            TestServer::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        let sample = BRIEF.put_on(&Target::post(server.address, "/", b"ok")).unwrap();
        assert!(sample.requests() > 3);
        assert!(server.connections() > 3);
    }

    #[test]
    fn an_absent_server_is_trouble() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let sample = BRIEF.put_on(&Target::post(gone, "/", b"ok")).unwrap();
        assert_eq!(sample.requests(), 0);
        assert!(sample.troubles[&Trouble::Connect] > 0);
    }
}
