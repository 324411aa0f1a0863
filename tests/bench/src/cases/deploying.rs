//! How long it takes from a deploy to the first reply.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::component::variant;
use crate::rounds::Spread;
use crate::tidegate::{Built, Tidegate};

/// What was measured, in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deploying {
    /// From the upload of a component that the host has never seen to the first reply:
    /// it is checked, compiled in a process of its own, saved and run.
    pub new_component_ms: Spread,
    /// The same for a component that another workflow has already.
    pub known_component_ms: Spread,
}

/// Deploys the Rust hello `times` times over, each time to a new workflow.
///
/// # Errors
/// When a deploy or its first request fails.
pub fn measure(built: &Built, times: usize) -> anyhow::Result<Deploying> {
    let data = tempfile::tempdir()?;
    let host = Tidegate::start(built, data.path(), &[])?;
    let hello = built.guest("hello")?;
    let once = |name: String, component: Vec<u8>| -> anyhow::Result<f64> {
        host.create(&json!({"name": name, "kind": "catch"}))?;
        let started = Instant::now();
        let target = host.deploy_catch(&name, &component)?;
        ensure!(target.ask_once()?, "the first reply of {name} is not the hello");
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    let mut new_component = Vec::new();
    let mut known_component = Vec::new();
    for turn in 0..times {
        let component = variant(&hello, &format!("deploying {turn}"));
        new_component.push(once(format!("new-{turn}"), component.clone())?);
        known_component.push(once(format!("known-{turn}"), component)?);
    }
    Ok(Deploying {
        new_component_ms: Spread::of(new_component).context("no deploy")?,
        known_component_ms: Spread::of(known_component).context("no deploy")?,
    })
}
