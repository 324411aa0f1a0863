#![allow(missing_docs)]
use crate::{
    config::Config, deploy::Deployer, engine::Engine, invoker::Invoker, registry::Registry, store::Store,
    telemetry::Telemetry, workflow::Digest,
};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;
pub struct App {
    pub config: Arc<Config>,
    pub store: Arc<dyn Store>,
    pub engine: Arc<Engine>,
    pub registry: Arc<Registry>,
    pub deployer: Arc<Deployer>,
    pub invoker: Arc<Invoker>,
    pub telemetry: Arc<Telemetry>,
    pub token: Digest,
    pub urls: Urls,
    pub started_at: Timestamp,
}
pub struct Urls {
    pub api: SocketAddr,
    pub catch: SocketAddr,
    pub catch_url: String,
}
