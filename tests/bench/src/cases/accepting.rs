//! Requests that are answered before they ran: how long until they are on the disk, and
//! how many of them a second are run.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::load::{Load, Target};
use crate::rounds::Spread;
use crate::tidegate::{Built, Tidegate};

/// Load of one window.
const WINDOW: Duration = Duration::from_secs(5);
/// Connections: a caller alone, and many who share flushes.
const CONNECTIONS: [usize; 2] = [1, 32];
/// How long what was accepted may take to be run.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accepting {
    /// One for each number of connections.
    pub loads: Vec<Accepted>,
}

/// One load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accepted {
    /// Connections, each with one request on its way.
    pub connections: usize,
    /// From the request to the 202 in the caller's hands, in milliseconds, window by
    /// window: the event is on the disk then.
    pub p50_ms: Spread,
    /// See [`Self::p50_ms`].
    pub p99_ms: Spread,
    /// Events accepted a second.
    pub accepted_per_s: Spread,
    /// Events run a second, from the first request to the last end.
    pub run_per_s: Spread,
}

/// Has requests accepted, and waits until they have run, in each window.
///
/// # Errors
/// When a request is not answered 202, or its event does not run.
pub fn measure(built: &Built, rounds: usize) -> anyhow::Result<Accepting> {
    let data = tempfile::tempdir()?;
    let limits = [("queue.events_max", "10000000".to_owned()), ("queue.bytes_max", "10000000000".to_owned())];
    let host = Tidegate::start(built, data.path(), &limits)?;
    let target = deferred(host.catch("hello", &built.guest("hello")?)?);
    let mut loads = Vec::new();
    for connections in CONNECTIONS {
        let mut windows = Vec::new();
        for _ in 0..rounds {
            windows.push(window(&host, &target, connections)?);
        }
        let spread =
            |figure: fn(&[f64; 4]) -> f64| Spread::of(windows.iter().map(figure)).context("no round");
        loads.push(Accepted {
            connections,
            p50_ms: spread(|window| window[0])?,
            p99_ms: spread(|window| window[1])?,
            accepted_per_s: spread(|window| window[2])?,
            run_per_s: spread(|window| window[3])?,
        });
    }
    Ok(Accepting { loads })
}

/// The same request, answered before it ran.
fn deferred(target: Target) -> Target {
    let text = String::from_utf8_lossy(&target.request);
    let request = text.replacen("\r\n\r\n", "\r\nprefer: respond-async\r\n\r\n", 1);
    Target { request: request.into(), status: 202, body: None, ..target }
}

/// p50 and p99 in milliseconds, events accepted and events run a second.
fn window(host: &Tidegate, target: &Target, connections: usize) -> anyhow::Result<[f64; 4]> {
    let start = Instant::now();
    let load = Load { connections, warm_up: Duration::from_secs(1), measured: WINDOW };
    let sample = load.put_on(target)?;
    ensure!(sample.troubles.is_empty(), "exchanges went wrong: {:?}", sample.troubles);
    ensure!(sample.requests() > 0, "no response in the time measured");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = host.get("/api/v1/runs?status=queued,running&limit=1")?;
        if left["runs"].as_array().is_some_and(Vec::is_empty) {
            break;
        }
        ensure!(Instant::now() < deadline, "events did not run within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
    let run_per_s = sample.answered as f64 / start.elapsed().as_secs_f64();
    let ms = |quantile| sample.latency_us(quantile) / 1e3;
    Ok([ms(0.5), ms(0.99), sample.requests_per_s(), run_per_s])
}

impl Accepting {
    /// The figure to reach, under each load.
    pub fn checks(&self) -> Vec<Check> {
        let check = |load: &Accepted| {
            let what = format!("p50 to a durable 202, {} connections", load.connections);
            Check::at_most(what, load.p50_ms.median, 10.0, "ms")
        };
        self.loads.iter().map(check).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deferred_request_differs_in_one_header_and_its_answer() {
        let target = Target::post(([127, 0, 0, 1], 1).into(), "/catch/k", b"hello");
        let length = target.request.len();
        let deferred = deferred(target);
        assert_eq!((deferred.status, deferred.body), (202, None));
        assert_eq!(deferred.request.len(), length + "prefer: respond-async\r\n".len());
        assert!(deferred.request.ends_with(b"prefer: respond-async\r\n\r\n{}"));
    }
}
