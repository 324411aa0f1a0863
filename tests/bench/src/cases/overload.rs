//! Ten times the calls that there is room for: how many are still answered, how soon the
//! others are refused, and whether the host says all the while that it is alive.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

use crate::check::Check;
use crate::connection::{Connection, Trouble};
use crate::load::Target;
use crate::rounds::Spread;
use crate::tidegate::{Built, Tidegate};

/// Runs at a time, each of which takes a second: so many are answered a second at best.
const RUNNING_MAX: usize = 64;
/// Calls a second.
const OFFERED: usize = 10 * RUNNING_MAX;
/// How long calls are offered before they are counted, and while they are.
const WARM_UP: Duration = Duration::from_secs(8);
const MEASURED: Duration = Duration::from_secs(10);
/// The time between two looks at the host's health.
const PROBE: Duration = Duration::from_millis(50);
/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Overload {
    /// Answers a second over the most that there is room for, round by round.
    pub goodput: Spread,
    /// p99 from a call to its refusal, in milliseconds.
    pub refused_p99_ms: Spread,
    /// Calls that were refused, of all rounds.
    pub refused: u64,
    /// Health checks that were answered, of all rounds.
    pub healthy: u64,
    /// p99 of their answers, in milliseconds.
    pub healthy_p99_ms: Spread,
}

/// What came of the calls of a round.
struct Round {
    answered: u64,
    refused_ns: Histogram<u64>,
    healthy_ns: Histogram<u64>,
    /// What is neither an answer nor a refusal.
    wrong: Vec<String>,
}

/// Offers calls at a fixed rate, whatever becomes of them.
///
/// # Errors
/// When a call is neither answered nor refused with 429 or 503, or the host's health is not.
pub fn measure(built: &Built, rounds: usize) -> anyhow::Result<Overload> {
    let data = tempfile::tempdir()?;
    let number = RUNNING_MAX.to_string();
    // How many wait, and for how long, is as it is by default.
    let limits = [
        ("engine.instances_max", number.clone()),
        ("owner.instances_max", number.clone()),
        ("run.concurrency_max", number),
    ];
    let host = Tidegate::start(built, data.path(), &limits)?;
    let target = host.catch("slow", &built.guest("slow-host-call")?)?;
    let target = seconds(&target, 1);
    let rounds = (0..rounds).map(|_| round(&target)).collect::<anyhow::Result<Vec<_>>>()?;
    let spread = |figure: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(figure)).context("no round");
    let p99_ms = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.99) as f64 / 1e6;
    Ok(Overload {
        goodput: spread(&|round| round.answered as f64 / MEASURED.as_secs_f64() / RUNNING_MAX as f64)?,
        refused_p99_ms: spread(&|round| p99_ms(&round.refused_ns))?,
        refused: rounds.iter().map(|round| round.refused_ns.len()).sum(),
        healthy: rounds.iter().map(|round| round.healthy_ns.len()).sum(),
        healthy_p99_ms: spread(&|round| p99_ms(&round.healthy_ns))?,
    })
}

/// A call that takes so long.
fn seconds(target: &Target, seconds: u32) -> Target {
    let text = String::from_utf8_lossy(&target.request);
    let path = text.split(' ').nth(1).unwrap_or("/");
    let body = format!("{{\"seconds\":{seconds}}}");
    Target { body: None, ..Target::posting(target.address, path, body.as_bytes(), 200, "".into()) }
}

fn round(target: &Target) -> anyhow::Result<Round> {
    let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3);
    let seen = Round { answered: 0, refused_ns: histogram()?, healthy_ns: histogram()?, wrong: Vec::new() };
    let seen = Rc::new(RefCell::new(seen));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let begin = Instant::now() + Duration::from_millis(100);
    let (counted_from, until) = (begin + WARM_UP, begin + WARM_UP + MEASURED);
    let offered = ((WARM_UP + MEASURED).as_secs_f64() * OFFERED as f64) as u32;
    for number in 0..offered {
        let (seen, target) = (seen.clone(), target.clone());
        tasks.spawn_local(async move {
            let due = begin + Duration::from_secs(1) * number / OFFERED as u32;
            tokio::time::sleep_until(due.into()).await;
            // What it waited for this thread is not the host's.
            let start = Instant::now();
            let got = exchange(&target).await;
            let (end, mut seen) = (Instant::now(), seen.borrow_mut());
            let is_counted = end >= counted_from && end < until;
            match got {
                Ok(200) => seen.answered += u64::from(is_counted),
                Ok(429 | 503) if is_counted => {
                    seen.refused_ns.saturating_record((end - start).as_nanos() as u64)
                }
                Ok(429 | 503) => {}
                Ok(status) => seen.wrong.push(status.to_string()),
                Err(trouble) => seen.wrong.push(trouble.word().to_owned()),
            }
        });
    }
    let (probing, address) = (seen.clone(), target.address);
    tasks.spawn_local(async move {
        let request = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let health = Target { address, request: request.into(), status: 200, body: None };
        while Instant::now() < until {
            let start = Instant::now();
            match exchange(&health).await {
                Ok(200) => {
                    probing.borrow_mut().healthy_ns.saturating_record(start.elapsed().as_nanos() as u64)
                }
                other => probing.borrow_mut().wrong.push(format!("health: {other:?}")),
            }
            tokio::time::sleep(PROBE).await;
        }
    });
    let over = WARM_UP + MEASURED + PATIENCE;
    runtime
        .block_on(async { tokio::time::timeout(over, tasks).await })
        .context("answers are missing a minute after the last call")?;
    let seen = Rc::try_unwrap(seen).ok().context("a call is still under way")?.into_inner();
    ensure!(seen.wrong.is_empty(), "calls went wrong: {:?}", seen.wrong);
    Ok(seen)
}

/// The status of the response to a request on a connection of its own.
async fn exchange(target: &Target) -> Result<u16, Trouble> {
    let mut connection = Connection::open(target.address).await?;
    let response = connection.exchange(&target.request).await?;
    // Who refuses says when to come again.
    if matches!(response.status, 429 | 503) && !response.has_retry_after {
        return Err(Trouble::Unexpected);
    }
    Ok(response.status)
}

impl Overload {
    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        vec![
            Check::at_least("answers at ten times the capacity, over it", self.goodput.median, 0.9, ""),
            Check::at_most(
                "p99 of refusals at ten times the capacity",
                self.refused_p99_ms.median,
                5.0,
                "ms",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_call_goes_to_the_same_place() {
        let target = Target::post(([127, 0, 0, 1], 1).into(), "/catch/k", b"hello");
        let slow = seconds(&target, 2);
        let text = String::from_utf8_lossy(&slow.request).into_owned();
        assert!(
            text.starts_with("POST /catch/k HTTP/1.1\r\n") && text.ends_with("{\"seconds\":2}"),
            "{text}"
        );
        assert_eq!((slow.status, slow.body), (200, None));
    }
}
