//! Tidegate: a self-hosted, sandboxed WebAssembly function host.

pub mod run;
pub mod schedule;
pub mod workflow;
