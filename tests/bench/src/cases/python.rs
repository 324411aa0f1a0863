//! Hello in Python, a fresh sandbox for each call, beside servers that keep theirs and one
//! that does not; and how soon pasted source answers while the host serves load.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::Check;
use crate::function::Function;
use crate::load::{Load, Target};
use crate::peer::{self, Peer};
use crate::python;
use crate::rounds::{self, Plan, Round, Series, Spread};
use crate::tidegate::{Built, Tidegate};

/// What all this is about.
const TIDEGATE: &str = "tidegate";
const HYPER: &str = "bare hyper";
const FLASK: &str = "gunicorn with Flask";
const ERYX: &str = "pyeryx";
/// Connections of the comparison by throughput.
const BUSY: usize = 16;
/// Connections of the load beside the pastes.
const BESIDE: usize = 4;
/// Pastes that are timed in each round.
const PASTES: usize = 10;
/// Runs whose records are looked at.
const RECORDS: usize = 100;

/// Packages of the stock runtime that many workflows import.
const IMPORTS: &str = "import bs4, dateutil.parser, hrflow, jinja2, jwt, pydantic, requests, selenium.webdriver\n\
                       import twilio.rest, urllib3, xmltodict\n";

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Python {
    /// By connections, then by peer.
    pub series: Vec<Series>,
    /// From a run's permit to its instance, in microseconds, of runs under the load of one
    /// connection: what the host itself recorded.
    pub instantiate_us: Spread,
    /// The hello alone, and with [`IMPORTS`] at its top, at one connection.
    pub imports: Vec<Series>,
    /// From the upload of source that the host has never seen to the first reply, in
    /// milliseconds, while the host serves load.
    pub paste_ms: Spread,
}

/// Measures, the comparison with each number of connections and with [`BUSY`].
///
/// # Errors
/// When a peer does not start, or answers anything but the hello.
pub fn measure(built: &Built, cache: &Path, connections: &[usize], plan: Plan) -> anyhow::Result<Python> {
    let data = tempfile::tempdir()?;
    let hello = Function::hello();
    let source = hello.source()?;
    let peers: [Peer; 6] = [
        peer::bare_hyper()?,
        serving(TIDEGATE, built, data.path(), &source)?,
        python::flask(cache, &hello)?,
        python::functions_framework(cache)?,
        python::eryx(cache)?,
        python::workerd(cache)?,
    ];
    let mut connections: Vec<usize> = [connections, &[1, BUSY]].concat();
    connections.sort_unstable();
    connections.dedup();
    let series = rounds::measure(&peers, &connections, plan)?;
    drop(peers);

    let (plain, importing) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let peers: [Peer; 2] = [
        serving("hello", built, plain.path(), &source)?,
        serving("with imports", built, importing.path(), &format!("{IMPORTS}{source}"))?,
    ];
    let imports = rounds::measure(&peers, &[1], plan)?;
    drop(peers);
    Ok(Python {
        series,
        instantiate_us: instantiating(built, &source, plan)?,
        imports,
        paste_ms: pastes(built, &source, plan)?,
    })
}

/// Asks for a while, then reads in the records how long instances took to be there.
fn instantiating(built: &Built, hello: &str, plan: Plan) -> anyhow::Result<Spread> {
    let data = tempfile::tempdir()?;
    let (host, target) = host(built, data.path(), hello)?;
    let load = Load {
        connections: 1,
        warm_up: Duration::from_secs_f64(plan.warm_up_seconds),
        measured: Duration::from_secs_f64(plan.seconds),
    };
    ensure!(load.put_on(&target)?.troubles.is_empty(), "exchanges went wrong");
    let runs = host.get(&format!("/api/v1/runs?status=succeeded&limit={RECORDS}"))?;
    let runs = runs["runs"].as_array().context("the host lists no runs")?;
    let recorded: anyhow::Result<Vec<f64>> = runs
        .iter()
        .map(|run| {
            let id = run["id"].as_str().context("a run has an id")?;
            let record = host.get(&format!("/api/v1/runs/{id}"))?;
            record["usage"]["instantiate_us"].as_f64().context("a record has its usage")
        })
        .collect();
    Spread::of(recorded?).context("no run is on record")
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

    /// Tidegate against a peer, round by round.
    fn against(
        &self,
        peer: &str,
        connections: usize,
        compare: impl Fn(&Round, &Round) -> f64,
    ) -> Option<Spread> {
        let own = Self::series(&self.series, TIDEGATE, connections)?;
        own.against(Self::series(&self.series, peer, connections)?, compare)
    }

    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        let rate = |own: &Round, other: &Round| own.requests_per_s / other.requests_per_s;
        let mut checks = Vec::new();
        if let Some(extra) = self.against(HYPER, 1, |own, hyper| (own.p50_us - hyper.p50_us) / 1e3) {
            let what = "Python hello, p50 at one connection over bare hyper's";
            checks.push(Check::at_most(what, extra.median, 0.8, "ms"));
        }
        if let Some(ratio) = self.against(FLASK, BUSY, rate) {
            let what = "Python hello, requests/s over gunicorn with Flask's";
            checks.push(Check::at_least(what, ratio.median, 2.0, "times"));
        }
        if let Some(ratio) = self.against(ERYX, BUSY, rate) {
            let what = "Python hello, requests/s over pyeryx's";
            checks.push(Check::at_least(what, ratio.median, 10.0, "times"));
        }
        if let Some(own) = Self::series(&self.series, TIDEGATE, BUSY) {
            let faults = own.spread(|round| round.faults_per_request).median;
            // What a hundred calls fault on together is no longer the calls'.
            checks.push(Check::at_most("page faults of a steady Python hello", faults, 0.01, ""));
        }
        let what = "instantiation of the Python runtime, p50";
        checks.push(Check::at_most(what, self.instantiate_us.median / 1e3, 0.1, "ms"));
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
