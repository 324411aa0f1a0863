//! Hello in Python, each call in a fresh interpreter, beside peers that run the same
//! function; and how soon pasted source answers on a host that serves load meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use serde::Serialize;
use serde_json::json;

use crate::check::Check;
use crate::load::{Load, Target};
use crate::peer::Peer;
use crate::python;
use crate::rounds::{self, Plan, Round, Series, Spread};
use crate::tidegate::{Built, Tidegate};

/// What all this is about.
const TIDEGATE: &str = "tidegate";
const FLASK: &str = "gunicorn with Flask";
const ERYX: &str = "pyeryx";
/// Connections of the comparison by throughput.
const BUSY: usize = 16;
/// Connections of the load beside the pastes.
const BESIDE: usize = 4;
/// Pastes that are timed in each round.
const PASTES: usize = 10;

/// Packages of the stock runtime that many workflows import.
const IMPORTS: &str = "import bs4, dateutil.parser, hrflow, jinja2, jwt, pydantic, requests, selenium.webdriver\n\
                       import twilio.rest, urllib3, xmltodict\n";

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Python {
    /// By connections, then by peer.
    pub series: Vec<Series>,
    /// The hello alone, and with [`IMPORTS`] at its top, at one connection.
    pub imports: Vec<Series>,
    /// From the upload of source that the host has never seen to the first reply, in
    /// milliseconds, while the host serves load.
    pub paste_ms: Spread,
}

/// Measures.
///
/// # Errors
/// When a peer does not start, or answers anything but the hello.
pub fn measure(built: &Built, cache: &Path, plan: Plan) -> anyhow::Result<Python> {
    let data = tempfile::tempdir()?;
    let hello = python::hello()?;
    let peers: [Peer; 3] =
        [serving(TIDEGATE, built, data.path(), &hello)?, python::flask(cache)?, python::eryx(cache)?];
    let series = rounds::measure(&peers, &[1, BUSY], plan)?;
    drop(peers);

    let (plain, importing) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let peers: [Peer; 2] = [
        serving("hello", built, plain.path(), &hello)?,
        serving("with imports", built, importing.path(), &format!("{IMPORTS}{hello}"))?,
    ];
    let imports = rounds::measure(&peers, &[1], plan)?;
    drop(peers);
    Ok(Python { series, imports, paste_ms: pastes(built, &hello, plan)? })
}

/// A host with the default runtime and one workflow.
fn serving(name: &'static str, built: &Built, data: &Path, source: &str) -> anyhow::Result<Peer> {
    let (host, target) = host(built, data, source)?;
    Ok(Peer { name, what: "its defaults, the stock runtime".to_owned(), server: host.server, target })
}

fn host(built: &Built, data: &Path, source: &str) -> anyhow::Result<(Tidegate, Target)> {
    let host = Tidegate::start(built, data, &[])?;
    host.install_runtime("python", &built.runtime("python")?)?;
    let target = host.python_catch("hello", source)?;
    ensure!(target.ask_once()?, "the first reply is not the hello");
    Ok((host, target))
}

/// Pastes new source again and again into a host that serves load.
fn pastes(built: &Built, hello: &str, plan: Plan) -> anyhow::Result<Spread> {
    let data = tempfile::tempdir()?;
    let (host, target) = host(built, data.path(), hello)?;
    let pasted = AtomicBool::new(false);
    thread::scope(|scope| {
        let loading = scope.spawn(|| load_until(&pasted, &target, plan));
        let pasted_ms: anyhow::Result<Vec<f64>> =
            (0..plan.rounds * PASTES).map(|number| once(&host, hello, number)).collect();
        pasted.store(true, Ordering::Relaxed);
        loading.join().map_err(|_| anyhow!("the load panicked"))??;
        Spread::of(pasted_ms?).context("no paste")
    })
}

/// Loads a host until it is told to stop.
fn load_until(stop: &AtomicBool, target: &Target, plan: Plan) -> anyhow::Result<()> {
    let load = Load {
        connections: BESIDE,
        warm_up: Duration::from_secs_f64(plan.warm_up_seconds),
        measured: Duration::from_secs_f64(plan.seconds),
    };
    while !stop.load(Ordering::Relaxed) {
        let sample = load.put_on(target)?;
        ensure!(sample.troubles.is_empty(), "the load met {:?}", sample.troubles);
    }
    Ok(())
}

fn once(host: &Tidegate, hello: &str, number: usize) -> anyhow::Result<f64> {
    let name = format!("pasted-{number}");
    host.create(&json!({"name": name, "kind": "catch"}))?;
    let source = format!("NUMBER = {number}\n\n{hello}");
    let started = Instant::now();
    host.paste(&name, &source)?;
    let target = host.target(&name)?;
    ensure!(target.ask_once()?, "the first reply of {name} is not the hello");
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

impl Python {
    fn series<'a>(all: &'a [Series], peer: &str, connections: usize) -> Option<&'a Series> {
        all.iter().find(|one| one.peer == peer && one.connections == connections)
    }

    /// Requests/s of the first over those of the second, round by round.
    fn rate_over(&self, peer: &str) -> Option<Spread> {
        let own = Self::series(&self.series, TIDEGATE, BUSY)?;
        own.against(Self::series(&self.series, peer, BUSY)?, |own: &Round, other: &Round| {
            own.requests_per_s / other.requests_per_s
        })
    }

    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        if let Some(alone) = Self::series(&self.series, TIDEGATE, 1) {
            let p50_ms = alone.spread(|round| round.p50_us).median / 1e3;
            checks.push(Check::at_most("Python hello, p50 at one connection", p50_ms, 5.0, "ms"));
        }
        if let Some(ratio) = self.rate_over(FLASK) {
            let what = "Python hello, requests/s of gunicorn with Flask's";
            checks.push(Check::at_least(what, ratio.median * 100.0, 60.0, "%"));
        }
        if let Some(ratio) = self.rate_over(ERYX) {
            checks.push(Check::at_least(
                "Python hello, requests/s over pyeryx's",
                ratio.median,
                2.0,
                "times",
            ));
        }
        let plain = Self::series(&self.imports, "hello", 1);
        let importing = Self::series(&self.imports, "with imports", 1);
        if let (Some(plain), Some(importing)) = (plain, importing)
            && let Some(cost) = importing.against(plain, |with, without| with.p50_us - without.p50_us)
        {
            let what = "import of eleven preloaded packages, at run time";
            checks.push(Check::at_most(what, cost.median, 200.0, "us"));
        }
        let what = "paste to first reply beside a load, p50";
        checks.push(Check::at_most(what, self.paste_ms.median, 100.0, "ms"));
        checks
    }
}
