//! Guests and uploads that do their worst: how late they are stopped, and what others and
//! the host's memory notice of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bomb;
use crate::check::Check;
use crate::load::{Load, Sample, Target};
use crate::rounds::Spread;
use crate::tidegate::{Built, Tidegate};

/// The deadline of guests whose stop is timed.
const DEADLINE: Duration = Duration::from_millis(50);
/// That of those that only burn.
const BURN: Duration = Duration::from_millis(1000);
/// Ways to spin: pure code, indirect calls, calls of the host, timers.
const MODES: [&str; 4] = ["spin-loop", "spin-dispatch", "spin-host-calls", "spin-timers"];
/// Stops of each way in a round.
const STOPS: u64 = 300;
/// Guests that spin at the same time while stops are timed.
const STOPPED_AT_ONCE: usize = 2;
const NEIGHBOURS: [usize; 2] = [1, 50];
const BOMBS: usize = 4;
/// Load of the one who is not hostile.
const CONNECTIONS: usize = 4;
/// Short, and many of them in turns: what else the machine does meets both alike.
const WINDOW: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);
/// Pairs of windows in a round.
const PAIRS: usize = 4;
/// Guests that hold much memory at the same time.
const HOARDERS: usize = 64;
/// What each holds: as its mode does.
const HOARD_MIB: u64 = 16;

/// The p99 of a hello in microseconds beside something, and alone right before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Beside {
    /// What went on meanwhile.
    pub what: String,
    /// Alone, round by round.
    pub idle_p99_us: Spread,
    /// Beside it.
    pub beside_p99_us: Spread,
    /// The second over the first, of windows that followed each other.
    pub ratio: Spread,
    /// The figure to reach.
    pub target: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hostile {
    /// Guests that were stopped.
    pub stopped: u64,
    /// From the deadline to the response in the caller's hands, in milliseconds: median,
    /// p99.9 and the largest.
    pub late_ms: [f64; 3],
    /// What others notice.
    pub beside: Vec<Beside>,
    /// Bombs that were given up, and bombs that were compiled in time.
    #[serde(default)]
    pub bombs: [u64; 2],
    /// Memory that guests were granted at the same time, in bytes.
    pub granted_bytes: f64,
    /// What the host had resident then, in bytes.
    pub resident_bytes: f64,
}

/// Measures.
///
/// # Errors
/// When the host refuses, or a response is not what it must be.
pub fn measure(built: &Built, rounds: usize) -> anyhow::Result<Hostile> {
    let (stopped, late_ms) = stops(built, rounds)?;
    let mut beside = Vec::new();
    for count in NEIGHBOURS {
        beside.push(beside_neighbours(built, count, rounds)?);
    }
    let (bombed, bombs) = beside_bombs(built, rounds)?;
    beside.push(bombed);
    let (granted_bytes, resident_bytes) = hoard(built)?;
    Ok(Hostile { stopped, late_ms, beside, bombs, granted_bytes, resident_bytes })
}

/// A host with a hello, and the guest `hostile` as a workflow of somebody else.
fn host_of_two(built: &Built, deadline: Duration, more: &[(&str, String)]) -> anyhow::Result<World> {
    let data = tempfile::tempdir()?;
    let host = Tidegate::start(built, data.path(), more)?;
    let hello = host.catch("hello", &built.guest("hello")?)?;
    host.create_user("mallory")?;
    host.create(&json!({
        "name": "hostile",
        "kind": "catch",
        "limits": {"deadline_ms": deadline.as_millis() as u64},
    }))?;
    let hostile = host.deploy_catch("hostile", &built.guest("hostile")?)?;
    host.change("hostile", &json!({"owner": "mallory"}))?;
    Ok(World { _data: data, host, hello, hostile })
}

struct World {
    /// The host first: it ends before its folder does.
    host: Tidegate,
    hello: Target,
    hostile: Target,
    _data: tempfile::TempDir,
}

impl World {
    /// How to have the hostile guest do something that ends at its deadline.
    fn mode(&self, mode: &str) -> anyhow::Result<Target> {
        let path = self.hostile.path()?;
        let body = json!({"mode": mode}).to_string();
        let mut target = Target::posting(self.hostile.address, path, body.as_bytes(), 504, Bytes::new());
        target.body = None;
        Ok(target)
    }
}

fn stops(built: &Built, rounds: usize) -> anyhow::Result<(u64, [f64; 3])> {
    let world = host_of_two(built, DEADLINE, &[])?;
    let mut all = Histogram::<u64>::new(3)?;
    for _ in 0..rounds {
        for mode in MODES {
            let measured = DEADLINE * (STOPS as u32) / STOPPED_AT_ONCE as u32;
            let load = Load { connections: STOPPED_AT_ONCE, warm_up: Duration::ZERO, measured };
            all.add(&right(load.put_on(&world.mode(mode)?)?)?.latency_ns)?;
        }
    }
    let deadline_ms = DEADLINE.as_secs_f64() * 1e3;
    let late = |quantile| all.value_at_quantile(quantile) as f64 / 1e6 - deadline_ms;
    Ok((all.len(), [late(0.5), late(0.999), late(1.0)]))
}

/// A hello's p99 alone and beside something, in turns.
fn compare(
    world: &World,
    rounds: usize,
    (what, target): (String, f64),
    trouble: impl Fn(&AtomicBool) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Beside> {
    let window = Load { connections: CONNECTIONS, warm_up: WARM_UP, measured: WINDOW };
    let (mut idle, mut beside, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds * PAIRS {
        let alone = right(window.put_on(&world.hello)?)?;
        let is_over = AtomicBool::new(false);
        let disturbed = thread::scope(|scope| -> anyhow::Result<Sample> {
            let troubling = scope.spawn(|| trouble(&is_over));
            let disturbed = window.put_on(&world.hello);
            is_over.store(true, Ordering::Relaxed);
            troubling.join().map_err(|_| anyhow::anyhow!("who troubles it panicked"))??;
            right(disturbed?)
        })?;
        idle.push(alone.latency_us(0.99));
        beside.push(disturbed.latency_us(0.99));
        ratios.push(disturbed.latency_us(0.99) / alone.latency_us(0.99));
    }
    Ok(Beside {
        what,
        target,
        idle_p99_us: Spread::of(idle).context("no round")?,
        beside_p99_us: Spread::of(beside).context("no round")?,
        ratio: Spread::of(ratios).context("no round")?,
    })
}

fn beside_neighbours(built: &Built, count: usize, rounds: usize) -> anyhow::Result<Beside> {
    let world = host_of_two(built, BURN, &[])?;
    let spin = world.mode("spin-loop")?;
    let (what, target) = match count {
        1 => ("one hostile neighbour".to_owned(), 1.5),
        _ => (format!("{count} hostile neighbours"), 3.0),
    };
    compare(&world, rounds, (what, target), |_| {
        let load = Load { connections: count, warm_up: Duration::ZERO, measured: WARM_UP + WINDOW };
        right(load.put_on(&spin)?).map(drop)
    })
}

/// Uploads that take all the time that a compilation may take, again and again. With that,
/// how many were given up and how many were compiled: a host that is done with a bomb in
/// time has nothing to stop.
fn beside_bombs(built: &Built, rounds: usize) -> anyhow::Result<(Beside, [u64; 2])> {
    let limits =
        [("engine.compile_timeout_ms", "4000".to_owned()), ("engine.compiles_max", BOMBS.to_string())];
    let world = host_of_two(built, BURN, &limits)?;
    let component = bomb::living_variables(&built.guest("hello")?);
    let what = format!("{BOMBS} compile bombs at once");
    let (stopped, compiled) = (AtomicU64::new(0), AtomicU64::new(0));
    let beside = compare(&world, rounds, (what, 1.5), |is_over| {
        thread::scope(|scope| {
            for _ in 0..BOMBS {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let counter = match world.host.deploy("hostile", &component) {
                            Ok(_) => &compiled,
                            Err(_) => &stopped,
                        };
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Ok(())
    })?;
    let bombs = [stopped.into_inner(), compiled.into_inner()];
    ensure!(bombs != [0, 0], "no bomb was uploaded");
    Ok((beside, bombs))
}

/// Lets guests hold memory, and looks at what that costs the host.
fn hoard(built: &Built) -> anyhow::Result<(f64, f64)> {
    let data = tempfile::tempdir()?;
    let host = Tidegate::start(built, data.path(), &[])?;
    host.create(&json!({
        "name": "hoarder",
        "kind": "catch",
        "limits": {"deadline_ms": 20_000, "memory_bytes_max": (2 * HOARD_MIB) << 20},
    }))?;
    let hoarder = host.deploy_catch("hoarder", &built.guest("hostile")?)?;
    let body = json!({"mode": "memory-held"}).to_string();
    let path = hoarder.path()?;
    let mut target = Target::posting(hoarder.address, path, body.as_bytes(), 504, Bytes::new());
    target.body = None;
    let asking: Vec<_> = (0..HOARDERS)
        .map(|_| {
            let target = target.clone();
            thread::spawn(move || target.ask_once())
        })
        .collect();
    // Looked at while all of them hold it.
    let wanted = (HOARDERS as u64 * HOARD_MIB) << 20;
    let until = Instant::now() + Duration::from_secs(19);
    let mut most = (0.0, 0.0);
    while Instant::now() < until && most.0 < wanted as f64 {
        thread::sleep(Duration::from_millis(200));
        let granted = host.metric("tidegate_instances_memory_bytes")?;
        let resident = host.server.process().memory()?.resident_bytes as f64;
        if granted >= most.0 {
            most = (granted, resident);
        }
    }
    for asked in asking {
        let ended = asked.join().map_err(|_| anyhow::anyhow!("a request panicked"))??;
        ensure!(ended, "a hoarder did not end at its deadline");
    }
    ensure!(most.0 >= wanted as f64, "only {} bytes were granted at once", most.0);
    Ok(most)
}

fn right(sample: Sample) -> anyhow::Result<Sample> {
    ensure!(sample.troubles.is_empty(), "exchanges went wrong: {:?}", sample.troubles);
    ensure!(sample.requests() > 0, "no response in the time measured");
    Ok(sample)
}

impl Hostile {
    /// The figures to reach.
    pub fn checks(&self) -> Vec<Check> {
        let mut checks = vec![Check::at_most(
            "stop of a spinning guest behind its deadline, p99.9",
            self.late_ms[1],
            20.0,
            "ms",
        )];
        checks.extend(self.beside.iter().map(|one| {
            let what = format!("a hello's p99 beside {}, over idle", one.what);
            Check::at_most(what, one.ratio.median, one.target, "times")
        }));
        let mib = (1 << 20) as f64;
        let allowed = (64.0 * mib + 0.1 * self.granted_bytes) / mib;
        let over = (self.resident_bytes - self.granted_bytes) / mib;
        checks.push(Check::at_most("memory of the host over what guests were granted", over, allowed, "MiB"));
        checks
    }
}
