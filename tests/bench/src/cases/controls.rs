//! What the controls cost that can be switched: rates, owners' limits, a limit of memory,
//! destinations, and secrets to mask. Those that cannot be (the sandbox, its limits, the
//! checks of every request) are in both.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::check::Check;
use crate::peer::Peer;
use crate::rounds::{self, Plan, Round, Series, Spread};
use crate::tidegate::{Built, Tidegate};

/// Secret settings of the workflow: each is looked for in all that is recorded.
const SECRETS: usize = 20;

/// Pairs of rounds for each one that is asked for, an even number, and the seconds of each: a
/// machine that others use as well changes within seconds, and a pair should meet the same
/// machine.
const PAIRS: usize = 24;
const SECONDS: f64 = 0.4;
const WARM_UP_SECONDS: f64 = 0.2;

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Controls {
    /// With them, and without.
    pub series: Vec<Series>,
    /// Part of the requests a second that they cost, two pairs by two pairs.
    pub cost: Spread,
    /// Part that they add to the processor time of a request, two pairs by two pairs.
    #[serde(default)]
    pub cpu_cost: Option<Spread>,
}

/// Measures two hosts in turns.
///
/// # Errors
/// When a host does not start, or answers anything but the hello.
pub fn measure(built: &Built, plan: Plan) -> anyhow::Result<Controls> {
    let (with, without) = (tempfile::tempdir()?, tempfile::tempdir()?);
    // None of them is ever met: what is measured is that they are looked at.
    let on = [
        ("server.address_rate_per_s_max", "10000000".to_owned()),
        ("server.address_burst_max", "10000000".to_owned()),
        ("server.endpoint_rate_per_s_max", "10000000".to_owned()),
        ("server.endpoint_burst_max", "10000000".to_owned()),
        ("owner.instances_max", "128".to_owned()),
        ("owner.memory_bytes_max", (8_u64 << 30).to_string()),
        ("owner.cpu_ms_per_minute_max", "100000000".to_owned()),
        ("engine.memory_total_bytes_max", (16_u64 << 30).to_string()),
    ];
    let peers = [
        peer("controls on", Tidegate::start(built, with.path(), &on)?, built, true)?,
        peer("controls off", Tidegate::start(built, without.path(), &[])?, built, false)?,
    ];
    let plan = Plan { rounds: plan.rounds * PAIRS, seconds: SECONDS, warm_up_seconds: WARM_UP_SECONDS };
    let series = rounds::measure(&peers, &[32], plan)?;
    let [on, off] = series.as_slice() else { anyhow::bail!("two series were measured") };
    let cost = in_both_orders(on, off, |round| round.requests_per_s, |ratio| 1.0 - ratio);
    let cpu_cost = in_both_orders(on, off, |round| round.cpu_us_per_request, |ratio| ratio - 1.0);
    Ok(Controls { cost: cost.context("no round")?, cpu_cost, series })
}

/// What became of a figure, over every two pairs of rounds: one goes first in the first of them
/// and second in the other, so that a machine that becomes slower meanwhile meets both alike.
fn in_both_orders(
    on: &Series,
    off: &Series,
    figure: impl Fn(&Round) -> f64,
    cost: impl Fn(f64) -> f64,
) -> Option<Spread> {
    let sum = |rounds: &[Round]| rounds.iter().map(&figure).sum::<f64>();
    let pairs = on.rounds.chunks_exact(2).zip(off.rounds.chunks_exact(2));
    Spread::of(pairs.map(|(on, off)| cost(sum(on) / sum(off))))
}

fn peer(name: &'static str, host: Tidegate, built: &Built, has_controls: bool) -> anyhow::Result<Peer> {
    let target = host.catch("hello", &built.guest("hello")?)?;
    // Both have the settings, which cost something by themselves: what is measured is that
    // they are secret.
    let secrets = (0..SECRETS).map(|n| (format!("KEY_{n}"), json!(format!("a secret value, number {n:04}"))));
    let settings = Value::Object(secrets.collect::<Map<_, _>>());
    if !has_controls {
        host.patch("/api/v1/workflows/hello/settings?visibility=plain", &settings)?;
    } else {
        host.set("hello", &settings)?;
        let destination = json!({"host": "api.example.com"});
        host.change("hello", &json!({"egress": [destination]}))?;
    }
    Ok(Peer {
        name,
        what: format!("{SECRETS} secrets, rates, owners' limits, destinations"),
        server: host.server,
        target,
    })
}

impl Controls {
    /// The figure to reach.
    pub fn checks(&self) -> Vec<Check> {
        let rate = Check::at_most("controls cost of the requests/s", self.cost.median * 100.0, 5.0, "%");
        let cpu = self.cpu_cost.map(|cost| {
            Check::at_most("controls add to a request's processor time", cost.median * 100.0, 5.0, "%")
        });
        std::iter::once(rate).chain(cpu).collect()
    }
}
