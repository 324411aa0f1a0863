//! What the controls cost that can be switched: rates, owners' limits, a limit of memory,
//! destinations, and secrets to mask. Those that cannot be (the sandbox, its limits, the
//! checks of every request) are in both.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::check::Check;
use crate::peer::Peer;
use crate::rounds::{self, Plan, Series, Spread};
use crate::tidegate::{Built, Tidegate};

/// Secret settings of the workflow: each is looked for in all that is recorded.
const SECRETS: usize = 20;

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Controls {
    /// With them, and without.
    pub series: Vec<Series>,
    /// Part of the requests a second that they cost, round by round.
    pub cost: Spread,
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
    let series = rounds::measure(&peers, &[32], plan)?;
    let [on, off] = series.as_slice() else { anyhow::bail!("two series were measured") };
    let cost = on.against(off, |on, off| 1.0 - on.requests_per_s / off.requests_per_s).context("no round")?;
    Ok(Controls { cost, series })
}

fn peer(name: &'static str, host: Tidegate, built: &Built, has_controls: bool) -> anyhow::Result<Peer> {
    let target = host.catch("hello", &built.guest("hello")?)?;
    if has_controls {
        let secrets =
            (0..SECRETS).map(|n| (format!("KEY_{n}"), json!(format!("a secret value, number {n:04}"))));
        host.set("hello", &Value::Object(secrets.collect::<Map<_, _>>()))?;
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
        vec![Check::at_most("controls cost of the requests/s", self.cost.median * 100.0, 5.0, "%")]
    }
}
