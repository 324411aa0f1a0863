//! Peers measured in turns: every round puts the same load on each of them, in another
//! order, so that what else the machine does meets all of them alike.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::load::Load;
use crate::peer::Peer;
use crate::process::{Memory, Process};

/// How a series of rounds is run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Plan {
    /// Rounds.
    pub rounds: usize,
    /// Seconds of a round in which responses are counted.
    pub seconds: f64,
    /// Seconds of load before.
    pub warm_up_seconds: f64,
}

/// One peer under one load, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    /// Responses a second.
    pub requests_per_s: f64,
    /// Latencies in microseconds.
    pub p50_us: f64,
    /// See [`Self::p50_us`].
    pub p90_us: f64,
    /// See [`Self::p50_us`].
    pub p99_us: f64,
    /// See [`Self::p50_us`].
    pub p999_us: f64,
    /// See [`Self::p50_us`].
    pub max_us: f64,
    /// Processor time of the server for one request, in microseconds, with what it does
    /// after the load.
    pub cpu_us_per_request: f64,
    /// Page faults of the server for one request, warm-up included.
    pub faults_per_request: f64,
    /// Memory of the server at its peak and at the end of the load.
    pub memory: Memory,
    /// Processes that were runnable at the end, the machine's one-minute average.
    pub load_average: f64,
}

/// All rounds of one peer under one load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Series {
    /// The peer.
    pub peer: String,
    /// Its version and flags.
    pub what: String,
    /// Connections.
    pub connections: usize,
    /// In the order they were run.
    pub rounds: Vec<Round>,
}

/// The middle of several measurements and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one measurement.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), min, max })
    }
}

impl Series {
    /// The spread of one figure over the rounds.
    pub fn spread(&self, figure: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(figure)).unwrap_or(Spread { median: 0.0, min: 0.0, max: 0.0 })
    }

    /// A figure of this series against the same of another, round by round.
    pub fn against(&self, other: &Self, compare: impl Fn(&Round, &Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().zip(&other.rounds).map(|(own, other)| compare(own, other)))
    }
}

/// Measures the peers in turns, with each number of connections.
///
/// # Errors
/// When a peer ends, or answers anything but the hello.
pub fn measure(peers: &[Peer], connections: &[usize], plan: Plan) -> anyhow::Result<Vec<Series>> {
    let mut all: BTreeMap<(usize, usize), Series> = BTreeMap::new();
    for round in 0..plan.rounds {
        for &connections in connections {
            for turn in 0..peers.len() {
                let index = (round + turn) % peers.len();
                let peer = &peers[index];
                let measured = one_round(peer, connections, plan)
                    .with_context(|| format!("{} with {connections} connections", peer.name))?;
                eprintln_round(round, plan, peer, connections, &measured);
                let series = all.entry((connections, index)).or_insert_with(|| Series {
                    peer: peer.name.to_owned(),
                    what: peer.what.clone(),
                    connections,
                    rounds: Vec::new(),
                });
                series.rounds.push(measured);
            }
        }
    }
    Ok(all.into_values().collect())
}

#[allow(clippy::print_stderr, reason = "it talks to a terminal")]
fn eprintln_round(round: usize, plan: Plan, peer: &Peer, connections: usize, measured: &Round) {
    eprintln!(
        "bench: round {}/{} {:<16} {connections:>3} connections {:>9.0} requests/s  p50 {:>7.0} us  p99 {:>7.0} us",
        round + 1,
        plan.rounds,
        peer.name,
        measured.requests_per_s,
        measured.p50_us,
        measured.p99_us,
    );
}

fn one_round(peer: &Peer, connections: usize, plan: Plan) -> anyhow::Result<Round> {
    let process = peer.server.process();
    process.forget_peak()?;
    let cpu_before = process.cpu_time()?;
    let faults_before = process.page_faults()?;
    let load = Load {
        connections,
        warm_up: Duration::from_secs_f64(plan.warm_up_seconds),
        measured: Duration::from_secs_f64(plan.seconds),
    };
    let sample = load.put_on(&peer.target)?;
    peer.server.is_there()?;
    let faults = process.page_faults()?.saturating_sub(faults_before);
    let memory = process.memory()?;
    ensure!(sample.troubles.is_empty(), "exchanges went wrong: {:?}", sample.troubles);
    ensure!(sample.requests() > 0, "no response in the time measured");
    let cpu = settled_cpu_time(process)?.saturating_sub(cpu_before);
    Ok(Round {
        requests_per_s: sample.requests_per_s(),
        p50_us: sample.latency_us(0.5),
        p90_us: sample.latency_us(0.9),
        p99_us: sample.latency_us(0.99),
        p999_us: sample.latency_us(0.999),
        max_us: sample.latency_us(1.0),
        cpu_us_per_request: cpu.as_secs_f64() * 1e6 / sample.answered as f64,
        faults_per_request: faults as f64 / sample.answered as f64,
        memory,
        load_average: crate::machine::load_average(),
    })
}

/// The processor time once the server has finished what the load left it to do, so that
/// it neither disturbs the next peer nor goes uncounted.
///
/// # Errors
/// When the process is gone.
pub fn settled_cpu_time(process: Process) -> anyhow::Result<Duration> {
    const STEP: Duration = Duration::from_millis(100);
    /// An idle server may have timers.
    const IDLE_PER_STEP: Duration = Duration::from_millis(10);
    const PATIENCE: Duration = Duration::from_secs(5);
    let since = Instant::now();
    let mut before = process.cpu_time()?;
    loop {
        thread::sleep(STEP);
        let now = process.cpu_time()?;
        if now - before <= IDLE_PER_STEP || since.elapsed() > PATIENCE {
            return Ok(now);
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_has_the_middle_of_an_even_number_between_two() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn peers_take_turns_and_every_round_is_kept() {
        let peers = [crate::peer::Peer {
            name: "stand-in",
            what: String::new(),
            // Any process serves as the one whose memory is looked at.
            server: crate::server::Server::start(
                std::process::Command::new("sh").args(["-c", "echo http://127.0.0.1:1/; exec sleep 60"]),
            )
            .unwrap(),
            target: crate::load::Target::post(
                crate::test_server::TestServer::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .address,
                "/",
                b"ok",
            ),
        }];
        let plan = Plan { rounds: 2, seconds: 0.1, warm_up_seconds: 0.02 };
        let series = measure(&peers, &[1, 2], plan).unwrap();
        assert_eq!(series.iter().map(|one| one.connections).collect::<Vec<_>>(), [1, 2]);
        assert!(series.iter().all(|one| one.rounds.len() == 2));
        let ratio = series[0].against(&series[0], |own, other| own.requests_per_s / other.requests_per_s);
        assert_eq!(ratio, Some(Spread { median: 1.0, min: 1.0, max: 1.0 }));
    }
}
