//! Tidegate: a self-hosted, sandboxed WebAssembly function host.

pub mod api;
pub mod cli;
pub mod config;
pub mod run;
pub mod schedule;
pub mod store;
pub mod workflow;
